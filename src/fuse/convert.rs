//! Between the kernel's types and the volume's: attributes, kinds, times, names, flags. No I/O.

use std::ffi::OsStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, RenameFlags, Request, TimeOrNow, WriteFlags};

use crate::fs::{
    AllocateHow, Attr, Caller, DirEntry, FsError, NodeId, RenameHow, SeekTo, SetTime, WriteHow,
    XattrHow,
};
use crate::kms::{Asking, Process};
use crate::lower::{LowerTime, NodeKind, SyncScope};
use crate::name::{NameError, PlainName};

/// Bytes; what stat names the preferred length of I/O. The kernel's page.
const PREFERRED_IO_LEN: u32 = 4096;

/// Permission, set-id and sticky bits of a mode.
const PERMISSION_BITS: u32 = 0o7777;

/// The volume's number of the kernel's node.
pub(crate) fn node(ino: INodeNo) -> NodeId {
    NodeId(ino.0)
}

/// The key service's audit records tell for which process this thread asks.
pub(crate) fn asking(request: &Request) -> Asking {
    Process { pid: request.pid(), uid: request.uid(), is_expected: false }.asking()
}

/// As [`asking`], for what the process is expected to ask for.
pub(crate) fn expecting(request: &Request) -> Asking {
    Process { pid: request.pid(), uid: request.uid(), is_expected: true }.asking()
}

/// Who sent the request.
pub(crate) fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), pid: request.pid() }
}

/// Who sent the request, if suid and sgid go with the change of content that it makes. With
/// FUSE_HANDLE_KILLPRIV_V2 the kernel leaves them to us, and says so with WRITE; of SETATTR fuser does
/// not relay it, and of the others it says nothing. Root has CAP_FSETID and keeps the bits.
pub(crate) fn unprivileged(request: &Request) -> Option<Caller> {
    (request.uid() != 0).then(|| caller(request))
}

/// Names of attributes that the caller may know of, from a list of names each ended by NUL.
pub(crate) fn visible_xattrs(names: Vec<u8>, request: &Request) -> Vec<u8> {
    if request.uid() == 0 { names } else { without_trusted(&names) }
}

/// `trusted.*` is there for CAP_SYS_ADMIN only (xattr(7)).
fn without_trusted(names: &[u8]) -> Vec<u8> {
    let visible = names.split_inclusive(|byte| *byte == 0);
    visible.filter(|name| !name.starts_with(b"trusted.")).flatten().copied().collect()
}

/// The kernel's name as a plaintext name.
pub(crate) fn plain_name(name: &OsStr) -> Result<PlainName, FsError> {
    PlainName::parse(name).map_err(|error| match error {
        NameError::Malformed => FsError::BadName,
        NameError::TooLong => FsError::NameTooLong,
    })
}

/// Permission bits as the volume wants them, from a mode that may carry the type as well.
pub(crate) fn permission_bits(mode: u32) -> u32 {
    mode & PERMISSION_BITS
}

/// A node's kind as the kernel wants it.
pub(crate) fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Dir => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::NamedPipe,
        NodeKind::Socket => FileType::Socket,
        NodeKind::CharDevice => FileType::CharDevice,
        NodeKind::BlockDevice => FileType::BlockDevice,
    }
}

/// Attributes as the kernel wants them.
pub(crate) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.node.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: u16::try_from(attr.mode & PERMISSION_BITS).unwrap_or_default(),
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: PREFERRED_IO_LEN,
        flags: 0,
    }
}

/// A node of which only number and kind are said.
///
/// Number 0 in the reply to LOOKUP means that there is no such name, and that the kernel may
/// remember it. For `.` and `..` in READDIRPLUS the kernel looks at nothing else and counts no
/// lookup (fs/fuse/readdir.c, `fuse_direntplus_link`).
pub(crate) fn bare_attr(node: NodeId, kind: NodeKind) -> FileAttr {
    FileAttr {
        ino: INodeNo(node.0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: file_type(kind),
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// What READDIRPLUS says of an entry.
pub(crate) fn entry_attr(entry: &DirEntry, attr: Option<&Attr>) -> FileAttr {
    attr.map_or_else(|| bare_attr(entry.node, entry.kind), file_attr)
}

/// A time for a reply. Times that the system cannot express become the epoch.
fn system_time(time: LowerTime) -> SystemTime {
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let second =
        if time.secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    let nanos = Duration::new(0, time.nanos);
    second.and_then(|second| second.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
}

/// A time of SETATTR.
pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(requested_time(time)),
    }
}

/// What the kernel said, from what fuser makes of it.
///
/// The kernel sends `(secs, nanos)` with the nanoseconds counting up. Before 1970, fuser 0.18.0
/// (`system_time_from_time`) subtracts them: it hands over `epoch - (|secs| + nanos)`. The distance
/// from the epoch therefore has the kernel's two numbers in it, unchanged.
fn requested_time(time: SystemTime) -> LowerTime {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => LowerTime {
            secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos(),
        },
        Err(before) => LowerTime {
            secs: 0i64.checked_sub_unsigned(before.duration().as_secs()).unwrap_or(i64::MIN),
            nanos: before.duration().subsec_nanos(),
        },
    }
}

/// The flags of RENAME2.
pub(crate) fn rename_how(flags: RenameFlags) -> Result<RenameHow, FsError> {
    if flags.is_empty() {
        Ok(RenameHow::Replace)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Ok(RenameHow::NoReplace)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Ok(RenameHow::Exchange)
    } else if flags == RenameFlags::RENAME_WHITEOUT {
        Ok(RenameHow::Whiteout)
    } else {
        Err(FsError::Errno(libc::EINVAL))
    }
}

/// The flags of WRITE. With FUSE_HANDLE_KILLPRIV_V2 the kernel leaves suid and sgid to us.
pub(crate) fn write_how(flags: WriteFlags, caller: Caller) -> WriteHow {
    if flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
        WriteHow::KillPrivileges(caller)
    } else {
        WriteHow::Keep
    }
}

/// The mode of FALLOCATE.
pub(crate) fn allocate_how(mode: i32) -> Result<AllocateHow, FsError> {
    const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
    const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;
    const ZERO_KEEP: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
    match mode {
        0 => Ok(AllocateHow::Grow),
        KEEP => Ok(AllocateHow::KeepSize),
        PUNCH => Ok(AllocateHow::PunchHole),
        ZERO => Ok(AllocateHow::ZeroRange),
        ZERO_KEEP => Ok(AllocateHow::ZeroRangeKeepSize),
        _ => Err(FsError::Unsupported),
    }
}

/// Offset and whence of LSEEK. The kernel sends it for SEEK_DATA and SEEK_HOLE only.
pub(crate) fn seek_to(offset: i64, whence: i32) -> Result<(u64, SeekTo), FsError> {
    let at = u64::try_from(offset).map_err(|_| FsError::Errno(libc::ENXIO))?;
    match whence {
        libc::SEEK_DATA => Ok((at, SeekTo::Data)),
        libc::SEEK_HOLE => Ok((at, SeekTo::Hole)),
        _ => Err(FsError::Errno(libc::EINVAL)),
    }
}

/// The flags of SETXATTR.
pub(crate) fn xattr_how(flags: i32) -> Result<XattrHow, FsError> {
    match flags {
        0 => Ok(XattrHow::Set),
        libc::XATTR_CREATE => Ok(XattrHow::Create),
        libc::XATTR_REPLACE => Ok(XattrHow::Replace),
        _ => Err(FsError::Errno(libc::EINVAL)),
    }
}

/// How much FSYNC and FSYNCDIR cover.
pub(crate) fn sync_scope(datasync: bool) -> SyncScope {
    if datasync { SyncScope::Data } else { SyncScope::All }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fuser 0.18.0 makes of the kernel's two numbers (`system_time_from_time`).
    fn as_fuser_relays(secs: i64, nanos: u32) -> SystemTime {
        let distance = Duration::new(secs.unsigned_abs(), nanos);
        if secs >= 0 { UNIX_EPOCH + distance } else { UNIX_EPOCH - distance }
    }

    /// What fuser 0.18.0 sends of a time (`time_from_system_time`).
    fn as_fuser_sends(time: SystemTime) -> (i64, u32) {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => (i64::try_from(since.as_secs()).unwrap(), since.subsec_nanos()),
            Err(before) => {
                let distance = before.duration();
                let secs = 0i64.checked_sub_unsigned(distance.as_secs()).unwrap();
                match distance.subsec_nanos() {
                    0 => (secs, 0),
                    nanos => (secs - 1, 1_000_000_000 - nanos),
                }
            }
        }
    }

    /// 2262 is where nanoseconds in 64 bits end, 9999 what people type.
    const TIMES: [(i64, u32); 10] = [
        (0, 0),
        (0, 1),
        (1, 999_999_999),
        (-1, 500_000_000),
        (-1, 999_999_999),
        (-2, 0),
        (-62_135_596_800, 7),
        (9_223_372_037, 5),
        (253_402_300_799, 999_999_999),
        (i64::MAX, 0),
    ];

    /// Law: a time that utimensat sets is the time that the volume is told.
    #[test]
    fn time_of_setattr_is_what_the_kernel_said() {
        for (secs, nanos) in TIMES {
            let relayed = TimeOrNow::SpecificTime(as_fuser_relays(secs, nanos));
            assert_eq!(set_time(relayed), SetTime::At(LowerTime { secs, nanos }));
        }
        assert_eq!(set_time(TimeOrNow::Now), SetTime::Now);
    }

    /// Law: a time of the volume is the time that stat shows.
    #[test]
    fn time_of_a_reply_is_what_the_volume_said() {
        for (secs, nanos) in TIMES {
            let sent = as_fuser_sends(system_time(LowerTime { secs, nanos }));
            assert_eq!(sent, (secs, nanos));
        }
    }

    #[test]
    fn earliest_time_goes_both_ways() {
        let earliest = LowerTime { secs: i64::MIN, nanos: 0 };
        assert_eq!(requested_time(system_time(earliest)), earliest);
    }

    #[test]
    fn attributes_reach_the_kernel_unchanged() {
        let attr = Attr {
            node: NodeId(42),
            kind: NodeKind::CharDevice,
            mode: 0o4755,
            nlink: 3,
            uid: 1000,
            gid: 1001,
            rdev: 0x103,
            size: 5000,
            blocks: 24,
            atime: LowerTime { secs: 1, nanos: 2 },
            mtime: LowerTime { secs: 3, nanos: 4 },
            ctime: LowerTime { secs: 5, nanos: 6 },
        };
        let sent = file_attr(&attr);
        assert_eq!((sent.ino, sent.kind, sent.perm), (INodeNo(42), FileType::CharDevice, 0o4755));
        assert_eq!((sent.nlink, sent.uid, sent.gid, sent.rdev), (3, 1000, 1001, 0x103));
        assert_eq!((sent.size, sent.blocks, sent.blksize), (5000, 24, 4096));
        assert_eq!(as_fuser_sends(sent.mtime), (3, 4));
    }

    #[test]
    fn rename_flags_that_are_not_offered_are_invalid() {
        assert_eq!(rename_how(RenameFlags::empty()), Ok(RenameHow::Replace));
        assert_eq!(rename_how(RenameFlags::RENAME_NOREPLACE), Ok(RenameHow::NoReplace));
        assert_eq!(rename_how(RenameFlags::RENAME_EXCHANGE), Ok(RenameHow::Exchange));
        assert_eq!(rename_how(RenameFlags::RENAME_WHITEOUT), Ok(RenameHow::Whiteout));
        for flags in [
            RenameFlags::RENAME_NOREPLACE | RenameFlags::RENAME_WHITEOUT,
            RenameFlags::RENAME_NOREPLACE | RenameFlags::RENAME_EXCHANGE,
            RenameFlags::from_bits_retain(1 << 9),
        ] {
            assert_eq!(rename_how(flags), Err(FsError::Errno(libc::EINVAL)));
        }
    }

    #[test]
    fn fallocate_modes_that_are_not_offered_are_unsupported() {
        let keep = libc::FALLOC_FL_KEEP_SIZE;
        let offered = [
            (0, AllocateHow::Grow),
            (keep, AllocateHow::KeepSize),
            (libc::FALLOC_FL_PUNCH_HOLE | keep, AllocateHow::PunchHole),
            (libc::FALLOC_FL_ZERO_RANGE, AllocateHow::ZeroRange),
            (libc::FALLOC_FL_ZERO_RANGE | keep, AllocateHow::ZeroRangeKeepSize),
        ];
        for (mode, how) in offered {
            assert_eq!(allocate_how(mode), Ok(how));
        }
        for mode in [
            libc::FALLOC_FL_PUNCH_HOLE,
            libc::FALLOC_FL_COLLAPSE_RANGE,
            libc::FALLOC_FL_INSERT_RANGE,
        ] {
            assert_eq!(allocate_how(mode), Err(FsError::Unsupported));
        }
    }

    #[test]
    fn seek_knows_data_and_hole_only() {
        assert_eq!(seek_to(7, libc::SEEK_DATA), Ok((7, SeekTo::Data)));
        assert_eq!(seek_to(7, libc::SEEK_HOLE), Ok((7, SeekTo::Hole)));
        assert_eq!(seek_to(-1, libc::SEEK_DATA), Err(FsError::Errno(libc::ENXIO)));
        assert_eq!(seek_to(0, libc::SEEK_END), Err(FsError::Errno(libc::EINVAL)));
    }

    #[test]
    fn trusted_attributes_are_taken_from_a_list() {
        let names = b"user.a\0trusted.b\0security.c\0trusted.d\0";
        assert_eq!(without_trusted(names), b"user.a\0security.c\0");
        assert_eq!(without_trusted(b""), b"");
    }

    #[test]
    fn xattr_flags_that_contradict_each_other_are_invalid() {
        assert_eq!(xattr_how(0), Ok(XattrHow::Set));
        assert_eq!(xattr_how(libc::XATTR_CREATE), Ok(XattrHow::Create));
        assert_eq!(xattr_how(libc::XATTR_REPLACE), Ok(XattrHow::Replace));
        assert_eq!(xattr_how(3), Err(FsError::Errno(libc::EINVAL)));
    }

    #[test]
    fn write_kills_privileges_only_when_the_kernel_says_so() {
        let caller = Caller { uid: 1, gid: 2, pid: 3 };
        assert_eq!(write_how(WriteFlags::FUSE_WRITE_CACHE, caller), WriteHow::Keep);
        let killing = WriteFlags::FUSE_WRITE_CACHE | WriteFlags::FUSE_WRITE_KILL_SUIDGID;
        assert_eq!(write_how(killing, caller), WriteHow::KillPrivileges(caller));
    }

    #[test]
    fn names_that_are_none_are_told_apart() {
        assert_eq!(plain_name(OsStr::new("a/b")), Err(FsError::BadName));
        assert_eq!(plain_name(OsStr::new(&"x".repeat(256))), Err(FsError::NameTooLong));
        assert!(plain_name(OsStr::new(&"x".repeat(255))).is_ok());
    }
}
