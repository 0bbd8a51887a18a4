//! Any inode, held by an O_PATH descriptor: without a name, or of a kind that is never opened.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, OFlags, linkat, readlinkat, utimensat};
use rustix::io::Errno;

use crate::name::LowerName;

use super::attributes::{chown_at, stat_at, timestamps};
use super::dir::file_flags;
use super::proc_fd::{chmod_inode, open_inode_as_owner, proc_path};
use super::types::{call, refused};
use super::{Access, LowerDir, LowerError, LowerStat, OsFile, TimeSpec};

/// An inode of any kind. It lives at least as long as this, with or without a name.
#[derive(Debug)]
pub struct Pinned(OwnedFd);

impl Pinned {
    /// Takes over a descriptor, O_PATH or not.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Attributes.
    ///
    /// # Errors
    /// What statx answers.
    pub fn stat(&self) -> Result<LowerStat, LowerError> {
        stat_at(self.fd(), "", AtFlags::EMPTY_PATH)
    }

    /// Opens a regular file, also one of our own that its mode closes to its owner.
    ///
    /// # Errors
    /// What open answers; ELOOP for a symbolic link.
    pub fn open_file(&self, access: Access) -> Result<OsFile, LowerError> {
        let (flags, needed) = match access {
            Access::ReadOnly => (file_flags(access), 0o400),
            Access::ReadWrite => (file_flags(access), 0o600),
        };
        // The link in /proc is to be followed; it never leads through a symbolic link.
        open_inode_as_owner(self.fd(), flags - OFlags::NOFOLLOW, needed)
            .map(OsFile::from_fd)
            .map_err(|error| refused("open", error))
    }

    /// Sets permission, set-id and sticky bits.
    ///
    /// # Errors
    /// What chmod answers; EOPNOTSUPP for a symbolic link.
    pub fn chmod(&self, mode: u32) -> Result<(), LowerError> {
        call("chmod", || chmod_inode(self.fd(), mode))
    }

    /// Sets owner and group; `None` leaves one as it is.
    ///
    /// # Errors
    /// What fchownat answers.
    pub fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), LowerError> {
        chown_at(self.fd(), "", uid, gid, AtFlags::EMPTY_PATH)
    }

    /// Sets the times; `None` leaves one as it is.
    ///
    /// # Errors
    /// What utimensat answers.
    pub fn set_times(
        &self,
        atime: Option<TimeSpec>,
        mtime: Option<TimeSpec>,
    ) -> Result<(), LowerError> {
        // Not AT_EMPTY_PATH: utimensat takes that since Linux 5.8 only.
        let times = timestamps(atime, mtime);
        let path = proc_path(&self.0);
        call("utimensat", || utimensat(CWD, &path, &times, AtFlags::empty()))
    }

    /// The target of a symbolic link, whole.
    ///
    /// # Errors
    /// What readlinkat answers; ENOENT if it is none.
    pub fn readlink(&self) -> Result<Vec<u8>, LowerError> {
        let target = call("readlinkat", || readlinkat(&self.0, "", Vec::new()))?;
        Ok(target.into_bytes())
    }

    /// Gives the inode a name.
    ///
    /// # Errors
    /// What linkat answers; ENOENT if its last name is gone.
    pub fn link_to(&self, dir: &LowerDir, name: &LowerName) -> Result<(), LowerError> {
        let name = name.as_os_str();
        match linkat(&self.0, "", dir.fd(), name, AtFlags::EMPTY_PATH) {
            // Without CAP_DAC_READ_SEARCH the empty path is answered like a missing one.
            Err(Errno::NOENT | Errno::PERM | Errno::INVAL | Errno::INTR) => {}
            answer => return answer.map_err(|error| refused("linkat", error)),
        }
        let path = proc_path(&self.0);
        call("linkat", || linkat(CWD, &path, dir.fd(), name, AtFlags::SYMLINK_FOLLOW))
    }
}
