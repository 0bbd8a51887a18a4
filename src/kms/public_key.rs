//! GetPublicKey.

use crate::kms::audit::UseParams;
use crate::kms::check::Check;
use crate::kms::ring::NamedBy;
use crate::kms::sides::current;
use crate::kms::state::Op;
use crate::kms::{EncryptionContext, KeyMetadata, KeyRef, Kms, KmsError};

/// Answer of `GetPublicKey`.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// SubjectPublicKeyInfo in DER (RFC 5280).
    pub der: Vec<u8>,
    /// The key.
    pub key: KeyMetadata,
}

impl Kms {
    /// `GetPublicKey`: the public half, for use outside.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] for a key that has none, and [`KmsError`] by key and state.
    pub fn get_public_key(&self, key: &KeyRef) -> Result<PublicKey, KmsError> {
        self.using(Op::GetPublicKey, UseParams::of_key(key.as_str()), |view| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let key = view.admit(key.as_str(), NamedBy::Anything, &EncryptionContext::new())?;
            let public = current(key)?.held.public_key().ok_or_else(|| {
                let (arn, spec) = (&key.arn, key.spec.as_str());
                KmsError::UnsupportedOperation {
                    message: format!("{arn} key spec is {spec} which has no public key."),
                }
            })?;
            Ok(PublicKey { der: public.to_vec(), key: key.metadata() })
        })
    }
}
