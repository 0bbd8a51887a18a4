//! The volumes that format version 1 left behind.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;

use kmsfs::clock::SystemClock;
use kmsfs::format::KmsPlace;
use kmsfs::fs::{FsckDepth, NewVolume, OpenOptions, Volume, init};
use kmsfs::kms::{Argon2Cost, CreateKey, KeyRef, Kms, KmsOptions};
use kmsfs::random::OsRandom;

use crate::garden::frozen::{beside, expected, open, pack, unlock, unpack};
use crate::garden::{ALIAS, Garden, OTHER_ALIAS, assert_same, read_volume, to_json};

/// The first volumes, and the first whose names are bound.
const FROZEN: [(&str, &str); 2] =
    [("v1-basic.tar.gz", "v1-basic.json"), ("v1-bound.tar.gz", "v1-bound.json")];

#[test]
fn frozen_volumes_read_as_they_were_written() {
    for (archive, written) in FROZEN {
        let dir = unpack(archive);
        for read_only in [true, false] {
            let volume = open(dir.path(), read_only).unwrap();
            assert_eq!(volume.names_are_bound(), archive == "v1-bound.tar.gz");
            assert_same(&to_json(&read_volume(&volume)), &expected(written));
            let mut progress = |_| ControlFlow::Continue(());
            let report = volume.fsck(FsckDepth::Full, &mut progress).unwrap();
            assert_eq!(report.findings, []);
            assert!(volume.status().recovery.is_none(), "the volume was closed cleanly");
            volume.shutdown().unwrap();
        }
    }
}

/// Rotation goes on where the frozen volume left off.
#[test]
fn frozen_volumes_can_be_rotated_and_written() {
    for (archive, written) in FROZEN {
        rotate_and_write(archive, written);
    }
}

fn rotate_and_write(archive: &str, before: &str) {
    let dir = unpack(archive);
    let kms = Kms::open(&dir.path().join(".kmsfs"), &unlock(), KmsOptions::default()).unwrap();
    kms.rotate_key_on_demand(&KeyRef::from(&kms.describe_key(&KeyRef::new(ALIAS)).unwrap().arn))
        .unwrap();
    drop(kms);
    let volume = open(dir.path(), false).unwrap();
    let mut garden = Garden::new(&volume);
    garden.rewrap(&[]);
    garden.file(b"/new", b"written today");
    let written = to_json(&garden.tree);
    volume.shutdown().unwrap();
    drop(volume);
    let mut wanted = expected(before);
    let new = kmsfs::codec::hex(b"/new");
    wanted.insert(new.clone(), written[&new].clone());
    let volume = open(dir.path(), true).unwrap();
    assert_same(&to_json(&read_volume(&volume)), &wanted);
}

/// Its maker still makes a volume that reads as it was written. With `KMSFS_FREEZE=1` in the
/// environment it is kept, if there is none yet: a new format version gets a new name, and what is
/// frozen is never made again.
#[test]
fn a_volume_to_freeze_reads_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join(".kmsfs");
    let kms = Kms::create(&own, &unlock(), Argon2Cost::TEST, KmsOptions::default()).unwrap();
    for alias in [ALIAS, OTHER_ALIAS] {
        let key = kms.create_key(CreateKey::default()).unwrap();
        kms.create_alias(alias, &KeyRef::from(&key.arn)).unwrap();
    }
    let service = kms.as_service();
    let new = NewVolume {
        kms: KmsPlace::Embedded,
        alias: ALIAS,
        service: &*service,
        random: &OsRandom,
        clock: &SystemClock,
    };
    init(dir.path(), &new).unwrap();

    let clock = Arc::new(SystemClock);
    let options = OpenOptions { read_only: false };
    let volume = Volume::open(dir.path(), service, Arc::new(OsRandom), clock, options).unwrap();
    let key = kms.describe_key(&KeyRef::new(ALIAS)).unwrap().arn;
    let mut garden = Garden::new(&volume);
    garden.plant(&mut || {
        kms.rotate_key_on_demand(&KeyRef::from(&key)).unwrap();
    });
    let written = to_json(&garden.tree);
    volume.shutdown().unwrap();
    drop((volume, kms));
    let volume = open(dir.path(), true).unwrap();
    assert_same(&to_json(&read_volume(&volume)), &written);
    drop(volume);
    if std::env::var_os("KMSFS_FREEZE").is_some() {
        let (archive, json) = FROZEN[1];
        assert!(!beside(archive).exists(), "the volume is frozen already");
        let text = serde_json::to_string_pretty(&written).unwrap();
        fs::write(beside(json), text + "\n").unwrap();
        pack(archive, dir.path());
    }
}
