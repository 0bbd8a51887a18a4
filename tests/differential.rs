//! The same calls on a mount and on a plain directory: the same answers, the same errno, the same tree
//! in the end. `KMSFS_DIFFERENTIAL` says how many sequences are tried; each is known by its seed.

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
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kmsfs::random::{Random, SeededRandom};
use rustix::fs::{CWD, FallocateFlags, RenameFlags, Timespec, Timestamps, XattrFlags};

use mount::{How, MountedVolume};

/// Sequences by default.
const SEQUENCES: u64 = 32;

/// Calls in a sequence.
const CALLS: usize = 150;

/// Offsets and lengths near the ends of blocks and pages.
const PLACES: [u64; 14] =
    [0, 1, 100, 2511, 2512, 2513, 4095, 4096, 6559, 6560, 6561, 10_608, 65_536, 150_000];

/// One call, with names instead of descriptors, so that both sides get the very same.
#[derive(Clone, Debug)]
enum Call {
    Write { path: PathBuf, at: u64, len: usize, fill: u8 },
    Append { path: PathBuf, len: usize, fill: u8 },
    Read { path: PathBuf, at: u64, len: usize },
    Truncate { path: PathBuf, len: u64 },
    CreateNew { path: PathBuf, mode: u32 },
    Allocate { path: PathBuf, how: u32, at: u64, len: u64 },
    Copy { from: PathBuf, to: PathBuf, at: u64, to_at: u64, len: usize },
    Mkdir { path: PathBuf, mode: u32 },
    Rmdir { path: PathBuf },
    Unlink { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf, how: u32 },
    Link { from: PathBuf, to: PathBuf },
    Symlink { target: String, path: PathBuf },
    ReadLink { path: PathBuf },
    Mkfifo { path: PathBuf },
    Chmod { path: PathBuf, mode: u32 },
    SetTimes { path: PathBuf, secs: i64, nanos: i64 },
    SetXattr { path: PathBuf, name: &'static str, len: usize, flags: u32 },
    GetXattr { path: PathBuf, name: &'static str },
    RemoveXattr { path: PathBuf, name: &'static str },
    Stat { path: PathBuf },
    List { path: PathBuf },
    Sync { path: PathBuf },
}

struct Draw {
    random: SeededRandom,
    /// What the plain directory can do; we can all of it anywhere.
    modes: Vec<u32>,
    targets: Vec<String>,
}

impl Draw {
    fn new(seed: u64, plain: &Path) -> Self {
        let probe = plain.join("probe");
        fs::write(&probe, [1; 9000]).unwrap();
        let file = OpenOptions::new().write(true).open(&probe).unwrap();
        let mut modes = vec![0, 1, 3, 16, 17];
        modes.retain(|how| {
            rustix::fs::fallocate(&file, FallocateFlags::from_bits_retain(*how), 0, 4096).is_ok()
        });
        fs::remove_file(&probe).unwrap();
        let mut targets = ["a", "d/b", "nowhere", &"t".repeat(3500)].map(str::to_owned).to_vec();
        targets.retain(|target| {
            let is_made = symlink(target, &probe).is_ok();
            is_made && fs::remove_file(&probe).is_ok()
        });
        Self { random: SeededRandom::new(seed), modes, targets }
    }

    fn below(&self, limit: u64) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % limit
    }

    fn of<T: Clone>(&self, things: &[T]) -> T {
        things[self.below(things.len() as u64) as usize].clone()
    }

    /// Few names, so that calls meet: short, long, and deeper ones.
    fn path(&self) -> PathBuf {
        let long = "l".repeat(240);
        let names = ["a", "b", "c", "d", &long, ".kmsfs.dir"];
        let mut path = PathBuf::from(self.of(&names));
        while self.below(4) == 0 {
            path.push(self.of(&names));
        }
        path
    }

    fn place(&self) -> u64 {
        match self.below(4) {
            0 => self.below(30_000),
            _ => self.of(&PLACES),
        }
    }

    fn call(&self) -> Call {
        let path = self.path();
        let name = self.of(&["user.a", "user.b", "user.long-name-of-an-attribute"]);
        let fill = 1 + self.below(255) as u8;
        match self.below(36) {
            0..=5 => Call::Write { path, at: self.place(), len: self.place() as usize, fill },
            6 => Call::Append { path, len: self.below(9000) as usize, fill },
            7..=9 => Call::Read { path, at: self.place(), len: self.place() as usize },
            10 | 11 => Call::Truncate { path, len: self.place() },
            12 => Call::CreateNew { path, mode: self.of(&[0o644, 0o4755, 0, 0o777]) },
            13 | 14 if self.modes.is_empty() => Call::Sync { path },
            13 | 14 => Call::Allocate {
                path,
                how: self.of(&self.modes),
                at: self.place(),
                len: self.place(),
            },
            15 => Call::Copy {
                from: path,
                to: self.path(),
                at: self.place(),
                to_at: self.place(),
                len: self.place() as usize,
            },
            16..=18 => Call::Mkdir { path, mode: self.of(&[0o755, 0o700, 0o1777, 0o555]) },
            19 => Call::Rmdir { path },
            20 | 21 => Call::Unlink { path },
            22..=24 => {
                Call::Rename { from: path, to: self.path(), how: self.of(&[0, 0, 0, 1, 2, 3]) }
            }
            25 => Call::Link { from: path, to: self.path() },
            26 => Call::Symlink { target: self.of(&self.targets), path },
            27 => Call::ReadLink { path },
            28 => Call::Mkfifo { path },
            29 => Call::Chmod { path, mode: self.of(&[0o600, 0o2755, 0o644, 0o1700]) },
            30 => Call::SetTimes {
                path,
                secs: self.of(&[-1, 0, 1_000_000_000, 4_294_967_296]),
                nanos: self.of(&[0, 999_999_999]),
            },
            31 => {
                let (len, flags) = (self.of(&[0, 10, 1000]), self.of(&[0, 1, 2]));
                Call::SetXattr { path, name, len, flags }
            }
            32 => Call::GetXattr { path, name },
            33 => Call::RemoveXattr { path, name },
            34 => self.of(&[Call::Stat { path: path.clone() }, Call::List { path }]),
            _ => Call::Sync { path },
        }
    }
}

impl Call {
    /// Makes the call below a root; gives what the caller sees, as text.
    fn make(&self, root: &Path) -> io::Result<String> {
        let at = |path: &PathBuf| root.join(path);
        match self {
            Self::Write { path, at: from, len, fill } => {
                // Not a fifo: nobody would read it.
                let file = open_file(&at(path), OpenOptions::new().write(true).create(true))?;
                file.write_all_at(&vec![*fill; *len], *from)?;
            }
            Self::Append { path, len, fill } => {
                let mut file = open_file(&at(path), OpenOptions::new().append(true))?;
                io::Write::write_all(&mut file, &vec![*fill; *len])?;
            }
            Self::Read { path, at: from, len } => {
                let file = open_file(&at(path), OpenOptions::new().read(true))?;
                let mut out = vec![0; *len];
                let got = file.read_at(&mut out, *from)?;
                return Ok(format!("{got} {}", sum(&out[..got])));
            }
            Self::Truncate { path, len } => {
                open_file(&at(path), OpenOptions::new().write(true))?.set_len(*len)?;
            }
            Self::CreateNew { path, mode } => {
                use std::os::unix::fs::OpenOptionsExt;
                let mut how = OpenOptions::new();
                how.write(true).create_new(true).mode(*mode).open(at(path))?;
            }
            Self::Allocate { path, how, at: from, len } => {
                let file = open_file(&at(path), OpenOptions::new().write(true))?;
                let how = FallocateFlags::from_bits_retain(*how);
                rustix::fs::fallocate(&file, how, *from, *len)?;
            }
            Self::Copy { from, to, at: place, to_at, len } => {
                let source = open_file(&at(from), OpenOptions::new().read(true))?;
                let target = open_file(&at(to), OpenOptions::new().write(true))?;
                return copy(&source, &target, *place, *to_at, *len);
            }
            Self::Mkdir { path, mode } => {
                let mode = rustix::fs::Mode::from_raw_mode(*mode);
                rustix::fs::mkdirat(CWD, at(path), mode)?;
            }
            Self::Rmdir { path } => fs::remove_dir(at(path))?,
            Self::Unlink { path } => {
                rustix::fs::unlinkat(CWD, at(path), rustix::fs::AtFlags::empty())?;
            }
            Self::Rename { from, to, how } => {
                let how = RenameFlags::from_bits_retain(*how);
                rustix::fs::renameat_with(CWD, at(from), CWD, at(to), how)?;
            }
            Self::Link { from, to } => fs::hard_link(at(from), at(to))?,
            Self::Symlink { target, path } => symlink(target, at(path))?,
            Self::ReadLink { path } => return Ok(format!("{:?}", fs::read_link(at(path))?)),
            Self::Mkfifo { path } => {
                let mode = rustix::fs::Mode::from_raw_mode(0o640);
                rustix::fs::mknodat(CWD, at(path), rustix::fs::FileType::Fifo, mode, 0)?;
            }
            Self::Chmod { path, mode } => {
                fs::set_permissions(at(path), fs::Permissions::from_mode(*mode))?;
            }
            Self::SetTimes { path, secs, nanos } => {
                let time = Timespec { tv_sec: *secs, tv_nsec: *nanos };
                let times = Timestamps { last_access: time, last_modification: time };
                let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::utimensat(CWD, at(path), &times, flags)?;
                let seen = at(path).symlink_metadata()?;
                return Ok(format!("{} {}", seen.mtime(), seen.mtime_nsec()));
            }
            Self::SetXattr { path, name, len, flags } => {
                let flags = XattrFlags::from_bits_retain(*flags);
                rustix::fs::lsetxattr(at(path), *name, &vec![7; *len], flags)?;
            }
            Self::GetXattr { path, name } => {
                let mut value = vec![0; 4096];
                let len = rustix::fs::lgetxattr(at(path), *name, &mut value)?;
                return Ok(format!("{len}"));
            }
            Self::RemoveXattr { path, name } => rustix::fs::lremovexattr(at(path), *name)?,
            Self::Stat { path } => return describe(&at(path)),
            Self::List { path } => {
                let mut names = Vec::new();
                for entry in fs::read_dir(at(path))? {
                    names.push(entry?.file_name());
                }
                names.sort();
                return Ok(format!("{names:?}"));
            }
            Self::Sync { path } => {
                let kind = at(path).metadata()?.file_type();
                if kind.is_file() || kind.is_dir() {
                    File::open(at(path))?.sync_all()?;
                }
            }
        }
        Ok(String::new())
    }
}

/// Opens what is no fifo; on both sides alike.
fn open_file(path: &Path, how: &OpenOptions) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = how.clone().custom_flags(libc::O_NONBLOCK).open(path)?;
    match file.metadata()?.file_type().is_fifo() {
        true => Err(io::Error::from_raw_os_error(libc::ENXIO)),
        false => Ok(file),
    }
}

/// Copies as much as there is: how much one call copies is up to the filesystem.
fn copy(from: &File, to: &File, at: u64, to_at: u64, len: usize) -> io::Result<String> {
    let (mut at, mut to_at, mut done) = (at, to_at, 0);
    while done < len {
        match rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut to_at), len - done)? {
            0 => break,
            copied => done += copied,
        }
    }
    Ok(format!("{done}"))
}

/// A number that tells contents apart.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What stat shows, but for what may differ: inode numbers, times of now, sizes of directories.
fn describe(path: &Path) -> io::Result<String> {
    let seen = path.symlink_metadata()?;
    let size = if seen.is_dir() { 0 } else { seen.len() };
    Ok(format!(
        "{:o} {} {}:{} {size} {}",
        seen.mode(),
        seen.nlink(),
        seen.uid(),
        seen.gid(),
        seen.rdev()
    ))
}

/// A whole tree as text, by path.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            let mut text = describe(&path).unwrap();
            if kind.is_file() {
                text.push_str(&format!(" {}", sum(&fs::read(&path).unwrap())));
            }
            if kind.is_symlink() {
                text.push_str(&format!(" {:?}", fs::read_link(&path).unwrap()));
            }
            if kind.is_file() || kind.is_dir() {
                text.push_str(&format!(" {:?}", xattrs(&path)));
            }
            found.insert(path.strip_prefix(root).unwrap().to_path_buf(), text);
            if kind.is_dir() {
                waiting.push(path);
            }
        }
    }
    found
}

fn xattrs(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 65_536];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap();
    names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"user."))
        .map(|name| {
            let name = std::ffi::OsStr::from_bytes(name).to_owned();
            let mut value = vec![0; 4096];
            let len = rustix::fs::lgetxattr(path, &name, &mut value).unwrap();
            value.truncate(len);
            (name, value)
        })
        .collect()
}

/// What a caller sees of a call.
fn answer(made: io::Result<String>) -> Result<String, i32> {
    made.map_err(|error| error.raw_os_error().unwrap_or_else(|| panic!("{error}")))
}

fn compare(seed: u64) {
    let how = How { writeback: seed.is_multiple_of(2), privileged: true, ..How::default() };
    let Some(mut volume) = MountedVolume::new(how) else { return };
    let plain = tempfile::tempdir().unwrap();
    fs::set_permissions(plain.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let draw = Draw::new(seed, plain.path());
    let mut made = Vec::new();
    for no in 0..CALLS {
        let call = match no {
            0 => Call::Mkdir { path: PathBuf::from("c"), mode: 0o755 },
            1 => Call::Mkdir { path: PathBuf::from("d"), mode: 0o755 },
            _ => draw.call(),
        };
        let here = answer(call.make(volume.root()));
        let there = answer(call.make(plain.path()));
        made.push(call);
        assert!(here == there, "seed {seed}: {here:?}, not {there:?}\n{}", story(&made));
    }
    for _ in 0..2 {
        let (here, there) = (tree(volume.root()), tree(plain.path()));
        for (path, wanted) in &there {
            let found = here.get(path);
            assert!(
                found == Some(wanted),
                "seed {seed}: {path:?}: {found:?}, not {wanted:?}\n{}",
                story(&made)
            );
        }
        assert_eq!(here.len(), there.len(), "seed {seed}\n{}", story(&made));
        volume.remount();
    }
}

/// The last calls, one a line.
fn story(made: &[Call]) -> String {
    let last = made.len().saturating_sub(30);
    made[last..].iter().map(|call| format!("{call:?}\n")).collect()
}

#[test]
fn mount_answers_as_a_plain_directory_does() {
    let count = std::env::var("KMSFS_DIFFERENTIAL")
        .map_or(SEQUENCES, |count| count.parse().expect("KMSFS_DIFFERENTIAL is a number"));
    for seed in 0..count {
        compare(seed);
    }
}
