//! [`Inode`]: whatever an inode is reached by, for its attributes.

use crate::name::LowerName;

use super::{LowerDir, LowerError, LowerStat, OsFile, Pinned, TimeSpec, XattrFlags};

/// An inode by one of the things that reach it. A symbolic link is never followed.
#[derive(Clone, Copy, Debug)]
pub enum Inode<'a> {
    /// A name in a directory.
    Entry(&'a LowerDir, &'a LowerName),
    /// A regular file that is open: no name is looked up.
    Open(&'a OsFile),
    /// Held by descriptor, with or without a name.
    Pinned(&'a Pinned),
}

impl Inode<'_> {
    /// Attributes.
    ///
    /// # Errors
    /// What statx answers.
    pub fn stat(&self) -> Result<LowerStat, LowerError> {
        match self {
            Self::Entry(dir, name) => dir.stat(name),
            Self::Open(file) => file.stat(),
            Self::Pinned(pinned) => pinned.stat(),
        }
    }

    /// Sets permission, set-id and sticky bits.
    ///
    /// # Errors
    /// What chmod answers; EOPNOTSUPP for a symbolic link.
    pub fn chmod(&self, mode: u32) -> Result<(), LowerError> {
        match self {
            Self::Entry(dir, name) => dir.chmod(name, mode),
            Self::Open(file) => file.chmod(mode),
            Self::Pinned(pinned) => pinned.chmod(mode),
        }
    }

    /// Sets owner and group; `None` leaves one as it is.
    ///
    /// # Errors
    /// What chown answers.
    pub fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), LowerError> {
        match self {
            Self::Entry(dir, name) => dir.chown(name, uid, gid),
            Self::Open(file) => file.chown(uid, gid),
            Self::Pinned(pinned) => pinned.chown(uid, gid),
        }
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
        match self {
            Self::Entry(dir, name) => dir.set_times(name, atime, mtime),
            Self::Open(file) => file.set_times(atime, mtime),
            Self::Pinned(pinned) => pinned.set_times(atime, mtime),
        }
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// What getxattr answers; ENODATA if there is none.
    pub fn find_xattr(&self, key: &[u8]) -> Result<Vec<u8>, LowerError> {
        match self {
            Self::Entry(dir, name) => dir.find_xattr(name, key),
            Self::Open(file) => file.find_xattr(key),
            Self::Pinned(pinned) => pinned.find_xattr(key),
        }
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// What setxattr answers.
    pub fn set_xattr(&self, key: &[u8], value: &[u8], how: XattrFlags) -> Result<(), LowerError> {
        match self {
            Self::Entry(dir, name) => dir.set_xattr(name, key, value, how),
            Self::Open(file) => file.set_xattr(key, value, how),
            Self::Pinned(pinned) => pinned.set_xattr(key, value, how),
        }
    }

    /// The names of all extended attributes.
    ///
    /// # Errors
    /// What listxattr answers.
    pub fn list_xattrs(&self) -> Result<Vec<Vec<u8>>, LowerError> {
        match self {
            Self::Entry(dir, name) => dir.list_xattrs(name),
            Self::Open(file) => file.list_xattrs(),
            Self::Pinned(pinned) => pinned.list_xattrs(),
        }
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// What removexattr answers; ENODATA if there is none.
    pub fn remove_xattr(&self, key: &[u8]) -> Result<(), LowerError> {
        match self {
            Self::Entry(dir, name) => dir.remove_xattr(name, key),
            Self::Open(file) => file.remove_xattr(key),
            Self::Pinned(pinned) => pinned.remove_xattr(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LowerTime;
    use super::super::test_dir::{ODD, TestDir, name};
    use super::*;

    const KEY: &[u8] = b"user.key";

    #[test]
    fn one_inode_is_the_same_however_it_is_reached() {
        let dir = TestDir::new();
        let entry = name(ODD);
        let file = dir.create_file(&entry, 0o600).unwrap();
        let pinned = dir.pin(&entry).unwrap();
        let ways = [Inode::Entry(&dir, &entry), Inode::Open(&file), Inode::Pinned(&pinned)];
        for (no, way) in (0_u8..).zip(ways) {
            let at = LowerTime { secs: 100 + i64::from(no), nanos: 5 };
            way.chmod(0o640 + u32::from(no)).unwrap();
            way.chown(None, None).unwrap();
            way.set_times(None, Some(TimeSpec::At(at))).unwrap();
            way.set_xattr(KEY, &[no], XattrFlags::Set).unwrap();
            let stat = way.stat().unwrap();
            assert_eq!((stat.mode, stat.mtime), (0o640 + u32::from(no), at));
            for other in ways {
                assert_eq!(other.stat().unwrap(), stat);
                assert_eq!(other.find_xattr(KEY).unwrap(), [no]);
                assert_eq!(other.list_xattrs().unwrap(), [KEY.to_vec()]);
            }
            way.remove_xattr(KEY).unwrap();
            assert_eq!(way.find_xattr(KEY).unwrap_err().errno, libc::ENODATA);
        }
    }

    #[test]
    fn an_open_file_keeps_its_attributes_without_a_name() {
        let dir = TestDir::new();
        let file = dir.create_file(&name("f"), 0o600).unwrap();
        dir.unlink(&name("f")).unwrap();
        dir.create_file(&name("f"), 0o600).unwrap();
        let inode = Inode::Open(&file);
        inode.chmod(0o644).unwrap();
        inode.set_xattr(KEY, b"v", XattrFlags::Create).unwrap();
        assert_eq!(dir.stat(&name("f")).unwrap().mode, 0o600);
        assert_eq!((inode.stat().unwrap().nlink, inode.stat().unwrap().mode), (0, 0o644));
    }
}
