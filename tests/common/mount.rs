//! A volume that is really mounted, for as long as a test needs it.
//!
//! Dropping it unmounts, shuts the volume down, opens it once more and checks every record: each test
//! on a mount ends with a clean fsck.

#![allow(dead_code)]

use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kmsfs::clock::SystemClock;
use kmsfs::format::volume::KmsPlace;
use kmsfs::fs::{FsckDepth, FsckReport, NewVolume, OpenOptions, Volume, Workers, init};
use kmsfs::fuse::{MountError, MountFlag, MountOptions, Mounted, UnmountHow};
use kmsfs::random::OsRandom;
use kmsfs::testing::FaultKms;
use tempfile::TempDir;

/// Alias that every volume of these tests is made under.
pub const ALIAS: &str = "alias/home";

/// A second alias, for directories under another key.
pub const OTHER_ALIAS: &str = "alias/other";

/// How long an unmount may wait for the last user of the mount.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether this machine can mount. Without `/dev/fuse` a test says so and passes; where CI is set it
/// fails instead.
pub fn can_mount() -> bool {
    let access = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
    if rustix::fs::access("/dev/fuse", access).is_ok() {
        return true;
    }
    skip("no /dev/fuse");
    false
}

/// Says that a test is skipped; where CI is set nothing may be.
pub fn skip(why: &str) {
    assert!(!is_ci(), "not to be skipped where CI is set: {why}");
    eprintln!("skipped: {why}");
}

fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// How to mount.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Writes are gathered in the page cache.
    pub writeback: bool,
    /// Nothing can be changed.
    pub read_only: bool,
    /// suid, sgid and device files work.
    pub privileged: bool,
    /// Only root enters, and the kernel does not check permissions.
    pub root_only: bool,
}

/// A mounted volume.
pub struct MountedVolume {
    /// What it is mounted with.
    pub how: How,
    /// Its key service; keeps its keys over a remount.
    pub kms: Arc<FaultKms>,
    lower: TempDir,
    point: TempDir,
    running: Option<Running>,
}

struct Running {
    volume: Arc<Volume>,
    mounted: Mounted,
    workers: Workers,
}

impl MountedVolume {
    /// A new volume, mounted; `None` where this machine cannot mount.
    pub fn new(how: How) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let kms = Arc::new(FaultKms::new(1, &[ALIAS, OTHER_ALIAS]));
        let (lower, point) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make_volume(lower.path(), &kms);
        // Other users have to get there.
        open_to_all(lower.path());
        open_to_all(point.path());
        let mut volume = Self { how, kms, lower, point, running: None };
        volume.mount(how);
        Some(volume)
    }

    /// Runs a test twice, on a mount that gathers writes and on one that does not.
    pub fn both(test: impl Fn(&mut Self)) {
        for writeback in [false, true] {
            let how = How { writeback, privileged: true, ..How::default() };
            let Some(mut volume) = Self::new(how) else { return };
            eprintln!("{how:?}");
            test(&mut volume);
        }
    }

    fn mount(&mut self, how: How) {
        let volume = Arc::new(open_volume(self.lower.path(), &self.kms, how.read_only));
        let workers = Workers::start(&volume).unwrap();
        let options = MountOptions {
            mount_point: self.point.path().to_path_buf(),
            source: self.lower.path().display().to_string(),
            read_only: how.read_only,
            allow_other: rustix::process::geteuid().is_root() && !how.root_only,
            root_only: how.root_only,
            writeback: how.writeback,
            extra: match how.privileged && rustix::process::geteuid().is_root() {
                true => vec![MountFlag::Suid, MountFlag::Dev],
                false => Vec::new(),
            },
            ..MountOptions::default()
        };
        let mounted = kmsfs::fuse::mount(Arc::clone(&volume), &options).unwrap();
        self.how = how;
        self.running = Some(Running { volume, mounted, workers });
    }

    /// Unmounts, shuts down and mounts again: nothing stays in any cache.
    pub fn remount(&mut self) {
        self.remount_with(self.how);
    }

    /// As [`Self::remount`], in another way.
    pub fn remount_with(&mut self, how: How) {
        self.end();
        self.mount(how);
    }

    fn end(&mut self) {
        let Some(Running { volume, mounted, workers }) = self.running.take() else { return };
        unmount(&mounted);
        assert_no_panics(&mounted);
        mounted.wait().unwrap();
        drop(workers);
        volume.shutdown().unwrap();
        assert_eq!(Arc::strong_count(&volume), 1, "somebody still holds the volume");
    }

    /// The volume behind the mount.
    pub fn volume(&self) -> &Arc<Volume> {
        &self.running.as_ref().unwrap().volume
    }

    /// The mount.
    pub fn mounted(&self) -> &Mounted {
        &self.running.as_ref().unwrap().mounted
    }

    /// Where it is mounted.
    pub fn root(&self) -> &Path {
        self.point.path()
    }

    /// A path inside the mount.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join(name)
    }

    /// The lower directory.
    pub fn lower(&self) -> &Path {
        self.lower.path()
    }

    /// Requests of one kind so far.
    pub fn count(&self, op: &str) -> u64 {
        let counts = self.mounted().counters().snapshot();
        counts.iter().find(|(name, _)| *name == op).unwrap().1
    }
}

impl Drop for MountedVolume {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Some(running) = self.running.take() {
                let _ = running.mounted.unmount(UnmountHow::Lazy);
            }
            return;
        }
        self.end();
        let report = check(self.lower.path(), &self.kms);
        assert!(report.findings.is_empty(), "{:#?}", report.findings);
    }
}

/// Makes a volume of an empty directory.
pub fn make_volume(lower: &Path, kms: &FaultKms) {
    let new = NewVolume {
        kms: KmsPlace::Embedded,
        alias: ALIAS,
        service: kms,
        random: &OsRandom,
        clock: &SystemClock,
    };
    init(lower, &new).unwrap();
}

/// Opens a volume.
pub fn open_volume(lower: &Path, kms: &Arc<FaultKms>, read_only: bool) -> Volume {
    let service = Arc::clone(kms);
    let options = OpenOptions { read_only };
    Volume::open(lower, service, Arc::new(OsRandom), Arc::new(SystemClock), options).unwrap()
}

/// Checks every record of a volume that nobody has open.
pub fn check(lower: &Path, kms: &Arc<FaultKms>) -> FsckReport {
    let volume = open_volume(lower, kms, true);
    let report = volume.fsck(FsckDepth::Full, &mut |_| ControlFlow::Continue(())).unwrap();
    volume.shutdown().unwrap();
    report
}

/// Unmounts cleanly; something may still be closing its last file.
fn unmount(mounted: &Mounted) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match mounted.unmount(UnmountHow::Clean) {
            Err(MountError::Busy { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done.unwrap(),
        }
    }
}

fn assert_no_panics(mounted: &Mounted) {
    let counts = mounted.counters().snapshot();
    assert_eq!(counts.last(), Some(&("panics", 0)), "a request panicked");
}

/// Lets every user enter a directory.
fn open_to_all(dir: &Path) {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
}
