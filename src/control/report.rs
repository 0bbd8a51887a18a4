//! What commands answer: one struct per report, for text and `--json` alike.
//!
//! Field names are a promise (docs/CLI.md); `schema` names the report and its version. A field may
//! be added under the same version, never renamed, removed or given another meaning.

use std::path::PathBuf;

pub use crate::control::report_keys::{
    BackupReport, KeysReport, KeysRow, MaterialReport, RecoverReport, ReplicaReport, RestoreReport,
    SlotReport, SlotRow, SlotsReport, VolumeRow,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A report with its schema.
pub trait Report: Serialize {
    /// Name and version, such as `kmsfs.status/1`.
    const SCHEMA: &'static str;

    /// The report as JSON, `schema` first. A report that is no object stays as it is.
    fn to_value(&self) -> Value {
        let fields = serde_json::to_value(self).unwrap_or(Value::Null);
        let Value::Object(fields) = fields else { return fields };
        let mut all = Map::new();
        all.insert("schema".to_owned(), Self::SCHEMA.into());
        all.extend(fields);
        Value::Object(all)
    }
}

macro_rules! reports {
    ($($name:ident = $schema:literal),* $(,)?) => {
        $(impl Report for $name { const SCHEMA: &'static str = $schema; })*

        /// Every schema, for the documentation's test.
        pub const SCHEMAS: &[&str] = &[$($schema),*];
    };
}

reports! {
    AuditQueryReport = "kmsfs.audit-query/1",
    AuditVerifyReport = "kmsfs.audit-verify/1",
    BackupReport = "kmsfs.backup/1",
    BenchReport = "kmsfs.bench/1",
    ClockReport = "kmsfs.clock/1",
    FileReport = "kmsfs.file/1",
    FsckReport = "kmsfs.fsck/1",
    InitReport = "kmsfs.init/1",
    LsReport = "kmsfs.ls/1",
    KeysReport = "kmsfs.keys/1",
    MaterialReport = "kmsfs.material/1",
    MountReport = "kmsfs.mount/1",
    MountsReport = "kmsfs.mounts/1",
    PolicyReport = "kmsfs.policy/1",
    RecoverReport = "kmsfs.recover/1",
    ReplicaReport = "kmsfs.replica/1",
    RestoreReport = "kmsfs.restore/1",
    RewrapReport = "kmsfs.rewrap/1",
    RewrapStatusReport = "kmsfs.rewrap-status/1",
    RotateReport = "kmsfs.rotate/1",
    ServeReport = "kmsfs.serve/1",
    SlotReport = "kmsfs.slot/1",
    SlotsReport = "kmsfs.slots/1",
    StatusReport = "kmsfs.status/1",
    UmountReport = "kmsfs.umount/1",
    UsageReport = "kmsfs.usage/1",
}

/// `kmsfs audit query`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditQueryReport {
    /// The log.
    pub log: PathBuf,
    /// Records that fit, oldest first, as they stand in the log.
    pub records: Vec<Value>,
    /// Older ones fit as well.
    pub more: bool,
}

/// `kmsfs audit verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditVerifyReport {
    /// The log.
    pub log: PathBuf,
    /// Why it does not hold; none if it does.
    pub finding: Option<String>,
    /// Whole lines.
    pub lines: u64,
    /// Files that they lie in.
    pub segments: u64,
    /// Number of the first line; more than 1 if older segments were removed on purpose.
    pub first_sequence: u64,
    /// Number of the last line.
    pub last_sequence: u64,
    /// Bytes of a last line that a crash has cut.
    pub torn_bytes: u64,
    /// The seals were checked, which takes the key.
    pub sealed: bool,
}

/// Who answers at a control socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HelloReport {
    /// The volume, 32 hexadecimal digits.
    pub volume_id: String,
    /// The directory with the encrypted files.
    pub lower: PathBuf,
    /// Where the plaintext appears.
    pub mount_point: PathBuf,
    /// The process of the mount.
    pub pid: u32,
    /// Nothing can be changed through this mount.
    pub read_only: bool,
    /// Start of the mount, seconds since 1970.
    pub since: u64,
    /// Version of the program.
    pub version: String,
    /// What the process has given up.
    pub sandbox: SandboxReport,
}

/// What a process has given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxReport {
    /// It was not refused by `--no-sandbox`.
    pub on: bool,
    /// Files of others are out of reach.
    pub files: bool,
    /// System calls that it does not need are refused.
    pub system_calls: bool,
    /// Capabilities that it has kept.
    pub capabilities: Option<u32>,
    /// Its memory does not go to swap.
    pub memory_locked: bool,
}

/// `kmsfs status` without arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountsReport {
    /// The mounts that answer, by mount point.
    pub mounts: Vec<HelloReport>,
}

/// `kmsfs status` of a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusReport {
    /// The volume, 32 hexadecimal digits.
    pub volume_id: String,
    /// The directory with the encrypted files.
    pub lower: PathBuf,
    /// Where its key service keeps its files; `embedded` for the volume's own.
    pub kms: String,
    /// The key that wraps the volume key, and new files' data keys but for a policy.
    pub key_arn: String,
    /// The alias through which that key is found.
    pub alias: Option<String>,
    /// State of that key, by AWS' words; unknown without a passphrase.
    pub key_state: Option<String>,
    /// Its current material; unknown without a passphrase.
    pub material: Option<String>,
    /// The suite of ciphers.
    pub suite: Option<String>,
    /// The mount, if there is one.
    pub mount: Option<MountPart>,
    /// What the core says about itself; fields may be added.
    pub core: Value,
}

/// The mount in a [`StatusReport`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPart {
    /// Where the plaintext appears.
    pub mount_point: PathBuf,
    /// The process.
    pub pid: u32,
    /// Nothing can be changed through this mount.
    pub read_only: bool,
    /// Start of the mount, seconds since 1970.
    pub since: u64,
    /// Version of the program that runs the mount.
    pub version: String,
    /// Requests of the kernel by operation, since the start.
    pub requests: Map<String, Value>,
    /// What the process has given up.
    pub sandbox: SandboxReport,
    /// The last warnings and errors, oldest first.
    pub recent: Vec<String>,
}

/// `kmsfs status FILE`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileReport {
    /// Path from the volume's root.
    pub path: PathBuf,
    /// `file`, `dir`, `symlink` and so on.
    pub kind: String,
    /// Length in plaintext bytes.
    pub size: u64,
    /// Name of the lower file.
    pub lower_name: Option<String>,
    /// The file's id, 32 hexadecimal digits; none while the file is empty.
    pub file_id: Option<String>,
    /// The key that wraps its data key.
    pub key_arn: Option<String>,
    /// The material that wraps it.
    pub material: Option<String>,
    /// The header slot in use, `A` or `B`.
    pub slot: Option<String>,
    /// How often the header was written.
    pub sequence: Option<u64>,
    /// The alias that decides about its key.
    pub policy: Option<String>,
    /// The file has holes.
    pub sparse: Option<bool>,
    /// The header carries older material, or another key, than the alias has now.
    pub stale: Option<bool>,
}

/// `kmsfs init`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InitReport {
    /// The new volume, 32 hexadecimal digits.
    pub volume_id: String,
    /// The directory with the encrypted files.
    pub lower: PathBuf,
    /// Where its key service keeps its files; `embedded` for the volume's own.
    pub kms: String,
    /// Its key.
    pub key_arn: String,
    /// The alias of its key.
    pub alias: String,
}

/// `kmsfs mount`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountReport {
    /// The volume, 32 hexadecimal digits.
    pub volume_id: String,
    /// The directory with the encrypted files.
    pub lower: PathBuf,
    /// Where the plaintext appears.
    pub mount_point: PathBuf,
    /// The process of the mount.
    pub pid: u32,
    /// The volume was made by this command.
    pub created: bool,
    /// Nothing can be changed through this mount.
    pub read_only: bool,
}

/// `kmsfs clock advance`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClockReport {
    /// The key service's time, seconds since 1970.
    pub now: u64,
    /// Seconds that it was moved.
    pub advanced: u64,
}

/// `kmsfs serve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServeReport {
    /// URL for clients, or `unix:` and a path.
    pub endpoint: String,
    /// Directory of the key service.
    pub kms: PathBuf,
    /// File with the access keys.
    pub credentials: PathBuf,
    /// Account of the key service.
    pub account: String,
    /// Its Region.
    pub region: String,
    /// The process.
    pub pid: u32,
}

/// `kmsfs umount`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UmountReport {
    /// Where the plaintext appeared.
    pub mount_point: PathBuf,
    /// The directory with the encrypted files, where known.
    pub lower: Option<PathBuf>,
    /// Detached; the process ends once nothing uses the mount any more.
    pub lazy: bool,
}

/// `kmsfs rotate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RotateReport {
    /// The key, which stays the same.
    pub key_arn: String,
    /// The alias it was found by.
    pub alias: Option<String>,
    /// The material that was current before.
    pub previous_material: Option<String>,
    /// The material that is current now.
    pub material: Option<String>,
    /// Files that carry older material; unknown if counting takes longer than two seconds.
    pub files_left: Option<u64>,
    /// With `--rewrap`: how that went.
    pub rewrap: Option<RewrapReport>,
}

/// `kmsfs rewrap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RewrapReport {
    /// Files looked at.
    pub seen: u64,
    /// Of them, those that carried older material.
    pub stale: u64,
    /// Headers moved to current material.
    pub rewrapped: u64,
    /// Files that could not be.
    pub failed: u64,
    /// Stale files left, failed ones included.
    pub left: u64,
    /// Nothing was changed.
    pub dry_run: bool,
    /// Ended early, by the user or by `--max-time`.
    pub interrupted: bool,
}

/// `kmsfs rewrap --status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RewrapStatusReport {
    /// A rewrap that was asked for is under way.
    pub running: bool,
    /// Files it has looked at.
    pub done: u64,
    /// Files it will look at, where known.
    pub total: Option<u64>,
    /// Files it could not rewrap.
    pub failed: u64,
    /// Stale files that were opened and wait for their turn.
    pub lazy_waiting: u64,
    /// Files that were rewrapped since the mount because they were opened.
    pub lazy_done: u64,
    /// Of those, files that could not be.
    pub lazy_failed: u64,
}

/// `kmsfs usage`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageReport {
    /// One row per key and material.
    pub rows: Vec<UsageRow>,
    /// Files without content, which need no key.
    pub empty_files: u64,
    /// Files whose header does not read; fsck tells more.
    pub unreadable_files: u64,
    /// Directories.
    pub directories: u64,
}

/// One key and material in a [`UsageReport`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageRow {
    /// The key.
    pub key_arn: String,
    /// The material, where the service tells.
    pub material: Option<String>,
    /// Whether it is the key's current one.
    pub current: Option<bool>,
    /// Files.
    pub files: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
    /// It wraps the volume key: names, markers and configuration.
    pub volume_key: bool,
    /// It is revoked: these files do not open.
    pub revoked: bool,
}

/// `kmsfs bench`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchReport {
    /// Where a mount was measured, if one was.
    pub dir: Option<PathBuf>,
    /// What was measured, in this order.
    pub rows: Vec<BenchRow>,
}

/// One figure of `kmsfs bench`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchRow {
    /// What was done.
    pub what: String,
    /// How much of it in a second.
    pub value: f64,
    /// `MB/s` or `files/s`.
    pub unit: String,
}

/// `kmsfs policy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyReport {
    /// The directory, from the volume's root.
    pub path: PathBuf,
    /// The alias whose key new files below it use.
    pub alias: String,
    /// The key behind the alias now.
    pub key_arn: Option<String>,
    /// Directories that were changed by this command.
    pub directories: Option<u64>,
}

/// `kmsfs fsck`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FsckReport {
    /// What does not fit.
    pub findings: Vec<FindingRow>,
    /// Files looked at.
    pub files: u64,
    /// Directories looked at.
    pub directories: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// One finding in a [`FsckReport`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FindingRow {
    /// Stable name of the kind of finding.
    pub code: String,
    /// Where it lies in the lower directory.
    pub lower_path: String,
    /// What is wrong.
    pub cause: String,
    /// What can be done.
    pub mend: String,
    /// What a repair did, or would do.
    pub mended: Option<String>,
}

impl From<crate::fs::Finding> for FindingRow {
    fn from(finding: crate::fs::Finding) -> Self {
        let crate::fs::Finding { code, lower_path, cause, mend, mended } = finding;
        Self { code, lower_path, cause, mend, mended }
    }
}

/// `kmsfs ls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LsReport {
    /// The directory, or the one file, from the volume's root.
    pub path: PathBuf,
    /// Entries by name.
    pub entries: Vec<LsRow>,
}

/// One entry in a [`LsReport`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LsRow {
    /// Name; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// `file`, `dir`, `symlink`, `fifo`, `socket`, `char` or `block`.
    pub kind: String,
    /// Permission bits, in octal.
    pub mode: String,
    /// Length in plaintext bytes.
    pub size: u64,
    /// Last change of content, seconds since 1970.
    pub modified: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_comes_first_and_absent_values_are_null() {
        let text = RotateReport::default().to_value().to_string();
        assert!(text.starts_with(r#"{"schema":"kmsfs.rotate/1","key_arn":"""#), "{text}");
        assert!(text.contains(r#""files_left":null"#), "{text}");
    }

    /// A newer client reads an older server's report and the other way round.
    #[test]
    fn unknown_and_missing_fields_are_no_error() {
        let report: RewrapReport = serde_json::from_str(r#"{"seen":3,"more":1}"#).unwrap();
        assert_eq!(report, RewrapReport { seen: 3, ..RewrapReport::default() });
    }
}
