//! Looking for everything that does not fit, by several threads; mending it, by one. What is done
//! about each finding stands in `repair`.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::format::layout::{PAYLOAD, block_count, block_start, is_legal, payload_len, plain_len};
use crate::format::name::{LowerEntry, TEMPORARY_PREFIX, classify};
use crate::fs::nodes::Node;
use crate::fs::recover_tree::names_in;
use crate::fs::{CorruptPart, Finding, FsError, FsckDepth, FsckReport, Rebind, Repair, Volume};
use crate::lower::{LowerDir, LowerError, LowerStat, NodeKind};
use crate::name::LowerName;
use crate::units::BlockNo;

/// Threads at most: beyond it the lower disk is the limit.
const THREADS_MAX: usize = 8;
/// Entries of one directory that a thread takes at once.
const BATCH: usize = 128;
/// Most times that a file is mended in one check.
const MENDS_MAX: usize = 3;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

impl Volume {
    /// Checks everything below the root. `progress` is told the number of files and may stop it.
    ///
    /// # Errors
    /// `FsError::Lower` if the root cannot be read; everything else is a finding.
    pub fn fsck(
        &self,
        depth: FsckDepth,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<FsckReport, FsError> {
        self.check_all(depth, Repair::Nothing, progress)
    }

    /// Checks everything, and mends what can be mended.
    ///
    /// # Errors
    /// `FsError::ReadOnly` unless nothing is to be changed; as [`Volume::fsck`].
    pub fn repair(
        &self,
        depth: FsckDepth,
        rebind: Rebind,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<FsckReport, FsError> {
        self.check_writable()?;
        self.check_all(depth, Repair::Mend(rebind), progress)
    }

    /// Checks everything, and tells what a repair would do.
    ///
    /// # Errors
    /// As [`Volume::fsck`].
    pub fn repair_dry_run(
        &self,
        depth: FsckDepth,
        rebind: Rebind,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<FsckReport, FsError> {
        self.check_all(depth, Repair::DryRun(rebind), progress)
    }

    fn check_all(
        &self,
        depth: FsckDepth,
        repair: Repair,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<FsckReport, FsError> {
        let check = Check::new(self, depth, repair);
        if !self.state_is_known {
            check.add(Finding::of_state());
        }
        let root = Arc::clone(self.nodes.root());
        check.push(Job::Dir(
            Arc::new(Hold { volume: self, node: root, counted: false }),
            String::new(),
        ));
        // One thing is mended after another.
        let threads = match repair {
            Repair::Nothing => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            Repair::DryRun(_) | Repair::Mend(_) => 1,
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.min(THREADS_MAX) {
                scope.spawn(|| check.work());
            }
            while check.is_under_way() {
                if progress(check.files.load(Ordering::Relaxed)).is_break() {
                    check.stop();
                }
            }
        });
        let _ = progress(check.files.load(Ordering::Relaxed));
        Ok(check.report())
    }
}

/// A node that is looked up as long as somebody works in it.
pub(super) struct Hold<'a> {
    volume: &'a Volume,
    pub(super) node: Arc<Node>,
    counted: bool,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.volume.let_go(&self.node);
        }
    }
}

/// A piece of work.
enum Job<'a> {
    Dir(Arc<Hold<'a>>, String),
    Entries(Arc<Hold<'a>>, String, Vec<LowerName>),
}

/// A check under way.
pub(super) struct Check<'a> {
    pub(super) volume: &'a Volume,
    depth: FsckDepth,
    pub(super) repair: Repair,
    files: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
    findings: Mutex<Vec<Finding>>,
    jobs: Mutex<Jobs<'a>>,
    changed: Condvar,
    stopped: AtomicBool,
}

struct Jobs<'a> {
    waiting: VecDeque<Job<'a>>,
    busy: usize,
}

impl<'a> Check<'a> {
    fn new(volume: &'a Volume, depth: FsckDepth, repair: Repair) -> Self {
        Self {
            volume,
            depth,
            repair,
            files: AtomicU64::new(0),
            directories: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            findings: Mutex::default(),
            jobs: Mutex::new(Jobs { waiting: VecDeque::new(), busy: 0 }),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        }
    }

    fn report(self) -> FsckReport {
        let mut findings = self.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        findings.sort_by(|a, b| (&a.lower_path, &a.code).cmp(&(&b.lower_path, &b.code)));
        FsckReport {
            findings,
            files: self.files.into_inner(),
            directories: self.directories.into_inner(),
            bytes: self.bytes.into_inner(),
        }
    }

    /// Notes a finding.
    pub(super) fn add(&self, finding: Finding) {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
    }

    /// Notes the finding that an error is, and what is done about it by `mend`.
    pub(super) fn add_mended(
        &self,
        path: &str,
        error: &FsError,
        mend: impl FnOnce() -> Result<Option<String>, FsError>,
    ) {
        let finding = Finding::of(path, error);
        self.add_finding_mended(finding, mend);
    }

    pub(super) fn add_finding_mended(
        &self,
        finding: Finding,
        mend: impl FnOnce() -> Result<Option<String>, FsError>,
    ) {
        let mended = match self.repair {
            Repair::Nothing => None,
            Repair::DryRun(_) | Repair::Mend(_) => match mend() {
                Ok(mended) => mended,
                Err(error) => {
                    let cause = format!("{}; repair failed: {error}", finding.cause);
                    self.add(Finding { cause, ..finding });
                    return;
                }
            },
        };
        self.add(Finding { mended, ..finding });
    }

    fn push(&self, job: Job<'a>) {
        self.lock().waiting.push_back(job);
        self.changed.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Jobs<'a>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Waits a moment; whether there is still something to do.
    fn is_under_way(&self) -> bool {
        let jobs = self.lock();
        let is_done = |jobs: &Jobs<'_>| jobs.waiting.is_empty() && jobs.busy == 0;
        if is_done(&jobs) {
            return false;
        }
        let waited = self.changed.wait_timeout(jobs, PROGRESS_EVERY);
        let (jobs, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !is_done(&jobs)
    }

    /// Takes jobs until none is left and nobody makes new ones.
    fn work(&self) {
        loop {
            let mut jobs = self.lock();
            let job = loop {
                // The latest first: the tree is walked in depth, and few directories wait.
                if let Some(job) = jobs.waiting.pop_back() {
                    jobs.busy += 1;
                    break job;
                }
                if jobs.busy == 0 {
                    self.changed.notify_all();
                    return;
                }
                jobs = self.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            };
            drop(jobs);
            if !self.stopped.load(Ordering::Acquire) {
                match &job {
                    Job::Dir(hold, path) => self.check_dir(hold, path),
                    Job::Entries(hold, path, names) => self.check_entries(hold, path, names),
                }
            }
            drop(job);
            self.lock().busy -= 1;
            self.changed.notify_all();
        }
    }

    fn check_dir(&self, hold: &Arc<Hold<'a>>, path: &str) {
        self.directories.fetch_add(1, Ordering::Relaxed);
        let (volume, node) = (self.volume, &hold.node);
        if let Err(error) = volume.names_of(node) {
            self.add_mended(path, &error, || self.mend_marker(node, &error));
            if volume.names_of(node).is_err() {
                return;
            }
        }
        self.check_xattrs(node, path);
        let names = match volume.dir_of(node).and_then(|dir| names_in(&dir)) {
            Ok(names) => names,
            Err(error) => return self.add(Finding::of(path, &error)),
        };
        for batch in names.chunks(BATCH) {
            self.push(Job::Entries(Arc::clone(hold), path.to_owned(), batch.to_vec()));
        }
    }

    fn check_entries(&self, hold: &Arc<Hold<'a>>, path: &str, names: &[LowerName]) {
        for lower in names {
            if self.stopped.load(Ordering::Acquire) {
                return;
            }
            let path = format!("{path}/{lower}");
            match self.check_entry(hold, lower, &path) {
                // Removed meanwhile, through the mount.
                Ok(()) | Err(FsError::Lower(LowerError { errno: libc::ENOENT, .. })) => {}
                Err(error) => self.add(Finding::of(&path, &error)),
            }
        }
    }

    fn check_entry(
        &self,
        hold: &Arc<Hold<'a>>,
        lower: &LowerName,
        path: &str,
    ) -> Result<(), FsError> {
        let (volume, node) = (self.volume, &hold.node);
        let dir = volume.dir_of(node)?;
        match volume.names_of(node)?.open(&dir, lower.as_bytes()) {
            Ok(None) => {
                self.check_own_entry(&dir, lower, path);
                return Ok(());
            }
            Ok(Some(_)) => {}
            Err(error) => {
                self.add_mended(path, &error, || self.mend_name(node, &dir, lower));
                return Ok(());
            }
        }
        let (stat, child) = volume.look_and_step(node, &dir, lower)?;
        let child = Arc::new(Hold { volume, node: child, counted: true });
        match stat.kind {
            NodeKind::Dir => self.push(Job::Dir(child, path.to_owned())),
            NodeKind::File => {
                self.files.fetch_add(1, Ordering::Relaxed);
                self.check_file(node, &child.node, lower, &stat, path);
            }
            NodeKind::Symlink => {
                if let Err(error) = volume.readlink_of(&child.node) {
                    self.add_mended(path, &error, || self.set_aside(&dir, lower, &error));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check_file(
        &self,
        parent: &Arc<Node>,
        node: &Arc<Node>,
        lower: &LowerName,
        stat: &LowerStat,
        path: &str,
    ) {
        // What lies elsewhere is looked into once it is accepted there.
        for _ in 0..MENDS_MAX {
            let errors = self.errors_in(node);
            let Some(first) = errors.first() else {
                return self.check_xattrs(node, path);
            };
            let mut is_mended = false;
            self.add_mended(path, first, || {
                let mended = self.mend_file(parent, node, lower, stat, &errors)?;
                is_mended = mended.is_some();
                Ok(mended)
            });
            // One repair mends all that is wrong with a file's content.
            for error in errors.iter().skip(1) {
                let with_it = || is_mended.then(|| "with the finding above".to_owned());
                self.add_mended(path, error, || Ok(with_it()));
            }
            let is_gone = errors.contains(&FsError::Corrupt(CorruptPart::Header));
            if !is_mended || is_gone || !matches!(self.repair, Repair::Mend(_)) {
                return;
            }
        }
    }

    /// Everything that does not fit in one file's header and content.
    pub(super) fn errors_in(&self, node: &Arc<Node>) -> Vec<FsError> {
        let mut errors = Vec::new();
        let checked = self.volume.with_file(node, |env| {
            let lower = env.file.len()?;
            if lower.0 == 0 {
                return Ok(());
            }
            if !is_legal(lower) {
                errors.push(FsError::Corrupt(CorruptPart::Length));
            }
            // Opens the header, and verifies it.
            node.file.keys(env)?;
            let size = plain_len(lower);
            if self.depth == FsckDepth::Quick {
                return Ok(());
            }
            let mut no = 0;
            while no < block_count(size) {
                let block = node.file.next_record(env, BlockNo(no))?;
                no = block.0 + 1;
                let mut plain = [0; PAYLOAD];
                let out = plain.get_mut(..payload_len(block)).unwrap_or_default();
                match node.file.read(env, block_start(block), out) {
                    Ok(got) => {
                        self.bytes.fetch_add(u64::try_from(got).unwrap_or(0), Ordering::Relaxed);
                    }
                    Err(error) => errors.push(error),
                }
            }
            Ok(())
        });
        errors.extend(checked.err());
        errors
    }

    fn check_xattrs(&self, node: &Arc<Node>, path: &str) {
        if let Err(error) = self.volume.check_xattrs(node) {
            self.add_mended(path, &error, || self.mend_xattrs(node));
        }
    }

    /// Sidecars without their object and things that were being made when the power went.
    fn check_own_entry(&self, dir: &LowerDir, name: &LowerName, path: &str) {
        if name.as_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
            let finding = Finding::new("leftover", path, "was being made or removed");
            return self.add_finding_mended(finding, || self.remove_leftover(dir, name));
        }
        let Some(object) = name.as_bytes().strip_suffix(b".name") else {
            return;
        };
        let is_missing = match LowerName::from_bytes(object) {
            Ok(object) if matches!(classify(object.as_bytes()), LowerEntry::Long { .. }) => {
                matches!(dir.stat(&object), Err(LowerError { errno: libc::ENOENT, .. }))
            }
            _ => false,
        };
        if is_missing {
            let finding = Finding::new("orphan-sidecar", path, "no entry has this long name");
            self.add_finding_mended(finding, || self.remove_leftover(dir, name));
        }
    }
}
