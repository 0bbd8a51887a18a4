//! A directory of the lower filesystem and the names in it.
//!
//! Attributes stand in `attributes`, reading in `entries`, small whole files in `whole_file`.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, fstatvfs, fsync, linkat,
    mkdirat, mknodat, openat, openat2, readlinkat, renameat, renameat_with, symlinkat, syncfs,
    unlinkat,
};
use rustix::io::{Errno, retry_on_intr};

use crate::name::LowerName;

use super::proc_fd::open_inode_as_owner;
use super::types::{call, refused};
use super::{Access, LowerError, LowerRename, LowerStatFs, OsFile, Pinned};

/// An open directory of the lower filesystem.
///
/// Open for reading, so that it can be synced and read; with O_PATH only where its mode forbids that.
#[derive(Debug)]
pub struct LowerDir(OwnedFd);

impl LowerDir {
    /// Opens the root of a volume: the one path in this module, as the user typed it. It may lead
    /// through symbolic links; nothing behind it may.
    ///
    /// # Errors
    /// What open answers; ENOTDIR if it is none.
    pub fn open_root(path: &Path) -> Result<Self, LowerError> {
        let open = |flags| {
            call("open", || openat(CWD, path, DIRECTORY | flags | OFlags::CLOEXEC, Mode::empty()))
        };
        match open(OFlags::RDONLY) {
            Err(error) if error.errno == libc::EACCES => open(OFlags::PATH).map(Self),
            answer => answer.map(Self),
        }
    }

    /// Opens a directory in this one.
    ///
    /// # Errors
    /// What openat2 answers; ELOOP for a symbolic link (ENOTDIR before Linux 5.6), ENOTDIR for
    /// anything else.
    pub fn open_dir(&self, name: &LowerName) -> Result<Self, LowerError> {
        let open = |flags| self.open(name, DIRECTORY | flags, Mode::empty());
        match open(OFlags::RDONLY) {
            Err(error) if error.errno == libc::EACCES => open(OFlags::PATH).map(Self),
            answer => answer.map(Self),
        }
    }

    /// Opens this directory once more, with a position of its own.
    ///
    /// # Errors
    /// What openat answers.
    pub fn reopen(&self) -> Result<Self, LowerError> {
        match self.open_for_reading() {
            Err(Errno::ACCESS) => {
                let flags = DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
                call("openat", || openat(&self.0, ".", flags, Mode::empty())).map(Self)
            }
            answer => answer.map(Self).map_err(|error| refused("openat", error)),
        }
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens a regular file, also one of our own that its mode closes to its owner.
    ///
    /// # Errors
    /// What openat2 answers; ELOOP for a symbolic link.
    pub fn open_file(&self, name: &LowerName, access: Access) -> Result<OsFile, LowerError> {
        match self.open(name, file_flags(access), Mode::empty()) {
            Err(error) if error.errno == libc::EACCES => self.pin(name)?.open_file(access),
            answer => answer.map(OsFile::from_fd),
        }
    }

    /// Creates a regular file that must not exist, open for reading and writing whatever its mode.
    ///
    /// # Errors
    /// What openat answers; EEXIST for any entry of this name, a symbolic link too.
    pub fn create_file(&self, name: &LowerName, mode: u32) -> Result<OsFile, LowerError> {
        let flags = OFlags::CREATE | OFlags::EXCL | file_flags(Access::ReadWrite) | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        call("openat", || openat(&self.0, name.as_os_str(), flags, mode)).map(OsFile::from_fd)
    }

    /// Holds an entry of any kind by descriptor.
    ///
    /// # Errors
    /// What openat2 answers.
    pub fn pin(&self, name: &LowerName) -> Result<Pinned, LowerError> {
        self.open(name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).map(Pinned::from_fd)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// What mkdirat answers.
    pub fn mkdir(&self, name: &LowerName, mode: u32) -> Result<(), LowerError> {
        call("mkdirat", || mkdirat(&self.0, name.as_os_str(), Mode::from_raw_mode(mode)))
    }

    /// Removes an entry that is no directory.
    ///
    /// # Errors
    /// What unlinkat answers.
    pub fn unlink(&self, name: &LowerName) -> Result<(), LowerError> {
        call("unlinkat", || unlinkat(&self.0, name.as_os_str(), AtFlags::empty()))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// What unlinkat answers.
    pub fn rmdir(&self, name: &LowerName) -> Result<(), LowerError> {
        call("unlinkat", || unlinkat(&self.0, name.as_os_str(), AtFlags::REMOVEDIR))
    }

    /// Renames an entry.
    ///
    /// # Errors
    /// What renameat2 answers; EINVAL where the lower filesystem offers Replace only.
    pub fn rename(
        &self,
        name: &LowerName,
        to: &Self,
        new: &LowerName,
        how: LowerRename,
    ) -> Result<(), LowerError> {
        let (name, new) = (name.as_os_str(), new.as_os_str());
        let flags = match how {
            LowerRename::Replace => {
                return call("renameat", || renameat(&self.0, name, &to.0, new));
            }
            LowerRename::NoReplace => RenameFlags::NOREPLACE,
            LowerRename::Exchange => RenameFlags::EXCHANGE,
        };
        call("renameat2", || renameat_with(&self.0, name, &to.0, new, flags))
    }

    /// Gives an entry a second name; a symbolic link itself, not what it leads to.
    ///
    /// # Errors
    /// What linkat answers.
    pub fn link(&self, name: &LowerName, to: &Self, new: &LowerName) -> Result<(), LowerError> {
        call("linkat", || {
            linkat(&self.0, name.as_os_str(), &to.0, new.as_os_str(), AtFlags::empty())
        })
    }

    /// Makes a symbolic link. `target` is any bytes but NUL, at most 4095.
    ///
    /// # Errors
    /// What symlinkat answers; EINVAL for a NUL.
    pub fn symlink(&self, target: &[u8], name: &LowerName) -> Result<(), LowerError> {
        let target = OsStr::from_bytes(target);
        call("symlinkat", || symlinkat(target, &self.0, name.as_os_str()))
    }

    /// The target of a symbolic link, whole.
    ///
    /// # Errors
    /// What readlinkat answers; EINVAL if it is none.
    pub fn readlink(&self, name: &LowerName) -> Result<Vec<u8>, LowerError> {
        let target = call("readlinkat", || readlinkat(&self.0, name.as_os_str(), Vec::new()))?;
        Ok(target.into_bytes())
    }

    /// Makes a node of any kind but a directory and a symbolic link. `rdev` as in `st_rdev`.
    ///
    /// # Errors
    /// What mknodat answers.
    pub fn mknod(
        &self,
        name: &LowerName,
        mode_with_type: u32,
        rdev: u64,
    ) -> Result<(), LowerError> {
        let kind = FileType::from_raw_mode(mode_with_type);
        let mode = Mode::from_raw_mode(mode_with_type);
        call("mknodat", || mknodat(&self.0, name.as_os_str(), kind, mode, rdev))
    }

    /// Makes the entries durable: fsync of the directory.
    ///
    /// # Errors
    /// What fsync answers.
    pub fn sync(&self) -> Result<(), LowerError> {
        self.with_real_fd("fsync", |fd| fsync(fd))
    }

    /// Makes the whole lower filesystem durable.
    ///
    /// # Errors
    /// What syncfs answers.
    pub fn sync_fs(&self) -> Result<(), LowerError> {
        self.with_real_fd("syncfs", |fd| syncfs(fd))
    }

    /// Numbers of the lower filesystem.
    ///
    /// # Errors
    /// What fstatfs answers.
    pub fn statfs(&self) -> Result<LowerStatFs, LowerError> {
        let stat = call("fstatfs", || fstatvfs(&self.0))?;
        Ok(LowerStatFs {
            blocks: stat.f_blocks,
            bfree: stat.f_bfree,
            bavail: stat.f_bavail,
            files: stat.f_files,
            ffree: stat.f_ffree,
            bsize: stat.f_bsize,
            frsize: stat.f_frsize,
            namelen: stat.f_namemax,
        })
    }

    /// A second descriptor of this directory, open for reading.
    pub(super) fn open_for_reading(&self) -> Result<OwnedFd, Errno> {
        let flags = DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        retry_on_intr(|| openat(&self.0, ".", flags, Mode::empty()))
    }

    /// Opens an entry without ever following a symbolic link or leaving the directory.
    pub(super) fn open(
        &self,
        name: &LowerName,
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd, LowerError> {
        let name = name.as_os_str();
        let flags = flags | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match retry_on_intr(|| openat2(&self.0, name, flags, mode, resolve)) {
            // Older kernels do not know the call, older sandboxes forbid what they do not know.
            Err(Errno::NOSYS | Errno::PERM) => {
                call("openat", || openat(&self.0, name, flags | OFlags::NOFOLLOW, mode))
            }
            answer => answer.map_err(|error| refused("openat2", error)),
        }
    }

    /// Does to a readable descriptor what O_PATH refuses.
    fn with_real_fd(
        &self,
        op: &'static str,
        work: impl Fn(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<(), LowerError> {
        match retry_on_intr(|| work(self.fd())) {
            Err(Errno::BADF) => {}
            answer => return answer.map_err(|error| refused(op, error)),
        }
        let fd = open_inode_as_owner(self.fd(), DIRECTORY | OFlags::RDONLY, 0o400)
            .map_err(|error| refused("open", error))?;
        call(op, || work(fd.as_fd()))
    }
}

/// Flags of every open of a regular file. O_NONBLOCK, so that a fifo in its place does not hang us.
pub(super) fn file_flags(access: Access) -> OFlags {
    let access = match access {
        Access::ReadOnly => OFlags::RDONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY
}

const DIRECTORY: OFlags = OFlags::DIRECTORY;
