//! Where files get their data keys: the filesystem's side of the [`KeyService`].
//!
//! Holds no lock while it asks the service. Names the encryption context in one place.

use std::sync::Arc;

use crate::clock::Clock;
use crate::crypto::kdf::FileKeys;
use crate::crypto::suite::Suite;
use crate::format::envelope::Envelope;
use crate::format::header::Prelude;
use crate::format::ids::{FileId, VolumeId};
use crate::format::volume::{KeyPolicyEntry, WrappedVolumeKey};
use crate::fs::header_io::OpenKeys;
use crate::fs::key_limits::{KeyLimiter, KeyLimits};
use crate::fs::{CorruptPart, FsError};
use crate::kms::{
    CiphertextBlob, EncryptionContext, GeneratedKey, KeyRef, KeyService, KeyTrouble, KmsError,
    MaterialId, Op, Wrapped, check_state,
};
use crate::random::{Random, random_array};
use crate::sync::{Rank, RwLock};

/// Number of the volume's own key policy; directories without another use it.
pub const DEFAULT_POLICY: u32 = 0;

/// A fresh data key for one file, before its header is written.
#[derive(Debug)]
pub struct FreshKey {
    /// Identity of the file, new as well.
    pub file: FileId,
    /// Keys derived from the data key.
    pub keys: FileKeys,
    /// The data key, wrapped.
    pub wrapped: Wrapped,
    /// Number of the key policy that chose the KMS key.
    pub policy: u32,
}

/// Makes, unwraps and rewraps data keys for one volume.
#[derive(Debug)]
pub struct DataKeys {
    service: Arc<dyn KeyService>,
    random: Arc<dyn Random>,
    volume: VolumeId,
    /// Number -> key. Short; read at every open. Rank CACHE.
    policies: RwLock<Vec<(u32, KeyRef)>>,
    limiter: KeyLimiter,
}

impl DataKeys {
    /// For one volume and its table of key policies.
    pub fn new(
        service: Arc<dyn KeyService>,
        random: Arc<dyn Random>,
        volume: VolumeId,
        policies: &[KeyPolicyEntry],
    ) -> Self {
        let table = policies.iter().map(|p| (p.number, KeyRef::new(&p.alias))).collect();
        let (policies, limiter) = (RwLock::new(Rank::Cache, table), KeyLimiter::default());
        Self { service, random, volume, policies, limiter }
    }

    /// Limits for how long, and how much, a data key is used that was asked for once. Set once.
    pub fn limit(&self, limits: KeyLimits, clock: Arc<dyn Clock>) {
        self.limiter.set(limits, clock);
    }

    /// Whether any limit is set.
    pub(super) fn is_limited(&self) -> bool {
        self.limiter.is_set()
    }

    /// Whether keys have passed a limit, and have to be asked for again.
    pub(super) fn is_spent(&self, keys: &OpenKeys) -> bool {
        self.limiter.is_spent(&keys.used)
    }

    /// Counts one read or write by some keys.
    pub(super) fn count(&self, keys: &OpenKeys, bytes: u64) {
        self.limiter.count(&keys.used, bytes);
    }

    /// The volume that the data keys belong to.
    pub fn volume(&self) -> VolumeId {
        self.volume
    }

    /// Where random bytes come from.
    pub fn random(&self) -> &dyn Random {
        &*self.random
    }

    /// The key service.
    pub fn service(&self) -> &Arc<dyn KeyService> {
        &self.service
    }

    /// Takes over a changed table of key policies.
    pub fn set_policies(&self, policies: &[KeyPolicyEntry]) {
        *self.policies.write() =
            policies.iter().map(|p| (p.number, KeyRef::new(&p.alias))).collect();
    }

    /// The key that a policy names now; an unknown number means the volume's own.
    ///
    /// # Errors
    /// `FsError::Bug` if the volume has no default policy.
    pub fn key_of(&self, policy: u32) -> Result<KeyRef, FsError> {
        let table = self.policies.read();
        table
            .iter()
            .find(|(number, _)| *number == policy)
            .or_else(|| table.iter().find(|(number, _)| *number == DEFAULT_POLICY))
            .map(|(_, key)| key.clone())
            .ok_or(FsError::Bug("the volume has no default key policy"))
    }

    /// Whether content can be written anew under a policy, as far as the state of its key tells.
    /// What comes out later, when a data key is asked for, reaches a writer only with `close` or
    /// `fsync`, and shells ignore the former.
    ///
    /// # Errors
    /// `FsError::Key`.
    pub fn check_key(&self, policy: u32) -> Result<(), FsError> {
        let key = self.service.describe_key(&self.key_of(policy)?)?;
        Ok(check_state(Op::GenerateDataKey, &key.arn, key.state)?)
    }

    /// A fresh data key for a new file. Asks the key service.
    ///
    /// # Errors
    /// `FsError::Key`.
    pub fn generate(&self, policy: u32) -> Result<FreshKey, FsError> {
        let file = FileId(random_array(&*self.random));
        let key = self.key_of(policy)?;
        let GeneratedKey { plain, wrapped } =
            self.service.generate_data_key(&key, &self.context(file)?)?;
        let keys = FileKeys::derive(&plain.0, &file.0);
        Ok(FreshKey { file, keys, wrapped, policy })
    }

    /// The keys of a file, from its envelope. Asks the key service.
    ///
    /// # Errors
    /// `FsError::Key`; `FsError::Corrupt` if the blob does not open under the key that it names.
    pub fn unwrap(&self, prelude: &Prelude, envelope: &Envelope) -> Result<FileKeys, FsError> {
        let key = KeyRef::new(&envelope.key_arn);
        let blob = CiphertextBlob(envelope.wrapped.clone());
        let plain = self
            .service
            .decrypt(&key, &blob, &self.context(prelude.file)?)
            .map_err(rejected_is_corrupt)?;
        Ok(FileKeys::derive(&plain.0, &prelude.file.0))
    }

    /// The same data key under the current material of the key that the envelope's policy names.
    ///
    /// # Errors
    /// As [`DataKeys::unwrap`].
    pub fn re_encrypt(&self, prelude: &Prelude, envelope: &Envelope) -> Result<Wrapped, FsError> {
        let blob = CiphertextBlob(envelope.wrapped.clone());
        let key = self.key_of(envelope.policy)?;
        self.service
            .re_encrypt(&blob, &key, &self.context(prelude.file)?)
            .map_err(rejected_is_corrupt)
    }

    /// Whether the envelope's key or material is not what its policy resolves to now.
    ///
    /// # Errors
    /// `FsError::Key` if the key cannot be described.
    pub fn is_stale(&self, envelope: &Envelope) -> Result<bool, FsError> {
        let now = self.service.describe_key(&self.key_of(envelope.policy)?)?;
        let same_material = match now.current_material {
            Some(current) => envelope.material == Some(current.0),
            None => true,
        };
        Ok(!now.arn.is_related(&envelope.key_arn) || !same_material)
    }

    /// The volume key under the current material of the volume's own policy; `None` if it is there.
    ///
    /// # Errors
    /// As [`DataKeys::re_encrypt`].
    pub fn rewrap_volume_key(
        &self,
        old: &WrappedVolumeKey,
    ) -> Result<Option<WrappedVolumeKey>, FsError> {
        let key = self.key_of(DEFAULT_POLICY)?;
        let now = self.service.describe_key(&key)?;
        let same_material = now.current_material.is_none_or(|m| old.material == Some(m.0));
        if now.arn.is_related(&old.key_arn) && same_material {
            return Ok(None);
        }
        let blob = CiphertextBlob(old.wrapped.clone());
        let wrapped = self.service.re_encrypt(&blob, &key, &volume_context(self.volume)?)?;
        Ok(Some(WrappedVolumeKey {
            key_arn: wrapped.key_arn.as_str().to_owned(),
            material: wrapped.material.map(|material| material.0),
            wrapped: wrapped.blob.0,
        }))
    }

    /// The context that binds a wrapped data key to its file and volume.
    fn context(&self, file: FileId) -> Result<EncryptionContext, FsError> {
        let mut context = volume_context(self.volume)?;
        context
            .insert("kmsfs:file", &file.to_string())
            .map_err(|_| FsError::Bug("empty context key"))?;
        Ok(context)
    }
}

/// The context of the volume key, and the part that all contexts of a volume share.
///
/// # Errors
/// Never in practice: the pairs are fixed.
pub fn volume_context(volume: VolumeId) -> Result<EncryptionContext, FsError> {
    let mut context = EncryptionContext::new();
    for (key, value) in
        [("kmsfs:suite", Suite::Xaes256Gcm.name()), ("kmsfs:volume", &volume.to_string())]
    {
        context.insert(key, value).map_err(|_| FsError::Bug("empty context key"))?;
    }
    Ok(context)
}

/// An envelope for a wrapped data key.
pub fn envelope_of(wrapped: Wrapped, policy: u32, sequence: u64, sparse: bool) -> Envelope {
    Envelope {
        sequence,
        sparse,
        policy,
        key_arn: wrapped.key_arn.as_str().to_owned(),
        material: wrapped.material.map(|MaterialId(bytes)| bytes),
        wrapped: wrapped.blob.0,
    }
}

/// A blob that does not open says that the header's bytes are wrong, not that the key is.
fn rejected_is_corrupt(error: KmsError) -> FsError {
    match error.trouble() {
        KeyTrouble::Rejected => FsError::Corrupt(CorruptPart::Header),
        KeyTrouble::Denied
        | KeyTrouble::Disabled
        | KeyTrouble::Internal
        | KeyTrouble::Missing
        | KeyTrouble::Revoked
        | KeyTrouble::Unreachable => FsError::Key(error),
    }
}
