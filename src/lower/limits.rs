//! Limits of the process: how many descriptors, and no core dumps.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use super::types::{LowerError, call};

/// Raises the number of descriptors that the process may have to its hard limit; the limit then.
///
/// `u64::MAX` stands for no limit. A refusal leaves the limit as it was, and that is the answer.
pub fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.unwrap_or(u64::MAX)
}

/// Keeps data keys out of core dumps, and other processes of the user out of our memory.
///
/// # Errors
/// What prctl and setrlimit answer.
pub fn no_core_dumps() -> Result<(), LowerError> {
    call("prctl", || set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    call("setrlimit", || setrlimit(Resource::Core, none))
}

/// Keeps all memory of the process, what it will get included, out of swap. Tells whether that is so:
/// it takes root, or a limit on locked memory that is none.
///
/// Pages are locked when they are first used, so nothing is held that would not be held anyway.
pub fn lock_memory() -> bool {
    let free = Rlimit { current: None, maximum: None };
    if setrlimit(Resource::Memlock, free).is_err() {
        // A limit would make later allocations fail.
        return false;
    }
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_limit_is_the_hard_one_afterwards() {
        let limit = raise_descriptor_limit();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(now.current.unwrap_or(u64::MAX), limit);
    }

    #[test]
    fn core_dumps_are_off_and_descriptors_still_reachable() {
        no_core_dumps().unwrap();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        // What proc_fd builds on: a process that is not dumpable still sees its own descriptors.
        let file = tempfile::tempfile().unwrap();
        let path = super::super::proc_fd::proc_path(&file);
        assert!(std::fs::File::open(path).is_ok());
    }
}
