//! Times: exact to the nanosecond, before 1970 and far ahead.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use crate::mount::MountedVolume;
use crate::{pattern, read, write};

fn set(path: &Path, atime: (i64, i64), mtime: (i64, i64)) {
    let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time(atime), last_modification: time(mtime) };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn times(path: &Path) -> [(i64, i64); 2] {
    let seen = path.symlink_metadata().unwrap();
    [(seen.atime(), seen.atime_nsec()), (seen.mtime(), seen.mtime_nsec())]
}

/// What ext4, XFS and btrfs can all keep; 2262 is where nanoseconds in 64 bits end.
const TIMES: [(i64, i64); 8] = [
    (0, 0),
    (0, 1),
    (-1, 999_999_999),
    (-2_147_483_648, 0),
    (1_000_000_000, 123_456_789),
    (4_294_967_296, 7),
    (9_223_372_037, 5),
    (15_032_385_535, 0),
];

/// Law: a time that is set is the time that is seen, now and after a remount.
#[test]
fn times_are_kept_exactly() {
    MountedVolume::both(|volume| {
        // What the lower filesystem cannot keep it cuts off; that is not ours.
        let probe = volume.lower().join(".kmsfs/probe");
        write(&probe, "");
        let kept: Vec<_> = TIMES
            .into_iter()
            .filter(|time| {
                set(&probe, *time, *time);
                times(&probe) == [*time, *time]
            })
            .collect();
        fs::remove_file(&probe).unwrap();
        assert!(kept.len() >= 4, "{kept:?}");
        for kind in ["f", "d", "l"] {
            for (no, time) in kept.iter().enumerate() {
                let path = volume.path(format!("{kind}{no}"));
                match kind {
                    "f" => write(&path, "x"),
                    "d" => fs::create_dir(&path).unwrap(),
                    _ => symlink("target", &path).unwrap(),
                }
                set(&path, (5, 6), *time);
                assert_eq!(times(&path), [(5, 6), *time]);
                set(&path, *time, (7, 8));
            }
        }
        volume.remount();
        for kind in ["f", "d", "l"] {
            for (no, time) in kept.iter().enumerate() {
                let path = volume.path(format!("{kind}{no}"));
                assert_eq!(times(&path), [*time, (7, 8)], "{kind}{no}");
            }
        }
    });
}

#[test]
fn one_time_is_set_and_the_other_stays() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, "x");
        set(&path, (1, 2), (3, 4));
        set(&path, (9, UTIME_OMIT), (5, 6));
        assert_eq!(times(&path), [(1, 2), (5, 6)]);
        set(&path, (7, 8), (9, UTIME_OMIT));
        assert_eq!(times(&path), [(7, 8), (5, 6)]);
        set(&path, (0, UTIME_NOW), (0, UTIME_OMIT));
        assert!(times(&path)[0].0 > 1_000_000_000);
        assert_eq!(times(&path)[1], (5, 6));
    });
}

/// Law: the time that tar and cp set last is the time that stays, whatever was written before.
#[test]
fn time_set_behind_a_write_outlives_the_writing_back() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let file = File::create(&path).unwrap();
        file.write_all_at(&pattern(0, 200_000), 0).unwrap();
        set(&path, (1, 2), (1_000_000_000, 4));
        drop(file);
        assert_eq!(times(&path), [(1, 2), (1_000_000_000, 4)]);
        volume.remount();
        assert_eq!(times(&path)[1], (1_000_000_000, 4));
    });
}

#[test]
fn changes_move_the_times_that_they_should() {
    MountedVolume::both(|volume| {
        let dir = volume.path("d");
        let path = dir.join("f");
        fs::create_dir(&dir).unwrap();
        write(&path, "x");
        let old = (1_000_000_000, 0);
        for (what, change, file_moves, dir_moves) in [
            ("write", (|path: &Path| write(path, "yy")) as fn(&Path), true, false),
            ("read", |path| drop(read(path)), false, false),
            (
                "chmod",
                |path| {
                    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                    fs::set_permissions(path, mode).unwrap();
                },
                false,
                false,
            ),
            ("link", |path| fs::hard_link(path, path.with_extension("l")).unwrap(), false, true),
            ("unlink", |path| fs::remove_file(path.with_extension("l")).unwrap(), false, true),
        ] {
            File::open(&path).unwrap().sync_all().unwrap();
            set(&path, old, old);
            set(&dir, old, old);
            let before = path.metadata().unwrap();
            std::thread::sleep(Duration::from_millis(5));
            change(&path);
            assert_eq!(times(&path)[1] != old, file_moves, "{what}");
            assert_eq!(times(&dir)[1] != old, dir_moves, "{what}");
            let after = path.metadata().unwrap();
            let is_later =
                (after.ctime(), after.ctime_nsec()) > (before.ctime(), before.ctime_nsec());
            assert_eq!(is_later, what != "read", "{what}");
        }
    });
}
