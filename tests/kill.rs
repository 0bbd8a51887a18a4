//! SIGKILL of a mount in the middle of its work: whatever fsync returned for is there afterwards,
//! and the volume is clean. Laws K1 to K4 of docs/FORMAT.md, for a daemon that dies.
//!
//! The test starts itself as the mounting process, writes through the mount, kills it, and opens the
//! volume with the same key service, made from the same seed. `KMSFS_KILLS` says how often.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test that cannot go on ends"
)]

#[path = "common/mount.rs"]
mod mount;
#[path = "common/promises.rs"]
mod promises;
#[path = "common/writers.rs"]
mod writers;

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kmsfs::fs::Workers;
use kmsfs::fuse::MountOptions;
use kmsfs::random::{Random, SeededRandom};
use kmsfs::testing::FaultKms;
use rustix::mount::UnmountFlags;

use mount::{ALIAS, OTHER_ALIAS, can_mount, check, make_volume, open_volume};
use promises::{Promises, Tally};
use writers::{Limits, Moment, Writer};

/// Where the child mounts: lower directory, mount point, `wb` or `wt`.
const MOUNT: &str = "KMSFS_TEST_MOUNT";

/// Seed of the key service; with it parent and child have the same keys.
const SEED: u64 = 7;

/// Kills by default.
const KILLS: u64 = 20;

/// Longest time that the writers get before the kill.
const WORK_MS: u64 = 300;

fn service() -> Arc<FaultKms> {
    Arc::new(FaultKms::new(SEED, &[ALIAS, OTHER_ALIAS]))
}

/// The process that is killed. Not a test of its own: without the variable it does nothing.
#[test]
fn mounting_process() {
    let Some(words) = std::env::var_os(MOUNT) else { return };
    let words = words.into_string().unwrap();
    let [lower, point, mode] = words.split('|').collect::<Vec<_>>()[..] else { panic!("{words}") };
    let volume = Arc::new(open_volume(Path::new(lower), &service(), false));
    let workers = Workers::start(&volume).unwrap();
    let options = MountOptions {
        mount_point: PathBuf::from(point),
        source: lower.to_owned(),
        writeback: mode == "wb",
        ..MountOptions::default()
    };
    let mounted = kmsfs::fuse::mount(Arc::clone(&volume), &options).unwrap();
    println!("mounted");
    io::stdout().flush().unwrap();
    mounted.wait().unwrap();
    drop(workers);
    volume.shutdown().unwrap();
}

/// A mounting process, killed at the latest when this goes.
struct Daemon {
    child: Child,
    point: PathBuf,
}

impl Daemon {
    fn start(lower: &Path, point: &Path, writeback: bool) -> Self {
        let mode = if writeback { "wb" } else { "wt" };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "mounting_process"])
            .env(MOUNT, format!("{}|{}|{mode}", lower.display(), point.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("mounted")), "it did not mount");
        // The rest of its output goes nowhere, but is taken, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, point: point.to_path_buf() }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What is left of it answers ENOTCONN until it is taken away.
        let _ = rustix::mount::unmount(&self.point, UnmountFlags::DETACH);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn kill_once(seed: u64) {
    let (lower, point) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_volume(lower.path(), &service());
    let writeback = seed.is_multiple_of(2);
    let mut daemon = Daemon::start(lower.path(), point.path(), writeback);
    let no_clock: Moment = Arc::new(|| 0);
    let limits = Limits { name: 250, target: 3900 };
    let mut writers: Vec<Writer> = (0..3)
        .map(|no| Writer::new(point.path(), no, seed, Arc::clone(&no_clock), limits))
        .collect();
    let is_over = AtomicBool::new(false);
    let mut random = [0; 8];
    SeededRandom::new(seed).fill(&mut random);
    let moment = Duration::from_millis(u64::from_le_bytes(random) % WORK_MS);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for writer in &mut writers {
            let is_over = &is_over;
            scope.spawn(move || writer.run(usize::MAX, is_over));
        }
        std::thread::sleep(moment.saturating_sub(started.elapsed()));
        daemon.kill();
        is_over.store(true, Ordering::Relaxed);
    });
    drop(daemon);

    // A process that died leaves everything that it wrote; recovery must lose none of it.
    let daemon = Daemon::start(lower.path(), point.path(), writeback);
    let mut tally = Tally::default();
    for writer in &writers {
        Promises::at(writer.events(), usize::MAX).check(writer.dir(), &mut tally);
    }
    assert_eq!(tally.faults(), 0, "seed {seed}: {:#?}", tally.examples);
    // And one can go on.
    fs::write(point.path().join("after"), "x").unwrap();
    rustix::mount::unmount(point.path(), UnmountFlags::empty()).unwrap();
    let mut daemon = daemon;
    assert!(daemon.child.wait().unwrap().success());
    let report = check(lower.path(), &service());
    assert!(report.findings.is_empty(), "seed {seed}: {:#?}", report.findings);
}

#[test]
fn everything_synced_survives_a_killed_daemon() {
    if !can_mount() {
        return;
    }
    let kills = std::env::var("KMSFS_KILLS").map_or(KILLS, |count| count.parse().unwrap());
    // Another seed every time would find more; the same one can be looked into.
    for seed in 0..kills {
        kill_once(seed);
    }
}
