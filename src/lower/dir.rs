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

    /// Holds the directory itself by descriptor.
    ///
    /// # Errors
    /// What openat answers.
    pub fn pin_self(&self) -> Result<Pinned, LowerError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        call("openat", || openat(&self.0, ".", flags, Mode::empty())).map(Pinned::from_fd)
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
            LowerRename::Whiteout => RenameFlags::WHITEOUT,
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

#[cfg(test)]
mod tests {
    use super::super::test_dir::{ODD, TestDir, as_ordinary_user, name};
    use super::super::{LowerFile, NodeKind};
    use super::*;
    use crate::units::LowerOffset;

    fn errno<T: std::fmt::Debug>(answer: Result<T, LowerError>) -> i32 {
        answer.unwrap_err().errno
    }

    #[test]
    fn names_that_are_not_utf8_work_everywhere() {
        let dir = TestDir::new();
        let (odd, other) = (name(ODD), name(b"\x01\x80 \n"));
        dir.create_file(&odd, 0o600).unwrap();
        dir.link(&odd, &dir, &other).unwrap();
        assert_eq!(dir.stat(&other).unwrap().nlink, 2);
        dir.unlink(&odd).unwrap();
        dir.rename(&other, &dir, &odd, LowerRename::Replace).unwrap();
        dir.open_file(&odd, Access::ReadWrite).unwrap();
        assert_eq!(errno(dir.stat(&other)), libc::ENOENT);
    }

    #[test]
    fn planted_symlinks_are_never_followed() {
        let dir = TestDir::new();
        dir.create_file(&name("secret"), 0o600).unwrap();
        dir.mkdir(&name("inside"), 0o700).unwrap();
        dir.symlink(b"secret", &name("file")).unwrap();
        dir.symlink(b"inside", &name("dir")).unwrap();
        dir.symlink(b"nowhere", &name("dangling")).unwrap();
        assert_eq!(errno(dir.open_file(&name("file"), Access::ReadOnly)), libc::ELOOP);
        assert_eq!(errno(dir.open_file(&name("file"), Access::ReadWrite)), libc::ELOOP);
        assert_eq!(errno(dir.open_dir(&name("dir"))), libc::ELOOP);
        assert_eq!(errno(dir.create_file(&name("dangling"), 0o600)), libc::EEXIST);
        assert_eq!(errno(dir.lock_exclusive(&name("dangling"))), libc::ELOOP);
        assert_eq!(errno(dir.read_small(&name("file"), 10)), libc::ELOOP);
        assert_eq!(errno(dir.rmdir(&name("dir"))), libc::ENOTDIR);
        assert_eq!(errno(dir.stat(&name("nowhere"))), libc::ENOENT);
        assert_eq!(errno(dir.open_dir(&name("secret"))), libc::ENOTDIR);
    }

    #[test]
    fn link_to_a_symlink_is_a_second_name_of_the_symlink() {
        let dir = TestDir::new();
        dir.symlink(b"nowhere", &name("a")).unwrap();
        dir.link(&name("a"), &dir, &name("b")).unwrap();
        assert_eq!(dir.stat(&name("a")), dir.stat(&name("b")));
    }

    #[test]
    fn longest_symlink_target_comes_back_whole() {
        let dir = TestDir::new();
        for len in [1, 255, 256, 1023, 1024, 4094, 4095] {
            let target = vec![0xc3; len];
            dir.symlink(&target, &name("l")).unwrap();
            assert_eq!(dir.readlink(&name("l")), Ok(target));
            dir.unlink(&name("l")).unwrap();
        }
        assert_eq!(errno(dir.symlink(&[b'x'; 4096], &name("l"))), libc::ENAMETOOLONG);
        assert_eq!(errno(dir.symlink(b"a\0b", &name("l"))), libc::EINVAL);
        dir.create_file(&name("f"), 0o600).unwrap();
        assert_eq!(errno(dir.readlink(&name("f"))), libc::EINVAL);
    }

    #[test]
    fn rename_replaces_refuses_and_exchanges() {
        let dir = TestDir::new();
        dir.mkdir(&name("sub"), 0o700).unwrap();
        let sub = dir.open_dir(&name("sub")).unwrap();
        dir.write_new(&name("a"), b"A", 0o600).unwrap();
        sub.write_new(&name("b"), b"B", 0o600).unwrap();
        let (a, b) = (name("a"), name("b"));
        assert_eq!(errno(dir.rename(&a, &sub, &b, LowerRename::NoReplace)), libc::EEXIST);
        dir.rename(&a, &sub, &b, LowerRename::Exchange).unwrap();
        assert_eq!(dir.read_small(&a, 9), Ok(b"B".to_vec()));
        assert_eq!(sub.read_small(&b, 9), Ok(b"A".to_vec()));
        assert_eq!(errno(dir.rename(&a, &sub, &name("c"), LowerRename::Exchange)), libc::ENOENT);
        dir.rename(&a, &sub, &b, LowerRename::Replace).unwrap();
        assert_eq!(sub.read_small(&b, 9), Ok(b"B".to_vec()));
        sub.rename(&b, &dir, &a, LowerRename::NoReplace).unwrap();
        assert_eq!(dir.read_small(&a, 9), Ok(b"B".to_vec()));
    }

    #[test]
    fn create_is_exclusive_and_writable_whatever_the_mode() {
        let dir = TestDir::new();
        let file = dir.create_file(&name("f"), 0o000).unwrap();
        file.write_at(LowerOffset(0), b"x").unwrap();
        assert_eq!(errno(dir.create_file(&name("f"), 0o600)), libc::EEXIST);
        assert_eq!(dir.stat(&name("f")).unwrap().mode, 0);
    }

    #[test]
    fn directories_are_made_and_removed_empty_only() {
        let dir = TestDir::new();
        dir.mkdir(&name(ODD), 0o700).unwrap();
        let sub = dir.open_dir(&name(ODD)).unwrap();
        sub.create_file(&name("f"), 0o600).unwrap();
        assert_eq!(errno(dir.rmdir(&name(ODD))), libc::ENOTEMPTY);
        assert_eq!(errno(dir.unlink(&name(ODD))), libc::EISDIR);
        sub.unlink(&name("f")).unwrap();
        dir.rmdir(&name(ODD)).unwrap();
        assert_eq!(errno(sub.create_file(&name("f"), 0o600)), libc::ENOENT);
    }

    #[test]
    fn nodes_have_their_kind_and_device_number() {
        let dir = TestDir::new();
        dir.mknod(&name("fifo"), libc::S_IFIFO | 0o600, 0).unwrap();
        dir.mknod(&name("file"), libc::S_IFREG | 0o600, 0).unwrap();
        dir.mknod(&name("sock"), libc::S_IFSOCK | 0o600, 0).unwrap();
        let kind = |text: &str| dir.stat(&name(text)).unwrap().kind;
        assert_eq!(kind("fifo"), NodeKind::Fifo);
        assert_eq!(kind("file"), NodeKind::File);
        assert_eq!(kind("sock"), NodeKind::Socket);
        let rdev = rustix::fs::makedev(259, 70_000);
        match dir.mknod(&name("dev"), libc::S_IFBLK | 0o600, rdev) {
            Ok(()) => assert_eq!(dir.stat(&name("dev")).unwrap().rdev, rdev),
            Err(error) => assert_eq!(error.errno, libc::EPERM),
        }
    }

    #[test]
    fn a_fifo_in_place_of_a_file_does_not_hang() {
        let dir = TestDir::new();
        dir.mknod(&name("fifo"), libc::S_IFIFO | 0o600, 0).unwrap();
        let file = dir.open_file(&name("fifo"), Access::ReadOnly).unwrap();
        assert_eq!(errno(file.read_at(LowerOffset(0), &mut [0; 4])), libc::ESPIPE);
    }

    #[test]
    fn syncs_and_statfs_answer() {
        let dir = TestDir::new();
        dir.sync().unwrap();
        dir.sync_fs().unwrap();
        dir.reopen().unwrap().sync().unwrap();
        let stat = dir.statfs().unwrap();
        assert!(stat.blocks >= stat.bfree && stat.bfree >= stat.bavail);
        assert!(stat.namelen >= 255 && stat.frsize >= 512);
    }

    #[test]
    fn root_may_be_reached_through_a_symlink_but_must_be_a_directory() {
        let dir = TestDir::new();
        dir.mkdir(&name("real"), 0o700).unwrap();
        dir.symlink(b"real", &name("link")).unwrap();
        dir.create_file(&name("file"), 0o600).unwrap();
        let root = LowerDir::open_root(&dir.path().join("link")).unwrap();
        assert_eq!(root.stat_self(), dir.stat(&name("real")));
        assert_eq!(errno(LowerDir::open_root(&dir.path().join("file"))), libc::ENOTDIR);
        assert_eq!(errno(LowerDir::open_root(&dir.path().join("none"))), libc::ENOENT);
    }

    #[test]
    fn owner_without_rights_opens_its_file_and_the_mode_stays() {
        let dir = TestDir::new();
        as_ordinary_user(&dir, || {
            for mode in [0o000, 0o200, 0o400, 0o444] {
                dir.write_new(&name("f"), b"x", mode).unwrap();
                let file = dir.open_file(&name("f"), Access::ReadWrite).unwrap();
                file.write_at(LowerOffset(0), b"y").unwrap();
                assert_eq!(dir.read_small(&name("f"), 9), Ok(b"y".to_vec()));
                assert_eq!(dir.stat(&name("f")).unwrap().mode, mode);
                dir.unlink(&name("f")).unwrap();
            }
        });
    }

    #[test]
    fn unreadable_directory_of_our_own_can_be_used_read_and_synced() {
        let dir = TestDir::new();
        as_ordinary_user(&dir, || {
            dir.mkdir(&name("d"), 0o300).unwrap();
            let sub = dir.open_dir(&name("d")).unwrap();
            sub.create_file(&name("f"), 0o600).unwrap();
            sub.sync().unwrap();
            assert_eq!(dir.stat(&name("d")).unwrap().mode, 0o300);
            assert_eq!(sub.entries(0, &mut Vec::new()).unwrap().count(), 3);
            assert_eq!(dir.stat(&name("d")).unwrap().mode, 0o300);
            assert_eq!(sub.reopen().unwrap().stat(&name("f")).unwrap().kind, NodeKind::File);
        });
    }

    #[test]
    fn file_of_another_user_stays_closed() {
        let dir = TestDir::new();
        dir.write_new(&name("f"), b"x", 0o600).unwrap();
        if !rustix::process::geteuid().is_root() {
            return;
        }
        as_ordinary_user(&dir, || {
            assert_eq!(errno(dir.open_file(&name("f"), Access::ReadOnly)), libc::EACCES);
        });
    }
}
