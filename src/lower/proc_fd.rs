//! Inodes by descriptor, through `/proc/self/fd`: what O_PATH descriptors need where no system call
//! takes them directly.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, chmodat, openat};
use rustix::io::{Errno, retry_on_intr};

use super::attributes::stat_at;
use super::sys::fchmodat2;

/// The name of a descriptor's inode in `/proc`. Following this link leads to the inode itself, with
/// or without a name, and no further if that is a symbolic link.
pub(super) fn proc_path(fd: &impl AsFd) -> OsString {
    OsString::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// The name of an entry of a directory given by descriptor, for calls that take paths only.
pub(super) fn proc_path_of_entry(dir: &impl AsFd, name: &OsStr) -> OsString {
    let mut path = proc_path(dir);
    path.push("/");
    path.push(name);
    path
}

/// Opens the inode behind any descriptor, O_PATH too.
pub(super) fn open_inode(fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = proc_path(&fd);
    retry_on_intr(|| openat(CWD, &path, flags | OFlags::CLOEXEC, Mode::empty()))
}

/// Opens the inode behind any descriptor although its mode does not let its own owner.
///
/// An ordinary user may mount, and a file of mode 0400 or 0200 must still be readable and writable
/// for us: a block is written by reading it first. So the mode gets `needed` for a moment. A crash
/// in between leaves the owner with more permission than before, nobody else.
pub(super) fn open_inode_as_owner(
    fd: BorrowedFd<'_>,
    flags: OFlags,
    needed: u32,
) -> Result<OwnedFd, Errno> {
    // Two threads must not take each other's moment for the mode to go back to. Innermost: nothing
    // but system calls is done under it.
    static MOMENT: Mutex<()> = Mutex::new(());

    match open_inode(fd, flags) {
        Err(Errno::ACCESS) => {}
        answer => return answer,
    }
    let _alone = MOMENT.lock().unwrap_or_else(PoisonError::into_inner);
    let stat = stat_at(fd, "", AtFlags::EMPTY_PATH).map_err(errno_of)?;
    let me = rustix::process::geteuid();
    if me.is_root() || stat.uid != me.as_raw() || stat.mode & needed == needed {
        return Err(Errno::ACCESS);
    }
    chmod_inode(fd, stat.mode | needed)?;
    let opened = open_inode(fd, flags);
    chmod_inode(fd, stat.mode)?;
    opened
}

/// Changes the mode of the inode behind any descriptor, O_PATH too.
pub(super) fn chmod_inode(fd: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    match fchmodat2(fd, c"", mode, libc::AT_EMPTY_PATH) {
        // Older kernels do not know the call, older sandboxes forbid what they do not know.
        Err(Errno::NOSYS | Errno::PERM) => {
            chmodat(CWD, proc_path(&fd), Mode::from_raw_mode(mode), AtFlags::empty())
        }
        answer => answer,
    }
}

fn errno_of(error: super::LowerError) -> Errno {
    Errno::from_raw_os_error(error.errno)
}
