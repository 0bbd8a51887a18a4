//! Stale files that were opened, waiting for the worker to rewrap them.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::fs::NodeId;
use crate::fs::nodes::Node;

/// Most files that wait; more are left to their next opening, or to a sweep.
const WAITING_MAX: usize = 65_536;

/// A bounded queue of nodes, each at most once in it.
#[derive(Debug, Default)]
pub struct RewrapQueue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    rewrapped: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Arc<Node>>,
    members: HashSet<NodeId>,
    stopped: bool,
}

impl RewrapQueue {
    /// Queues a node; full or stopped, it is dropped.
    pub fn push(&self, node: &Arc<Node>) {
        let mut waiting = self.lock();
        if waiting.stopped || waiting.order.len() >= WAITING_MAX || !waiting.members.insert(node.id)
        {
            return;
        }
        waiting.order.push_back(Arc::clone(node));
        self.changed.notify_one();
    }

    /// The next node, waiting at most `patience`.
    pub fn pop(&self, patience: Duration) -> Option<Arc<Node>> {
        let mut waiting = self.lock();
        if waiting.order.is_empty() && !waiting.stopped {
            let (woken, _) = self
                .changed
                .wait_timeout(waiting, patience)
                .unwrap_or_else(PoisonError::into_inner);
            waiting = woken;
        }
        let node = waiting.order.pop_front()?;
        waiting.members.remove(&node.id);
        Some(node)
    }

    /// Takes nothing more, and lets go of what waits.
    pub fn stop(&self) {
        let mut waiting = self.lock();
        waiting.stopped = true;
        waiting.order.clear();
        waiting.members.clear();
        self.changed.notify_all();
    }

    /// Notes the end of one rewrap.
    pub fn finished(&self, success: bool) {
        let counter = if success { &self.rewrapped } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Files waiting, rewrapped and failed so far.
    pub fn counts(&self) -> (usize, u64, u64) {
        let waiting = self.lock().order.len();
        (waiting, self.rewrapped.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
