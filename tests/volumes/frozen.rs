//! The volume that format version 1 left behind.

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

#[test]
fn frozen_volume_reads_as_it_was_written() {
    let dir = unpack("v1-basic.tar.gz");
    for read_only in [true, false] {
        let volume = open(dir.path(), read_only).unwrap();
        assert_same(&to_json(&read_volume(&volume)), &expected("v1-basic.json"));
        let mut progress = |_| ControlFlow::Continue(());
        let report = volume.fsck(FsckDepth::Full, &mut progress).unwrap();
        assert_eq!(report.findings, []);
        assert!(volume.status().recovery.is_none(), "the volume was closed cleanly");
        volume.shutdown().unwrap();
    }
}

/// Rotation goes on where the frozen volume left off.
#[test]
fn frozen_volume_can_be_rotated_and_written() {
    let dir = unpack("v1-basic.tar.gz");
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
    let mut wanted = expected("v1-basic.json");
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
        assert!(!beside("v1-basic.tar.gz").exists(), "the volume is frozen already");
        let text = serde_json::to_string_pretty(&written).unwrap();
        fs::write(beside("v1-basic.json"), text + "\n").unwrap();
        pack("v1-basic.tar.gz", dir.path());
    }
}
