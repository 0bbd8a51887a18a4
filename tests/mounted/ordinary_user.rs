//! A mount of an ordinary user, through fusermount3.
//!
//! The tests run as root where they can; so this one starts itself anew as nobody, in a mount
//! namespace of its own in which everybody may open `/dev/fuse`, as on any desktop.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use crate::mount::{How, MountedVolume, can_mount, skip};
use crate::user::is_root;
use crate::{errno, pattern, read, write};

/// nobody.
const NOBODY: u32 = 65_534;

/// Set in the process that is nobody.
const ANEW: &str = "KMSFS_TEST_ORDINARY_USER";

const NAME: &str = "ordinary_user::volume_of_an_ordinary_user";

#[test]
fn volume_of_an_ordinary_user() {
    if !is_root() {
        return both(everything);
    }
    assert!(std::env::var_os(ANEW).is_none(), "still root");
    if !can_mount() {
        return;
    }
    let Some(helper) = find("fusermount3") else { return skip("no fusermount3") };
    if helper.metadata().unwrap().mode() & 0o4000 == 0 {
        return skip("fusermount3 is not set-uid root");
    }
    for tool in ["unshare", "setpriv"] {
        if find(tool).is_none() {
            return skip(&format!("no {tool}"));
        }
    }
    let place = tempfile::tempdir().unwrap();
    chown(place.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    // Where the test program lies, nobody may not be let in.
    let program = place.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let device = place.path().join("fuse");
    let script = format!(
        "mknod -m 666 {device} c 10 229 && mount --bind {device} /dev/fuse &&
         exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups \
           env TMPDIR={place} HOME={place} {ANEW}=1 {program} --exact --nocapture {NAME}",
        device = device.display(),
        place = place.path().display(),
        program = program.display(),
    );
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    if said.contains("mknod:") || said.contains("unshare:") || said.contains("mount:") {
        return skip(&format!("no private /dev/fuse: {said}"));
    }
    assert!(ran.status.success(), "{}{said}", String::from_utf8_lossy(&ran.stdout));
}

fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}

fn both(test: impl Fn(&mut MountedVolume)) {
    for writeback in [false, true] {
        let how = How { writeback, ..How::default() };
        let Some(mut volume) = MountedVolume::new(how) else { return };
        test(&mut volume);
    }
}

fn everything(volume: &mut MountedVolume) {
    let me = rustix::process::geteuid().as_raw();
    let path = volume.path("f");
    write(&path, pattern(0, 20_000));
    assert_eq!(path.metadata().unwrap().uid(), me);
    modes_that_close_to_the_owner(volume);
    fs::create_dir_all(volume.path(format!("d/{}", "n".repeat(255)))).unwrap();
    symlink("t".repeat(3900), volume.path("l")).unwrap();
    fs::hard_link(&path, volume.path("d/linked")).unwrap();
    fs::rename(volume.path("d"), volume.path("moved")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&path, "user.a", b"1", flags).unwrap();
    assert_eq!(errno(chown(&path, Some(me + 1), None)), libc::EPERM);
    suid_goes_with_the_content(volume);
    unlinked_file_is_linked_nowhere_and_still_works(&volume.path("unlinked"));
    volume.remount();
    assert!(read(&volume.path("moved/linked")) == pattern(0, 20_000));
    assert_eq!(fs::read_link(volume.path("l")).unwrap().as_os_str().len(), 3900);
    modes_that_close_to_the_owner(volume);
}

/// Law: what an owner without rights may do to an open file, we may do below.
fn modes_that_close_to_the_owner(volume: &MountedVolume) {
    for mode in [0o000, 0o200, 0o400] {
        let path = volume.path(format!("mode{mode:o}"));
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).unwrap();
        file.write_all_at(&pattern(0, 9000), 0).unwrap();
        file.write_all_at(b"x", 5000).unwrap();
        file.sync_all().unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, mode);
        assert_eq!(File::open(&path).is_ok(), mode == 0o400);
    }
    let dir = volume.path("closed");
    let _ = fs::remove_dir(&dir);
    rustix::fs::mkdirat(rustix::fs::CWD, &dir, rustix::fs::Mode::from_raw_mode(0o300)).unwrap();
    write(&dir.join("f"), "x");
    assert_eq!(errno(fs::read_dir(&dir)), libc::EACCES);
    fs::remove_file(dir.join("f")).unwrap();
}

fn suid_goes_with_the_content(volume: &MountedVolume) {
    let path = volume.path("suid");
    let _ = fs::remove_file(&path);
    write(&path, "x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
    write(&path, "longer");
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o755);
}

fn unlinked_file_is_linked_nowhere_and_still_works(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
    fs::remove_file(path).unwrap();
    file.write_all_at(&pattern(0, 9000), 0).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o400)).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let mut out = vec![0; 9000];
    file.read_exact_at(&mut out, 0).unwrap();
    assert!(out == pattern(0, 9000));
}
