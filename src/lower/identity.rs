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
    own_umask()?;
    let _identity = match (uid, gid) {
        (0, 0) => None,
        _ if !geteuid().is_root() => None,
        _ => Some(Identity::assume(uid, gid)?),
    };
    let _umask = Umask(set_umask(Mode::from_raw_mode(umask & 0o777)));
    work()
}

/// Makes the umask the calling thread's own: it is shared by all threads of a process otherwise.
fn own_umask() -> Result<(), LowerError> {
    thread_local! {
        static OWN: Cell<bool> = const { Cell::new(false) };
    }
    if !OWN.get() {
        call("unshare", unshare_fs)?;
        OWN.set(true);
    }
    Ok(())
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
