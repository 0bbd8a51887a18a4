//! rename and renameat2.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::mount::MountedVolume;
use crate::{errno, read, write};

fn rename2(old: &Path, new: &Path, flags: RenameFlags) -> std::io::Result<()> {
    renameat_with(CWD, old, CWD, new, flags).map_err(Into::into)
}

#[test]
fn noreplace_refuses_what_exists_and_takes_what_does_not() {
    MountedVolume::both(|volume| {
        let (a, b) = (volume.path("a"), volume.path("b"));
        write(&a, "a");
        write(&b, "b");
        assert_eq!(errno(rename2(&a, &b, RenameFlags::NOREPLACE)), libc::EEXIST);
        assert_eq!(errno(rename2(&a, &a, RenameFlags::NOREPLACE)), libc::EEXIST);
        fs::remove_file(&b).unwrap();
        rename2(&a, &b, RenameFlags::NOREPLACE).unwrap();
        assert_eq!(read(&b), b"a");
        assert_eq!(errno(a.metadata()), libc::ENOENT);
    });
}

/// Law: two entries of any kinds change places, and keep everything else.
#[test]
fn exchange_swaps_any_two_entries() {
    MountedVolume::both(|volume| {
        let long = "n".repeat(250);
        let (a, b) = (volume.path("a"), volume.path(&long));
        fs::create_dir_all(a.join("sub")).unwrap();
        write(&a.join("sub/f"), "inside");
        write(&b, "file");
        let (a_ino, b_ino) = (a.metadata().unwrap().ino(), b.metadata().unwrap().ino());
        rename2(&a, &b, RenameFlags::EXCHANGE).unwrap();
        assert_eq!((a.metadata().unwrap().ino(), b.metadata().unwrap().ino()), (b_ino, a_ino));
        assert_eq!(read(&a), b"file");
        assert_eq!(read(&b.join("sub/f")), b"inside");
        // Into its own depths it cannot go.
        assert_eq!(errno(rename2(&b, &b.join("sub/f"), RenameFlags::EXCHANGE)), libc::EINVAL);
        rename2(&a, &b.join("sub/f"), RenameFlags::EXCHANGE).unwrap();
        assert_eq!(errno(rename2(&a, &volume.path("none"), RenameFlags::EXCHANGE)), libc::ENOENT);
        volume.remount();
        assert_eq!(read(&a), b"inside");
        assert_eq!(read(&b.join("sub/f")), b"file");
    });
}

#[test]
fn flags_that_make_no_sense_are_invalid() {
    MountedVolume::both(|volume| {
        let (a, b) = (volume.path("a"), volume.path("b"));
        write(&a, "a");
        let both = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
        assert_eq!(errno(rename2(&a, &b, both)), libc::EINVAL);
        let both = RenameFlags::NOREPLACE | RenameFlags::WHITEOUT;
        assert_eq!(errno(rename2(&a, &b, both)), libc::EINVAL);
    });
}

/// Law: what was moved away leaves a whiteout, whatever it was and whatever it replaces.
#[test]
fn whiteout_takes_the_old_name() {
    MountedVolume::both(|volume| {
        let long = "n".repeat(250);
        for old in ["old", &long] {
            for target in [None, Some("f"), Some("d")] {
                let (old, new) = (volume.path(old), volume.path("new"));
                if target == Some("d") {
                    fs::create_dir(&old).unwrap();
                    write(&old.join("f"), "inside");
                    fs::create_dir(&new).unwrap();
                } else {
                    write(&old, "content");
                    target.inspect(|_| write(&new, "replaced"));
                }
                rename2(&old, &new, RenameFlags::WHITEOUT).unwrap();
                volume.remount();
                let left = old.symlink_metadata().unwrap();
                assert!(left.file_type().is_char_device());
                assert_eq!(left.rdev(), 0);
                fs::remove_file(&old).unwrap();
                if target == Some("d") {
                    assert_eq!(read(&new.join("f")), b"inside");
                    fs::remove_dir_all(&new).unwrap();
                } else {
                    assert_eq!(read(&new), b"content");
                    fs::remove_file(&new).unwrap();
                }
            }
        }
    });
}

/// Law: overlayfs takes a mount for its upper layer, as which it is told what is removed below.
#[test]
fn overlayfs_keeps_its_changes_in_a_mount() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    if !crate::user::is_root() {
        return crate::mount::skip("not root");
    }
    MountedVolume::both(|volume| {
        let below = tempfile::tempdir().unwrap();
        fs::create_dir(below.path().join("d")).unwrap();
        for name in ["removed", "changed", "moved", "d/inner"] {
            write(&below.path().join(name), name);
        }
        for dir in ["upper", "work", "at"] {
            fs::create_dir(volume.path(dir)).unwrap();
        }
        let at = tempfile::tempdir().unwrap();
        let at = at.path();
        let data = std::ffi::CString::new(format!(
            "lowerdir={},upperdir={},workdir={}",
            below.path().display(),
            volume.path("upper").display(),
            volume.path("work").display()
        ));
        let data = data.unwrap();
        match mount("overlay", at, "overlay", MountFlags::empty(), data.as_c_str()) {
            Err(rustix::io::Errno::NODEV) => return crate::mount::skip("no overlayfs"),
            mounted => mounted.unwrap(),
        }
        let check = || {
            assert_eq!(errno(at.join("removed").metadata()), libc::ENOENT);
            assert_eq!(errno(at.join("moved").metadata()), libc::ENOENT);
            assert_eq!(read(&at.join("changed")), b"anew");
            assert_eq!(read(&at.join("here")), b"moved");
            assert_eq!(fs::read_dir(at.join("d")).unwrap().count(), 0);
        };
        fs::remove_file(at.join("removed")).unwrap();
        write(&at.join("changed"), "anew");
        fs::rename(at.join("moved"), at.join("here")).unwrap();
        fs::remove_dir_all(at.join("d")).unwrap();
        fs::create_dir(at.join("d")).unwrap();
        check();
        unmount(at, UnmountFlags::empty()).unwrap();
        volume.remount();
        mount("overlay", at, "overlay", MountFlags::empty(), data.as_c_str()).unwrap();
        check();
        unmount(at, UnmountFlags::empty()).unwrap();
    });
}

#[test]
fn directory_replaces_an_empty_directory_only() {
    MountedVolume::both(|volume| {
        for (old, new) in [("a", "b"), ("a", &*"n".repeat(250)), ("x/a", "y/b")] {
            for dir in ["x", "y"] {
                let _ = fs::create_dir(volume.path(dir));
            }
            let (old, new) = (volume.path(old), volume.path(new));
            fs::create_dir(&old).unwrap();
            write(&old.join("f"), "f");
            fs::create_dir(&new).unwrap();
            write(&new.join("g"), "g");
            assert_eq!(errno(fs::rename(&old, &new)), libc::ENOTEMPTY);
            fs::remove_file(new.join("g")).unwrap();
            fs::rename(&old, &new).unwrap();
            assert_eq!(read(&new.join("f")), b"f");
            assert_eq!(errno(old.metadata()), libc::ENOENT);
            assert_eq!(new.metadata().unwrap().nlink(), 2);
            fs::remove_dir_all(&new).unwrap();
        }
    });
}

#[test]
fn kinds_that_do_not_fit_are_refused() {
    MountedVolume::both(|volume| {
        let (file, dir) = (volume.path("f"), volume.path("d"));
        write(&file, "f");
        fs::create_dir(&dir).unwrap();
        assert_eq!(errno(fs::rename(&file, &dir)), libc::EISDIR);
        assert_eq!(errno(fs::rename(&dir, &file)), libc::ENOTDIR);
        assert_eq!(errno(fs::rename(&dir, dir.join("inside"))), libc::EINVAL);
        assert_eq!(errno(fs::rename(volume.path("none"), &file)), libc::ENOENT);
    });
}

/// Law: a file that is replaced while open stays what it was for who has it open.
#[test]
fn replaced_file_lives_on_for_who_has_it_open() {
    MountedVolume::both(|volume| {
        let (a, b) = (volume.path("a"), volume.path("b"));
        write(&a, "old");
        let old = File::options().read(true).write(true).open(&a).unwrap();
        write(&b, "new");
        fs::rename(&b, &a).unwrap();
        let mut out = [0; 3];
        old.read_exact_at(&mut out, 0).unwrap();
        assert_eq!(&out, b"old");
        assert_eq!(old.metadata().unwrap().nlink(), 0);
        old.write_all_at(b"still written", 0).unwrap();
        assert_eq!(old.metadata().unwrap().len(), 13);
        assert_eq!(read(&a), b"new");
    });
}

#[test]
fn files_deep_in_a_moved_tree_are_found_and_written() {
    MountedVolume::both(|volume| {
        fs::create_dir_all(volume.path("a/b/c")).unwrap();
        let path = volume.path("a/b/c/f");
        write(&path, "before");
        let open = File::options().read(true).write(true).open(&path).unwrap();
        fs::create_dir(volume.path("z")).unwrap();
        fs::rename(volume.path("a/b"), volume.path("z/b")).unwrap();
        open.write_all_at(b"behind", 0).unwrap();
        open.sync_all().unwrap();
        assert_eq!(read(&volume.path("z/b/c/f")), b"behind");
        write(&volume.path("z/b/c/g"), "new");
        assert_eq!(errno(fs::metadata(&path)), libc::ENOENT);
        // `..` follows the move.
        assert_eq!(
            fs::metadata(volume.path("z/b/..")).unwrap().ino(),
            fs::metadata(volume.path("z")).unwrap().ino()
        );
        drop(open);
        volume.remount();
        assert_eq!(read(&volume.path("z/b/c/f")), b"behind");
    });
}

#[test]
fn link_counts_of_directories_follow() {
    MountedVolume::both(|volume| {
        let nlink = |name: &str| fs::metadata(volume.path(name)).unwrap().nlink();
        assert_eq!(nlink(""), 2);
        fs::create_dir_all(volume.path("a/sub")).unwrap();
        fs::create_dir(volume.path("b")).unwrap();
        assert_eq!((nlink(""), nlink("a"), nlink("b")), (4, 3, 2));
        fs::rename(volume.path("a/sub"), volume.path("b/sub")).unwrap();
        assert_eq!((nlink("a"), nlink("b")), (2, 3));
        fs::remove_dir(volume.path("b/sub")).unwrap();
        assert_eq!(nlink("b"), 2);
        fs::remove_dir(volume.path("a")).unwrap();
        assert_eq!(nlink(""), 3);
    });
}
