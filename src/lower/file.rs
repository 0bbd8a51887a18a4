//! A real open file as a [`LowerFile`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FallocateFlags, SeekFrom, fallocate, fdatasync, fstat, fsync, ftruncate, seek,
};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use crate::units::{LowerLen, LowerOffset};

use super::attributes::stat_at;
use super::types::{call, refused};
use super::{LowerError, LowerFile, LowerStat, SyncScope};

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
