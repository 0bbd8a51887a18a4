//! The recovery pass: at the first read-write opening after an unclean stop, everything that changed
//! since the last checkpoint is mended.

use std::sync::Arc;

use serde::Serialize;

use crate::format::ids::DirId;
use crate::format::name::{LowerEntry, TEMPORARY_PREFIX, classify};
use crate::format::state::VolumeState;
use crate::fs::recover::{Mended, mend};
use crate::fs::{FsError, Volume};
use crate::lower::{Access, LowerDir, LowerTime, NodeKind};
use crate::name::LowerName;

/// Most repairs that are kept by name; the others are counted.
const LISTED_MAX: usize = 1000;

/// Seconds that clock and file times may differ.
pub(super) const SLACK_SECS: i64 = 5;

/// What a recovery did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecoveryReport {
    /// Files that had changed since the last checkpoint.
    pub files_checked: u64,
    /// Files that were mended.
    pub files_mended: u64,
    /// Files that could not be looked at, or hold blocks that do not open.
    pub files_failed: u64,
    /// Of these, not looked at, for want of a key or of the lower filesystem. The next opening looks
    /// again, at everything that this one looked at.
    pub files_postponed: u64,
    /// Directories without a marker, and entries without a name: both got new ones, and what held
    /// nothing was removed.
    pub names_lost: u64,
    /// Half-made directories and files that were removed.
    pub leftovers_removed: u64,
    /// Lower path and what was done, for the first of them.
    pub repairs: Vec<String>,
}

/// What a recovery looks at.
#[derive(Clone, Copy)]
struct Reach {
    /// Everything that changed since, by its times on disk.
    since: LowerTime,
    /// The homes of all other files too.
    old_moves: bool,
}

/// A directory whose turn has not come. It is opened then: a broad tree must not take all descriptors.
struct Waiting {
    /// The directory that it lies in.
    parent: Arc<LowerDir>,
    /// The id of that one, unless its marker does not open.
    parent_id: Option<DirId>,
    name: LowerName,
    path: String,
}

impl Volume {
    /// Mends what changed since the last checkpoint.
    pub(super) fn recover(&self, state: &VolumeState) -> Result<RecoveryReport, FsError> {
        let mut report = RecoveryReport::default();
        let since = LowerTime {
            secs: state.checkpoint_secs.saturating_sub(SLACK_SECS),
            nanos: state.checkpoint_nanos,
        };
        let reach = Reach { since, old_moves: state.old_moves };
        let mut waiting: Vec<Waiting> = Vec::new();
        self.recover_names(&self.root, &self.root, "", since, &mut report)?;
        self.recover_dir(&self.root, None, "", reach, &mut report, &mut waiting)?;
        while let Some(next) = waiting.pop() {
            let Waiting { parent, parent_id, name, path } = next;
            let looked = parent.open_dir(&name).map_err(FsError::from).and_then(|dir| {
                let named = self.recover_names(&parent, &dir, &path, since, &mut report);
                let place = parent_id.map(|id| (id, &name));
                self.recover_dir(&Arc::new(dir), place, &path, reach, &mut report, &mut waiting)?;
                named
            });
            if let Err(error) = looked {
                note(&mut report, &path, &Err(error));
            }
        }
        for name in names_in(&self.own)? {
            if name.as_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
                self.remove_leftover(&self.own, &name);
                report.leftovers_removed += 1;
            }
        }
        tracing::info!(
            checked = report.files_checked,
            mended = report.files_mended,
            failed = report.files_failed,
            names = report.names_lost,
            "recovered after an unclean stop"
        );
        Ok(report)
    }

    fn recover_dir(
        &self,
        dir: &Arc<LowerDir>,
        place: Option<(DirId, &LowerName)>,
        path: &str,
        reach: Reach,
        report: &mut RecoveryReport,
        waiting: &mut Vec<Waiting>,
    ) -> Result<(), FsError> {
        // Without a marker nothing in it can be bound, or opened.
        let marker = self.load_marker(dir).ok();
        if let (Some(marker), Some((parent_id, name))) = (marker, place) {
            // However old the directory looks: its home lies in another file, and may have reached the
            // disk before a rename that did not.
            note_bound(report, path, self.bind_dir(dir, marker, parent_id, name));
        }
        let id = marker.map(|marker| marker.dir);
        for name in names_in(dir)? {
            let path = format!("{path}/{name}");
            if name.as_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
                self.remove_leftover(dir, &name);
                report.leftovers_removed += 1;
                continue;
            }
            if classify(name.as_bytes()) == LowerEntry::Own {
                continue;
            }
            match dir.stat(&name) {
                Ok(stat) if stat.kind == NodeKind::Dir => {
                    let parent = Arc::clone(dir);
                    waiting.push(Waiting { parent, parent_id: id, name, path });
                }
                Ok(stat) if stat.kind == NodeKind::File && stat.ctime >= reach.since => {
                    report.files_checked += 1;
                    let file = dir.open_file(&name, Access::ReadWrite).map_err(FsError::from);
                    note(report, &path, &file.and_then(|file| mend(&file, &self.data_keys)));
                    if let (Some(id), Ok(stat)) = (id, dir.stat(&name)) {
                        note_bound(report, &path, self.bind_here(dir, id, &name, &stat));
                    }
                }
                Ok(stat) if reach.old_moves && stat.kind == NodeKind::File && stat.len.0 > 0 => {
                    if let Some(id) = id {
                        note_bound(report, &path, self.bind_here(dir, id, &name, &stat));
                    }
                }
                Ok(_) => {}
                Err(error) => note(report, &path, &Err(error.into())),
            }
        }
        Ok(())
    }

    pub(super) fn remove_leftover(&self, dir: &LowerDir, name: &LowerName) {
        match dir.stat(name) {
            Ok(stat) if stat.kind == NodeKind::Dir => self.discard_dir(dir, name),
            Ok(_) => {
                if let Err(error) = dir.unlink(name) {
                    tracing::warn!(%error, %name, "removing a leftover");
                }
            }
            Err(_) => {}
        }
    }
}

/// All names of a lower directory.
pub(super) fn names_in(dir: &LowerDir) -> Result<Vec<LowerName>, FsError> {
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut names = Vec::new();
    let mut cookie = 0;
    loop {
        let entries = dir.entries(cookie, &mut buffer)?;
        if entries.is_empty() {
            return Ok(names);
        }
        for entry in entries {
            cookie = entry.cookie;
            names.extend(LowerName::from_bytes(entry.name).ok());
        }
    }
}

fn note(report: &mut RecoveryReport, path: &str, mended: &Result<Mended, FsError>) {
    let text = match mended {
        Ok(mended) if mended.corrupt_blocks > 0 => {
            report.files_failed += 1;
            format!("{path}: {} blocks do not open", mended.corrupt_blocks)
        }
        Ok(mended) if mended.is_changed() => {
            report.files_mended += 1;
            format!("{path}: {}", describe(mended))
        }
        Ok(_) => return,
        Err(error) => {
            report.files_failed += 1;
            report.files_postponed += u64::from(!matches!(error, FsError::Corrupt(_)));
            format!("{path}: {error}")
        }
    };
    note_repair(report, text);
}

/// Logs a repair, and keeps it if there is room.
pub(super) fn note_repair(report: &mut RecoveryReport, text: String) {
    tracing::warn!(repair = %text, "recovery");
    if report.repairs.len() < LISTED_MAX {
        report.repairs.push(text);
    }
}

/// A rename that was under way: what was moved belongs where it lies.
fn note_bound(report: &mut RecoveryReport, path: &str, bound: Result<bool, FsError>) {
    match bound {
        Ok(false) => {}
        Ok(true) => {
            report.files_mended += 1;
            let text = format!("{path}: bound to where it lies");
            tracing::warn!(repair = %text, "recovery");
            if report.repairs.len() < LISTED_MAX {
                report.repairs.push(text);
            }
        }
        // Why it cannot be opened is told elsewhere.
        Err(error) => tracing::warn!(%path, %error, "binding to where it lies"),
    }
}

fn describe(mended: &Mended) -> String {
    let mut done = Vec::new();
    if let Some(from) = mended.length_from {
        done.push(format!("length set back from {from}"));
    }
    if mended.marked_sparse {
        done.push("missing pages became holes".to_owned());
    }
    if mended.tail_sealed {
        done.push("last block sealed anew".to_owned());
    }
    done.join(", ")
}
