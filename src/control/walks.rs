//! Requests that walk the tree: rewrap, usage, fsck. They report progress and can be ended.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::control::keys::{COUNT_TIME_MAX, look, resolve_prefix};
use crate::control::known::{Growth, report_counted, revoked_materials};
use crate::control::report::{
    FindingRow, FsckReport, RewrapReport, RewrapStatusReport, UsageReport, UsageRow,
};
use crate::control::session::{OnProgress, at as located};
use crate::control::{Failure, FsckDepth, Kind, Progress, RepairRequest, RewrapRequest, Session};
use crate::fs;
use crate::fs::{FsError, RewrapOptions, Usage};
use crate::kms::{KeyArn, KeyRef};

/// The one rewrap that may be under way, for `rewrap --status`.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    running: AtomicBool,
    done: AtomicU64,
    failed: AtomicU64,
}

/// Ends the sweep on drop.
struct SweepTurn<'a>(&'a Sweep);

impl Drop for SweepTurn<'_> {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

impl Sweep {
    fn begin(&self) -> Result<SweepTurn<'_>, Failure> {
        if self.running.swap(true, Ordering::AcqRel) {
            let what = "a rewrap of this volume is under way";
            return Err(Failure::new(Kind::AlreadyRunning, what).hint("kmsfs rewrap MNT --status"));
        }
        self.note(&fs::RewrapReport::default());
        Ok(SweepTurn(self))
    }

    fn note(&self, progress: &fs::RewrapReport) {
        self.done.store(progress.seen, Ordering::Relaxed);
        self.failed.store(progress.failed, Ordering::Relaxed);
    }

    pub(super) fn report(&self) -> RewrapStatusReport {
        RewrapStatusReport {
            running: self.running.load(Ordering::Acquire),
            done: self.done.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            ..RewrapStatusReport::default()
        }
    }
}

impl Session {
    pub(super) fn rewrap(
        &self,
        request: &RewrapRequest,
        progress: OnProgress<'_>,
    ) -> Result<RewrapReport, Failure> {
        let key = request.key.as_deref().map(|key| self.key_arn(key)).transpose()?;
        let options = RewrapOptions {
            key_arn: key.map(|arn| arn.to_string()),
            material: None,
            dry_run: request.dry_run,
            rate_per_sec: request.rate_per_sec,
            max_secs: request.max_secs,
            touch: request.touch,
        };
        let (report, interrupted) = self.rewrap_files(&request.paths, &options, progress)?;
        if report.rewrapped > 0 {
            self.recount(COUNT_TIME_MAX);
        }
        Ok(RewrapReport {
            seen: report.seen,
            stale: report.stale,
            rewrapped: report.rewrapped,
            failed: report.failed,
            left: report.left,
            dry_run: request.dry_run,
            interrupted,
        })
    }

    /// Rewraps what is stale, one sweep at a time; tells what came of it, and whether somebody ended it.
    pub(super) fn rewrap_files(
        &self,
        paths: &[PathBuf],
        options: &RewrapOptions,
        progress: OnProgress<'_>,
    ) -> Result<(fs::RewrapReport, bool), Failure> {
        let _turn = self.sweep.begin()?;
        let mut interrupted = false;
        let report = self.volume.rewrap_tree(paths, options, &mut |now| {
            self.sweep.note(now);
            let flow = progress(&Progress {
                doing: "rewrapping".to_owned(),
                done: now.seen,
                total: None,
                failed: now.failed,
            });
            interrupted |= flow.is_break();
            flow
        })?;
        Ok((report, interrupted))
    }

    pub(super) fn usage(
        &self,
        key: Option<&str>,
        progress: OnProgress<'_>,
    ) -> Result<UsageReport, Failure> {
        let key = key.map(|key| self.key_arn(key)).transpose()?;
        let usage = self.count(progress)?;
        let rows = usage.rows.iter().filter(|row| match &key {
            Some(key) => row.key_arn == key.as_str(),
            None => true,
        });
        let revoked = revoked_materials(&*self.kms);
        let rows = rows.map(|row| UsageRow {
            key_arn: row.key_arn.clone(),
            material: row.material.clone(),
            current: self.is_current(&row.key_arn, row.material.as_deref()),
            revoked: revoked.contains(row.material.as_deref().unwrap_or_default()),
            files: row.files,
            bytes: row.bytes,
            volume_key: row.volume_key,
        });
        Ok(UsageReport {
            rows: rows.collect(),
            empty_files: usage.empty_files,
            unreadable_files: usage.unreadable_files,
            directories: usage.directories,
        })
    }

    /// Counts all files, and tells the key service.
    pub(super) fn count(&self, progress: OnProgress<'_>) -> Result<Usage, Failure> {
        let usage = self.walk("counting", progress, |step| self.volume.usage(step))?;
        let is_in_use = self.mount.as_ref().is_some_and(|mount| !mount.hello().read_only);
        let growth = if is_in_use { Growth::Going } else { Growth::Ended };
        report_counted(&*self.kms, &self.volume, &usage, growth);
        Ok(usage)
    }

    /// Counts for at most `limit`, for the sake of what the key service knows.
    fn recount(&self, limit: Duration) {
        if let Err(failure) = self.count(&mut until(limit)) {
            tracing::debug!("files are not counted: {failure}");
        }
    }

    /// Whether a material is the current one of its key; `None` if the key service does not say.
    fn is_current(&self, key_arn: &str, material: Option<&str>) -> Option<bool> {
        let key = look(&*self.kms, &KeyRef::new(key_arn)).ok()?;
        Some(key.current_material?.to_string() == material?)
    }

    /// Files that carry other material than their key's current one, counted for at most `limit`.
    pub(super) fn count_stale(&self, limit: Duration) -> Option<u64> {
        let mut on_progress = until(limit);
        let usage = self.usage(None, &mut on_progress).ok()?;
        let stale = usage.rows.iter().filter(|row| row.current == Some(false));
        Some(stale.map(|row| row.files).sum())
    }

    /// Files wrapped by a key, whatever the material.
    pub(super) fn count_files_of(
        &self,
        key: &KeyArn,
        progress: OnProgress<'_>,
    ) -> Result<u64, Failure> {
        let usage = self.count(progress)?;
        let rows = usage.rows.iter().filter(|row| row.key_arn == key.as_str());
        Ok(rows.map(|row| row.files).sum())
    }

    pub(super) fn fsck(
        &self,
        depth: FsckDepth,
        paths: &[PathBuf],
        repair: Option<RepairRequest>,
        progress: OnProgress<'_>,
    ) -> Result<FsckReport, Failure> {
        if repair.is_some_and(|repair| !repair.dry_run) && self.mount.is_some() {
            let what = "a repair needs the volume for itself";
            let hint = format!("kmsfs umount {}", self.shown_path().display());
            return Err(Failure::new(Kind::InUse, what).hint(hint));
        }
        let depth = match depth {
            FsckDepth::Quick => fs::FsckDepth::Quick,
            FsckDepth::Full => fs::FsckDepth::Full,
        };
        let wanted =
            paths.iter().map(|path| self.lower_path(path)).collect::<Result<Vec<_>, _>>()?;
        let is_wanted =
            |found: &str| wanted.is_empty() || wanted.iter().any(|w| is_below(found, w));
        let report = match repair {
            None => self.walk("checking", progress, |step| self.volume.fsck(depth, step)),
            Some(repair) => {
                let rebind = if repair.rebind { fs::Rebind::Accept } else { fs::Rebind::Refuse };
                self.walk("repairing", progress, |step| match repair.dry_run {
                    true => self.volume.repair_dry_run(depth, rebind, step),
                    false => self.volume.repair(depth, rebind, step),
                })
            }
        }?;
        let findings = report.findings.into_iter().filter(|f| is_wanted(&f.lower_path));
        let findings = findings.map(FindingRow::from);
        Ok(FsckReport {
            findings: findings.collect(),
            files: report.files,
            directories: report.directories,
            bytes: report.bytes,
        })
    }

    /// Where a path of the volume lies in the lower directory, as findings show it.
    fn lower_path(&self, path: &Path) -> Result<String, Failure> {
        let mut lower: Vec<String> = Vec::new();
        let mut at = PathBuf::new();
        for component in path.components() {
            at.push(component);
            let status = self.volume.file_status(&at).map_err(|error| located(path, error))?;
            lower.extend(status.lower_name);
        }
        Ok(lower.join("/"))
    }

    /// Walks with progress; a walk that was ended early is [`Kind::Interrupted`].
    fn walk<T>(
        &self,
        doing: &str,
        progress: OnProgress<'_>,
        work: impl FnOnce(&mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<T, FsError>,
    ) -> Result<T, Failure> {
        let mut interrupted = false;
        let result = work(&mut |done| {
            let now = Progress { doing: doing.to_owned(), done, ..Progress::default() };
            let flow = progress(&now);
            interrupted |= flow.is_break();
            flow
        });
        if interrupted {
            return Err(
                Failure::new(Kind::Interrupted, "interrupted").hint("run the same command again")
            );
        }
        Ok(result?)
    }

    /// Resolves what the user calls a key: alias, ARN, id, or a unique prefix of an id.
    pub(super) fn key_arn(&self, key: &str) -> Result<KeyArn, Failure> {
        let id = resolve_prefix(&*self.kms, key)?;
        Ok(look(&*self.kms, &KeyRef::new(&id))?.arn)
    }
}

/// Progress of work that is ended after a while.
fn until(limit: Duration) -> impl FnMut(&Progress) -> ControlFlow<()> {
    let start = Instant::now();
    move |_| match start.elapsed() < limit {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    }
}

/// Whether a lower path is `dir`, or lies below it.
fn is_below(path: &str, dir: &str) -> bool {
    let rest = path.strip_prefix(dir);
    dir.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path inside the volume, from the path of a file and the mount point it lies under.
pub(super) fn inside<'a>(mount_point: &Path, path: &'a Path) -> Option<&'a Path> {
    path.strip_prefix(mount_point).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_begins_alike_is_not_below() {
        assert!(is_below("a/b", "a") && is_below("a", "a") && is_below("a/b", ""));
        assert!(!is_below("ab", "a") && !is_below("b/a", "a"));
    }
}
