//! Names that a power cut took: a directory whose marker, or an entry whose sidecar, never reached the
//! disk.
//!
//! Both are durable before the first fsync below or of them returns, so that nothing of what is found
//! here was ever synced. What holds content keeps it, under a new name.

use crate::format::home::DirHome;
use crate::format::ids::DirId;
use crate::format::marker::DirMarker;
use crate::format::name::{LowerEntry, MARKER_NAME, classify, lower_form};
use crate::fs::data_keys::DEFAULT_POLICY;
use crate::fs::names::{OWN_FILE_MODE, SIDECAR_LEN_MAX, object};
use crate::fs::recover::is_header_missing;
use crate::fs::recover_tree::{RecoveryReport, names_in, note_repair};
use crate::fs::volume::{MARKER_LEN_MAX, own_name};
use crate::fs::{FsError, Volume};
use crate::lower::{Access, LowerDir, LowerError, LowerRename, LowerTime, NodeKind};
use crate::name::LowerName;
use crate::random::random_array;

/// Plaintext names of what lost its own begin so.
const RECOVERED_PREFIX: &str = "recovered-";

impl Volume {
    /// Gives a directory that changed since the checkpoint its marker back, and its entries names
    /// that open. Crash-safe: the marker comes last.
    pub(super) fn recover_names(
        &self,
        parent: &LowerDir,
        dir: &LowerDir,
        path: &str,
        since: LowerTime,
        report: &mut RecoveryReport,
    ) -> Result<(), FsError> {
        if dir.stat_self()?.ctime < since {
            return self.recover_young_names(dir, path, since, report);
        }
        let names = names_in(dir)?;
        let has_marker = !is_unwritten(dir, &own_name(MARKER_NAME)?, MARKER_LEN_MAX)?;
        // The root's is as old as the volume.
        if !has_marker && path.is_empty() {
            return Ok(());
        }
        let marker = if has_marker {
            // A marker that is wrong was not left by a power cut: for fsck.
            let Ok(marker) = self.load_marker(dir) else { return Ok(()) };
            marker
        } else {
            self.new_marker(parent, path)
        };
        for name in &names {
            match classify(name.as_bytes()) {
                LowerEntry::Own => drop_orphan(dir, name)?,
                LowerEntry::Long { sidecar } if has_marker => {
                    if is_unwritten(dir, &sidecar, SIDECAR_LEN_MAX)? {
                        self.rename_nameless(dir, name, &marker, path, report)?;
                    }
                }
                LowerEntry::Short(_) | LowerEntry::Long { .. } if has_marker => {}
                LowerEntry::Short(_) | LowerEntry::Long { .. } => {
                    self.rename_nameless(dir, name, &marker, path, report)?;
                }
                LowerEntry::Foreign => {}
            }
        }
        if has_marker {
            return Ok(());
        }
        dir.sync()?;
        let bytes = marker.encode(self.data_keys.volume(), &self.keys.markers);
        let temporary = self.temporary_name()?;
        dir.replace_file(&own_name(MARKER_NAME)?, &temporary, &bytes, OWN_FILE_MODE)?;
        report.names_lost += 1;
        note_repair(report, format!("{path}: the directory's marker was made anew"));
        Ok(())
    }

    /// The same for new entries of a directory that looks old: btrfs brings back what was synced by itself,
    /// and leaves the times of the directory.
    fn recover_young_names(
        &self,
        dir: &LowerDir,
        path: &str,
        since: LowerTime,
        report: &mut RecoveryReport,
    ) -> Result<(), FsError> {
        let is_young = |name: &LowerName| dir.stat(name).is_ok_and(|stat| stat.ctime >= since);
        for name in names_in(dir)? {
            match classify(name.as_bytes()) {
                LowerEntry::Own if is_young(&name) => drop_orphan(dir, &name)?,
                LowerEntry::Long { sidecar }
                    if is_young(&name) && is_unwritten(dir, &sidecar, SIDECAR_LEN_MAX)? =>
                {
                    let Ok(marker) = self.load_marker(dir) else { return Ok(()) };
                    self.rename_nameless(dir, &name, &marker, path, report)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A marker with a new id for the directory at a lower path.
    fn new_marker(&self, parent: &LowerDir, path: &str) -> DirMarker {
        let id = DirId(random_array(self.data_keys.random()));
        let above = self.load_marker(parent).ok();
        let name = path.rsplit('/').next().map(str::as_bytes).map(LowerName::from_bytes);
        let home = match (&above, name) {
            (Some(above), Some(Ok(name))) => self.dir_home(id, above.dir, &name),
            _ => DirHome::default(),
        };
        DirMarker { dir: id, policy: above.map_or(DEFAULT_POLICY, |above| above.policy), home }
    }

    /// Removes an entry of which nothing reached the disk; gives another one a name.
    fn rename_nameless(
        &self,
        dir: &LowerDir,
        name: &LowerName,
        marker: &DirMarker,
        path: &str,
        report: &mut RecoveryReport,
    ) -> Result<(), FsError> {
        let stat = match dir.stat(name) {
            Err(error) if error.errno == libc::ENOENT => return Ok(()),
            stat => stat?,
        };
        report.names_lost += 1;
        let is_bare = stat.kind == NodeKind::File
            && (stat.len.0 == 0 || is_header_missing(&dir.open_file(name, Access::ReadOnly)?)?);
        if is_bare {
            dir.unlink(name)?;
            note_repair(report, format!("{path}/{name}: removed, neither name nor content came"));
        } else {
            let id: [u8; 8] = random_array(self.data_keys.random());
            let plain = format!("{RECOVERED_PREFIX}{}", crate::codec::hex(&id));
            let form = lower_form(&self.keys.names.seal(&marker.dir.0, plain.as_bytes()));
            dir.rename(name, dir, object(&form), LowerRename::NoReplace)?;
            note_repair(report, format!("{path}/{name}: its name never came, it is {plain} now"));
        }
        drop_sidecar_of(dir, name)
    }
}

/// Whether one of our own small files is missing, or holds nothing but zeros, as a file does whose
/// content never reached the disk.
fn is_unwritten(dir: &LowerDir, name: &LowerName, limit: usize) -> Result<bool, FsError> {
    match dir.read_small(name, limit) {
        Ok(bytes) => Ok(bytes.iter().all(|byte| *byte == 0)),
        Err(error) if error.errno == libc::ENOENT => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Removes the sidecar of an object that is not there.
fn drop_orphan(dir: &LowerDir, name: &LowerName) -> Result<(), FsError> {
    let Some(object) = name.as_bytes().strip_suffix(b".name") else { return Ok(()) };
    let Ok(object) = LowerName::from_bytes(object) else { return Ok(()) };
    let is_orphan = matches!(classify(object.as_bytes()), LowerEntry::Long { .. })
        && matches!(dir.stat(&object), Err(LowerError { errno: libc::ENOENT, .. }));
    if is_orphan { unlink_if_there(dir, name) } else { Ok(()) }
}

fn drop_sidecar_of(dir: &LowerDir, name: &LowerName) -> Result<(), FsError> {
    let LowerEntry::Long { sidecar } = classify(name.as_bytes()) else { return Ok(()) };
    unlink_if_there(dir, &sidecar)
}

fn unlink_if_there(dir: &LowerDir, name: &LowerName) -> Result<(), FsError> {
    match dir.unlink(name) {
        Err(error) if error.errno != libc::ENOENT => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
