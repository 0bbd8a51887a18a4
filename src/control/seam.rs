//! Stand-ins for the key service, with its signatures, until it is there. Goes away.
#![allow(missing_docs, unused_variables, clippy::missing_errors_doc)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::clock::{Clock, SystemClock};
use crate::kms::*;
use crate::random::{OsRandom, Random};
use crate::secret::SecretBytes;

#[derive(Clone, Debug)]
pub struct Kms {}
#[derive(Clone, Debug)]
pub struct KmsOptions {
    pub region: String,
    pub account: String,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}
impl Default for KmsOptions {
    fn default() -> Self {
        Self {
            region: "us-east-1".into(),
            account: "000000000000".into(),
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
        }
    }
}
#[derive(Debug)]
pub enum Unlock {
    Passphrase(SecretBytes),
    KeyFile(SecretBytes),
}
#[derive(Clone, Copy, Debug)]
pub struct Argon2Cost {}
impl Argon2Cost {
    pub const STANDARD: Self = Self {};
}
#[derive(Debug)]
pub enum OpenError {
    Busy,
    Corrupt { what: String },
    EmptyPassphrase,
    Exists { path: PathBuf },
    Io(std::io::Error),
    Missing { path: PathBuf },
    Options { what: String },
    ShortKeyFile { len: usize },
    WrongUnlock,
}
impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
#[derive(Debug)]
pub struct KeyChange {
    pub key: KeyArn,
    pub kind: ChangeKind,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Created,
    Deleted,
    State { from: KeyState, to: KeyState },
    Rotated { material: MaterialId },
    AliasMoved { alias: AliasName },
}
#[derive(Clone, Debug)]
pub struct Principal {}
impl Kms {
    pub fn create(
        dir: &Path,
        unlock: &Unlock,
        cost: Argon2Cost,
        options: KmsOptions,
    ) -> Result<Self, OpenError> {
        Err(OpenError::Busy)
    }
    pub fn open(dir: &Path, unlock: &Unlock, options: KmsOptions) -> Result<Self, OpenError> {
        Err(OpenError::Busy)
    }
    pub fn principal(&self) -> &Principal {
        &Principal {}
    }
    pub fn filesystem_key(&self) -> Result<KeyDescription, KmsError> {
        Err(KmsError::InvalidCiphertext)
    }
    pub fn rotate_service_key(&self, alias: &AliasName) -> Result<MaterialId, KmsError> {
        Err(KmsError::InvalidCiphertext)
    }
    pub fn on_change(&self, hook: Box<dyn Fn(&KeyChange) + Send + Sync>) {}
    pub fn tick(&self) -> Result<(), KmsError> {
        Ok(())
    }
    pub fn refresh(&self) -> Result<bool, KmsError> {
        Ok(false)
    }
    pub fn flush_audit(&self) -> Result<(), KmsError> {
        Ok(())
    }
}
impl KeyService for Kms {
    fn generate_data_key(
        &self,
        _: &KeyRef,
        _: &EncryptionContext,
    ) -> Result<GeneratedKey, KmsError> {
        Err(KmsError::InvalidCiphertext)
    }
    fn decrypt(
        &self,
        _: &KeyRef,
        _: &CiphertextBlob,
        _: &EncryptionContext,
    ) -> Result<DataKey, KmsError> {
        Err(KmsError::InvalidCiphertext)
    }
    fn re_encrypt(
        &self,
        _: &CiphertextBlob,
        _: &KeyRef,
        _: &EncryptionContext,
    ) -> Result<Wrapped, KmsError> {
        Err(KmsError::InvalidCiphertext)
    }
    fn describe_key(&self, _: &KeyRef) -> Result<KeyDescription, KmsError> {
        Err(KmsError::InvalidCiphertext)
    }
}
pub fn call(
    kms: &Kms,
    principal: &Principal,
    operation: &str,
    input: &Value,
) -> Result<Value, KmsError> {
    Err(KmsError::InvalidCiphertext)
}
pub fn operation_and_input(args: &[String]) -> Result<(String, Value), String> {
    Err("not yet".into())
}
