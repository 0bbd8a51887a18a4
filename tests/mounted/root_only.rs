//! A mount that only root can enter: the kernel leaves permissions to the mount.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use rustix::fs::{Access, XattrFlags};

use crate::mount::{How, MountedVolume, skip};
use crate::user::{USER, as_user, is_root};
use crate::{errno, write};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs a test twice, with and without the writeback cache, as root.
fn by_root(test: impl Fn(&mut MountedVolume)) {
    if !is_root() {
        return skip("not root");
    }
    for writeback in [false, true] {
        let how = How { writeback, privileged: true, root_only: true, ..How::default() };
        let Some(mut volume) = MountedVolume::new(how) else { return };
        test(&mut volume);
    }
}

/// Value of `system.posix_acl_access` (include/uapi/linux/posix_acl_xattr.h): user::6, user:1000:7,
/// group::4, mask::7, other::4.
fn acl() -> Vec<u8> {
    const NO_ID: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, NO_ID), (2, 7, 1000), (4, 4, NO_ID), (0x10, 7, NO_ID), (0x20, 4, NO_ID)];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

/// Law: nobody else enters, whatever the modes say.
#[test]
fn others_are_kept_out() {
    by_root(|volume| {
        write(&volume.path("f"), "x");
        chmod(&volume.path("f"), 0o777);
        chmod(volume.root(), 0o777);
        let (root, file) = (volume.root().to_path_buf(), volume.path("f"));
        as_user(USER, &[USER], 0o022, || {
            assert_eq!(errno(fs::read_dir(&root)), libc::EACCES);
            assert_eq!(errno(File::open(&file)), libc::EACCES);
        });
    });
}

/// Law: root reads and writes everything, and executes what somebody may execute (access(2)).
#[test]
fn access_tells_root_what_it_may() {
    by_root(|volume| {
        let (file, dir) = (volume.path("f"), volume.path("d"));
        write(&file, "#!/bin/sh\nexit 7\n");
        fs::create_dir(&dir).unwrap();
        for mode in [0o000, 0o600, 0o644] {
            chmod(&file, mode);
            chmod(&dir, mode);
            rustix::fs::access(&file, Access::READ_OK | Access::WRITE_OK).unwrap();
            rustix::fs::access(&dir, Access::READ_OK | Access::EXEC_OK).unwrap();
            let refused = rustix::fs::access(&file, Access::EXEC_OK);
            assert_eq!(refused, Err(rustix::io::Errno::ACCESS), "{mode:o}");
            assert_eq!(errno(Command::new(&file).status()), libc::EACCES);
        }
        chmod(&file, 0o001);
        rustix::fs::access(&file, Access::EXEC_OK).unwrap();
        assert_eq!(Command::new(&file).status().unwrap().code(), Some(7));
    });
}

/// Law: an ACL's mask is seen in the mode at once, and its going too.
#[test]
fn acl_shows_in_the_mode_at_once() {
    by_root(|volume| {
        let file = volume.path("f");
        write(&file, "x");
        chmod(&file, 0o600);
        rustix::fs::setxattr(&file, "system.posix_acl_access", &acl(), XattrFlags::empty())
            .unwrap();
        assert_eq!(mode(&file), 0o674);
        chmod(&file, 0o604);
        assert_eq!(mode(&file), 0o604);
        rustix::fs::removexattr(&file, "system.posix_acl_access").unwrap();
        assert_eq!(mode(&file), 0o604);
        volume.remount();
        assert_eq!(mode(&volume.path("f")), 0o604);
    });
}

/// Law: a directory's default ACL goes to what is made in it, and then no umask counts.
#[test]
fn default_acl_is_inherited() {
    by_root(|volume| {
        let dir = volume.path("d");
        fs::create_dir(&dir).unwrap();
        rustix::fs::setxattr(&dir, "system.posix_acl_default", &acl(), XattrFlags::empty())
            .unwrap();
        write(&dir.join("f"), "x");
        let mut value = [0; 64];
        let len =
            rustix::fs::getxattr(dir.join("f"), "system.posix_acl_access", &mut value).unwrap();
        assert_eq!(len, acl().len());
        assert_eq!(mode(&dir.join("f")), 0o664);
    });
}

/// Law: set-id bits go with a change of owner, and stay with root's write.
#[test]
fn set_id_bits_follow_the_rules_of_root() {
    by_root(|volume| {
        let file = volume.path("f");
        write(&file, "x");
        chmod(&file, 0o6755);
        write(&file, "longer");
        assert_eq!(mode(&file), 0o6755);
        std::os::unix::fs::chown(&file, Some(USER), Some(USER)).unwrap();
        assert_eq!(mode(&file), 0o755);
    });
}

/// Law: a change in a directory costs no look at the directory.
#[test]
fn making_and_removing_files_asks_for_no_attributes() {
    by_root(|volume| {
        write(&volume.path("first"), "x");
        let before = volume.count("getattr");
        for no in 0..20 {
            write(&volume.path(format!("f{no}")), "x");
        }
        for no in 0..20 {
            fs::remove_file(volume.path(format!("f{no}"))).unwrap();
        }
        // Whoever looks at every mount of a machine, as df(1) does, may look at this one.
        let asked = volume.count("getattr") - before;
        assert!(asked < 5, "{asked} of 40");
    });
}
