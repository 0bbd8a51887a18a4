//! System calls that a fenced process never makes: seccomp(2).
//!
//! A list of what is refused, not of what is allowed: a C library that learns a new way to do an old
//! thing must not end a mount. The kernel keeps the verdict of calls that are allowed whatever their
//! arguments in a bitmap, so that the calls of reading and writing do not run the filter.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::fence::FenceError;

/// Calls that are refused with EPERM.
const REFUSED: &[libc::c_long] = &[
    // Running programs, and looking into other processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    // The tree of mounts.
    libc::SYS_chroot,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_umount2,
    // The machine.
    libc::SYS_acct,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    // Large parts of the kernel that we have no use for.
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_fanotify_init,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
];

/// Loads the filter. Tells whether the kernel can do that.
pub(super) fn refuse_unused() -> Result<bool, FenceError> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(false) };
    let failed = |error: seccompiler::BackendError| FenceError::new("seccomp", error);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_unshare, vec![unshare_of_more().map_err(failed)?]);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(EPERM), arch);
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(failed)?;
    match apply_filter(&program) {
        Ok(()) => Ok(true),
        // A kernel without seccomp.
        Err(seccompiler::Error::Seccomp(error))
            if error.raw_os_error() == Some(libc::EINVAL)
                || error.raw_os_error() == Some(libc::ENOSYS) =>
        {
            Ok(false)
        }
        Err(error) => Err(FenceError::new("seccomp", error)),
    }
}

const EPERM: u32 = libc::EPERM.unsigned_abs();

/// A thread takes a umask of its own (`lower::acting_as`), and no namespace.
fn unshare_of_more() -> Result<SeccompRule, seccompiler::BackendError> {
    let flags = u64::from(libc::CLONE_FS.unsigned_abs());
    let others = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, flags)?;
    SeccompRule::new(vec![others])
}
