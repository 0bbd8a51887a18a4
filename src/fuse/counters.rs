//! How many requests of each kind the kernel sent: the number of round trips is what a FUSE
//! filesystem costs, so it is measured, not guessed.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that has a cache line of its own, so that threads that count different requests do not
/// wait for each other. 64 bytes is the line of every x86-64 and most ARM processors.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Count(AtomicU64);

impl Count {
    fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! operations {
    ($($name:ident $op:ident,)*) => {
        /// A kind of request, by the kernel's name for it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op {
            $(#[doc = concat!("The request `", stringify!($name), "`.")] $op,)*
        }

        impl Op {
            /// The name in [`Counters::snapshot`] and in logs.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$op => stringify!($name),)*
                }
            }
        }

        /// Requests since the mount began, by kind, and handlers that panicked.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($name: Count,)*
            panics: Count,
        }

        impl Counters {
            /// Counts one request.
            pub fn count(&self, op: Op) {
                match op {
                    $(Op::$op => self.$name.add_one(),)*
                }
            }

            /// All counts at about the same time, with their names; the last is `panics`.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![
                    $((stringify!($name), self.$name.value()),)*
                    ("panics", self.panics.value()),
                ]
            }
        }
    };
}

operations! {
    lookup Lookup,
    forget Forget,
    getattr GetAttr,
    setattr SetAttr,
    readlink ReadLink,
    mknod MkNod,
    mkdir MkDir,
    unlink Unlink,
    rmdir RmDir,
    symlink Symlink,
    rename Rename,
    link Link,
    open Open,
    read Read,
    write Write,
    flush Flush,
    release Release,
    fsync Fsync,
    opendir OpenDir,
    readdir ReadDir,
    readdirplus ReadDirPlus,
    releasedir ReleaseDir,
    fsyncdir FsyncDir,
    statfs StatFs,
    setxattr SetXattr,
    getxattr GetXattr,
    listxattr ListXattr,
    removexattr RemoveXattr,
    access Access,
    create Create,
    getlk GetLock,
    setlk SetLock,
    bmap Bmap,
    ioctl Ioctl,
    poll Poll,
    fallocate Allocate,
    lseek Seek,
    copy_file_range CopyRange,
}

impl Counters {
    /// Counts a handler that panicked.
    pub(crate) fn count_panic(&self) {
        self.panics.add_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_shows_what_was_counted() {
        let counters = Counters::default();
        counters.count(Op::Read);
        counters.count(Op::Read);
        counters.count(Op::CopyRange);
        counters.count_panic();
        let counted: Vec<_> = counters.snapshot().into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [("read", 2), ("copy_file_range", 1), ("panics", 1)]);
    }

    #[test]
    fn every_count_has_a_cache_line_of_its_own() {
        assert_eq!(align_of::<Count>(), 64);
        assert_eq!(size_of::<Count>(), 64);
    }
}
