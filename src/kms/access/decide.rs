//! The decision: a call in, yes or no out.

use crate::kms::access::GrantConstraints;
use crate::kms::access::document::{KeyPolicy, Principals, Statement};
use crate::kms::key::KmsKey;
use crate::kms::principal::PrincipalKind;
use crate::kms::spec::KeyManager;
use crate::kms::state::{Op, OpKind};
use crate::kms::{EncryptionContext, GrantOperation, KmsError, Principal};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// By whom.
    pub(crate) principal: &'a Principal,
    /// What.
    pub(crate) op: Op,
    /// The operation's name in policies: that of `op`, but for the two sides of ReEncrypt.
    pub(crate) action: &'a str,
    /// With which context.
    pub(crate) context: &'a EncryptionContext,
    /// The grant that is to be made.
    pub(crate) granting: Option<Granting<'a>>,
}

/// A grant that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granting<'a> {
    /// What it allows.
    pub(crate) operations: &'a [GrantOperation],
    /// With which contexts.
    pub(crate) constraints: &'a GrantConstraints,
    /// To whom.
    pub(crate) grantee: &'a str,
}

/// Whether this may be done with this key. The one place that decides.
///
/// # Errors
/// [`KmsError::AccessDenied`].
pub(crate) fn authorize(asked: &Asked<'_>, key: &KmsKey) -> Result<(), KmsError> {
    let (principal, op) = (asked.principal, asked.op);
    if principal.name() == Principal::KMS {
        return Ok(());
    }
    if key.manager == KeyManager::Aws {
        // The service's own business: seen and used, and managed by nobody.
        let is_own = op == Op::RotateKey
            || (op.is_of_materials() && principal.name() == Principal::FILESYSTEM);
        let is_managing = op.kind() == OpKind::Change && !is_own;
        return match is_managing || principal.account() != key.arn.account() {
            true => Err(denied(asked, key, NOT_ALLOWED)),
            false => Ok(()),
        };
    }
    match verdict(asked, key, &key.policy) {
        Verdict::Denied => {
            Err(denied(asked, key, "with an explicit deny in a resource-based policy"))
        }
        Verdict::Allowed => Ok(()),
        Verdict::Unsaid if key.grants.iter().any(|grant| grant.allows(asked)) => Ok(()),
        Verdict::Unsaid => Err(denied(asked, key, NOT_ALLOWED)),
    }
}

/// Whether the key policy forbids this, whatever else allows it.
pub(crate) fn is_forbidden(asked: &Asked<'_>, key: &KmsKey) -> bool {
    verdict(asked, key, &key.policy) == Verdict::Denied
}

/// Whether a principal could still replace this policy of a key.
pub(crate) fn keeps_control(principal: &Principal, key: &KmsKey, policy: &KeyPolicy) -> bool {
    let context = EncryptionContext::new();
    let op = Op::PutKeyPolicy;
    let action = op.name();
    let asked = Asked { principal, op, action, context: &context, granting: None };
    principal.name() == Principal::KMS || verdict(&asked, key, policy) == Verdict::Allowed
}

const NOT_ALLOWED: &str = "because no resource-based policy allows";

fn denied(asked: &Asked<'_>, key: &KmsKey, why: &str) -> KmsError {
    let (who, action, arn) = (asked.principal.name(), asked.action, &key.arn);
    let rest = if why == NOT_ALLOWED { format!(" the kms:{action} action") } else { String::new() };
    KmsError::AccessDenied {
        message: format!(
            "User: {who} is not authorized to perform: kms:{action} on resource: {arn} {why}{rest}"
        ),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Denied,
    Allowed,
    Unsaid,
}

fn verdict(asked: &Asked<'_>, key: &KmsKey, policy: &KeyPolicy) -> Verdict {
    let action = format!("kms:{}", asked.action.to_ascii_lowercase());
    let find = |name: &str| values(name, asked, key);
    let applies = |statement: &Statement| {
        let spares = statement.is_deny && statement.other_principals;
        names(&statement.principals, asked.principal, !spares) != statement.other_principals
            && statement.is_about(&action, key.arn.as_str())
            && statement.conditions.iter().all(|condition| condition.holds(&find))
    };
    let mut verdict = Verdict::Unsaid;
    for statement in policy.statements.iter() {
        match statement.is_deny {
            true if applies(statement) => return Verdict::Denied,
            false if verdict == Verdict::Unsaid && applies(statement) => verdict = Verdict::Allowed,
            _ => {}
        }
    }
    verdict
}

/// Whether a statement's principals take in the caller. The account, by its root's ARN or its number,
/// stands for all its principals: there are no identity policies besides. Not so where a Deny spares
/// it: there it stands for the root alone, or the usual "everybody but ann and the root" would
/// deny nobody.
fn names(principals: &Principals, caller: &Principal, by_account: bool) -> bool {
    if principals.everyone {
        return true;
    }
    let root = |name: &str| {
        name == caller.account()
            || name.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root"))
                == Some(caller.account())
    };
    let is_root = caller.kind() == PrincipalKind::Root;
    principals.aws.iter().any(|name| name == caller.name() || (by_account || is_root) && root(name))
        || caller.kind() == PrincipalKind::Service
            && principals.services.iter().any(|name| name == caller.name())
}

/// Values of a condition key; none if the call has no such key.
fn values(name: &str, asked: &Asked<'_>, key: &KmsKey) -> Vec<String> {
    let one = |value: &str| vec![value.to_owned()];
    if let Some(name) = name.strip_prefix("kms:encryptioncontext:") {
        let found = asked.context.pairs().find(|(key, _)| *key == name);
        return found.map_or(Vec::new(), |(_, value)| one(value));
    }
    if let Some(name) = name.strip_prefix("aws:resourcetag/") {
        return key.tags.get(name).map_or(Vec::new(), |value| one(value));
    }
    let principal = asked.principal;
    match name {
        "kms:encryptioncontextkeys" => {
            asked.context.pairs().map(|(key, _)| key.to_owned()).collect()
        }
        "kms:viaservice" if principal.kind() == PrincipalKind::Service => one(principal.name()),
        "kms:calleraccount" | "aws:principalaccount" => one(principal.account()),
        "aws:principalarn" if principal.kind() != PrincipalKind::Service => one(principal.name()),
        "aws:principalisawsservice" => {
            one(if principal.kind() == PrincipalKind::Service { "true" } else { "false" })
        }
        "kms:keyspec" => one(key.spec.as_str()),
        "kms:keyusage" => one(key.usage.as_str()),
        "kms:keyorigin" => one(key.origin.as_str()),
        "kms:multiregion" => one("false"),
        "kms:grantoperations" => asked
            .granting
            .iter()
            .flat_map(|g| g.operations)
            .map(|o| o.as_str().to_owned())
            .collect(),
        "kms:granteeprincipal" => {
            asked.granting.map_or(Vec::new(), |granting| one(granting.grantee))
        }
        "kms:grantisforawsresource" if asked.op == Op::CreateGrant => one("false"),
        _ => Vec::new(),
    }
}
