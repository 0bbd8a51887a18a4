//! Creating on behalf of another user.
//!
//! A mount of root serves everybody, and what it creates must belong to who asked, from the first
//! moment: quotas, group inheritance and default ACLs of the lower filesystem then come out right.

use std::cell::Cell;

use rustix::fs::Mode;
use rustix::process::{geteuid, umask as set_umask};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::sys::{setfsgid, setfsuid, unshare_fs};
use super::types::{LowerError, call, refused};

/// Runs lower system calls as another user and group, and under a umask, on this thread only.
///
/// The kernel has checked the caller's permissions already, on plaintext names; so the thread keeps
/// the capabilities that let root into directories it does not own. It loses CAP_FSETID, so that a
/// set-group-ID bit is granted as for the caller, and CAP_CHOWN. When the process is not root, only
/// the umask changes. All is put back before this returns, also if `work` panics.
///
/// # Errors
/// What `work` answers; before it, what unshare, capget and capset answer, and EPERM if the kernel
/// does not let the thread act as this user (a user namespace that does not know it).
pub fn acting_as<T>(
    uid: u32,
    gid: u32,
    umask: u32,
    work: impl FnOnce() -> Result<T, LowerError>,
) -> Result<T, LowerError> {
    let resting = own_umask()?;
    let wanted = Mode::from_raw_mode(umask & 0o777);
    let _identity = match (uid, gid) {
        (0, 0) => None,
        _ if !geteuid().is_root() => None,
        _ => Some(Identity::assume(uid, gid)?),
    };
    let _umask = (wanted != resting).then(|| Umask(set_umask(wanted)));
    work()
}

/// Whether a process is in a group besides its own, as far as its status can be read.
///
/// FUSE tells a caller's user and group, and not the others that it is in.
pub fn is_in_group(pid: u32, gid: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
        return false;
    };
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    groups.is_some_and(|groups| groups.split_whitespace().any(|group| group.parse() == Ok(gid)))
}

/// Makes the umask the calling thread's own: it is shared by all threads of a process otherwise. Gives
/// the one that is in force between calls of [`acting_as`].
fn own_umask() -> Result<Mode, LowerError> {
    thread_local! {
        static RESTING: Cell<Option<Mode>> = const { Cell::new(None) };
    }
    if let Some(resting) = RESTING.get() {
        return Ok(resting);
    }
    call("unshare", unshare_fs)?;
    // Only setting it tells what it was.
    let resting = set_umask(Mode::RWXG | Mode::RWXO);
    set_umask(resting);
    RESTING.set(Some(resting));
    Ok(resting)
}

/// Puts the umask back.
struct Umask(Mode);

impl Drop for Umask {
    fn drop(&mut self) {
        set_umask(self.0);
    }
}

/// Puts user, group and capabilities back.
struct Identity {
    uid: u32,
    gid: u32,
    capabilities: CapabilitySets,
}

impl Identity {
    fn assume(uid: u32, gid: u32) -> Result<Self, LowerError> {
        let before = call("capget", || capabilities(None))?;
        // The group first: CAP_SETGID stays, but the order of giving rights up is group, user.
        let identity = Self { gid: setfsgid(gid), uid: setfsuid(uid), capabilities: before };
        // Neither call reports a refusal; asking for nobody tells what is in force.
        if setfsgid(u32::MAX) != gid || setfsuid(u32::MAX) != uid {
            return Err(refused("setfsuid", rustix::io::Errno::PERM));
        }
        let mut during = call("capget", || capabilities(None))?;
        during.effective |= KEPT & before.effective;
        during.effective -= GIVEN_UP;
        call("capset", || set_capabilities(None, during))?;
        Ok(identity)
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        setfsuid(self.uid);
        setfsgid(self.gid);
        // Cannot fail: what was effective is still permitted.
        let _ = set_capabilities(None, self.capabilities);
    }
}

/// What root needs to write its own volume, and to make the nodes that the kernel let the caller
/// make. Leaving uid 0 drops them (capabilities(7), "Effect of user ID changes").
const KEPT: CapabilitySet = CapabilitySet::DAC_OVERRIDE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD);

/// What decides by the caller alone.
const GIVEN_UP: CapabilitySet = CapabilitySet::FSETID.union(CapabilitySet::CHOWN);

#[cfg(test)]
mod tests {
    use super::super::test_dir::{TestDir, USER, as_ordinary_user, name};
    use super::*;

    fn is_root() -> bool {
        geteuid().is_root()
    }

    /// What the calling thread shows of itself: fsuid, fsgid, umask, effective capabilities.
    fn present() -> (u32, u32, u32, CapabilitySet) {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let umask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
        let umask = u32::from_str_radix(umask.trim(), 8).unwrap();
        let effective = capabilities(None).unwrap().effective;
        (setfsuid(u32::MAX), setfsgid(u32::MAX), umask, effective)
    }

    /// Each test in a thread of its own, as its umask becomes its own for good.
    fn in_thread(work: impl FnOnce() + Send) {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap());
    }

    #[test]
    fn what_is_created_belongs_to_the_caller() {
        let dir = TestDir::new();
        in_thread(|| {
            acting_as(USER, USER + 1, 0o027, || {
                dir.create_file(&name("f"), 0o666)?;
                dir.mkdir(&name("d"), 0o777)?;
                dir.open_dir(&name("d"))?.create_file(&name("inner"), 0o666)?;
                dir.symlink(b"x", &name("l"))
            })
            .unwrap();
            let stat = |text: &str| dir.stat(&name(text)).unwrap();
            assert_eq!((stat("f").mode, stat("d").mode), (0o640, 0o750));
            if is_root() {
                for text in ["f", "d", "l"] {
                    assert_eq!((stat(text).uid, stat(text).gid), (USER, USER + 1));
                }
            }
        });
    }

    #[test]
    fn root_keeps_its_way_into_directories_it_does_not_own() {
        if !is_root() {
            return;
        }
        let dir = TestDir::new();
        in_thread(|| {
            dir.mkdir(&name("d"), 0o700).unwrap();
            dir.chown(&name("d"), Some(USER + 7), Some(USER + 7)).unwrap();
            let sub = dir.open_dir(&name("d")).unwrap();
            acting_as(USER, USER, 0, || {
                sub.create_file(&name("f"), 0o600)?;
                sub.mknod(&name("null"), libc::S_IFCHR | 0o600, rustix::fs::makedev(1, 3))?;
                dir.chmod(&name("d"), 0o711)
            })
            .unwrap();
            assert_eq!(sub.stat(&name("f")).unwrap().uid, USER);
        });
    }

    #[test]
    fn group_bit_is_not_granted_beyond_the_callers_groups() {
        if !is_root() {
            return;
        }
        let dir = TestDir::new();
        in_thread(|| {
            dir.chown(&name_of_sub(&dir), None, Some(USER + 9)).unwrap();
            dir.chmod(&name_of_sub(&dir), 0o2777).unwrap();
            let sub = dir.open_dir(&name_of_sub(&dir)).unwrap();
            acting_as(USER, USER, 0, || sub.create_file(&name("f"), 0o2775).map(drop)).unwrap();
            let stat = sub.stat(&name("f")).unwrap();
            assert_eq!((stat.gid, stat.mode), (USER + 9, 0o775));
        });
    }

    fn name_of_sub(dir: &TestDir) -> crate::name::LowerName {
        if dir.stat(&name("sub")).is_err() {
            dir.mkdir(&name("sub"), 0o777).unwrap();
        }
        name("sub")
    }

    #[test]
    fn everything_is_put_back_after_success_error_and_panic() {
        in_thread(|| {
            own_umask().unwrap();
            let before = present();
            acting_as(USER, USER, 0o077, || Ok(())).unwrap();
            assert_eq!(present(), before);
            let refusal = LowerError { op: "test", errno: 5 };
            assert_eq!(acting_as::<()>(USER, USER, 0o077, || Err(refusal)), Err(refusal));
            assert_eq!(present(), before);
            let panicked = std::panic::catch_unwind(|| {
                acting_as::<()>(USER, USER, 0o077, || panic!("in work"))
            });
            assert!(panicked.is_err());
            assert_eq!(present(), before);
        });
    }

    #[test]
    fn other_threads_keep_their_umask_and_user() {
        let before = present();
        in_thread(|| {
            let (changed, wait_changed) = std::sync::mpsc::channel();
            let (looked, wait_looked) = std::sync::mpsc::channel();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    acting_as(USER, USER, 0o777, || {
                        changed.send(()).unwrap();
                        wait_looked.recv().unwrap();
                        Ok(())
                    })
                });
                wait_changed.recv().unwrap();
                let meanwhile = present();
                looked.send(()).unwrap();
                assert_eq!(meanwhile, before);
            });
        });
    }

    #[test]
    fn ordinary_user_changes_its_umask_only() {
        let dir = TestDir::new();
        as_ordinary_user(&dir, || {
            let (me, _, _, _) = present();
            acting_as(USER + 5, USER + 5, 0o007, || dir.mkdir(&name("d"), 0o777)).unwrap();
            let stat = dir.stat(&name("d")).unwrap();
            assert_eq!((stat.uid, stat.mode), (me, 0o770));
        });
    }

    #[test]
    fn caller_without_a_number_is_refused() {
        if !is_root() {
            return;
        }
        in_thread(|| {
            let before = present();
            assert_eq!(acting_as(u32::MAX, 1, 0, || Ok(())).unwrap_err().errno, libc::EPERM);
            assert_eq!(present(), before);
        });
    }
}
