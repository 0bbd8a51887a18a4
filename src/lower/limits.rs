//! Limits of the process: how many descriptors, and no core dumps.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use super::types::{LowerError, call};

/// Descriptors that a process that mounts has room for from the beginning: 128 KiB of the kernel's memory.
const DESCRIPTORS_RESERVED: u64 = 16 * 1024;

/// Raises the number of descriptors that the process may have to its hard limit; the limit then.
///
/// `u64::MAX` stands for no limit. A refusal leaves the limit as it was, and that is the answer.
pub fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.unwrap_or(u64::MAX)
}

/// Makes room in the process' table of descriptors, as far as its limit allows. To be called before the process
/// has threads.
///
/// The kernel doubles the table when it is full, and where there are threads it waits for all processors to
/// forget the old one (`expand_fdtable` in fs/file.c): 10 ms and more during which nothing can be opened.
///
/// # Errors
/// What open and fcntl answer; nothing depends on it.
pub fn reserve_descriptors() -> Result<(), LowerError> {
    let wanted = DESCRIPTORS_RESERVED.min(raise_descriptor_limit()).saturating_sub(1);
    let last = i32::try_from(wanted).unwrap_or(i32::MAX);
    let any = call("open", || openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))?;
    call("fcntl", || fcntl_dupfd_cloexec(&any, last)).map(drop)
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
    fn table_of_descriptors_has_room() {
        reserve_descriptors().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let room = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        let room: u64 = room.trim().parse().unwrap();
        assert!(room >= DESCRIPTORS_RESERVED.min(raise_descriptor_limit()), "{room}");
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
