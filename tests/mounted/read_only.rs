//! Mounts that change nothing.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::mount::{How, MountedVolume};
use crate::{errno, pattern, read, write};

/// Law: a read-only mount serves everything and changes no byte below.
#[test]
fn everything_is_read_and_every_change_refused() {
    let Some(mut volume) = MountedVolume::new(How::default()) else { return };
    let (path, dir) = (volume.path("f"), volume.path("d"));
    write(&path, pattern(0, 30_000));
    fs::create_dir(&dir).unwrap();
    symlink("f", volume.path("l")).unwrap();
    volume.remount_with(How { read_only: true, ..How::default() });
    let before = snapshot(volume.lower());
    assert!(read(&volume.path("l")) == pattern(0, 30_000));
    assert_eq!(fs::read_dir(volume.root()).unwrap().count(), 3);
    let refusals = [
        fs::write(&path, "x"),
        fs::write(volume.path("new"), "x"),
        fs::create_dir(volume.path("new")),
        fs::remove_file(&path),
        fs::remove_dir(&dir),
        fs::rename(&path, dir.join("f")),
        fs::hard_link(&path, dir.join("f")),
        symlink("x", volume.path("new")),
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)),
        OpenOptions::new().append(true).open(&path).map(drop),
    ];
    for refusal in refusals {
        assert_eq!(errno(refusal), libc::EROFS);
    }
    let set = rustix::fs::setxattr(&path, "user.a", b"1", rustix::fs::XattrFlags::empty());
    assert_eq!(set, Err(rustix::io::Errno::ROFS));
    assert!(snapshot(volume.lower()) == before);
    volume.remount_with(How::default());
    write(&path, "writable again");
}

/// Every file below with its content.
fn snapshot(dir: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() {
                found.push((path.clone(), read(&path)));
            }
        }
    }
    found.sort();
    found
}
