//! What the KMS asks of material, wherever its store keeps it.

use std::fmt::Debug;

use crate::crypto::suite::NONCE_LEN;
use crate::kms::algorithms::{MacAlgorithm, MessageType, SigningAlgorithm};
use crate::kms::spec::EncryptionAlgorithm;
use crate::kms::{KeyId, KmsError, MaterialId};
use crate::random::Random;
use crate::secret::SecretBytes;

/// One material in its key store. A hardware store puts a handle and a session behind it.
///
/// A material can do what its key's spec and usage stand for; the operations check those first, so
/// that the answers given here by default are never seen.
pub trait HeldMaterial: Send + Sync + Debug {
    /// Seals with `aad` bound to it, and appends nonce, tag, ciphertext. The nonce is fresh from the
    /// generator. Symmetric.
    ///
    /// # Errors
    /// [`KmsError::KeyUnavailable`] if the store is out of reach.
    fn seal(
        &self,
        _aad: &[u8],
        _plain: &[u8],
        _nonce: &[u8; NONCE_LEN],
        _out: &mut Vec<u8>,
    ) -> Result<(), KmsError> {
        Err(not_made_for("sealing"))
    }

    /// Opens what [`Self::seal`] made. Symmetric.
    ///
    /// # Errors
    /// [`KmsError::InvalidCiphertext`] if bytes or `aad` differ; [`KmsError::KeyUnavailable`] if the
    /// store is out of reach.
    fn open(&self, _aad: &[u8], _sealed: &[u8]) -> Result<SecretBytes, KmsError> {
        Err(not_made_for("opening"))
    }

    /// The public half, as a SubjectPublicKeyInfo in DER (RFC 5280); `None` if there is none.
    fn public_key(&self) -> Option<&[u8]> {
        None
    }

    /// Encrypts to the public half. RSA.
    ///
    /// # Errors
    /// [`KmsError::Internal`].
    fn encrypt(&self, _how: EncryptionAlgorithm, _plain: &[u8]) -> Result<Vec<u8>, KmsError> {
        Err(not_made_for("encryption"))
    }

    /// Decrypts what [`Self::encrypt`] made. RSA.
    ///
    /// # Errors
    /// [`KmsError::InvalidCiphertext`].
    fn decrypt(&self, _how: EncryptionAlgorithm, _sealed: &[u8]) -> Result<SecretBytes, KmsError> {
        Err(not_made_for("decryption"))
    }

    /// Signs a message or its digest.
    ///
    /// # Errors
    /// [`KmsError::KeyUnavailable`] if the store is out of reach.
    fn sign(
        &self,
        _how: SigningAlgorithm,
        _kind: MessageType,
        _message: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        Err(not_made_for("signatures"))
    }

    /// Checks a signature.
    ///
    /// # Errors
    /// [`KmsError::InvalidSignature`].
    fn verify(
        &self,
        _how: SigningAlgorithm,
        _kind: MessageType,
        _message: &[u8],
        _signature: &[u8],
    ) -> Result<(), KmsError> {
        Err(not_made_for("signatures"))
    }

    /// Makes a message authentication code. HMAC.
    ///
    /// # Errors
    /// [`KmsError::KeyUnavailable`] if the store is out of reach.
    fn mac(&self, _how: MacAlgorithm, _message: &[u8]) -> Result<Vec<u8>, KmsError> {
        Err(not_made_for("codes"))
    }

    /// The secret shared with the owner of a public key, a SubjectPublicKeyInfo in DER of the same
    /// curve. Key agreement.
    ///
    /// # Errors
    /// [`KmsError::Validation`] if it is no such key.
    fn agree(&self, _peer: &[u8]) -> Result<SecretBytes, KmsError> {
        Err(not_made_for("key agreement"))
    }

    /// A fresh secret, and what gives it to the owner of the private half. ML-KEM.
    ///
    /// # Errors
    /// [`KmsError::KeyUnavailable`] if the store is out of reach.
    fn encapsulate(&self) -> Result<(Vec<u8>, SecretBytes), KmsError> {
        Err(not_made_for("encapsulation"))
    }

    /// The secret in what [`Self::encapsulate`] made; for changed bytes another one (FIPS 203,
    /// implicit rejection). ML-KEM.
    ///
    /// # Errors
    /// [`KmsError::InvalidCiphertext`] for another length.
    fn decapsulate(&self, _sealed: &[u8]) -> Result<SecretBytes, KmsError> {
        Err(not_made_for("encapsulation"))
    }

    /// Its identity in a key: a fingerprint that only who has the material can make. The same on
    /// every installation, so that replicas agree and an import of the same bytes is recognised.
    fn id(&self, key: &KeyId) -> MaterialId;

    /// The material sealed under a row key, as the key database keeps it; `None` if the store keeps
    /// it itself.
    fn to_row(&self, row_key: &RowKey, aad: &[u8], random: &dyn Random) -> Option<Vec<u8>>;
}

fn not_made_for(what: &str) -> KmsError {
    KmsError::Internal { message: format!("material that is not made for {what}") }
}

/// Key that seals the secret columns of the key database.
#[derive(Debug)]
pub struct RowKey(pub(crate) crate::secret::Secret<32>);
