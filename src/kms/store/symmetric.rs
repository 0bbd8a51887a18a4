//! Symmetric material: 256 bits under which data keys are sealed.

use crate::crypto::short::ShortKey;
use crate::crypto::suite::NONCE_LEN;
use crate::kms::KmsError;
use crate::secret::{Secret, SecretBytes};

/// 256 bits, prepared for use: every file is created and opened through it.
#[derive(Debug)]
pub(super) struct SymmetricKey(ShortKey);

impl SymmetricKey {
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = <&[u8; 32]>::try_from(bytes).ok()?;
        let secret = Secret::<32>::fill_with(|out| out.copy_from_slice(bytes));
        Some(Self(ShortKey::new(&secret)))
    }

    pub(super) fn seal(
        &self,
        aad: &[u8],
        plain: &[u8],
        nonce: &[u8; NONCE_LEN],
        out: &mut Vec<u8>,
    ) {
        self.0.seal_at(nonce, aad, plain, out);
    }

    pub(super) fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, KmsError> {
        self.0.open(aad, sealed).map(SecretBytes::new).map_err(|_| KmsError::InvalidCiphertext)
    }
}
