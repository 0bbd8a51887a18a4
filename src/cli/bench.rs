//! `kmsfs bench`: how fast this machine seals and opens, and how fast a mount is in a directory of it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cli::args::BenchArgs;
use crate::cli::interrupt::Interrupt;
use crate::cli::print::{Printer, table};
use crate::control::report::{BenchReport, BenchRow};
use crate::control::{Failure, Kind};
use crate::crypto::{ContentCipher, FileKeys};
use crate::format::layout::{PAGE_LEN, PAYLOAD};
use crate::format::record::{self, Position};
use crate::random::{OsRandom, Random, random_array};
use crate::secret::Secret;
use crate::units::BlockNo;

/// Rounds of one measurement without a mount; the median is told.
const ROUNDS: usize = 5;

/// Time of one round.
const ROUND: Duration = Duration::from_millis(100);

/// MiB of the large file.
const LARGE_MIB: u32 = 256;

/// Small files.
const SMALL: u32 = 1000;

/// Bytes of a small file.
const SMALL_LEN: usize = 4096;

/// Runs the command.
///
/// # Errors
/// If the directory takes no volume, or the volume no mount; [`Kind::Interrupted`].
pub fn run(args: &BenchArgs, printer: Printer) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let mut rows = ciphers()?;
    if let Some(dir) = &args.dir {
        let place = Place::make(dir)?;
        rows.extend(place.measure(&interrupt)?);
    }
    printer.data(&BenchReport { dir: args.dir.clone(), rows }, text)
}

fn text(report: &BenchReport) -> String {
    let lines: Vec<_> = report.rows.iter().map(|row| (row.what.as_str(), spelled(row))).collect();
    table(&lines)
}

fn spelled(row: &BenchRow) -> String {
    format!("{:>9.0} {}", row.value, row.unit)
}

fn row(what: &str, value: f64, unit: &str) -> BenchRow {
    BenchRow { what: what.to_owned(), value, unit: unit.to_owned() }
}

/// One thread's work on content and on the keys of a file.
fn ciphers() -> Result<Vec<BenchRow>, Failure> {
    let (key, file) = (Secret::random(&OsRandom), random_array(&OsRandom));
    let derive = || FileKeys::derive(black_box(&key), &file);
    let cipher = ContentCipher::new(derive().content, random_array(&OsRandom));
    let mut plain = vec![0; PAYLOAD];
    OsRandom.fill(&mut plain);
    let mut sealed = vec![0; PAGE_LEN];
    let n2 = random_array(&OsRandom);
    let block = BlockNo(1);
    let seals = per_second(|| {
        record::seal(&cipher, block, black_box(&plain), Position::Middle, &n2, &mut sealed);
    });
    let mut is_open = true;
    let opens = per_second(|| {
        is_open &= record::open(&cipher, block, black_box(&sealed), &mut plain).is_ok();
    });
    if !is_open {
        return Err(Failure::new(Kind::Other, "what was sealed does not open"));
    }
    let keys = per_second(|| {
        black_box(derive());
    });
    let megabytes = |blocks: f64| blocks * f64::from(PAYLOAD_LEN) / 1e6;
    Ok(vec![
        row("seal content, one thread", megabytes(seals), "MB/s"),
        row("open content, one thread", megabytes(opens), "MB/s"),
        row("derive the keys of a file", keys, "files/s"),
    ])
}

/// Plaintext bytes of a block, as a number to reckon with.
const PAYLOAD_LEN: u16 = 4048;

const _: () = assert!(PAYLOAD == 4048);

/// Median of how often `work` can be done in a second.
fn per_second(mut work: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| one_round(&mut work)).collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}

fn one_round(work: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut times = 0.0;
    while start.elapsed() < ROUND {
        // Looking at the clock must not be what is measured.
        for _ in 0..16 {
            work();
        }
        times += 16.0;
    }
    times / start.elapsed().as_secs_f64()
}

/// A volume for the time of this command, and where it is mounted. Dropping it removes all of it.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
}

impl Place {
    /// Makes a volume in a new directory below `dir`.
    fn make(dir: &Path) -> Result<Self, Failure> {
        let name = format!("kmsfs-bench-{}", std::process::id());
        let dir = dir.canonicalize().map_err(|error| Failure::io(dir.display(), &error))?;
        let dir = dir.join(name);
        let failed = |error: std::io::Error| Failure::io(dir.display(), &error);
        DirBuilder::new().mode(0o700).create(&dir).map_err(failed)?;
        let place = Self { dir: dir.clone() };
        fs::create_dir(place.mount_point()).map_err(failed)?;
        let key: [u8; 32] = random_array(&OsRandom);
        fs::write(place.key(), key).map_err(failed)?;
        place.kmsfs("init", &[place.lower().as_os_str(), OsStr::new("--no-recovery-kit")])?;
        place.mount()?;
        Ok(place)
    }

    fn lower(&self) -> PathBuf {
        self.dir.join("lower")
    }

    fn mount_point(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    fn key(&self) -> PathBuf {
        self.dir.join("key")
    }

    fn mount(&self) -> Result<(), Failure> {
        self.kmsfs("mount", &[self.lower().as_os_str(), self.mount_point().as_os_str()])
    }

    fn remount(&self) -> Result<(), Failure> {
        self.unmount(&[])?;
        self.mount()
    }

    fn unmount(&self, how: &[&str]) -> Result<(), Failure> {
        let mut program = this_program()?;
        program.arg("umount").arg(self.mount_point()).args(how);
        finish(program)
    }

    /// Runs a command that unlocks the volume.
    fn kmsfs(&self, verb: &str, words: &[&OsStr]) -> Result<(), Failure> {
        let mut program = this_program()?;
        program.arg(verb).args(words).arg("--keyfile").arg(self.key());
        finish(program)
    }

    fn measure(&self, interrupt: &Interrupt) -> Result<Vec<BenchRow>, Failure> {
        let at = self.mount_point();
        let failed = |error: std::io::Error| Failure::io(at.display(), &error);
        let mut rows = Vec::new();
        let mut note = |what: &str, amount: f64, unit: &str, time: Duration| {
            rows.push(row(what, amount / time.as_secs_f64(), unit));
            match interrupt.is_set() {
                true => Err(Failure::new(Kind::Interrupted, "stopped")),
                false => Ok(()),
            }
        };
        let large = at.join("large");
        let megabytes = f64::from(LARGE_MIB) * 1.048_576;
        note(
            "sequential write",
            megabytes,
            "MB/s",
            timed(|| write_large(&large)).map_err(failed)?,
        )?;
        self.remount()?;
        note("sequential read", megabytes, "MB/s", timed(|| read_all(&large)).map_err(failed)?)?;
        note("read again", megabytes, "MB/s", timed(|| read_all(&large)).map_err(failed)?)?;
        let small = at.join("small");
        let files = f64::from(SMALL);
        note("create", files, "files/s", timed(|| create(&small)).map_err(failed)?)?;
        self.remount()?;
        note("stat", files, "files/s", timed(|| stat(&small)).map_err(failed)?)?;
        note("read", files, "files/s", timed(|| read_small(&small)).map_err(failed)?)?;
        note("read again", files, "files/s", timed(|| read_small(&small)).map_err(failed)?)?;
        note("remove", files, "files/s", timed(|| fs::remove_dir_all(&small)).map_err(failed)?)?;
        Ok(rows)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Fails if nothing is mounted, as after a mount that failed.
        if self.unmount(&[]).is_err() && self.unmount(&["--lazy"]).is_err() {
            tracing::debug!("nothing is mounted");
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!("{}: {error}", self.dir.display());
        }
    }
}

fn this_program() -> Result<Command, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::io("own program", &error))?;
    let mut command = Command::new(program);
    command.arg("--quiet").stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command)
}

fn finish(mut command: Command) -> Result<(), Failure> {
    let done = command.output().map_err(|error| Failure::io("own program", &error))?;
    match done.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&done.stderr);
            Err(Failure::new(Kind::Other, said.trim().trim_start_matches("error: ")))
        }
    }
}

fn timed(work: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn write_large(path: &Path) -> std::io::Result<()> {
    let data = vec![0x5a; 1 << 20];
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    for _ in 0..LARGE_MIB {
        file.write_all(&data)?;
    }
    file.sync_all()
}

fn read_all(path: &Path) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let mut data = vec![0; 1 << 20];
    while file.read(&mut data)? > 0 {}
    Ok(())
}

fn small_file(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("file{number}"))
}

fn create(dir: &Path) -> std::io::Result<()> {
    fs::create_dir(dir)?;
    (0..SMALL).try_for_each(|number| fs::write(small_file(dir, number), [0x5a; SMALL_LEN]))
}

fn stat(dir: &Path) -> std::io::Result<()> {
    fs::read_dir(dir)?.try_for_each(|entry| entry?.metadata().map(drop))
}

fn read_small(dir: &Path) -> std::io::Result<()> {
    (0..SMALL).try_for_each(|number| read_all(&small_file(dir, number)))
}
