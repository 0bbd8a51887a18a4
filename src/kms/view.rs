//! What an operation sees of the ring: a copy to edit, or the ring as it is. Both check a key the same
//! way before they hand it out.

use std::sync::Arc;

use crate::kms::access::{
    Action, Asked, Granting, KeyPolicy, authorize, authorize_identity, keeps_control,
};
use crate::kms::audit::Params;
use crate::kms::key::KmsKey;
use crate::kms::ring::{KeyRing, NamedBy};
use crate::kms::service::{Core, internal};
use crate::kms::state::{Op, check_state};
use crate::kms::{EncryptionContext, KeyArn, KeyId, KeyRef, KmsError, Principal, Timestamp, Via};

/// Management knows no context.
static NO_CONTEXT: EncryptionContext = EncryptionContext::new();
/// What policies say where an operation is about all keys, or about none.
const EVERYTHING: &str = "*";

/// A copy of the ring that a change edits.
pub(crate) struct Draft<'a> {
    pub(crate) ring: KeyRing,
    pub(crate) now: Timestamp,
    pub(crate) kms: &'a Core,
    pub(crate) op: Op,
    pub(crate) principal: &'a Principal,
    pub(super) via: Via,
    pub(super) params: Params<'a>,
    pub(super) touched: [Option<KeyArn>; 2],
}

impl Draft<'_> {
    /// The key that a request names by id or ARN, after every check: it exists, the caller may, and
    /// its state allows it.
    pub(crate) fn admit(&mut self, name: &KeyRef) -> Result<&mut KmsKey, KmsError> {
        let key = Arc::clone(self.ring.resolve(name.as_str(), NamedBy::IdOrArn)?);
        self.admit_id(&key.id)
    }

    /// The same for a key that is known to exist.
    pub(crate) fn admit_id(&mut self, id: &KeyId) -> Result<&mut KmsKey, KmsError> {
        let key = self.ring.keys.get(id).map(Arc::clone);
        let key = key.ok_or_else(|| internal(format!("no key {id}")))?;
        self.touch(key.arn.clone());
        self.check(&key, None)?;
        self.ring.key_mut(id).ok_or_else(|| internal(format!("no key {id}")))
    }

    /// The key that a grant is to be made for, which the caller names by id or ARN.
    pub(crate) fn admit_granting(
        &mut self,
        name: &KeyRef,
        granting: Granting<'_>,
    ) -> Result<&mut KmsKey, KmsError> {
        let key = Arc::clone(self.ring.resolve(name.as_str(), NamedBy::IdOrArn)?);
        self.touch(key.arn.clone());
        self.check(&key, Some(granting))?;
        self.ring.key_mut(&key.id).ok_or_else(|| internal(format!("no key {}", key.id)))
    }

    /// Whether the caller may do this with a key, whatever its state.
    pub(crate) fn allow(&self, id: &KeyId) -> Result<(), KmsError> {
        self.ring.keys.get(id).map_or(Ok(()), |key| authorize(&self.asked(None), key))
    }

    /// Whether the caller's own policy lets him do this with an alias.
    pub(crate) fn allow_alias(&self, alias: &str) -> Result<(), KmsError> {
        authorize_identity(&self.asked(None), &self.ring.alias_arn(alias))
    }

    /// Whether the caller's own policy lets him do what is about no key yet.
    pub(crate) fn allow_everywhere(&self) -> Result<(), KmsError> {
        authorize_identity(&self.asked(None), EVERYTHING)
    }

    /// Whether the caller's own policy lets him make a key, where that is not the operation itself.
    pub(crate) fn allow_creation(&self) -> Result<(), KmsError> {
        let op = Op::CreateKey;
        authorize_identity(&Asked { op, action: Action::of(op), ..self.asked(None) }, EVERYTHING)
    }

    /// Whether the caller's own policy lets him tag a key that is being made.
    pub(crate) fn allow_tags(&self, key: &KeyArn) -> Result<(), KmsError> {
        let op = Op::TagResource;
        let asked = Asked { op, action: Action::Op(op), ..self.asked(None) };
        authorize_identity(&asked, key.as_str())
    }

    /// Puts a policy, if there is one, in the place of a key's, and tells the key. One that the caller
    /// could not change again is refused, unless that is wanted.
    pub(crate) fn set_policy(
        &mut self,
        id: &KeyId,
        policy: Option<KeyPolicy>,
        bypass: bool,
    ) -> Result<&mut KmsKey, KmsError> {
        if let Some(policy) = &policy {
            self.check_control(id, policy, bypass)?;
        }
        let key = self.ring.key_mut(id).ok_or_else(|| internal(format!("no key {id}")))?;
        if let Some(policy) = policy {
            key.policy = policy;
        }
        Ok(key)
    }

    fn check_control(&self, id: &KeyId, policy: &KeyPolicy, bypass: bool) -> Result<(), KmsError> {
        let op = Op::PutKeyPolicy;
        let asked = Asked { op, action: Action::Op(op), ..self.asked(None) };
        let keeps = |key: &Arc<KmsKey>| keeps_control(&asked, key, policy);
        if bypass || self.ring.keys.get(id).is_some_and(keeps) {
            return Ok(());
        }
        let message =
            "The new key policy will not allow you to update the key policy in the future.";
        Err(KmsError::MalformedPolicyDocument { message: message.to_owned() })
    }

    /// What is asked, of a key without a context.
    pub(crate) fn asked<'b>(&'b self, granting: Option<Granting<'b>>) -> Asked<'b> {
        Asked {
            principal: self.principal,
            via: self.via,
            op: self.op,
            action: Action::of(self.op),
            params: self.params,
            context: &NO_CONTEXT,
            named: None,
            granting,
            on_same_key: None,
            ring: &self.ring,
            clock: &*self.kms.options.clock,
        }
    }

    fn check(&self, key: &KmsKey, granting: Option<Granting<'_>>) -> Result<(), KmsError> {
        authorize(&self.asked(granting), key)?;
        check_state(self.op, &key.arn, key.state)
    }

    /// Notes a key for the audit record.
    pub(crate) fn touch(&mut self, arn: KeyArn) {
        touch(&mut self.touched, arn);
    }
}

/// The ring as a use of a key sees it.
pub(crate) struct View<'a> {
    pub(crate) ring: &'a Arc<KeyRing>,
    pub(crate) kms: &'a Core,
    pub(super) op: Op,
    pub(super) principal: &'a Principal,
    pub(super) via: Via,
    pub(super) params: Params<'a>,
    /// Whether both sides of a ReEncrypt have one key.
    pub(super) on_same_key: Option<bool>,
    pub(super) touched: [Option<&'a KeyArn>; 2],
}

impl<'a> View<'a> {
    /// The key that a request names, after every check: it exists, the caller may, and its state
    /// allows it.
    pub(crate) fn admit(
        &mut self,
        name: &str,
        by: NamedBy,
        context: &EncryptionContext,
    ) -> Result<&'a Arc<KmsKey>, KmsError> {
        let key = self.ring.resolve(name, by)?;
        self.admit_key_as(key, Some(name), context, Action::Op(self.op))
    }

    /// The same for a key that is found, where policies may know the operation by another name: the
    /// two sides of ReEncrypt.
    pub(crate) fn admit_key_as(
        &mut self,
        key: &'a Arc<KmsKey>,
        named: Option<&str>,
        context: &EncryptionContext,
        action: Action,
    ) -> Result<&'a Arc<KmsKey>, KmsError> {
        self.touch(&key.arn);
        authorize(&Asked { action, named, ..self.asked(context) }, key)?;
        check_state(self.op, &key.arn, key.state)?;
        Ok(key)
    }

    /// Whether the caller's own policy lets him do what is about no single key.
    pub(crate) fn allow_everywhere(&self) -> Result<(), KmsError> {
        authorize_identity(&self.asked(&NO_CONTEXT), EVERYTHING)
    }

    fn asked<'b>(&'b self, context: &'b EncryptionContext) -> Asked<'b> {
        Asked {
            principal: self.principal,
            via: self.via,
            op: self.op,
            action: Action::of(self.op),
            params: self.params,
            context,
            named: None,
            granting: None,
            on_same_key: self.on_same_key,
            ring: self.ring,
            clock: &*self.kms.options.clock,
        }
    }

    /// Who asks.
    pub(crate) fn principal(&self) -> &'a Principal {
        self.principal
    }

    /// The operation.
    pub(crate) fn op(&self) -> Op {
        self.op
    }

    /// Notes a key for the audit record.
    pub(crate) fn touch(&mut self, arn: &'a KeyArn) {
        touch(&mut self.touched, arn);
    }
}

fn touch<A: PartialEq>(touched: &mut [Option<A>; 2], arn: A) {
    if touched.iter().flatten().any(|known| *known == arn) {
        return;
    }
    if let Some(free) = touched.iter_mut().find(|slot| slot.is_none()) {
        *free = Some(arn);
    }
}
