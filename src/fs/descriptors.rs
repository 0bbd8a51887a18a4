//! Bounds on what is kept open: lower descriptors and data keys. No table grows with the tree.

use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};

use lru::LruCache;

use crate::fs::NodeId;
use crate::fs::nodes::Node;
use crate::sync::{Mutex, Rank};

/// Most files whose data keys are held at once. Each is about a kilobyte of expanded keys.
const DATA_KEYS_MAX: usize = 4096;

/// Fewest lower descriptors to keep, whatever the limit of the process.
const DESCRIPTORS_MIN: usize = 8;

/// Who has something open, in the order of opening.
#[derive(Debug)]
pub struct OpenNodes {
    /// Rank CACHE; held for a list operation only.
    descriptors: Mutex<LruCache<NodeId, Weak<Node>>>,
    /// Rank CACHE; held for a list operation only.
    keys: Mutex<LruCache<NodeId, Weak<Node>>>,
}

impl OpenNodes {
    /// Uses at most half of the process' descriptors.
    pub fn new(descriptor_limit: u64) -> Self {
        let half = usize::try_from(descriptor_limit / 2).unwrap_or(usize::MAX);
        let bounded = half.clamp(DESCRIPTORS_MIN, 1 << 16);
        Self { descriptors: list(bounded), keys: list(DATA_KEYS_MAX) }
    }

    /// A node has opened a descriptor. The one that has had its for longest closes it.
    pub fn opened(&self, node: &Arc<Node>) {
        let evicted = push(&self.descriptors, node);
        if let Some(evicted) = evicted {
            evicted.set_descriptors(|open| {
                open.dir = None;
                open.file = None;
            });
        }
    }

    /// A node has loaded its keys. Gives nodes whose keys have to go.
    pub fn keys_loaded(&self, node: &Arc<Node>) -> Option<Arc<Node>> {
        push(&self.keys, node)
    }

    /// Nodes that may hold keys.
    pub fn with_keys(&self) -> Vec<Arc<Node>> {
        self.keys.lock().iter().filter_map(|(_, node)| node.upgrade()).collect()
    }

    /// A node is gone.
    pub fn forget(&self, id: NodeId) {
        self.descriptors.lock().pop(&id);
        self.keys.lock().pop(&id);
    }

    /// Numbers of nodes with descriptors and with keys.
    pub fn counts(&self) -> (usize, usize) {
        let descriptors = self.descriptors.lock().len();
        (descriptors, self.keys.lock().len())
    }
}

fn list(max: usize) -> Mutex<LruCache<NodeId, Weak<Node>>> {
    let max = NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN);
    Mutex::new(Rank::Cache, LruCache::new(max))
}

fn push(list: &Mutex<LruCache<NodeId, Weak<Node>>>, node: &Arc<Node>) -> Option<Arc<Node>> {
    let pushed = list.lock().push(node.id, Arc::downgrade(node));
    let (id, evicted) = pushed?;
    if id == node.id { None } else { evicted.upgrade() }
}
