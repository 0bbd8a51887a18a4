//! Keys change under a mount that is in use: rotation and rewrap disturb nobody, and a disabled key
//! closes its files at once.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kmsfs::fs::{RewrapOptions, RewrapReport};
use kmsfs::kms::{AliasName, KeyArn, KeyState};

use crate::mount::{ALIAS, MountedVolume, OTHER_ALIAS};
use crate::{errno, pattern, read, write};

/// Where the records of a lower file begin: behind prelude and envelope slots.
const RECORDS_AT: usize = 1536;

/// Everything behind the envelopes of all lower files, by path.
fn records(lower: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![lower.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with(".kmsfs") {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
            } else {
                let content = read(&path);
                found.insert(path, content.get(RECORDS_AT..).unwrap_or_default().to_vec());
            }
        }
    }
    found
}

pub fn rewrap(volume: &MountedVolume) -> RewrapReport {
    let options = RewrapOptions::default();
    volume.volume().rewrap_tree(&[], &options, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Law: rotation and rewrap are invisible to whoever reads and writes meanwhile.
#[test]
fn readers_and_writers_are_not_disturbed_by_rotation_and_rewrap() {
    const FILES: u64 = 12;
    MountedVolume::both(|volume| {
        let arn = volume.kms.arn_of(ALIAS);
        let at_rest: Vec<PathBuf> = (0..FILES).map(|no| volume.path(format!("rest{no}"))).collect();
        for (path, no) in at_rest.iter().zip(0..) {
            write(path, pattern(no, 5000 * no as usize));
            File::open(path).unwrap().sync_all().unwrap();
        }
        let busy: Vec<PathBuf> = (0..3).map(|no| volume.path(format!("busy{no}"))).collect();
        busy.iter().for_each(|path| write(path, ""));
        let is_over = AtomicBool::new(false);
        let rounds = AtomicU64::new(0);
        let volume = &*volume;
        std::thread::scope(|scope| {
            for (path, no) in busy.iter().zip(0_u64..) {
                let (is_over, rounds) = (&is_over, &rounds);
                scope.spawn(move || {
                    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
                    let mut wanted = Vec::new();
                    let mut round = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        let at = (round * 1709) % 40_000;
                        let data = pattern(round ^ no, 3000);
                        if round % 16 == 15 {
                            wanted.clear();
                            file.set_len(0).unwrap();
                        }
                        wanted.resize(wanted.len().max(at as usize + 3000), 0);
                        wanted[at as usize..at as usize + 3000].copy_from_slice(&data);
                        file.write_all_at(&data, at).unwrap();
                        assert!(read(path) == wanted, "round {round}");
                        round += 1;
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let (at_rest, is_over) = (&at_rest, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    for (path, no) in at_rest.iter().zip(0..) {
                        assert!(read(path) == pattern(no, 5000 * no as usize));
                    }
                }
            });
            for rotation in 0..10 {
                volume.kms.rotate(&arn);
                volume.volume().queue_stale();
                if rotation % 5 == 4 {
                    let report = rewrap(volume);
                    assert_eq!((report.failed, report.seen), (0, FILES + 3));
                }
                let enough = rounds.load(Ordering::Relaxed) + 5;
                let deadline = Instant::now() + Duration::from_secs(10);
                while rounds.load(Ordering::Relaxed) < enough && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        // At rest, only envelopes change, and no time but ctime.
        let seen = |path: &PathBuf| {
            let seen = path.metadata().unwrap();
            (seen.len(), seen.mtime(), seen.mtime_nsec())
        };
        busy.iter().for_each(|path| File::open(path).unwrap().sync_all().unwrap());
        let (before, times) =
            (records(volume.lower()), at_rest.iter().map(seen).collect::<Vec<_>>());
        volume.kms.rotate(&arn);
        let report = rewrap(volume);
        assert_eq!(report.failed, 0);
        assert_eq!(at_rest.iter().map(seen).collect::<Vec<_>>(), times);
        assert!(records(volume.lower()) == before);
        // What is rewrapped needs no retired material.
        while volume.volume().status().rewraps_waiting > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let usage = volume.volume().usage(&mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(usage.rows.len(), 1, "{usage:?}");
    });
}

#[test]
fn rewrapped_volume_needs_no_retired_material() {
    MountedVolume::both(|volume| {
        let arn = volume.kms.arn_of(ALIAS);
        for no in 0..20 {
            write(&volume.path(format!("f{no}")), pattern(no, 3000));
        }
        volume.kms.rotate(&arn);
        volume.remount();
        assert!(read(&volume.path("f3")) == pattern(3, 3000));
        let report = rewrap(volume);
        assert_eq!((report.seen, report.failed, report.left), (20, 0, 0));
        volume.kms.destroy_old_material(&arn);
        volume.remount();
        for no in 0..20 {
            assert!(read(&volume.path(format!("f{no}"))) == pattern(no, 3000));
        }
    });
}

/// Disables a key as a mount does that hears of it: dirty pages go out first, then the data keys,
/// then the kernel's pages once more, for what was read in between.
fn disable(volume: &MountedVolume, arn: &KeyArn) {
    let drop_pages = |volume: &MountedVolume| {
        for node in volume.volume().nodes_of_key(arn) {
            volume.mounted().invalidate_file(node).unwrap();
        }
    };
    drop_pages(volume);
    volume.kms.set_state(arn, KeyState::Disabled);
    volume.volume().drop_keys(arn);
    drop_pages(volume);
}

/// Law: what was read of a file goes with its key, also if its data key was forgotten before, as
/// those of more than a few thousand files are.
#[test]
fn cached_pages_of_files_without_a_cached_key_go_too() {
    MountedVolume::both(|volume| {
        let arn = volume.kms.arn_of(ALIAS);
        let path = volume.path("f");
        write(&path, pattern(0, 50_000));
        assert!(read(&path) == pattern(0, 50_000));
        File::open(&path).unwrap().sync_all().unwrap();
        volume.volume().drop_keys(&arn);
        assert!(read(&path) == pattern(0, 50_000), "from the page cache");
        disable(volume, &arn);
        assert_eq!(errno(fs::read(&path)), libc::ENOKEY);
        volume.kms.set_state(&arn, KeyState::Enabled);
        assert!(read(&path) == pattern(0, 50_000));
    });
}

/// Law: once the key is gone nothing is read any more, although readers never pause.
#[test]
fn readers_that_never_pause_are_shut_out() {
    MountedVolume::both(|volume| {
        let arn = volume.kms.arn_of(ALIAS);
        let paths: Vec<PathBuf> = (0..4).map(|no| volume.path(format!("f{no}"))).collect();
        paths.iter().for_each(|path| write(path, pattern(0, 30_000)));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for path in &paths {
                let is_over = &is_over;
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let _ = fs::read(path);
                    }
                });
            }
            for _ in 0..10 {
                disable(volume, &arn);
                for path in &paths {
                    assert_eq!(errno(fs::read(path)), libc::ENOKEY);
                }
                volume.kms.set_state(&arn, KeyState::Enabled);
                paths.iter().for_each(|path| assert!(read(path) == pattern(0, 30_000)));
            }
            is_over.store(true, Ordering::Relaxed);
        });
    });
}

/// Law: a disabled key closes its files at once, cached or not, and no others; enabled again, they
/// are as they were.
#[test]
fn disabled_key_closes_its_files_and_no_others() {
    MountedVolume::both(|volume| {
        let (arn, other_arn) = (volume.kms.arn_of(ALIAS), volume.kms.arn_of(OTHER_ALIAS));
        assert_ne!(arn, other_arn);
        fs::create_dir(volume.path("other")).unwrap();
        let alias = AliasName::parse(OTHER_ALIAS).unwrap();
        volume.volume().set_policy(Path::new("/other"), &alias).unwrap();
        let (mine, others) = (volume.path("f"), volume.path("other/f"));
        write(&mine, pattern(0, 50_000));
        write(&others, pattern(1, 50_000));
        let file = OpenOptions::new().read(true).write(true).open(&mine).unwrap();
        assert!(read(&mine) == pattern(0, 50_000));
        assert!(read(&others) == pattern(1, 50_000));
        file.write_all_at(b"dirty", 20_000).unwrap();
        disable(volume, &arn);
        let mut out = [0; 10];
        assert_eq!(errno(file.read_at(&mut out, 0)), libc::ENOKEY);
        assert_eq!(errno(fs::read(&mine)), libc::ENOKEY);
        assert_eq!(errno(write_through(&file)), libc::ENOKEY);
        assert_eq!(errno(file.set_len(100)), libc::ENOKEY);
        // Names and attributes need no data key.
        assert_eq!(mine.metadata().unwrap().len(), 50_000);
        fs::rename(&mine, volume.path("g")).unwrap();
        // What cannot be written is not begun, since shells see no error of close; elsewhere it can.
        let fresh = volume.path("fresh");
        assert_eq!(errno(File::create(&fresh)), libc::ENOKEY);
        assert!(!fresh.exists());
        assert_eq!(errno(File::create(volume.path("g"))), libc::ENOKEY);
        assert!(read(&others) == pattern(1, 50_000));
        write(&volume.path("other/fresh"), "x");

        volume.kms.set_state(&arn, KeyState::Enabled);
        let mut wanted = pattern(0, 50_000);
        wanted[20_000..20_005].copy_from_slice(b"dirty");
        assert!(read(&volume.path("g")) == wanted);
        file.write_all_at(b"again", 0).unwrap();
        wanted[..5].copy_from_slice(b"again");
        drop(file);
        volume.remount();
        assert!(read(&volume.path("g")) == wanted);
        assert_eq!(read(&volume.path("other/fresh")), b"x");
    });
}

/// A write as far as the volume, whatever the kernel gathers.
fn write_through(file: &File) -> std::io::Result<()> {
    file.write_all_at(b"refused", 0)?;
    file.sync_data()
}

#[test]
fn key_pending_deletion_is_told_as_revoked() {
    MountedVolume::both(|volume| {
        let arn = volume.kms.arn_of(ALIAS);
        let path = volume.path("f");
        write(&path, pattern(0, 5000));
        volume.remount();
        volume.kms.set_state(&arn, KeyState::PendingDeletion);
        assert_eq!(errno(fs::read(&path)), libc::EKEYREVOKED);
        assert_eq!(path.metadata().unwrap().len(), 5000);
        volume.kms.set_state(&arn, KeyState::Enabled);
        assert!(read(&path) == pattern(0, 5000));
        fs::remove_file(&path).unwrap();
    });
}
