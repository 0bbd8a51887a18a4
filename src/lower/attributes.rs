//! stat and its opposites: mode, owner and times of a name, without following it.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps, UTIME_NOW,
    UTIME_OMIT, Uid, chownat, makedev, statx, utimensat,
};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::name::LowerName;
use crate::units::LowerLen;

use super::sys::fchmodat2;
use super::types::{call, refused};
use super::{LowerDir, LowerError, LowerId, LowerStat, LowerTime, NodeKind, Stamps, TimeSpec};

impl LowerDir {
    /// Attributes of an entry.
    ///
    /// # Errors
    /// What statx answers.
    pub fn stat(&self, name: &LowerName) -> Result<LowerStat, LowerError> {
        stat_at(self.fd(), name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Attributes of the directory itself.
    ///
    /// # Errors
    /// What statx answers.
    pub fn stat_self(&self) -> Result<LowerStat, LowerError> {
        stat_at(self.fd(), "", AtFlags::EMPTY_PATH)
    }

    /// Sets the times of an entry; `None` leaves one as it is.
    ///
    /// # Errors
    /// What utimensat answers.
    pub fn set_times(
        &self,
        name: &LowerName,
        atime: Option<TimeSpec>,
        mtime: Option<TimeSpec>,
    ) -> Result<(), LowerError> {
        let times = timestamps(atime, mtime);
        call("utimensat", || {
            utimensat(self.fd(), name.as_os_str(), &times, AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    /// Sets permission, set-id and sticky bits of an entry.
    ///
    /// # Errors
    /// What fchmodat2 answers; EOPNOTSUPP for a symbolic link.
    pub fn chmod(&self, name: &LowerName, mode: u32) -> Result<(), LowerError> {
        let text = CString::new(name.as_bytes()).map_err(|_| refused("fchmodat2", Errno::INVAL))?;
        match fchmodat2(self.fd(), &text, mode, libc::AT_SYMLINK_NOFOLLOW) {
            // Older kernels do not know the call, older sandboxes forbid what they do not know.
            Err(Errno::NOSYS | Errno::PERM) => self.pin(name)?.chmod(mode),
            answer => answer.map_err(|error| refused("fchmodat2", error)),
        }
    }

    /// Sets owner and group of an entry, a symbolic link itself too; `None` leaves one as it is.
    ///
    /// # Errors
    /// What fchownat answers.
    pub fn chown(
        &self,
        name: &LowerName,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<(), LowerError> {
        chown_at(self.fd(), name.as_os_str(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// statx of a name, or with an empty one and `AT_EMPTY_PATH` of the descriptor.
pub(super) fn stat_at(
    dir: BorrowedFd<'_>,
    name: impl Arg + Copy,
    flags: AtFlags,
) -> Result<LowerStat, LowerError> {
    let stat = call("statx", || statx(dir, name, flags, StatxFlags::BASIC_STATS))?;
    lower_stat(&stat).ok_or(refused("statx", Errno::INVAL))
}

/// The times of a descriptor that nobody can set.
pub(super) fn stamps_of(fd: BorrowedFd<'_>) -> Result<Stamps, LowerError> {
    let wanted = StatxFlags::CTIME | StatxFlags::BTIME;
    let stat = call("statx", || statx(fd, "", AtFlags::EMPTY_PATH, wanted))?;
    let knows_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let born = knows_birth.then(|| lower_time(&stat.stx_btime));
    Ok(Stamps { born, changed: lower_time(&stat.stx_ctime) })
}

/// fchownat of a name, or with an empty one and `AT_EMPTY_PATH` of the descriptor.
pub(super) fn chown_at(
    dir: impl AsFd,
    name: impl Arg + Copy,
    uid: Option<u32>,
    gid: Option<u32>,
    flags: AtFlags,
) -> Result<(), LowerError> {
    // The kernel's own way to say "leave it" is -1, which is no user.
    let uid = uid.filter(|uid| *uid != u32::MAX).map(Uid::from_raw);
    let gid = gid.filter(|gid| *gid != u32::MAX).map(Gid::from_raw);
    call("fchownat", || chownat(&dir, name, uid, gid, flags))
}

/// What utimensat takes.
pub(super) fn timestamps(atime: Option<TimeSpec>, mtime: Option<TimeSpec>) -> Timestamps {
    fn one(time: Option<TimeSpec>) -> Timespec {
        match time {
            None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            Some(TimeSpec::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            Some(TimeSpec::At(at)) => Timespec { tv_sec: at.secs, tv_nsec: at.nanos.into() },
        }
    }
    Timestamps { last_access: one(atime), last_modification: one(mtime) }
}

/// The kind that a file type stands for; `None` for what Linux does not have.
pub(super) fn node_kind(kind: FileType) -> Option<NodeKind> {
    match kind {
        FileType::RegularFile => Some(NodeKind::File),
        FileType::Directory => Some(NodeKind::Dir),
        FileType::Symlink => Some(NodeKind::Symlink),
        FileType::Fifo => Some(NodeKind::Fifo),
        FileType::Socket => Some(NodeKind::Socket),
        FileType::CharacterDevice => Some(NodeKind::CharDevice),
        FileType::BlockDevice => Some(NodeKind::BlockDevice),
        _ => None,
    }
}

fn lower_stat(stat: &Statx) -> Option<LowerStat> {
    Some(LowerStat {
        id: LowerId { dev: makedev(stat.stx_dev_major, stat.stx_dev_minor), ino: stat.stx_ino },
        kind: node_kind(FileType::from_raw_mode(stat.stx_mode.into()))?,
        mode: u32::from(stat.stx_mode) & MODE_BITS,
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        rdev: makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
        len: LowerLen(stat.stx_size),
        blocks: stat.stx_blocks,
        atime: lower_time(&stat.stx_atime),
        mtime: lower_time(&stat.stx_mtime),
        ctime: lower_time(&stat.stx_ctime),
    })
}

fn lower_time(time: &StatxTimestamp) -> LowerTime {
    LowerTime { secs: time.tv_sec, nanos: time.tv_nsec }
}

/// Permission, set-id and sticky bits of `st_mode`.
const MODE_BITS: u32 = 0o7777;

#[cfg(test)]
mod tests {
    use super::super::test_dir::{ODD, TestDir, as_ordinary_user, name};
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let dir = TestDir::new();
        dir.create_file(&name(ODD), 0o600).unwrap();
        let atime = LowerTime { secs: -1, nanos: 1 };
        let mtime = LowerTime { secs: -86_400 * 365, nanos: 999_999_999 };
        dir.set_times(&name(ODD), Some(TimeSpec::At(atime)), Some(TimeSpec::At(mtime))).unwrap();
        let stat = dir.stat(&name(ODD)).unwrap();
        assert_eq!((stat.atime, stat.mtime), (atime, mtime));
    }

    #[test]
    fn a_time_that_is_not_named_stays() {
        let dir = TestDir::new();
        dir.create_file(&name("f"), 0o600).unwrap();
        let old = TimeSpec::At(LowerTime { secs: 100, nanos: 5 });
        dir.set_times(&name("f"), Some(old), Some(old)).unwrap();
        dir.set_times(&name("f"), None, Some(TimeSpec::Now)).unwrap();
        let stat = dir.stat(&name("f")).unwrap();
        assert_eq!(stat.atime, LowerTime { secs: 100, nanos: 5 });
        assert!(stat.mtime.secs > 1_000_000_000);
        dir.set_times(&name("f"), None, None).unwrap();
        assert_eq!(dir.stat(&name("f")).unwrap().mtime, stat.mtime);
    }

    #[test]
    fn symlink_itself_is_changed_and_not_what_it_leads_to() {
        let dir = TestDir::new();
        let file = dir.write_new(&name("file"), b"", 0o644).unwrap();
        dir.symlink(b"file", &name("link")).unwrap();
        let before = file.stat().unwrap();
        let at = LowerTime { secs: 7, nanos: 8 };
        dir.set_times(&name("link"), Some(TimeSpec::At(at)), Some(TimeSpec::At(at))).unwrap();
        assert_eq!(dir.chmod(&name("link"), 0o600).unwrap_err().errno, libc::EOPNOTSUPP);
        dir.chown(&name("link"), None, Some(before.gid)).unwrap();
        let link = dir.stat(&name("link")).unwrap();
        assert_eq!((link.kind, link.mtime), (NodeKind::Symlink, at));
        assert_eq!(file.stat().unwrap(), before);
    }

    #[test]
    fn chmod_sets_all_twelve_bits() {
        let dir = TestDir::new();
        dir.mkdir(&name(ODD), 0o700).unwrap();
        dir.chmod(&name(ODD), 0o7751).unwrap();
        let stat = dir.stat(&name(ODD)).unwrap();
        assert_eq!((stat.kind, stat.mode), (NodeKind::Dir, 0o7751));
        assert_eq!(dir.chmod(&name("none"), 0).unwrap_err().errno, libc::ENOENT);
    }

    #[test]
    fn chown_to_nobody_leaves_the_owner() {
        let dir = TestDir::new();
        dir.create_file(&name("f"), 0o600).unwrap();
        let before = dir.stat(&name("f")).unwrap();
        dir.chown(&name("f"), Some(u32::MAX), None).unwrap();
        assert_eq!(dir.stat(&name("f")).unwrap().uid, before.uid);
        if rustix::process::geteuid().is_root() {
            dir.chown(&name("f"), Some(12), Some(34)).unwrap();
            let stat = dir.stat(&name("f")).unwrap();
            assert_eq!((stat.uid, stat.gid), (12, 34));
        }
    }

    #[test]
    fn refusals_keep_their_errno() {
        let dir = TestDir::new();
        dir.create_file(&name("f"), 0o600).unwrap();
        if !rustix::process::geteuid().is_root() {
            return;
        }
        as_ordinary_user(&dir, || {
            assert_eq!(dir.chmod(&name("f"), 0o777).unwrap_err().errno, libc::EPERM);
            assert_eq!(dir.chown(&name("f"), Some(0), None).unwrap_err().errno, libc::EPERM);
        });
    }

    #[test]
    fn directory_knows_itself() {
        let dir = TestDir::new();
        dir.mkdir(&name("sub"), 0o755).unwrap();
        let sub = dir.open_dir(&name("sub")).unwrap();
        assert_eq!(sub.stat_self(), dir.stat(&name("sub")));
    }
}
