//! What is older than the last checkpoint, and is changed again: its pages may reach the disk before the
//! times by which a recovery finds it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kmsfs::clock::{AheadClock, Clock};
use kmsfs::fs::{
    Caller, FsError, FsckDepth, NodeId, OpenOptions, RenameHow, SetAttr, Volume, WriteHow,
};
use kmsfs::lower::SyncScope;
use kmsfs::name::PlainName;
use kmsfs::random::{OsRandom, SeededRandom};
use kmsfs::testing::FaultKms;

use crate::loops::{self, Kind, LowerMount};
use crate::mount::{ALIAS, make_volume};

const LEN: usize = 20_000;
const CALLER: Caller = Caller { uid: 0, gid: 0, pid: 0 };

/// One change of an old file, or directory.
type Change = fn(&Volume, NodeId) -> Result<(), FsError>;

fn plain(name: &str) -> PlainName {
    PlainName::from_bytes(name.as_bytes()).unwrap()
}

fn open(lower: &Path, kms: &Arc<FaultKms>, clock: &Arc<AheadClock>) -> Volume {
    let service = Arc::clone(kms);
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let options = OpenOptions { read_only: false };
    Volume::open(lower, service, Arc::new(OsRandom), clock, options).unwrap()
}

fn rename(volume: &Volume, old: &str) -> Result<(), FsError> {
    volume.rename(NodeId::ROOT, &plain(old), NodeId::ROOT, &plain("moved"), RenameHow::Replace)
}

/// Laws K1 to K3: each change, and right behind it all its pages reach the disk, the journal does not.
fn survives(kind: Kind) {
    if !loops::can_make(kind) {
        return;
    }
    let changes: [(&str, Change); 5] = [
        ("a growth", |volume, node| {
            volume.write(node, LEN as u64, &[2; 9000], WriteHow::Keep).map(drop)
        }),
        ("a growth inside of a block", |volume, node| {
            volume.write(node, LEN as u64, &[2; 10], WriteHow::Keep).map(drop)
        }),
        ("a cut", |volume, node| {
            volume.set_attr(node, &SetAttr { size: Some(9000), ..SetAttr::default() }).map(drop)
        }),
        ("a rename of a file", |volume, _| rename(volume, "file")),
        ("a rename of a directory", |volume, _| rename(volume, "dir")),
    ];
    for (what, change) in changes {
        let dir = loops::memory_dir();
        let mut lower = LowerMount::fresh(kind, dir.path());
        let root = lower.path().join("volume");
        std::fs::create_dir(&root).unwrap();
        let kms = Arc::new(FaultKms::new(9, &[ALIAS]));
        make_volume(&root, &kms);
        let clock = Arc::new(AheadClock::default());
        let volume = open(&root, &kms, &clock);
        let made = volume.mkdir(NodeId::ROOT, &plain("dir"), 0o755, 0, CALLER).unwrap();
        for (parent, name) in [(NodeId::ROOT, "file"), (made.node, "inner")] {
            let file = volume.mknod(parent, &plain(name), 0o100_644, 0, 0, CALLER).unwrap();
            volume.write(file.node, 0, &[1; LEN], WriteHow::Keep).unwrap();
            volume.sync(file.node, SyncScope::All).unwrap();
        }
        volume.shutdown().unwrap();
        drop(volume);

        // A recovery looks five seconds further back: what was made before this moment, less a little that
        // the times of files lag behind, is old.
        std::thread::sleep(Duration::from_millis(300));
        clock.set_ahead(Duration::from_millis(4800));
        let volume = open(&root, &kms, &clock);
        let node = volume.resolve(Path::new("file")).unwrap();
        change(&volume, node).unwrap();
        lower.write_pages().unwrap();
        lower.cut_off(&SeededRandom::new(1), || {}).unwrap();
        drop(volume);
        lower.unmount().unwrap();
        lower.mount().unwrap();

        let volume = open(&root, &kms, &clock);
        for paths in [["file", "moved"], ["dir/inner", "moved/inner"]] {
            let node = paths.iter().find_map(|path| volume.resolve(Path::new(path)).ok());
            let mut out = Vec::new();
            let got = volume.read(node.unwrap(), 0, 2 * LEN, &mut out);
            let got = got.unwrap_or_else(|error| panic!("{what}: {paths:?}: {error}"));
            let is_cut = what == "a cut" && got == 9000;
            assert!(is_cut || got >= LEN, "{what}: {got} bytes");
            assert!(out[..got.min(LEN)].iter().all(|byte| *byte == 1), "{what}");
        }
        let mut progress = |_| std::ops::ControlFlow::Continue(());
        let report = volume.fsck(FsckDepth::Full, &mut progress).unwrap();
        assert!(report.findings.is_empty(), "{what}: {:#?}", report.findings);
        drop(volume);
        lower.unmount().unwrap();
    }
}

#[test]
fn old_files_over_ext4_are_found_by_a_recovery() {
    survives(Kind::Ext4);
}

#[test]
fn old_files_over_xfs_are_found_by_a_recovery() {
    survives(Kind::Xfs);
}
