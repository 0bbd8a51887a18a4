//! What can be told of an open volume and of one file in it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::fs::nodes::Place;
use crate::fs::{FsError, RecoveryReport, Volume};
use crate::lower::NodeKind;

/// A volume, as `status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct VolumeStatus {
    /// Identity, 32 hexadecimal digits.
    pub volume: String,
    /// Lower directory.
    pub lower: String,
    /// Suite of new files.
    pub suite: String,
    /// Nothing is changed.
    pub read_only: bool,
    /// Key policies: number and alias.
    pub policies: Vec<(u32, String)>,
    /// The key that wraps the volume key.
    pub volume_key_arn: String,
    /// The material that wraps it, 64 hexadecimal digits.
    pub volume_key_material: Option<String>,
    /// Nodes that the kernel knows.
    pub nodes: usize,
    /// Lower descriptors that are kept open.
    pub descriptors: usize,
    /// Files whose data keys are held.
    pub data_keys: usize,
    /// Stale files that wait for the worker, were rewrapped by it, and failed.
    pub rewraps_waiting: usize,
    /// Files that the worker rewrapped.
    pub rewraps_done: u64,
    /// Files that the worker failed on.
    pub rewraps_failed: u64,
    /// What the recovery at opening did, if there was one.
    pub recovery: Option<RecoveryReport>,
}

/// One file, as `status` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileStatus {
    /// Kind of the file.
    pub kind: String,
    /// Plaintext length in bytes.
    pub size: u64,
    /// Lower name in its directory.
    pub lower_name: Option<String>,
    /// Lower inode number.
    pub lower_ino: u64,
    /// File id, 32 hexadecimal digits; none for what has no header.
    pub file: Option<String>,
    /// The key that wraps the data key.
    pub key_arn: Option<String>,
    /// The material that wraps it.
    pub material: Option<String>,
    /// Sequence of the envelope.
    pub sequence: Option<u64>,
    /// Slot that it lies in.
    pub slot: Option<String>,
    /// Key policy.
    pub policy: Option<u32>,
    /// It has holes.
    pub sparse: Option<bool>,
    /// Another material, or key, is current.
    pub stale: Option<bool>,
}

impl Volume {
    /// What can be told of the volume without reading it.
    pub fn status(&self) -> VolumeStatus {
        let nodes = self.nodes.len();
        let config = self.config.read().clone();
        let (descriptors, data_keys) = self.open_nodes.counts();
        let (rewraps_waiting, rewraps_done, rewraps_failed) = self.rewraps.counts();
        VolumeStatus {
            volume: self.id().to_string(),
            lower: self.lower_path.display().to_string(),
            suite: config.suite.name().to_owned(),
            read_only: self.read_only,
            policies: config.policies.iter().map(|p| (p.number, p.alias.clone())).collect(),
            volume_key_arn: config.volume_key.key_arn.clone(),
            volume_key_material: config.volume_key.material.map(|id| crate::codec::hex(&id)),
            nodes,
            descriptors,
            data_keys,
            rewraps_waiting,
            rewraps_done,
            rewraps_failed,
            recovery: self.recovery.clone(),
        }
    }

    /// Lower directory, as it was named at opening.
    pub fn lower_path(&self) -> &Path {
        &self.lower_path
    }

    /// What can be told of one file.
    ///
    /// # Errors
    /// `FsError::NotFound`, `FsError::Corrupt`, `FsError::Lower`.
    pub fn file_status(&self, path: &Path) -> Result<FileStatus, FsError> {
        let node = self.nodes.find(self.resolve(path)?)?;
        let status = self.attr_of(&node).and_then(|attr| {
            let lower_name = match node.place() {
                Place::Named { name, .. } => Some(name.to_string()),
                Place::Root | Place::Pinned(_) => None,
            };
            let mut status = FileStatus {
                kind: format!("{:?}", attr.kind),
                size: attr.size,
                lower_name,
                lower_ino: self.stat_of(&node)?.id.ino,
                file: None,
                key_arn: None,
                material: None,
                sequence: None,
                slot: None,
                policy: None,
                sparse: None,
                stale: None,
            };
            if node.kind == NodeKind::Dir {
                status.policy = Some(self.marker_of(&node)?.policy);
            }
            if node.kind == NodeKind::File
                && let Some(header) = self.header_of(&node)?
            {
                let envelope = &header.envelope;
                status.file = Some(header.prelude.file.to_string());
                status.material = envelope.material.map(|id| crate::codec::hex(&id));
                status.sequence = Some(envelope.sequence);
                status.slot = Some(format!("{:?}", header.slot));
                status.policy = Some(envelope.policy);
                status.sparse = Some(envelope.sparse);
                status.stale = self.data_keys.is_stale(envelope).ok();
                status.key_arn = Some(envelope.key_arn.clone());
            }
            Ok(status)
        });
        self.let_go(&node);
        status
    }
}
