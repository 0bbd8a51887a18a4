//! What the lower filesystem looks like to the rest: one open file in few verbs, and stat.

use std::fmt;
use std::fmt::Debug;

use rustix::io::{Errno, retry_on_intr};

use crate::units::{LowerLen, LowerOffset};

/// A system call of the lower filesystem that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowerError {
    /// The system call.
    pub op: &'static str,
    /// Its errno.
    pub errno: i32,
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.op, std::io::Error::from_raw_os_error(self.errno))
    }
}

impl std::error::Error for LowerError {}

/// Makes a system call, again after each EINTR, and adds its name to the error.
pub(super) fn call<T>(
    op: &'static str,
    work: impl FnMut() -> Result<T, Errno>,
) -> Result<T, LowerError> {
    retry_on_intr(work).map_err(|error| refused(op, error))
}

/// The error of a system call that is named `op`.
pub(super) fn refused(op: &'static str, error: Errno) -> LowerError {
    LowerError { op, errno: error.raw_os_error() }
}

/// How much a sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncScope {
    /// Content and length: fdatasync.
    Data,
    /// Metadata too: fsync.
    All,
}

/// One open regular file of the lower filesystem. Tests substitute memory and power cuts.
#[expect(clippy::len_without_is_empty, reason = "a file is no collection")]
pub trait LowerFile: Send + Sync + Debug {
    /// Length in bytes.
    ///
    /// # Errors
    /// What fstat answers.
    fn len(&self) -> Result<LowerLen, LowerError>;

    /// Reads at a position; short only at the end of the file.
    ///
    /// # Errors
    /// What pread answers.
    fn read_at(&self, at: LowerOffset, out: &mut [u8]) -> Result<usize, LowerError>;

    /// Writes all of `data`. On an error, any part of it may have been written.
    ///
    /// # Errors
    /// What pwrite answers.
    fn write_at(&self, at: LowerOffset, data: &[u8]) -> Result<(), LowerError>;

    /// Sets the length; growing makes a hole.
    ///
    /// # Errors
    /// What ftruncate answers.
    fn set_len(&self, len: LowerLen) -> Result<(), LowerError>;

    /// Allocates room for a range below the length, or at its end, without changing what is read and
    /// without changing the length: fallocate with KEEP_SIZE.
    ///
    /// # Errors
    /// What fallocate answers; `EOPNOTSUPP` where the lower filesystem cannot.
    fn reserve(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError>;

    /// Makes a range of whole pages a hole without changing the length.
    ///
    /// # Errors
    /// What fallocate answers; `EOPNOTSUPP` where the lower filesystem cannot.
    fn punch(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError>;

    /// Start of the next run of data at or behind `at`; `None` if only a hole follows.
    ///
    /// # Errors
    /// What lseek with SEEK_DATA answers, but for ENXIO.
    fn next_data(&self, at: LowerOffset) -> Result<Option<LowerOffset>, LowerError>;

    /// Start of the next hole of whole pages at or behind `at`, which lies below the length; the end
    /// of the file counts as one.
    ///
    /// # Errors
    /// What lseek with SEEK_HOLE answers.
    fn next_hole(&self, at: LowerOffset) -> Result<LowerOffset, LowerError> {
        const PAGE_LEN: u64 = 4096;
        let end = self.len()?.0;
        let mut page = at.0 / PAGE_LEN * PAGE_LEN;
        while page < end && self.next_data(LowerOffset(page))? == Some(LowerOffset(page)) {
            page += PAGE_LEN;
        }
        Ok(LowerOffset(page.min(end)))
    }

    /// What a write changes besides content; `None` where there is nothing of the kind.
    ///
    /// # Errors
    /// What statx and fgetxattr answer.
    fn marks(&self) -> Result<Option<Marks>, LowerError> {
        Ok(None)
    }

    /// Puts back what writing has changed.
    ///
    /// # Errors
    /// What fsetxattr and futimens answer.
    fn put_back(&self, _marks: &Marks) -> Result<(), LowerError> {
        Ok(())
    }

    /// When the file was made and changed; `None` where there is nothing of the kind.
    ///
    /// # Errors
    /// What statx answers.
    fn stamps(&self) -> Result<Option<Stamps>, LowerError> {
        Ok(None)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// What fsync answers.
    fn sync(&self, scope: SyncScope) -> Result<(), LowerError>;
}

/// Identity of a lower file, hard links included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LowerId {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// A point in time as stat has it: the nanoseconds count up from `secs`, before 1970 as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LowerTime {
    /// Seconds since 1970; negative before.
    pub secs: i64,
    /// Nanoseconds, 0..1_000_000_000.
    pub nanos: u32,
}

/// Kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeKind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

/// stat of a lower file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowerStat {
    /// Identity.
    pub id: LowerId,
    /// Kind.
    pub kind: NodeKind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Number of names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device file, as the kernel encodes it for user space (`st_rdev`).
    pub rdev: u64,
    /// Length.
    pub len: LowerLen,
    /// Allocated blocks of 512 bytes.
    pub blocks: u64,
    /// Last read.
    pub atime: LowerTime,
    /// Last change of content.
    pub mtime: LowerTime,
    /// Last change of anything.
    pub ctime: LowerTime,
}

/// How a lower file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading.
    ReadOnly,
    /// For reading and writing.
    ReadWrite,
}

/// What a rename does with a name that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowerRename {
    /// Replaces it.
    Replace,
    /// Fails with EEXIST.
    NoReplace,
    /// Changes places with it; fails with ENOENT if there is none.
    Exchange,
    /// Replaces it, and leaves a device 0:0 under the old name.
    Whiteout,
}

/// What every write to a file changes, or takes away, besides content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Last change of content.
    pub mtime: LowerTime,
    /// [`CAPABILITY`](crate::lower::CAPABILITY), which goes whoever writes.
    pub capability: Option<Vec<u8>>,
}

/// Times of a file that nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// When it was made, if the lower filesystem knows.
    pub born: Option<LowerTime>,
    /// Last change of anything.
    pub changed: LowerTime,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSpec {
    /// The time of the call, by the kernel's clock.
    Now,
    /// This one.
    At(LowerTime),
}

/// What setting an extended attribute does about one that exists, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrFlags {
    /// Sets it either way.
    Set,
    /// Fails with EEXIST if it exists.
    Create,
    /// Fails with ENODATA if it does not.
    Replace,
}

/// Numbers of the filesystem that a directory lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowerStatFs {
    /// All blocks, of `frsize` bytes.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Free blocks for an ordinary user.
    pub bavail: u64,
    /// All inodes.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Preferred length of I/O in bytes.
    pub bsize: u64,
    /// Fragment size in bytes.
    pub frsize: u64,
    /// Longest name in bytes.
    pub namelen: u64,
}
