//! Types of the filesystem's surface.

use crate::lower::{LowerTime, NodeKind};

/// A node's number for the kernel. The root of the volume is 1, every other its lower inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root directory of the mount.
    pub const ROOT: Self = Self(1);
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Process; 0 if unknown.
    pub pid: u32,
}

/// Attributes of a node, as stat shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// The node.
    pub node: NodeId,
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
    /// Device number of a device file, as in `st_rdev`.
    pub rdev: u32,
    /// Length in plaintext bytes.
    pub size: u64,
    /// Allocated lower blocks of 512 bytes.
    pub blocks: u64,
    /// Last read.
    pub atime: LowerTime,
    /// Last change of content.
    pub mtime: LowerTime,
    /// Last change of anything.
    pub ctime: LowerTime,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The time of the call.
    Now,
    /// This one.
    At(LowerTime),
}

/// What to change of a node; `None` leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission, set-id and sticky bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in plaintext bytes.
    pub size: Option<u64>,
    /// Last read.
    pub atime: Option<SetTime>,
    /// Last change of content.
    pub mtime: Option<SetTime>,
    /// Who changes the size without CAP_FSETID: suid and sgid go.
    pub unprivileged: Option<Caller>,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Plaintext name; also `.` and `..`, hence bytes.
    pub name: Vec<u8>,
    /// Where to go on behind this entry.
    pub cookie: u64,
    /// Number of the node, as stat would show it.
    pub node: NodeId,
    /// Kind.
    pub kind: NodeKind,
}

/// What rename does with a name that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameHow {
    /// Replaces it.
    Replace,
    /// Fails: RENAME_NOREPLACE.
    NoReplace,
    /// Changes places with it: RENAME_EXCHANGE.
    Exchange,
    /// Replaces it, and leaves a device 0:0 under the old name, which overlayfs takes for a removed
    /// entry: RENAME_WHITEOUT.
    Whiteout,
}

/// What a write does besides writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteHow {
    /// Nothing.
    Keep,
    /// Clears suid and sgid: the caller lacks CAP_FSETID.
    KillPrivileges(Caller),
}

/// Modes of fallocate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocateHow {
    /// Allocates, and grows the file if the range ends behind it.
    Grow,
    /// Allocates without changing the size.
    KeepSize,
    /// Frees the range; it reads as zeros. The size stays.
    PunchHole,
    /// Makes the range read as zeros, and grows the file if the range ends behind it.
    ZeroRange,
    /// Makes the range read as zeros; the size stays.
    ZeroRangeKeepSize,
}

/// What lseek looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekTo {
    /// SEEK_DATA.
    Data,
    /// SEEK_HOLE.
    Hole,
}

/// What setxattr does about an attribute that exists, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrHow {
    /// Sets it either way.
    Set,
    /// Fails with EEXIST if it exists: XATTR_CREATE.
    Create,
    /// Fails with ENODATA if it does not: XATTR_REPLACE.
    Replace,
}

/// Numbers of the lower filesystem, for statfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
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
    pub bsize: u32,
    /// Fragment size in bytes.
    pub frsize: u32,
    /// Longest name in bytes.
    pub namelen: u32,
}
