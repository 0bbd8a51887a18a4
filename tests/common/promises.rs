//! What a directory tree may be after a crash, by what writers did in it and when.
//!
//! A writer notes each change before it begins and after it ended, with the moment. From these notes
//! follows, for any later crash, what every file may be: this is laws K1 to K4 of docs/FORMAT.md,
//! section 11.2, for any filesystem.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Bytes that one write puts down.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Each of them; never zero.
    pub byte: u8,
    /// How many.
    pub len: usize,
}

impl Fill {
    /// The bytes.
    pub fn bytes(self) -> Vec<u8> {
        vec![self.byte; self.len]
    }
}

/// One change, with every sync that belongs to it.
#[derive(Clone, Debug)]
pub enum What {
    /// Bytes at a position of a file, which is made if it is missing.
    Write { name: String, at: usize, fill: Fill },
    /// A new length.
    SetLen { name: String, len: usize },
    /// fsync of the file.
    Sync { name: String },
    /// A new file, synced, renamed over this name; the directory synced.
    Replace { name: String, fill: Fill },
    /// Removed; the directory synced.
    Remove { name: String },
    /// A symbolic link to so many `t`; the directory synced.
    Link { name: String, len: usize },
    /// A directory made.
    MakeDir { name: String },
    /// The directory that a directory lies in, synced.
    SyncDir { name: String },
    /// A directory renamed to a free name; the directory that both lie in synced.
    MoveDir { from: String, to: String },
}

/// A change and its time.
#[derive(Clone, Debug)]
pub struct Event {
    /// The moment before it.
    pub began: usize,
    /// The moment after it; none if it failed.
    pub ended: Option<usize>,
    /// The change.
    pub what: What,
}

/// One thing that a name may be.
#[derive(Clone, Debug, PartialEq)]
enum Choice {
    Absent,
    Link(usize),
    /// The content that was synced last, or none of a new file, and all since.
    File(Vec<Vec<u8>>),
}

/// What a tree may be.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    names: BTreeMap<String, Vec<Choice>>,
    /// Directories; whether each must be there.
    dirs: BTreeMap<String, bool>,
    /// Directories that were renamed away.
    left: Vec<String>,
    /// A rename of a directory that may be done or not.
    moving: Option<(String, String)>,
}

/// What was found wrong after crashes.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Names looked at.
    pub names: u64,
    /// Must be there, and are not.
    pub lost: u64,
    /// Were removed or renamed away, and are there.
    pub back: u64,
    /// Can be reached by name, but are not listed.
    pub unlisted: u64,
    /// Answer EIO, or another error.
    pub eio: u64,
    /// Have a size that they never had.
    pub sizes: u64,
    /// Hold bytes that are neither old nor new.
    pub contents: u64,
    /// The first of each.
    pub examples: Vec<String>,
}

impl Tally {
    /// Everything that is wrong.
    pub fn faults(&self) -> u64 {
        self.lost + self.back + self.unlisted + self.eio + self.sizes + self.contents
    }

    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.names += other.names;
        self.lost += other.lost;
        self.back += other.back;
        self.unlisted += other.unlisted;
        self.eio += other.eio;
        self.sizes += other.sizes;
        self.contents += other.contents;
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES_MAX);
    }
}

const EXAMPLES_MAX: usize = 20;

impl Promises {
    /// What follows from a writer's notes for a crash at `moment`.
    pub fn at(events: &[Event], moment: usize) -> Self {
        let mut promises = Self::default();
        for event in events.iter().take_while(|event| event.began < moment) {
            promises.begin(&event.what);
            if event.ended.is_some_and(|ended| ended <= moment) {
                promises.end(&event.what);
            }
        }
        promises
    }

    /// The content of a file, as the writer itself sees it; empty if there is none.
    pub fn content(&self, name: &str) -> Vec<u8> {
        match self.names.get(name).and_then(|options| options.last()) {
            Some(Choice::File(versions)) => versions.last().cloned().unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Whether the writer has made this file or link.
    pub fn has(&self, name: &str) -> bool {
        self.names.get(name).and_then(|o| o.last()).is_some_and(|last| *last != Choice::Absent)
    }

    /// Whether the writer has made this directory.
    pub fn has_dir(&self, name: &str) -> bool {
        self.dirs.contains_key(name)
    }

    /// A change begins: from now on it may be there.
    pub fn begin(&mut self, what: &What) {
        match what {
            What::Write { name, at, fill } => self.change(name, |content| {
                content.resize(content.len().max(at + fill.len), 0);
                content[*at..at + fill.len].fill(fill.byte);
            }),
            What::SetLen { name, len } => self.change(name, |content| content.resize(*len, 0)),
            What::Replace { name, fill } => {
                let options = self.names.entry(name.clone()).or_insert(vec![Choice::Absent]);
                options.push(Choice::File(vec![fill.bytes()]));
            }
            What::Link { name, len } => {
                let options = self.names.entry(name.clone()).or_insert(vec![Choice::Absent]);
                options.push(Choice::Link(*len));
            }
            What::Remove { name } => {
                self.names.entry(name.clone()).or_default().push(Choice::Absent);
            }
            What::MakeDir { name } => {
                self.dirs.entry(name.clone()).or_insert(false);
            }
            What::MoveDir { from, to } => self.moving = Some((from.clone(), to.clone())),
            What::Sync { .. } | What::SyncDir { .. } => {}
        }
    }

    /// A change has ended: from now on it must be there, as far as it was synced.
    pub fn end(&mut self, what: &What) {
        match what {
            What::Sync { name } => {
                if let Some(options) = self.names.get_mut(name) {
                    options.drain(..options.len() - 1);
                    if let Some(Choice::File(versions)) = options.first_mut() {
                        versions.drain(..versions.len() - 1);
                    }
                }
                self.require_dirs_of(name);
            }
            What::Replace { name, .. } | What::Link { name, .. } | What::Remove { name } => {
                if let Some(options) = self.names.get_mut(name) {
                    options.drain(..options.len() - 1);
                }
                self.require_dirs_of(name);
            }
            What::SyncDir { name } => {
                self.dirs.insert(name.clone(), true);
                self.require_dirs_of(name);
            }
            What::MoveDir { .. } => self.settle_move(),
            What::Write { .. } | What::SetLen { .. } | What::MakeDir { .. } => {}
        }
    }

    /// Each option that is a file has one more version; one that is absent may be new.
    fn change(&mut self, name: &str, change: impl Fn(&mut Vec<u8>)) {
        let options = self.names.entry(name.to_owned()).or_insert(vec![Choice::Absent]);
        if options.last() == Some(&Choice::Absent) {
            options.push(Choice::File(vec![Vec::new()]));
        }
        for option in options {
            if let Choice::File(versions) = option {
                let mut content = versions.last().cloned().unwrap_or_default();
                change(&mut content);
                versions.push(content);
            }
        }
    }

    fn require_dirs_of(&mut self, name: &str) {
        for (at, _) in name.match_indices('/') {
            self.dirs.insert(name[..at].to_owned(), true);
        }
    }

    fn settle_move(&mut self) {
        let Some((from, to)) = self.moving.take() else { return };
        let moved = |name: &String| match name.strip_prefix(&from) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
            _ => name.clone(),
        };
        self.names = self.names.iter().map(|(name, o)| (moved(name), o.clone())).collect();
        self.dirs = self.dirs.iter().map(|(name, must)| (moved(name), *must)).collect();
        self.dirs.insert(to.clone(), true);
        self.left.push(from);
        self.left.retain(|name| *name != to);
    }

    /// Holds a tree against the promises.
    pub fn check(mut self, root: &Path, tally: &mut Tally) {
        if self.moving.as_ref().is_some_and(|(_, to)| root.join(to).is_dir()) {
            self.settle_move();
        }
        let mut wrong = |count: fn(&mut Tally) -> &mut u64, example: String| {
            *count(tally) += 1;
            if tally.examples.len() < EXAMPLES_MAX {
                tally.examples.push(example);
            }
        };
        for dir in self.left.iter().filter(|dir| !self.dirs.contains_key(*dir)) {
            if root.join(dir).exists() {
                wrong(|tally| &mut tally.back, format!("{dir} came back"));
            }
        }
        for (dir, must) in &self.dirs {
            match fs::read_dir(root.join(dir))
                .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
            {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if *must {
                        wrong(|tally| &mut tally.lost, format!("directory {dir} is lost"));
                    }
                }
                Err(error) => wrong(|tally| &mut tally.eio, format!("directory {dir}: {error}")),
            }
        }
        for (name, options) in &self.names {
            let path = root.join(name);
            let found = match path.symlink_metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Choice::Absent),
                Err(error) => Err(error),
                Ok(stat) if stat.is_symlink() => {
                    fs::read_link(&path).map(|target| Choice::Link(target.as_os_str().len()))
                }
                Ok(_) => fs::read(&path).map(|content| Choice::File(vec![content])),
            };
            tally_name(name, options, found, &mut wrong);
            if options.iter().all(|option| *option != Choice::Absent) && !is_listed(&path) {
                wrong(|tally| &mut tally.unlisted, format!("{name} is not listed"));
            }
        }
        tally.names += self.names.len() as u64 + self.dirs.len() as u64;
    }
}

fn is_listed(path: &Path) -> bool {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return false };
    // What is not there at all was told of already.
    path.symlink_metadata().is_err()
        || fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(|e| e.file_name() == name))
}

fn tally_name(
    name: &str,
    options: &[Choice],
    found: io::Result<Choice>,
    wrong: &mut impl FnMut(fn(&mut Tally) -> &mut u64, String),
) {
    let found = match found {
        Ok(found) => found,
        Err(error) => return wrong(|tally| &mut tally.eio, format!("{name}: {error}")),
    };
    match &found {
        Choice::Absent if !options.contains(&found) => {
            wrong(|tally| &mut tally.lost, format!("{name} is lost"));
        }
        Choice::Absent => {}
        _ if options.iter().all(|option| *option == Choice::Absent) => {
            wrong(|tally| &mut tally.back, format!("{name} came back"));
        }
        Choice::Link(_) if !options.contains(&found) => {
            wrong(|tally| &mut tally.contents, format!("{name}: another target"));
        }
        Choice::Link(_) => {}
        Choice::File(content) => {
            let content = &content[0];
            let versions = options.iter().filter_map(|option| match option {
                Choice::File(versions) => Some(versions),
                _ => None,
            });
            let mut has_size = false;
            for versions in versions {
                match explains(versions, content) {
                    Fit::All => return,
                    Fit::Size => has_size = true,
                    Fit::Nothing => {}
                }
            }
            if has_size {
                wrong(|tally| &mut tally.contents, format!("{name}: bytes neither old nor new"));
            } else {
                let lens = options.iter().map(|option| match option {
                    Choice::File(versions) => versions.iter().map(Vec::len).collect::<Vec<_>>(),
                    _ => Vec::new(),
                });
                let lens: Vec<_> = lens.collect();
                let text = format!("{name}: {} bytes, may be {lens:?}", content.len());
                wrong(|tally| &mut tally.sizes, text);
            }
        }
    }
}

enum Fit {
    Nothing,
    Size,
    All,
}

/// Each byte is that of some version, or zero where the file has grown; the length lies among theirs.
fn explains(versions: &[Vec<u8>], found: &[u8]) -> Fit {
    let lens = versions.iter().map(Vec::len);
    let (least, most) = (lens.clone().min().unwrap_or(0), lens.max().unwrap_or(0));
    if !(least..=most).contains(&found.len()) {
        return Fit::Nothing;
    }
    let fits = found.iter().enumerate().all(|(at, byte)| {
        *byte == 0 && at >= least || versions.iter().any(|content| content.get(at) == Some(byte))
    });
    if fits { Fit::All } else { Fit::Size }
}
