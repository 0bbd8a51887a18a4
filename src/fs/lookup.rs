//! Finding nodes: by name, by path, and letting go of them.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::Arc;

use crate::fs::names;
use crate::fs::nodes::{Descriptors, Node};
use crate::fs::{Attr, FsError, NodeId, Volume};
use crate::lower::{LowerDir, LowerStat, NodeKind};
use crate::name::{LowerName, PlainName};

impl Volume {
    /// Finds a name; `None` if there is none, and the kernel may remember that. Counts one lookup.
    ///
    /// # Errors
    /// `FsError::Lower`, `FsError::Corrupt`.
    pub fn lookup(&self, parent: NodeId, name: &PlainName) -> Result<Option<Attr>, FsError> {
        let parent = self.nodes.find(parent)?;
        let _still = parent.entries.read();
        let Some(found) = self.find_entry(&parent, name)? else {
            return Ok(None);
        };
        let attr = self.attr_of_entry(&found.dir, &found.name, &found.stat)?;
        self.nodes.reach(&found.stat, &parent, &found.name, 1)?;
        Ok(Some(attr))
    }

    /// Finds a name without counting anything.
    pub(super) fn find_entry(
        &self,
        parent: &Arc<Node>,
        name: &PlainName,
    ) -> Result<Option<Found>, FsError> {
        parent.check_dir()?;
        let form = self.names_of(parent)?.seal(name);
        let dir = self.dir_of(parent)?;
        let name = names::object(&form).clone();
        match dir.stat(&name) {
            Ok(stat) => Ok(Some(Found { dir, name, stat })),
            Err(error) if error.errno == libc::ENOENT => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The kernel takes lookups back. The last one closes what the node holds open.
    pub fn forget(&self, node: NodeId, count: u64) {
        let Some(node) = self.nodes.forget(node, count) else {
            return;
        };
        self.open_nodes.forget(node.id);
        // Whoever still works on the node may bring it back; nothing that it keeps is counted now.
        self.drop_keys_of(&node);
        node.set_descriptors(|open| *open = Descriptors::default());
    }

    /// Finds the node of a path inside the volume, and counts one lookup for it (not for the
    /// directories above: they are held by it). Symbolic links are not followed.
    ///
    /// # Errors
    /// `FsError::NotFound`, `FsError::Lower`, `FsError::Corrupt`.
    pub fn resolve(&self, path: &Path) -> Result<NodeId, FsError> {
        let mut node = Arc::clone(self.nodes.root());
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                Component::ParentDir => node = node.parent().unwrap_or(node),
                Component::Normal(name) => {
                    let name = PlainName::from_bytes(name.as_bytes())?;
                    let child = {
                        let _still = node.entries.read();
                        let found = self.find_entry(&node, &name)?.ok_or(FsError::NotFound)?;
                        self.nodes.reach(&found.stat, &node, &found.name, 1)?
                    };
                    self.let_go(&node);
                    node = child;
                }
            }
        }
        Ok(node.id)
    }

    /// Takes back the lookup that a walk counted.
    pub(super) fn let_go(&self, node: &Arc<Node>) {
        self.forget(node.id, 1);
    }

    /// Looks at one name and follows it, for a walk over the tree; the lookup must be given back. The
    /// directory is kept still: what is moved in between would be taken for what lies here.
    pub(super) fn look_and_step(
        &self,
        parent: &Arc<Node>,
        dir: &LowerDir,
        name: &LowerName,
    ) -> Result<(LowerStat, Arc<Node>), FsError> {
        let _still = parent.entries.read();
        let stat = dir.stat(name)?;
        Ok((stat, self.step(parent, name, &stat)?))
    }

    /// Follows one name of a directory that nobody changes now; the lookup must be given back.
    pub(super) fn step(
        &self,
        parent: &Arc<Node>,
        name: &LowerName,
        stat: &LowerStat,
    ) -> Result<Arc<Node>, FsError> {
        self.nodes.reach(stat, parent, name, 1)
    }
}

/// An entry of a directory that was found by name.
#[derive(Debug)]
pub(super) struct Found {
    /// The directory.
    pub dir: Arc<LowerDir>,
    /// Its lower name.
    pub name: LowerName,
    /// Its attributes.
    pub stat: LowerStat,
}

impl Found {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.stat.kind == NodeKind::Dir
    }
}
