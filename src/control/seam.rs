//! Stand-ins for the parts that are being written, with their signatures. Goes away.
#![allow(missing_docs, unused_variables, clippy::missing_errors_doc)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::clock::{Clock, SystemClock};
use crate::fs::{FsError, NodeId};
use crate::kms::*;
use crate::random::{OsRandom, Random};
use crate::secret::SecretBytes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KmsPlace {
    Embedded,
    Directory(PathBuf),
}
#[derive(Clone, Debug)]
pub struct VolumeSummary {
    pub volume_id: String,
    pub kms: KmsPlace,
    pub key_arn: String,
    pub suite: String,
    pub created: u64,
}
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    pub read_only: bool,
    pub lock: bool,
}
#[derive(Clone, Debug, Default, Serialize)]
pub struct VolumeStatus {}
#[derive(Clone, Debug, Default)]
pub struct FileStatus {
    pub size: u64,
    pub lower_name: String,
    pub file_id: Option<String>,
    pub key_arn: Option<String>,
    pub material: Option<String>,
    pub slot: Option<u8>,
    pub sequence: Option<u64>,
    pub policy: Option<String>,
    pub stale: Option<bool>,
}
#[derive(Clone, Debug, Default)]
pub struct RewrapOptions {
    pub key: Option<KeyArn>,
    pub dry_run: bool,
    pub rate_per_sec: Option<f64>,
    pub max_time: Option<std::time::Duration>,
    pub touch: bool,
}
#[derive(Clone, Debug, Default)]
pub struct RewrapProgress {
    pub done: u64,
    pub total: Option<u64>,
    pub rewrapped: u64,
    pub failed: u64,
}
#[derive(Clone, Debug, Default)]
pub struct RewrapReport {
    pub seen: u64,
    pub stale: u64,
    pub rewrapped: u64,
    pub failed: u64,
    pub left: u64,
}
#[derive(Clone, Debug, Default)]
pub struct UsageRow {
    pub key_arn: String,
    pub material: Option<String>,
    pub files: u64,
    pub bytes: u64,
}
#[derive(Clone, Debug, Default)]
pub struct Usage {
    pub rows: Vec<UsageRow>,
    pub empty_files: u64,
    pub directories: u64,
}
#[derive(Clone, Debug, Default)]
pub struct PolicyEntry {
    pub alias: String,
}
#[derive(Clone, Debug)]
pub struct Finding {
    pub code: &'static str,
    pub lower_path: String,
    pub plain_path: Option<String>,
    pub cause: String,
    pub mend: String,
}
#[derive(Clone, Debug, Default)]
pub struct FsckReport {
    pub findings: Vec<Finding>,
    pub files: u64,
    pub dirs: u64,
    pub bytes: u64,
}
#[derive(Clone, Copy, Debug)]
pub enum FsckMode {
    Quick,
    Full,
}
#[derive(Debug)]
pub struct Volume {}
type Flow = ControlFlow<()>;
impl Volume {
    pub fn init(
        lower: &Path,
        kms: Arc<dyn KeyService>,
        place: KmsPlace,
        key: &KeyRef,
        alias: &str,
        random: Arc<dyn Random>,
        clock: Arc<dyn Clock>,
    ) -> Result<(), FsError> {
        Err(FsError::Unsupported)
    }
    pub fn probe(lower: &Path) -> Result<VolumeSummary, FsError> {
        Err(FsError::NotFound)
    }
    pub fn open(
        lower: &Path,
        kms: Arc<dyn KeyService>,
        options: OpenOptions,
    ) -> Result<Self, FsError> {
        Err(FsError::Unsupported)
    }
    pub fn alias(&self) -> String {
        String::new()
    }
    pub fn status(&self) -> VolumeStatus {
        VolumeStatus {}
    }
    pub fn resolve(&self, path: &Path) -> Result<NodeId, FsError> {
        Err(FsError::Unsupported)
    }
    pub fn node_status(&self, path: &Path) -> Result<FileStatus, FsError> {
        Err(FsError::Unsupported)
    }
    pub fn rewrap_tree(
        &self,
        paths: &[PathBuf],
        options: &RewrapOptions,
        progress: &mut dyn FnMut(&RewrapProgress) -> Flow,
    ) -> Result<RewrapReport, FsError> {
        Err(FsError::Unsupported)
    }
    pub fn usage(&self, progress: &mut dyn FnMut(u64) -> Flow) -> Result<Usage, FsError> {
        Err(FsError::Unsupported)
    }
    pub fn set_policy(&self, dir: &Path, alias: &AliasName) -> Result<(), FsError> {
        Err(FsError::Unsupported)
    }
    pub fn policy(&self, dir: &Path) -> Result<PolicyEntry, FsError> {
        Err(FsError::Unsupported)
    }
    pub fn fsck(
        &self,
        mode: FsckMode,
        paths: &[PathBuf],
        progress: &mut dyn FnMut(u64) -> Flow,
    ) -> Result<FsckReport, FsError> {
        Err(FsError::Unsupported)
    }
    pub fn attr(&self, node: NodeId) -> Result<crate::fs::Attr, FsError> {
        Err(FsError::Unsupported)
    }
    pub fn read(
        &self,
        node: NodeId,
        at: u64,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FsError> {
        Err(FsError::Unsupported)
    }
    pub fn read_dir(
        &self,
        node: NodeId,
        cookie: u64,
        sink: &mut dyn FnMut(&crate::fs::DirEntry) -> Flow,
    ) -> Result<(), FsError> {
        Err(FsError::Unsupported)
    }
    pub fn nodes_of_key(&self, arn: &KeyArn) -> Vec<NodeId> {
        Vec::new()
    }
    pub fn drop_keys(&self, arn: &KeyArn) {}
    pub fn shutdown(&self) -> Result<(), FsError> {
        Ok(())
    }
}

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
    WrongUnlock,
    Missing,
    Corrupt,
    Exists,
    Busy,
    Io(std::io::Error),
}
#[derive(Debug)]
pub struct KeyChange {
    pub arn: KeyArn,
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
        Err(OpenError::Missing)
    }
    pub fn open(dir: &Path, unlock: &Unlock, options: KmsOptions) -> Result<Self, OpenError> {
        Err(OpenError::Missing)
    }
    pub fn owner(&self) -> Principal {
        Principal {}
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
    pub fn describe_key(&self, key: &KeyRef) -> Result<KeyDescription, KmsError> {
        Err(KmsError::InvalidCiphertext)
    }
    pub fn as_service(&self) -> Arc<dyn KeyService> {
        Arc::new(Nothing)
    }
}
#[derive(Debug)]
struct Nothing;
impl KeyService for Nothing {
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

#[cfg(feature = "fuse")]
pub fn mount(
    volume: Arc<Volume>,
    options: &crate::fuse::MountOptions,
) -> Result<crate::fuse::Mounted, crate::fuse::MountError> {
    Err(crate::fuse::MountError::MountTable)
}
