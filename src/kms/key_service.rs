//! The joint between the filesystem and a key service.

use std::fmt::Debug;

use crate::kms::{
    CiphertextBlob, EncryptionContext, KeyArn, KeyRef, KeyState, KmsError, MaterialId,
};
use crate::secret::Secret;

/// What the filesystem needs from a key service.
///
/// Every method may block (an HSM answers in milliseconds, a remote service in tens). Callers hold
/// no filesystem lock (`Rank::Header` or less) while calling.
pub trait KeyService: Send + Sync + Debug {
    /// Makes a fresh data key under `key`. The context is bound as additional data and must be
    /// repeated to decrypt.
    ///
    /// # Errors
    /// [`KmsError`], by the state of the key and the rights of the caller.
    fn generate_data_key(
        &self,
        key: &KeyRef,
        context: &EncryptionContext,
    ) -> Result<GeneratedKey, KmsError>;

    /// Unwraps a data key. The blob names its key; `key` is what the header claims and is checked
    /// against it.
    ///
    /// # Errors
    /// [`KmsError`], by the state of the key and the rights of the caller.
    fn decrypt(
        &self,
        key: &KeyRef,
        blob: &CiphertextBlob,
        context: &EncryptionContext,
    ) -> Result<DataKey, KmsError>;

    /// Wraps the same data key anew under the current material of `key`, without showing it to the
    /// caller.
    ///
    /// # Errors
    /// [`KmsError`], by the states of both keys and the rights of the caller.
    fn re_encrypt(
        &self,
        blob: &CiphertextBlob,
        key: &KeyRef,
        context: &EncryptionContext,
    ) -> Result<Wrapped, KmsError>;

    /// Identity, state and current material of a key: enough to see that an envelope is stale.
    /// Cheap: it may be asked at every open of a file.
    ///
    /// # Errors
    /// [`KmsError::NotFound`] if there is no such key.
    fn describe_key(&self, key: &KeyRef) -> Result<KeyDescription, KmsError>;
}

/// A 256-bit key that encrypts one file (or the names and configuration of one volume).
#[derive(Debug)]
pub struct DataKey(pub Secret<32>);

/// Answer to [`KeyService::generate_data_key`].
#[derive(Debug)]
pub struct GeneratedKey {
    /// The bare data key.
    pub plain: DataKey,
    /// The same, wrapped.
    pub wrapped: Wrapped,
}

/// A wrapped data key, and what wrapped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// The data key under the key's material; opaque.
    pub blob: CiphertextBlob,
    /// The key.
    pub key_arn: KeyArn,
    /// The material, where the service tells.
    pub material: Option<MaterialId>,
}

/// Answer to [`KeyService::describe_key`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDescription {
    /// The key, whatever it was asked by.
    pub arn: KeyArn,
    /// Its state.
    pub state: KeyState,
    /// The material that wraps now, where the service tells.
    pub current_material: Option<MaterialId>,
}
