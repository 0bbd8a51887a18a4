//! Broken siblings of the frozen volume, each made by one change of its lower directory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kmsfs::fs::{FsckDepth, FsckReport, Volume};
use serde_json::json;

use crate::garden::frozen::{beside, expected, open, unpack};
use crate::garden::read_volume;

/// Lower paths of the frozen volume's entries, relative to its root, by plain path.
pub struct Places(BTreeMap<Vec<u8>, PathBuf>);

impl Places {
    pub fn of(lower: &Path) -> Self {
        let volume = open(lower, true).unwrap();
        let mut places = BTreeMap::from([(b"/".to_vec(), PathBuf::new())]);
        // Sorted: a directory comes before what is in it.
        for path in read_volume(&volume).into_keys().skip(1) {
            let status = volume.file_status(Path::new(OsStr::from_bytes(&path))).unwrap();
            let at = path.iter().rposition(|b| *b == b'/').unwrap();
            let parent = if at == 0 { &b"/"[..] } else { &path[..at] };
            let lower = places[parent].join(status.lower_name.unwrap());
            places.insert(path, lower);
        }
        Self(places)
    }

    pub fn get(&self, plain: &str) -> &Path {
        &self.0[plain.as_bytes()]
    }

    /// The plain path behind a lower one, or the lower one in brackets.
    fn plain(&self, lower: &str) -> String {
        let found = self.0.iter().find(|(_, place)| place.to_str() == Some(lower));
        found.map_or(format!("<{lower}>"), |(plain, _)| String::from_utf8_lossy(plain).into_owned())
    }
}

/// Changes a file's bytes.
pub fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    how(&mut bytes);
    fs::write(path, bytes).unwrap();
}

pub fn swap(a: &Path, b: &Path) {
    let between = a.with_extension("between");
    fs::rename(a, &between).unwrap();
    fs::rename(b, a).unwrap();
    fs::rename(between, b).unwrap();
}

fn sidecar(object: &Path) -> PathBuf {
    PathBuf::from(format!("{}.name", object.display()))
}

/// Name of the sibling, and how it comes about. The file of all cases has seven blocks and two equal
/// envelopes, as a rewrap leaves them.
type Damage = (&'static str, fn(&Path, &Places));

const FILE: &str = "/sizes/20000";

const DAMAGES: &[Damage] = &[
    ("torn slot A", |root, p| change(&root.join(p.get(FILE)), |b| b[700] ^= 1)),
    ("torn slot B", |root, p| change(&root.join(p.get(FILE)), |b| b[1024..1280].fill(0))),
    ("both slots torn", |root, p| change(&root.join(p.get(FILE)), |b| b[900..1100].fill(0))),
    ("prelude changed", |root, p| change(&root.join(p.get(FILE)), |b| b[41] ^= 1)),
    ("header of another file", |root, p| {
        let other = fs::read(root.join(p.get("/sizes/6560"))).unwrap();
        change(&root.join(p.get(FILE)), |b| b[..1536].copy_from_slice(&other[..1536]));
    }),
    ("blocks 1 and 2 swapped", |root, p| {
        change(&root.join(p.get(FILE)), |b| b[4096..12288].rotate_left(4096));
    }),
    ("a byte of block 3", |root, p| change(&root.join(p.get(FILE)), |b| b[3 * 4096 + 99] ^= 1)),
    ("block 2 zeroed", |root, p| {
        change(&root.join(p.get(FILE)), |b| b[2 * 4096..3 * 4096].fill(0));
    }),
    ("block of another file", |root, p| {
        let other = fs::read(root.join(p.get("/changes/appended"))).unwrap();
        change(&root.join(p.get(FILE)), |b| b[4096..8192].copy_from_slice(&other[4096..8192]));
    }),
    ("tail cut by a byte", |root, p| change(&root.join(p.get(FILE)), |b| b.truncate(b.len() - 1))),
    ("tail cut", |root, p| {
        change(&root.join(p.get(FILE)), |b| b.truncate(b.len() / 4096 * 4096));
    }),
    ("last page cut", |root, p| {
        change(&root.join(p.get(FILE)), |b| b.truncate((b.len() / 4096 - 1) * 4096 + 4048));
    }),
    ("lengthened by a page", |root, p| {
        change(&root.join(p.get(FILE)), |b| b.resize(b.len() + 4096, 0));
    }),
    ("sparse file cut at a hole", |root, p| {
        change(&root.join(p.get("/holes/far")), |b| b.truncate(3 * 4096 + 4048));
    }),
    ("cut down to the first page", |root, p| change(&root.join(p.get(FILE)), |b| b.truncate(4096))),
    ("cut inside the header", |root, p| change(&root.join(p.get(FILE)), |b| b.truncate(1000))),
    ("marker changed", |root, p| {
        change(&root.join(p.get("/names/deep/deep")).join(".kmsfs.dir"), |b| b[33] ^= 1);
    }),
    ("marker missing", |root, p| {
        fs::remove_file(root.join(p.get("/names/deep/deep")).join(".kmsfs.dir")).unwrap();
    }),
    ("marker of another directory", |root, p| {
        let (from, to) = (root.join(p.get("/links")), root.join(p.get("/names/deep/deep")));
        fs::copy(from.join(".kmsfs.dir"), to.join(".kmsfs.dir")).unwrap();
    }),
    ("entry moved to another directory", |root, p| {
        let place = root.join(p.get(FILE));
        fs::rename(&place, root.join(place.file_name().unwrap())).unwrap();
    }),
    ("name changed", |root, p| {
        let place = root.join(p.get(FILE));
        let name = place.file_name().unwrap().to_str().unwrap();
        let other = if name.starts_with('A') { "B" } else { "A" };
        fs::rename(&place, place.with_file_name(format!("{other}{}", &name[1..]))).unwrap();
    }),
    ("sidecar missing", |root, p| {
        fs::remove_file(sidecar(&root.join(p.get(&format!("/names/{}", "n".repeat(255))))))
            .unwrap();
    }),
    ("sidecar changed", |root, p| {
        let object = root.join(p.get(&format!("/names/{}", "n".repeat(255))));
        change(&sidecar(&object), |b| b[8] ^= 1);
    }),
    ("sidecar without its object", |root, p| {
        fs::remove_file(root.join(p.get(&format!("/names/{}", "n".repeat(255))))).unwrap();
    }),
    ("leftover of a crash", |root, _| fs::write(root.join(".kmsfs.tmp.0123"), b"x").unwrap()),
    ("foreign file", |root, _| fs::write(root.join("notes.txt"), b"not ours").unwrap()),
    ("symlink's text changed", |root, p| {
        let place = root.join(p.get("/links/usual"));
        fs::remove_file(&place).unwrap();
        std::os::unix::fs::symlink("A".repeat(70), place).unwrap();
    }),
    ("symlink's file missing", |root, p| {
        let text = fs::read_link(root.join(p.get("/links/external"))).unwrap();
        let id = text.to_str().unwrap()[1..33].to_owned();
        fs::remove_file(root.join(".kmsfs/links").join(id)).unwrap();
    }),
    ("state changed", |root, _| change(&root.join(".kmsfs/state"), |b| b[10] ^= 1)),
    ("state missing", |root, _| fs::remove_file(root.join(".kmsfs/state")).unwrap()),
];

fn check(volume: &Volume) -> FsckReport {
    volume.fsck(FsckDepth::Full, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// What a check of a broken volume says, one text for a finding.
fn findings(root: &Path, places: &Places) -> Vec<String> {
    // Read-only: nothing is mended before it is looked at.
    let volume = open(root, true).unwrap();
    let mut found: Vec<String> = check(&volume)
        .findings
        .iter()
        .map(|f| format!("{} {}: {}", f.code, places.plain(&f.lower_path), f.cause))
        .collect();
    found.sort();
    found
}

#[test]
fn broken_siblings_have_exactly_these_findings() {
    let mut found = BTreeMap::new();
    for (name, damage) in DAMAGES {
        let dir = unpack("v1-basic.tar.gz");
        let places = Places::of(dir.path());
        damage(dir.path(), &places);
        let again = found.insert((*name).to_owned(), json!(findings(dir.path(), &places)));
        assert_eq!(again, None, "{name} twice");
    }
    let expected = expected("v1-broken.json");
    let text = serde_json::to_string_pretty(&found).unwrap();
    assert!(found == expected, "{} is not:\n{text}", beside("v1-broken.json").display());
}
