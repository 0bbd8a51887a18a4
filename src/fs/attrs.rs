//! Attributes: lower stat to what the user sees, and setting them.

use std::sync::Arc;

use crate::format::layout::{is_legal, plain_len};
use crate::format::symlink::{self, LowerTarget, inline_plain_len};
use crate::fs::content::{Trust, u64_of};
use crate::fs::nodes::Node;
use crate::fs::resize::EmptyHeader;
use crate::fs::volume::Spot;
use crate::fs::{Attr, Caller, FsError, NodeId, SetAttr, SetTime, StatFs, Volume};
use crate::lower::{LowerDir, LowerStat, NodeKind, TimeSpec, is_in_group};
use crate::name::LowerName;
use crate::units::{LowerLen, PlainLen};

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o0010;

impl Volume {
    /// Attributes of a node. Needs no key and opens nothing.
    ///
    /// # Errors
    /// `FsError::StaleNode`, `FsError::Lower`.
    pub fn attr(&self, node: NodeId) -> Result<Attr, FsError> {
        let node = self.nodes.find(node)?;
        self.attr_of(&node)
    }

    pub(super) fn attr_of(&self, node: &Arc<Node>) -> Result<Attr, FsError> {
        let stat = self.stat_of(node)?;
        self.attr_from(&stat, || self.target_text(node))
    }

    /// stat of a node, wherever it lies.
    pub(super) fn stat_of(&self, node: &Arc<Node>) -> Result<LowerStat, FsError> {
        if let Some(file) = node.open_file() {
            return Ok(file.stat()?);
        }
        let stat = |spot: Spot<'_>| Ok(self.inode_at(spot).stat()?);
        self.at_own_place(node, stat, |stat| Ok(*stat))
    }

    /// Attributes of an entry that was found by name.
    pub(super) fn attr_of_entry(
        &self,
        dir: &LowerDir,
        name: &LowerName,
        stat: &LowerStat,
    ) -> Result<Attr, FsError> {
        self.attr_from(stat, || Ok(dir.readlink(name)?))
    }

    fn attr_from(
        &self,
        stat: &LowerStat,
        target_text: impl FnOnce() -> Result<Vec<u8>, FsError>,
    ) -> Result<Attr, FsError> {
        let node = self.nodes.id_of(stat.id.ino);
        let size = match stat.kind {
            NodeKind::File => self.shown_len(stat.len),
            NodeKind::Symlink => match inline_plain_len(stat.len.0) {
                Some(len) => len,
                // Listing and removing must work whatever became of the target.
                None => target_text().map_or(0, |text| external_len(&text)),
            },
            _ => stat.len.0,
        };
        // The volume's own directory is no subdirectory that anybody sees.
        let hidden = u32::from(node == NodeId::ROOT && stat.nlink > 2);
        Ok(Attr {
            node,
            kind: stat.kind,
            mode: stat.mode,
            nlink: stat.nlink - hidden,
            uid: stat.uid,
            gid: stat.gid,
            rdev: u32::try_from(stat.rdev).unwrap_or(u32::MAX),
            size,
            blocks: stat.blocks,
            atime: stat.atime,
            mtime: stat.mtime,
            ctime: stat.ctime,
        })
    }

    /// Length of a file as the kernel is told it. It asks for no byte of an empty file; one that was
    /// cut down to less than its first page is to answer that it is corrupt, not to look empty.
    fn shown_len(&self, lower: LowerLen) -> u64 {
        match plain_len(lower).0 {
            0 if self.trust == Trust::Strict && !is_legal(lower) => 1,
            len => len,
        }
    }

    /// Sets attributes: the size first, then owner, mode and times.
    ///
    /// # Errors
    /// What each change answers; the ones before it were made.
    pub fn set_attr(&self, node: NodeId, set: &SetAttr) -> Result<Attr, FsError> {
        self.check_writable()?;
        let node = self.nodes.find(node)?;
        if let Some(size) = set.size {
            self.set_size(&node, PlainLen(size))?;
            if let Some(caller) = set.unprivileged {
                self.kill_privileges(&node, caller)?;
            }
        }
        if set.uid.is_some() || set.gid.is_some() {
            self.chown(&node, set.uid, set.gid)?;
        }
        if let Some(mode) = set.mode {
            self.chmod(&node, mode)?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            self.set_times(&node, set.atime.map(time_spec), set.mtime.map(time_spec))?;
        }
        self.attr_of(&node)
    }

    /// Takes capabilities away too, which no envelope may put back.
    fn chown(&self, node: &Arc<Node>, uid: Option<u32>, gid: Option<u32>) -> Result<(), FsError> {
        self.at_inode(node, |inode| node.file.between_envelopes(|| Ok(inode.chown(uid, gid)?)))
    }

    fn set_size(&self, node: &Arc<Node>, size: PlainLen) -> Result<(), FsError> {
        node.check_file()?;
        let empty = match size.0 {
            0 if self.has_sealed_xattrs(node)? => EmptyHeader::Keep,
            _ => EmptyHeader::Drop,
        };
        self.with_file_mut(node, |env| node.file.set_size(env, size, empty))
    }

    /// Clears suid and sgid, as the kernel does when somebody without CAP_FSETID changes the content.
    ///
    /// # Errors
    /// `FsError::StaleNode`, `FsError::Lower`.
    pub fn clear_set_id(&self, node: NodeId, caller: Caller) -> Result<(), FsError> {
        self.kill_privileges(&self.nodes.find(node)?, caller)
    }

    /// Clears sgid after who is in none of the file's groups has set its ACL: the bit could come to
    /// mean a group that the caller has no part in.
    ///
    /// # Errors
    /// `FsError::Lower`.
    pub fn clear_foreign_group_id(&self, node: NodeId, caller: Caller) -> Result<(), FsError> {
        let node = self.nodes.find(node)?;
        let stat = self.stat_of(&node)?;
        if stat.mode & SET_GROUP_ID == 0 || is_member(caller, stat.gid) {
            return Ok(());
        }
        self.chmod(&node, stat.mode & !SET_GROUP_ID)
    }

    /// sgid of a file that its group may not execute once meant mandatory locking: members keep it.
    pub(super) fn kill_privileges(&self, node: &Arc<Node>, caller: Caller) -> Result<(), FsError> {
        let LowerStat { mode, gid, .. } = self.stat_of(node)?;
        let mut cleared = mode & !SET_USER_ID;
        let has_group_bit = mode & SET_GROUP_ID != 0;
        if has_group_bit && (mode & GROUP_EXECUTE != 0 || !is_member(caller, gid)) {
            cleared &= !SET_GROUP_ID;
        }
        if cleared == mode { Ok(()) } else { self.chmod(node, cleared) }
    }

    pub(super) fn chmod(&self, node: &Arc<Node>, mode: u32) -> Result<(), FsError> {
        self.at_inode(node, |inode| Ok(inode.chmod(mode)?))
    }

    pub(super) fn set_times(
        &self,
        node: &Arc<Node>,
        atime: Option<TimeSpec>,
        mtime: Option<TimeSpec>,
    ) -> Result<(), FsError> {
        self.at_inode(node, |inode| {
            node.file.between_envelopes(|| Ok(inode.set_times(atime, mtime)?))
        })
    }

    /// Numbers of the lower filesystem.
    ///
    /// # Errors
    /// `FsError::Lower`.
    pub fn statfs(&self) -> Result<StatFs, FsError> {
        let lower = self.root.statfs()?;
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(StatFs {
            blocks: lower.blocks,
            bfree: lower.bfree,
            bavail: lower.bavail,
            files: lower.files,
            ffree: lower.ffree,
            bsize: small(lower.bsize),
            frsize: small(lower.frsize),
            namelen: 255,
        })
    }
}

/// Whether a caller is in a group, as far as can be known.
fn is_member(caller: Caller, gid: u32) -> bool {
    caller.gid == gid || is_in_group(caller.pid, gid)
}

/// Length of a symbolic link's target that lies in a file, by the text of the lower link.
fn external_len(text: &[u8]) -> u64 {
    match symlink::parse(text) {
        Ok(LowerTarget::External { plain_len, .. }) => u64_of(plain_len),
        Ok(LowerTarget::Inline(_)) | Err(_) => 0,
    }
}

fn time_spec(time: SetTime) -> TimeSpec {
    match time {
        SetTime::Now => TimeSpec::Now,
        SetTime::At(time) => TimeSpec::At(time),
    }
}
