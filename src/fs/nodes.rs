//! Nodes: what the kernel knows of us by number, and where each lies in the lower tree.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::format::marker::DirMarker;
use crate::fs::ahead::Order;
use crate::fs::file::FileNode;
use crate::fs::listings::Listing;
use crate::fs::unsynced::Unsynced;
use crate::fs::written::Written;
use crate::fs::{FsError, NodeId};
use crate::lower::{LowerDir, LowerStat, NodeKind, OsFile, Pinned};
use crate::name::LowerName;
use crate::sync::{Mutex, Rank, RwLock};

/// Entries of dead nodes that may stay in the table.
const FORGOTTEN_MAX: u64 = 1024;

/// Where a node lies in the lower tree.
#[derive(Clone, Debug)]
pub enum Place {
    /// The root of the volume.
    Root,
    /// Under a name.
    Named {
        /// The directory.
        parent: Arc<Node>,
        /// The name in it.
        name: LowerName,
    },
    /// Its name was removed or replaced while the kernel knew it.
    Pinned(Arc<Pinned>),
}

/// Descriptors of a node, opened on demand and closed when too many are open.
#[derive(Clone, Debug, Default)]
pub struct Descriptors {
    /// Of a directory.
    pub dir: Option<Arc<LowerDir>>,
    /// Of a regular file.
    pub file: Option<Arc<OsFile>>,
}

/// One lower inode that the kernel, or a command, knows of.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its kind; never changes.
    pub kind: NodeKind,
    /// Content, of a regular file.
    pub file: FileNode,
    /// What of it is not durable, of a regular file.
    pub written: Written,
    /// Directory id and key policy, of a directory; read at its first use.
    marker: RwLock<Option<DirMarker>>,
    /// Serialises changes of a directory. Rank DIR.
    pub entries: RwLock<()>,
    /// What the kernel knows of a directory's entries.
    pub(super) listing: Listing,
    /// In which order a directory's files are listed, and read.
    pub(super) order: Order,
    /// Whether name, sidecar and (of a directory) marker are known to be durable.
    pub name_durable: AtomicBool,
    /// Of a directory: entries whose own files are not known to be durable.
    unsynced: Mutex<Unsynced>,
    /// Whether a file was seen to belong where it lies; so is one that was made here.
    pub at_home: AtomicBool,
    place: Mutex<Place>,
    /// The name that it had last, once it has none.
    lost_name: Mutex<Option<(Arc<Node>, LowerName)>>,
    descriptors: RwLock<Descriptors>,
    /// Lookups that the kernel has not taken back.
    lookups: AtomicU64,
}

impl Node {
    fn new(id: NodeId, kind: NodeKind, place: Place) -> Self {
        Self {
            id,
            kind,
            file: FileNode::default(),
            written: Written::default(),
            marker: RwLock::new(Rank::Cache, None),
            entries: RwLock::new(Rank::Dir, ()),
            listing: Listing::default(),
            order: Order::default(),
            name_durable: AtomicBool::new(true),
            unsynced: Mutex::new(Rank::Cache, Unsynced::default()),
            at_home: AtomicBool::new(false),
            place: Mutex::new(Rank::Cache, place),
            lost_name: Mutex::new(Rank::Cache, None),
            descriptors: RwLock::new(Rank::Cache, Descriptors::default()),
            lookups: AtomicU64::new(0),
        }
    }

    /// Directory id and key policy, if they were read.
    pub fn marker(&self) -> Option<DirMarker> {
        *self.marker.read()
    }

    /// Keeps the marker that lies on disk now.
    pub fn set_marker(&self, marker: DirMarker) {
        *self.marker.write() = Some(marker);
    }

    /// Changes the list of entries whose own files are not known to be durable.
    pub fn change_unsynced<T>(&self, change: impl FnOnce(&mut Unsynced) -> T) -> T {
        change(&mut self.unsynced.lock())
    }

    /// Whether everything that the node needs to be found again is known to be durable.
    fn is_durable(&self) -> bool {
        self.name_durable.load(Ordering::Acquire) && self.unsynced.lock().is_empty()
    }

    /// Where the node lies now.
    pub fn place(&self) -> Place {
        self.place.lock().clone()
    }

    /// Whether the node lies under this name.
    pub fn is_at(&self, parent: &Arc<Self>, name: &LowerName) -> bool {
        match &*self.place.lock() {
            Place::Named { parent: p, name: n } => p.id == parent.id && n == name,
            Place::Root | Place::Pinned(_) => false,
        }
    }

    /// The node was moved, or lost its name.
    pub fn set_place(&self, place: Place) {
        *self.place.lock() = place;
    }

    /// The node loses its name.
    pub fn lose_name(&self, pinned: Pinned) {
        let place = std::mem::replace(&mut *self.place.lock(), Place::Pinned(Arc::new(pinned)));
        if let Place::Named { parent, name } = place {
            *self.lost_name.lock() = Some((parent, name));
        }
    }

    /// Directory and name where the node lies, or lay last.
    pub fn last_place(&self) -> Option<(Arc<Node>, LowerName)> {
        match self.place() {
            Place::Named { parent, name } => Some((parent, name)),
            Place::Pinned(_) => self.lost_name.lock().clone(),
            Place::Root => None,
        }
    }

    /// The directory that the node's name lies in.
    pub fn parent(&self) -> Option<Arc<Node>> {
        match &*self.place.lock() {
            Place::Named { parent, .. } => Some(Arc::clone(parent)),
            Place::Root | Place::Pinned(_) => None,
        }
    }

    /// The open descriptors.
    pub fn descriptors(&self) -> Descriptors {
        self.descriptors.read().clone()
    }

    /// The open file descriptor, if there is one.
    pub fn open_file(&self) -> Option<Arc<OsFile>> {
        self.descriptors.read().file.clone()
    }

    /// The node was found under this name: that is where it lies, unless it is known already.
    fn stay_at(&self, parent: &Arc<Node>, name: &LowerName) {
        let mut place = self.place.lock();
        let moved = match &*place {
            Place::Named { parent: p, name: n } => p.id != parent.id || n != name,
            Place::Root => false,
            Place::Pinned(_) => true,
        };
        if moved {
            *place = Place::Named { parent: Arc::clone(parent), name: name.clone() };
            self.at_home.store(false, Ordering::Release);
        }
    }

    /// Keeps or closes descriptors.
    pub fn set_descriptors(&self, change: impl FnOnce(&mut Descriptors)) {
        change(&mut self.descriptors.write());
    }

    /// Refuses a node that is no directory.
    ///
    /// # Errors
    /// ENOTDIR.
    pub fn check_dir(&self) -> Result<(), FsError> {
        match self.kind {
            NodeKind::Dir => Ok(()),
            _ => Err(FsError::Errno(libc::ENOTDIR)),
        }
    }

    /// Refuses a node that is no regular file.
    ///
    /// # Errors
    /// EISDIR or EINVAL.
    pub fn check_file(&self) -> Result<(), FsError> {
        match self.kind {
            NodeKind::File => Ok(()),
            NodeKind::Dir => Err(FsError::Errno(libc::EISDIR)),
            _ => Err(FsError::Errno(libc::EINVAL)),
        }
    }
}

/// A node in the table.
#[derive(Debug)]
struct Listed {
    node: Weak<Node>,
    /// Keeps the node as long as the kernel counts lookups of it.
    held: Option<Arc<Node>>,
}

/// All nodes, by number.
///
/// There is never a second node for a lower inode: one that the kernel has forgotten is found again as
/// long as anybody, such as a rewrap, still works on it. Its locks and its idea of the header are the
/// only ones.
#[derive(Debug)]
pub struct NodeTable {
    /// Rank NODES; held for a map operation only.
    nodes: RwLock<HashMap<NodeId, Listed>>,
    /// Forgotten nodes that were not known to be durable, since the last checkpoint.
    undurable: Mutex<HashSet<NodeId>>,
    /// Forgotten nodes since entries of dead ones were last cleared away.
    forgotten: AtomicU64,
    root: Arc<Node>,
    /// Lower inode number of the root, whose node number is 1.
    root_ino: u64,
    /// Device of the volume: nothing below may lie on another.
    dev: u64,
}

impl NodeTable {
    /// A table with the root in it.
    pub fn new(root: &LowerStat) -> Self {
        let node = Arc::new(Node::new(NodeId::ROOT, NodeKind::Dir, Place::Root));
        let listed = Listed { node: Arc::downgrade(&node), held: Some(Arc::clone(&node)) };
        let nodes = HashMap::from([(NodeId::ROOT, listed)]);
        Self {
            nodes: RwLock::new(Rank::Nodes, nodes),
            undurable: Mutex::new(Rank::Cache, HashSet::new()),
            forgotten: AtomicU64::new(0),
            root: node,
            root_ino: root.id.ino,
            dev: root.id.dev,
        }
    }

    /// The root directory.
    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// Number of nodes that somebody counts lookups of.
    pub fn len(&self) -> usize {
        self.nodes.read().values().filter(|listed| listed.held.is_some()).count()
    }

    /// Regular files that somebody counts lookups of.
    pub fn files(&self) -> Vec<Arc<Node>> {
        let nodes = self.nodes.read();
        let held = nodes.values().filter_map(|listed| listed.held.as_ref());
        held.filter(|node| node.kind == NodeKind::File).map(Arc::clone).collect()
    }

    /// The node's number of a lower inode. The root is 1; a lower inode 1 gets the root's.
    pub fn id_of(&self, ino: u64) -> NodeId {
        match ino {
            ino if ino == self.root_ino => NodeId::ROOT,
            1 => NodeId(self.root_ino),
            ino => NodeId(ino),
        }
    }

    /// A node that the kernel names.
    ///
    /// # Errors
    /// `FsError::StaleNode`.
    pub fn find(&self, id: NodeId) -> Result<Arc<Node>, FsError> {
        self.nodes.read().get(&id).and_then(|listed| listed.held.clone()).ok_or(FsError::StaleNode)
    }

    /// A node if it is known.
    pub fn known(&self, ino: u64) -> Option<Arc<Node>> {
        self.nodes.read().get(&self.id_of(ino)).and_then(|listed| listed.node.upgrade())
    }

    /// The node of a lower inode found under a name, made if need be. `lookups` are counted.
    ///
    /// # Errors
    /// EXDEV if it lies on another lower filesystem.
    pub fn reach(
        &self,
        stat: &LowerStat,
        parent: &Arc<Node>,
        name: &LowerName,
        lookups: u64,
    ) -> Result<Arc<Node>, FsError> {
        if stat.id.dev != self.dev {
            return Err(FsError::Errno(libc::EXDEV));
        }
        let id = self.id_of(stat.id.ino);
        let known = {
            let nodes = self.nodes.read();
            // Only a held node may be counted under the shared lock: `forget` lets go of it.
            nodes.get(&id).and_then(|listed| listed.held.clone()).filter(|node| {
                let same = node.kind == stat.kind;
                if same {
                    node.lookups.fetch_add(lookups, Ordering::Relaxed);
                }
                same
            })
        };
        let place = || Place::Named { parent: Arc::clone(parent), name: name.clone() };
        let node = match known {
            Some(node) => node,
            None => {
                let mut nodes = self.nodes.write();
                let alive = nodes.get(&id).and_then(|listed| listed.node.upgrade());
                let node = alive.filter(|node| node.kind == stat.kind).unwrap_or_else(|| {
                    let node = Node::new(id, stat.kind, place());
                    if self.undurable.lock().remove(&id) {
                        node.name_durable.store(false, Ordering::Release);
                        node.change_unsynced(|unsynced| *unsynced = Unsynced::Many);
                    }
                    Arc::new(node)
                });
                node.lookups.fetch_add(lookups, Ordering::Relaxed);
                let listed = Listed { node: Arc::downgrade(&node), held: Some(Arc::clone(&node)) };
                nodes.insert(id, listed);
                node
            }
        };
        node.stay_at(parent, name);
        Ok(node)
    }

    /// Counts one more lookup of a node that somebody counts lookups of.
    pub fn hold(&self, node: &Node) {
        // `forget` lets go of it under the exclusive lock.
        let _nodes = self.nodes.read();
        node.lookups.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgotten nodes that are not known to be durable. They are, once the lower filesystem is
    /// synced; if that fails, they are given back.
    pub fn take_undurable(&self) -> HashSet<NodeId> {
        std::mem::take(&mut self.undurable.lock())
    }

    /// Gives back what [`Self::take_undurable`] took.
    pub fn put_undurable(&self, ids: HashSet<NodeId>) {
        self.undurable.lock().extend(ids);
    }

    /// Takes lookups back; the node goes with the last. Gives the node that went.
    pub fn forget(&self, id: NodeId, count: u64) -> Option<Arc<Node>> {
        if id == NodeId::ROOT {
            return None;
        }
        let mut nodes = self.nodes.write();
        let listed = nodes.get_mut(&id)?;
        let node = listed.held.as_ref()?;
        let before = node.lookups.load(Ordering::Relaxed);
        node.lookups.store(before.saturating_sub(count), Ordering::Relaxed);
        if before > count {
            return None;
        }
        if !node.is_durable() {
            self.undurable.lock().insert(id);
        }
        let node = listed.held.take();
        if self.forgotten.fetch_add(1, Ordering::Relaxed) >= FORGOTTEN_MAX {
            self.forgotten.store(0, Ordering::Relaxed);
            nodes.retain(|_, listed| listed.node.strong_count() > 0);
        }
        node
    }
}
