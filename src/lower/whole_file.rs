//! Small files that are read and written whole: markers, sidecars, the volume's configuration, locks.

use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock};
use rustix::io::Errno;

use crate::name::LowerName;
use crate::units::{LowerLen, LowerOffset};

use super::dir::file_flags;
use super::types::{call, refused};
use super::{Access, LowerDir, LowerError, LowerFile, OsFile, SyncScope};

/// A file with an exclusive lock; dropping it unlocks.
#[derive(Debug)]
pub struct LockedFile(OsFile);

impl LockedFile {
    /// The file, open for reading and writing.
    pub fn file(&self) -> &OsFile {
        &self.0
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Closing is not enough: between fork and exec a child holds a copy of every descriptor, and
        // the lock with it. That it is not unlocked now, nobody can be told; it is at the last close.
        let _ = flock(self.0.as_fd(), FlockOperation::Unlock);
    }
}

impl LowerDir {
    /// Locks a file of this directory, which is made if it is missing; `None` if it is locked.
    ///
    /// # Errors
    /// What openat2 and flock answer, but for EWOULDBLOCK.
    pub fn lock_exclusive(&self, name: &LowerName) -> Result<Option<LockedFile>, LowerError> {
        let flags = OFlags::CREATE | file_flags(Access::ReadWrite);
        let file = OsFile::from_fd(self.open(name, flags, Mode::RUSR | Mode::WUSR)?);
        match call("flock", || flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(Some(LockedFile(file))),
            Err(error) if error.errno == libc::EWOULDBLOCK => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a whole file of at most `limit` bytes.
    ///
    /// # Errors
    /// What open and pread answer; EFBIG for a longer file.
    pub fn read_small(&self, name: &LowerName, limit: usize) -> Result<Vec<u8>, LowerError> {
        let too_big = refused("pread", Errno::FBIG);
        let file = self.open_file(name, Access::ReadOnly)?;
        let LowerLen(len) = file.len()?;
        let len = usize::try_from(len).ok().filter(|len| *len <= limit).ok_or(too_big)?;
        // One byte more, to see a file that grows meanwhile.
        let mut bytes = vec![0; len.checked_add(1).ok_or(too_big)?];
        let read = file.read_at(LowerOffset(0), &mut bytes)?;
        if read > len {
            return Err(too_big);
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Creates a file that must not exist, with this content and exactly this mode whatever the
    /// umask. Not durable yet.
    ///
    /// # Errors
    /// What openat and pwrite answer; the file is removed again if it could not be written.
    pub fn write_new(
        &self,
        name: &LowerName,
        bytes: &[u8],
        mode: u32,
    ) -> Result<OsFile, LowerError> {
        let file = self.create_file(name, mode)?;
        let written = call("fchmod", || fchmod(file.as_fd(), Mode::from_raw_mode(mode)))
            .and_then(|()| file.write_at(LowerOffset(0), bytes));
        if let Err(error) = written {
            // The first error is the one to tell; a leftover is replaced by the next attempt.
            let _ = self.unlink(name);
            return Err(error);
        }
        Ok(file)
    }

    /// Replaces a file's whole content, durably: after a crash it is the old one or the new one.
    /// `temporary` is a name that nobody else uses; a leftover of that name is removed.
    ///
    /// # Errors
    /// What openat, pwrite, fsync and renameat answer; on all but the last fsync the old content
    /// stays.
    pub fn replace_file(
        &self,
        name: &LowerName,
        temporary: &LowerName,
        bytes: &[u8],
        mode: u32,
    ) -> Result<(), LowerError> {
        match self.unlink(temporary) {
            Err(error) if error.errno != libc::ENOENT => return Err(error),
            _ => {}
        }
        let moved = self
            .write_new(temporary, bytes, mode)
            .and_then(|file| file.sync(SyncScope::All))
            .and_then(|()| self.rename(temporary, self, name, super::LowerRename::Replace));
        if let Err(error) = moved {
            let _ = self.unlink(temporary);
            return Err(error);
        }
        self.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_dir::{ODD, TestDir, name};
    use super::*;

    #[test]
    fn small_file_is_read_up_to_its_limit() {
        let dir = TestDir::new();
        dir.write_new(&name(ODD), b"12345", 0o600).unwrap();
        assert_eq!(dir.read_small(&name(ODD), 5), Ok(b"12345".to_vec()));
        assert_eq!(dir.read_small(&name(ODD), 4).unwrap_err().errno, libc::EFBIG);
        assert_eq!(dir.read_small(&name("none"), 4).unwrap_err().errno, libc::ENOENT);
        dir.write_new(&name("empty"), b"", 0o600).unwrap();
        assert_eq!(dir.read_small(&name("empty"), 0), Ok(vec![]));
    }

    #[test]
    fn new_file_has_its_mode_whatever_the_umask() {
        let dir = TestDir::new();
        super::super::acting_as(0, 0, 0o777, || {
            dir.write_new(&name("f"), b"x", 0o644).map(drop)?;
            assert_eq!(dir.stat(&name("f"))?.mode, 0o644);
            Ok(())
        })
        .unwrap();
        assert_eq!(dir.write_new(&name("f"), b"", 0o644).unwrap_err().errno, libc::EEXIST);
    }

    #[test]
    fn replaced_file_is_the_new_one_and_leaves_nothing_behind() {
        let dir = TestDir::new();
        dir.write_new(&name("tmp"), b"leftover of a crash", 0o600).unwrap();
        for bytes in [&b"first and longer"[..], b"second"] {
            dir.replace_file(&name("f"), &name("tmp"), bytes, 0o640).unwrap();
            assert_eq!(dir.read_small(&name("f"), 99), Ok(bytes.to_vec()));
            assert_eq!(dir.stat(&name("f")).unwrap().mode, 0o640);
            assert_eq!(dir.stat(&name("tmp")).unwrap_err().errno, libc::ENOENT);
        }
    }

    #[test]
    fn failed_replacement_keeps_what_was_there() {
        let dir = TestDir::new();
        dir.mkdir(&name("f"), 0o700).unwrap();
        let error = dir.replace_file(&name("f"), &name("tmp"), b"x", 0o600).unwrap_err();
        assert_eq!(error, LowerError { op: "renameat", errno: libc::EISDIR });
        assert_eq!(dir.stat(&name("tmp")).unwrap_err().errno, libc::ENOENT);
    }

    #[test]
    fn second_lock_is_refused_until_the_first_is_gone() {
        let dir = TestDir::new();
        let first = dir.lock_exclusive(&name("lock")).unwrap();
        first.as_ref().unwrap().file().write_at(LowerOffset(0), b"1").unwrap();
        assert!(dir.lock_exclusive(&name("lock")).unwrap().is_none());
        drop(first);
        assert!(dir.lock_exclusive(&name("lock")).unwrap().is_some());
    }

    #[test]
    fn lock_goes_with_its_owner_although_a_child_holds_a_copy() {
        let dir = TestDir::new();
        let lock = dir.lock_exclusive(&name("lock")).unwrap().unwrap();
        let copy = lock.file().as_fd().try_clone_to_owned().unwrap();
        assert!(dir.lock_exclusive(&name("lock")).unwrap().is_none());
        drop(lock);
        assert!(dir.lock_exclusive(&name("lock")).unwrap().is_some());
        drop(copy);
    }
}
