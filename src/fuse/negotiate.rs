//! What is asked of the kernel when the mount begins, and what that means for the replies.

use std::time::Duration;

use fuser::{InitFlags, KernelConfig, Version};

/// Bytes in one WRITE, and in one READ. Plaintext and ciphertext of a request stay in the processor's
/// own cache; twice or four times as much costs memory, and gains nothing.
const WRITE_LEN_MAX: u32 = 1 << 18;

/// Bytes that the kernel reads ahead, where its own setting allows as many: a READ for each of several
/// threads.
const READ_AHEAD_LEN_MAX: u32 = 1 << 20;

/// Requests that nobody waits for (read-ahead, writeback) which may be under way together.
const BACKGROUND_REQUESTS_MAX: u16 = 64;

/// From here on the kernel holds writeback back.
const CONGESTION_THRESHOLD: u16 = BACKGROUND_REQUESTS_MAX / 4 * 3;

/// A year in seconds: as good as for ever, and far from the ends of the kernel's counters.
const TTL_OWNED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How stale a shared volume may look.
const TTL_SHARED: Duration = Duration::from_secs(1);

/// What the kernel may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Nobody else changes the lower directory: names, absent names, attributes and pages are kept;
    /// a write goes through to the volume at once.
    WriteThrough,
    /// The same, and writes are gathered in the page cache first.
    WriteBack,
    /// Others may change the lower directory: what is kept lasts a second.
    Shared,
}

impl Caching {
    /// How long the kernel may keep entries, attributes and absent names.
    pub fn ttl(self) -> Duration {
        match self {
            Self::WriteThrough | Self::WriteBack => TTL_OWNED,
            Self::Shared => TTL_SHARED,
        }
    }
}

/// What the kernel offered of the requests that it can do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spared {
    /// OPEN, RELEASE and FLUSH stop with the first OPEN that is answered by ENOSYS.
    pub(crate) open: bool,
    /// OPENDIR and RELEASEDIR likewise.
    pub(crate) opendir: bool,
}

/// Answers INIT.
pub(crate) fn negotiate(config: &mut KernelConfig, caching: Caching, root_only: bool) -> Spared {
    let offered = config.capabilities();
    // Each of these fails only by naming the nearest value, or the bits, that the kernel would
    // take; what it offers less stays as it is.
    let _ = config.add_capabilities(wanted(caching, root_only) & offered);
    let _ = config.set_max_write(WRITE_LEN_MAX);
    let _ = config.set_max_readahead(READ_AHEAD_LEN_MAX);
    let _ = config.set_max_background(BACKGROUND_REQUESTS_MAX);
    let _ = config.set_congestion_threshold(CONGESTION_THRESHOLD);
    let _ = config.set_time_granularity(Duration::from_nanos(1));
    spared(offered)
}

fn spared(offered: InitFlags) -> Spared {
    Spared {
        open: offered.contains(InitFlags::FUSE_NO_OPEN_SUPPORT),
        opendir: offered.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT),
    }
}

/// Whether a page that is dropped is written back by then, also one that was being written: since
/// Linux 6.16 the kernel writes pages back from their place, before from copies that nobody waits
/// for (fs/fuse/file.c, "remove tmp folio for writebacks"). That came with version 7.44.
pub(crate) fn drops_pages_when_written(config: &KernelConfig) -> bool {
    config.kernel_abi() >= WRITES_IN_PLACE
}

/// The kernel's side of the protocol in Linux 6.16.
const WRITES_IN_PLACE: Version = Version(7, 44);

/// The capabilities that we use where the kernel has them.
///
/// Not among them: what fuser 0.18.0 declares but does not carry through (SETXATTR_EXT,
/// SECURITY_CTX, CREATE_SUPP_GROUP, ALLOW_IDMAP, OVER_IO_URING, REQUEST_TIMEOUT), ATOMIC_O_TRUNC
/// (the mount sees no OPEN; O_TRUNC comes as SETATTR) and locks (the kernel's own serve one host).
///
/// POSIX_ACL makes the kernel check permissions whatever the mount says (fs/fuse/inode.c,
/// `process_init_reply`). Without it ACLs still come through, as plain xattrs.
fn wanted(caching: Caching, root_only: bool) -> InitFlags {
    let mut always = InitFlags::FUSE_ASYNC_READ
        | InitFlags::FUSE_BIG_WRITES
        | InitFlags::FUSE_MAX_PAGES
        | InitFlags::FUSE_DO_READDIRPLUS
        | InitFlags::FUSE_READDIRPLUS_AUTO
        | InitFlags::FUSE_NO_OPEN_SUPPORT
        | InitFlags::FUSE_NO_OPENDIR_SUPPORT
        | InitFlags::FUSE_PARALLEL_DIROPS
        | InitFlags::FUSE_HANDLE_KILLPRIV_V2
        | InitFlags::FUSE_DONT_MASK
        | InitFlags::FUSE_ASYNC_DIO;
    always.set(InitFlags::FUSE_POSIX_ACL, !root_only);
    // The kernel drops cached pages on a changed size or mtime only where others may change them.
    let owned = InitFlags::FUSE_CACHE_SYMLINKS | InitFlags::FUSE_EXPLICIT_INVAL_DATA;
    match caching {
        Caching::WriteThrough => always | owned,
        Caching::WriteBack => always | owned | InitFlags::FUSE_WRITEBACK_CACHE,
        Caching::Shared => always | InitFlags::FUSE_AUTO_INVAL_DATA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Caching; 3] = [Caching::WriteThrough, Caching::WriteBack, Caching::Shared];

    /// Law: nothing is asked for that fuser 0.18.0 would break.
    #[test]
    fn capabilities_that_fuser_breaks_are_not_wanted() {
        let broken = InitFlags::FUSE_SETXATTR_EXT
            | InitFlags::FUSE_SECURITY_CTX
            | InitFlags::FUSE_CREATE_SUPP_GROUP
            | InitFlags::FUSE_ALLOW_IDMAP
            | InitFlags::FUSE_OVER_IO_URING
            | InitFlags::FUSE_REQUEST_TIMEOUT
            | InitFlags::FUSE_ATOMIC_O_TRUNC
            | InitFlags::FUSE_POSIX_LOCKS
            | InitFlags::FUSE_FLOCK_LOCKS
            | InitFlags::FUSE_HANDLE_KILLPRIV;
        for caching in ALL {
            assert!(!wanted(caching, false).intersects(broken), "{caching:?}");
        }
    }

    /// Law: writes are gathered only where nobody else writes.
    #[test]
    fn shared_volume_keeps_no_dirty_pages_and_no_stale_ones() {
        let shared = wanted(Caching::Shared, false);
        assert!(shared.contains(InitFlags::FUSE_AUTO_INVAL_DATA));
        let owned = InitFlags::FUSE_WRITEBACK_CACHE | InitFlags::FUSE_EXPLICIT_INVAL_DATA;
        assert!(!shared.intersects(owned));
        assert!(wanted(Caching::WriteBack, false).contains(owned));
        assert!(!wanted(Caching::WriteBack, false).contains(InitFlags::FUSE_AUTO_INVAL_DATA));
        assert!(!wanted(Caching::WriteThrough, false).contains(InitFlags::FUSE_WRITEBACK_CACHE));
    }

    #[test]
    fn open_is_spared_only_where_the_kernel_offers_it() {
        assert_eq!(spared(InitFlags::empty()), Spared { open: false, opendir: false });
        let offered = InitFlags::FUSE_NO_OPEN_SUPPORT;
        assert_eq!(spared(offered), Spared { open: true, opendir: false });
    }
}
