//! Reading ahead from file to file: who walks a tree reads the files of a directory as it lists them.
//!
//! Most of what a small file costs comes before its first byte: the lower file is opened, its header read,
//! its data key unwrapped. That is done for the next file behind the reply to the one before, while the
//! program is busy with that one.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::fs::nodes::{Node, NodeTable};
use crate::fs::{NodeId, Volume};

/// So many files in a row must have followed each other as they are listed.
const RUN_MIN: u32 = 2;

/// The lower filesystem is told of a file when so many are to be read before it, so that a disk can read on.
const ADVISED: u32 = 8;

/// Threads that may make files ready at once. The key service may be far away, or gone, and a mount has four
/// threads or more.
const THREADS_MAX: usize = 2;

/// No node's number.
const NOBODY: NodeId = NodeId(0);

/// A node's number. Where threads overtake each other, one guess is wrong.
#[derive(Debug, Default)]
struct Slot(AtomicU64);

impl Slot {
    fn get(&self) -> NodeId {
        NodeId(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, node: NodeId) {
        self.0.store(node.0, Ordering::Relaxed);
    }

    fn replace(&self, node: NodeId) -> NodeId {
        NodeId(self.0.swap(node.0, Ordering::Relaxed))
    }
}

/// In which order a directory lists its regular files with content, and reads go through them.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Of a file: what is listed behind it.
    next: Slot,
    /// Of a directory, once it is listed.
    dir: OnceLock<Box<DirOrder>>,
}

#[derive(Debug, Default)]
struct DirOrder {
    first: Slot,
    /// The last that was listed.
    last: Slot,
    /// What was read last.
    latest: Slot,
    /// What is read next, if they are read in order.
    expected: Slot,
    /// How many were, in a row.
    run: AtomicU32,
}

impl DirOrder {
    /// A file was read, or looked at, that `next` is listed behind. Gives how many before it were, in order. The
    /// first of a directory goes on where `in_order` says that they were in the directory before.
    fn follow(&self, file: NodeId, next: NodeId, in_order: &AtomicBool) -> u32 {
        let run = self.run.load(Ordering::Relaxed);
        if self.latest.replace(file) == file {
            return run;
        }
        let is_expected = self.expected.replace(next) == file;
        let is_first = self.first.get() == file;
        let run = match is_expected {
            true => run.saturating_add(1),
            false if is_first && in_order.load(Ordering::Relaxed) => RUN_MIN,
            false => 0,
        };
        self.run.store(run, Ordering::Relaxed);
        if run >= RUN_MIN || !(is_expected || is_first) {
            in_order.store(run >= RUN_MIN, Ordering::Relaxed);
        }
        run
    }
}

/// Of a volume.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// The last files were read in the order of their directory.
    in_order: AtomicBool,
    /// Threads that make files ready.
    threads: AtomicUsize,
}

/// One of these threads.
struct Turn<'a>(&'a Ahead);

impl Ahead {
    fn begin(&self) -> Option<Turn<'_>> {
        let before = self.threads.fetch_add(1, Ordering::Relaxed);
        let turn = Turn(self);
        (before < THREADS_MAX).then_some(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.threads.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A part of a listing.
pub(super) struct Listed<'a> {
    dir: &'a DirOrder,
    before: Option<Arc<Node>>,
}

impl Order {
    /// A directory is listed, from its first entry or further on.
    pub(super) fn list(&self, nodes: &NodeTable, is_first: bool) -> Listed<'_> {
        let dir = self.dir.get_or_init(Box::default);
        let before = if is_first { None } else { nodes.find(dir.last.get()).ok() };
        Listed { dir, before }
    }
}

impl Listed<'_> {
    /// A regular file with content is listed.
    pub(super) fn gave(&mut self, file: &Arc<Node>) {
        file.order.next.set(NOBODY);
        match self.before.replace(Arc::clone(file)) {
            Some(before) => before.order.next.set(file.id),
            None => self.dir.first.set(file.id),
        }
        self.dir.last.set(file.id);
    }
}

impl Volume {
    /// A file of a directory was read or looked at. Whether those before it were as well, in the order in
    /// which the directory lists them.
    pub(super) fn is_in_order(&self, parent: &Node, file: &Node) -> bool {
        self.follow(parent, file) >= RUN_MIN
    }

    fn follow(&self, parent: &Node, file: &Node) -> u32 {
        let next = file.order.next.get();
        parent.order.dir.get().map_or(0, |dir| dir.follow(file.id, next, &self.ahead.in_order))
    }

    /// A file was read from its first byte on. If those before it were read as their directory lists them,
    /// the next is made ready. No lock is held.
    pub fn read_ahead(&self, file: NodeId) {
        let Ok(node) = self.nodes.find(file) else { return };
        let run = node.parent().map_or(0, |parent| self.follow(&parent, &node));
        if run < RUN_MIN {
            return;
        }
        let Some(_turn) = self.ahead.begin() else { return };
        let mut node = node;
        for ahead in 0..=ADVISED {
            let Ok(next) = self.nodes.find(node.order.next.get()) else { return };
            node = next;
            if node.file.known_size().is_some() {
                continue;
            }
            // What fails here fails again for who reads the file.
            if ahead == 0 {
                let _ = self.with_file(&node, |env| node.file.with_content(env, |_, _| Ok(())));
            } else if (run == RUN_MIN || ahead == ADVISED)
                && let Ok(file) = self.file_of(&node)
            {
                file.read_soon();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of files that are listed by their numbers from 1 on.
    fn runs(dir: &DirOrder, in_order: &AtomicBool, read: &[u64]) -> Vec<u32> {
        dir.first.set(NodeId(1));
        read.iter().map(|&no| dir.follow(NodeId(no), NodeId(no + 1), in_order)).collect()
    }

    #[test]
    fn files_in_the_order_of_the_listing_are_a_run() {
        let in_order = AtomicBool::new(false);
        assert_eq!(runs(&DirOrder::default(), &in_order, &[5, 3, 8, 1]), [0; 4]);
        assert!(!in_order.load(Ordering::Relaxed));
        assert_eq!(runs(&DirOrder::default(), &in_order, &[1, 2, 2, 3, 3, 4]), [0, 1, 1, 2, 2, 3]);
        assert_eq!(runs(&DirOrder::default(), &in_order, &[1, 2, 3, 7, 8]), [2, 3, 4, 0, 1]);
        assert!(!in_order.load(Ordering::Relaxed));
    }

    #[test]
    fn a_run_goes_on_in_the_next_directory() {
        let in_order = AtomicBool::new(false);
        assert_eq!(runs(&DirOrder::default(), &in_order, &[1, 2, 3]), [0, 1, 2]);
        for _ in 0..2 {
            assert_eq!(runs(&DirOrder::default(), &in_order, &[1, 2]), [2, 3]);
        }
        assert_eq!(runs(&DirOrder::default(), &in_order, &[2, 3]), [0, 1]);
        assert_eq!(runs(&DirOrder::default(), &in_order, &[1, 2]), [0, 1]);
    }

    #[test]
    fn a_few_threads_make_files_ready_at_once() {
        let ahead = Ahead::default();
        let turns = [(); 2].map(|()| ahead.begin().unwrap());
        assert!(ahead.begin().is_none() && ahead.begin().is_none());
        drop(turns);
        assert!(ahead.begin().is_some());
    }
}
