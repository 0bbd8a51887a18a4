//! Writers that change a tree at random and note what they do.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kmsfs::random::{Random, SeededRandom};

use crate::promises::{Event, Fill, Promises, What};

/// Tells the present moment, for the notes.
pub type Moment = Arc<dyn Fn() -> usize + Send + Sync>;

/// What the filesystem under test can hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest name in bytes.
    pub name: usize,
    /// Longest target of a symbolic link in bytes.
    pub target: usize,
}

/// One writer: its own directory, files that grow, are overwritten, cut, replaced by rename and
/// removed, links, and directories that come and move.
pub struct Writer {
    dir: PathBuf,
    random: SeededRandom,
    moment: Moment,
    limits: Limits,
    events: Vec<Event>,
    now: Promises,
    fills: u8,
}

impl Writer {
    /// The writer with this number below `root`.
    pub fn new(root: &Path, no: u64, seed: u64, moment: Moment, limits: Limits) -> Self {
        let long = "n".repeat(limits.name.saturating_sub(20));
        Self {
            dir: root.join(format!("writer {no} {long}")),
            random: SeededRandom::new(seed.wrapping_mul(1000) + no),
            moment,
            limits,
            events: Vec::new(),
            now: Promises::default(),
            fills: 0,
        }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it did so far.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Works until so many changes are made, something fails, or it is told to stop.
    pub fn run(&mut self, steps: usize, is_over: &AtomicBool) {
        let _ = fs::create_dir(&self.dir);
        for _ in 0..steps {
            if is_over.load(Ordering::Relaxed) || self.step().is_err() {
                return;
            }
        }
    }

    fn below(&self, limit: usize) -> usize {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % limit as u64).unwrap()
    }

    fn fill(&mut self, limit: usize) -> Fill {
        self.fills = self.fills % 255 + 1;
        Fill { byte: self.fills, len: 1 + self.below(limit) }
    }

    fn step(&mut self) -> io::Result<()> {
        let name = self.file_name()?;
        match self.below(16) {
            0 | 1 => {
                let fill = self.fill(20_000);
                self.note(What::Replace { name, fill })
            }
            2 => match self.now.has(&name) {
                true => self.note(What::Remove { name }),
                false => Ok(()),
            },
            3 => {
                let name = format!("l{}", self.below(4));
                let len = 1 + self.below(self.limits.target);
                match self.now.has(&name) {
                    true => self.note(What::Remove { name }),
                    false => self.note(What::Link { name, len }),
                }
            }
            4 => self.move_dir(),
            no => self.change(name, no),
        }
    }

    /// Overwrites, appends or cuts, and mostly syncs.
    fn change(&mut self, name: String, no: usize) -> io::Result<()> {
        let len = self.now.content(&name).len();
        let what = match no {
            5 | 6 if self.now.has(&name) => {
                What::SetLen { name: name.clone(), len: self.below(len + 3000) }
            }
            7..=9 => What::Write { name: name.clone(), at: len, fill: self.fill(3000) },
            _ => {
                let at = self.below(len + 3000);
                What::Write { name: name.clone(), at, fill: self.fill(9000) }
            }
        };
        self.note(what)?;
        match self.below(3) {
            0 => Ok(()),
            _ => self.note(What::Sync { name }),
        }
    }

    fn move_dir(&mut self) -> io::Result<()> {
        let (from, to) = (self.dir_name(), self.dir_name());
        if self.now.has_dir(&from) && !self.now.has_dir(&to) && from != to {
            return self.note(What::MoveDir { from, to });
        }
        Ok(())
    }

    fn dir_name(&self) -> String {
        let no = self.below(4);
        // Every other one has a long name.
        let long = if no.is_multiple_of(2) { self.limits.name.saturating_sub(10) } else { 0 };
        format!("d{no}{}", "x".repeat(long))
    }

    /// A name, in a directory that is made if need be.
    fn file_name(&mut self) -> io::Result<String> {
        let no = self.below(6);
        let long = if no < 2 { self.limits.name.saturating_sub(10) } else { 0 };
        let name = format!("f{no}{}", "y".repeat(long));
        if self.below(2) == 0 {
            return Ok(name);
        }
        let dir = self.dir_name();
        if !self.now.has_dir(&dir) {
            self.note(What::MakeDir { name: dir.clone() })?;
            if self.below(3) == 0 {
                self.note(What::SyncDir { name: dir.clone() })?;
            }
        }
        Ok(format!("{dir}/{name}"))
    }

    /// Carries out a change, between two notes of the time.
    fn note(&mut self, what: What) -> io::Result<()> {
        let at = self.events.len();
        // Whatever has begun may be there.
        let began = (self.moment)().min(usize::MAX - 2);
        self.events.push(Event { began, ended: None, what: what.clone() });
        self.now.begin(&what);
        self.carry_out(&what)?;
        self.now.end(&what);
        self.events[at].ended = Some((self.moment)());
        Ok(())
    }

    fn carry_out(&self, what: &What) -> io::Result<()> {
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).open(self.dir.join(name))
        };
        match what {
            What::Write { name, at, fill } => open(name)?.write_all_at(&fill.bytes(), *at as u64),
            What::SetLen { name, len } => open(name)?.set_len(*len as u64),
            What::Sync { name } => open(name)?.sync_all(),
            What::Replace { name, fill } => {
                // Beside the old one, or in another directory.
                let beside = self.dir.join(name).with_file_name("fresh");
                let fresh = if fill.byte % 2 == 0 { beside } else { self.dir.join("fresh") };
                let file = File::create(&fresh)?;
                file.write_all_at(&fill.bytes(), 0)?;
                file.sync_all()?;
                fs::rename(&fresh, self.dir.join(name))?;
                self.sync_dir_of(name)
            }
            What::Remove { name } => {
                fs::remove_file(self.dir.join(name))?;
                self.sync_dir_of(name)
            }
            What::Link { name, len } => {
                symlink("t".repeat(*len), self.dir.join(name))?;
                self.sync_dir_of(name)
            }
            What::MakeDir { name } => fs::create_dir(self.dir.join(name)),
            What::SyncDir { name } => self.sync_dir_of(name),
            What::MoveDir { from, to } => {
                fs::rename(self.dir.join(from), self.dir.join(to))?;
                self.sync_dir_of(to)
            }
        }
    }

    fn sync_dir_of(&self, name: &str) -> io::Result<()> {
        let path = self.dir.join(name);
        File::open(path.parent().unwrap_or(&self.dir))?.sync_all()
    }
}
