//! Acting as somebody else, on one thread.

#![allow(dead_code)]

use std::io;

/// An ordinary user, and its group.
pub const USER: u32 = 65_533;

/// Another one.
pub const OTHER_USER: u32 = 65_532;

/// Whether the tests may act as somebody else.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs `work` as another user with these groups (the first is its own) and umask, on a thread of
/// its own. The kernel knows users by thread; only the C library changes all threads together.
pub fn as_user<T: Send>(
    uid: u32,
    groups: &[u32],
    umask: u32,
    work: impl FnOnce() -> T + Send,
) -> T {
    std::thread::scope(|scope| {
        let acting = scope.spawn(|| {
            become_user(uid, groups, umask).unwrap();
            work()
        });
        match acting.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn become_user(uid: u32, groups: &[u32], umask: u32) -> io::Result<()> {
    let own = groups[0];
    // SAFETY: each call changes this thread only, which ends with the work; the pointer is to
    // `groups`, whose length goes with it.
    unsafe {
        called(i64::from(libc::unshare(libc::CLONE_FS)))?;
        libc::umask(umask);
        called(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        called(libc::syscall(libc::SYS_setresgid, own, own, own))?;
        called(libc::syscall(libc::SYS_setresuid, uid, uid, uid))
    }
}

fn called(answer: i64) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
