//! Raw system calls that the safe crates lack: all the `unsafe` of the crate.
//!
//! Linux with 64-bit registers; each function is one system call and no more.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::thread::UnshareFlags;

/// Changes the mode of a name without following it, or with `AT_EMPTY_PATH` of the inode behind a
/// descriptor, O_PATH too. Linux 6.6; ENOSYS before.
pub(super) fn fchmodat2(
    dir: BorrowedFd<'_>,
    name: &CStr,
    mode: u32,
    flags: libc::c_int,
) -> Result<(), Errno> {
    // SAFETY: `name` is borrowed over the call and ends in NUL; the kernel only reads it. The other
    // arguments are plain numbers, `dir` an open descriptor.
    let answer =
        unsafe { libc::syscall(libc::SYS_fchmodat2, dir.as_raw_fd(), name.as_ptr(), mode, flags) };
    if answer == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Reads directory entries (`struct linux_dirent64`) into `out`; how many bytes of it.
pub(super) fn getdents64(dir: BorrowedFd<'_>, out: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: `out` is borrowed exclusively over the call, and the kernel writes at most `out.len()`
    // bytes into it.
    let answer = unsafe {
        libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), out.as_mut_ptr(), out.len())
    };
    usize::try_from(answer).map_err(|_| last_errno())
}

/// Sets the user for filesystem checks of the calling thread; the one before. With `u32::MAX`, which
/// is nobody, it changes nothing and tells the present one.
pub(super) fn setfsuid(uid: u32) -> u32 {
    // SAFETY: no memory is passed. The raw call changes the calling thread only.
    let answer = unsafe { libc::syscall(libc::SYS_setfsuid, uid) };
    u32::try_from(answer & 0xffff_ffff).unwrap_or(u32::MAX)
}

/// Sets the group for filesystem checks of the calling thread; as [`setfsuid`].
pub(super) fn setfsgid(gid: u32) -> u32 {
    // SAFETY: no memory is passed. The raw call changes the calling thread only.
    let answer = unsafe { libc::syscall(libc::SYS_setfsgid, gid) };
    u32::try_from(answer & 0xffff_ffff).unwrap_or(u32::MAX)
}

/// Gives the calling thread a umask, a working directory and a root of its own.
pub(super) fn unshare_fs() -> Result<(), Errno> {
    // SAFETY: the danger of unshare is CLONE_FILES, by which descriptors change their meaning
    // between threads; CLONE_FS leaves them shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
