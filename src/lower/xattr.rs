//! Extended attributes of a name, not followed, of an open file, and of a pinned inode.
//!
//! The calls of Linux take either a path or a descriptor that is open for more than O_PATH; the way
//! out for what is not open is a path through `/proc/self/fd`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    XattrFlags as RawFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, getxattr, lgetxattr,
    listxattr, llistxattr, lremovexattr, lsetxattr, removexattr, setxattr,
};
use rustix::io::Errno;

use crate::name::LowerName;

use super::proc_fd::{proc_path, proc_path_of_entry};
use super::types::{call, refused};
use super::{LowerDir, LowerError, OsFile, Pinned, XattrFlags};

impl LowerDir {
    /// The value of an extended attribute of an entry.
    ///
    /// # Errors
    /// What lgetxattr answers; ENODATA if there is none.
    pub fn find_xattr(&self, name: &LowerName, key: &[u8]) -> Result<Vec<u8>, LowerError> {
        let path = self.path_of(name);
        whole("lgetxattr", |out| lgetxattr(&path, OsStr::from_bytes(key), out))
    }

    /// Sets an extended attribute of an entry.
    ///
    /// # Errors
    /// What lsetxattr answers.
    pub fn set_xattr(
        &self,
        name: &LowerName,
        key: &[u8],
        value: &[u8],
        how: XattrFlags,
    ) -> Result<(), LowerError> {
        let path = self.path_of(name);
        call("lsetxattr", || lsetxattr(&path, OsStr::from_bytes(key), value, raw_flags(how)))
    }

    /// The names of all extended attributes of an entry.
    ///
    /// # Errors
    /// What llistxattr answers.
    pub fn list_xattrs(&self, name: &LowerName) -> Result<Vec<Vec<u8>>, LowerError> {
        let path = self.path_of(name);
        whole("llistxattr", |out| llistxattr(&path, out)).map(|list| split_names(&list))
    }

    /// Removes an extended attribute of an entry.
    ///
    /// # Errors
    /// What lremovexattr answers; ENODATA if there is none.
    pub fn remove_xattr(&self, name: &LowerName, key: &[u8]) -> Result<(), LowerError> {
        let path = self.path_of(name);
        call("lremovexattr", || lremovexattr(&path, OsStr::from_bytes(key)))
    }

    fn path_of(&self, name: &LowerName) -> OsString {
        proc_path_of_entry(&self.fd(), name.as_os_str())
    }
}

impl OsFile {
    /// The value of an extended attribute.
    ///
    /// # Errors
    /// What fgetxattr answers; ENODATA if there is none.
    pub fn find_xattr(&self, key: &[u8]) -> Result<Vec<u8>, LowerError> {
        whole("fgetxattr", |out| fgetxattr(self.as_fd(), OsStr::from_bytes(key), out))
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// What fsetxattr answers.
    pub fn set_xattr(&self, key: &[u8], value: &[u8], how: XattrFlags) -> Result<(), LowerError> {
        let key = OsStr::from_bytes(key);
        call("fsetxattr", || fsetxattr(self.as_fd(), key, value, raw_flags(how)))
    }

    /// The names of all extended attributes.
    ///
    /// # Errors
    /// What flistxattr answers.
    pub fn list_xattrs(&self) -> Result<Vec<Vec<u8>>, LowerError> {
        whole("flistxattr", |out| flistxattr(self.as_fd(), out)).map(|list| split_names(&list))
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// What fremovexattr answers; ENODATA if there is none.
    pub fn remove_xattr(&self, key: &[u8]) -> Result<(), LowerError> {
        call("fremovexattr", || fremovexattr(self.as_fd(), OsStr::from_bytes(key)))
    }
}

impl Pinned {
    /// The value of an extended attribute.
    ///
    /// # Errors
    /// What getxattr answers; ENODATA if there is none.
    pub fn find_xattr(&self, key: &[u8]) -> Result<Vec<u8>, LowerError> {
        let path = proc_path(&self.fd());
        whole("getxattr", |out| getxattr(&path, OsStr::from_bytes(key), out))
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// What setxattr answers.
    pub fn set_xattr(&self, key: &[u8], value: &[u8], how: XattrFlags) -> Result<(), LowerError> {
        let path = proc_path(&self.fd());
        call("setxattr", || setxattr(&path, OsStr::from_bytes(key), value, raw_flags(how)))
    }

    /// The names of all extended attributes.
    ///
    /// # Errors
    /// What listxattr answers.
    pub fn list_xattrs(&self) -> Result<Vec<Vec<u8>>, LowerError> {
        let path = proc_path(&self.fd());
        whole("listxattr", |out| listxattr(&path, out)).map(|list| split_names(&list))
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// What removexattr answers; ENODATA if there is none.
    pub fn remove_xattr(&self, key: &[u8]) -> Result<(), LowerError> {
        let path = proc_path(&self.fd());
        call("removexattr", || removexattr(&path, OsStr::from_bytes(key)))
    }
}

/// All bytes of a value or a list of names: most are short, none is longer than the kernel's limit.
fn whole(
    op: &'static str,
    mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<u8>, LowerError> {
    for capacity in [SHORT_LEN, XATTR_LEN_MAX] {
        let mut out = vec![0; capacity];
        match call(op, || read(&mut out)) {
            Ok(len) => {
                out.truncate(len);
                return Ok(out);
            }
            Err(error) if error.errno == libc::ERANGE => {}
            Err(error) => return Err(error),
        }
    }
    Err(refused(op, Errno::RANGE))
}

/// The kernel's list of names: each ends in NUL.
fn split_names(list: &[u8]) -> Vec<Vec<u8>> {
    list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

fn raw_flags(how: XattrFlags) -> RawFlags {
    match how {
        XattrFlags::Set => RawFlags::empty(),
        XattrFlags::Create => RawFlags::CREATE,
        XattrFlags::Replace => RawFlags::REPLACE,
    }
}

/// Bytes; first guess, enough for what programs store in practice.
const SHORT_LEN: usize = 1024;

/// Bytes; longest value and longest list of names. XATTR_SIZE_MAX, XATTR_LIST_MAX of Linux.
const XATTR_LEN_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::super::test_dir::{ODD, TestDir, name};
    use super::*;

    const KEY: &[u8] = b"user.k\xffey";

    fn errno<T: std::fmt::Debug>(answer: Result<T, LowerError>) -> i32 {
        answer.unwrap_err().errno
    }

    #[test]
    fn value_round_trips_by_name_and_by_pin() {
        let dir = TestDir::new();
        let file = name(ODD);
        dir.create_file(&file, 0o600).unwrap();
        let pinned = dir.pin(&file).unwrap();
        for len in [0, 1, 1024, 1025, 3000] {
            let value = vec![0x5a; len];
            dir.set_xattr(&file, KEY, &value, XattrFlags::Set).unwrap();
            assert_eq!(pinned.find_xattr(KEY), Ok(value));
        }
        pinned.set_xattr(b"user.b", b"\0", XattrFlags::Set).unwrap();
        let mut keys = dir.list_xattrs(&file).unwrap();
        keys.sort();
        assert_eq!(keys, [b"user.b".to_vec(), KEY.to_vec()]);
        assert_eq!(pinned.list_xattrs().unwrap().len(), 2);
        dir.remove_xattr(&file, KEY).unwrap();
        pinned.remove_xattr(b"user.b").unwrap();
        assert_eq!(dir.list_xattrs(&file), Ok(vec![]));
    }

    #[test]
    fn create_and_replace_look_at_what_is_there() {
        let dir = TestDir::new();
        let file = name("f");
        dir.create_file(&file, 0o600).unwrap();
        assert_eq!(errno(dir.set_xattr(&file, KEY, b"", XattrFlags::Replace)), libc::ENODATA);
        dir.set_xattr(&file, KEY, b"1", XattrFlags::Create).unwrap();
        assert_eq!(errno(dir.set_xattr(&file, KEY, b"", XattrFlags::Create)), libc::EEXIST);
        dir.set_xattr(&file, KEY, b"2", XattrFlags::Replace).unwrap();
        assert_eq!(dir.find_xattr(&file, KEY), Ok(b"2".to_vec()));
    }

    #[test]
    fn refusals_keep_their_errno() {
        let dir = TestDir::new();
        let file = name("f");
        dir.create_file(&file, 0o600).unwrap();
        assert_eq!(errno(dir.find_xattr(&file, KEY)), libc::ENODATA);
        assert_eq!(errno(dir.remove_xattr(&file, KEY)), libc::ENODATA);
        assert_eq!(errno(dir.find_xattr(&name("none"), KEY)), libc::ENOENT);
        let long = [b"user.".to_vec(), vec![b'x'; 251]].concat();
        assert_eq!(errno(dir.set_xattr(&file, &long, b"", XattrFlags::Set)), libc::ERANGE);
        let huge = vec![0; XATTR_LEN_MAX + 1];
        assert_eq!(errno(dir.set_xattr(&file, KEY, &huge, XattrFlags::Set)), libc::E2BIG);
    }

    #[test]
    fn symlink_is_not_followed() {
        let dir = TestDir::new();
        dir.create_file(&name("f"), 0o600).unwrap();
        dir.set_xattr(&name("f"), KEY, b"v", XattrFlags::Set).unwrap();
        dir.symlink(b"f", &name("l")).unwrap();
        assert!(dir.find_xattr(&name("l"), KEY).is_err());
        assert_eq!(errno(dir.set_xattr(&name("l"), KEY, b"", XattrFlags::Set)), libc::EPERM);
        assert_eq!(dir.list_xattrs(&name("l")), Ok(vec![]));
    }
}
