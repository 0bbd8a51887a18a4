//! Hard and symbolic links.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, symlink};

use crate::mount::MountedVolume;
use crate::{errno, pattern, read, write};

#[test]
fn hard_links_are_one_file() {
    MountedVolume::both(|volume| {
        fs::create_dir(volume.path("d")).unwrap();
        let (a, b, c) = (volume.path("a"), volume.path("d/b"), volume.path("c"));
        write(&a, pattern(0, 10_000));
        fs::hard_link(&a, &b).unwrap();
        fs::hard_link(&b, &c).unwrap();
        let inode = a.metadata().unwrap().ino();
        for path in [&a, &b, &c] {
            let seen = path.metadata().unwrap();
            assert_eq!((seen.nlink(), seen.ino(), seen.len()), (3, inode, 10_000));
        }
        write(&b, pattern(7, 20_000));
        assert!(read(&a) == pattern(7, 20_000));
        fs::remove_file(&a).unwrap();
        assert_eq!(c.metadata().unwrap().nlink(), 2);
        volume.remount();
        assert!(read(&c) == pattern(7, 20_000));
        assert_eq!(b.metadata().unwrap().ino(), c.metadata().unwrap().ino());
    });
}

#[test]
fn name_that_the_file_was_made_under_may_go() {
    MountedVolume::both(|volume| {
        let (a, b) = (volume.path("a"), volume.path("b"));
        write(&a, "one");
        fs::hard_link(&a, &b).unwrap();
        fs::remove_file(&a).unwrap();
        fs::set_permissions(&b, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        assert_eq!(b.metadata().unwrap().mode() & 0o7777, 0o640);
        write(&b, "two");
        fs::rename(&b, &a).unwrap();
        assert_eq!(read(&a), b"two");
        fs::hard_link(&a, &b).unwrap();
        fs::rename(&a, &b).unwrap();
        // Two names of one file: rename does nothing.
        assert_eq!(a.metadata().unwrap().nlink(), 2);
        assert_eq!(read(&b), b"two");
    });
}

#[test]
fn directories_get_no_second_name() {
    MountedVolume::both(|volume| {
        fs::create_dir(volume.path("d")).unwrap();
        assert_eq!(errno(fs::hard_link(volume.path("d"), volume.path("e"))), libc::EPERM);
        write(&volume.path("f"), "");
        assert_eq!(errno(fs::hard_link(volume.path("f"), volume.path("d"))), libc::EEXIST);
        assert_eq!(errno(fs::hard_link(volume.path("none"), volume.path("e"))), libc::ENOENT);
    });
}

/// Law: st_size of a symbolic link is the length of its target, for every length that there is.
#[test]
fn symlinks_of_every_kind_of_length() {
    MountedVolume::both(|volume| {
        let lens =
            [1, 2, 59, 60, 61, 255, 256, 1000, 2900, 3000, 3029, 3030, 3031, 4000, 4094, 4095];
        for len in lens {
            let target = OsString::from_vec(vec![b't'; len]);
            symlink(&target, volume.path(format!("l{len}"))).unwrap();
        }
        for _ in 0..2 {
            for len in lens {
                let path = volume.path(format!("l{len}"));
                assert_eq!(path.symlink_metadata().unwrap().len(), len as u64, "{len}");
                assert_eq!(fs::read_link(&path).unwrap().as_os_str().len(), len);
            }
            let listed = fs::read_dir(volume.root()).unwrap();
            for entry in listed {
                let entry = entry.unwrap();
                let len: u64 = entry.file_name().to_str().unwrap()[1..].parse().unwrap();
                assert_eq!(entry.metadata().unwrap().len(), len);
                assert!(entry.file_type().unwrap().is_symlink());
            }
            volume.remount();
        }
        for len in lens {
            fs::remove_file(volume.path(format!("l{len}"))).unwrap();
        }
        // Targets that were too long for the lower filesystem went with their links.
        let links = volume.lower().join(".kmsfs/links");
        assert_eq!(fs::read_dir(links).map_or(0, Iterator::count), 0);
        let long = OsString::from_vec(vec![b't'; 4096]);
        assert_eq!(errno(symlink(long, volume.path("l"))), libc::ENAMETOOLONG);
        assert_eq!(errno(symlink("", volume.path("l"))), libc::ENOENT);
    });
}

/// Law: looking at a link does not set its times through it, nor its own by more than reading does.
#[test]
fn times_of_a_symlink_are_its_own() {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    MountedVolume::both(|volume| {
        let (target, link) = (volume.path("f"), volume.path("l"));
        write(&target, "x");
        symlink("f", &link).unwrap();
        let at = |tv_sec| Timespec { tv_sec, tv_nsec: 5 };
        // Read after it was changed, and in the future: relatime has no reason to move it.
        let times = |sec| Timestamps { last_access: at(sec), last_modification: at(sec - 9) };
        utimensat(CWD, &target, &times(2_100_000_000), AtFlags::empty()).unwrap();
        utimensat(CWD, &link, &times(4_000_000_000), AtFlags::SYMLINK_NOFOLLOW).unwrap();
        for _ in 0..2 {
            assert_eq!(fs::read_link(&link).unwrap().as_os_str(), "f");
            assert_eq!(read(&link), b"x");
            fs::canonicalize(&link).unwrap();
            let (own, its) = (link.symlink_metadata().unwrap(), link.metadata().unwrap());
            assert_eq!((own.atime(), own.mtime()), (4_000_000_000, 3_999_999_991));
            assert_eq!((its.atime(), its.mtime()), (2_100_000_000, 2_099_999_991));
            volume.remount();
        }
    });
}

#[test]
fn symlinks_lead_where_they_say() {
    MountedVolume::both(|volume| {
        fs::create_dir(volume.path("d")).unwrap();
        write(&volume.path("d/f"), "found");
        symlink("d/../d/f", volume.path("l")).unwrap();
        symlink("nowhere \u{fc}\u{1}", volume.path("dangling")).unwrap();
        symlink("loop", volume.path("loop")).unwrap();
        symlink("/proc/self/nothing", volume.path("out")).unwrap();
        volume.remount();
        assert_eq!(read(&volume.path("l")), b"found");
        assert_eq!(errno(fs::read(volume.path("dangling"))), libc::ENOENT);
        assert_eq!(errno(fs::read(volume.path("loop"))), libc::ELOOP);
        assert_eq!(fs::read_link(volume.path("out")).unwrap().as_os_str(), "/proc/self/nothing");
        let target = fs::read_link(volume.path("dangling")).unwrap();
        assert_eq!(target.as_os_str().as_bytes(), "nowhere \u{fc}\u{1}".as_bytes());
    });
}

#[test]
fn symlink_itself_is_renamed_linked_and_owned() {
    MountedVolume::both(|volume| {
        let (a, b) = (volume.path("a"), volume.path("b"));
        symlink("x".repeat(3500), &a).unwrap();
        fs::hard_link(&a, &b).unwrap();
        fs::remove_file(&a).unwrap();
        assert_eq!(fs::read_link(&b).unwrap().as_os_str().len(), 3500);
        std::os::unix::fs::lchown(&b, Some(12), Some(34)).unwrap();
        fs::rename(&b, &a).unwrap();
        let seen = a.symlink_metadata().unwrap();
        assert_eq!((seen.uid(), seen.gid(), seen.nlink()), (12, 34, 1));
        write(&b, "file");
        fs::rename(&b, &a).unwrap();
        assert_eq!(read(&a), b"file");
    });
}
