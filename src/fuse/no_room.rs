//! [`NoRoom`]: files for whose gathered writes there was no room, until a writer has been told.
//!
//! With the writeback cache write(2) ends in the page cache, and errors come with fsync(2) and
//! close(2). A writer that waits for write(2) to fail, as one that fills a disk does, would write for
//! ever. But before the kernel takes bytes it makes sure that it knows the file's mode, and where it
//! does not, it asks by the file handle (fs/fuse/file.c, `fuse_cache_write_iter`), which stat(2) does
//! not do. So it is made to forget the attributes of such a file, and the next writer's question is
//! answered by what became of the bytes before.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::Errno;

use crate::fs::NodeId;
use crate::sync::LeafMutex;

/// Most files that are kept in mind; of others fsync(2) and close(2) tell.
const FILES_MAX: usize = 1024;

/// Files whose writers are to be told.
#[derive(Debug, Default)]
pub(crate) struct NoRoom {
    /// A leaf, held for a map operation.
    files: LeafMutex<HashMap<NodeId, Met>>,
    /// Whether there are any: all that a request looks at where there is room.
    any: AtomicBool,
}

#[derive(Debug)]
struct Met {
    errno: Errno,
    /// The kernel is about to forget the attributes.
    is_queued: bool,
}

impl NoRoom {
    /// Whether an error is one of these.
    pub(crate) fn is(errno: Errno) -> bool {
        matches!(errno.code(), libc::ENOSPC | libc::EDQUOT)
    }

    /// Keeps in mind what a gathered write met. Gives whether the kernel has to be made to forget the
    /// file's attributes, after [`Self::forgetting`].
    pub(crate) fn met(&self, node: NodeId, errno: Errno) -> bool {
        self.with(|files| {
            if files.len() >= FILES_MAX && !files.contains_key(&node) {
                return false;
            }
            // A stat in between would have made the attributes known again, hence every time.
            let before = files.insert(node, Met { errno, is_queued: true });
            before.is_none_or(|met| !met.is_queued)
        })
    }

    /// The kernel is made to forget the attributes now.
    pub(crate) fn forgetting(&self, node: NodeId) {
        self.with(|files| {
            if let Some(met) = files.get_mut(&node) {
                met.is_queued = false;
            }
        });
    }

    /// What a writer of the file has to hear, once.
    pub(crate) fn tell(&self, node: NodeId) -> Option<Errno> {
        self.drop(node)
    }

    /// There is room again, or nothing left to write: nobody needs to hear of it.
    pub(crate) fn is_over(&self, node: NodeId) {
        self.drop(node);
    }

    fn drop(&self, node: NodeId) -> Option<Errno> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        self.with(|files| files.remove(&node)).map(|met| met.errno)
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<NodeId, Met>) -> T) -> T {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut files);
        self.any.store(!files.is_empty(), Ordering::Relaxed);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: NodeId = NodeId(7);

    #[test]
    fn each_failure_is_told_once() {
        let room = NoRoom::default();
        assert!(room.tell(FILE).is_none());
        assert!(room.met(FILE, Errno::ENOSPC));
        assert_eq!(room.tell(FILE).map(|errno| errno.code()), Some(libc::ENOSPC));
        assert!(room.tell(FILE).is_none());
    }

    #[test]
    fn attributes_are_forgotten_anew_but_not_queued_twice() {
        let room = NoRoom::default();
        assert!(room.met(FILE, Errno::ENOSPC));
        assert!(!room.met(FILE, Errno::ENOSPC));
        room.forgetting(FILE);
        assert!(room.met(FILE, Errno::ENOSPC));
    }

    #[test]
    fn where_there_is_room_again_nobody_is_told() {
        let room = NoRoom::default();
        room.met(FILE, Errno::ENOSPC);
        room.is_over(FILE);
        assert!(room.tell(FILE).is_none());
    }

    #[test]
    fn no_more_files_are_kept_in_mind_than_the_limit() {
        let room = NoRoom::default();
        for node in 0..u64::try_from(FILES_MAX).unwrap() {
            assert!(room.met(NodeId(node), Errno::ENOSPC));
        }
        assert!(!room.met(NodeId(u64::MAX), Errno::ENOSPC));
        assert!(room.tell(NodeId(u64::MAX)).is_none());
    }
}
