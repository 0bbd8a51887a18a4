//! Changes that a volume does not detect whose names are not bound, as they were made first; what a bound
//! one accepts stands in `tests/tamper/`. docs/THREAT_MODEL.md says it. A test here that fails
//! is good news: change the document then. Beside them, the near misses that are detected.

use std::fs;
use std::path::Path;

use kmsfs::fs::{CorruptPart, FsError, Volume, WriteHow};
use kmsfs::kms::{KeyRef, Kms, KmsOptions};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use tempfile::TempDir;

use crate::garden::frozen::{open, unlock, unpack};
use crate::garden::{ALIAS, Garden, Kind, Tree, read_volume};
use crate::volumes::broken::{Places, change, swap};

const FILE: &str = "/sizes/20000";

/// A frozen volume that an adversary may work on while it is not mounted.
struct Offline {
    dir: TempDir,
    places: Places,
    before: Tree,
}

impl Offline {
    fn new() -> Self {
        let dir = unpack("v1-basic.tar.gz");
        let places = Places::of(dir.path());
        let before = read_volume(&open(dir.path(), true).unwrap());
        Self { dir, places, before }
    }

    fn lower(&self, plain: &str) -> std::path::PathBuf {
        self.dir.path().join(self.places.get(plain))
    }

    /// What the volume shows now; everything must be readable.
    fn after(&self) -> Tree {
        let volume = open(self.dir.path(), true).unwrap();
        assert!(volume.status().recovery.is_none());
        read_volume(&volume)
    }

    fn was(&self, plain: &str) -> &Kind {
        &self.before[plain.as_bytes()].kind
    }
}

fn kind<'a>(tree: &'a Tree, plain: &str) -> &'a Kind {
    &tree[plain.as_bytes()].kind
}

fn write(volume: &Volume, plain: &str, place: u64, data: &[u8]) {
    let node = volume.resolve(Path::new(plain)).unwrap();
    volume.write(node, place, data, WriteHow::Keep).unwrap();
    volume.forget(node, 1);
}

#[test]
fn a_block_put_back_to_an_earlier_state_is_not_detected() {
    let offline = Offline::new();
    let old = fs::read(offline.lower(FILE)).unwrap();
    let volume = open(offline.dir.path(), false).unwrap();
    write(&volume, FILE, 3000, b"newer content of block 1");
    write(&volume, FILE, 12_000, b"newer content of block 3");
    volume.shutdown().unwrap();
    drop(volume);
    change(&offline.lower(FILE), |b| b[4096..8192].copy_from_slice(&old[4096..8192]));
    let after = offline.after();
    let (Kind::File(was), Kind::File(is)) = (offline.was(FILE), kind(&after, FILE)) else {
        panic!()
    };
    assert_eq!(is[3000..3024], was[3000..3024], "the old block is back");
    assert_eq!(&is[12_000..12_024], b"newer content of block 3", "beside a new one");
}

#[test]
fn a_file_put_back_to_an_earlier_state_is_not_detected() {
    let offline = Offline::new();
    let old = fs::read(offline.lower(FILE)).unwrap();
    let volume = open(offline.dir.path(), false).unwrap();
    write(&volume, FILE, 0, b"newer");
    volume.shutdown().unwrap();
    drop(volume);
    fs::write(offline.lower(FILE), old).unwrap();
    assert_eq!(offline.after(), offline.before);
}

/// The old envelope is whole and was written for this file: it opens while its material exists.
#[test]
fn an_envelope_put_back_to_before_a_rotation_is_not_detected() {
    let offline = Offline::new();
    let old = fs::read(offline.lower(FILE)).unwrap();
    let own = offline.dir.path().join(".kmsfs");
    let kms = Kms::open(&own, &unlock(), KmsOptions::default()).unwrap();
    let key = kms.describe_key(&KeyRef::new(ALIAS)).unwrap().arn;
    kms.rotate_key_on_demand(&KeyRef::from(&key)).unwrap();
    drop(kms);
    let volume = open(offline.dir.path(), false).unwrap();
    Garden::new(&volume).rewrap(&[]);
    volume.shutdown().unwrap();
    drop(volume);
    assert_ne!(fs::read(offline.lower(FILE)).unwrap()[512..1536], old[512..1536], "rewrapped");
    change(&offline.lower(FILE), |b| b[512..1536].copy_from_slice(&old[512..1536]));
    assert_eq!(offline.after(), offline.before);
}

#[test]
fn a_volume_put_back_to_an_earlier_state_is_not_detected() {
    let offline = Offline::new();
    let volume = open(offline.dir.path(), false).unwrap();
    write(&volume, FILE, 0, b"newer");
    volume.shutdown().unwrap();
    drop(volume);
    let earlier = unpack("v1-basic.tar.gz");
    assert_eq!(read_volume(&open(earlier.path(), true).unwrap()), offline.before);
}

#[test]
fn two_files_that_change_places_are_not_detected() {
    let offline = Offline::new();
    let other = "/changes/shrunk";
    swap(&offline.lower(FILE), &offline.lower(other));
    let after = offline.after();
    assert_eq!(kind(&after, FILE), offline.was(other));
    assert_eq!(kind(&after, other), offline.was(FILE));
}

#[test]
fn two_directories_that_change_places_are_not_detected() {
    let offline = Offline::new();
    swap(&offline.lower("/sizes"), &offline.lower("/holes"));
    assert_eq!(kind(&offline.after(), "/holes/20000"), offline.was(FILE));
}

#[test]
fn two_symlinks_that_change_places_are_not_detected() {
    let offline = Offline::new();
    swap(&offline.lower("/links/usual"), &offline.lower("/links/external"));
    let after = offline.after();
    assert_eq!(kind(&after, "/links/usual"), offline.was("/links/external"));
    assert_eq!(kind(&after, "/links/external"), offline.was("/links/usual"));
}

#[test]
fn entries_that_are_removed_are_not_detected() {
    let offline = Offline::new();
    fs::remove_file(offline.lower(FILE)).unwrap();
    fs::remove_dir_all(offline.lower("/names/deep")).unwrap();
    fs::remove_file(offline.lower("/links/usual")).unwrap();
    let after = offline.after();
    assert!(
        ["/links/usual", "/names/deep", FILE].iter().all(|p| !after.contains_key(p.as_bytes()))
    );
}

#[test]
fn a_file_that_is_emptied_is_not_detected() {
    let offline = Offline::new();
    fs::write(offline.lower(FILE), b"").unwrap();
    assert_eq!(kind(&offline.after(), FILE), &Kind::File(Vec::new()));
}

/// In a file that has holes, any block but the last can be made one.
#[test]
fn a_block_of_a_sparse_file_that_is_zeroed_is_not_detected() {
    let offline = Offline::new();
    let file = "/holes/punched";
    change(&offline.lower(file), |b| b[1536..4096].fill(0));
    let after = offline.after();
    let (Kind::File(was), Kind::File(is)) = (offline.was(file), kind(&after, file)) else {
        panic!()
    };
    assert!(is[..2512].iter().all(|b| *b == 0) && was[..2512].iter().any(|b| *b != 0));
    assert_eq!(is[2512..], was[2512..]);
}

/// Who puts the state of a running mount back makes the volume unclean, and what an unclean stop may
/// leave is mended: a cut file, a zeroed block. It is reported as a recovery, which is all that can be
/// told.
#[test]
fn a_cut_in_a_volume_made_unclean_is_taken_as_a_crash() {
    let offline = Offline::new();
    let state = offline.dir.path().join(".kmsfs/state");
    let volume = open(offline.dir.path(), false).unwrap();
    let unclean = fs::read(&state).unwrap();
    volume.shutdown().unwrap();
    drop(volume);
    fs::write(&state, unclean).unwrap();
    change(&offline.lower(FILE), |b| {
        b.truncate(3 * 4096);
        b[4096..8192].fill(0);
    });
    let volume = open(offline.dir.path(), false).unwrap();
    let recovery = volume.status().recovery.expect("a recovery is reported");
    assert!(recovery.files_mended == 1 && !recovery.repairs.is_empty(), "{recovery:?}");
    let (Kind::File(was), tree) = (offline.was(FILE), read_volume(&volume)) else { panic!() };
    let Kind::File(is) = kind(&tree, FILE) else { panic!() };
    assert_eq!(is.len(), 2512 + 2 * 4048);
    assert_eq!(is[..2512], was[..2512]);
    assert!(is[2512..6560].iter().all(|b| *b == 0), "the zeroed block reads as a hole");
    assert_eq!(is[6560..], was[6560..is.len()]);
}

/// Law: nobody makes a volume unclean by removing its state: what was cut is not mended then, but
/// the volume is not mounted until its owner has seen it.
#[test]
fn a_state_that_is_removed_is_detected() {
    let offline = Offline::new();
    fs::remove_file(offline.dir.path().join(".kmsfs/state")).unwrap();
    change(&offline.lower(FILE), |b| b.truncate(3 * 4096));
    assert_eq!(open(offline.dir.path(), false).err(), Some(FsError::StateUnknown));
    let volume = open(offline.dir.path(), true).unwrap();
    let node = volume.resolve(Path::new(FILE)).unwrap();
    let mut out = Vec::new();
    let found = volume.read(node, 0, 20_000, &mut out);
    assert!(matches!(found, Err(FsError::Corrupt(CorruptPart::Block(_)))), "{found:?}");
    let mut progress = |_| std::ops::ControlFlow::Continue(());
    let report = volume.fsck(kmsfs::fs::FsckDepth::Full, &mut progress).unwrap();
    assert!(report.findings.iter().any(|finding| finding.code == "bad-state"));
}

#[test]
fn an_attribute_that_is_removed_is_not_detected() {
    let offline = Offline::new();
    let file = offline.lower("/sizes/0");
    rustix::fs::removexattr(&file, lower_xattr(&file)).unwrap();
    assert!(offline.after()[&b"/sizes/0"[..]].xattrs.is_empty());
}

/// The lower name of the one sealed attribute of a lower file.
fn lower_xattr(path: &Path) -> String {
    let mut names = vec![0; 4096];
    let len = rustix::fs::listxattr(path, &mut names).unwrap();
    let mut names = names[..len].split(|b| *b == 0).map(|n| String::from_utf8(n.to_vec()).unwrap());
    names.find(|name| name.starts_with("user.kmsfs.")).unwrap()
}

/// A value belongs to its owner and its name.
#[test]
fn an_attribute_of_another_directory_is_detected() {
    let offline = Offline::new();
    let (from, to) = (offline.lower("/names/deep"), offline.lower("/holes"));
    let name = lower_xattr(&from);
    let mut value = vec![0; 4096];
    let len = getxattr(&from, name.as_str(), &mut value).unwrap();
    setxattr(&to, name.as_str(), &value[..len], XattrFlags::empty()).unwrap();
    let volume = open(offline.dir.path(), true).unwrap();
    let node = volume.resolve(Path::new("/holes")).unwrap();
    let found = volume.find_xattr(node, b"user.on.a.directory");
    assert_eq!(found, Err(FsError::Corrupt(CorruptPart::Xattr)));
}

/// The configuration cannot be changed, not even its comment.
#[test]
fn a_changed_configuration_is_detected() {
    let offline = Offline::new();
    change(&offline.dir.path().join(".kmsfs/volume.toml"), |b| b[10] ^= 1);
    let refused = open(offline.dir.path(), true).err();
    assert!(matches!(refused, Some(FsError::VolumeConfig(_))), "{refused:?}");
}
