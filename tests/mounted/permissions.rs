//! Several users on one mount: whose are new files, who may do what, who keeps suid and sgid.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use crate::mount::{MountedVolume, skip};
use crate::user::{OTHER_USER, USER, as_user, is_root};
use crate::{errno, pattern, read, write};

/// A group that USER is in besides its own.
const SHARED_GROUP: u32 = 64_000;

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// A volume whose root everybody may write to; the test runs twice, as root.
fn shared(test: impl Fn(&mut MountedVolume)) {
    if !is_root() {
        return skip("not root");
    }
    MountedVolume::both(|volume| {
        chmod(volume.root(), 0o1777).unwrap();
        test(volume);
    });
}

/// Law: what a user makes is the user's, with the user's umask, from the first moment.
#[test]
fn new_entries_belong_to_the_caller() {
    shared(|volume| {
        let root = volume.root().to_path_buf();
        as_user(USER, &[USER], 0o027, || {
            write(&root.join("f"), "x");
            fs::create_dir(root.join("d")).unwrap();
            write(&root.join("d/inner"), "x");
            std::os::unix::fs::symlink("x", root.join("l")).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                root.join("p"),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o666),
                0,
            )
            .unwrap();
        });
        for _ in 0..2 {
            for name in ["f", "d", "d/inner", "l", "p"] {
                let seen = volume.path(name).symlink_metadata().unwrap();
                assert_eq!((seen.uid(), seen.gid()), (USER, USER), "{name}");
            }
            assert_eq!(mode(&volume.path("f")), 0o640);
            assert_eq!(mode(&volume.path("d")), 0o750);
            assert_eq!(mode(&volume.path("p")), 0o640);
            volume.remount();
        }
    });
}

#[test]
fn modes_decide_who_reads_writes_and_enters() {
    shared(|volume| {
        let root = volume.root().to_path_buf();
        as_user(USER, &[USER], 0o077, || {
            fs::create_dir(root.join("private")).unwrap();
            write(&root.join("private/f"), "x");
            write(&root.join("f"), "x");
            chmod(&root.join("f"), 0o644).unwrap();
        });
        as_user(OTHER_USER, &[OTHER_USER], 0, || {
            assert_eq!(errno(fs::read(root.join("private/f"))), libc::EACCES);
            assert_eq!(errno(fs::read_dir(root.join("private"))), libc::EACCES);
            assert_eq!(read(&root.join("f")), b"x");
            assert_eq!(errno(fs::write(root.join("f"), "y")), libc::EACCES);
            assert_eq!(errno(chmod(&root.join("f"), 0o666)), libc::EPERM);
            assert_eq!(errno(chown(root.join("f"), Some(OTHER_USER), None)), libc::EPERM);
            // The root is sticky.
            assert_eq!(errno(fs::remove_file(root.join("f"))), libc::EPERM);
            assert_eq!(errno(fs::rename(root.join("f"), root.join("g"))), libc::EPERM);
        });
        as_user(USER, &[USER], 0, || {
            assert_eq!(errno(chown(root.join("f"), Some(OTHER_USER), None)), libc::EPERM);
            fs::rename(root.join("f"), root.join("g")).unwrap();
            fs::remove_file(root.join("g")).unwrap();
        });
    });
}

#[test]
fn owner_writes_through_a_file_made_read_only() {
    shared(|volume| {
        let path = volume.path("f");
        as_user(USER, &[USER], 0, || {
            let file =
                OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path).unwrap();
            file.write_all_at(&pattern(0, 10_000), 0).unwrap();
            chmod(&path, 0o000).unwrap();
            file.write_all_at(b"x", 5000).unwrap();
            assert_eq!(errno(File::open(&path)), libc::EACCES);
            chmod(&path, 0o400).unwrap();
            assert_eq!(read(&path)[5000], b'x');
        });
    });
}

/// Law: a setgid directory gives its group, and to directories its bit.
#[test]
fn setgid_directory_hands_its_group_down() {
    shared(|volume| {
        let dir = volume.path("d");
        fs::create_dir(&dir).unwrap();
        chown(&dir, None, Some(SHARED_GROUP)).unwrap();
        chmod(&dir, 0o2777).unwrap();
        as_user(USER, &[USER, SHARED_GROUP], 0o022, || {
            write(&dir.join("f"), "x");
            fs::create_dir(dir.join("sub")).unwrap();
            let how = OpenOptions::new().write(true).create_new(true).mode(0o2755).clone();
            how.open(dir.join("member")).unwrap();
        });
        as_user(OTHER_USER, &[OTHER_USER], 0o022, || {
            let how = OpenOptions::new().write(true).create_new(true).mode(0o2755).clone();
            how.open(dir.join("stranger")).unwrap();
        });
        for name in ["f", "sub", "member", "stranger"] {
            assert_eq!(dir.join(name).metadata().unwrap().gid(), SHARED_GROUP, "{name}");
        }
        assert_eq!(mode(&dir.join("sub")), 0o2755);
        assert_eq!(mode(&dir.join("f")), 0o644);
        // Who is not in the group does not get to run as it.
        assert_eq!(mode(&dir.join("stranger")), 0o755);
        assert_eq!(mode(&dir.join("member")), 0o2755);
    });
}

/// What a stranger may do to a file that everybody may write.
#[expect(clippy::type_complexity, reason = "a table in a test")]
const CHANGES: [(&str, fn(&Path)); 6] = [
    ("write", |path| {
        OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"x", 0).unwrap();
    }),
    ("truncate", |path| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(2).unwrap();
    }),
    ("grow", |path| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(10_000).unwrap();
    }),
    ("O_TRUNC", |path| {
        OpenOptions::new().write(true).truncate(true).open(path).unwrap();
    }),
    ("fallocate", |path| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 20_000).unwrap();
    }),
    ("copy_file_range", |path| {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let (mut from, mut to) = (0, 100);
        let copied = rustix::fs::copy_file_range(&file, Some(&mut from), &file, Some(&mut to), 3);
        assert_eq!(copied, Ok(3));
    }),
];

/// The mode, as who asks for nothing else sees it.
fn bare_mode(path: &Path) -> u32 {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    u32::from(statx(CWD, path, AtFlags::empty(), StatxFlags::MODE).unwrap().stx_mode) & 0o7777
}

/// Law: a change of content by somebody without CAP_FSETID takes suid and sgid away.
#[test]
fn suid_and_sgid_go_when_a_stranger_changes_the_content() {
    shared(|volume| {
        for (what, change) in CHANGES {
            let path = volume.path("f");
            write(&path, "content");
            chmod(&path, 0o6777).unwrap();
            as_user(OTHER_USER, &[OTHER_USER], 0, || change(&path));
            assert_eq!(bare_mode(&path), 0o777, "{what}");
            assert_eq!(mode(&path), 0o777, "{what}");
            // sgid without group execute once meant mandatory locking: it stays for members.
            chown(&path, None, Some(SHARED_GROUP)).unwrap();
            for (groups, left) in [([SHARED_GROUP], 0o2767), ([OTHER_USER], 0o767)] {
                chmod(&path, 0o2767).unwrap();
                as_user(OTHER_USER, &groups, 0, || change(&path));
                assert_eq!(bare_mode(&path), left, "{what}");
            }
            // Root keeps what it has set.
            chmod(&path, 0o6777).unwrap();
            change(&path);
            assert_eq!(mode(&path), 0o6777, "{what}");
            fs::remove_file(&path).unwrap();
        }
    });
}

#[test]
fn suid_and_sgid_go_with_a_new_owner() {
    shared(|volume| {
        let path = volume.path("f");
        as_user(USER, &[USER, SHARED_GROUP], 0, || {
            write(&path, "content");
            chmod(&path, 0o6755).unwrap();
            chown(&path, None, Some(SHARED_GROUP)).unwrap();
        });
        assert_eq!(mode(&path), 0o755);
        chmod(&path, 0o6755).unwrap();
        chown(&path, Some(OTHER_USER), None).unwrap();
        assert_eq!(mode(&path), 0o755);
        // A directory keeps its sgid.
        let dir = volume.path("d");
        fs::create_dir(&dir).unwrap();
        chmod(&dir, 0o2755).unwrap();
        chown(&dir, Some(USER), Some(USER)).unwrap();
        assert_eq!(mode(&dir), 0o2755);
    });
}

#[test]
fn group_bit_is_refused_to_who_is_not_in_the_group() {
    shared(|volume| {
        let path = volume.path("f");
        write(&path, "");
        chown(&path, Some(USER), Some(SHARED_GROUP)).unwrap();
        as_user(USER, &[USER], 0, || chmod(&path, 0o2755).unwrap());
        assert_eq!(mode(&path), 0o755);
        as_user(USER, &[USER, SHARED_GROUP], 0, || chmod(&path, 0o2755).unwrap());
        assert_eq!(mode(&path), 0o2755);
    });
}

const CAPABILITY: &str = "security.capability";

/// VFS_CAP_REVISION_2 with CAP_NET_RAW permitted (linux/capability.h).
fn capability() -> Vec<u8> {
    let mut capability = 0x0200_0000_u32.to_le_bytes().to_vec();
    capability.extend((1_u32 << 13).to_le_bytes());
    capability.extend([0; 12]);
    capability
}

/// Law: any change of content takes file capabilities away, whoever makes it, and so does an owner.
#[test]
fn capabilities_go_when_the_content_changes() {
    let capability = capability();
    shared(|volume| {
        let path = volume.path("f");
        let is_gone = |what: &str, change: &dyn Fn()| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&path, CAPABILITY, &capability, flags).unwrap();
            let mut out = [0; 64];
            assert_eq!(rustix::fs::getxattr(&path, CAPABILITY, &mut out), Ok(20));
            change();
            let left = rustix::fs::getxattr(&path, CAPABILITY, &mut out);
            assert_eq!(left, Err(rustix::io::Errno::NODATA), "{what}");
        };
        write(&path, "content");
        chmod(&path, 0o777).unwrap();
        for (what, change) in CHANGES {
            is_gone(what, &|| {
                as_user(OTHER_USER, &[OTHER_USER], 0, || change(&path));
            });
            is_gone(what, &|| change(&path));
        }
        is_gone("chown", &|| chown(&path, Some(USER), Some(USER)).unwrap());
    });
}

/// Law: what nobody changed keeps its capabilities: they outlive the writing back of what was written
/// before they were given, another name, and another key.
#[test]
fn capabilities_stay_while_nobody_changes_the_content() {
    let capability = capability();
    shared(|volume| {
        let path = volume.path("f");
        let mut file = File::create(&path).unwrap();
        std::io::Write::write_all(&mut file, &pattern(0, 10_000)).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&path, CAPABILITY, &capability, flags).unwrap();
        let check = |path: &Path, what: &str| {
            let mut out = [0; 64];
            assert_eq!(rustix::fs::getxattr(path, CAPABILITY, &mut out), Ok(20), "{what}");
            assert_eq!(out[..20], capability, "{what}");
        };
        drop(file);
        check(&path, "closed");
        volume.remount();
        check(&path, "mounted again");
        let renamed = volume.path("n".repeat(250));
        fs::rename(&path, &renamed).unwrap();
        check(&renamed, "renamed");
        let arn = volume.kms.arn_of(crate::mount::ALIAS);
        volume.kms.rotate(&arn);
        crate::rotation_live::rewrap(volume);
        check(&renamed, "rewrapped");
        volume.remount();
        check(&renamed, "rewrapped and mounted again");
        assert!(read(&renamed) == pattern(0, 10_000));
    });
}

#[test]
fn suid_programs_run_only_where_the_mount_lets_them() {
    shared(|volume| {
        let path = volume.path("id");
        fs::copy("/usr/bin/id", &path).unwrap();
        chown(&path, Some(USER), Some(USER)).unwrap();
        chmod(&path, 0o4755).unwrap();
        let effective = || {
            let ran = std::process::Command::new(&path).arg("-u").output().unwrap();
            String::from_utf8(ran.stdout).unwrap().trim().parse::<u32>().unwrap()
        };
        assert_eq!(effective(), USER);
        volume.remount_with(crate::mount::How { privileged: false, ..volume.how });
        assert_eq!(effective(), 0);
    });
}
