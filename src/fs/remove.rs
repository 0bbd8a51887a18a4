//! Removing and renaming entries.

use std::cell::RefCell;
use std::sync::Arc;

use crate::format::name::{LowerEntry, LowerForm, classify};

use crate::fs::home::Moving;
use crate::fs::lookup::Found;
use crate::fs::names::{drop_sidecar, object};
use crate::fs::nodes::{Node, Place};
use crate::fs::unsynced::store_durable_sidecar;
use crate::fs::{FsError, NodeId, RenameHow, Volume};
use crate::lower::{LowerDir, LowerError, LowerRename, NodeKind};
use crate::name::{LowerName, PlainName};

impl Volume {
    /// Removes a name that is no directory.
    ///
    /// # Errors
    /// EISDIR, `FsError::NotFound`, `FsError::Lower`.
    pub fn unlink(&self, parent: NodeId, name: &PlainName) -> Result<(), FsError> {
        self.check_writable()?;
        let parent = self.nodes.find(parent)?;
        let form = self.names_of(&parent)?.seal(name);
        let _entries = parent.entries.write();
        let found = self.find_entry(&parent, name)?.ok_or(FsError::NotFound)?;
        if found.is_dir() {
            return Err(FsError::Errno(libc::EISDIR));
        }
        let target = self.external_target(&found);
        self.pin(&found)?;
        self.unlink_file(&found)?;
        drop_sidecar(&found.dir, &form);
        if let Some(text) = target {
            self.drop_target(&text);
        }
        Ok(())
    }

    /// Removes a lower name. The last but one name of a file: the file is bound to the other again,
    /// if that is known.
    fn unlink_file(&self, found: &Found) -> Result<(), FsError> {
        let may_settle = self.names_are_bound()
            && found.stat.kind == NodeKind::File
            && found.stat.nlink == 2
            && found.stat.len.0 > 0;
        let node = may_settle.then(|| self.nodes.known(found.stat.id.ino)).flatten();
        let Some(node) = node else {
            return Ok(found.dir.unlink(&found.name)?);
        };
        node.file.still(|| {
            self.telling(&node, || {
                found.dir.unlink(&found.name)?;
                if let Err(error) = self.settle_home(&node) {
                    tracing::warn!(node = node.id.0, %error, "binding a file to its last name");
                }
                Ok(())
            })
        })
    }

    /// The text of a symbolic link whose target has a file of its own, if this is its last name.
    fn external_target(&self, found: &Found) -> Option<Vec<u8>> {
        let is_last = found.stat.kind == NodeKind::Symlink && found.stat.nlink == 1;
        let is_external = crate::format::symlink::inline_plain_len(found.stat.len.0).is_none();
        if is_last && is_external { found.dir.readlink(&found.name).ok() } else { None }
    }

    /// Holds an inode that the kernel knows and that is about to lose this name.
    fn pin(&self, found: &Found) -> Result<(), FsError> {
        let Some(node) = self.nodes.known(found.stat.id.ino) else {
            return Ok(());
        };
        let is_its_name = match node.place() {
            Place::Named { name, .. } => name == found.name,
            Place::Root | Place::Pinned(_) => false,
        };
        if is_its_name {
            node.lose_name(found.dir.pin(&found.name)?);
            self.leaving.begins();
        }
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// ENOTDIR, ENOTEMPTY, `FsError::NotFound`, `FsError::Lower`.
    pub fn rmdir(&self, parent: NodeId, name: &PlainName) -> Result<(), FsError> {
        self.check_writable()?;
        let parent = self.nodes.find(parent)?;
        let form = self.names_of(&parent)?.seal(name);
        let _entries = parent.entries.write();
        let found = self.find_entry(&parent, name)?.ok_or(FsError::NotFound)?;
        if !found.is_dir() {
            return Err(FsError::Errno(libc::ENOTDIR));
        }
        self.remove_empty_dir(&found)?;
        drop_sidecar(&found.dir, &form);
        Ok(())
    }

    /// Takes an empty directory out of sight, then removes its marker and itself: at no moment is
    /// a directory visible that has no marker.
    fn remove_empty_dir(&self, found: &Found) -> Result<(), FsError> {
        let dir = found.dir.open_dir(&found.name)?;
        let own = own_entries(&dir)?;
        self.pin(found)?;
        let temporary = self.temporary_name()?;
        found.dir.rename(&found.name, &found.dir, &temporary, LowerRename::NoReplace)?;
        let removed = own.iter().try_for_each(|name| dir.unlink(name));
        if removed.and_then(|()| found.dir.rmdir(&temporary)).is_err() {
            self.discard_dir(&found.dir, &temporary);
        }
        Ok(())
    }

    /// Gives an entry another name, in the same or another directory.
    ///
    /// # Errors
    /// As rename(2) and renameat2(2).
    pub fn rename(
        &self,
        parent: NodeId,
        name: &PlainName,
        new_parent: NodeId,
        new_name: &PlainName,
        how: RenameHow,
    ) -> Result<(), FsError> {
        self.check_writable()?;
        let (parent, new_parent) = (self.nodes.find(parent)?, self.nodes.find(new_parent)?);
        let form = self.names_of(&parent)?.seal(name);
        let new_form = self.names_of(&new_parent)?.seal(new_name);
        if parent.id != new_parent.id {
            // What was synced must not come to lie where it cannot be found after a power cut.
            self.make_reachable(&new_parent)?;
            if how == RenameHow::Exchange {
                self.make_reachable(&parent)?;
            }
        }
        // Two directories in the order of their numbers; the kernel has locked them already.
        let (low, high) = if parent.id <= new_parent.id {
            (&parent, &new_parent)
        } else {
            (&new_parent, &parent)
        };
        let _low = low.entries.write();
        let _high = (low.id != high.id).then(|| high.entries.write());

        let source = self.find_entry(&parent, name)?.ok_or(FsError::NotFound)?;
        let target = self.find_entry(&new_parent, new_name)?;
        match (how, &target) {
            (RenameHow::NoReplace, Some(_)) => return Err(FsError::Errno(libc::EEXIST)),
            (RenameHow::Exchange, None) => return Err(FsError::NotFound),
            _ => {}
        }
        if self.is_above(&source, &new_parent) {
            return Err(FsError::Errno(libc::EINVAL));
        }
        if target.as_ref().is_some_and(|target| self.is_above(target, &parent)) {
            let is_exchange = how == RenameHow::Exchange;
            return Err(FsError::Errno(if is_exchange { libc::EINVAL } else { libc::ENOTEMPTY }));
        }
        if target.as_ref().is_some_and(|target| target.stat.id == source.stat.id) {
            // Two names of one file: POSIX wants nothing done.
            return Ok(());
        }
        let held = RefCell::new(Vec::new());
        let there = Moving {
            found: &source,
            parent: &parent,
            new_parent: &new_parent,
            new_form: &new_form,
            held: &held,
        };
        let done = match (how, &target) {
            (RenameHow::Exchange, Some(target)) => {
                store_durable_sidecar(&source.dir, &form)?;
                store_durable_sidecar(&target.dir, &new_form)?;
                let back = Moving {
                    found: target,
                    parent: &new_parent,
                    new_parent: &parent,
                    new_form: &form,
                    held: &held,
                };
                self.exchange(&there, &back)
            }
            (_, target) => self.rehoming(&there, &mut || {
                self.move_over(&source, target.as_ref(), &new_parent, &new_form, how)?;
                let is_free = form != new_form || parent.id != new_parent.id;
                if is_free && how != RenameHow::Whiteout {
                    drop_sidecar(&source.dir, &form);
                }
                Ok(())
            }),
        };
        held.take().iter().for_each(|node| self.let_go(node));
        done
    }

    /// Two entries change places. A directory is held before a file, and of two of a kind the one with
    /// the lower number.
    fn exchange(&self, there: &Moving<'_>, back: &Moving<'_>) -> Result<(), FsError> {
        let order = |moving: &Moving<'_>| (!moving.found.is_dir(), moving.found.stat.id);
        let (first, second) =
            if order(there) <= order(back) { (there, back) } else { (back, there) };
        self.rehoming(first, &mut || {
            self.rehoming(second, &mut || {
                let (source, target) = (there.found, back.found);
                source.dir.rename(
                    &source.name,
                    &target.dir,
                    &target.name,
                    LowerRename::Exchange,
                )?;
                self.moved(source, there.new_parent, there.new_form);
                self.moved(target, back.new_parent, back.new_form);
                Ok(())
            })
        })
    }

    /// Whether an entry is this directory, or one above it: a tree cannot be moved into itself. The
    /// kernel does not even ask for that.
    fn is_above(&self, found: &Found, below: &Arc<Node>) -> bool {
        let above = self.nodes.id_of(found.stat.id.ino);
        let mut at = found.is_dir().then(|| Arc::clone(below));
        while let Some(node) = at {
            if node.id == above {
                return true;
            }
            at = node.parent();
        }
        false
    }

    /// Moves an entry to a name that is free, or held by `target`.
    fn move_over(
        &self,
        source: &Found,
        target: Option<&Found>,
        new_parent: &Arc<Node>,
        new_form: &LowerForm,
        how: RenameHow,
    ) -> Result<(), FsError> {
        let new_dir = self.dir_of(new_parent)?;
        let new_name = object(new_form);
        let replacing = match how {
            RenameHow::Whiteout => LowerRename::Whiteout,
            RenameHow::Replace | RenameHow::NoReplace | RenameHow::Exchange => LowerRename::Replace,
        };
        let Some(target) = target else {
            let renamed = store_durable_sidecar(&new_dir, new_form).and_then(|()| {
                let new = match replacing {
                    LowerRename::Replace => LowerRename::NoReplace,
                    other => other,
                };
                Ok(source.dir.rename(&source.name, &new_dir, new_name, new)?)
            });
            renamed.inspect_err(|_| drop_sidecar(&new_dir, new_form))?;
            self.moved(source, new_parent, new_form);
            return Ok(());
        };
        store_durable_sidecar(&new_dir, new_form)?;
        match (source.is_dir(), target.is_dir()) {
            (true, false) => return Err(FsError::Errno(libc::ENOTDIR)),
            (false, true) => return Err(FsError::Errno(libc::EISDIR)),
            (false, false) => {
                let text = self.external_target(target);
                self.pin(target)?;
                source.dir.rename(&source.name, &new_dir, new_name, replacing)?;
                self.moved(source, new_parent, new_form);
                if let Some(text) = text {
                    self.drop_target(&text);
                }
            }
            (true, true) => self
                .replace_empty_dir(source, target, &new_dir, new_form, replacing)
                .map(|()| self.moved(source, new_parent, new_form))?,
        }
        Ok(())
    }

    /// Puts a directory in the place of an empty one. They change places first, so that the new
    /// name exists at every moment, and the empty one, marker and all, is removed from the old name,
    /// which is free then or a whiteout.
    fn replace_empty_dir(
        &self,
        source: &Found,
        target: &Found,
        new_dir: &LowerDir,
        new_form: &LowerForm,
        replacing: LowerRename,
    ) -> Result<(), FsError> {
        own_entries(&target.dir.open_dir(&target.name)?)?;
        self.pin(target)?;
        let new_name = object(new_form);
        match source.dir.rename(&source.name, new_dir, new_name, LowerRename::Exchange) {
            Ok(()) => {}
            // A lower filesystem that cannot exchange: the empty one goes first.
            Err(LowerError { errno: libc::EINVAL | libc::EOPNOTSUPP, .. }) => {
                let temporary = self.temporary_name()?;
                new_dir.rename(new_name, new_dir, &temporary, LowerRename::Replace)?;
                source.dir.rename(&source.name, new_dir, new_name, replacing)?;
                self.discard_dir(new_dir, &temporary);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        let temporary = self.temporary_name()?;
        source.dir.rename(&source.name, &source.dir, &temporary, replacing)?;
        self.discard_dir(&source.dir, &temporary);
        Ok(())
    }

    /// An entry has another name now.
    fn moved(&self, found: &Found, parent: &Arc<Node>, form: &LowerForm) {
        self.entry_came(parent, form, &found.stat);
        if let Some(node) = self.nodes.known(found.stat.id.ino) {
            node.set_place(Place::Named { parent: Arc::clone(parent), name: object(form).clone() });
            node.name_durable.store(false, std::sync::atomic::Ordering::Release);
        }
    }
}

/// The volume's own entries of a directory. Refuses one with entries that somebody sees.
fn own_entries(dir: &LowerDir) -> Result<Vec<LowerName>, FsError> {
    let mut buffer = Vec::with_capacity(4096);
    let mut own = Vec::new();
    let mut cookie = 0;
    loop {
        let entries = dir.entries(cookie, &mut buffer)?;
        if entries.is_empty() {
            return Ok(own);
        }
        for entry in entries {
            cookie = entry.cookie;
            match (entry.name, classify(entry.name)) {
                (b"." | b"..", _) => {}
                (name, LowerEntry::Own) => own.extend(LowerName::from_bytes(name).ok()),
                _ => return Err(FsError::Errno(libc::ENOTEMPTY)),
            }
        }
    }
}
