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

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
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

/// What one file may be after the kill.
#[derive(Clone, Debug, Default)]
struct Promise {
    /// fsync has returned for the first of the contents, so that the file must be there.
    is_synced: bool,
    /// The content that was synced last, and all that were written since.
    contents: Vec<Vec<u8>>,
}

impl Promise {
    fn synced(content: Vec<u8>) -> Self {
        Self { is_synced: true, contents: vec![content] }
    }

    /// Laws K1 and K3: each byte is the synced one or one that was written since, or zero where the
    /// file has grown; the length is one that it had, or between two.
    fn holds(&self, found: &[u8]) -> bool {
        let lens = self.contents.iter().map(Vec::len);
        let (least, most) = (lens.clone().min().unwrap_or(0), lens.max().unwrap_or(0));
        (least..=most).contains(&found.len())
            && found.iter().enumerate().all(|(at, byte)| {
                let was_grown = *byte == 0 && at >= self.contents[0].len();
                was_grown || self.contents.iter().any(|content| content.get(at) == Some(byte))
            })
    }
}

/// One writer: its own directory, files that grow, are overwritten, cut and replaced by rename.
struct Writer {
    dir: PathBuf,
    random: SeededRandom,
    promises: BTreeMap<String, Promise>,
    /// Names that were removed, and whose directory was synced since.
    gone: Vec<String>,
}

impl Writer {
    fn new(root: &Path, no: u64, seed: u64) -> Self {
        Self {
            dir: root.join(format!("writer {no} {}", "n".repeat(180))),
            random: SeededRandom::new(seed * 10 + no),
            promises: BTreeMap::new(),
            gone: Vec::new(),
        }
    }

    fn below(&self, limit: u64) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % limit
    }

    /// Works until the mount is gone.
    fn run(&mut self, is_over: &AtomicBool) {
        let _ = fs::create_dir_all(&self.dir);
        while !is_over.load(Ordering::Relaxed) {
            if self.step().is_err() {
                return;
            }
        }
    }

    fn step(&mut self) -> io::Result<()> {
        let name = format!("f{}", self.below(6));
        if let Some(at) = self.gone.iter().position(|gone| *gone == name) {
            self.gone.remove(at);
        }
        match self.below(10) {
            0 => self.replace(&name),
            1 => self.remove(&name),
            _ => self.change(&name),
        }
    }

    /// Overwrites, appends or cuts, then syncs.
    fn change(&mut self, name: &str) -> io::Result<()> {
        let promise = self.promises.entry(name.to_owned()).or_default();
        let mut content = promise.contents.last().cloned().unwrap_or_default();
        if promise.contents.is_empty() {
            promise.contents.push(Vec::new());
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.dir.join(name))?;
        let at = self.below(content.len() as u64 + 3000);
        if self.below(5) == 0 {
            content.resize(at as usize, 0);
            self.promise(name).contents.push(content.clone());
            file.set_len(at)?;
        } else {
            let data = vec![self.below(256) as u8; 1 + self.below(9000) as usize];
            let end = at as usize + data.len();
            content.resize(content.len().max(end), 0);
            content[at as usize..end].copy_from_slice(&data);
            self.promise(name).contents.push(content.clone());
            file.write_all_at(&data, at)?;
        }
        if self.below(3) > 0 {
            file.sync_all()?;
            *self.promise(name) = Promise::synced(content);
        }
        Ok(())
    }

    fn promise(&mut self, name: &str) -> &mut Promise {
        self.promises.get_mut(name).unwrap()
    }

    /// Writes a new file, syncs it, and renames it over the old one, as editors do.
    fn replace(&mut self, name: &str) -> io::Result<()> {
        let content = vec![self.below(256) as u8; self.below(20_000) as usize];
        let fresh = self.dir.join(format!("{name}.new"));
        let file = File::create(&fresh)?;
        file.write_all_at(&content, 0)?;
        file.sync_all()?;
        // From here on either file may be there.
        self.promises.entry(name.to_owned()).or_default().contents.push(content.clone());
        fs::rename(&fresh, self.dir.join(name))?;
        File::open(&self.dir)?.sync_all()?;
        self.promises.insert(name.to_owned(), Promise::synced(content));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        if self.promises.remove(name).is_some() {
            fs::remove_file(self.dir.join(name))?;
            File::open(&self.dir)?.sync_all()?;
            self.gone.push(name.to_owned());
        }
        Ok(())
    }

    /// Holds what is there against what was promised.
    fn check(&self, seed: u64) {
        for (name, promise) in self.promises.iter().filter(|(_, promise)| promise.is_synced) {
            let found = fs::read(self.dir.join(name));
            let found = found.unwrap_or_else(|error| panic!("seed {seed}: {name}: {error}"));
            assert!(promise.holds(&found), "seed {seed}: {name}: neither synced nor written since");
        }
        for name in &self.gone {
            assert!(!self.dir.join(name).exists(), "seed {seed}: {name} came back");
        }
    }
}

fn kill_once(seed: u64) {
    let (lower, point) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_volume(lower.path(), &service());
    let writeback = seed.is_multiple_of(2);
    let mut daemon = Daemon::start(lower.path(), point.path(), writeback);
    let mut writers: Vec<Writer> = (0..3).map(|no| Writer::new(point.path(), no, seed)).collect();
    let is_over = AtomicBool::new(false);
    let mut random = [0; 8];
    SeededRandom::new(seed).fill(&mut random);
    let moment = Duration::from_millis(u64::from_le_bytes(random) % WORK_MS);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for writer in &mut writers {
            let is_over = &is_over;
            scope.spawn(move || writer.run(is_over));
        }
        std::thread::sleep(moment.saturating_sub(started.elapsed()));
        daemon.kill();
        is_over.store(true, Ordering::Relaxed);
    });
    drop(daemon);

    // A process that died leaves everything that it wrote; recovery must lose none of it.
    let daemon = Daemon::start(lower.path(), point.path(), writeback);
    writers.iter().for_each(|writer| writer.check(seed));
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
