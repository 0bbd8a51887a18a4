//! Extended attributes: `user.*` is sealed, name and value; all others pass through, but for the label.

use std::sync::Arc;

use crate::format::xattr::{
    XattrName, is_ours, needs_value, open_name, open_value, seal_name, seal_value,
};
use crate::fs::nodes::Node;
use crate::fs::{CorruptPart, FsError, NodeId, Volume, XattrHow};
use crate::lower::{CAPABILITY, LowerError, NodeKind, TimeSpec, XattrFlags};
use crate::secret::Secret;

const USER: &[u8] = b"user.";

/// The label of SELinux. It is the lower file's own; whatever lies in a mount has the mount's. A
/// program that is told so does not ask for it again, file by file, as ls(1) does.
const LABEL: &[u8] = b"security.selinux";

/// Longest name in bytes: XATTR_NAME_MAX of Linux.
const NAME_LEN_MAX: usize = 255;

/// Longest value in bytes: XATTR_SIZE_MAX of Linux.
const VALUE_LEN_MAX: usize = 65_536;

impl Volume {
    /// Sets an attribute.
    ///
    /// # Errors
    /// EEXIST, ENODATA, `FsError::Key`, `FsError::Lower`.
    pub fn set_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        how: XattrHow,
    ) -> Result<(), FsError> {
        self.check_writable()?;
        let node = self.nodes.find(node)?;
        let how = match how {
            XattrHow::Set => XattrFlags::Set,
            XattrHow::Create => XattrFlags::Create,
            XattrHow::Replace => XattrFlags::Replace,
        };
        check_lengths(name, value)?;
        check_label(name)?;
        if !name.starts_with(USER) {
            return self.store_xattr(&node, name, value, how);
        }
        if node.kind == NodeKind::File {
            self.ensure_header(&node)?;
        }
        let sealed_name = seal_name(&self.keys.xattr_names, name);
        let random = self.data_keys.random();
        let stored = self.with_xattr_key(&node, |owner, key| {
            Ok(seal_value(key, owner, &sealed_name, value, random))
        })?;
        self.store_xattr(&node, &sealed_name.lower, &stored, how)
    }

    /// Value of an attribute.
    ///
    /// # Errors
    /// ENODATA, `FsError::Key`, `FsError::Corrupt`, `FsError::Lower`.
    pub fn find_xattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, FsError> {
        let node = self.nodes.find(node)?;
        check_label(name)?;
        if !name.starts_with(USER) {
            return self.load_xattr(&node, name);
        }
        let sealed_name: XattrName = seal_name(&self.keys.xattr_names, name);
        let stored = self.load_xattr(&node, &sealed_name.lower)?;
        self.with_xattr_key(&node, |owner, key| {
            open_value(key, owner, &sealed_name, &stored)
                .map_err(|_| FsError::Corrupt(CorruptPart::Xattr))
        })
    }

    /// Names of all attributes, each ended by NUL. Names that do not open are left out.
    ///
    /// # Errors
    /// `FsError::Lower`.
    pub fn list_xattrs(&self, node: NodeId) -> Result<Vec<u8>, FsError> {
        let node = self.nodes.find(node)?;
        let mut list = Vec::new();
        for lower in self.lower_xattrs(&node)? {
            let name = match (is_ours(&lower), lower.starts_with(USER)) {
                (true, _) => {
                    let stored = match needs_value(&lower) {
                        true => Some(self.load_xattr(&node, &lower)?),
                        false => None,
                    };
                    match open_name(&self.keys.xattr_names, &lower, stored.as_deref()) {
                        Ok(name) => name,
                        Err(_) => continue,
                    }
                }
                // Put there by somebody else; it is not ours to show.
                (false, true) => continue,
                (false, false) if lower == LABEL => continue,
                (false, false) => lower,
            };
            list.extend_from_slice(&name);
            list.push(0);
        }
        Ok(list)
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// ENODATA, `FsError::Lower`.
    pub fn remove_xattr(&self, node: NodeId, name: &[u8]) -> Result<(), FsError> {
        self.check_writable()?;
        let node = self.nodes.find(node)?;
        check_label(name)?;
        let sealed;
        let lower = match name.starts_with(USER) {
            true => {
                sealed = seal_name(&self.keys.xattr_names, name).lower;
                sealed.as_slice()
            }
            false => name,
        };
        self.remove_lower_xattr(&node, lower)
    }

    /// Removes an attribute by its lower name.
    pub(super) fn remove_lower_xattr(&self, node: &Arc<Node>, lower: &[u8]) -> Result<(), FsError> {
        self.at_inode(node, |inode| changing(node, lower, || Ok(inode.remove_xattr(lower)?)))
    }

    /// An empty file gets the header whose data key seals its attributes. That changes no content, so
    /// the time of its last change stays.
    fn ensure_header(&self, node: &Arc<Node>) -> Result<(), FsError> {
        if !self.with_file(node, |env| node.file.is_empty(env))? {
            return Ok(());
        }
        let before = self.stat_of(node)?.mtime;
        self.with_file_mut(node, |env| node.file.ensure_header(env))?;
        self.set_times(node, None, Some(TimeSpec::At(before)))
    }

    /// Whether a file has attributes whose values need its data key.
    pub(super) fn has_sealed_xattrs(&self, node: &Arc<Node>) -> Result<bool, FsError> {
        match self.lower_xattrs(node) {
            Ok(names) => Ok(names.iter().any(|name| is_ours(name))),
            Err(FsError::Lower(LowerError { errno: libc::EOPNOTSUPP, .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether every sealed attribute of a node opens.
    ///
    /// # Errors
    /// `FsError::Corrupt` for the first that does not; `FsError::Key`, `FsError::Lower`.
    pub(super) fn check_xattrs(&self, node: &Arc<Node>) -> Result<(), FsError> {
        for stored in self.sealed_xattrs(node)? {
            self.check_xattr(node, &stored)?;
        }
        Ok(())
    }

    /// Lower names and values of the sealed attributes of a node.
    pub(super) fn sealed_xattrs(&self, node: &Arc<Node>) -> Result<Vec<StoredXattr>, FsError> {
        let names = match self.lower_xattrs(node) {
            Err(FsError::Lower(LowerError { errno: libc::EOPNOTSUPP, .. })) => Vec::new(),
            names => names?,
        };
        let ours = names.into_iter().filter(|name| is_ours(name));
        ours.map(|name| {
            let value = self.load_xattr(node, &name)?;
            Ok(StoredXattr { name, value })
        })
        .collect()
    }

    /// Whether one sealed attribute opens.
    ///
    /// # Errors
    /// As [`Volume::check_xattrs`].
    pub(super) fn check_xattr(
        &self,
        node: &Arc<Node>,
        stored: &StoredXattr,
    ) -> Result<(), FsError> {
        let StoredXattr { name: lower, value } = stored;
        let corrupt = || FsError::Corrupt(CorruptPart::Xattr);
        let name = open_name(&self.keys.xattr_names, lower, Some(value)).map_err(|_| corrupt())?;
        let sealed_name = seal_name(&self.keys.xattr_names, &name);
        self.with_xattr_key(node, |owner, key| {
            open_value(key, owner, &sealed_name, value).map(drop).map_err(|_| corrupt())
        })
    }

    /// Runs `work` with the id that values are bound to and the key that seals them: those of the
    /// file, or of the directory.
    fn with_xattr_key<T>(
        &self,
        node: &Arc<Node>,
        work: impl FnOnce(&[u8; 16], &Secret<32>) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        match node.kind {
            NodeKind::File => {
                let keys = self.with_file(node, |env| node.file.keys(env))?;
                let (file, keys) = keys.ok_or(FsError::Corrupt(CorruptPart::Xattr))?;
                work(&file.0, &keys.xattr)
            }
            NodeKind::Dir => work(&self.marker_of(node)?.dir.0, &self.keys.dir_xattrs),
            // The kernel does not let anybody set user attributes here.
            _ => Err(FsError::Errno(libc::EPERM)),
        }
    }

    fn store_xattr(
        &self,
        node: &Arc<Node>,
        name: &[u8],
        value: &[u8],
        how: XattrFlags,
    ) -> Result<(), FsError> {
        self.at_inode(node, |inode| changing(node, name, || Ok(inode.set_xattr(name, value, how)?)))
    }

    fn load_xattr(&self, node: &Arc<Node>, name: &[u8]) -> Result<Vec<u8>, FsError> {
        self.at_inode(node, |inode| Ok(inode.find_xattr(name)?))
    }

    fn lower_xattrs(&self, node: &Arc<Node>) -> Result<Vec<Vec<u8>>, FsError> {
        self.at_inode(node, |inode| Ok(inode.list_xattrs()?))
    }
}

/// A sealed attribute as it lies on a lower entry.
#[derive(Clone, Debug)]
pub(super) struct StoredXattr {
    /// Lower name.
    pub name: Vec<u8>,
    /// Lower value.
    pub value: Vec<u8>,
}

/// Changes an attribute by its lower name. Capabilities are not changed while an envelope is written, which
/// would put back what it found.
fn changing(
    node: &Node,
    lower: &[u8],
    work: impl FnOnce() -> Result<(), FsError>,
) -> Result<(), FsError> {
    if lower == CAPABILITY.as_bytes() { node.file.between_envelopes(work) } else { work() }
}

fn check_label(name: &[u8]) -> Result<(), FsError> {
    if name == LABEL { Err(FsError::Unsupported) } else { Ok(()) }
}

fn check_lengths(name: &[u8], value: &[u8]) -> Result<(), FsError> {
    if name.len() > NAME_LEN_MAX {
        return Err(FsError::Errno(libc::ERANGE));
    }
    if value.len() > VALUE_LEN_MAX {
        return Err(FsError::Errno(libc::E2BIG));
    }
    Ok(())
}
