//! The reference filesystem: what a volume must look like from outside, without encryption, keys or
//! a disk.
//!
//! Answers as Linux does: a value, or an errno. Times are known only as far as they are set or were
//! learned from the volume; whatever does not write must leave them alone.

use std::collections::BTreeMap;

use crate::fs::{AllocateHow, RenameHow, XattrHow};
use crate::lower::{LowerFile, LowerTime, NodeKind};
use crate::testing::MemFile;
use crate::units::{LowerLen, LowerOffset};

/// Number of an inode of the model.
pub type Ino = u64;

/// Root directory of the model.
pub const ROOT: Ino = 1;

/// Errno of a refused operation.
pub type Errno = i32;

/// What an inode is.
#[derive(Debug)]
pub enum Body {
    /// A regular file.
    File(MemFile),
    /// A directory: names to inodes.
    Dir(BTreeMap<Vec<u8>, Ino>),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
}

/// An inode.
#[derive(Debug)]
pub struct ModelNode {
    /// What it is.
    pub body: Body,
    /// Names, less those of the model's own bookkeeping; of a directory, as POSIX counts.
    pub nlink: u32,
    /// Permission bits.
    pub mode: u32,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Last change of content; `None` if it has to be learned.
    pub mtime: Option<LowerTime>,
}

impl ModelNode {
    fn new(body: Body, mode: u32) -> Self {
        let nlink = if matches!(body, Body::Dir(_)) { 2 } else { 1 };
        Self { body, nlink, mode, xattrs: BTreeMap::new(), mtime: None }
    }

    /// Its kind.
    pub fn kind(&self) -> NodeKind {
        match self.body {
            Body::File(_) => NodeKind::File,
            Body::Dir(_) => NodeKind::Dir,
            Body::Symlink(_) => NodeKind::Symlink,
            Body::Fifo => NodeKind::Fifo,
        }
    }

    /// Length, of a regular file or a symbolic link; directories have none that counts.
    pub fn size(&self) -> Option<u64> {
        match &self.body {
            Body::File(content) => Some(content_len(content)),
            Body::Symlink(target) => u64::try_from(target.len()).ok(),
            Body::Dir(_) | Body::Fifo => None,
        }
    }
}

/// Length of a content.
fn content_len(content: &MemFile) -> u64 {
    content.len().map_or(0, |len| len.0)
}

/// A filesystem in memory.
#[derive(Debug)]
pub struct ModelFs {
    nodes: BTreeMap<Ino, ModelNode>,
    next: Ino,
}

impl Default for ModelFs {
    fn default() -> Self {
        let root = ModelNode::new(Body::Dir(BTreeMap::new()), 0o755);
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1 }
    }
}

impl ModelFs {
    /// An inode.
    pub fn find(&self, ino: Ino) -> Option<&ModelNode> {
        self.nodes.get(&ino)
    }

    /// All inodes that pass, by number.
    pub fn inos(&self, wanted: impl Fn(&ModelNode) -> bool) -> Vec<Ino> {
        self.nodes.iter().filter(|(_, node)| wanted(node)).map(|(ino, _)| *ino).collect()
    }

    /// All entries: directory, name, inode.
    pub fn entries(&self) -> Vec<(Ino, Vec<u8>, Ino)> {
        let mut all = Vec::new();
        for (dir, node) in &self.nodes {
            if let Body::Dir(entries) = &node.body {
                all.extend(entries.iter().map(|(name, ino)| (*dir, name.clone(), *ino)));
            }
        }
        all
    }

    /// Some name of an inode: its directory and the name there.
    pub fn name_of(&self, ino: Ino) -> Option<(Ino, Vec<u8>)> {
        let found = self.entries().into_iter().find(|(_, _, named)| *named == ino);
        found.map(|(dir, name, _)| (dir, name))
    }

    /// The entries of a directory.
    ///
    /// # Errors
    /// ENOTDIR, ENOENT.
    pub fn read_dir(&self, dir: Ino) -> Result<&BTreeMap<Vec<u8>, Ino>, Errno> {
        match &self.nodes.get(&dir).ok_or(libc::ENOENT)?.body {
            Body::Dir(entries) => Ok(entries),
            Body::File(_) | Body::Symlink(_) | Body::Fifo => Err(libc::ENOTDIR),
        }
    }

    /// The inode of a name.
    ///
    /// # Errors
    /// ENOENT.
    pub fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Ino, Errno> {
        self.read_dir(dir)?.get(name).copied().ok_or(libc::ENOENT)
    }

    /// Makes an entry and its inode.
    ///
    /// # Errors
    /// EEXIST.
    pub fn make(&mut self, dir: Ino, name: &[u8], body: Body, mode: u32) -> Result<Ino, Errno> {
        if self.lookup(dir, name).is_ok() {
            return Err(libc::EEXIST);
        }
        let ino = self.next;
        self.next += 1;
        if matches!(body, Body::Dir(_)) {
            self.count(dir, 1);
        }
        self.nodes.insert(ino, ModelNode::new(body, mode));
        self.enter(dir, name, ino);
        Ok(ino)
    }

    /// Gives an inode one more name.
    ///
    /// # Errors
    /// EEXIST; EPERM for a directory; ENOENT for one that has no name.
    pub fn link(&mut self, ino: Ino, dir: Ino, name: &[u8]) -> Result<(), Errno> {
        if self.lookup(dir, name).is_ok() {
            return Err(libc::EEXIST);
        }
        let node = self.nodes.get(&ino).ok_or(libc::ENOENT)?;
        match (&node.body, node.nlink) {
            (Body::Dir(_), _) => return Err(libc::EPERM),
            (_, 0) => return Err(libc::ENOENT),
            _ => {}
        }
        self.count(ino, 1);
        self.enter(dir, name, ino);
        Ok(())
    }

    /// Removes a name that is no directory. The inode stays, without a name if it was the last.
    ///
    /// # Errors
    /// ENOENT, EISDIR.
    pub fn unlink(&mut self, dir: Ino, name: &[u8]) -> Result<Ino, Errno> {
        let ino = self.lookup(dir, name)?;
        if self.is_dir(ino) {
            return Err(libc::EISDIR);
        }
        self.leave(dir, name);
        self.count(ino, -1);
        Ok(ino)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ENOTEMPTY.
    pub fn rmdir(&mut self, dir: Ino, name: &[u8]) -> Result<Ino, Errno> {
        let ino = self.lookup(dir, name)?;
        if !self.read_dir(ino)?.is_empty() {
            return Err(libc::ENOTEMPTY);
        }
        self.leave(dir, name);
        self.count(dir, -1);
        self.nodes.remove(&ino);
        Ok(ino)
    }

    /// Moves a name; gives the inode that lost its name to it.
    ///
    /// # Errors
    /// As renameat2(2).
    pub fn rename(
        &mut self,
        dir: Ino,
        name: &[u8],
        to: Ino,
        new: &[u8],
        how: RenameHow,
    ) -> Result<Option<Ino>, Errno> {
        let source = self.lookup(dir, name)?;
        let target = self.lookup(to, new).ok();
        match (how, target) {
            (RenameHow::NoReplace, Some(_)) => return Err(libc::EEXIST),
            (RenameHow::Exchange, None) => return Err(libc::ENOENT),
            _ => {}
        }
        if self.is_above(source, to) {
            return Err(libc::EINVAL);
        }
        if let Some(target) = target.filter(|target| self.is_above(*target, dir)) {
            let _ = target;
            let exchange = how == RenameHow::Exchange;
            return Err(if exchange { libc::EINVAL } else { libc::ENOTEMPTY });
        }
        if target == Some(source) {
            return Ok(None);
        }
        let Some(target) = target else {
            self.leave(dir, name);
            self.enter(to, new, source);
            self.move_dir_count(source, dir, to);
            return Ok(None);
        };
        if how == RenameHow::Exchange {
            self.enter(dir, name, target);
            self.enter(to, new, source);
            self.move_dir_count(source, dir, to);
            self.move_dir_count(target, to, dir);
            return Ok(None);
        }
        match (self.is_dir(source), self.is_dir(target)) {
            (true, false) => return Err(libc::ENOTDIR),
            (false, true) => return Err(libc::EISDIR),
            (true, true) => self.rmdir(to, new)?,
            (false, false) => self.unlink(to, new)?,
        };
        self.leave(dir, name);
        self.enter(to, new, source);
        self.move_dir_count(source, dir, to);
        Ok(Some(target))
    }

    /// Forgets files without a name: nobody holds them any more.
    pub fn drop_nameless(&mut self) {
        self.nodes.retain(|ino, node| *ino == ROOT || node.nlink > 0);
    }

    /// Forgets an inode without a name.
    pub fn drop_if_nameless(&mut self, ino: Ino) {
        if ino != ROOT && self.nodes.get(&ino).is_some_and(|node| node.nlink == 0) {
            self.nodes.remove(&ino);
        }
    }

    /// Reads at most `len` bytes.
    ///
    /// # Errors
    /// EISDIR, EINVAL.
    pub fn read(&self, ino: Ino, at: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let mut out = vec![0; len];
        let got = self.content(ino)?.read_at(LowerOffset(at), &mut out).map_err(|e| e.errno)?;
        out.truncate(got);
        Ok(out)
    }

    /// Writes.
    ///
    /// # Errors
    /// EISDIR, EINVAL, EFBIG.
    pub fn write(&mut self, ino: Ino, at: u64, data: &[u8]) -> Result<(), Errno> {
        let content = self.content(ino)?;
        if !data.is_empty() {
            content.write_at(LowerOffset(at), data).map_err(|e| e.errno)?;
            self.touch(ino);
        }
        Ok(())
    }

    /// Sets the length.
    ///
    /// # Errors
    /// EISDIR, EINVAL.
    pub fn set_size(&mut self, ino: Ino, size: u64) -> Result<(), Errno> {
        self.content(ino)?.set_len(LowerLen(size)).map_err(|e| e.errno)?;
        self.touch(ino);
        Ok(())
    }

    /// fallocate.
    ///
    /// # Errors
    /// EISDIR, EINVAL.
    pub fn allocate(&mut self, ino: Ino, at: u64, len: u64, how: AllocateHow) -> Result<(), Errno> {
        let content = self.content(ino)?;
        if len == 0 {
            return Err(libc::EINVAL);
        }
        let size = content_len(content);
        let zeroes = !matches!(how, AllocateHow::Grow | AllocateHow::KeepSize);
        if zeroes {
            content.punch(LowerOffset(at), LowerLen(len)).map_err(|e| e.errno)?;
        }
        if matches!(how, AllocateHow::Grow | AllocateHow::ZeroRange) && at + len > size {
            content.set_len(LowerLen(at + len)).map_err(|e| e.errno)?;
        }
        self.touch(ino);
        Ok(())
    }

    /// The next byte at or behind `at`, and below `end`, that is not zero.
    ///
    /// # Errors
    /// EISDIR, EINVAL.
    pub fn next_nonzero(&self, ino: Ino, at: u64, end: u64) -> Result<Option<u64>, Errno> {
        let content = self.content(ino)?;
        let mut at = at;
        while let Ok(Some(LowerOffset(page))) = content.next_data(LowerOffset(at)) {
            if page >= end {
                break;
            }
            let bytes = self.read(ino, page, 4096)?;
            let nonzero = bytes.iter().position(|byte| *byte != 0);
            match nonzero.and_then(|inside| u64::try_from(inside).ok()) {
                Some(inside) => return Ok(Some(page + inside).filter(|found| *found < end)),
                None => at = page + 4096,
            }
        }
        Ok(None)
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// EEXIST, ENODATA; EPERM for what carries none.
    pub fn set_xattr(
        &mut self,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        how: XattrHow,
    ) -> Result<(), Errno> {
        let node = self.nodes.get_mut(&ino).ok_or(libc::ENOENT)?;
        if !matches!(node.body, Body::File(_) | Body::Dir(_)) {
            return Err(libc::EPERM);
        }
        match (how, node.xattrs.contains_key(name)) {
            (XattrHow::Create, true) => Err(libc::EEXIST),
            (XattrHow::Replace, false) => Err(libc::ENODATA),
            _ => {
                node.xattrs.insert(name.to_vec(), value.to_vec());
                Ok(())
            }
        }
    }

    /// Value of an extended attribute.
    ///
    /// # Errors
    /// ENODATA.
    pub fn find_xattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let node = self.nodes.get(&ino).ok_or(libc::ENOENT)?;
        node.xattrs.get(name).cloned().ok_or(libc::ENODATA)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// ENODATA; EPERM for what carries none.
    pub fn remove_xattr(&mut self, ino: Ino, name: &[u8]) -> Result<(), Errno> {
        let node = self.nodes.get_mut(&ino).ok_or(libc::ENOENT)?;
        if !matches!(node.body, Body::File(_) | Body::Dir(_)) {
            return Err(libc::EPERM);
        }
        node.xattrs.remove(name).map(drop).ok_or(libc::ENODATA)
    }

    /// Sets permission bits.
    pub fn set_mode(&mut self, ino: Ino, mode: u32) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.mode = mode;
        }
    }

    /// The last change of content is this one, or has to be learned.
    pub fn set_mtime(&mut self, ino: Ino, mtime: Option<LowerTime>) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.mtime = mtime;
        }
    }

    fn touch(&mut self, ino: Ino) {
        self.set_mtime(ino, None);
    }

    fn content(&self, ino: Ino) -> Result<&MemFile, Errno> {
        match &self.nodes.get(&ino).ok_or(libc::ENOENT)?.body {
            Body::File(content) => Ok(content),
            Body::Dir(_) => Err(libc::EISDIR),
            Body::Symlink(_) | Body::Fifo => Err(libc::EINVAL),
        }
    }

    fn is_dir(&self, ino: Ino) -> bool {
        self.read_dir(ino).is_ok()
    }

    /// Whether `above` is `below`, or a directory over it.
    fn is_above(&self, above: Ino, below: Ino) -> bool {
        let mut at = Some(below);
        while let Some(ino) = at {
            if ino == above {
                return true;
            }
            at = self.name_of(ino).map(|(dir, _)| dir);
        }
        false
    }

    fn enter(&mut self, dir: Ino, name: &[u8], ino: Ino) {
        self.change_dir(dir, |entries| {
            entries.insert(name.to_vec(), ino);
        });
    }

    fn leave(&mut self, dir: Ino, name: &[u8]) {
        self.change_dir(dir, |entries| {
            entries.remove(name);
        });
    }

    fn change_dir(&mut self, dir: Ino, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Ino>)) {
        if let Some(ModelNode { body: Body::Dir(entries), .. }) = self.nodes.get_mut(&dir) {
            change(entries);
        }
        self.touch(dir);
    }

    /// A directory that moves takes its `..` along.
    fn move_dir_count(&mut self, moved: Ino, from: Ino, to: Ino) {
        if self.is_dir(moved) {
            self.count(from, -1);
            self.count(to, 1);
        }
    }

    fn count(&mut self, ino: Ino, change: i32) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.nlink = node.nlink.saturating_add_signed(change);
        }
    }
}
