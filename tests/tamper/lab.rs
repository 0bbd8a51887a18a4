//! One volume per case, what is done to it, and what became of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kmsfs::clock::SystemClock;
use kmsfs::fs::{FsckDepth, OpenOptions, Volume};
use kmsfs::kms::{Kms, KmsOptions};
use kmsfs::lower::NodeKind;
use kmsfs::random::OsRandom;

use crate::garden::frozen::{unlock, unpack};
use crate::garden::{Entry, Kind, Tree, read_volume};

pub const VOLUME: &str = "v1-bound.tar.gz";

/// What becomes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The volume does not open.
    Refused,
    /// Nothing that is read is wrong, and a check finds it.
    Detected,
    /// Everything reads as it was written.
    Harmless,
    /// Something reads otherwise, and nothing tells.
    Accepted,
}

/// One change.
pub struct Case {
    pub group: &'static str,
    pub name: String,
    pub tamper: Box<dyn Fn(&Lab)>,
    pub expected: Outcome,
}

impl Case {
    pub fn new(
        group: &'static str,
        name: impl Into<String>,
        expected: Outcome,
        tamper: impl Fn(&Lab) + 'static,
    ) -> Self {
        Self { group, name: name.into(), tamper: Box::new(tamper), expected }
    }
}

/// A closed volume.
pub struct Lab {
    pub root: PathBuf,
    places: BTreeMap<Vec<u8>, PathBuf>,
}

impl Lab {
    /// The lower path of a plain one.
    pub fn at(&self, plain: &str) -> PathBuf {
        self.root.join(&self.places[plain.as_bytes()])
    }

    /// Changes the bytes of a lower file.
    pub fn change(&self, plain: &str, how: impl FnOnce(&mut Vec<u8>)) {
        change(&self.at(plain), how);
    }

    /// Opens the volume for writing, does something, and closes it.
    pub fn live<T>(&self, work: impl FnOnce(&Volume) -> T) -> T {
        let volume = open(&self.root, false).unwrap();
        let done = work(&volume);
        volume.shutdown().unwrap();
        done
    }

    /// Changes the key service, while no volume is open.
    pub fn kms<T>(&self, work: impl FnOnce(&Kms) -> T) -> T {
        work(&Kms::open(&self.root.join(".kmsfs"), &unlock(), KmsOptions::default()).unwrap())
    }
}

/// Changes the bytes of a file.
pub fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    how(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Two lower entries change places.
pub fn swap(a: &Path, b: &Path) {
    let between = a.with_extension("between");
    fs::rename(a, &between).unwrap();
    fs::rename(b, a).unwrap();
    fs::rename(between, b).unwrap();
}

pub fn open(root: &Path, read_only: bool) -> Result<Volume, String> {
    let kms = Kms::open(&root.join(".kmsfs"), &unlock(), KmsOptions::default())
        .map_err(|error| error.to_string())?;
    let (random, clock) = (Arc::new(OsRandom), Arc::new(SystemClock));
    Volume::open(root, kms.as_service(), random, clock, OpenOptions { read_only })
        .map_err(|error| error.to_string())
}

/// Makes a change and looks what became of it.
pub fn examine(case: &Case) -> Result<Outcome, String> {
    let dir = unpack(VOLUME);
    let root = dir.path().to_path_buf();
    let lab = {
        let volume = open(&root, true).unwrap();
        let places = places(&volume);
        Lab { root: root.clone(), places }
    };
    let before = {
        // What a case does by itself through kmsfs is no tampering.
        let reference = read_volume(&open(&root, true).unwrap());
        (case.tamper)(&lab);
        reference
    };
    let Ok(volume) = open(&root, false) else {
        return Ok(Outcome::Refused);
    };
    let wrong = differences(&volume, &before);
    let report = volume.fsck(FsckDepth::Full, &mut |_| ControlFlow::Continue(())).unwrap();
    let is_found = !report.findings.is_empty();
    remove_everything_that_is_listed(&volume, Path::new("/"));
    let paths = |which: fn(&Wrong) -> bool| {
        wrong.iter().filter(|w| which(w)).map(|w| w.path.as_str()).collect::<Vec<_>>()
    };
    let (served, errors) = (paths(|w| w.is_served), paths(|w| w.is_error));
    match (is_found, wrong.is_empty()) {
        (true, _) if !served.is_empty() => Err(format!("found, and served: {served:?}")),
        (true, _) => Ok(Outcome::Detected),
        (false, true) => Ok(Outcome::Harmless),
        (false, false) if !errors.is_empty() => {
            Err(format!("{errors:?} do not read, and a check finds nothing"))
        }
        (false, false) => Ok(Outcome::Accepted),
    }
}

fn places(volume: &Volume) -> BTreeMap<Vec<u8>, PathBuf> {
    let mut places = BTreeMap::from([(b"/".to_vec(), PathBuf::new())]);
    for path in read_volume(volume).into_keys().skip(1) {
        let status = volume.file_status(Path::new(OsStr::from_bytes(&path))).unwrap();
        let at = path.iter().rposition(|b| *b == b'/').unwrap();
        let parent = if at == 0 { &b"/"[..] } else { &path[..at] };
        let lower = places[parent].join(status.lower_name.unwrap());
        places.insert(path, lower);
    }
    places
}

/// One thing that is not as it was.
pub struct Wrong {
    pub path: String,
    /// Reading it is an error.
    pub is_error: bool,
    /// Reading it gives something else than was written.
    pub is_served: bool,
}

/// What is not as it was written, by asking for every path that there was, and by listing.
fn differences(volume: &Volume, before: &Tree) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for (path, entry) in before {
        let shown = String::from_utf8_lossy(path).into_owned();
        match read_one(volume, path, entry) {
            Ok(true) => {}
            Ok(false) => wrong.push(Wrong { path: shown, is_error: false, is_served: true }),
            Err(is_error) => wrong.push(Wrong { path: shown, is_error, is_served: false }),
        }
    }
    wrong
}

/// Whether an entry is as it was; an error, or that it is not there (false).
fn read_one(volume: &Volume, path: &[u8], was: &Entry) -> Result<bool, bool> {
    let node = match volume.resolve(Path::new(OsStr::from_bytes(path))) {
        Ok(node) => node,
        Err(kmsfs::fs::FsError::NotFound) => return Err(false),
        Err(_) => return Err(true),
    };
    let read = (|| {
        let kind = volume.attr(node).map_err(|_| true)?.kind;
        let is_same_kind = match &was.kind {
            Kind::Dir => kind == NodeKind::Dir,
            Kind::File(_) => kind == NodeKind::File,
            Kind::Symlink(_) => kind == NodeKind::Symlink,
            Kind::Special => true,
        };
        if !is_same_kind {
            return Err(false);
        }
        let same = match &was.kind {
            Kind::Dir => volume.read_dir(node, 0, &mut |_| ControlFlow::Continue(())).is_ok(),
            Kind::File(content) => {
                let mut out = Vec::new();
                let len = content.len() + 5000;
                let got = volume.read(node, 0, len, &mut out).map_err(|_| true)?;
                out[..got] == content[..]
            }
            Kind::Special => true,
            Kind::Symlink(target) => volume.readlink(node).map_err(|_| true)? == *target,
        };
        let mut xattrs = true;
        for (name, value) in &was.xattrs {
            match volume.find_xattr(node, name) {
                Ok(found) => xattrs &= found == *value,
                Err(kmsfs::fs::FsError::Lower(e)) if e.errno == libc::ENODATA => {
                    return Err(false);
                }
                Err(_) => return Err(true),
            }
        }
        match was.kind {
            Kind::Dir if !same => Err(true),
            _ => Ok(same && xattrs),
        }
    })();
    volume.forget(node, 1);
    read
}

/// Law: whatever became of an entry, it can be removed if it is listed.
fn remove_everything_that_is_listed(volume: &Volume, path: &Path) {
    let node = volume.resolve(path).unwrap();
    let mut names = Vec::new();
    let listed = volume.read_dir(node, 0, &mut |entry| {
        names.push((entry.name.clone(), entry.kind));
        ControlFlow::Continue(())
    });
    for (name, kind) in names.into_iter().filter(|(name, _)| !matches!(&name[..], b"." | b"..")) {
        let plain = kmsfs::name::PlainName::from_bytes(&name).unwrap();
        if kind == NodeKind::Dir {
            remove_everything_that_is_listed(volume, &path.join(OsStr::from_bytes(&name)));
        } else {
            let moved = kmsfs::name::PlainName::from_bytes(b"moved away").unwrap();
            let how = kmsfs::fs::RenameHow::Replace;
            volume.rename(node, &plain, node, &moved, how).unwrap();
            volume.unlink(node, &moved).unwrap();
        }
    }
    let _closed = listed;
    volume.forget(node, 1);
}

const BEGIN: &str = "<!-- tamper table: made by tests/tamper.rs -->\n";
const END: &str = "<!-- end of the tamper table -->\n";

/// Holds the table in the threat model to what was found.
pub fn document(counts: &BTreeMap<&str, [usize; 4]>, cases: &[Case]) {
    let mut text = String::from(BEGIN);
    text += "| changed | tried | refused | detected | harmless | accepted |\n|---|---|---|---|---|---|\n";
    let mut sum = [0; 4];
    for (group, row) in counts {
        let tried: usize = row.iter().sum();
        text +=
            &format!("| {group} | {tried} | {} | {} | {} | {} |\n", row[0], row[1], row[2], row[3]);
        sum.iter_mut().zip(row).for_each(|(sum, more)| *sum += more);
    }
    let tried: usize = sum.iter().sum();
    text +=
        &format!("| **all** | {tried} | {} | {} | {} | {} |\n\n", sum[0], sum[1], sum[2], sum[3]);
    text += "Accepted:\n\n";
    for case in cases.iter().filter(|case| case.expected == Outcome::Accepted) {
        text += &format!("* {}: {}\n", case.group, case.name);
    }
    text += END;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/THREAT_MODEL.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the table has its place");
    let (_, after) = rest.split_once(END).expect("the table has an end");
    let wanted = format!("{before}{text}{after}");
    if std::env::var_os("KMSFS_WRITE_DOCS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    assert!(page == wanted, "docs/THREAT_MODEL.md is not:\n{text}");
}
