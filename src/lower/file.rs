//! A real open file as a [`LowerFile`].

use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    Advice, AtFlags, FallocateFlags, Mode, SeekFrom, XattrFlags, fadvise, fallocate, fchmod,
    fdatasync, fgetxattr, fsetxattr, fstat, fsync, ftruncate, futimens, seek,
};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use crate::units::{LowerLen, LowerOffset};

use super::attributes::{chown_at, stamps_of, stat_at, timestamps};
use super::types::{call, refused};
use super::{LowerError, LowerFile, LowerStat, Marks, Stamps, SyncScope, TimeSpec};

/// The attribute that holds the capabilities of a program.
pub const CAPABILITY: &str = "security.capability";

/// Bytes; more than any version of it has (linux/capability.h, `vfs_ns_cap_data`: 24).
const CAPABILITY_LEN_MAX: usize = 64;

/// Bytes at the beginning of a file that are read before they are asked for.
const SOON_LEN: u64 = 128 * 1024;

/// An open regular file of the lower filesystem. Its position is never used, but by `next_data`.
#[derive(Debug)]
pub struct OsFile(OwnedFd);

impl OsFile {
    /// Takes over an open descriptor.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Attributes.
    ///
    /// # Errors
    /// What statx answers.
    pub fn stat(&self) -> Result<LowerStat, LowerError> {
        stat_at(self.as_fd(), "", AtFlags::EMPTY_PATH)
    }

    /// Lets the lower filesystem begin to read the file, which is about to be read.
    pub fn read_soon(&self) {
        // Where that is not known, it is read later.
        let _ = fadvise(&self.0, 0, NonZeroU64::new(SOON_LEN), Advice::WillNeed);
    }

    /// Sets permission, set-id and sticky bits.
    ///
    /// # Errors
    /// What fchmod answers.
    pub fn chmod(&self, mode: u32) -> Result<(), LowerError> {
        call("fchmod", || fchmod(&self.0, Mode::from_raw_mode(mode)))
    }

    /// Sets owner and group; `None` leaves one as it is.
    ///
    /// # Errors
    /// What fchownat answers.
    pub fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), LowerError> {
        chown_at(self.as_fd(), "", uid, gid, AtFlags::EMPTY_PATH)
    }

    /// Sets the times; `None` leaves one as it is.
    ///
    /// # Errors
    /// What futimens answers.
    pub fn set_times(
        &self,
        atime: Option<TimeSpec>,
        mtime: Option<TimeSpec>,
    ) -> Result<(), LowerError> {
        let times = timestamps(atime, mtime);
        call("futimens", || futimens(&self.0, &times))
    }

    /// The capabilities of a program.
    fn capability(&self) -> Result<Option<Vec<u8>>, LowerError> {
        let mut value = vec![0; CAPABILITY_LEN_MAX];
        match call("fgetxattr", || fgetxattr(&self.0, CAPABILITY, &mut value[..])) {
            Ok(len) => {
                value.truncate(len);
                Ok(Some(value))
            }
            Err(LowerError { errno: libc::ENODATA | libc::EOPNOTSUPP, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Allocates or frees, always without changing the length.
    fn allocate(
        &self,
        how: FallocateFlags,
        at: LowerOffset,
        len: LowerLen,
    ) -> Result<(), LowerError> {
        if len.0 == 0 {
            return Ok(());
        }
        call("fallocate", || fallocate(&self.0, how | FallocateFlags::KEEP_SIZE, at.0, len.0))
    }
}

impl LowerFile for OsFile {
    fn len(&self) -> Result<LowerLen, LowerError> {
        let stat = call("fstat", || fstat(&self.0))?;
        let len = u64::try_from(stat.st_size).map_err(|_| refused("fstat", Errno::OVERFLOW))?;
        Ok(LowerLen(len))
    }

    fn read_at(&self, at: LowerOffset, out: &mut [u8]) -> Result<usize, LowerError> {
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let from = advanced("pread", at, done)?;
            match retry_on_intr(|| pread(&self.0, &mut *rest, from)) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(error) => return Err(refused("pread", error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, at: LowerOffset, data: &[u8]) -> Result<(), LowerError> {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            let to = advanced("pwrite", at, done)?;
            match call("pwrite", || pwrite(&self.0, rest, to))? {
                // Linux does not do this for a regular file; a loop for ever would be worse.
                0 => return Err(refused("pwrite", Errno::IO)),
                len => done += len,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: LowerLen) -> Result<(), LowerError> {
        call("ftruncate", || ftruncate(&self.0, len.0))
    }

    fn reserve(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError> {
        self.allocate(FallocateFlags::empty(), at, len)
    }

    fn punch(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError> {
        self.allocate(FallocateFlags::PUNCH_HOLE, at, len)
    }

    fn next_data(&self, at: LowerOffset) -> Result<Option<LowerOffset>, LowerError> {
        match retry_on_intr(|| seek(&self.0, SeekFrom::Data(at.0))) {
            Ok(found) => Ok(Some(LowerOffset(found))),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(refused("lseek", error)),
        }
    }

    fn next_hole(&self, at: LowerOffset) -> Result<LowerOffset, LowerError> {
        call("lseek", || seek(&self.0, SeekFrom::Hole(at.0))).map(LowerOffset)
    }

    fn marks(&self) -> Result<Option<Marks>, LowerError> {
        Ok(Some(Marks { mtime: self.stat()?.mtime, capability: self.capability()? }))
    }

    fn put_back(&self, marks: &Marks) -> Result<(), LowerError> {
        if let Some(value) = &marks.capability {
            call("fsetxattr", || fsetxattr(&self.0, CAPABILITY, value, XattrFlags::empty()))?;
        }
        self.set_times(None, Some(TimeSpec::At(marks.mtime)))
    }

    fn stamps(&self) -> Result<Option<Stamps>, LowerError> {
        stamps_of(self.as_fd()).map(Some)
    }

    fn sync(&self, scope: SyncScope) -> Result<(), LowerError> {
        match scope {
            SyncScope::Data => call("fdatasync", || fdatasync(&self.0)),
            SyncScope::All => call("fsync", || fsync(&self.0)),
        }
    }
}

/// The position `done` bytes behind `at`.
fn advanced(op: &'static str, at: LowerOffset, done: usize) -> Result<u64, LowerError> {
    u64::try_from(done)
        .ok()
        .and_then(|done| at.0.checked_add(done))
        .ok_or(refused(op, Errno::OVERFLOW))
}

#[cfg(test)]
mod tests {
    use super::super::test_dir::{ODD, TestDir, name};
    use super::super::{Access, LowerTime};
    use super::*;

    fn file() -> OsFile {
        let dir = TestDir::new();
        dir.create_file(&name(ODD), 0o600).unwrap()
    }

    #[test]
    fn read_is_short_only_at_the_end() {
        let file = file();
        file.write_at(LowerOffset(3), b"abc").unwrap();
        assert_eq!(file.len(), Ok(LowerLen(6)));
        let mut out = [9; 8];
        assert_eq!(file.read_at(LowerOffset(1), &mut out), Ok(5));
        assert_eq!(out, [0, 0, b'a', b'b', b'c', 9, 9, 9]);
        assert_eq!(file.read_at(LowerOffset(6), &mut out), Ok(0));
        assert_eq!(file.read_at(LowerOffset(1 << 40), &mut out), Ok(0));
        assert_eq!(file.read_at(LowerOffset(0), &mut []), Ok(0));
    }

    #[test]
    fn positions_beyond_the_kernels_are_errors() {
        let file = file();
        let far = LowerOffset(u64::MAX);
        assert!(file.read_at(far, &mut [0; 2]).is_err());
        assert!(file.write_at(far, b"ab").is_err());
        assert!(file.set_len(LowerLen(u64::MAX)).is_err());
        assert!(file.next_data(far).is_ok_and(|found| found.is_none()));
    }

    #[test]
    fn grown_length_is_a_hole_and_reserve_keeps_the_length() {
        let file = file();
        file.write_at(LowerOffset(0), b"x").unwrap();
        file.set_len(LowerLen(1 << 20)).unwrap();
        assert_eq!(file.next_data(LowerOffset(0)), Ok(Some(LowerOffset(0))));
        assert_eq!(file.next_data(LowerOffset(1 << 19)), Ok(None));
        file.reserve(LowerOffset(1 << 20), LowerLen(1 << 20)).unwrap();
        assert_eq!(file.len(), Ok(LowerLen(1 << 20)));
        assert!(file.stat().unwrap().blocks >= 1 << 11);
        file.reserve(LowerOffset(0), LowerLen(0)).unwrap();
    }

    #[test]
    fn punched_pages_read_as_zeros_and_are_no_data() {
        let file = file();
        file.write_at(LowerOffset(0), &[7; 12_288]).unwrap();
        file.punch(LowerOffset(4096), LowerLen(4096)).unwrap();
        let mut out = [1; 12_288];
        assert_eq!(file.read_at(LowerOffset(0), &mut out), Ok(12_288));
        assert_eq!(out[4095..4097], [7, 0]);
        assert_eq!(out[8191..8193], [0, 7]);
        assert_eq!(file.next_data(LowerOffset(4096)), Ok(Some(LowerOffset(8192))));
        assert_eq!(file.len(), Ok(LowerLen(12_288)));
        file.sync(SyncScope::Data).unwrap();
        file.sync(SyncScope::All).unwrap();
    }

    #[test]
    fn marks_can_be_put_back() {
        let dir = TestDir::new();
        let file = dir.write_new(&name(ODD), b"12345", 0o640).unwrap();
        let then = LowerTime { secs: -7, nanos: 999_999_999 };
        dir.set_times(&name(ODD), None, Some(TimeSpec::At(then))).unwrap();
        let marks = file.marks().unwrap();
        file.write_at(LowerOffset(1), b"xy").unwrap();
        assert_ne!(file.marks().unwrap(), marks);
        file.put_back(&marks.clone().unwrap()).unwrap();
        assert_eq!(file.marks().unwrap(), marks);
        assert_eq!(file.stat().unwrap().mtime, then);
    }

    #[test]
    fn writing_to_a_read_only_file_is_refused() {
        let dir = TestDir::new();
        dir.create_file(&name(ODD), 0o600).unwrap();
        let file = dir.open_file(&name(ODD), Access::ReadOnly).unwrap();
        let error = file.write_at(LowerOffset(0), b"x").unwrap_err();
        assert_eq!(error, LowerError { op: "pwrite", errno: libc::EBADF });
    }

    #[test]
    fn stat_of_file_and_name_agree() {
        let dir = TestDir::new();
        let file = dir.write_new(&name(ODD), b"12345", 0o640).unwrap();
        let at = TimeSpec::At(LowerTime { secs: -1, nanos: 999_999_999 });
        dir.set_times(&name(ODD), Some(at), Some(at)).unwrap();
        assert_eq!(file.stat(), dir.stat(&name(ODD)));
        assert_eq!(file.stat().unwrap().len, LowerLen(5));
    }
}
