//! Making entries: files, directories, symbolic and hard links.

use std::sync::Arc;

use crate::format::ids::DirId;
use crate::format::marker::DirMarker;
use crate::format::name::{LowerEntry, MARKER_NAME, TEMPORARY_PREFIX, classify};
use crate::format::symlink::{self, LowerTarget};
use crate::fs::names::{OWN_FILE_MODE, drop_sidecar, object, store_sidecar};
use crate::fs::nodes::{Node, Place};
use crate::fs::volume::{Spot, own_name};
use crate::fs::{Attr, Caller, CorruptPart, FsError, NodeId, Volume};
use crate::lower::{
    Access, LowerDir, LowerError, LowerFile, LowerRename, LowerStat, NodeKind, OsFile, SyncScope,
    acting_as, is_in_group,
};
use crate::name::{LowerName, PlainName};
use crate::random::random_array;

const KIND_BITS: u32 = 0o170000;
const REGULAR: u32 = 0o100000;
const PERMISSION_BITS: u32 = 0o7777;
const OWNER_ALL: u32 = 0o700;
const SET_GROUP_ID: u32 = 0o2000;
/// Runs as its group: the bit without the right to run means something else.
const GROUP_PROGRAM: u32 = 0o2010;

impl Volume {
    /// Makes a regular file, a fifo, a socket or a device; `mode` has the kind in its upper bits.
    /// Counts one lookup.
    ///
    /// # Errors
    /// EEXIST and what the lower filesystem answers; `FsError::Key` for a file that could not be
    /// written.
    pub fn mknod(
        &self,
        parent: NodeId,
        name: &PlainName,
        mode: u32,
        umask: u32,
        rdev: u32,
        caller: Caller,
    ) -> Result<Attr, FsError> {
        let is_regular = matches!(mode & KIND_BITS, REGULAR | 0);
        if is_regular {
            let parent = self.nodes.find(parent)?;
            self.data_keys.check_key(self.marker_of(&parent)?.policy)?;
        }
        let mut opened: Option<OsFile> = None;
        let (node, attr) = self.make(parent, name, |dir, name| {
            acting_as(caller.uid, caller.gid, umask, || match is_regular {
                true => {
                    let file = dir.create_file(name, mode & PERMISSION_BITS)?;
                    let stat = file.stat()?;
                    opened = Some(file);
                    Ok(stat)
                }
                false => {
                    dir.mknod(name, mode, u64::from(rdev))?;
                    dir.stat(name)
                }
            })
        })?;
        if let Some(file) = opened {
            node.file.set_new();
            node.file.made_since(&self.last_checkpoint);
            node.at_home.store(true, std::sync::atomic::Ordering::Release);
            self.keep_file(&node, &Arc::new(file));
        }
        // The lower filesystem saw the caller without its further groups, and so refused to set the
        // group bit for the group of a setgid directory.
        let refused = mode & GROUP_PROGRAM == GROUP_PROGRAM && attr.mode & SET_GROUP_ID == 0;
        if refused && is_in_group(caller.pid, attr.gid) {
            self.chmod(&node, attr.mode | SET_GROUP_ID)?;
            return self.attr_of(&node);
        }
        Ok(attr)
    }

    /// Makes a directory. It is never visible without its marker: it gets its name last.
    ///
    /// # Errors
    /// EEXIST and what the lower filesystem answers.
    pub fn mkdir(
        &self,
        parent: NodeId,
        name: &PlainName,
        mode: u32,
        umask: u32,
        caller: Caller,
    ) -> Result<Attr, FsError> {
        let above = self.marker_of(&self.nodes.find(parent)?)?;
        let id = DirId(random_array(self.data_keys.random()));
        let marker = |name: &LowerName| DirMarker {
            dir: id,
            policy: above.policy,
            home: self.dir_home(id, above.dir, name),
        };
        let mut made_marker = None;
        let temporary = self.temporary_name()?;
        let (node, attr) = self.make(parent, name, |dir, name| {
            let wanted = mode & PERMISSION_BITS;
            acting_as(caller.uid, caller.gid, umask, || dir.mkdir(&temporary, wanted | OWNER_ALL))?;
            let marker = *made_marker.insert(marker(name));
            let made = self.furnish(dir, &temporary, &marker, wanted, umask).and_then(|()| {
                dir.rename(&temporary, dir, name, LowerRename::NoReplace)?;
                dir.stat(name)
            });
            if made.is_err() {
                self.discard_dir(dir, &temporary);
            }
            made
        })?;
        if let Some(marker) = made_marker {
            node.set_marker(marker);
        }
        Ok(attr)
    }

    /// Puts the marker into a new directory, and takes away rights that only we needed.
    fn furnish(
        &self,
        parent: &LowerDir,
        name: &LowerName,
        marker: &DirMarker,
        wanted: u32,
        umask: u32,
    ) -> Result<(), LowerError> {
        let dir = parent.open_dir(name)?;
        let bytes = marker.encode(self.data_keys.volume(), &self.keys.markers);
        let marker_name =
            own_name(MARKER_NAME).map_err(|_| LowerError { op: "marker", errno: libc::EINVAL })?;
        dir.write_new(&marker_name, &bytes, OWN_FILE_MODE)?;
        // With a default ACL the umask did not count; then the mode is what the ACL made of it.
        let owner = wanted & !umask & OWNER_ALL;
        let stat = dir.stat_self()?;
        if owner != OWNER_ALL && stat.mode & OWNER_ALL == OWNER_ALL {
            parent.chmod(name, stat.mode & !OWNER_ALL | wanted & OWNER_ALL & !umask)?;
        }
        Ok(())
    }

    /// Removes a directory that nobody sees: its marker, stray sidecars, itself.
    pub(super) fn discard_dir(&self, parent: &LowerDir, name: &LowerName) {
        let empty = || parent.open_dir(name).and_then(|dir| remove_own_entries(&dir));
        let emptied = match empty() {
            // Its owner has closed it; nobody sees it any more.
            Err(error) if error.errno == libc::EACCES => {
                parent.chmod(name, OWNER_ALL).and_then(|()| empty())
            }
            answer => answer,
        };
        if let Err(error) = emptied.and_then(|()| parent.rmdir(name)) {
            tracing::warn!(%error, %name, "removing a directory's remains");
        }
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// EEXIST and what the lower filesystem answers.
    pub fn symlink(
        &self,
        parent: NodeId,
        name: &PlainName,
        target: &[u8],
        caller: Caller,
    ) -> Result<Attr, FsError> {
        let key = &self.keys.symlinks;
        let random = self.data_keys.random();
        let inline = symlink::inline(key, target, random);
        let (_, attr) = self.make(parent, name, |dir, name| {
            let link =
                |text: &[u8]| acting_as(caller.uid, caller.gid, 0, || dir.symlink(text, name));
            match inline.as_deref().map(link) {
                // Some lower filesystems have shorter links than PATH_MAX.
                Some(Err(error)) if error.errno == libc::ENAMETOOLONG => {}
                Some(answer) => return answer.and_then(|()| dir.stat(name)),
                None => {}
            }
            let id = random_array(random);
            let (text, content) = symlink::external(key, id, target, random);
            let links = self.links_dir()?;
            let content_name = link_name(&id)?;
            // Durable first: the link may reach the disk at any time.
            let written = links
                .write_new(&content_name, &content, OWN_FILE_MODE)
                .and_then(|file| file.sync(SyncScope::All))
                .and_then(|()| links.sync());
            written.and_then(|()| link(&text)).and_then(|()| dir.stat(name)).inspect_err(|_| {
                let _ = links.unlink(&content_name);
            })
        })?;
        Ok(attr)
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// `FsError::Corrupt`, `FsError::Lower`.
    pub fn readlink(&self, node: NodeId) -> Result<Vec<u8>, FsError> {
        self.readlink_of(&self.nodes.find(node)?)
    }

    pub(super) fn readlink_of(&self, node: &Arc<Node>) -> Result<Vec<u8>, FsError> {
        self.open_target(&self.target_text(node)?)
    }

    /// The text of the lower symbolic link.
    pub(super) fn target_text(&self, node: &Arc<Node>) -> Result<Vec<u8>, FsError> {
        self.at_place(node, |spot| match spot {
            Spot::Root => Err(FsError::Errno(libc::EINVAL)),
            Spot::Named(dir, name) => Ok(dir.readlink(name)?),
            Spot::Pinned(pinned) => Ok(pinned.readlink()?),
        })
    }

    /// Opens the text of a lower symbolic link.
    pub(super) fn open_target(&self, text: &[u8]) -> Result<Vec<u8>, FsError> {
        let corrupt = FsError::Corrupt(CorruptPart::SymlinkTarget);
        let key = &self.keys.symlinks;
        let opened = match symlink::parse(text).map_err(|_| corrupt.clone())? {
            LowerTarget::Inline(sealed) => symlink::open_inline(key, &sealed),
            LowerTarget::External { id, .. } => {
                let name = link_name(&id)?;
                let sealed = match self.links_dir()?.read_small(&name, TARGET_FILE_LEN_MAX) {
                    // The link itself is there.
                    Err(error) if error.errno == libc::ENOENT => return Err(corrupt),
                    answer => answer?,
                };
                symlink::open_external(key, id, &sealed)
            }
        };
        opened.map_err(|_| corrupt)
    }

    /// Removes the external target of a symbolic link that is gone.
    pub(super) fn drop_target(&self, text: &[u8]) {
        if let Ok(LowerTarget::External { id, .. }) = symlink::parse(text) {
            let removed = link_name(&id)
                .map_err(FsError::from)
                .and_then(|name| Ok(self.links_dir()?.unlink(&name)?));
            if let Err(error) = removed {
                tracing::warn!(%error, "removing a symlink target");
            }
        }
    }

    fn links_dir(&self) -> Result<LowerDir, LowerError> {
        let name = own_component(LINKS_NAME)?;
        match self.own.open_dir(&name) {
            Err(error) if error.errno == libc::ENOENT => {
                match self.own.mkdir(&name, OWNER_ALL) {
                    Err(error) if error.errno != libc::EEXIST => return Err(error),
                    Ok(()) | Err(_) => self.own.sync()?,
                }
                self.own.open_dir(&name)
            }
            answer => answer,
        }
    }

    /// Gives a node another name.
    ///
    /// # Errors
    /// EEXIST, EMLINK and what the lower filesystem answers.
    pub fn link(&self, node: NodeId, parent: NodeId, name: &PlainName) -> Result<Attr, FsError> {
        let node = self.nodes.find(node)?;
        let place = node.place();
        let source = match &place {
            Place::Root => return Err(FsError::Errno(libc::EPERM)),
            Place::Named { parent, .. } => Some(self.dir_of(parent)?),
            Place::Pinned(_) => None,
        };
        // The old name may go at once: the new one must be as durable as that was.
        let new_parent = self.nodes.find(parent)?;
        self.make_reachable(&new_parent)?;
        let dir_id = self.marker_of(&new_parent)?.dir;
        let (_, attr) = self.make(parent, name, |dir, name| {
            if let LowerEntry::Long { sidecar } = classify(name.as_bytes()) {
                dir.open_file(&sidecar, Access::ReadOnly)?.sync(SyncScope::All)?;
            }
            let link = || {
                match (&place, &source) {
                    (Place::Named { name: old, .. }, Some(source)) => {
                        source.link(old, dir, name)?;
                    }
                    (Place::Pinned(pinned), _) => pinned.link_to(dir, name)?,
                    _ => {}
                }
                dir.stat(name)
            };
            if node.kind != NodeKind::File || !self.names_are_bound() {
                return link();
            }
            node.file.still(|| {
                let links = self.stat_of(&node).map_err(as_lower)?.nlink;
                let old = self.release_home(&node, links, dir_id, name).map_err(as_lower)?;
                link().inspect_err(|_| {
                    if let Some(old) = &old {
                        self.put_home_back(&node, old);
                    }
                })
            })
        })?;
        Ok(attr)
    }

    /// Makes one entry by `work`, which is given the directory and the lower name.
    fn make(
        &self,
        parent: NodeId,
        name: &PlainName,
        work: impl FnOnce(&LowerDir, &LowerName) -> Result<LowerStat, LowerError>,
    ) -> Result<(Arc<Node>, Attr), FsError> {
        self.check_writable()?;
        let parent = self.nodes.find(parent)?;
        let form = self.names_of(&parent)?.seal(name);
        let dir = self.dir_of(&parent)?;
        let _entries = parent.entries.write();
        store_sidecar(&dir, &form)?;
        let stat = work(&dir, object(&form)).inspect_err(|error| {
            if error.errno != libc::EEXIST {
                drop_sidecar(&dir, &form);
            }
        })?;
        let node = self.nodes.reach(&stat, &parent, object(&form), 1)?;
        node.name_durable.store(false, std::sync::atomic::Ordering::Release);
        self.entry_came(&parent, &form, &stat);
        let attr = self.attr_of_entry(&dir, object(&form), &stat)?;
        Ok((node, attr))
    }

    /// A name of our own for something that is being made or removed.
    pub(super) fn temporary_name(&self) -> Result<LowerName, FsError> {
        let id: [u8; 8] = random_array(self.data_keys.random());
        own_name(&format!("{TEMPORARY_PREFIX}{}", crate::codec::hex(&id)))
    }
}

/// The error of a step inside of one of the lower filesystem's.
fn as_lower(error: FsError) -> LowerError {
    match error {
        FsError::Lower(error) => error,
        _ => LowerError { op: "linkat", errno: libc::EIO },
    }
}

/// Removes the volume's own entries of a directory that has no others.
pub(super) fn remove_own_entries(dir: &LowerDir) -> Result<(), LowerError> {
    let mut buffer = Vec::with_capacity(4096);
    let names: Vec<LowerName> = dir
        .entries(0, &mut buffer)?
        .filter_map(|entry| LowerName::from_bytes(entry.name).ok())
        .collect();
    for name in names {
        if classify(name.as_bytes()) == LowerEntry::Own {
            dir.unlink(&name)?;
        }
    }
    Ok(())
}

/// Directory of long symlink targets in `.kmsfs`.
const LINKS_NAME: &str = "links";

/// Bytes; a sealed target of 4095 bytes, with room.
const TARGET_FILE_LEN_MAX: usize = 8192;

fn link_name(id: &[u8; 16]) -> Result<LowerName, LowerError> {
    own_component(&crate::codec::hex(id))
}

fn own_component(name: &str) -> Result<LowerName, LowerError> {
    LowerName::from_bytes(name.as_bytes())
        .map_err(|_| LowerError { op: "openat", errno: libc::EINVAL })
}
