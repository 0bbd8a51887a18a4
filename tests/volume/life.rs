//! Opening and closing: locks, modes, wrong keys, wrong bytes.

use std::path::Path;
use std::sync::Arc;

use kmsfs::clock::SystemClock;
use kmsfs::fs::{FsError, OpenOptions, SetAttr, Volume, WriteHow};
use kmsfs::kms::{KeyState, KeyTrouble};
use kmsfs::lower::SyncScope;
use kmsfs::random::OsRandom;
use kmsfs::testing::FaultKms;

use crate::bench::{ALIAS, Bench, at, content, findings, read, write};

/// Law: one opens a volume at a time, until it is closed or gone.
#[test]
fn second_opening_is_refused() {
    let bench = Bench::new();
    let volume = bench.open();
    assert!(matches!(bench.try_open(false), Err(FsError::VolumeBusy)));
    assert!(matches!(bench.try_open(true), Err(FsError::VolumeBusy)));
    volume.shutdown().unwrap();
    let second = bench.open();
    assert!(matches!(bench.try_open(false), Err(FsError::VolumeBusy)));
    drop(second);
    drop(volume);
    assert!(bench.open().status().recovery.is_some(), "the second one was not shut down");
}

/// Law: a read-only volume changes no byte of the lower directory.
#[test]
fn read_only_volume_changes_nothing() {
    let bench = Bench::new();
    let volume = bench.open();
    write(&volume, "file", &content(1, 5000)).unwrap();
    volume.shutdown().unwrap();
    drop(volume);
    bench.rotate();
    let before = snapshot(bench.lower.path());
    let volume = bench.try_open(true).unwrap();
    assert_eq!(read(&volume, "file").unwrap(), content(1, 5000));
    assert_eq!(write(&volume, "file", b"x"), Err(FsError::ReadOnly));
    let node = volume.resolve(Path::new("file")).unwrap();
    let set = SetAttr { size: Some(0), ..SetAttr::default() };
    assert_eq!(volume.set_attr(node, &set).map(drop), Err(FsError::ReadOnly));
    assert_eq!(volume.write(node, 9, b"x", WriteHow::Keep), Err(FsError::ReadOnly));
    assert_eq!(volume.sync(node, SyncScope::All), Ok(()));
    assert_eq!(volume.rewrap_volume_key(), Err(FsError::ReadOnly));
    assert_eq!(volume.checkpoint(), Ok(()));
    assert_eq!(volume.status().rewraps_waiting, 0);
    assert_eq!(findings(&volume), Vec::<String>::new());
    volume.shutdown().unwrap();
    drop(volume);
    assert!(snapshot(bench.lower.path()) == before, "a read-only volume wrote");
}

/// All lower files and what is in them.
fn snapshot(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(snapshot(&path)),
            false => all.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    all.sort();
    all
}

/// Law: another key service, or a closed one, is told apart from a broken volume.
#[test]
fn wrong_or_closed_key_service_is_a_clear_error() {
    let bench = Bench::new();
    let stranger = Arc::new(FaultKms::new(99, &[ALIAS]));
    let options = OpenOptions { read_only: false };
    let (random, clock) = (Arc::new(OsRandom), Arc::new(SystemClock));
    match Volume::open(bench.lower.path(), stranger, random, clock, options) {
        Err(FsError::Key(error)) => assert_eq!(error.trouble(), KeyTrouble::Missing),
        other => panic!("{other:?}"),
    }
    let arn = bench.kms.arn_of(ALIAS);
    for (state, trouble) in [
        (KeyState::Disabled, KeyTrouble::Disabled),
        (KeyState::PendingDeletion, KeyTrouble::Revoked),
    ] {
        bench.kms.set_state(&arn, state);
        match bench.try_open(false) {
            Err(FsError::Key(error)) => assert_eq!(error.trouble(), trouble),
            other => panic!("{other:?}"),
        }
    }
    bench.kms.set_state(&arn, KeyState::Enabled);
    bench.open();
    let empty = tempfile::tempdir().unwrap();
    let (random, clock) = (Arc::new(OsRandom), Arc::new(SystemClock));
    let kms = Arc::clone(&bench.kms);
    let opened = Volume::open(empty.path(), kms, random, clock, options);
    assert!(matches!(opened, Err(FsError::VolumeMissing)));
}

/// Law: no bit of the configuration can be flipped unseen.
#[test]
fn every_flipped_bit_of_the_configuration_is_found() {
    let bench = Bench::new();
    let path = bench.lower.path().join(".kmsfs/volume.toml");
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            std::fs::write(&path, &bad).unwrap();
            match bench.try_open(false) {
                Err(FsError::VolumeConfig(_)) => {}
                // The key that it names is not there.
                Err(FsError::Key(error)) => {
                    assert!(
                        matches!(error.trouble(), KeyTrouble::Missing | KeyTrouble::Rejected),
                        "bit {bit} of byte {at}: {error:?}"
                    );
                }
                other => panic!("bit {bit} of byte {at}: {other:?}"),
            }
        }
    }
    for len in [0, 1, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..len]).unwrap();
        assert!(matches!(bench.try_open(false), Err(FsError::VolumeConfig(_))), "{len} bytes");
    }
    std::fs::write(&path, &good).unwrap();
    bench.open();
}

/// Law: a state file that is wrong, or gone, is nothing that a crash leaves: the volume is not opened
/// for writing before its owner has it renewed, and nothing is mended as after a crash.
#[test]
fn wrong_state_is_refused() {
    let bench = Bench::new();
    let volume = bench.open();
    write(&volume, "file", b"content").unwrap();
    volume.shutdown().unwrap();
    drop(volume);
    let path = bench.lower.path().join(".kmsfs/state");
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        assert_eq!(bench.try_open(false).err(), Some(FsError::StateUnknown), "byte {at}");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(bench.try_open(false).err(), Some(FsError::StateUnknown));
    let volume = bench.try_open(true).unwrap();
    assert_eq!(read(&volume, "file").unwrap(), b"content");
    assert_eq!(findings(&volume), ["bad-state"]);
    drop(volume);
    assert!(bench.renew_state());
    let volume = bench.open();
    assert!(volume.status().recovery.is_none());
    assert_eq!(findings(&volume), Vec::<String>::new());
    volume.shutdown().unwrap();
    drop(volume);
    assert!(!bench.renew_state());
}

/// Law: what a recovery could not mend, because its key was closed, is mended by a later one.
#[test]
fn files_under_a_closed_key_are_mended_later() {
    let bench = Bench::new();
    let volume = bench.open();
    make_private(&volume);
    write(&volume, "private/file", &content(3, 100)).unwrap();
    at(&volume, "private/file", |node| volume.write(node, 30_000, b"end", WriteHow::Keep)).unwrap();
    at(&volume, "private/file", |node| volume.sync(node, SyncScope::All)).unwrap();
    // As a growth leaves it whose last page never reached the disk.
    let lower = bench.lower_of(&volume, "private/file");
    let len = std::fs::metadata(&lower).unwrap().len();
    drop(volume);
    let file = std::fs::File::options().write(true).open(&lower).unwrap();
    file.set_len(len / 4096 * 4096 + 4096 + 77).unwrap();
    let arn = bench.kms.arn_of(crate::bench::OTHER);
    bench.kms.set_state(&arn, KeyState::Disabled);
    let volume = bench.open();
    assert_eq!(volume.status().recovery.unwrap().files_failed, 1);
    volume.shutdown().unwrap();
    drop(volume);
    bench.kms.set_state(&arn, KeyState::Enabled);
    let volume = bench.open();
    let read = read(&volume, "private/file").unwrap();
    assert_eq!((read.len(), &read[30_000..]), (30_003, &b"end"[..]));
}

/// Law: no number of files takes all memory or descriptors, and none of them loses a hole for that.
#[test]
fn more_files_than_keys_are_held_at_once() {
    const FILES: u64 = 4300;
    let bench = Bench::new();
    let volume = bench.open();
    let caller = kmsfs::fs::Caller { uid: 0, gid: 0, pid: 0 };
    let mut nodes = Vec::new();
    for no in 0..FILES {
        let name = crate::bench::plain(&format!("{no}"));
        let mode = 0o100_644;
        let made = volume.mknod(kmsfs::fs::NodeId::ROOT, &name, mode, 0, 0, caller).unwrap();
        volume.write(made.node, 20_000 + no, b"behind a gap", WriteHow::Keep).unwrap();
        nodes.push(made.node);
    }
    let status = volume.status();
    assert_eq!((status.nodes, status.data_keys), (4301, 4096));
    let check = |volume: &Volume, node, no| {
        let mut out = Vec::new();
        assert_eq!(volume.read(node, 5000, 100_000, &mut out), Ok(15_012 + no));
        assert!(out[..15_000 + no].iter().all(|byte| *byte == 0));
        assert_eq!(&out[15_000 + no..15_012 + no], b"behind a gap");
    };
    for (no, node) in nodes.iter().enumerate() {
        check(&volume, *node, no);
        volume.forget(*node, 1);
    }
    assert_eq!((volume.status().nodes, volume.status().data_keys), (1, 0));
    volume.shutdown().unwrap();
    drop(volume);
    let volume = bench.open();
    for no in 0..usize::try_from(FILES).unwrap() {
        at(&volume, &format!("{no}"), |node| {
            check(&volume, node, no);
            Ok(())
        })
        .unwrap();
    }
}

fn make_private(volume: &Volume) {
    crate::bench::make_dir(volume, "private");
    let other = kmsfs::kms::AliasName::parse(crate::bench::OTHER).unwrap();
    volume.set_policy(Path::new("private"), &other).unwrap();
}
