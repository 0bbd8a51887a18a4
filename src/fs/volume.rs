//! The volume: everything the mount, the commands and the tests can do with it.

use crate::fs::{
    AllocateHow, Attr, Caller, DirEntry, FsError, NodeId, RenameHow, SeekTo, SetAttr, StatFs,
    WriteHow, XattrHow,
};
use crate::lower::SyncScope;
use crate::name::PlainName;
use std::ops::ControlFlow;

/// One volume, open.
#[derive(Debug)]
pub struct Volume {}

#[allow(missing_docs, unused_variables, clippy::missing_errors_doc)]
impl Volume {
    /// `Ok(None)`: no such name, and the kernel may remember that. Counts one lookup if found.
    pub fn lookup(&self, parent: NodeId, name: &PlainName) -> Result<Option<Attr>, FsError> {
        unimplemented!()
    }
    /// The kernel drops `count` lookups of a node.
    pub fn forget(&self, node: NodeId, count: u64) {
        unimplemented!()
    }
    pub fn attr(&self, node: NodeId) -> Result<Attr, FsError> {
        unimplemented!()
    }
    pub fn set_attr(&self, node: NodeId, set: &SetAttr) -> Result<Attr, FsError> {
        unimplemented!()
    }
    pub fn readlink(&self, node: NodeId) -> Result<Vec<u8>, FsError> {
        unimplemented!()
    }
    /// Makes a regular, special or device file; `mode` has the type bits (S_IFMT). Counts one lookup.
    pub fn mknod(
        &self,
        parent: NodeId,
        name: &PlainName,
        mode: u32,
        umask: u32,
        rdev: u32,
        caller: Caller,
    ) -> Result<Attr, FsError> {
        unimplemented!()
    }
    pub fn mkdir(
        &self,
        parent: NodeId,
        name: &PlainName,
        mode: u32,
        umask: u32,
        caller: Caller,
    ) -> Result<Attr, FsError> {
        unimplemented!()
    }
    pub fn symlink(
        &self,
        parent: NodeId,
        name: &PlainName,
        target: &[u8],
        caller: Caller,
    ) -> Result<Attr, FsError> {
        unimplemented!()
    }
    pub fn link(&self, node: NodeId, parent: NodeId, name: &PlainName) -> Result<Attr, FsError> {
        unimplemented!()
    }
    pub fn unlink(&self, parent: NodeId, name: &PlainName) -> Result<(), FsError> {
        unimplemented!()
    }
    pub fn rmdir(&self, parent: NodeId, name: &PlainName) -> Result<(), FsError> {
        unimplemented!()
    }
    pub fn rename(
        &self,
        parent: NodeId,
        name: &PlainName,
        new_parent: NodeId,
        new_name: &PlainName,
        how: RenameHow,
    ) -> Result<(), FsError> {
        unimplemented!()
    }
    /// Replaces the content of `out` by at most `len` bytes from `at`; short only at the end of the file.
    pub fn read(
        &self,
        node: NodeId,
        at: u64,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FsError> {
        unimplemented!()
    }
    pub fn write(
        &self,
        node: NodeId,
        at: u64,
        data: &[u8],
        how: WriteHow,
    ) -> Result<usize, FsError> {
        unimplemented!()
    }
    /// Regular files and directories.
    pub fn sync(&self, node: NodeId, scope: SyncScope) -> Result<(), FsError> {
        unimplemented!()
    }
    /// Gives entries behind `cookie` (0 = from the start) until `sink` breaks (that entry is not consumed).
    pub fn read_dir(
        &self,
        node: NodeId,
        cookie: u64,
        sink: &mut dyn FnMut(&DirEntry) -> ControlFlow<()>,
    ) -> Result<(), FsError> {
        unimplemented!()
    }
    /// As `read_dir`, with attributes (`None` for `.` and `..`, which count no lookup); counts a lookup per entry consumed.
    pub fn read_dir_plus(
        &self,
        node: NodeId,
        cookie: u64,
        sink: &mut dyn FnMut(&DirEntry, Option<&Attr>) -> ControlFlow<()>,
    ) -> Result<(), FsError> {
        unimplemented!()
    }
    pub fn statfs(&self) -> Result<StatFs, FsError> {
        unimplemented!()
    }
    pub fn set_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        how: XattrHow,
    ) -> Result<(), FsError> {
        unimplemented!()
    }
    pub fn find_xattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, FsError> {
        unimplemented!()
    }
    /// Names, each ended by NUL.
    pub fn list_xattrs(&self, node: NodeId) -> Result<Vec<u8>, FsError> {
        unimplemented!()
    }
    pub fn remove_xattr(&self, node: NodeId, name: &[u8]) -> Result<(), FsError> {
        unimplemented!()
    }
    pub fn allocate(
        &self,
        node: NodeId,
        at: u64,
        len: u64,
        how: AllocateHow,
    ) -> Result<(), FsError> {
        unimplemented!()
    }
    pub fn seek(&self, node: NodeId, at: u64, to: SeekTo) -> Result<u64, FsError> {
        unimplemented!()
    }
    pub fn copy_range(
        &self,
        from: NodeId,
        at: u64,
        to: NodeId,
        to_at: u64,
        len: u64,
    ) -> Result<u64, FsError> {
        unimplemented!()
    }
    /// Clean end: finishes the worker, syncs, writes the clean marker.
    pub fn shutdown(&self) -> Result<(), FsError> {
        unimplemented!()
    }
}
