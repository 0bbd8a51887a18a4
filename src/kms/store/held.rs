//! What the KMS asks of material, wherever its store keeps it.

use std::fmt::Debug;

use crate::kms::KmsError;
use crate::random::Random;
use crate::secret::SecretBytes;

/// One symmetric material in its key store. A hardware store puts a handle and a session behind it.
pub trait HeldMaterial: Send + Sync + Debug {
    /// Seals with `aad` bound to it: nonce, tag, ciphertext.
    ///
    /// # Errors
    /// [`KmsError::KeyUnavailable`] if the store is out of reach.
    fn seal(&self, aad: &[u8], plain: &[u8], random: &dyn Random) -> Result<Vec<u8>, KmsError>;

    /// Opens what [`Self::seal`] made.
    ///
    /// # Errors
    /// [`KmsError::InvalidCiphertext`] if bytes or `aad` differ; [`KmsError::KeyUnavailable`] if the
    /// store is out of reach.
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, KmsError>;

    /// The material sealed under a row key, as the key database keeps it; `None` if the store keeps
    /// it itself.
    fn to_row(&self, row_key: &RowKey, aad: &[u8], random: &dyn Random) -> Option<Vec<u8>>;
}

/// Key that seals the secret columns of the key database.
#[derive(Debug)]
pub struct RowKey(pub(crate) crate::secret::Secret<32>);
