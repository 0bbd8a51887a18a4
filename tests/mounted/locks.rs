//! Advisory locks: the kernel's own, between everybody on this machine.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::mount::MountedVolume;
use crate::write;

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

#[test]
fn flock_keeps_a_second_owner_out() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, "x");
        let (a, b) = (open(&path), open(&path));
        flock(&a, FlockOperation::LockExclusive).unwrap();
        let refused = flock(&b, FlockOperation::NonBlockingLockShared);
        assert_eq!(refused, Err(rustix::io::Errno::WOULDBLOCK));
        drop(a);
        flock(&b, FlockOperation::NonBlockingLockExclusive).unwrap();
        let dir = File::open(volume.root()).unwrap();
        flock(&dir, FlockOperation::NonBlockingLockExclusive).unwrap();
    });
}

/// Open file description locks, which threads of one process can hold against each other.
fn lock_range(file: &File, kind: i32, at: i64, len: i64) -> std::io::Result<()> {
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as i16;
    lock.l_whence = libc::SEEK_SET as i16;
    lock.l_start = at;
    lock.l_len = len;
    // SAFETY: the lock is a whole `struct flock` that lives through the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[test]
fn fcntl_locks_keep_ranges_apart() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, "0123456789");
        let (a, b) = (open(&path), open(&path));
        lock_range(&a, libc::F_WRLCK, 0, 5).unwrap();
        lock_range(&b, libc::F_WRLCK, 5, 5).unwrap();
        let refused = lock_range(&b, libc::F_RDLCK, 4, 2).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EAGAIN));
        lock_range(&a, libc::F_UNLCK, 0, 5).unwrap();
        lock_range(&b, libc::F_RDLCK, 0, 5).unwrap();
        lock_range(&a, libc::F_RDLCK, 0, 5).unwrap();
        drop(b);
        lock_range(&a, libc::F_WRLCK, 0, 0).unwrap();
    });
}
