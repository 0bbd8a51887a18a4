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
        let times = timestamps(atime, mtime);
        call("utimensat", || match utimensat(self.fd(), "", &times, AtFlags::EMPTY_PATH) {
            // Linux before 5.8.
            Err(Errno::INVAL) => utimensat(CWD, proc_path(&self.0), &times, AtFlags::empty()),
            done => done,
        })
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

#[cfg(test)]
mod tests {
    use super::super::test_dir::{ODD, TestDir, as_ordinary_user, name};
    use super::super::{LowerFile, LowerTime, NodeKind, XattrFlags};
    use super::*;
    use crate::units::LowerOffset;

    #[test]
    fn unlinked_inode_stays_readable_and_writable() {
        let dir = TestDir::new();
        dir.write_new(&name(ODD), b"abc", 0o600).unwrap();
        let pinned = dir.pin(&name(ODD)).unwrap();
        dir.unlink(&name(ODD)).unwrap();
        assert_eq!(pinned.stat().unwrap().nlink, 0);
        let file = pinned.open_file(Access::ReadWrite).unwrap();
        file.write_at(LowerOffset(1), b"X").unwrap();
        let mut out = [0; 3];
        pinned.open_file(Access::ReadOnly).unwrap().read_at(LowerOffset(0), &mut out).unwrap();
        assert_eq!(&out, b"aXc");
    }

    #[test]
    fn unlinked_inode_takes_attributes() {
        let dir = TestDir::new();
        dir.write_new(&name(ODD), b"", 0o600).unwrap();
        let pinned = dir.pin(&name(ODD)).unwrap();
        dir.unlink(&name(ODD)).unwrap();
        let at = LowerTime { secs: -5, nanos: 250 };
        pinned.chmod(0o4711).unwrap();
        pinned.set_times(Some(TimeSpec::Now), Some(TimeSpec::At(at))).unwrap();
        pinned.chown(None, Some(pinned.stat().unwrap().gid)).unwrap();
        pinned.set_xattr(b"user.k", b"v", XattrFlags::Create).unwrap();
        assert_eq!(pinned.find_xattr(b"user.k"), Ok(b"v".to_vec()));
        assert_eq!(pinned.stat().unwrap().mtime, at);
    }

    #[test]
    fn pinned_symlink_is_the_link_itself() {
        let dir = TestDir::new();
        let target = [b'a'; 4095];
        dir.symlink(&target, &name("l")).unwrap();
        let pinned = dir.pin(&name("l")).unwrap();
        dir.unlink(&name("l")).unwrap();
        assert_eq!(pinned.stat().unwrap().kind, NodeKind::Symlink);
        assert_eq!(pinned.readlink(), Ok(target.to_vec()));
        let at = LowerTime { secs: 9, nanos: 9 };
        pinned.set_times(None, Some(TimeSpec::At(at))).unwrap();
        assert_eq!(pinned.stat().unwrap().mtime, at);
        assert_eq!(pinned.open_file(Access::ReadOnly).unwrap_err().errno, libc::ELOOP);
        assert_eq!(pinned.chmod(0o600).unwrap_err().errno, libc::EOPNOTSUPP);
        assert_eq!(pinned.list_xattrs(), Ok(vec![]));
    }

    #[test]
    fn inode_gets_a_second_name_also_from_an_ordinary_user() {
        let dir = TestDir::new();
        dir.write_new(&name("a"), b"abc", 0o600).unwrap();
        dir.symlink(b"a", &name("s")).unwrap();
        dir.pin(&name("a")).unwrap().link_to(&dir, &name("b")).unwrap();
        dir.pin(&name("s")).unwrap().link_to(&dir, &name("t")).unwrap();
        assert_eq!(dir.stat(&name("b")), dir.stat(&name("a")));
        assert_eq!(dir.stat(&name("t")), dir.stat(&name("s")));
        as_ordinary_user(&dir, || {
            dir.write_new(&name("c"), b"", 0o600).unwrap();
            let pinned = dir.pin(&name("c")).unwrap();
            pinned.link_to(&dir, &name("d")).unwrap();
            let again = pinned.link_to(&dir, &name("d")).unwrap_err();
            assert_eq!(again.errno, libc::EEXIST);
            assert_eq!(dir.stat(&name("d")).unwrap().nlink, 2);
        });
    }

    #[test]
    fn inode_without_names_gets_none() {
        let dir = TestDir::new();
        dir.create_file(&name("a"), 0o600).unwrap();
        let pinned = dir.pin(&name("a")).unwrap();
        dir.unlink(&name("a")).unwrap();
        assert_eq!(pinned.link_to(&dir, &name("b")).unwrap_err().errno, libc::ENOENT);
    }

    #[test]
    fn owner_without_rights_opens_its_pinned_file() {
        let dir = TestDir::new();
        as_ordinary_user(&dir, || {
            dir.write_new(&name("f"), b"", 0o400).unwrap();
            let pinned = dir.pin(&name("f")).unwrap();
            dir.unlink(&name("f")).unwrap();
            pinned.open_file(Access::ReadWrite).unwrap();
            assert_eq!(pinned.stat().unwrap().mode, 0o400);
        });
    }
}
