//! Files without a name, as long as somebody has them open.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::mount::MountedVolume;
use crate::{errno, pattern, read, write};

#[test]
fn unlinked_file_is_read_written_and_changed() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let mut file =
            OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all(&pattern(0, 10_000)).unwrap();
        fs::remove_file(&path).unwrap();
        let seen = file.metadata().unwrap();
        assert_eq!((seen.nlink(), seen.len()), (0, 10_000));
        file.write_all_at(&pattern(9, 30_000), 5000).unwrap();
        file.set_len(20_000).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        file.sync_all().unwrap();
        let seen = file.metadata().unwrap();
        assert_eq!((seen.len(), seen.mode() & 0o777, seen.mtime()), (20_000, 0o640, 0));
        let mut out = vec![0; 15_000];
        file.read_exact_at(&mut out, 5000).unwrap();
        assert!(out == pattern(9, 15_000));
        rustix::fs::fsetxattr(&file, "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
        assert_eq!(rustix::fs::fgetxattr(&file, "user.a", &mut out[..]), Ok(1));
        // Its name is free.
        write(&path, "another");
        assert_eq!(file.metadata().unwrap().len(), 20_000);
        assert_eq!(read(&path), b"another");
    });
}

#[test]
fn many_unlinked_files_keep_their_own_content() {
    MountedVolume::both(|volume| {
        let files: Vec<File> = (0..200)
            .map(|no| {
                let path = volume.path("same");
                let file =
                    OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
                file.write_all_at(&pattern(no, 300), no * 31).unwrap();
                fs::remove_file(&path).unwrap();
                file
            })
            .collect();
        for (no, file) in (0..).zip(&files) {
            let mut out = [0; 300];
            file.read_exact_at(&mut out, no * 31).unwrap();
            assert!(out[..] == pattern(no, 300));
        }
        drop(files);
        assert_eq!(fs::read_dir(volume.root()).unwrap().count(), 0);
    });
}

#[test]
fn file_without_its_last_name_gets_no_new_one() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, "x");
        let file = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let linked = rustix::fs::linkat(&file, "", CWD, volume.path("again"), AtFlags::EMPTY_PATH);
        assert_eq!(linked, Err(rustix::io::Errno::NOENT));
    });
}

#[test]
fn removed_directory_is_empty_for_who_stands_in_it() {
    MountedVolume::both(|volume| {
        let path = volume.path("d");
        fs::create_dir(&path).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, &path, flags, Mode::empty()).unwrap();
        fs::remove_dir(&path).unwrap();
        let made = rustix::fs::openat(&dir, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU);
        assert_eq!(made.unwrap_err(), rustix::io::Errno::NOENT);
        assert_eq!(rustix::fs::fstat(&dir).unwrap().st_nlink, 0);
        fs::create_dir(&path).unwrap();
        write(&path.join("f"), "new");
        let found = rustix::fs::statat(&dir, "f", AtFlags::empty());
        assert_eq!(found.unwrap_err(), rustix::io::Errno::NOENT);
    });
}

/// Law: the room of an unlinked file is free once it is closed.
#[test]
fn nothing_stays_below_of_a_file_that_is_gone() {
    MountedVolume::both(|volume| {
        let entries = || fs::read_dir(volume.lower()).unwrap().count();
        let before = entries();
        for long in ["f".to_owned(), "f".repeat(240)] {
            let file = File::create(volume.path(&long)).unwrap();
            file.write_all_at(&pattern(0, 100_000), 0).unwrap();
            fs::remove_file(volume.path(&long)).unwrap();
            drop(file);
        }
        assert_eq!(entries(), before);
    });
}

#[test]
fn o_tmpfile_is_refused_as_not_supported() {
    MountedVolume::both(|volume| {
        let flags = libc::O_TMPFILE | libc::O_WRONLY;
        let opened = {
            use std::os::unix::fs::OpenOptionsExt;
            OpenOptions::new().write(true).custom_flags(flags).open(volume.root())
        };
        assert_eq!(errno(opened), libc::EOPNOTSUPP);
    });
}
