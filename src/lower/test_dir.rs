//! A lower directory for the unit tests of this module.

use std::ops::Deref;
use std::path::Path;

use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use crate::name::LowerName;

use super::LowerDir;

/// An empty lower directory, removed on drop.
#[derive(Debug)]
pub(super) struct TestDir {
    dir: LowerDir,
    temp: tempfile::TempDir,
}

impl TestDir {
    pub(super) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        Self { dir: LowerDir::open_root(temp.path()).unwrap(), temp }
    }

    pub(super) fn path(&self) -> &Path {
        self.temp.path()
    }
}

impl Deref for TestDir {
    type Target = LowerDir;
    fn deref(&self) -> &LowerDir {
        &self.dir
    }
}

/// A name; most tests use one that is not UTF-8.
pub(super) fn name(bytes: impl AsRef<[u8]>) -> LowerName {
    LowerName::from_bytes(bytes.as_ref()).unwrap()
}

pub(super) const ODD: &[u8] = b"na\xff\xfeme";

/// Runs `work` in a thread of an ordinary user, without capabilities, that owns `dir`. Only root can
/// do that; others are ordinary users themselves.
pub(super) fn as_ordinary_user(dir: &LowerDir, work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                if rustix::process::geteuid().is_root() {
                    let (uid, gid) = (Uid::from_raw(USER), Gid::from_raw(USER));
                    rustix::fs::fchown(dir.fd(), Some(uid), Some(gid)).unwrap();
                    set_thread_res_gid(gid, gid, gid).unwrap();
                    set_thread_res_uid(uid, uid, uid).unwrap();
                }
                work();
            })
            .join()
            .unwrap();
    });
}

/// Any number that is not root's.
pub(super) const USER: u32 = 54_321;
