//! What the adapter tells the kernel without being asked.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::{Errno, INodeNo};

use super::{Adapter, Seeking};
use crate::fs::NodeId;
use crate::fuse::convert::node;
use crate::fuse::no_room::NoRoom;

impl Adapter {
    /// An ACL may change a file's mode. A kernel that knows ACLs then forgets the mode by itself.
    pub(super) fn forget_mode(&self, ino: INodeNo, xattr: &OsStr) {
        if self.root_only && xattr.as_bytes().starts_with(b"system.posix_acl_") {
            self.forget_attributes(ino);
        }
    }

    /// Makes the kernel ask for a mode that it has not changed itself.
    pub(super) fn forget_attributes(&self, ino: INodeNo) {
        if let Some(invalidator) = self.invalidator.get() {
            // Fails for a node that the kernel does not know, which then has no mode to forget.
            let _ = invalidator.invalidate_attributes(node(ino));
        }
    }

    /// The kernel forgets attributes of a file, or has asked for them: it had better list the directory
    /// again before it asks for those of every other file.
    pub(super) fn list_again(&self, ino: INodeNo) {
        if let Some(invalidator) = self.invalidator.get()
            && let Some(dir) = self.guard.volume().forgot_attributes(node(ino))
        {
            let _ = invalidator.invalidate_file(dir);
        }
    }

    /// Lets the next write(2) to the file fail as a gathered one did, where the kernel waits for what
    /// it writes back.
    pub(super) fn tell_next_writer(&self, node: NodeId, errno: Errno) {
        if let Seeking::Gathered(seeker) = &self.seeking
            && NoRoom::is(errno)
            && self.no_room.met(node, errno)
        {
            seeker.forget_attributes(node);
        }
    }
}
