//! Rotation and rewrap: nobody sees them but who counts envelopes.

use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kmsfs::fs::{FsError, NodeId, RewrapOptions, SetAttr, SetTime, Volume, Workers, WriteHow};
use kmsfs::kms::{AliasName, KeyState, KeyTrouble};
use kmsfs::lower::LowerTime;

use crate::bench::{self, ALIAS, Bench, OTHER, at, content, make_dir, read, rewrap, usage, write};

/// Ten files in two directories.
fn filled(bench: &Bench) -> Volume {
    let volume = bench.open();
    make_dir(&volume, "d");
    for no in 0..10_u8 {
        write(&volume, &path_of(no), &content(no, usize::from(no) * 1000 + 1)).unwrap();
    }
    volume
}

fn path_of(no: u8) -> String {
    if no.is_multiple_of(2) { format!("file {no}") } else { format!("d/file {no}") }
}

fn all_read(volume: &Volume) {
    for no in 0..10_u8 {
        let expected = content(no, usize::from(no) * 1000 + 1);
        assert!(read(volume, &path_of(no)).unwrap() == expected, "file {no}");
    }
}

fn forget_keys(bench: &Bench, volume: &Volume) {
    for alias in [ALIAS, OTHER] {
        volume.drop_keys(&bench.kms.arn_of(alias));
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Law: any number of rotations leaves every file readable; a rewrap leaves one material.
#[test]
fn several_rotations_need_one_rewrap() {
    let bench = Bench::new();
    let volume = filled(&bench);
    for no in 0..4_u8 {
        bench.rotate();
        forget_keys(&bench, &volume);
        all_read(&volume);
        write(&volume, &path_of(no), &content(no, usize::from(no) * 1000 + 1)).unwrap();
        write(&volume, &format!("new {no}"), b"under new material").unwrap();
    }
    let rows = usage(&volume).rows;
    assert_eq!(rows.iter().map(|row| row.files).collect::<Vec<_>>().iter().sum::<u64>(), 14);
    assert_eq!(rows.len(), 5, "one row for each material");
    let report = rewrap(&volume, &RewrapOptions::default());
    assert_eq!((report.seen, report.stale, report.rewrapped, report.failed), (14, 13, 13, 0));
    let rows = usage(&volume).rows;
    assert_eq!((rows.len(), rows[0].files, rows[0].volume_key), (1, 14, true));
    bench.kms.destroy_old_material(&bench.kms.arn_of(ALIAS));
    forget_keys(&bench, &volume);
    all_read(&volume);
    volume.shutdown().unwrap();
    drop(volume);
    // The volume key too.
    all_read(&bench.open());
}

/// Law: a rewrap changes envelopes and nothing else: not the records, not the length, not the mtime.
#[test]
fn rewrap_leaves_records_and_times_alone() {
    let bench = Bench::new();
    let volume = filled(&bench);
    let before: Vec<_> = (0..10).map(|no| behind_header(&bench, &volume, no)).collect();
    bench.rotate();
    rewrap(&volume, &RewrapOptions::default());
    for no in 0..10_u8 {
        let after = behind_header(&bench, &volume, no);
        assert!(after == before[usize::from(no)], "file {no} changed");
    }
    bench.rotate();
    rewrap(&volume, &RewrapOptions { touch: true, ..RewrapOptions::default() });
    for no in 0..10_u8 {
        let after = behind_header(&bench, &volume, no);
        let before = &before[usize::from(no)];
        assert!(after.0 == before.0 && after.1 > before.1, "file {no} was not touched");
    }
}

/// What lies behind the envelopes, and the mtime.
fn behind_header(bench: &Bench, volume: &Volume, no: u8) -> (Vec<u8>, (i64, i64)) {
    let path = bench.lower_of(volume, &path_of(no));
    let metadata = std::fs::metadata(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap()[1536..].to_vec();
    (bytes, (metadata.mtime(), metadata.mtime_nsec()))
}

/// Law: a time that the user sets while a rewrap goes on is the user's.
#[test]
fn rewrap_does_not_put_an_old_time_over_a_new_one() {
    let bench = Bench::new();
    let volume = Arc::new(filled(&bench));
    let node = volume.resolve(Path::new("file 0")).unwrap();
    for round in 0..40_i64 {
        bench.rotate();
        let time = LowerTime { secs: 1_000_000 + round, nanos: 5 };
        let set = SetAttr { mtime: Some(SetTime::At(time)), ..SetAttr::default() };
        std::thread::scope(|scope| {
            let paths = [PathBuf::from("file 0")];
            let volume = &volume;
            scope.spawn(move || {
                let mut go_on = |_: &_| ControlFlow::Continue(());
                volume.rewrap_tree(&paths, &RewrapOptions::default(), &mut go_on).unwrap();
            });
            volume.set_attr(node, &set).unwrap();
        });
        assert_eq!(volume.attr(node).unwrap().mtime, time);
    }
}

/// Law: readers and writers of a file that is being rewrapped never see an error, and never lose a
/// byte.
#[test]
fn files_are_used_while_they_are_rewrapped() {
    let bench = Bench::new();
    let volume = Arc::new(filled(&bench));
    let _workers = Workers::start(&volume).unwrap();
    let node = volume.resolve(Path::new("file 8")).unwrap();
    std::thread::scope(|scope| {
        let (volume, kms) = (&volume, &bench.kms);
        let arn = kms.arn_of(ALIAS);
        let rotating = scope.spawn(move || {
            for _ in 0..60 {
                kms.rotate(&arn);
                volume.drop_keys(&arn);
                volume.queue_stale();
                rewrap(volume, &RewrapOptions::default());
            }
        });
        let mut round = 0_u8;
        while !rotating.is_finished() {
            round = round.wrapping_add(1);
            let at = 40_000 + u64::from(round) * 9000;
            volume.write(node, at, &[round; 3000], WriteHow::Keep).unwrap();
            let mut out = Vec::new();
            assert_eq!(volume.read(node, at, 3000, &mut out), Ok(3000));
            assert!(out.iter().all(|byte| *byte == round));
            volume.read(node, 20_000, 10_000, &mut out).unwrap();
            assert!(out[..10_000].iter().all(|byte| *byte == 0), "the gap is zeros");
        }
    });
    volume.shutdown().unwrap();
    let left = usage(&volume).rows;
    assert!(left.iter().any(|row| row.files == 10), "{left:?}");
    assert_eq!(bench::findings(&volume), Vec::<String>::new());
}

/// Law: opening a stale file never waits; the worker moves it afterwards.
#[test]
fn opened_stale_files_are_rewrapped_by_the_worker() {
    let bench = Bench::new();
    let volume = Arc::new(filled(&bench));
    let workers = Workers::start(&volume).unwrap();
    bench.rotate();
    forget_keys(&bench, &volume);
    all_read(&volume);
    wait_until("ten files are rewrapped", || volume.status().rewraps_done == 10);
    assert_eq!(rewrap(&volume, &RewrapOptions::default()).stale, 0);
    // Files that are open when the key is rotated are found as well.
    let node = volume.resolve(Path::new("file 4")).unwrap();
    volume.read(node, 0, 10, &mut Vec::new()).unwrap();
    bench.rotate();
    volume.queue_stale();
    wait_until("the open file is rewrapped", || volume.status().rewraps_done == 11);
    assert_eq!(volume.status().rewraps_failed, 0);
    drop(workers);
    volume.shutdown().unwrap();
}

/// Law: files follow their alias: a file made under it moves to the key that it names now.
#[test]
fn moved_alias_makes_files_stale() {
    let bench = Bench::new();
    let volume = filled(&bench);
    let (old, new) = (bench.kms.arn_of(ALIAS), bench.kms.create_key());
    bench.kms.point_alias(ALIAS, &new);
    forget_keys(&bench, &volume);
    all_read(&volume);
    assert_eq!(volume.file_status(Path::new("file 2")).unwrap().stale, Some(true));
    let of_new =
        RewrapOptions { key_arn: Some(new.as_str().to_owned()), ..RewrapOptions::default() };
    assert_eq!(rewrap(&volume, &of_new).stale, 0, "none lies under the new key yet");
    let report = rewrap(&volume, &RewrapOptions::default());
    assert_eq!((report.stale, report.rewrapped), (10, 10));
    let status = volume.file_status(Path::new("file 2")).unwrap();
    assert_eq!((status.key_arn.as_deref(), status.stale), (Some(new.as_str()), Some(false)));
    bench.kms.set_state(&old, KeyState::PendingDeletion);
    volume.drop_keys(&old);
    volume.drop_keys(&new);
    all_read(&volume);
}

/// Law: a sweep can be tried, slowed, broken off and resumed.
#[test]
fn sweep_is_dry_slow_and_resumable() {
    let bench = Bench::new();
    let volume = filled(&bench);
    bench.rotate();
    let dry = rewrap(&volume, &RewrapOptions { dry_run: true, ..RewrapOptions::default() });
    assert_eq!((dry.seen, dry.stale, dry.rewrapped, dry.left), (10, 10, 0, 10));
    assert_eq!(usage(&volume).rows.iter().map(|row| row.files).sum::<u64>(), 10);

    let mut stop = |report: &kmsfs::fs::RewrapReport| match report.rewrapped {
        0..3 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    };
    let slow = RewrapOptions { rate_per_sec: Some(20.0), ..RewrapOptions::default() };
    let broken = volume.rewrap_tree(&[], &slow, &mut stop).unwrap();
    // Several files are under way at once.
    assert!((3..10).contains(&broken.rewrapped), "{broken:?}");

    let (started, left) = (Instant::now(), 10 - broken.rewrapped);
    let rest = rewrap(&volume, &slow);
    assert_eq!((rest.seen, rest.stale, rest.rewrapped), (10, left, left));
    let least = Duration::from_millis(50) * u32::try_from(left - 1).unwrap();
    assert!(started.elapsed() >= least, "the rate was not kept");

    bench.rotate();
    let none = RewrapOptions { max_secs: Some(0.0), ..RewrapOptions::default() };
    assert_eq!(rewrap(&volume, &none).rewrapped, 0);
    let only = [PathBuf::from("d"), PathBuf::from("file 2")];
    let part =
        volume.rewrap_tree(&only, &RewrapOptions::default(), &mut |_| ControlFlow::Continue(()));
    assert_eq!(part.unwrap().rewrapped, 6);
    assert!(matches!(
        volume.rewrap_tree(&[PathBuf::from("no such")], &none, &mut |_| ControlFlow::Break(())),
        Err(FsError::NotFound)
    ));
}

/// Law: a disabled key closes its own files only, and enabling it opens them again.
#[test]
fn disabled_key_closes_its_files_only() {
    let bench = Bench::new();
    let volume = bench.open();
    let other = AliasName::parse(OTHER).unwrap();
    make_dir(&volume, "private");
    volume.set_policy(Path::new("private"), &other).unwrap();
    write(&volume, "public", b"for all").unwrap();
    write(&volume, "private/file", b"for some").unwrap();
    let arn = bench.kms.arn_of(OTHER);
    let held = volume.resolve(Path::new("private/file")).unwrap();
    volume.read(held, 0, 1, &mut Vec::new()).unwrap();
    bench.kms.set_state(&arn, KeyState::Disabled);
    assert_eq!(read(&volume, "private/file").unwrap(), b"for some", "keys are held");
    volume.drop_keys(&arn);
    for (done, what) in [
        (read(&volume, "private/file").map(drop), "read"),
        (write(&volume, "private/file", b"x"), "write"),
        (write(&volume, "private/new", b"x"), "write to a new file"),
    ] {
        match done {
            Err(FsError::Key(error)) => assert_eq!(error.trouble(), KeyTrouble::Disabled),
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!(read(&volume, "public").unwrap(), b"for all");
    assert_eq!(at(&volume, "private/file", |node| volume.attr(node)).unwrap().size, 8);
    bench.kms.set_state(&arn, KeyState::Enabled);
    assert_eq!(read(&volume, "private/file").unwrap(), b"for some");
}

/// Law: files and directories made below a directory follow its key policy.
#[test]
fn policy_of_a_directory_holds_for_what_is_made_below() {
    let bench = Bench::new();
    let volume = bench.open();
    let other = AliasName::parse(OTHER).unwrap();
    make_dir(&volume, "d");
    make_dir(&volume, "d/e");
    write(&volume, "d/before", b"x").unwrap();
    let (entry, changed) = volume.set_policy(Path::new("d"), &other).unwrap();
    assert_eq!((entry.number, entry.alias.as_str(), changed), (1, OTHER, 2));
    assert_eq!(volume.set_policy(Path::new("d"), &other).unwrap().1, 0, "nothing left to do");
    assert_eq!(volume.policy(Path::new("d/e")).unwrap().alias, OTHER);
    assert_eq!(volume.policy(Path::new("")).unwrap().alias, ALIAS);
    make_dir(&volume, "d/e/f");
    write(&volume, "d/e/f/after", b"x").unwrap();
    let arn_of =
        |volume: &Volume, path: &str| volume.file_status(Path::new(path)).unwrap().key_arn.unwrap();
    assert_eq!(arn_of(&volume, "d/before"), bench.kms.arn_of(ALIAS).as_str());
    assert_eq!(arn_of(&volume, "d/e/f/after"), bench.kms.arn_of(OTHER).as_str());
    let unknown = AliasName::parse("alias/none").unwrap();
    assert!(matches!(volume.set_policy(Path::new("d"), &unknown), Err(FsError::Key(_))));
    volume.shutdown().unwrap();
    drop(volume);
    let volume = bench.open();
    assert_eq!(volume.policy(Path::new("d/e/f")).unwrap(), entry);
    write(&volume, "d/e/later", b"x").unwrap();
    assert_eq!(arn_of(&volume, "d/e/later"), bench.kms.arn_of(OTHER).as_str());
    // A file that is empty follows the directory that it lies in when it is written.
    assert_eq!(at(&volume, "", Ok::<NodeId, _>), Ok(NodeId::ROOT));
}
