//! Files and directories are bound to their names: each says in its header, or marker, where it
//! belongs, and opens nowhere else. Whoever moves one through the volume moves its home first.
//!
//! The home is authenticated by a key of the volume, so that a rename needs no data key. A file with
//! several names is *released*: it opens under any, and says so under the same key.
//! docs/FORMAT.md, sections 4.3 and 6.3.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::format::header::{Prelude, parse_prelude};
use crate::format::home::{DirHome, HOME_OFFSET, Home, HomePlace};
use crate::format::ids::{DirId, FileId};
use crate::format::layout::PRELUDE_LEN;
use crate::format::marker::DirMarker;
use crate::format::name::{LowerEntry, LowerForm, MARKER_NAME, check_sidecar, classify};
use crate::format::volume::NameBinding;
use crate::fs::content::Trust;
use crate::fs::header_io::keeping_marks;
use crate::fs::lookup::Found;
use crate::fs::names::{SIDECAR_LEN_MAX, object};
use crate::fs::nodes::{Node, Place};
use crate::fs::volume::own_name;
use crate::fs::written::Remembering;
use crate::fs::{CorruptPart, FsError, Volume};
use crate::lower::{Access, LowerDir, LowerFile, LowerStat, NodeKind};
use crate::name::LowerName;
use crate::units::LowerOffset;

const OWNER_ALL: u32 = 0o700;

/// Where a file's home comes from when its header is made, and what checks it when it is read.
pub trait Housing: Debug + Sync {
    /// The home of a file whose header is made now.
    ///
    /// # Errors
    /// `FsError::Lower`, `FsError::Corrupt` if its directory cannot be read.
    fn home_of(&self, file: FileId) -> Result<Home, FsError>;

    /// Refuses a file that does not belong where it lies.
    ///
    /// # Errors
    /// `FsError::Corrupt`, `FsError::Lower`.
    fn check(&self, file: FileId, home: &Home) -> Result<(), FsError>;
}

/// For a file that lies in no directory, and in a volume that does not bind names.
#[derive(Clone, Copy, Debug)]
pub struct Homeless;

impl Housing for Homeless {
    fn home_of(&self, _file: FileId) -> Result<Home, FsError> {
        Ok(Home::None)
    }

    fn check(&self, _file: FileId, home: &Home) -> Result<(), FsError> {
        match home {
            Home::None => Ok(()),
            Home::Named { .. } | Home::Released { .. } => {
                Err(FsError::Corrupt(CorruptPart::Header))
            }
        }
    }
}

/// A node where it lies in the tree.
#[derive(Debug)]
pub(super) struct NodeHousing<'a> {
    pub(super) volume: &'a Volume,
    pub(super) node: &'a Arc<Node>,
}

impl Housing for NodeHousing<'_> {
    fn home_of(&self, file: FileId) -> Result<Home, FsError> {
        let (volume, key) = (self.volume, &self.volume.keys.homes);
        match (volume.names_are_bound(), self.node.last_place()) {
            (true, Some((parent, name))) => {
                // A file that lost the name it was known by lies under another, which is not known.
                let is_lost = matches!(self.node.place(), Place::Pinned(_));
                let names_max = if is_lost { 0 } else { 1 };
                if volume.stat_of(self.node)?.nlink > names_max {
                    return Ok(Home::released(file, key));
                }
                Ok(Home::named(file, &volume.home_place(&parent, &name)?, key))
            }
            _ => Ok(Home::None),
        }
    }

    fn check(&self, file: FileId, home: &Home) -> Result<(), FsError> {
        let volume = self.volume;
        if !volume.names_are_bound() {
            return Homeless.check(file, home);
        }
        if let Some((parent, name)) = self.node.last_place() {
            let dir = volume.marker_of(&parent)?.dir;
            let is_home = home.is_at(file, dir, &name, &volume.keys.homes);
            // A rename that a crash cut off: recovery would bind the file to where it lies.
            if !is_home && volume.trust == Trust::Strict {
                return Err(FsError::Corrupt(CorruptPart::Home));
            }
        }
        self.node.at_home.store(true, Ordering::Release);
        Ok(())
    }
}

/// A file's home, as its header says; `None` if there is no header that could be read.
pub(super) fn read_home(file: &dyn LowerFile) -> Result<Option<(Prelude, Home)>, FsError> {
    let mut bytes = [0; PRELUDE_LEN];
    let got = file.read_at(LowerOffset(0), &mut bytes)?;
    Ok(bytes.get(..got).and_then(|read| parse_prelude(read).ok()))
}

/// Writes a home over the one that is there: 328 bytes inside of one page, old or new. Nothing that
/// the user wrote changes, so the time of the last change stays. The content lock is held.
pub(super) fn write_home(file: &dyn LowerFile, home: &Home) -> Result<(), FsError> {
    keeping_marks(file, || Ok(file.write_at(HOME_OFFSET, &home.encode())?))
}

impl Volume {
    /// Whether files and directories of this volume have homes.
    pub fn names_are_bound(&self) -> bool {
        self.binding == NameBinding::Bound
    }

    /// Checks a file that came to another name since its keys were loaded.
    pub(super) fn check_moved(
        &self,
        node: &Arc<Node>,
        file: &dyn LowerFile,
    ) -> Result<(), FsError> {
        let is_checked = !self.names_are_bound() || node.at_home.load(Ordering::Acquire);
        // Without keys, loading them checks the home.
        if is_checked || node.file.known_size().is_none() {
            return Ok(());
        }
        match read_home(file)? {
            Some((prelude, home)) => NodeHousing { volume: self, node }.check(prelude.file, &home),
            None => Ok(()),
        }
    }

    /// Refuses a directory that does not belong where it lies.
    pub(super) fn check_dir_home(
        &self,
        node: &Arc<Node>,
        marker: &DirMarker,
    ) -> Result<(), FsError> {
        if !self.names_are_bound() {
            return match marker.home == DirHome::default() {
                true => Ok(()),
                false => Err(FsError::Corrupt(CorruptPart::Marker)),
            };
        }
        let Place::Named { parent, name } = node.place() else {
            return Ok(());
        };
        let home = self.dir_home(marker.dir, self.marker_of(&parent)?.dir, &name);
        match home == marker.home || self.trust == Trust::Lenient {
            true => Ok(()),
            false => Err(FsError::Corrupt(CorruptPart::Home)),
        }
    }

    /// The home of a directory in another; none where names are not bound.
    pub(super) fn dir_home(&self, own: DirId, parent: DirId, name: &LowerName) -> DirHome {
        match self.binding {
            NameBinding::Bound => DirHome::named(own, parent, name, &self.keys.homes),
            NameBinding::Free => DirHome::default(),
        }
    }

    /// The place of an entry, with its sealed name if that can be read.
    fn home_place(&self, parent: &Arc<Node>, name: &LowerName) -> Result<HomePlace, FsError> {
        let dir = self.marker_of(parent)?.dir;
        let sealed = match classify(name.as_bytes()) {
            LowerEntry::Short(sealed) => Some(sealed),
            LowerEntry::Long { sidecar } => self
                .dir_of(parent)?
                .read_small(&sidecar, SIDECAR_LEN_MAX)
                .ok()
                .filter(|content| check_sidecar(name, content).is_ok()),
            LowerEntry::Own | LowerEntry::Foreign => None,
        };
        Ok(HomePlace { dir, object: name.clone(), sealed })
    }

    /// Runs `work`, which moves an entry to another name, with its home moved before; back again if
    /// `work` fails. What is not at home stays so: a rename makes nothing right.
    pub(super) fn rehoming(
        &self,
        moving: &Moving<'_>,
        work: &mut dyn FnMut() -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        match (self.binding, moving.found.stat.kind) {
            (NameBinding::Bound, NodeKind::File) => {
                let node = self.step(moving.parent, &moving.found.name, &moving.found.stat)?;
                let done = node.file.still(|| self.rehome_file(&node, moving, work));
                moving.held.borrow_mut().push(node);
                done
            }
            (NameBinding::Bound, NodeKind::Dir) => self.rehome_dir(moving, work),
            _ => work(),
        }
    }

    fn rehome_file(
        &self,
        node: &Arc<Node>,
        moving: &Moving<'_>,
        work: &mut dyn FnMut() -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        let key = &self.keys.homes;
        let file = self.file_of(node)?;
        // A file of length 0 has none; nor can it get one meanwhile.
        let Some((prelude, old)) = read_home(&*file)? else {
            return work();
        };
        let id = prelude.file;
        let here = self.marker_of(moving.parent)?.dir;
        let stays = match &old {
            // Not known under which of its names it was looked for.
            Home::Released { .. } => moving.found.stat.nlink > 1,
            Home::Named { .. } | Home::None => false,
        };
        if stays || !old.is_at(id, here, &moving.found.name, key) {
            return work();
        }
        let new = Home::named(id, &self.place_of(moving.new_parent, moving.new_form)?, key);
        self.telling(node, || {
            self.store_home(node, &new)?;
            let done = work();
            match &done {
                Ok(()) => node.at_home.store(true, Ordering::Release),
                Err(_) => self.put_home_back(node, &old),
            }
            done
        })
    }

    fn rehome_dir(
        &self,
        moving: &Moving<'_>,
        work: &mut dyn FnMut() -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        let found = moving.found;
        let node = self.nodes.known(found.stat.id.ino);
        // A change of its key policy writes the marker too.
        let _entries = node.as_ref().map(|node| node.entries.write());
        let here = self.marker_of(moving.parent)?.dir;
        let known = node.as_ref().and_then(|node| node.marker());
        let loaded = match known {
            Some(marker) => Ok(marker),
            None => entered(found, |dir| self.load_marker(dir)),
        };
        let old = match loaded {
            Ok(old) if old.home == self.dir_home(old.dir, here, &found.name) => old,
            Ok(_) | Err(FsError::Corrupt(_)) => return work(),
            Err(error) => return Err(error),
        };
        let there = self.marker_of(moving.new_parent)?.dir;
        let home = self.dir_home(old.dir, there, object(moving.new_form));
        let new = DirMarker { home, ..old };
        entered(found, |dir| self.write_marker(dir, &new))?;
        let done = work();
        match &done {
            Ok(()) => {
                if let Some(node) = &node {
                    node.set_marker(new);
                }
            }
            Err(_) => {
                if let Err(error) = entered(found, |dir| self.write_marker(dir, &old)) {
                    tracing::error!(%error, "putting a directory's home back");
                }
            }
        }
        done
    }

    /// Writes a marker over the one that is there: 96 bytes of one page, old or new.
    pub(super) fn write_marker(&self, dir: &LowerDir, marker: &DirMarker) -> Result<(), FsError> {
        let bytes = marker.encode(self.data_keys.volume(), &self.keys.markers);
        let file = dir.open_file(&own_name(MARKER_NAME)?, Access::ReadWrite)?;
        Ok(file.write_at(LowerOffset(0), &bytes)?)
    }

    fn place_of(&self, parent: &Arc<Node>, form: &LowerForm) -> Result<HomePlace, FsError> {
        let dir = self.marker_of(parent)?.dir;
        let sealed = match form {
            LowerForm::Short(name) => match classify(name.as_bytes()) {
                LowerEntry::Short(sealed) => Some(sealed),
                LowerEntry::Long { .. } | LowerEntry::Own | LowerEntry::Foreign => None,
            },
            LowerForm::Long { sealed, .. } => Some(sealed.clone()),
        };
        Ok(HomePlace { dir, object: object(form).clone(), sealed })
    }

    /// Before a file gets one more name: it is released; or bound to it, if it had none left. Gives the
    /// home to put back if it does not get it.
    pub(super) fn release_home(
        &self,
        node: &Arc<Node>,
        links: u32,
        parent: DirId,
        name: &LowerName,
    ) -> Result<Option<Home>, FsError> {
        let file = self.file_of(node)?;
        let (Some((prelude, old)), Some((from, at))) = (read_home(&*file)?, node.last_place())
        else {
            return Ok(None);
        };
        let (id, key) = (prelude.file, &self.keys.homes);
        let is_home = old.is_at(id, self.marker_of(&from)?.dir, &at, key);
        let new = match (is_home, links, &old) {
            (false, _, _) | (true, 1.., Home::Released { .. }) => return Ok(None),
            (true, 0, _) => {
                let sealed = match classify(name.as_bytes()) {
                    LowerEntry::Short(sealed) => Some(sealed),
                    LowerEntry::Long { .. } | LowerEntry::Own | LowerEntry::Foreign => None,
                };
                let place = HomePlace { dir: parent, object: name.clone(), sealed };
                Home::named(id, &place, key)
            }
            (true, 1.., _) => Home::released(id, key),
        };
        self.store_home(node, &new)?;
        Ok(Some(old))
    }

    /// Writes the home that a file had before something that failed.
    pub(super) fn put_home_back(&self, node: &Arc<Node>, old: &Home) {
        if let Err(error) = self.store_home(node, old) {
            tracing::error!(node = node.id.0, %error, "putting a home back");
        }
    }

    /// Writes the home of a file. Nobody reads or writes it meanwhile.
    fn store_home(&self, node: &Arc<Node>, home: &Home) -> Result<(), FsError> {
        let file = self.file_of(node)?;
        let file = Remembering { file: &*file, written: &node.written };
        let written = node.file.between_envelopes(|| write_home(&file, home));
        node.file.header_changed();
        written
    }

    /// A file that was released and has one name left is bound to it again.
    pub(super) fn settle_home(&self, node: &Arc<Node>) -> Result<(), FsError> {
        let Place::Named { parent, name } = node.place() else {
            return Ok(());
        };
        let file = self.file_of(node)?;
        let (id, home) = match read_home(&*file)? {
            Some((prelude, home @ Home::Released { .. })) => (prelude.file, home),
            _ => return Ok(()),
        };
        let key = &self.keys.homes;
        let place = self.home_place(&parent, &name)?;
        if !home.is_at(id, place.dir, &name, key) {
            return Ok(());
        }
        let home = Home::named(id, &place, key);
        self.store_home(node, &home)
    }

    /// Binds an entry to where it lies, whatever it says; whether it had to be.
    ///
    /// # Errors
    /// `FsError::Corrupt` if it has no header or marker that could be bound; `FsError::Lower`.
    pub(super) fn bind_here(
        &self,
        dir: &LowerDir,
        dir_id: DirId,
        name: &LowerName,
        stat: &LowerStat,
    ) -> Result<bool, FsError> {
        match (self.binding, stat.kind) {
            (NameBinding::Bound, NodeKind::File) if stat.len.0 > 0 => {
                let file = dir.open_file(name, Access::ReadWrite)?;
                let corrupt = FsError::Corrupt(CorruptPart::Header);
                let (prelude, home) = read_home(&file)?.ok_or(corrupt.clone())?;
                if prelude.volume != self.data_keys.volume() {
                    return Err(corrupt);
                }
                let key = &self.keys.homes;
                if home.is_at(prelude.file, dir_id, name, key) {
                    return Ok(false);
                }
                let sealed = match classify(name.as_bytes()) {
                    LowerEntry::Short(sealed) => Some(sealed),
                    LowerEntry::Long { sidecar } => dir.read_small(&sidecar, SIDECAR_LEN_MAX).ok(),
                    LowerEntry::Own | LowerEntry::Foreign => None,
                };
                let sealed = sealed
                    .filter(|sealed| crate::format::name::lower_form(sealed).object() == name);
                let place = HomePlace { dir: dir_id, object: name.clone(), sealed };
                let home = match stat.nlink {
                    0 | 1 => Home::named(prelude.file, &place, key),
                    _ => Home::released(prelude.file, key),
                };
                write_home(&file, &home)?;
                Ok(true)
            }
            (NameBinding::Bound, NodeKind::Dir) => {
                let child = dir.open_dir(name)?;
                self.bind_dir(&child, self.load_marker(&child)?, dir_id, name)
            }
            _ => Ok(false),
        }
    }

    /// The same for a directory that is open, with its marker.
    pub(super) fn bind_dir(
        &self,
        dir: &LowerDir,
        marker: DirMarker,
        parent: DirId,
        name: &LowerName,
    ) -> Result<bool, FsError> {
        let home = self.dir_home(marker.dir, parent, name);
        if !self.names_are_bound() || marker.home == home {
            return Ok(false);
        }
        self.write_marker(dir, &DirMarker { home, ..marker })?;
        Ok(true)
    }
}

/// Runs `work` in a directory, also in one that its mode closes to its owner.
fn entered<T>(found: &Found, work: impl Fn(&LowerDir) -> Result<T, FsError>) -> Result<T, FsError> {
    let enter = || work(&found.dir.open_dir(&found.name)?);
    match enter() {
        Err(FsError::Lower(error)) if error.errno == libc::EACCES => {
            found.dir.chmod(&found.name, found.stat.mode | OWNER_ALL)?;
            let done = enter();
            found.dir.chmod(&found.name, found.stat.mode)?;
            done
        }
        done => done,
    }
}

/// An entry that is about to get another name.
#[derive(Debug)]
pub(super) struct Moving<'a> {
    pub(super) found: &'a Found,
    pub(super) parent: &'a Arc<Node>,
    pub(super) new_parent: &'a Arc<Node>,
    pub(super) new_form: &'a LowerForm,
    /// Nodes that were reached on the way, to be let go of when no lock is held.
    pub(super) held: &'a std::cell::RefCell<Vec<Arc<Node>>>,
}
