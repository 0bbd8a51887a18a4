//! What an operation sees of the ring: a copy to edit, or the ring as it is. Both check a key the same
//! way before they hand it out.

use std::sync::Arc;

use crate::kms::access::{Asked, Granting, authorize};
use crate::kms::key::KmsKey;
use crate::kms::ring::{KeyRing, NamedBy};
use crate::kms::service::{Core, internal};
use crate::kms::state::{Op, check_state};
use crate::kms::{EncryptionContext, KeyArn, KeyId, KeyRef, KmsError, Principal, Timestamp};

/// Management knows no context.
static NO_CONTEXT: EncryptionContext = EncryptionContext::new();

/// A copy of the ring that a change edits.
pub(crate) struct Draft<'a> {
    pub(crate) ring: KeyRing,
    pub(crate) now: Timestamp,
    pub(crate) kms: &'a Core,
    pub(crate) op: Op,
    pub(crate) principal: &'a Principal,
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

    /// What is asked, of a key without a context.
    pub(crate) fn asked<'b>(&'b self, granting: Option<Granting<'b>>) -> Asked<'b> {
        let (principal, op, context) = (self.principal, self.op, &NO_CONTEXT);
        Asked { principal, op, action: op.name(), context, granting }
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
    pub(super) touched: [Option<KeyArn>; 2],
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
        self.admit_key(key, context)
    }

    /// The same where policies know the operation by another name: the two sides of ReEncrypt.
    pub(crate) fn admit_key_as(
        &mut self,
        key: &'a Arc<KmsKey>,
        context: &EncryptionContext,
        action: &str,
    ) -> Result<&'a Arc<KmsKey>, KmsError> {
        touch(&mut self.touched, key.arn.clone());
        let (principal, op) = (self.principal, self.op);
        let asked = Asked { principal, op, action, context, granting: None };
        authorize(&asked, key)?;
        check_state(op, &key.arn, key.state)?;
        Ok(key)
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
    pub(crate) fn touch(&mut self, arn: KeyArn) {
        touch(&mut self.touched, arn);
    }

    /// The same for a key that is found.
    pub(crate) fn admit_key(
        &mut self,
        key: &'a Arc<KmsKey>,
        context: &EncryptionContext,
    ) -> Result<&'a Arc<KmsKey>, KmsError> {
        self.admit_key_as(key, context, self.op.name())
    }
}

fn touch(touched: &mut [Option<KeyArn>; 2], arn: KeyArn) {
    if touched.iter().flatten().any(|known| *known == arn) {
        return;
    }
    if let Some(free) = touched.iter_mut().find(|slot| slot.is_none()) {
        *free = Some(arn);
    }
}
