//! A volume in a directory of its own, used by paths.

use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kmsfs::clock::{AheadClock, Clock, SystemClock};
use kmsfs::format::KmsPlace;
use kmsfs::fs::{
    Caller, FsError, FsckDepth, FsckReport, NewVolume, NodeId, OpenOptions, RewrapOptions,
    RewrapReport, Usage, Volume, WriteHow,
};
use kmsfs::name::PlainName;
use kmsfs::random::{OsRandom, SeededRandom};
use kmsfs::testing::FaultKms;

pub const ALIAS: &str = "alias/volume";
pub const OTHER: &str = "alias/other";

const CALLER: Caller = Caller { uid: 0, gid: 0, pid: 0 };

/// A volume that may be open, and what it is made of.
pub struct Bench {
    pub kms: Arc<FaultKms>,
    pub lower: tempfile::TempDir,
}

impl Bench {
    /// A fresh volume; not open.
    pub fn new() -> Self {
        let kms = Arc::new(FaultKms::new(5, &[ALIAS, OTHER]));
        let lower = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let new = NewVolume {
            kms: KmsPlace::Embedded,
            alias: ALIAS,
            service: &*kms,
            random: &SeededRandom::new(6),
            clock: &SystemClock,
        };
        kmsfs::fs::init(lower.path(), &new).unwrap();
        Self { kms, lower }
    }

    pub fn open(&self) -> Volume {
        self.try_open(false).unwrap()
    }

    pub fn try_open(&self, read_only: bool) -> Result<Volume, FsError> {
        self.try_open_at(Arc::new(SystemClock), read_only)
    }

    /// Opens it by another clock.
    pub fn open_at(&self, clock: &Arc<AheadClock>) -> Volume {
        self.try_open_at(Arc::clone(clock) as Arc<dyn Clock>, false).unwrap()
    }

    fn try_open_at(&self, clock: Arc<dyn Clock>, read_only: bool) -> Result<Volume, FsError> {
        let service = Arc::clone(&self.kms);
        let options = OpenOptions { read_only };
        Volume::open(self.lower.path(), service, Arc::new(OsRandom), clock, options)
    }

    /// Renews the state, if it has to be; whether it had.
    pub fn renew_state(&self) -> bool {
        let service = Arc::clone(&self.kms);
        let (random, clock) = (Arc::new(OsRandom), Arc::new(SystemClock));
        Volume::renew_state(self.lower.path(), service, random, clock).unwrap()
    }

    /// The lower file or directory behind a path of the volume.
    pub fn lower_of(&self, volume: &Volume, path: &str) -> PathBuf {
        let ino = volume.file_status(Path::new(path)).unwrap().lower_ino;
        find_ino(self.lower.path(), ino).unwrap()
    }

    /// Rotates the volume's key.
    pub fn rotate(&self) {
        self.kms.rotate(&self.kms.arn_of(ALIAS));
    }
}

fn find_ino(dir: &Path, ino: u64) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.ino() == ino {
            return Some(path);
        }
        if metadata.is_dir()
            && let Some(found) = find_ino(&path, ino)
        {
            return Some(found);
        }
    }
    None
}

/// Runs `work` on the node of a path.
pub fn at<T>(
    volume: &Volume,
    path: &str,
    work: impl FnOnce(NodeId) -> Result<T, FsError>,
) -> Result<T, FsError> {
    let node = volume.resolve(Path::new(path))?;
    let done = work(node);
    volume.forget(node, 1);
    done
}

pub fn plain(name: &str) -> PlainName {
    PlainName::from_bytes(name.as_bytes()).unwrap()
}

/// Directory and name of a path.
pub fn split(path: &str) -> (&str, PlainName) {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    (dir, plain(name))
}

pub fn make_dir(volume: &Volume, path: &str) {
    let (dir, name) = split(path);
    let made = at(volume, dir, |dir| volume.mkdir(dir, &name, 0o755, 0, CALLER)).unwrap();
    volume.forget(made.node, 1);
}

pub fn make_link(volume: &Volume, path: &str, target: &str) {
    let (dir, name) = split(path);
    let made = at(volume, dir, |dir| volume.symlink(dir, &name, target.as_bytes(), CALLER));
    volume.forget(made.unwrap().node, 1);
}

/// Makes a file, or takes the one that is there, and writes at its beginning.
pub fn write(volume: &Volume, path: &str, data: &[u8]) -> Result<(), FsError> {
    let (dir, name) = split(path);
    let made = match at(volume, dir, |dir| volume.mknod(dir, &name, 0o100_644, 0, 0, CALLER)) {
        Ok(attr) => Some(attr),
        Err(FsError::Lower(error)) if error.errno == libc::EEXIST => None,
        Err(error) => return Err(error),
    };
    let written = at(volume, path, |node| volume.write(node, 0, data, WriteHow::Keep).map(drop));
    if let Some(attr) = made {
        volume.forget(attr.node, 1);
    }
    written
}

pub fn read(volume: &Volume, path: &str) -> Result<Vec<u8>, FsError> {
    at(volume, path, |node| {
        let mut out = Vec::new();
        let len = usize::try_from(volume.attr(node)?.size).unwrap() + 1;
        let got = volume.read(node, 0, len, &mut out)?;
        out.truncate(got);
        Ok(out)
    })
}

pub fn unlink(volume: &Volume, path: &str) -> Result<(), FsError> {
    let (dir, name) = split(path);
    at(volume, dir, |dir| volume.unlink(dir, &name))
}

pub fn names(volume: &Volume, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    at(volume, path, |node| {
        volume.read_dir(node, 0, &mut |entry| {
            names.push(String::from_utf8(entry.name.clone()).unwrap());
            ControlFlow::Continue(())
        })
    })
    .unwrap();
    names.retain(|name| name != "." && name != "..");
    names.sort();
    names
}

pub fn rewrap(volume: &Volume, options: &RewrapOptions) -> RewrapReport {
    volume.rewrap_tree(&[], options, &mut |_| ControlFlow::Continue(())).unwrap()
}

pub fn usage(volume: &Volume) -> Usage {
    volume.usage(&mut |_| ControlFlow::Continue(())).unwrap()
}

pub fn fsck(volume: &Volume) -> FsckReport {
    volume.fsck(FsckDepth::Full, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Kinds of findings of a full check.
pub fn findings(volume: &Volume) -> Vec<String> {
    fsck(volume).findings.into_iter().map(|finding| finding.code).collect()
}

/// Bytes that differ from file to file.
pub fn content(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 13 + usize::from(seed) * 7) % 251).unwrap()).collect()
}

/// Flips bits of one byte of a lower file.
pub fn flip(path: &Path, offset: u64, bits: u8) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ bits], offset).unwrap();
}
