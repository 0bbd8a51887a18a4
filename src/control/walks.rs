//! Requests that walk the tree: rewrap, usage, fsck. They report progress and can be ended.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::control::report::{
    FindingRow, FsckReport, RewrapReport, RewrapStatusReport, UsageReport, UsageRow,
};
use crate::control::seam::{FsckMode, RewrapOptions, RewrapProgress, Usage};
use crate::control::session::OnProgress;
use crate::control::{Failure, FsckDepth, Kind, Progress, RewrapRequest, Session};
use crate::kms::{KeyArn, KeyRef};

/// The one rewrap that may be under way, for `rewrap --status`.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    running: AtomicBool,
    done: AtomicU64,
    /// 0: not known.
    total: AtomicU64,
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
        self.note(&RewrapProgress::default());
        Ok(SweepTurn(self))
    }

    fn note(&self, progress: &RewrapProgress) {
        self.done.store(progress.done, Ordering::Relaxed);
        self.total.store(progress.total.unwrap_or(0), Ordering::Relaxed);
        self.failed.store(progress.failed, Ordering::Relaxed);
    }

    pub(super) fn report(&self) -> RewrapStatusReport {
        let total = self.total.load(Ordering::Relaxed);
        RewrapStatusReport {
            running: self.running.load(Ordering::Acquire),
            done: self.done.load(Ordering::Relaxed),
            total: (total > 0).then_some(total),
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
        let _turn = self.sweep.begin()?;
        let options = RewrapOptions {
            key: request.key.as_deref().map(|key| self.key_arn(key)).transpose()?,
            dry_run: request.dry_run,
            rate_per_sec: request.rate_per_sec,
            max_time: request.max_time_secs.map(Duration::from_secs),
            touch: request.touch,
        };
        let mut interrupted = false;
        let report = self.volume.rewrap_tree(&request.paths, &options, &mut |now| {
            self.sweep.note(now);
            let flow = progress(&Progress {
                doing: "rewrapping".to_owned(),
                done: now.done,
                total: now.total,
                failed: now.failed,
            });
            interrupted |= flow.is_break();
            flow
        })?;
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

    pub(super) fn usage(
        &self,
        key: Option<&str>,
        progress: OnProgress<'_>,
    ) -> Result<UsageReport, Failure> {
        let key = key.map(|key| self.key_arn(key)).transpose()?;
        let usage = self.walk("counting", progress, |step| self.volume.usage(step))?;
        let rows = usage.rows.iter().filter(|row| match &key {
            Some(key) => row.key_arn == key.as_str(),
            None => true,
        });
        let rows = rows.map(|row| UsageRow {
            key_arn: row.key_arn.clone(),
            material: row.material.clone(),
            current: self.is_current(&row.key_arn, row.material.as_deref()),
            files: row.files,
            bytes: row.bytes,
        });
        Ok(UsageReport {
            rows: rows.collect(),
            empty_files: usage.empty_files,
            directories: usage.directories,
        })
    }

    /// Whether a material is the current one of its key; `None` if the key service does not say.
    fn is_current(&self, key_arn: &str, material: Option<&str>) -> Option<bool> {
        let key = self.kms.describe_key(&KeyRef::new(key_arn)).ok()?;
        Some(key.current_material?.to_string() == material?)
    }

    /// Files that carry other material than their key's current one, counted for at most `limit`.
    pub(super) fn count_stale(&self, limit: Duration) -> Option<u64> {
        let start = Instant::now();
        let mut on_progress = |_: &Progress| match start.elapsed() < limit {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
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
        let usage: Usage = self.walk("counting", progress, |step| self.volume.usage(step))?;
        let rows = usage.rows.iter().filter(|row| row.key_arn == key.as_str());
        Ok(rows.map(|row| row.files).sum())
    }

    pub(super) fn fsck(
        &self,
        depth: FsckDepth,
        paths: &[PathBuf],
        progress: OnProgress<'_>,
    ) -> Result<FsckReport, Failure> {
        let mode = match depth {
            FsckDepth::Quick => FsckMode::Quick,
            FsckDepth::Full => FsckMode::Full,
        };
        let report = self.walk("checking", progress, |step| self.volume.fsck(mode, paths, step))?;
        let findings = report.findings.into_iter().map(|finding| FindingRow {
            code: finding.code.to_owned(),
            lower_path: finding.lower_path,
            plain_path: finding.plain_path,
            cause: finding.cause,
            mend: finding.mend,
        });
        Ok(FsckReport {
            findings: findings.collect(),
            files: report.files,
            directories: report.dirs,
            bytes: report.bytes,
        })
    }

    /// Walks with progress; a walk that was ended early is [`Kind::Interrupted`].
    fn walk<T>(
        &self,
        doing: &str,
        progress: OnProgress<'_>,
        work: impl FnOnce(&mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<T, crate::fs::FsError>,
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
        let id = super::keys::resolve_prefix(&self.kms, key)?;
        Ok(self.kms.describe_key(&KeyRef::new(&id))?.arn)
    }
}

/// A path inside the volume, from the path of a file and the mount point it lies under.
pub(super) fn inside<'a>(mount_point: &Path, path: &'a Path) -> Option<&'a Path> {
    path.strip_prefix(mount_point).ok()
}
