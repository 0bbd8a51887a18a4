//! A number of crashes of one kind, and what was found afterwards.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kmsfs::kms::{Kms, KmsOptions, Unlock, audit};
use kmsfs::random::{Random, SeededRandom};
use kmsfs::secret::SecretBytes;
use kmsfs::testing::Survival;

use crate::loops::{Kind, LowerMount, memory_dir, run, write_cut};
use crate::promises::{Event, Promises, Tally};
use crate::recorder::Recorder;
use crate::target::{Home, Running, Target};
use crate::writers::{Moment, Writer};

/// How to crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Kill,
    Shutdown,
    Recorded,
    /// Recorded, on a tree that an earlier session made: older than what a recovery looks at by its
    /// times.
    Aged,
}

/// Crashes to try.
#[derive(Clone, Debug)]
pub struct Campaign {
    pub target: Target,
    pub kind: Kind,
    pub how: How,
    pub cuts: u64,
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Figures {
    cuts: u64,
    tally: Tally,
    /// Volumes that could not be mounted any more.
    volumes_lost: u64,
    /// What a full check, the key database and the audit log had to say.
    findings: u64,
    slowest_mount: Duration,
}

/// Writers at once.
const WRITERS: u64 = 3;
/// Changes of each before a recorded disk is taken apart; without an end otherwise.
const RECORDED_STEPS: usize = 60;
/// Cuts of one recording.
const CUTS_OF_A_RECORDING: u64 = 10;
/// Longest time that writers get before a kill or a shutdown.
const WORK_MS: u64 = 1500;
/// Longest time that a mount gets that is killed before it has mounted.
const MOUNT_MS: u64 = 250;
/// Seconds between the two sessions of an aged tree: more than a recovery allows clocks to differ by.
const AGE: Duration = Duration::from_secs(6);
/// A crash behind everything that ended before it.
const LAST_MOMENT: usize = usize::MAX - 1;
/// How much is shown of what the kernel said last, where something does not read.
const KERNEL_LINES: usize = 5;
/// Name of the volume in the lower filesystem.
const VOLUME: &str = "volume";

impl Campaign {
    /// `KMSFS_CUTS`, `KMSFS_CUT_TARGET`, `KMSFS_CUT_LOWER`, `KMSFS_CUT_HOW`, `KMSFS_CUT_SEED`.
    pub fn from_environment() -> Self {
        let word =
            |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        let lower = word("KMSFS_CUT_LOWER", "ext4");
        Self {
            target: Target::parse(&word("KMSFS_CUT_TARGET", "kmsfs")).expect("a target"),
            kind: Kind::ALL.into_iter().find(|k| k.name() == lower).expect("a filesystem"),
            how: match word("KMSFS_CUT_HOW", "recorded").as_str() {
                "kill" => How::Kill,
                "shutdown" => How::Shutdown,
                "aged" => How::Aged,
                _ => How::Recorded,
            },
            cuts: word("KMSFS_CUTS", "20").parse().unwrap(),
            seed: word("KMSFS_CUT_SEED", "1").parse().unwrap(),
        }
    }

    /// Crashes as often as it was asked for.
    pub fn run(&self) -> Figures {
        let mut figures = Figures::default();
        let mut seed = self.seed;
        while figures.cuts < self.cuts {
            match self.how {
                How::Kill => self.kill(seed, &mut figures),
                How::Shutdown => self.shut_down(seed, &mut figures),
                How::Recorded | How::Aged => self.record(seed, &mut figures),
            }
            seed += 1;
        }
        figures
    }

    fn label(&self, seed: u64) -> String {
        format!("{} over {}, {:?}, seed {seed}", self.target.name(), self.kind.name(), self.how)
    }

    fn kill(&self, seed: u64, figures: &mut Figures) {
        let dir = memory_dir();
        let mut lower = LowerMount::fresh(self.kind, dir.path());
        let home = Home::new();
        let volume = lower.path().join(VOLUME);
        self.target.init(&volume, &home).unwrap();
        let mut running = self.target.mount(&volume, &home, seed).unwrap();
        let mut writers = self.writers(seed, running.point(), &no_clock());
        self.work(seed, &mut running, &mut writers, |running| running.kill());
        drop(running);
        self.check(seed, &volume, &home, &notes_of(&writers), LAST_MOMENT, figures);
        lower.unmount().unwrap();
    }

    fn shut_down(&self, seed: u64, figures: &mut Figures) {
        let dir = memory_dir();
        let mut lower = LowerMount::fresh(self.kind, dir.path());
        let home = Home::new();
        let volume = lower.path().join(VOLUME);
        self.target.init(&volume, &home).unwrap();
        let mut running = self.target.mount(&volume, &home, seed).unwrap();
        self.settle(seed, running.point(), &lower);
        let random = SeededRandom::new(seed ^ 0xc0);
        // An fsync of a directory that comes behind the shutdown succeeds on XFS, with nothing done.
        let is_cut = Arc::new(AtomicBool::new(false));
        let clock = Arc::clone(&is_cut);
        let moment: Moment =
            Arc::new(move || if clock.load(Ordering::SeqCst) { usize::MAX } else { 0 });
        let mut writers = self.writers(seed, running.point(), &moment);
        self.work(seed, &mut running, &mut writers, |running| {
            lower.cut_off(&random, || is_cut.store(true, Ordering::SeqCst)).unwrap();
            running.kill();
        });
        drop(running);
        lower.unmount().unwrap();
        lower.mount().unwrap();
        self.check(seed, &volume, &home, &notes_of(&writers), LAST_MOMENT, figures);
        lower.unmount().unwrap();
    }

    /// Records the making of a volume and a time of work, then cuts that at many moments.
    fn record(&self, seed: u64, figures: &mut Figures) {
        let recorder = Recorder::new(self.kind.fresh());
        let mut lower = LowerMount::new(self.kind, &recorder.file()).unwrap();
        let home = Home::new();
        let volume = lower.path().join(VOLUME);
        self.target.init(&volume, &home).unwrap();
        let made = recorder.log().moment();
        let mut running = self.target.mount(&volume, &home, seed).unwrap();
        self.settle(seed, running.point(), &lower);
        let mut writers = self.writers(seed, running.point(), &recorder.moment());
        if self.how == How::Aged {
            self.work(seed, &mut running, &mut writers, |_| {});
            running.unmount().unwrap();
            std::thread::sleep(AGE);
            running = self.target.mount(&volume, &home, seed).unwrap();
        }
        let first = recorder.log().moment();
        self.work(seed, &mut running, &mut writers, |_| {});
        let notes = notes_of(&writers);
        running.kill();
        let last = recorder.log().moment();
        drop(running);
        lower.unmount().unwrap();

        let random = SeededRandom::new(seed ^ 0xd15c);
        let draw = |limit: usize| {
            let mut bytes = [0; 8];
            random.fill(&mut bytes);
            (u64::from_le_bytes(bytes) % limit as u64) as usize
        };
        for no in 0..CUTS_OF_A_RECORDING {
            // The first cut goes right behind the making of the volume; a plain one needs none.
            let moment = if no == 0 && self.target != Target::Plain {
                made
            } else {
                first + draw(last - first + 1)
            };
            let survival = Survival { of_256: [0, 64, 128, 200, 256][draw(5)] };
            let dir = memory_dir();
            let image = dir.path().join("image");
            let of_cut = SeededRandom::new(seed * 1000 + no);
            write_cut(&recorder.log(), moment, survival, &of_cut, &image);
            let mut lower = LowerMount::new(self.kind, &image)
                .unwrap_or_else(|error| panic!("{}: {error}", self.label(seed)));
            let home = Home::new();
            self.check(seed, &lower.path().join(VOLUME), &home, &notes, moment, figures);
            lower.unmount().unwrap();
            if figures.cuts == self.cuts {
                break;
            }
        }
    }

    /// For others, the volume and the writers' own directories are made durable before the work: some
    /// lose all that lies below a directory that was not, which would hide everything else.
    fn settle(&self, seed: u64, root: &Path, lower: &LowerMount) {
        if self.target == Target::Kmsfs {
            return;
        }
        for no in 0..WRITERS {
            let writer = Writer::new(root, no, seed, no_clock(), self.target.limits(self.kind));
            std::fs::create_dir(writer.dir()).unwrap();
        }
        run(Command::new("sync").arg("-f").arg(lower.path())).unwrap();
    }

    /// Lets writers work, and a rotation beside them; `end` comes in the middle, or when they are
    /// done if a recorder keeps the time.
    fn work(
        &self,
        seed: u64,
        running: &mut Running,
        writers: &mut [Writer],
        end: impl FnOnce(&mut Running),
    ) {
        let root = running.point().to_path_buf();
        let is_recorded = matches!(self.how, How::Recorded | How::Aged);
        let steps = if is_recorded { RECORDED_STEPS } else { usize::MAX };
        let is_over = AtomicBool::new(false);
        let mut random = [0; 8];
        SeededRandom::new(seed).fill(&mut random);
        let pause = Duration::from_millis(u64::from_le_bytes(random) % WORK_MS);
        std::thread::scope(|scope| {
            let work: Vec<_> = writers
                .iter_mut()
                .map(|writer| scope.spawn(|| writer.run(steps, &is_over)))
                .collect();
            let rotation =
                (self.target == Target::Kmsfs).then(|| scope.spawn(|| rotate(&root, &is_over)));
            match self.how {
                How::Recorded | How::Aged => {
                    work.into_iter().for_each(|thread| thread.join().unwrap());
                }
                How::Kill | How::Shutdown => std::thread::sleep(pause),
            }
            end(running);
            is_over.store(true, Ordering::Relaxed);
            drop(rotation);
        });
    }

    fn writers(&self, seed: u64, root: &Path, moment: &Moment) -> Vec<Writer> {
        let limits = self.target.limits(self.kind);
        (0..WRITERS).map(|no| Writer::new(root, no, seed, Arc::clone(moment), limits)).collect()
    }

    /// Mounts what is left, holds it against the promises, uses it, unmounts it and checks it.
    fn check(
        &self,
        seed: u64,
        volume: &Path,
        home: &Home,
        notes: &[Vec<Event>],
        moment: usize,
        figures: &mut Figures,
    ) {
        figures.cuts += 1;
        let label = match moment {
            LAST_MOMENT => self.label(seed),
            moment => format!("{}, moment {moment}", self.label(seed)),
        };
        if figures.cuts.is_multiple_of(3) {
            // The recovery is cut off as well, by a kill.
            let mut random = [0; 8];
            SeededRandom::new(seed + figures.cuts).fill(&mut random);
            let pause = Duration::from_millis(u64::from_le_bytes(random) % MOUNT_MS);
            self.target.begin_to_mount(volume, home, pause).unwrap();
        }
        let started = Instant::now();
        let mut running = match self.target.mount(volume, home, seed) {
            Ok(running) => running,
            Err(error) => {
                figures.volumes_lost += 1;
                figures.tally.examples.push(format!("{label}: {error}"));
                return;
            }
        };
        figures.slowest_mount = figures.slowest_mount.max(started.elapsed());
        let mut tally = Tally::default();
        for (no, events) in notes.iter().enumerate() {
            let writer = Writer::new(
                running.point(),
                no as u64,
                seed,
                no_clock(),
                self.target.limits(self.kind),
            );
            Promises::at(events, moment).check(writer.dir(), &mut tally);
        }
        look_at_all(running.point(), &mut tally);
        if std::fs::write(running.point().join("after"), "x").is_err() {
            tally.eio += 1;
            tally.examples.push("it cannot be written to".to_owned());
        }
        if tally.faults() > 0 {
            tally.examples.insert(0, label.clone());
        }
        if tally.eio > 0 {
            // Whether it was the lower filesystem that failed.
            let told = run(&mut Command::new("dmesg")).unwrap_or_default();
            let last = told.lines().rev().take(KERNEL_LINES).map(|line| format!("kernel: {line}"));
            tally.examples.splice(1..1, last);
        }
        let faults = figures.faults();
        figures.tally.add(tally);
        let ended = running.unmount();
        if self.target == Target::Kmsfs {
            if let Err(error) = ended {
                figures.find(&label, &error.to_string());
            }
            self.check_volume(volume, home, &label, figures);
            if figures.faults() > faults
                && let Some(dir) = std::env::var_os("KMSFS_CUT_KEEP")
            {
                keep(Path::new(&dir), volume, home, &label);
                let notes = format!("{notes:#?}");
                std::fs::write(Path::new(&dir).join("notes"), notes).unwrap();
            }
        }
    }

    /// Laws K5, K7 and K8: a full check finds nothing, the key database opens, the audit log holds.
    fn check_volume(&self, volume: &Path, home: &Home, label: &str, figures: &mut Figures) {
        let mut fsck = home.kmsfs();
        fsck.arg("fsck").arg(volume).arg("--keyfile").arg(home.key());
        if let Err(error) = run(&mut fsck) {
            figures.find(label, &error.to_string());
        }
        let unlock = Unlock::KeyFile(SecretBytes::new(std::fs::read(home.key()).unwrap()));
        let dir: PathBuf = volume.join(".kmsfs");
        match Kms::open(&dir, &unlock, KmsOptions::default()) {
            Err(error) => figures.find(label, &format!("key database: {error}")),
            Ok(kms) => {
                if let Err(error) = audit::verify(&dir.join("audit.log"), Some(&kms.audit_key())) {
                    figures.find(label, &format!("audit log: {error:?}"));
                }
            }
        }
    }
}

/// Keeps a volume that did not hold, with its key and what the mount said.
fn keep(dir: &Path, volume: &Path, home: &Home, label: &str) {
    let dir = dir.join(label.replace([' ', ','], "-"));
    std::fs::create_dir_all(&dir).unwrap();
    run(Command::new("cp").arg("-a").args([volume, &home.key(), &home.log()]).arg(&dir)).unwrap();
}

/// Every file below must be readable, promised or not.
fn look_at_all(root: &Path, tally: &mut Tally) {
    let mut waiting = vec![root.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            tally.eio += 1;
            tally.examples.push(format!("{} cannot be listed", dir.display()));
            continue;
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            // The writers' own names were looked at before.
            let name = entry.file_name();
            let is_new = name == "fresh" || name.to_string_lossy().starts_with("recovered-");
            let outcome = match () {
                () if kind.is_symlink() => std::fs::read_link(entry.path()).map(drop),
                () if kind.is_file() && is_new => std::fs::read(entry.path()).map(drop),
                () => Ok(()),
            };
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if let Err(error) = outcome {
                tally.eio += 1;
                tally.examples.push(format!("{}: {error}", entry.path().display()));
            }
        }
    }
}

/// Rotates the key again and again, and rewraps what it wrapped.
fn rotate(root: &Path, is_over: &AtomicBool) {
    let Some(home) = root.parent() else { return };
    while !is_over.load(Ordering::Relaxed) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmsfs"));
        command.env("XDG_RUNTIME_DIR", home.join("run"));
        command.args(["rotate", "--rewrap"]).arg(root);
        let _ = run(&mut command);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn notes_of(writers: &[Writer]) -> Vec<Vec<Event>> {
    writers.iter().map(|writer| writer.events().to_vec()).collect()
}

fn no_clock() -> Moment {
    Arc::new(|| 0)
}

impl Figures {
    fn find(&mut self, label: &str, what: &str) {
        self.findings += 1;
        self.tally.examples.push(format!("{label}: {what}"));
    }

    fn faults(&self) -> u64 {
        self.tally.faults() + self.volumes_lost + self.findings
    }

    pub fn examples(&self) -> &[String] {
        &self.tally.examples
    }

    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.faults() == 0
    }

    /// One row of a table.
    pub fn line(&self, campaign: &Campaign) -> String {
        let tally = &self.tally;
        format!(
            "| {} | {} | {:?} | {} cuts | {} names | {} volumes lost | {} lost | {} unlisted | {} back \
             | {} EIO | {} wrong sizes | {} wrong bytes | {} findings | mount at most {} ms | seed {} |",
            campaign.target.name(),
            campaign.kind.name(),
            campaign.how,
            self.cuts,
            tally.names,
            self.volumes_lost,
            tally.lost,
            tally.unlisted,
            tally.back,
            tally.eio,
            tally.sizes,
            tally.contents,
            self.findings,
            self.slowest_mount.as_millis(),
            campaign.seed
        )
    }
}
