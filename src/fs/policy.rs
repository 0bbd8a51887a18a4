//! Key policies of directories: files made below one use its key.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::format::marker::DirMarker;
use crate::format::name::MARKER_NAME;
use crate::format::volume::KeyPolicyEntry;
use crate::fs::names::OWN_FILE_MODE;
use crate::fs::nodes::Node;
use crate::fs::volume::own_name;
use crate::fs::{FsError, Volume};
use crate::kms::AliasName;
use crate::lower::NodeKind;

impl Volume {
    /// The key policy of a directory: its number and its alias.
    ///
    /// # Errors
    /// ENOTDIR, `FsError::NotFound`, `FsError::Corrupt`.
    pub fn policy(&self, dir: &Path) -> Result<KeyPolicyEntry, FsError> {
        let node = self.nodes.find(self.resolve(dir)?)?;
        let found = node.check_dir().and_then(|()| self.marker_of(&node));
        self.let_go(&node);
        let number = found?.policy;
        let config = self.config.read();
        let entry = config.policies.iter().find(|entry| entry.number == number);
        entry.cloned().ok_or(FsError::Bug("directory names an unknown key policy"))
    }

    /// Files made below `dir` from now on use `alias`; existing ones keep their envelopes. Gives
    /// the entry and the number of directories that changed.
    ///
    /// # Errors
    /// ENOTDIR, `FsError::NotFound`, `FsError::Key` if there is no such key.
    pub fn set_policy(
        &self,
        dir: &Path,
        alias: &AliasName,
    ) -> Result<(KeyPolicyEntry, u64), FsError> {
        self.check_writable()?;
        self.data_keys.service().describe_key(&alias.into())?;
        let entry = self.policy_entry(alias)?;
        let start = self.nodes.find(self.resolve(dir)?)?;
        start.check_dir()?;
        let mut changed = u64::from(self.store_policy(&start, entry.number)?);
        self.walk(
            &start,
            &mut |visit| {
                if visit.stat.kind == NodeKind::Dir {
                    changed += u64::from(self.store_policy(visit.node, entry.number)?);
                }
                Ok(ControlFlow::Continue(()))
            },
            &mut |_, error| tracing::warn!(%error, "a directory keeps its key policy"),
        )?;
        self.let_go(&start);
        Ok((entry, changed))
    }

    /// The table's entry for an alias, made if need be. It is durable before a marker names it.
    fn policy_entry(&self, alias: &AliasName) -> Result<KeyPolicyEntry, FsError> {
        let mut config = self.config.read().clone();
        if let Some(entry) = config.policies.iter().find(|entry| entry.alias == alias.as_str()) {
            return Ok(entry.clone());
        }
        let number = config.policies.iter().map(|entry| entry.number).max().map_or(0, |n| n + 1);
        let entry = KeyPolicyEntry { number, alias: alias.as_str().to_owned() };
        config.policies.push(entry.clone());
        self.store_config(&config)?;
        self.data_keys.set_policies(&config.policies);
        self.config.write().policies = config.policies;
        Ok(entry)
    }

    fn store_policy(&self, node: &Arc<Node>, policy: u32) -> Result<bool, FsError> {
        // A rename writes the marker too.
        let _entries = node.entries.write();
        let marker = self.marker_of(node)?;
        if marker.policy == policy {
            return Ok(false);
        }
        let marker = DirMarker { policy, ..marker };
        let bytes = marker.encode(self.data_keys.volume(), &self.keys.markers);
        let temporary = self.temporary_name()?;
        let dir = self.dir_of(node)?;
        dir.replace_file(&own_name(MARKER_NAME)?, &temporary, &bytes, OWN_FILE_MODE)?;
        node.set_marker(marker);
        Ok(true)
    }
}
