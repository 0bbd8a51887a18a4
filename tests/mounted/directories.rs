//! Reading directories, and statfs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode};

use crate::mount::MountedVolume;
use crate::{errno, write};

/// A directory stream of the C library, which knows positions.
struct Stream(*mut libc::DIR);

impl Stream {
    fn open(path: &Path) -> Self {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a C string that lives through the call.
        let stream = unsafe { libc::opendir(path.as_ptr()) };
        assert!(!stream.is_null());
        Self(stream)
    }

    fn next(&mut self) -> Option<OsString> {
        // SAFETY: the stream is open, and the entry is copied before the next call.
        unsafe {
            let entry = libc::readdir(self.0);
            if entry.is_null() {
                return None;
            }
            let name = CStr::from_ptr((*entry).d_name.as_ptr());
            Some(OsString::from_vec(name.to_bytes().to_vec()))
        }
    }

    fn position(&self) -> libc::c_long {
        // SAFETY: the stream is open.
        unsafe { libc::telldir(self.0) }
    }

    fn go_to(&mut self, position: libc::c_long) {
        // SAFETY: the stream is open, and the position is its own.
        unsafe { libc::seekdir(self.0, position) }
    }

    fn rest(&mut self) -> Vec<OsString> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream is open, and goes with this.
        unsafe { libc::closedir(self.0) };
    }
}

/// Law: every position leads to the same rest of the directory, however often one goes there.
#[test]
fn positions_in_a_directory_of_ten_thousand_entries() {
    MountedVolume::both(|volume| {
        let dir = volume.path("d");
        fs::create_dir(&dir).unwrap();
        for no in 0..10_000 {
            // Hard links are made faster than files.
            match no {
                0 => write(&dir.join("0"), ""),
                _ => fs::hard_link(dir.join("0"), dir.join(format!("{no}"))).unwrap(),
            }
        }
        let mut stream = Stream::open(&dir);
        let mut positions = BTreeMap::new();
        let mut all = Vec::new();
        loop {
            let position = stream.position();
            let Some(name) = stream.next() else { break };
            if all.len() % 997 == 0 {
                positions.insert(all.len(), position);
            }
            all.push(name);
        }
        assert_eq!(all.len(), 10_002);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 10_002);
        for (at, position) in positions.iter().rev() {
            stream.go_to(*position);
            assert!(stream.rest() == all[*at..], "{at}");
        }
        drop(stream);
        volume.remount();
        let again: BTreeSet<_> = Stream::open(&dir).rest().into_iter().collect();
        assert_eq!(again, all.into_iter().collect());
    });
}

/// Law: whoever removes what it reads misses nothing.
#[test]
fn everything_is_removed_while_reading() {
    MountedVolume::both(|volume| {
        let dir = volume.path("d");
        fs::create_dir(&dir).unwrap();
        for no in 0..1000 {
            fs::File::create(dir.join(format!("{no}"))).unwrap();
        }
        let mut removed = 0;
        for entry in fs::read_dir(&dir).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
            removed += 1;
        }
        assert_eq!(removed, 1000);
        fs::remove_dir(&dir).unwrap();
    });
}

#[test]
fn entries_tell_kind_and_inode() {
    MountedVolume::both(|volume| {
        fs::create_dir(volume.path("d")).unwrap();
        write(&volume.path("f"), "x");
        std::os::unix::fs::symlink("x", volume.path("l")).unwrap();
        for _ in 0..2 {
            let mut seen = BTreeMap::new();
            for entry in fs::read_dir(volume.root()).unwrap() {
                let entry = entry.unwrap();
                use std::os::unix::fs::DirEntryExt;
                let ino = entry.path().symlink_metadata().unwrap().ino();
                assert_eq!(entry.ino(), ino);
                seen.insert(entry.file_name(), entry.file_type().unwrap());
            }
            assert_eq!(seen.len(), 3);
            assert!(seen[&OsString::from("d")].is_dir());
            assert!(seen[&OsString::from("f")].is_file());
            assert!(seen[&OsString::from("l")].is_symlink());
            volume.remount();
        }
    });
}

#[test]
fn cached_directory_shows_every_change() {
    MountedVolume::both(|volume| {
        let list = || {
            let names = fs::read_dir(volume.root()).unwrap();
            names.map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
        };
        let names = |names: &[&str]| names.iter().map(OsString::from).collect::<BTreeSet<_>>();
        for _ in 0..3 {
            assert_eq!(list(), names(&[]));
            write(&volume.path("a"), "");
            assert_eq!(list(), names(&["a"]));
            fs::rename(volume.path("a"), volume.path("b")).unwrap();
            assert_eq!(list(), names(&["b"]));
            fs::hard_link(volume.path("b"), volume.path("c")).unwrap();
            fs::create_dir(volume.path("d")).unwrap();
            assert_eq!(list(), names(&["b", "c", "d"]));
            fs::remove_file(volume.path("b")).unwrap();
            fs::remove_file(volume.path("c")).unwrap();
            fs::remove_dir(volume.path("d")).unwrap();
        }
    });
}

/// Law: what cannot be removed from outside cannot be from inside: our own files are no entries.
#[test]
fn directory_with_only_our_own_files_is_empty() {
    MountedVolume::both(|volume| {
        let dir = volume.path("d");
        fs::create_dir(&dir).unwrap();
        write(&dir.join("n".repeat(255)), "");
        assert_eq!(errno(fs::remove_dir(&dir)), libc::ENOTEMPTY);
        fs::remove_file(dir.join("n".repeat(255))).unwrap();
        fs::remove_dir(&dir).unwrap();
    });
}

#[test]
fn statfs_tells_of_the_lower_filesystem_and_our_names() {
    MountedVolume::both(|volume| {
        let above = rustix::fs::statvfs(volume.root()).unwrap();
        let below = rustix::fs::statvfs(volume.lower()).unwrap();
        assert_eq!((above.f_blocks, above.f_frsize), (below.f_blocks, below.f_frsize));
        assert_eq!(above.f_files, below.f_files);
        assert_eq!(above.f_namemax, 255);
    });
}

/// Law: an inode number is one file's alone, and stays its own over rename and remount.
#[test]
fn inode_numbers_are_unique_and_stay() {
    MountedVolume::both(|volume| {
        fs::create_dir_all(volume.path("d/e")).unwrap();
        let long = "n".repeat(255);
        let names = ["a", "d", "d/e", "d/b", "d/e/c", "l", "p", long.as_str()];
        for name in ["a", "d/b", "d/e/c", &long] {
            write(&volume.path(name), name);
        }
        std::os::unix::fs::symlink("a", volume.path("l")).unwrap();
        rustix::fs::mknodat(CWD, volume.path("p"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let numbers = |volume: &MountedVolume| -> Vec<u64> {
            let ino = |name| volume.path(name).symlink_metadata().unwrap().ino();
            [".", "d/.."].into_iter().chain(names).map(ino).collect()
        };
        let before = numbers(volume);
        assert_eq!(before[..2], [1, 1], "the root");
        let unique: BTreeSet<u64> = before[1..].iter().copied().collect();
        assert_eq!(unique.len(), before.len() - 1);
        volume.remount();
        assert_eq!(numbers(volume), before);
        fs::rename(volume.path("d/e/c"), volume.path("c2")).unwrap();
        assert_eq!(volume.path("c2").metadata().unwrap().ino(), before[6]);
    });
}

/// Law: `.` and `..` are listed once, with the numbers that stat shows.
#[test]
fn dot_and_dot_dot_are_listed_with_their_inode_numbers() {
    MountedVolume::both(|volume| {
        fs::create_dir_all(volume.path("d/e")).unwrap();
        for _ in 0..2 {
            for dir in ["d", "d/e"] {
                let path = volume.path(dir);
                let listed = rustix::fs::Dir::read_from(fs::File::open(&path).unwrap()).unwrap();
                let mut dots: Vec<(String, u64)> = listed
                    .map(|entry| entry.unwrap())
                    .filter(|entry| entry.file_name().to_bytes().starts_with(b"."))
                    .map(|entry| (entry.file_name().to_str().unwrap().to_owned(), entry.ino()))
                    .collect();
                dots.sort();
                let ino = |name: &str| path.join(name).metadata().unwrap().ino();
                let wanted = [(String::from("."), ino(".")), (String::from(".."), ino(".."))];
                assert_eq!(dots, wanted);
            }
            volume.remount();
        }
    });
}

/// Law: when the kernel has forgotten attributes of many files of a directory, a listing brings them all
/// instead of a request for each.
#[test]
fn listing_brings_attributes_that_the_kernel_forgot() {
    const FILES: usize = 64;
    const PATIENCE: Duration = Duration::from_secs(20);
    MountedVolume::both(|volume| {
        let dir = volume.path("d");
        fs::create_dir(&dir).unwrap();
        (0..FILES).for_each(|no| write(&dir.join(no.to_string()), "content"));
        let list = || fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        let files: Vec<_> = list();
        assert_eq!(files.len(), FILES);
        let list = || assert!(list() == files);
        let rewrite = || files.iter().for_each(|file| write(file, "content"));
        // Gives how many requests that took.
        let look = |volume: &MountedVolume| {
            let before = volume.count("getattr");
            files.iter().for_each(|file| assert_eq!(file.metadata().unwrap().len(), 7));
            volume.count("getattr") - before
        };
        rewrite();
        assert!(look(volume) >= 64);
        rewrite();
        let (listings, start) = (volume.count("readdirplus"), Instant::now());
        while volume.count("readdirplus") == listings {
            assert!(start.elapsed() < PATIENCE, "the kernel lists from its cache");
            list();
        }
        // The one before may have begun from the cache.
        list();
        assert!(look(volume) < 8);
        // As little as that is forgotten, the kernel lists from its cache.
        let mut listings = 0;
        while volume.count("readdirplus") != listings {
            assert!(start.elapsed() < PATIENCE, "the kernel asks for each listing");
            listings = volume.count("readdirplus");
            list();
        }
        // Who asks in an order of its own does not list before it asks again.
        rewrite();
        let before = volume.count("getattr");
        files.iter().rev().for_each(|file| assert_eq!(file.metadata().unwrap().len(), 7));
        assert!(volume.count("getattr") - before >= 64);
        std::thread::sleep(Duration::from_millis(50));
        list();
        assert_eq!(volume.count("readdirplus"), listings);
    });
}
