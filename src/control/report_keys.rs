//! Reports about key services: their keys over all volumes, their materials and slots, and what is saved
//! for the day on which something is lost.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `kmsfs usage` of a key service: all keys, over all volumes that it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeysReport {
    /// One row per key and material.
    pub rows: Vec<KeysRow>,
    /// The volumes.
    pub volumes: Vec<VolumeRow>,
}

/// One key and material in a [`KeysReport`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeysRow {
    /// The key.
    pub key_arn: String,
    /// The material; none where volumes name no material that there is.
    pub material: Option<String>,
    /// `current`, `older`, `revoked`, or `gone`.
    pub state: String,
    /// Files of known volumes.
    pub files: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
    /// Volumes that need it.
    pub volumes: u64,
}

/// A volume in a [`KeysReport`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeRow {
    /// The volume, 32 hexadecimal digits.
    pub volume_id: String,
    /// Its lower directory, where it was last seen.
    pub lower: String,
    /// Files when they were last counted.
    pub files: u64,
    /// When that was, seconds since 1970.
    pub counted: Option<u64>,
    /// It has been mounted since, so that there may be more.
    pub growing: bool,
}

/// `kmsfs replica`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaReport {
    /// `requested`, `exported`, `made`, `updated` or `unchanged`.
    pub change: String,
    /// The request or bundle.
    pub file: PathBuf,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Account of the replica.
    pub account: String,
    /// Region of the replica.
    pub region: String,
    /// Until when the request is good, seconds since 1970; none for an import.
    pub valid_to: Option<u64>,
    /// The primary that was exported, or the replica; none for a request.
    pub key_arn: Option<String>,
    /// Its current material.
    pub material: Option<String>,
    /// Its materials.
    pub materials: Option<usize>,
}

/// `kmsfs slot list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlotsReport {
    /// The slots.
    pub slots: Vec<SlotRow>,
}

/// One slot in a [`SlotsReport`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlotRow {
    /// Its number.
    pub slot: String,
    /// `passphrase`, `key-file`, `recovery-kit`, or `unknown`.
    pub kind: String,
    /// What was given opens this one.
    pub opened: bool,
}

/// `kmsfs slot add`, `kmsfs slot remove` and `kmsfs passwd`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlotReport {
    /// Its number.
    pub slot: String,
    /// As in [`SlotRow`].
    pub kind: String,
    /// `added`, `removed` or `replaced`.
    pub change: String,
}

/// `kmsfs backup headers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupReport {
    /// The archive.
    pub archive: PathBuf,
    /// Headers of files in it.
    pub headers: u64,
    /// Markers of directories.
    pub markers: u64,
    /// Sidecars of long names.
    pub sidecars: u64,
    /// What is damaged or does not read, and is not in it.
    pub skipped: u64,
}

/// `kmsfs backup headers --restore`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreReport {
    /// Nothing was changed.
    pub dry_run: bool,
    /// The key database was put back.
    pub key_database: bool,
    /// The configuration was put back.
    pub configuration: bool,
    /// Headers, markers and sidecars that are good.
    pub good: u64,
    /// Lower paths of those that were put back.
    pub restored: Vec<String>,
    /// Lower paths of files that are gone, or were cut.
    pub missing: Vec<String>,
    /// Damaged files whose content is not that of the archived header.
    pub other_content: Vec<String>,
    /// Files whose archived header the key service does not open.
    pub refused: Vec<String>,
}

/// `kmsfs recover`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecoverReport {
    /// The slot that is new, or that the kit opens in a drill.
    pub slot: String,
    /// Nothing was changed.
    pub drill: bool,
    /// The volume that the kit opens, in a drill.
    pub volume_id: Option<String>,
}

/// `kmsfs revoke` and `kmsfs destroy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MaterialReport {
    /// The key.
    pub key_arn: String,
    /// The material.
    pub material: String,
    /// `revoked`, `older` after an undo, or `destroyed`.
    pub state: String,
    /// Files that were rewrapped first; none where there was no volume at hand.
    pub rewrapped: Option<u64>,
    /// Files of this volume that are still under it.
    pub files: Vec<PathBuf>,
    /// Files of all known volumes that are still under it.
    pub files_left: u64,
}
