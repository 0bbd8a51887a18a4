//! What a directory's fsync has to make durable besides its entries: markers of new directories, and
//! sidecars of long names. They are files of their own, which the lower fsync of the directory leaves.

use std::sync::Arc;

use crate::format::name::{LowerEntry, LowerForm, MARKER_NAME, classify};
use crate::fs::names::{object, store_sidecar};
use crate::fs::nodes::Node;
use crate::fs::volume::own_name;
use crate::fs::{FsError, Volume};
use crate::lower::{Access, LowerDir, LowerFile, LowerStat, NodeKind, SyncScope};
use crate::name::LowerName;

/// Most entries that are synced one by one; with more, the whole lower filesystem is synced.
const ENTRIES_MAX: usize = 16;

/// Entries of one directory whose own files are not known to be durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// These.
    Entries(Vec<LowerName>),
    /// More than are kept.
    Many,
}

impl Default for Unsynced {
    fn default() -> Self {
        Self::Entries(Vec::new())
    }
}

impl Unsynced {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Entries(names) if names.is_empty())
    }

    fn add(&mut self, name: &LowerName) {
        match self {
            Self::Entries(names) if names.len() < ENTRIES_MAX => names.push(name.clone()),
            Self::Entries(_) => *self = Self::Many,
            Self::Many => {}
        }
    }
}

impl Volume {
    /// An entry has come into a directory.
    pub(super) fn entry_came(&self, parent: &Node, form: &LowerForm, stat: &LowerStat) {
        let is_long = matches!(form, LowerForm::Long { .. });
        if is_long || stat.kind == NodeKind::Dir {
            parent.change_unsynced(|unsynced| unsynced.add(object(form)));
        }
    }

    /// Makes a directory's entries durable, with everything that they need to be used.
    pub(super) fn sync_dir(&self, node: &Arc<Node>) -> Result<(), FsError> {
        let dir = self.dir_of(node)?;
        let unsynced = node.change_unsynced(std::mem::take);
        let synced = match &unsynced {
            Unsynced::Many => self.root.sync_fs().map_err(FsError::from),
            Unsynced::Entries(names) => {
                names.iter().try_for_each(|name| sync_own_files(&dir, name))
            }
        };
        // Which of them are durable now is not known.
        synced.and_then(|()| Ok(dir.sync()?)).inspect_err(|_| {
            node.change_unsynced(|unsynced| *unsynced = Unsynced::Many);
        })
    }
}

/// Syncs what lies beside and inside of one entry. One that is gone needs nothing.
fn sync_own_files(dir: &LowerDir, name: &LowerName) -> Result<(), FsError> {
    if let LowerEntry::Long { sidecar } = classify(name.as_bytes()) {
        unless_gone(sync_own_file(dir, &sidecar))?;
    }
    let is_dir = dir.stat(name).is_ok_and(|stat| stat.kind == NodeKind::Dir);
    if is_dir { unless_gone(sync_marker(dir, name)) } else { Ok(()) }
}

fn unless_gone(done: Result<(), FsError>) -> Result<(), FsError> {
    match done {
        Err(FsError::Lower(error)) if error.errno == libc::ENOENT => Ok(()),
        done => done,
    }
}

fn sync_marker(dir: &LowerDir, name: &LowerName) -> Result<(), FsError> {
    let child = dir.open_dir(name)?;
    sync_own_file(&child, &own_name(MARKER_NAME)?)?;
    Ok(child.sync()?)
}

/// fsync of one of the volume's own small files.
pub(super) fn sync_own_file(dir: &LowerDir, name: &LowerName) -> Result<(), FsError> {
    Ok(dir.open_file(name, Access::ReadOnly)?.sync(SyncScope::All)?)
}

/// Writes the sidecar of a long name, durably: an object that may be durable is about to get the name.
pub(super) fn store_durable_sidecar(dir: &LowerDir, form: &LowerForm) -> Result<(), FsError> {
    store_sidecar(dir, form)?;
    match form {
        LowerForm::Short(_) => Ok(()),
        LowerForm::Long { sidecar, .. } => sync_own_file(dir, sidecar),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_kept_up_to_a_bound() {
        let mut unsynced = Unsynced::default();
        assert!(unsynced.is_empty());
        let name = LowerName::from_bytes(b"x").unwrap();
        for _ in 0..ENTRIES_MAX {
            unsynced.add(&name);
            assert!(matches!(unsynced, Unsynced::Entries(_)));
        }
        unsynced.add(&name);
        assert_eq!(unsynced, Unsynced::Many);
        assert!(!unsynced.is_empty());
    }
}
