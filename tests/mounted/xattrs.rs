//! Extended attributes and POSIX ACLs.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use rustix::fs::XattrFlags;

use crate::mount::{MountedVolume, skip};
use crate::user::{OTHER_USER, USER, as_user, is_root};
use crate::{errno, read, write};

fn set(path: &Path, name: &str, value: &[u8], flags: XattrFlags) -> std::io::Result<()> {
    rustix::fs::lsetxattr(path, name, value, flags).map_err(Into::into)
}

fn value(path: &Path, name: &str) -> std::io::Result<Vec<u8>> {
    let mut value = vec![0; 65_536];
    let len = rustix::fs::lgetxattr(path, name, &mut value)?;
    value.truncate(len);
    Ok(value)
}

/// What getxattr answers to whom only wants to know the length.
fn len_of_value(path: &Path, name: &CStr) -> isize {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: both are C strings that live through the call; no byte is written.
    unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) }
}

fn list(path: &Path) -> BTreeSet<String> {
    let mut names = vec![0; 65_536];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap();
    names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8(name.to_vec()).unwrap())
        .filter(|name| !name.starts_with("security."))
        .collect()
}

#[test]
fn attributes_of_files_and_directories_come_back() {
    MountedVolume::both(|volume| {
        let (file, dir, empty) = (volume.path("f"), volume.path("d"), volume.path("e"));
        write(&file, "content");
        fs::create_dir(&dir).unwrap();
        write(&empty, "");
        let long = format!("user.{}", "n".repeat(250));
        for path in [&file, &dir, &empty] {
            set(path, "user.short", b"value", XattrFlags::empty()).unwrap();
            set(path, "user.empty", b"", XattrFlags::empty()).unwrap();
            set(path, &long, &[0, 255, 7], XattrFlags::empty()).unwrap();
        }
        for _ in 0..2 {
            for path in [&file, &dir, &empty] {
                let wanted = ["user.short", "user.empty", long.as_str()].map(String::from);
                assert_eq!(list(path), BTreeSet::from(wanted));
                assert_eq!(value(path, "user.short").unwrap(), b"value");
                assert_eq!(value(path, "user.empty").unwrap(), b"");
                assert_eq!(value(path, &long).unwrap(), [0, 255, 7]);
                assert_eq!(errno(value(path, "user.none")), libc::ENODATA);
            }
            volume.remount();
        }
        assert_eq!(empty.metadata().unwrap().len(), 0);
        assert_eq!(read(&empty), b"");
        rustix::fs::lremovexattr(&file, "user.short").unwrap();
        assert_eq!(errno(value(&file, "user.short")), libc::ENODATA);
        let gone = rustix::fs::lremovexattr(&file, "user.short");
        assert_eq!(gone.unwrap_err(), rustix::io::Errno::NODATA);
    });
}

/// Law: the label of the lower file is not shown, and cannot be changed from inside.
#[test]
fn label_of_selinux_is_not_supported() {
    if !is_root() {
        return skip("labels are set by root");
    }
    MountedVolume::both(|volume| {
        let file = volume.path("f");
        write(&file, "content");
        let number = file.metadata().unwrap().ino();
        let below = fs::read_dir(volume.lower()).unwrap().map(|entry| entry.unwrap());
        let lower = below.map(|entry| entry.path()).find(|path| {
            let found = fs::symlink_metadata(path).unwrap();
            found.ino() == number
        });
        let lower = lower.unwrap();
        let label = "security.selinux";
        // A kernel with SELinux decides itself which labels there are.
        if set(&lower, label, b"system_u:object_r:usr_t:s0", XattrFlags::empty()).is_err() {
            return;
        }
        volume.remount();
        assert_eq!(errno(value(&file, label)), libc::EOPNOTSUPP);
        assert_eq!(errno(set(&file, label, b"x", XattrFlags::empty())), libc::EOPNOTSUPP);
        let removed = rustix::fs::lremovexattr(&file, label);
        assert_eq!(removed.unwrap_err(), rustix::io::Errno::OPNOTSUPP);
        let mut names = vec![0; 4096];
        let len = rustix::fs::llistxattr(&file, &mut names).unwrap();
        assert!(!String::from_utf8_lossy(&names[..len]).contains(label));
        assert_eq!(value(&lower, label).unwrap(), b"system_u:object_r:usr_t:s0");
    });
}

#[test]
fn create_and_replace_are_told_apart() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, "");
        assert_eq!(errno(set(&path, "user.a", b"1", XattrFlags::REPLACE)), libc::ENODATA);
        set(&path, "user.a", b"1", XattrFlags::CREATE).unwrap();
        assert_eq!(errno(set(&path, "user.a", b"2", XattrFlags::CREATE)), libc::EEXIST);
        set(&path, "user.a", b"2", XattrFlags::REPLACE).unwrap();
        assert_eq!(value(&path, "user.a").unwrap(), b"2");
        assert_eq!(len_of_value(&path, c"user.b"), -1);
        let mut buffer = vec![0; 4];
        set(&path, "user.b", b"12345", XattrFlags::empty()).unwrap();
        assert_eq!(len_of_value(&path, c"user.b"), 5);
        let got = rustix::fs::lgetxattr(&path, "user.b", &mut buffer);
        assert_eq!(got, Err(rustix::io::Errno::RANGE));
    });
}

#[test]
fn name_and_namespace_are_checked() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, "");
        let long = format!("user.{}", "n".repeat(251));
        assert_eq!(errno(set(&path, &long, b"", XattrFlags::empty())), libc::ERANGE);
        assert_eq!(errno(set(&path, "nospace.x", b"", XattrFlags::empty())), libc::EOPNOTSUPP);
        std::os::unix::fs::symlink("x", volume.path("l")).unwrap();
        assert_eq!(errno(set(&volume.path("l"), "user.x", b"", XattrFlags::empty())), libc::EPERM);
        assert_eq!(list(&volume.path("l")), BTreeSet::new());
    });
}

/// Law: attributes are no content: neither size nor mtime of an empty file changes with them.
#[test]
fn attributes_leave_times_and_size_alone_and_survive_truncation() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let file = fs::File::create(&path).unwrap();
        let then = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5);
        file.set_modified(then).unwrap();
        drop(file);
        set(&path, "user.a", b"1", XattrFlags::empty()).unwrap();
        volume.remount();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), then);
        assert_eq!(path.metadata().unwrap().len(), 0);
        write(&path, "content");
        assert_eq!(value(&path, "user.a").unwrap(), b"1");
        write(&path, "");
        assert_eq!(value(&path, "user.a").unwrap(), b"1");
        volume.remount();
        assert_eq!(value(&path, "user.a").unwrap(), b"1");
        assert_eq!(read(&path), b"");
        write(&path, "again");
        volume.remount();
        assert_eq!(value(&path, "user.a").unwrap(), b"1");
        assert_eq!(read(&path), b"again");
    });
}

/// Law: neither names nor values of user attributes can be read below.
#[test]
fn user_attributes_are_sealed_below() {
    MountedVolume::both(|volume| {
        write(&volume.path("f"), "");
        let path = volume.path("f");
        set(&path, "user.secret-name", b"secret-value", XattrFlags::empty()).unwrap();
        let below = fs::read_dir(volume.lower())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| !path.file_name().unwrap().to_str().unwrap().starts_with(".kmsfs"))
            .unwrap();
        let names = list(&below);
        assert_eq!(names.len(), 1);
        let name = names.first().unwrap();
        assert!(name.starts_with("user.kmsfs.") && !name.contains("secret"));
        let stored = value(&below, name).unwrap();
        assert!(!stored.windows(6).any(|part| part == b"secret"));
    });
}

#[test]
fn trusted_attributes_are_for_root_alone() {
    if !is_root() {
        return skip("not root");
    }
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, "");
        set(&path, "trusted.t", b"1", XattrFlags::empty()).unwrap();
        set(&path, "user.u", b"1", XattrFlags::empty()).unwrap();
        assert_eq!(list(&path), BTreeSet::from(["trusted.t", "user.u"].map(String::from)));
        as_user(USER, &[USER], 0, || {
            assert_eq!(errno(value(&path, "trusted.t")), libc::ENODATA);
            assert_eq!(errno(set(&path, "trusted.t", b"", XattrFlags::empty())), libc::EPERM);
            assert_eq!(list(&path), BTreeSet::from(["user.u"].map(String::from)));
        });
    });
}

/// The binary form of a POSIX ACL (linux/posix_acl_xattr.h): version 2, then tag, permissions, id.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

const OWNER: u16 = 1;
const NAMED_USER: u16 = 2;
const GROUP: u16 = 4;
const MASK: u16 = 16;
const OTHERS: u16 = 32;
const NOBODY: u32 = u32::MAX;
const ACCESS_ACL: &str = "system.posix_acl_access";
const DEFAULT_ACL: &str = "system.posix_acl_default";

#[test]
fn acl_lets_in_whom_it_names() {
    if !is_root() {
        return skip("not root");
    }
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, "for some");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        as_user(USER, &[USER], 0, || assert_eq!(errno(fs::read(&path)), libc::EACCES));
        let list = [
            (OWNER, 6, NOBODY),
            (NAMED_USER, 4, USER),
            (GROUP, 0, NOBODY),
            (MASK, 4, NOBODY),
            (OTHERS, 0, NOBODY),
        ];
        set(&path, ACCESS_ACL, &acl(&list), XattrFlags::empty()).unwrap();
        // The group bits of the mode are the mask now.
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o640);
        for _ in 0..2 {
            as_user(USER, &[USER], 0, || {
                assert_eq!(read(&path), b"for some");
                assert_eq!(errno(fs::write(&path, "x")), libc::EACCES);
            });
            as_user(OTHER_USER, &[OTHER_USER], 0, || {
                assert_eq!(errno(fs::read(&path)), libc::EACCES);
            });
            assert_eq!(value(&path, ACCESS_ACL).unwrap(), acl(&list));
            volume.remount();
        }
        // chmod takes the mask away from whom the list names.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        as_user(USER, &[USER], 0, || assert_eq!(errno(fs::read(&path)), libc::EACCES));
        rustix::fs::lremovexattr(&path, ACCESS_ACL).unwrap();
        assert_eq!(errno(value(&path, ACCESS_ACL)), libc::ENODATA);
    });
}

/// Law: whoever sets the ACL of a file of a group that is not its own gives sgid up.
#[test]
fn sgid_goes_with_an_acl_set_from_outside_the_group() {
    MountedVolume::both(|volume| {
        if !is_root() {
            return skip("not root");
        }
        let path = volume.path("f");
        write(&path, "");
        let dir = volume.path("d");
        fs::create_dir(&dir).unwrap();
        let value = acl(&[(1, 7, u32::MAX), (4, 5, u32::MAX), (0x20, 5, u32::MAX)]);
        let sets = |path: &Path, groups: &[u32]| {
            chown(path, Some(USER), Some(USER + 100)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o2755)).unwrap();
            as_user(USER, groups, 0, || {
                set(path, "system.posix_acl_access", &value, XattrFlags::empty()).unwrap();
            });
            path.metadata().unwrap().mode() & 0o7777
        };
        for path in [&path, &dir] {
            assert_eq!(sets(path, &[USER]), 0o755);
            assert_eq!(sets(path, &[USER, USER + 100]), 0o2755);
            assert_eq!(sets(path, &[USER + 100]), 0o2755);
        }
    });
}

/// Law: below a directory with a default ACL the umask does not count; elsewhere it does.
#[test]
fn default_acl_is_inherited_in_place_of_the_umask() {
    if !is_root() {
        return skip("not root");
    }
    MountedVolume::both(|volume| {
        let dir = volume.path("d");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let list = [
            (OWNER, 7, NOBODY),
            (NAMED_USER, 6, OTHER_USER),
            (GROUP, 5, NOBODY),
            (MASK, 7, NOBODY),
            (OTHERS, 1, NOBODY),
        ];
        set(&dir, DEFAULT_ACL, &acl(&list), XattrFlags::empty()).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
        for _ in 0..2 {
            as_user(USER, &[USER], 0o077, || {
                write(&dir.join("f"), "x");
                fs::create_dir(dir.join("sub")).unwrap();
                write(&dir.join("sub/g"), "y");
                fs::create_dir(dir.join("sub/deeper")).unwrap();
            });
            assert_eq!(mode(&dir.join("f")), 0o660);
            assert_eq!(mode(&dir.join("sub")), 0o771);
            assert_eq!(mode(&dir.join("sub/g")), 0o660);
            assert_eq!(mode(&dir.join("sub/deeper")), 0o771);
            assert_eq!(value(&dir.join("sub/deeper"), DEFAULT_ACL).unwrap(), acl(&list));
            as_user(OTHER_USER, &[OTHER_USER], 0, || {
                assert_eq!(read(&dir.join("f")), b"x");
                // Named without x, who may read a file may not enter a directory.
                assert_eq!(errno(fs::read(dir.join("sub/g"))), libc::EACCES);
            });
            fs::remove_dir_all(dir.join("sub")).unwrap();
            fs::remove_file(dir.join("f")).unwrap();
            volume.remount();
        }
        rustix::fs::lremovexattr(&dir, DEFAULT_ACL).unwrap();
        as_user(USER, &[USER], 0o077, || write(&dir.join("f"), "x"));
        assert_eq!(mode(&dir.join("f")), 0o600);
    });
}
