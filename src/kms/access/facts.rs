//! What conditions can ask of a call: the condition keys, and their values.

use std::borrow::Cow;

use serde_json::Value;

use crate::clock::Clock;
use crate::kms::access::action::Action;
use crate::kms::access::decide::Granting;
use crate::kms::audit::{Params, UseParams};
use crate::kms::key::KmsKey;
use crate::kms::principal::{PrincipalKind, Via};
use crate::kms::ring::KeyRing;
use crate::kms::spec::{EncryptionAlgorithm, KeySpec, KeyUsage, Origin};
use crate::kms::state::Op;
use crate::kms::{EncryptionContext, Principal, Timestamp};

/// A call, as policies see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// By whom.
    pub(crate) principal: &'a Principal,
    /// On which way.
    pub(crate) via: Via,
    /// What.
    pub(crate) op: Op,
    /// The operation's name in policies: that of `op`, but for the two sides of ReEncrypt.
    pub(crate) action: Action,
    /// Its parameters.
    pub(crate) params: Params<'a>,
    /// With which context.
    pub(crate) context: &'a EncryptionContext,
    /// What the caller names the key by.
    pub(crate) named: Option<&'a str>,
    /// The grant that is to be made.
    pub(crate) granting: Option<Granting<'a>>,
    /// Whether both sides of a ReEncrypt have one key.
    pub(crate) on_same_key: Option<bool>,
    /// All keys and aliases.
    pub(crate) ring: &'a KeyRing,
    /// Asked when a condition is about the time.
    pub(crate) clock: &'a dyn Clock,
}

/// A call, and the key that it is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) asked: &'a Asked<'a>,
    pub(super) key: Option<&'a KmsKey>,
}

/// Values of a condition key: none if the call has no such key.
#[derive(Debug)]
pub(super) enum Values<'a> {
    None,
    One([Cow<'a, str>; 1]),
    Many(Vec<Cow<'a, str>>),
}

impl<'a> Values<'a> {
    pub(super) fn as_slice(&self) -> &[Cow<'a, str>] {
        match self {
            Self::None => &[],
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }

    fn one(value: impl Into<Cow<'a, str>>) -> Self {
        Self::One([value.into()])
    }

    fn flag(flag: bool) -> Self {
        Self::one(if flag { "true" } else { "false" })
    }

    fn many<T: Into<Cow<'a, str>>>(values: impl Iterator<Item = T>) -> Self {
        Self::Many(values.map(Into::into).collect())
    }

    fn optional(value: Option<impl Into<Cow<'a, str>>>) -> Self {
        value.map_or(Self::None, Self::one)
    }
}

/// What a condition asks for. The names of condition keys are the same in any case, but for the parts
/// that callers choose.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ConditionKey {
    /// `kms:EncryptionContext:NAME`
    Context(String),
    /// `aws:RequestTag/NAME`
    RequestTag(String),
    /// `aws:ResourceTag/NAME`
    ResourceTag(String),
    /// A key without a chosen part, in lower case.
    Named(&'static str),
    /// None that we know: it counts as absent.
    Unknown,
}

/// The keys without a chosen part that have values, in lower case. docs/KMS.md lists them.
const NAMES: &[&str] = &[
    "aws:currenttime",
    "aws:epochtime",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalisawsservice",
    "aws:principalservicename",
    "aws:principaltype",
    "aws:requestedregion",
    "aws:resourceaccount",
    "aws:securetransport",
    "aws:sourceip",
    "aws:tagkeys",
    "aws:userid",
    "aws:username",
    "aws:viaawsservice",
    "kms:bypasspolicylockoutsafetycheck",
    "kms:calleraccount",
    "kms:customermasterkeyspec",
    "kms:customermasterkeyusage",
    "kms:datakeypairspec",
    "kms:encryptionalgorithm",
    "kms:encryptioncontextkeys",
    "kms:expirationmodel",
    "kms:grantconstrainttype",
    "kms:granteeprincipal",
    "kms:grantisforawsresource",
    "kms:grantoperations",
    "kms:keyagreementalgorithm",
    "kms:keyorigin",
    "kms:keyspec",
    "kms:keyusage",
    "kms:macalgorithm",
    "kms:messagetype",
    "kms:multiregion",
    "kms:multiregionkeytype",
    "kms:primaryregion",
    "kms:reencryptonsamekey",
    "kms:replicaregion",
    "kms:requestalias",
    "kms:resourcealiases",
    "kms:retiringprincipal",
    "kms:rotationperiodindays",
    "kms:schedulekeydeletionpendingwindowindays",
    "kms:signingalgorithm",
    "kms:validto",
    "kms:viaservice",
    "kms:wrappingalgorithm",
    "kms:wrappingkeyspec",
];

impl ConditionKey {
    pub(super) fn parse(key: &str) -> Self {
        let behind = |prefix: &str| {
            let (head, name) = key.split_at_checked(prefix.len())?;
            head.eq_ignore_ascii_case(prefix).then(|| name.to_owned())
        };
        if let Some(name) = behind("kms:encryptioncontext:") {
            return Self::Context(name);
        }
        if let Some(name) = behind("aws:requesttag/") {
            return Self::RequestTag(name);
        }
        if let Some(name) = behind("aws:resourcetag/") {
            return Self::ResourceTag(name);
        }
        let known = NAMES.iter().find(|name| name.eq_ignore_ascii_case(key));
        known.map_or(Self::Unknown, |name| Self::Named(name))
    }
}

impl<'a> Call<'a> {
    /// Values of a condition key.
    pub(super) fn values<'b>(&'b self, key: &'b ConditionKey) -> Values<'b> {
        match key {
            ConditionKey::Context(name) => Values::optional(self.asked.context.find(name)),
            ConditionKey::ResourceTag(name) => {
                let tag = self.key.and_then(|key| key.tags.get(name));
                Values::optional(tag.map(String::as_str))
            }
            ConditionKey::RequestTag(name) => {
                let tag = self.request_tags().find(|(key, _)| key == name);
                Values::optional(tag.map(|(_, value)| value))
            }
            ConditionKey::Named(name) => self.caller_values(name),
            ConditionKey::Unknown => Values::None,
        }
    }

    /// Values that tell of the caller and the way of the call; or else [`Self::key_values`].
    fn caller_values(&self, name: &str) -> Values<'a> {
        let asked = self.asked;
        let (principal, now) = (asked.principal, || Timestamp::from_system(asked.clock.now()));
        let is_service = principal.kind() == PrincipalKind::Service;
        match name {
            "aws:currenttime" => Values::one(now().to_iso()),
            "aws:epochtime" => Values::one(now().secs().to_string()),
            "aws:principalarn" => Values::optional(principal.policy_arn()),
            "aws:principalisawsservice" | "aws:viaawsservice" => Values::flag(is_service),
            "aws:principalservicename" | "kms:viaservice" => {
                Values::optional(is_service.then(|| principal.name()))
            }
            "aws:principaltype" => Values::optional(principal.policy_type()),
            "aws:requestedregion" => Values::one(asked.ring.region.as_str()),
            "aws:resourceaccount" => Values::one(asked.ring.account.as_str()),
            "aws:securetransport" => match asked.via {
                Via::Process => Values::None,
                Via::Socket | Via::Network(_) => Values::flag(false),
            },
            "aws:sourceip" => match asked.via {
                Via::Network(address) => Values::one(address.to_string()),
                Via::Process | Via::Socket => Values::None,
            },
            "aws:userid" => Values::optional(principal.user_id()),
            "aws:username" => Values::optional(principal.user_name()),
            "kms:calleraccount" | "aws:principalaccount" => Values::one(principal.account()),
            _ => self.key_values(name),
        }
    }

    /// Values that tell of the key, or of the one that is to be made; or else
    /// [`Self::request_values`].
    fn key_values(&self, name: &str) -> Values<'a> {
        let made = |member: &str, otherwise: &'static str| match self.asked.op {
            Op::CreateKey => Values::one(self.param(member).unwrap_or(Cow::Borrowed(otherwise))),
            _ => Values::None,
        };
        match (name, self.key) {
            ("kms:keyspec" | "kms:customermasterkeyspec", Some(key)) => {
                Values::one(key.spec.as_str())
            }
            ("kms:keyspec" | "kms:customermasterkeyspec", None) => {
                made("keySpec", KeySpec::SymmetricDefault.as_str())
            }
            ("kms:keyusage" | "kms:customermasterkeyusage", Some(key)) => {
                Values::one(key.usage.as_str())
            }
            ("kms:keyusage" | "kms:customermasterkeyusage", None) => {
                made("keyUsage", KeyUsage::EncryptDecrypt.as_str())
            }
            ("kms:keyorigin", Some(key)) => Values::one(key.origin.as_str()),
            ("kms:keyorigin", None) => made("origin", Origin::AwsKms.as_str()),
            ("kms:multiregion", Some(key)) => Values::flag(key.multi_region.is_some()),
            ("kms:multiregionkeytype", Some(key)) => match (&key.multi_region, key.is_primary()) {
                (None, _) => Values::None,
                (Some(_), true) => Values::one("PRIMARY"),
                (Some(_), false) => Values::one("REPLICA"),
            },
            ("kms:multiregion", None) => made("multiRegion", "false"),
            ("kms:resourcealiases", Some(key)) => {
                let aliases = self.asked.ring.aliases.iter();
                let own = aliases.filter(|(_, alias)| alias.target == key.id);
                Values::many(own.map(|(name, _)| name.as_str()))
            }
            _ => self.request_values(name),
        }
    }

    /// Values that tell of the request.
    fn request_values(&self, name: &str) -> Values<'a> {
        let asked = self.asked;
        let param = |member: &str| Values::optional(self.param(member));
        let or = |member: &str, otherwise: &'static str| {
            Values::one(self.param(member).unwrap_or(Cow::Borrowed(otherwise)))
        };
        match (name, asked.op) {
            ("aws:tagkeys", _) => match self.tag_keys() {
                keys if keys.is_empty() => Values::None,
                keys => Values::Many(keys),
            },
            ("kms:bypasspolicylockoutsafetycheck", Op::CreateKey | Op::PutKeyPolicy) => {
                or("bypassPolicyLockoutSafetyCheck", "false")
            }
            ("kms:datakeypairspec", _) => param("keyPairSpec"),
            ("kms:encryptionalgorithm", op) => self.encryption_algorithm(op),
            ("kms:encryptioncontextkeys", _) => {
                Values::many(asked.context.pairs().map(|(key, _)| key))
            }
            ("kms:expirationmodel", Op::ImportKeyMaterial) => {
                or("expirationModel", "KEY_MATERIAL_EXPIRES")
            }
            ("kms:grantisforawsresource", Op::CreateGrant | Op::ListGrants | Op::RevokeGrant) => {
                Values::flag(false)
            }
            ("kms:keyagreementalgorithm", _) => param("keyAgreementAlgorithm"),
            ("kms:macalgorithm", _) => param("macAlgorithm"),
            ("kms:messagetype", _) => param("messageType"),
            ("kms:primaryregion", _) => param("primaryRegion"),
            ("kms:reencryptonsamekey", Op::ReEncrypt) => {
                asked.on_same_key.map_or(Values::None, Values::flag)
            }
            ("kms:replicaregion", _) => param("replicaRegion"),
            ("kms:requestalias", _) => Values::optional(asked.named.and_then(alias_of)),
            ("kms:retiringprincipal", _) => param("retiringPrincipal"),
            ("kms:rotationperiodindays", Op::EnableKeyRotation) => {
                or("rotationPeriodInDays", "365")
            }
            ("kms:schedulekeydeletionpendingwindowindays", Op::ScheduleKeyDeletion) => {
                or("pendingWindowInDays", "30")
            }
            ("kms:signingalgorithm", _) => param("signingAlgorithm"),
            ("kms:validto", _) => param("validTo"),
            ("kms:wrappingalgorithm", _) => param("wrappingAlgorithm"),
            ("kms:wrappingkeyspec", _) => param("wrappingKeySpec"),
            _ => self.grant_values(name),
        }
    }

    /// Values that tell of a grant that is to be made.
    fn grant_values(&self, name: &str) -> Values<'a> {
        let Some(granting) = self.asked.granting else { return Values::None };
        match name {
            "kms:granteeprincipal" => Values::one(granting.grantee),
            "kms:grantoperations" => Values::many(granting.operations.iter().map(|o| o.as_str())),
            "kms:grantconstrainttype" => Values::optional(granting.constraints.kind()),
            _ => Values::None,
        }
    }

    fn encryption_algorithm(&self, op: Op) -> Values<'a> {
        let usual = EncryptionAlgorithm::SymmetricDefault.as_str();
        let member = match (op, self.asked.action) {
            (Op::ReEncrypt, Action::ReEncryptFrom) => "sourceEncryptionAlgorithm",
            (Op::ReEncrypt, _) => "destinationEncryptionAlgorithm",
            (
                Op::Encrypt
                | Op::Decrypt
                | Op::GenerateDataKey
                | Op::GenerateDataKeyWithoutPlaintext
                | Op::GenerateDataKeyPair
                | Op::GenerateDataKeyPairWithoutPlaintext,
                _,
            ) => "encryptionAlgorithm",
            _ => return Values::None,
        };
        Values::one(self.param(member).unwrap_or(Cow::Borrowed(usual)))
    }

    /// A parameter of the request, as the audit log writes it.
    fn param(&self, member: &str) -> Option<Cow<'a, str>> {
        match self.asked.params {
            Params::Use(UseParams { details, .. }) => {
                let found = details.into_iter().flatten().find(|(name, _)| *name == member);
                found.map(|(_, value)| Cow::Borrowed(value))
            }
            Params::Json(map) => match map.get(member)? {
                Value::String(text) => Some(Cow::Borrowed(text)),
                Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
                Value::Number(number) => Some(Cow::Owned(number.to_string())),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            },
        }
    }

    fn list(&self, member: &str) -> &'a [Value] {
        match self.asked.params {
            Params::Json(map) => {
                map.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
            }
            Params::Use(_) => &[],
        }
    }

    fn request_tags(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let text = |tag: &'a Value, member| tag.get(member).and_then(Value::as_str);
        let tags = self.list("tags").iter();
        tags.filter_map(move |tag| text(tag, "tagKey").zip(text(tag, "tagValue")))
    }

    fn tag_keys(&self) -> Vec<Cow<'a, str>> {
        let named = self.list("tagKeys").iter().filter_map(Value::as_str);
        self.request_tags().map(|(key, _)| key).chain(named).map(Cow::Borrowed).collect()
    }
}

/// The alias that a caller names a key by, without what an ARN has before it.
fn alias_of(name: &str) -> Option<&str> {
    let alias = match name.strip_prefix("arn:") {
        Some(rest) => rest.splitn(5, ':').nth(4)?,
        None => name,
    };
    alias.starts_with("alias/").then_some(alias)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::ManualClock;

    /// A Decrypt of somebody, without a key.
    pub(in crate::kms::access) fn call_of(principal: &Principal, check: impl FnOnce(&Call<'_>)) {
        let (ring, clock) = (KeyRing::new("us-east-1", "000000000000"), ManualClock::at(0));
        let context = EncryptionContext::new();
        let asked = Asked {
            principal,
            via: Via::Process,
            op: Op::Decrypt,
            action: Action::Op(Op::Decrypt),
            params: Params::Use(UseParams::default()),
            context: &context,
            named: None,
            granting: None,
            on_same_key: None,
            ring: &ring,
            clock: &clock,
        };
        check(&Call { asked: &asked, key: None });
    }

    #[test]
    fn names_are_sorted_and_found_in_any_case() {
        assert!(NAMES.is_sorted());
        for name in NAMES {
            assert_eq!(ConditionKey::parse(&name.to_uppercase()), ConditionKey::Named(name));
        }
        let context = ConditionKey::parse("KMS:EncryptionContext:Dept");
        assert_eq!(context, ConditionKey::Context("Dept".to_owned()));
        assert_eq!(ConditionKey::parse("aws:PrincipalTag/x"), ConditionKey::Unknown);
    }

    #[test]
    fn aliases_are_found_in_names_and_arns() {
        assert_eq!(alias_of("alias/a"), Some("alias/a"));
        assert_eq!(alias_of("arn:aws:kms:us-east-1:000000000000:alias/a/b"), Some("alias/a/b"));
        assert_eq!(alias_of("arn:aws:kms:us-east-1:000000000000:key/x"), None);
        assert_eq!(alias_of("x"), None);
    }
}
