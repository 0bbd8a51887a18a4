//! What is done about each finding. Nothing is invented: what cannot be made to fit is set aside in
//! `.kmsfs/quarantine`, byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::format::home::{Home, HomePlace};
use crate::format::ids::DirId;
use crate::format::layout::PAGE_LEN;
use crate::format::marker::DirMarker;
use crate::format::name::{LowerEntry, LowerForm, MARKER_NAME, classify, lower_form};
use crate::fs::fsck::Check;
use crate::fs::header_io::HeaderState;
use crate::fs::home::read_home;
use crate::fs::names::{Names, OWN_FILE_MODE, drop_sidecar, object, store_sidecar};
use crate::fs::nodes::{Node, Place};
use crate::fs::recover_tree::names_in;
use crate::fs::salvage::Salvage;
use crate::fs::volume::own_name;
use crate::fs::xattrs::StoredXattr;
use crate::fs::{CorruptPart, FsError, Rebind, Repair, Volume};
use crate::lower::{
    Access, LowerDir, LowerError, LowerFile, LowerRename, LowerStat, NodeKind, SyncScope,
};
use crate::name::{LowerName, PlainName};
use crate::random::random_array;
use crate::units::{LowerLen, LowerOffset};

/// Where what does not fit is kept, in `.kmsfs`.
const QUARANTINE: &str = "quarantine";
const OWNER_ALL: u32 = 0o700;

/// Names for an entry whose own is lost that are tried.
const LOST_NAMES_MAX: u32 = 1000;

/// What a repair did, in words; `None` if there is nothing that it may do.
type Done = Result<Option<String>, FsError>;

impl Check<'_> {
    fn is_dry(&self) -> bool {
        !matches!(self.repair, Repair::Mend(_))
    }

    fn accepts(&self) -> bool {
        matches!(self.repair, Repair::DryRun(Rebind::Accept) | Repair::Mend(Rebind::Accept))
    }

    /// A marker that is missing, wrong, or that of a directory that lay elsewhere.
    pub(super) fn mend_marker(&self, node: &Arc<Node>, error: &FsError) -> Done {
        let volume = self.volume;
        let dir = volume.dir_of(node)?;
        match error {
            FsError::Corrupt(CorruptPart::Home) if self.accepts() => {
                let Place::Named { parent, name } = node.place() else {
                    return Ok(None);
                };
                if !self.is_dry() {
                    let above = volume.dir_of(&parent)?;
                    let id = volume.marker_of(&parent)?.dir;
                    volume.bind_here(&above, id, &name, &above.stat(&name)?)?;
                }
                Ok(Some("bound to where it lies".to_owned()))
            }
            FsError::Corrupt(CorruptPart::Marker) => self.rebuild_marker(node, &dir),
            _ => Ok(None),
        }
    }

    /// Files tell which directory they belong in, and with its id every name opens again. Without such
    /// a file the directory gets a new id, and what is in it new names.
    fn rebuild_marker(&self, node: &Arc<Node>, dir: &LowerDir) -> Done {
        let volume = self.volume;
        let names = names_in(dir)?;
        let told = self.told_marker(dir, &names);
        let text = match &told {
            Some(_) => "marker made again from what the files in it tell; every name is intact",
            None => "new marker; the names in it were lost, and are lost-.. now",
        };
        if self.is_dry() {
            return Ok(Some(text.to_owned()));
        }
        let (id, policy) = match told {
            Some(told) => told,
            None => {
                let above = node.parent().map(|parent| volume.marker_of(&parent)).transpose()?;
                let policy = above.map_or(crate::fs::data_keys::DEFAULT_POLICY, |m| m.policy);
                (DirId(random_array(volume.data_keys.random())), policy)
            }
        };
        let home = match node.place() {
            Place::Named { parent, name } => {
                volume.dir_home(id, volume.marker_of(&parent)?.dir, &name)
            }
            Place::Root | Place::Pinned(_) => crate::format::home::DirHome::default(),
        };
        let marker = DirMarker { dir: id, policy, home };
        let bytes = marker.encode(volume.data_keys.volume(), &volume.keys.markers);
        // The names first: run again before the marker is there, this finds them by themselves.
        if told.is_none() {
            for name in names.iter().filter(|name| classify(name.as_bytes()) != LowerEntry::Own) {
                self.give_lost_name(dir, id, name)?;
            }
        }
        let temporary = volume.temporary_name()?;
        dir.replace_file(&own_name(MARKER_NAME)?, &temporary, &bytes, OWN_FILE_MODE)?;
        node.set_marker(marker);
        Ok(Some(text.to_owned()))
    }

    /// Id and key policy of a directory without its marker, from the homes of the files in it: the
    /// id under which most names open.
    fn told_marker(&self, dir: &LowerDir, names: &[LowerName]) -> Option<(DirId, u32)> {
        let volume = self.volume;
        let mut told: BTreeMap<DirId, u32> = BTreeMap::new();
        for name in names {
            let Ok(file) = dir.open_file(name, Access::ReadOnly) else { continue };
            let Ok(Some((prelude, home))) = read_home(&file) else { continue };
            if let Some(place) = home.place(prelude.file, &volume.keys.homes)
                && place.object == *name
            {
                let policy = HeaderState::peek(&file, &volume.data_keys)
                    .map_or(crate::fs::data_keys::DEFAULT_POLICY, |(s, _)| s.envelope.policy);
                told.entry(place.dir).or_insert(policy);
            }
        }
        let opened = |id: &DirId| {
            let here = Names::new(&volume.keys, *id);
            names.iter().filter(|n| matches!(here.open(dir, n.as_bytes()), Ok(Some(_)))).count()
        };
        told.into_iter().max_by_key(|(id, _)| opened(id))
    }

    /// A name that does not open in its directory, or lost its sidecar.
    pub(super) fn mend_name(&self, parent: &Arc<Node>, dir: &LowerDir, name: &LowerName) -> Done {
        let volume = self.volume;
        let id = volume.marker_of(parent)?.dir;
        let stat = dir.stat(name)?;
        let told = match stat.kind {
            NodeKind::File => self.told_place(dir, name),
            _ => None,
        };
        if let Some(HomePlace { dir: home, object: own, sealed: Some(sealed) }) = told
            && home == id
        {
            return self.put_name_back(dir, name, &own, &sealed);
        }
        let is_wanted = self.belongs(dir, id, name, &stat) || self.accepts();
        if !is_wanted || !self.is_ours(dir, name, &stat) {
            return Ok(None);
        }
        if self.is_dry() {
            return Ok(Some("would get a new name, lost-..".to_owned()));
        }
        let new = self.give_lost_name(dir, id, name)?;
        Ok(Some(format!("its name is lost; it is {new} now")))
    }

    /// A file tells its own name: it gets it back, or its sidecar.
    fn put_name_back(
        &self,
        dir: &LowerDir,
        name: &LowerName,
        own: &LowerName,
        sealed: &[u8],
    ) -> Done {
        let form = lower_form(sealed);
        let is_taken = name != own && dir.stat(own).is_ok();
        if is_taken {
            return Ok(None);
        }
        let text = if name == own { "sidecar written again" } else { "its own name put back" };
        if !self.is_dry() {
            store_sidecar(dir, &form)?;
            if name != own {
                dir.rename(name, dir, own, LowerRename::NoReplace)?;
            }
        }
        Ok(Some(text.to_owned()))
    }

    /// What a file says of its own place, if it is authentic.
    fn told_place(&self, dir: &LowerDir, name: &LowerName) -> Option<HomePlace> {
        let file = dir.open_file(name, Access::ReadOnly).ok()?;
        let (prelude, home) = read_home(&file).ok()??;
        home.place(prelude.file, &self.volume.keys.homes)
    }

    /// Whether an entry was made by this volume, under whatever name it lies. Others are left alone.
    fn is_ours(&self, dir: &LowerDir, name: &LowerName, stat: &LowerStat) -> bool {
        let volume = self.volume;
        let has_our_name = classify(name.as_bytes()) != LowerEntry::Foreign;
        match stat.kind {
            NodeKind::File if stat.len.0 > 0 => {
                let read = dir.open_file(name, Access::ReadOnly).map_err(FsError::from);
                let home = read.and_then(|file| read_home(&file)).ok().flatten();
                home.is_some_and(|(prelude, _)| prelude.volume == volume.id())
            }
            NodeKind::Dir => {
                let opened = dir.open_dir(name).map_err(FsError::from);
                opened.and_then(|dir| volume.load_marker(&dir)).is_ok()
            }
            NodeKind::Symlink => {
                dir.readlink(name).is_ok_and(|text| volume.open_target(&text).is_ok())
            }
            _ => has_our_name,
        }
    }

    /// Whether an entry whose name does not open belongs into this directory all the same: it has a
    /// long name whose sidecar is lost, and nothing says that it came from elsewhere.
    fn belongs(&self, dir: &LowerDir, id: DirId, name: &LowerName, stat: &LowerStat) -> bool {
        let volume = self.volume;
        if !matches!(classify(name.as_bytes()), LowerEntry::Long { .. }) {
            return false;
        }
        match (volume.names_are_bound(), stat.kind) {
            (true, NodeKind::File) if stat.len.0 > 0 => {
                let read = dir.open_file(name, Access::ReadOnly).map_err(FsError::from);
                let home = read.and_then(|file| read_home(&file)).ok().flatten();
                home.is_some_and(|(prelude, home)| {
                    home.is_at(prelude.file, id, name, &volume.keys.homes)
                        && matches!(home, Home::Named { .. })
                })
            }
            (true, NodeKind::Dir) => {
                let marker =
                    dir.open_dir(name).map_err(FsError::from).and_then(|d| volume.load_marker(&d));
                marker.is_ok_and(|marker| marker.home == volume.dir_home(marker.dir, id, name))
            }
            _ => true,
        }
    }

    /// Gives an entry a name that says that its own is lost. Its content stays.
    fn give_lost_name(
        &self,
        dir: &LowerDir,
        id: DirId,
        name: &LowerName,
    ) -> Result<String, FsError> {
        let volume = self.volume;
        let digest = crate::codec::hex(&crate::crypto::sha256(&[name.as_bytes()]));
        let short = digest.get(..12).unwrap_or_default();
        for no in 0..LOST_NAMES_MAX {
            let text = match no {
                0 => format!("lost-{short}"),
                no => format!("lost-{short}-{no}"),
            };
            let plain = PlainName::from_bytes(text.as_bytes())?;
            let form = Names::new(&volume.keys, id).seal(&plain);
            match dir.rename(name, dir, object(&form), LowerRename::NoReplace) {
                Ok(()) => {}
                Err(LowerError { errno: libc::EEXIST, .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            if let LowerEntry::Long { sidecar } = classify(name.as_bytes())
                && dir.stat(&sidecar).is_ok()
            {
                dir.unlink(&sidecar)?;
            }
            let stat = dir.stat(object(&form))?;
            if let Err(error) = volume.bind_here(dir, id, object(&form), &stat) {
                tracing::warn!(%error, "binding to a new name");
            }
            return Ok(text);
        }
        Err(FsError::Bug("no free name for a lost entry"))
    }

    /// A file whose header, length or records do not fit.
    pub(super) fn mend_file(
        &self,
        parent: &Arc<Node>,
        node: &Arc<Node>,
        name: &LowerName,
        stat: &LowerStat,
        errors: &[FsError],
    ) -> Done {
        let volume = self.volume;
        let dir = volume.dir_of(parent)?;
        if errors.contains(&FsError::Corrupt(CorruptPart::Home)) {
            if !self.accepts() {
                return Ok(None);
            }
            if !self.is_dry() {
                let id = volume.marker_of(parent)?.dir;
                volume.bind_here(&dir, id, name, stat)?;
            }
            return Ok(Some("bound to where it lies".to_owned()));
        }
        if let Some(error) = errors.iter().find(|e| **e == FsError::Corrupt(CorruptPart::Header)) {
            return self.set_aside(&dir, name, error);
        }
        if errors.iter().any(|error| !matches!(error, FsError::Corrupt(_))) {
            return Ok(None);
        }
        let access = if self.is_dry() { Access::ReadOnly } else { Access::ReadWrite };
        let file = dir.open_file(name, access)?;
        let plan = Salvage::plan(&file, &volume.data_keys)?;
        if !plan.is_needed() {
            return Ok(None);
        }
        if self.is_dry() {
            return Ok(Some(plan.text()));
        }
        let kept = self.keep_copy(&file)?;
        plan.carry_out(&file, &volume.data_keys)?;
        volume.drop_keys_of(node);
        Ok(Some(format!("{}; as it was: {kept}", plan.text())))
    }

    /// Attributes whose names or values do not open.
    pub(super) fn mend_xattrs(&self, node: &Arc<Node>) -> Done {
        let volume = self.volume;
        let bad = volume.bad_xattrs(node)?;
        if bad.is_empty() {
            return Ok(None);
        }
        let text = format!("{} attributes set aside", bad.len());
        if self.is_dry() {
            return Ok(Some(text));
        }
        let mut kept = Vec::new();
        for StoredXattr { name, value } in &bad {
            let (dir, at) = self.quarantine()?;
            dir.write_new(&at, &[name.as_slice(), b"\0", value].concat(), OWN_FILE_MODE)?
                .sync(SyncScope::All)?;
            volume.remove_lower_xattr(node, name)?;
            kept.push(shown(&at));
        }
        Ok(Some(format!("{text}: {}", kept.join(", "))))
    }

    /// Moves an entry that can neither be read nor mended out of the tree.
    pub(super) fn set_aside(&self, dir: &LowerDir, name: &LowerName, error: &FsError) -> Done {
        if !matches!(error, FsError::Corrupt(_)) {
            return Ok(None);
        }
        if self.is_dry() {
            return Ok(Some("would be set aside".to_owned()));
        }
        let (quarantine, at) = self.quarantine()?;
        dir.rename(name, &quarantine, &at, LowerRename::NoReplace)?;
        if let LowerEntry::Long { sidecar } = classify(name.as_bytes()) {
            let sealed = Vec::new();
            drop_sidecar(dir, &LowerForm::Long { object: name.clone(), sidecar, sealed });
        }
        quarantine.sync()?;
        dir.sync()?;
        Ok(Some(format!("set aside: {}", shown(&at))))
    }

    pub(super) fn remove_leftover(&self, dir: &LowerDir, name: &LowerName) -> Done {
        if !self.is_dry() {
            self.volume.remove_leftover(dir, name);
        }
        Ok(Some("removed".to_owned()))
    }

    /// The directory of what was set aside, and a free name in it.
    fn quarantine(&self) -> Result<(LowerDir, LowerName), FsError> {
        let volume = self.volume;
        let name = own_name(QUARANTINE)?;
        match volume.own.mkdir(&name, OWNER_ALL) {
            Err(error) if error.errno != libc::EEXIST => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        let id: [u8; 8] = random_array(volume.data_keys.random());
        Ok((volume.own.open_dir(&name)?, own_name(&crate::codec::hex(&id))?))
    }

    /// Copies a lower file as it is; holes stay holes. Gives where the copy lies.
    fn keep_copy(&self, file: &dyn LowerFile) -> Result<String, FsError> {
        let (dir, at) = self.quarantine()?;
        let copy = dir.create_file(&at, OWN_FILE_MODE)?;
        let len = file.len()?;
        copy.set_len(LowerLen(len.0))?;
        let mut page = [0; 16 * PAGE_LEN];
        let mut from = file.next_data(LowerOffset(0))?;
        while let Some(place) = from.filter(|place| place.0 < len.0) {
            let got = file.read_at(place, &mut page)?;
            copy.write_at(place, page.get(..got).unwrap_or_default())?;
            let behind = place.0 + u64::try_from(got.max(1)).unwrap_or(1);
            from = match behind < len.0 {
                true => file.next_data(LowerOffset(behind))?,
                false => None,
            };
        }
        copy.sync(SyncScope::All)?;
        dir.sync()?;
        Ok(shown(&at))
    }
}

/// Where something that was set aside lies, from the lower root.
fn shown(name: &LowerName) -> String {
    format!(".kmsfs/{QUARANTINE}/{name}")
}

impl Volume {
    /// Attributes of a node that do not open.
    fn bad_xattrs(&self, node: &Arc<Node>) -> Result<Vec<StoredXattr>, FsError> {
        let mut bad = Vec::new();
        for stored in self.sealed_xattrs(node)? {
            match self.check_xattr(node, &stored) {
                Ok(()) => {}
                Err(FsError::Corrupt(CorruptPart::Xattr)) => bad.push(stored),
                Err(error) => return Err(error),
            }
        }
        Ok(bad)
    }
}
