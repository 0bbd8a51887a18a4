//! Names of every length and every byte, and those that look like the volume's own.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::mount::MountedVolume;
use crate::{errno, read, write};

fn list(dir: &Path) -> BTreeSet<OsString> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

fn long(byte: u8, len: usize) -> OsString {
    OsString::from_vec(vec![byte; len])
}

#[test]
fn names_of_every_length_up_to_255_bytes() {
    MountedVolume::both(|volume| {
        let wanted: BTreeSet<OsString> = (1..=255).map(|len| long(b'n', len)).collect();
        for name in &wanted {
            write(&volume.path(name), name.as_bytes());
        }
        assert_eq!(list(volume.root()), wanted);
        volume.remount();
        assert_eq!(list(volume.root()), wanted);
        for name in &wanted {
            assert_eq!(read(&volume.path(name)), name.as_bytes());
        }
        assert_eq!(errno(fs::write(volume.path(long(b'n', 256)), "")), libc::ENAMETOOLONG);
        assert_eq!(errno(fs::metadata(volume.path(long(b'n', 256)))), libc::ENAMETOOLONG);
    });
}

#[test]
fn every_byte_but_slash_and_nul_is_a_name() {
    MountedVolume::both(|volume| {
        let mut wanted = BTreeSet::new();
        for byte in (1..=255).filter(|byte| *byte != b'/') {
            wanted.insert(OsString::from_vec(vec![b'x', byte]));
            if byte != b'.' {
                wanted.insert(OsString::from_vec(vec![byte]));
            }
        }
        wanted.insert(OsString::from_vec((128..=255).collect()));
        for name in &wanted {
            write(&volume.path(name), name.as_bytes());
        }
        volume.remount();
        assert_eq!(list(volume.root()), wanted);
        for name in &wanted {
            assert_eq!(read(&volume.path(name)), name.as_bytes());
            fs::remove_file(volume.path(name)).unwrap();
        }
        assert_eq!(list(volume.root()), BTreeSet::new());
    });
}

/// Law: what the volume calls its own below is an ordinary name above.
#[test]
fn names_of_the_volumes_own_files_are_ordinary() {
    MountedVolume::both(|volume| {
        let digest = "L.".to_owned() + &"A".repeat(43);
        let names = [
            ".kmsfs",
            ".kmsfs.dir",
            ".kmsfs.tmp.0123456789abcdef",
            "L.x",
            "L.x.name",
            digest.as_str(),
            &format!("{digest}.name"),
            "lost+found",
            "volume.toml",
        ];
        for (no, dir) in ["", "sub"].into_iter().enumerate() {
            let dir = volume.path(dir);
            if no == 1 {
                fs::create_dir(&dir).unwrap();
            }
            for name in names {
                assert_eq!(errno(fs::metadata(dir.join(name))), libc::ENOENT, "{name}");
                assert_eq!(errno(fs::remove_file(dir.join(name))), libc::ENOENT, "{name}");
                write(&dir.join(name), name);
            }
        }
        volume.remount();
        let dir = volume.path("sub");
        assert_eq!(list(&dir), names.iter().map(OsString::from).collect());
        for name in names {
            assert_eq!(read(&dir.join(name)), name.as_bytes());
            fs::rename(dir.join(name), dir.join("moved")).unwrap();
            fs::rename(dir.join("moved"), dir.join(name)).unwrap();
            fs::remove_file(dir.join(name)).unwrap();
            fs::create_dir(dir.join(name)).unwrap();
            fs::remove_dir(dir.join(name)).unwrap();
        }
        fs::remove_dir(&dir).unwrap();
    });
}

/// Law: a long name and its sidecar come and go together.
#[test]
fn long_names_are_renamed_linked_and_removed() {
    MountedVolume::both(|volume| {
        let (dir, other) = (volume.path(long(b'd', 250)), volume.path(long(b'e', 250)));
        fs::create_dir(&dir).unwrap();
        let (a, b) = (dir.join(long(b'a', 255)), dir.join(long(b'b', 240)));
        write(&a, "a");
        fs::hard_link(&a, &b).unwrap();
        assert_eq!(a.metadata().unwrap().nlink(), 2);
        fs::rename(&dir, &other).unwrap();
        let (a, b) = (other.join(long(b'a', 255)), other.join(long(b'b', 240)));
        volume.remount();
        assert_eq!(read(&b), b"a");
        fs::remove_file(&a).unwrap();
        // Long to short, short to long, long over long, within one directory and across.
        fs::rename(&b, volume.path("short")).unwrap();
        fs::rename(volume.path("short"), volume.path(long(b's', 255))).unwrap();
        write(&a, "other");
        fs::rename(volume.path(long(b's', 255)), &a).unwrap();
        assert_eq!(read(&a), b"a");
        fs::rename(&a, &a).unwrap();
        assert_eq!(list(&other), BTreeSet::from([long(b'a', 255)]));
        std::os::unix::fs::symlink("t", other.join(long(b'l', 200))).unwrap();
        assert_eq!(fs::read_link(other.join(long(b'l', 200))).unwrap(), Path::new("t"));
        fs::remove_file(other.join(long(b'l', 200))).unwrap();
        fs::remove_file(&a).unwrap();
        fs::remove_dir(&other).unwrap();
        volume.remount();
        assert_eq!(list(volume.root()), BTreeSet::new());
        // No sidecar was left behind.
        let left = list(volume.lower());
        assert_eq!(left, [".kmsfs", ".kmsfs.dir"].iter().map(OsString::from).collect());
    });
}

#[test]
fn refused_creation_over_a_long_name_leaves_it_alone() {
    MountedVolume::both(|volume| {
        let path = volume.path(long(b'n', 255));
        write(&path, "kept");
        let fresh = fs::OpenOptions::new().write(true).create_new(true).open(&path);
        assert_eq!(errno(fresh), libc::EEXIST);
        assert_eq!(errno(fs::create_dir(&path)), libc::EEXIST);
        assert_eq!(errno(fs::hard_link(&path, &path)), libc::EEXIST);
        assert_eq!(errno(std::os::unix::fs::symlink("x", &path)), libc::EEXIST);
        volume.remount();
        assert_eq!(list(volume.root()), BTreeSet::from([long(b'n', 255)]));
        assert_eq!(read(&path), b"kept");
    });
}

/// Law: every path that a plain directory takes, a mount takes.
#[test]
fn paths_of_4095_bytes_are_reached() {
    MountedVolume::both(|volume| {
        let mut path = volume.root().as_os_str().to_owned();
        while path.len() + 201 < 4095 - 2 {
            path.push("/");
            path.push(long(b'p', 200));
            fs::create_dir(&path).unwrap();
        }
        path.push("/");
        path.push(long(b'f', 4095 - path.len()));
        assert_eq!(path.len(), 4095);
        write(Path::new(&path), "deep");
        volume.remount();
        assert_eq!(read(Path::new(&path)), b"deep");
        path.push("x");
        assert_eq!(errno(fs::metadata(&path)), libc::ENAMETOOLONG);
    });
}

/// Deeper than any path: by steps from directory to directory.
#[test]
fn directories_nest_deeper_than_any_path() {
    MountedVolume::both(|volume| {
        use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = "deeper".repeat(20);
        let mut dirs = vec![openat(CWD, volume.root(), flags, Mode::empty()).unwrap()];
        for _ in 0..100 {
            let dir = dirs.last().unwrap();
            mkdirat(dir, name.as_str(), Mode::RWXU).unwrap();
            dirs.push(openat(dir, name.as_str(), flags, Mode::empty()).unwrap());
        }
        while dirs.len() > 1 {
            dirs.pop();
            unlinkat(dirs.last().unwrap(), name.as_str(), AtFlags::REMOVEDIR).unwrap();
        }
    });
}

#[test]
fn absent_names_are_remembered_until_they_are_made() {
    MountedVolume::both(|volume| {
        let path = volume.path("absent");
        assert_eq!(errno(fs::metadata(&path)), libc::ENOENT);
        let before = volume.count("lookup");
        for _ in 0..10 {
            assert_eq!(errno(fs::metadata(&path)), libc::ENOENT);
        }
        assert_eq!(volume.count("lookup"), before);
        for make in [
            |path: &Path| fs::write(path, "now"),
            |path: &Path| fs::create_dir(path),
            |path: &Path| std::os::unix::fs::symlink("x", path),
        ] {
            make(&path).unwrap();
            fs::symlink_metadata(&path).unwrap();
            let gone = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
            gone.unwrap();
            assert_eq!(errno(fs::metadata(&path)), libc::ENOENT);
        }
        write(&volume.path("other"), "moved");
        fs::rename(volume.path("other"), &path).unwrap();
        assert_eq!(read(&path), b"moved");
    });
}

#[test]
fn names_below_are_not_those_above() {
    MountedVolume::both(|volume| {
        fs::create_dir(volume.path("secret-directory")).unwrap();
        write(&volume.path("secret-directory/secret-file"), "secret-content");
        volume.remount();
        let mut waiting = vec![volume.lower().to_path_buf()];
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                assert!(!contains(path.file_name().unwrap(), "secret"), "{path:?}");
                match path.is_dir() {
                    true => waiting.push(path),
                    false => {
                        assert!(!contains(OsStr::from_bytes(&read(&path)), "secret"), "{path:?}");
                    }
                }
            }
        }
    });
}

fn contains(text: &OsStr, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|part| part == word.as_bytes())
}
