//! A data key that has passed a limit is asked for again: nobody sees it but the key service.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kmsfs::clock::{Clock, ManualClock};
use kmsfs::fs::{FsError, KeyLimits, OpenOptions, Volume, WriteHow};
use kmsfs::kms::{KeyState, KeyTrouble};
use kmsfs::random::OsRandom;

use crate::bench::{ALIAS, Bench, at, content, read, write};

fn open(bench: &Bench, limits: KeyLimits) -> (Volume, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(1_700_000_000));
    let (service, random) = (Arc::clone(&bench.kms), Arc::new(OsRandom));
    let shown: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let options = OpenOptions { read_only: false };
    let volume = Volume::open(bench.lower.path(), service, random, shown, options).unwrap();
    volume.limit_data_keys(limits);
    (volume, clock)
}

/// Calls that the key service gets while `work` is done.
fn calls(bench: &Bench, work: impl FnOnce()) -> u64 {
    let before = bench.kms.call_count();
    work();
    bench.kms.call_count() - before
}

/// Keeps the file's node, and so its keys, as a kernel does that has looked it up.
fn hold(volume: &Volume) {
    volume.resolve(Path::new("file")).unwrap();
}

fn read_part(volume: &Volume, len: usize) {
    let mut part = Vec::new();
    let found = at(volume, "file", |node| volume.read(node, 0, len, &mut part)).unwrap();
    assert!(found == len && part[..len] == content(1, 20_000)[..len]);
}

/// Law: the key service is asked when a limit is reached, not before, and then for each limit anew.
#[test]
fn a_spent_data_key_is_asked_for_again() {
    let none = KeyLimits::default();
    for limits in [
        KeyLimits { age: Some(Duration::from_secs(60)), ..none },
        KeyLimits { bytes: Some(30_000), ..none },
        KeyLimits { messages: Some(3), ..none },
        none,
    ] {
        let bench = Bench::new();
        let (volume, _) = open(&bench, none);
        write(&volume, "file", &content(1, 20_000)).unwrap();
        volume.shutdown().unwrap();
        drop(volume);
        let (volume, clock) = open(&bench, limits);
        hold(&volume);
        // The first read loads; two more are within every limit.
        assert!(calls(&bench, || read_part(&volume, 10_000)) > 0, "{limits:?}");
        clock.advance(Duration::from_secs(59));
        assert_eq!(calls(&bench, || read_part(&volume, 10_000)), 0, "{limits:?}");
        assert_eq!(calls(&bench, || read_part(&volume, 10_000)), 0, "{limits:?}");
        clock.advance(Duration::from_secs(1));
        let asked = calls(&bench, || read_part(&volume, 10_000));
        assert_eq!(asked > 0, limits != none, "{limits:?}");
        assert_eq!(calls(&bench, || read_part(&volume, 10_000)), 0, "{limits:?}");
        // Writing counts as reading does, and meets the limit as well.
        for no in 0..5_u8 {
            write(&volume, "file", &content(no, 20_000)).unwrap();
        }
        clock.advance(Duration::from_secs(60));
        write(&volume, "file", &content(1, 20_000)).unwrap();
        assert!(read(&volume, "file").unwrap() == content(1, 20_000));
    }
}

/// Law: the key's policy decides anew once a limit is reached: a refusal that nobody told the mount of
/// is met then, by readers, writers and attributes, and nothing is lost by it.
#[test]
fn a_refusal_is_met_when_a_limit_is_reached() {
    let bench = Bench::new();
    let (volume, clock) =
        open(&bench, KeyLimits { age: Some(Duration::from_secs(60)), ..KeyLimits::default() });
    write(&volume, "file", &content(1, 20_000)).unwrap();
    hold(&volume);
    // A hole that the envelope does not tell of yet.
    at(&volume, "file", |node| volume.write(node, 100_000, b"end", WriteHow::Keep)).unwrap();
    let whole = read(&volume, "file").unwrap();
    let arn = bench.kms.arn_of(ALIAS);
    bench.kms.set_state(&arn, KeyState::Disabled);
    assert!(read(&volume, "file").unwrap() == whole, "the key is still held");
    clock.advance(Duration::from_secs(60));
    let refused = |answer: Result<(), FsError>| match answer {
        Err(FsError::Key(error)) => assert_eq!(error.trouble(), KeyTrouble::Disabled),
        other => panic!("{other:?}"),
    };
    refused(read(&volume, "file").map(drop));
    refused(at(&volume, "file", |node| volume.write(node, 0, b"x", WriteHow::Keep)).map(drop));
    bench.kms.set_state(&arn, KeyState::Enabled);
    assert!(read(&volume, "file").unwrap() == whole);
    volume.shutdown().unwrap();
}

/// Law: keys of a file that nobody uses go when they are too old, and the key service is not asked.
#[test]
fn an_old_key_does_not_stay_for_want_of_a_use() {
    let bench = Bench::new();
    let (volume, clock) =
        open(&bench, KeyLimits { age: Some(Duration::from_secs(60)), ..KeyLimits::default() });
    write(&volume, "file", &content(1, 20_000)).unwrap();
    hold(&volume);
    // A hole that the envelope does not tell of: it is told before the keys go.
    at(&volume, "file", |node| volume.write(node, 100_000, b"end", WriteHow::Keep)).unwrap();
    let is_told = || volume.file_status(Path::new("file")).unwrap().sparse == Some(true);
    assert_eq!(calls(&bench, || volume.retire_data_keys()), 0);
    assert_eq!(calls(&bench, || read_part(&volume, 10)), 0);
    assert!(!is_told(), "it was not old yet");
    clock.advance(Duration::from_secs(60));
    assert_eq!(calls(&bench, || volume.retire_data_keys()), 0);
    assert!(is_told(), "the keys have stayed");
    assert!(calls(&bench, || read_part(&volume, 10)) > 0);
}
