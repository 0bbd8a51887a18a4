//! Capabilities, and privileges that a program to be run would bring: capabilities(7), prctl(2).

use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

use crate::fence::FenceError;

/// Which capabilities a process keeps, of those that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A mount of root: it makes, owns and reads files on behalf of everybody.
    Mount,
    /// A service with files of its own, and a port.
    Service,
}

impl Kept {
    fn set(self) -> CapabilitySet {
        match self {
            // `trusted.*` attributes take SYS_ADMIN, `security.capability` takes SETFCAP. What else
            // SYS_ADMIN is good for, the fence refuses.
            Self::Mount => {
                CapabilitySet::CHOWN
                    | CapabilitySet::DAC_OVERRIDE
                    | CapabilitySet::DAC_READ_SEARCH
                    | CapabilitySet::FOWNER
                    | CapabilitySet::FSETID
                    | CapabilitySet::MKNOD
                    | CapabilitySet::SETFCAP
                    | CapabilitySet::SETGID
                    | CapabilitySet::SETUID
                    | CapabilitySet::SYS_ADMIN
            }
            Self::Service => CapabilitySet::DAC_OVERRIDE | CapabilitySet::NET_BIND_SERVICE,
        }
    }

    /// Drops all others of this thread; how many are left.
    pub(super) fn drop_others(self) -> Result<u32, FenceError> {
        let failed = |error: rustix::io::Errno| FenceError::new("capabilities", error);
        let now = capabilities(None).map_err(failed)?;
        let kept = self.set();
        let left = CapabilitySets {
            effective: now.effective & kept,
            permitted: now.permitted & kept,
            inheritable: CapabilitySet::empty(),
        };
        if geteuid().is_root() || !now.permitted.is_empty() {
            set_capabilities(None, left).map_err(failed)?;
        }
        Ok(left.permitted.bits().count_ones())
    }
}

/// No program that is run from here gets more rights than this process has.
pub(super) fn no_new_privileges() -> Result<(), FenceError> {
    set_no_new_privs(true).map_err(|error| FenceError::new("no_new_privs", error))
}
