//! The volume: owns everything, and reaches lower files and directories for the operations that
//! stand in the other files of this folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::Clock;
use crate::crypto::kdf::VolumeKeys;
use crate::format::marker::DirMarker;
use crate::format::name::{LowerEntry, MARKER_NAME, classify};
use crate::format::volume::{NameBinding, VolumeConfig};
use crate::fs::ahead::Ahead;
use crate::fs::content::Trust;
use crate::fs::data_keys::{DEFAULT_POLICY, DataKeys};
use crate::fs::descriptors::OpenNodes;
use crate::fs::file::FileEnv;
use crate::fs::home::NodeHousing;
use crate::fs::leaving::Leaving;
use crate::fs::names::Names;
use crate::fs::nodes::{Node, NodeTable, Place};
use crate::fs::rewrap_queue::RewrapQueue;
use crate::fs::traces::{LastCheckpoint, OldMoves};
use crate::fs::unsynced::sync_own_file;
use crate::fs::written::Remembering;
use crate::fs::{CorruptPart, FsError, NodeId, RecoveryReport};
use crate::lower::{
    Access, Inode, LockedFile, LowerDir, LowerStat, NodeKind, OsFile, Pinned, SyncScope,
};
use crate::name::LowerName;
use crate::sync::{self, LeafMutex, Mutex, Rank, RwLock};

/// One volume, open. Everything is `&self`; operations take node numbers and names and give values.
#[derive(Debug)]
pub struct Volume {
    pub(super) root: Arc<LowerDir>,
    /// The same, for its attributes.
    pub(super) root_pin: Pinned,
    /// `.kmsfs` in the root.
    pub(super) own: Arc<LowerDir>,
    /// Rank CACHE; changed by `policy set` only.
    pub(super) config: RwLock<VolumeConfig>,
    pub(super) keys: VolumeKeys,
    pub(super) data_keys: DataKeys,
    pub(super) nodes: NodeTable,
    pub(super) open_nodes: OpenNodes,
    /// Removed files that the kernel is about to forget.
    pub(super) leaving: Leaving,
    /// Reading ahead from file to file.
    pub(super) ahead: Ahead,
    pub(super) rewraps: RewrapQueue,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) trust: Trust,
    /// Whether names are bound; as the configuration says.
    pub(super) binding: NameBinding,
    pub(super) read_only: bool,
    /// Something was written since the last checkpoint.
    pub(super) dirty: AtomicBool,
    /// Lower directory as it was named at opening, for people.
    pub(super) lower_path: PathBuf,
    pub(super) recovery: Option<RecoveryReport>,
    /// Whether the state could be read at opening.
    pub(super) state_is_known: bool,
    /// Rank CACHE.
    pub(super) checkpoints: Mutex<Checkpoints>,
    pub(super) last_checkpoint: LastCheckpoint,
    /// One state is written at a time. A leaf without a rank.
    pub(super) storing: LeafMutex<()>,
    /// Held as long as the volume is open for writing.
    pub(super) lock: Mutex<Option<LockedFile>>,
}

/// What the next recovery has to look at. Times as seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checkpoints {
    /// The last checkpoint that was stored.
    pub(super) last: (i64, u32),
    /// What changed since then has to be looked at, whatever happens: a recovery could not look at
    /// every file for want of keys, or the lower filesystem failed to sync.
    pub(super) unmended_since: Option<(i64, u32)>,
    /// Renames that the state has to tell of.
    pub(super) moves: OldMoves,
}

/// How often a name is looked at again while its node moves, half a second in all. That takes no longer
/// than a few instructions, unless the thread is put aside in between.
const MOVING_TRIES: u32 = 90;

/// What to use to get at a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spot<'a> {
    /// The root of the volume.
    Root,
    /// A directory, and the name in it.
    Named(&'a LowerDir, &'a LowerName),
    /// What has no name any more.
    Pinned(&'a Pinned),
}

impl Volume {
    /// The directory of a node. Opened at most once as long as it stays in the cache.
    pub(super) fn dir_of(&self, node: &Arc<Node>) -> Result<Arc<LowerDir>, FsError> {
        node.check_dir()?;
        if let Some(dir) = node.descriptors().dir {
            return Ok(dir);
        }
        let dir = self.at_place(node, |spot| match spot {
            Spot::Root => Ok(Arc::clone(&self.root)),
            Spot::Named(dir, name) => Ok(Arc::new(dir.open_dir(name)?)),
            Spot::Pinned(_) => Err(FsError::NotFound),
        })?;
        if node.id == NodeId::ROOT {
            return Ok(dir);
        }
        node.set_descriptors(|open| open.dir = Some(Arc::clone(&dir)));
        self.open_nodes.opened(node);
        Ok(dir)
    }

    /// The lower file of a node.
    pub(super) fn file_of(&self, node: &Arc<Node>) -> Result<Arc<OsFile>, FsError> {
        if let Some(file) = node.open_file() {
            return Ok(file);
        }
        node.check_file()?;
        let access = if self.read_only { Access::ReadOnly } else { Access::ReadWrite };
        let open = |spot: Spot<'_>| match spot {
            Spot::Root => Err(FsError::Errno(libc::EISDIR)),
            Spot::Named(dir, name) => Ok(dir.open_file(name, access)?),
            Spot::Pinned(pinned) => Ok(pinned.open_file(access)?),
        };
        let file = self.at_own_place(node, open, |file| Ok(file.stat()?))?;
        let file = Arc::new(file);
        self.keep_file(node, &file);
        Ok(file)
    }

    /// Uses the place of a node. A rename is done below before the node is told its new place, so that
    /// what is missing under a name is looked for again.
    pub(super) fn at_place<T>(
        &self,
        node: &Arc<Node>,
        work: impl Fn(Spot<'_>) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        let mut turn = 0;
        loop {
            let (parent, name) = match node.place() {
                Place::Root => return work(Spot::Root),
                Place::Pinned(pinned) => return work(Spot::Pinned(&pinned)),
                Place::Named { parent, name } => (parent, name),
            };
            match work(Spot::Named(&*self.dir_of(&parent)?, &name)) {
                Err(FsError::Lower(error))
                    if error.errno == libc::ENOENT && turn < MOVING_TRIES =>
                {
                    sync::pause(turn);
                    turn += 1;
                }
                done => return done,
            }
        }
    }

    /// Uses a node for its attributes: by its open file, else where it lies, while no entry comes or goes in
    /// that directory, so that what is changed is the node, and not what changes places with it. No lock of
    /// rank Dir or above is held.
    pub(super) fn at_inode<T>(
        &self,
        node: &Arc<Node>,
        work: impl Fn(Inode<'_>) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        if let Some(file) = node.open_file() {
            return work(Inode::Open(&file));
        }
        loop {
            let (parent, name) = match node.place() {
                Place::Root => return work(self.inode_at(Spot::Root)),
                Place::Pinned(pinned) => return work(Inode::Pinned(&pinned)),
                Place::Named { parent, name } => (parent, name),
            };
            let dir = self.dir_of(&parent)?;
            let _still = parent.entries.read();
            // Else a rename came first.
            if node.is_at(&parent, &name) {
                return work(Inode::Entry(&dir, &name));
            }
        }
    }

    /// The inode at a spot.
    pub(super) fn inode_at<'a>(&'a self, spot: Spot<'a>) -> Inode<'a> {
        match spot {
            Spot::Root => Inode::Pinned(&self.root_pin),
            Spot::Named(dir, name) => Inode::Entry(dir, name),
            Spot::Pinned(pinned) => Inode::Pinned(pinned),
        }
    }

    /// As [`Self::at_place`], where another node may have come to the name.
    pub(super) fn at_own_place<T>(
        &self,
        node: &Arc<Node>,
        work: impl Fn(Spot<'_>) -> Result<T, FsError>,
        stat: impl Fn(&T) -> Result<LowerStat, FsError>,
    ) -> Result<T, FsError> {
        for turn in 0..MOVING_TRIES {
            let done = self.at_place(node, &work)?;
            if self.nodes.id_of(stat(&done)?.id.ino) == node.id {
                return Ok(done);
            }
            sync::pause(turn);
        }
        // Somebody has changed the lower directory behind the mount. What lies there is another's.
        Err(FsError::StaleNode)
    }

    /// Keeps a file's descriptor for the next request.
    pub(super) fn keep_file(&self, node: &Arc<Node>, file: &Arc<OsFile>) {
        node.set_descriptors(|open| open.file = Some(Arc::clone(file)));
        self.open_nodes.opened(node);
    }

    /// Id and key policy of a directory.
    ///
    /// # Errors
    /// `FsError::Corrupt` if the marker is missing or wrong.
    pub(super) fn marker_of(&self, node: &Arc<Node>) -> Result<DirMarker, FsError> {
        if let Some(marker) = node.marker() {
            return Ok(marker);
        }
        let marker = self.load_marker(&*self.dir_of(node)?)?;
        self.check_dir_home(node, &marker)?;
        node.set_marker(marker);
        Ok(marker)
    }

    /// Reads the marker of a lower directory.
    pub(super) fn load_marker(&self, dir: &LowerDir) -> Result<DirMarker, FsError> {
        let bytes = match dir.read_small(&own_name(MARKER_NAME)?, MARKER_LEN_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.errno == libc::ENOENT => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        DirMarker::parse(&bytes, self.data_keys.volume(), &self.keys.markers)
            .map_err(|_| FsError::Corrupt(CorruptPart::Marker))
    }

    /// The names of a directory.
    pub(super) fn names_of(&self, node: &Arc<Node>) -> Result<Names<'_>, FsError> {
        Ok(Names::new(&self.keys, self.marker_of(node)?.dir))
    }

    /// Runs `work` on the content of a regular file.
    pub(super) fn with_file<T>(
        &self,
        node: &Arc<Node>,
        work: impl FnOnce(&FileEnv<'_>) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        self.with_file_under(node, DEFAULT_POLICY, work)
    }

    /// Runs `work` on the content of a regular file that may get its header now, by the key policy
    /// of its directory.
    pub(super) fn with_file_mut<T>(
        &self,
        node: &Arc<Node>,
        work: impl FnOnce(&FileEnv<'_>) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        self.check_writable()?;
        let policy = match node.parent() {
            Some(parent) if node.file.known_size().is_none_or(|size| size.0 == 0) => {
                self.marker_of(&parent)?.policy
            }
            Some(_) | None => DEFAULT_POLICY,
        };
        self.with_file_under(node, policy, work)
    }

    fn with_file_under<T>(
        &self,
        node: &Arc<Node>,
        policy: u32,
        work: impl FnOnce(&FileEnv<'_>) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        let file = self.file_of(node)?;
        let file = Remembering { file: &*file, written: &node.written };
        let (data_keys, home) = (&self.data_keys, &NodeHousing { volume: self, node });
        let (trust, checkpoint) = (self.trust, &self.last_checkpoint);
        let env = FileEnv { file: &file, data_keys, policy, trust, home, checkpoint };
        let result = self.check_moved(node, &file).and_then(|()| work(&env));
        if node.file.take_freshly_loaded() {
            self.keys_loaded(node, &env);
        }
        if let Err(FsError::Corrupt(part)) = &result {
            tracing::error!(
                node = node.id.0,
                file = node.file.envelope().map(|(id, _)| id.to_string()),
                place = ?lower_name(node),
                %part,
                "corrupt"
            );
        }
        result
    }

    /// A file's keys were loaded: bound their number, and see whether its envelope is stale.
    fn keys_loaded(&self, node: &Arc<Node>, env: &FileEnv<'_>) {
        if let Some(evicted) = self.open_nodes.keys_loaded(node) {
            self.drop_keys_of(&evicted);
        }
        if !self.read_only && node.file.is_stale(env).unwrap_or(false) {
            self.rewraps.push(node);
        }
    }

    /// Forgets the keys of one file.
    pub(super) fn drop_keys_of(&self, node: &Arc<Node>) {
        if node.file.forget_keys() {
            return;
        }
        let dropped = self.file_of(node).and_then(|file| {
            let data_keys = &self.data_keys;
            let file = Remembering { file: &*file, written: &node.written };
            let home = &NodeHousing { volume: self, node };
            let (trust, checkpoint) = (self.trust, &self.last_checkpoint);
            let env = FileEnv { file: &file, data_keys, policy: 0, trust, home, checkpoint };
            node.file.drop_keys(&env)
        });
        if let Err(error) = dropped {
            tracing::warn!(node = node.id.0, %error, "dropping keys");
        }
    }

    /// Whether anything can be changed.
    pub fn is_writable(&self) -> bool {
        !self.read_only
    }

    /// Refuses changes of a read-only mount, and notes that there is something to checkpoint.
    pub(super) fn check_writable(&self) -> Result<(), FsError> {
        if self.read_only {
            return Err(FsError::ReadOnly);
        }
        if !self.dirty.load(Ordering::Relaxed) {
            self.dirty.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes a file, or a directory's own entry, durable: its content, and that it can be reached.
    ///
    /// # Errors
    /// `FsError::Lower`.
    pub fn sync(&self, node: NodeId, scope: SyncScope) -> Result<(), FsError> {
        let node = self.nodes.find(node)?;
        if self.read_only {
            return Ok(());
        }
        match node.kind {
            NodeKind::Dir => self.sync_dir(&node)?,
            NodeKind::File => self.with_file(&node, |env| node.file.sync(env, scope))?,
            // Nothing lies behind their names.
            NodeKind::Symlink
            | NodeKind::Fifo
            | NodeKind::Socket
            | NodeKind::CharDevice
            | NodeKind::BlockDevice => {}
        }
        self.make_reachable(&node)
    }

    /// Makes names, sidecars and markers from here up to the root durable.
    pub(super) fn make_reachable(&self, node: &Arc<Node>) -> Result<(), FsError> {
        let mut node = Arc::clone(node);
        while let Place::Named { parent, name } = node.place() {
            // Cleared first: a rename meanwhile sets it again.
            if !node.name_durable.swap(true, Ordering::AcqRel) {
                let synced = self.sync_name(&node, &parent, &name);
                if synced.is_err() {
                    node.name_durable.store(false, Ordering::Release);
                }
                synced?;
            }
            node = parent;
        }
        Ok(())
    }

    fn sync_name(
        &self,
        node: &Arc<Node>,
        parent: &Arc<Node>,
        name: &LowerName,
    ) -> Result<(), FsError> {
        let parent_dir = self.dir_of(parent)?;
        if node.check_dir().is_ok() {
            let dir = self.dir_of(node)?;
            sync_own_file(&dir, &own_name(MARKER_NAME)?)?;
            dir.sync()?;
        }
        if let LowerEntry::Long { sidecar } = classify(name.as_bytes()) {
            sync_own_file(&parent_dir, &sidecar)?;
        }
        Ok(parent_dir.sync()?)
    }
}

/// A name of the volume's own, which is a name for certain.
pub(super) fn own_name(name: &str) -> Result<LowerName, FsError> {
    LowerName::from_bytes(name.as_bytes()).map_err(|_| FsError::Bug("own name is no name"))
}

fn lower_name(node: &Node) -> Option<LowerName> {
    match node.place() {
        Place::Named { name, .. } => Some(name),
        Place::Root | Place::Pinned(_) => None,
    }
}

/// Bytes; a marker has 96.
pub(super) const MARKER_LEN_MAX: usize = 128;

pub(super) fn lock_slot(lock: Option<LockedFile>) -> Mutex<Option<LockedFile>> {
    Mutex::new(Rank::Cache, lock)
}
