//! A volume and the reference filesystem, side by side.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use kmsfs::clock::SystemClock;
use kmsfs::format::KmsPlace;
use kmsfs::fs::{
    Attr, Caller, FsError, NewVolume, NodeId, OpenOptions, RenameHow, RewrapOptions, SeekTo,
    SetAttr, SetTime, Volume, WriteHow,
};
use kmsfs::kms::{KeyArn, KmsError};
use kmsfs::lower::{LowerTime, NodeKind, SyncScope};
use kmsfs::name::PlainName;
use kmsfs::random::SeededRandom;
use kmsfs::testing::model::{Body, Errno, Ino, ModelFs, ROOT};
use kmsfs::testing::ops::{self, Pick};
use kmsfs::testing::{FaultKms, MemFile, Op};

use crate::tree;

/// What a check answers: a text that says what differs.
pub type Check = Result<(), String>;

const ALIAS: &str = "alias/volume";

/// The volume, the model, and what a kernel would know of the volume.
pub struct Pair {
    pub model: ModelFs,
    /// `None` only while it is opened again.
    volume: Option<Volume>,
    kms: Arc<FaultKms>,
    keys: [KeyArn; 2],
    lower: tempfile::TempDir,
    openings: u64,
    /// Node numbers that were looked up, and how often.
    lookups: BTreeMap<NodeId, u64>,
    /// The node of an inode of the model.
    nodes: HashMap<Ino, NodeId>,
    /// Whether the lower filesystem counts a directory's subdirectories.
    counts_dirs: bool,
}

impl Pair {
    pub fn new() -> Self {
        let kms = Arc::new(FaultKms::new(1, &[ALIAS]));
        let keys = [kms.arn_of(ALIAS), kms.create_key()];
        let lower = memory_dir();
        let new = NewVolume {
            kms: KmsPlace::Embedded,
            alias: ALIAS,
            service: &*kms,
            random: &SeededRandom::new(2),
            clock: &SystemClock,
        };
        kmsfs::fs::init(lower.path(), &new).unwrap();
        let volume = open(lower.path(), &kms, 0);
        let counts_dirs = volume.attr(NodeId::ROOT).unwrap().nlink == 2;
        Self {
            model: ModelFs::default(),
            volume: Some(volume),
            kms,
            keys,
            lower,
            openings: 0,
            lookups: BTreeMap::new(),
            nodes: HashMap::from([(ROOT, NodeId::ROOT)]),
            counts_dirs,
        }
    }

    /// The volume, while it is open.
    pub fn volume(&self) -> &Volume {
        self.volume.as_ref().unwrap()
    }

    /// Carries an operation out on both sides.
    pub fn run(&mut self, op: &Op) -> Check {
        match op {
            Op::Refuse(op) => self.run_refused(op),
            Op::Create { dir, name } => {
                self.make(*dir, *name, 0o100_644, &|| Body::File(MemFile::new()))
            }
            Op::Mkfifo { dir, name } => self.make(*dir, *name, 0o010_644, &|| Body::Fifo),
            Op::Mkdir { dir, name } => self.mkdir(*dir, *name),
            Op::Symlink { dir, name, target_len } => self.symlink(*dir, *name, *target_len),
            Op::Readlink { node } => self.readlink(*node),
            Op::Rename { entry, dir, name, how } => self.rename(*entry, *dir, *name, *how),
            Op::Link { node, dir, name } => self.link(*node, *dir, *name),
            Op::Unlink { entry } => self.remove(*entry, false),
            Op::Rmdir { entry } => self.remove(*entry, true),
            Op::SetXattr { .. }
            | Op::FindXattr { .. }
            | Op::ListXattrs { .. }
            | Op::RemoveXattr { .. } => self.xattr(op),
            Op::SetMode { node, mode } => self.set_mode(*node, u32::from(*mode)),
            Op::SetMtime { node, secs, nanos } => self.set_mtime(*node, *secs, *nanos),
            Op::ReadDir { dir, at_once } => {
                let dir = self.pick_dir(*dir);
                tree::same_entries(self, dir, usize::from(*at_once))
            }
            Op::Forget => self.forget(),
            Op::DropKeys => {
                self.keys.iter().for_each(|arn| self.volume().drop_keys(arn));
                Ok(())
            }
            Op::Reopen => {
                self.volume().shutdown().map_err(|error| error.to_string())?;
                self.open_again(false)
            }
            Op::Kill => self.open_again(true),
            Op::Checkpoint => self.volume().checkpoint().map_err(|error| error.to_string()),
            Op::RotateKey => {
                self.keys.iter().for_each(|arn| self.kms.rotate(arn));
                self.volume().queue_stale();
                Ok(())
            }
            Op::MoveAlias => {
                let now = self.kms.arn_of(ALIAS);
                let other = self.keys.iter().find(|arn| **arn != now).unwrap();
                self.kms.point_alias(ALIAS, other);
                Ok(())
            }
            Op::RewrapTree => self.rewrap_tree(),
            Op::RetireMaterial => {
                self.forget()?;
                self.rewrap_tree()?;
                self.keys.iter().for_each(|arn| self.kms.destroy_old_material(arn));
                Ok(())
            }
            Op::Sync { node } => match self.pick_node(*node) {
                None => Ok(()),
                Some(ino) => {
                    let node = self.node(ino)?;
                    let synced = self.volume().sync(node, SyncScope::All);
                    synced.map_err(|error| error.to_string())?;
                    self.same_attr(ino)
                }
            },
            Op::Write { .. }
            | Op::Read { .. }
            | Op::SetSize { .. }
            | Op::Allocate { .. }
            | Op::Seek { .. }
            | Op::CopyRange { .. } => self.content(op),
        }
    }

    /// The whole trees are equal, and nothing below is wrong.
    pub fn finish(mut self) -> Check {
        tree::same_trees(&mut self)?;
        tree::check_lower(&self)?;
        self.forget()?;
        self.volume().shutdown().map_err(|error| error.to_string())?;
        self.open_again(false)?;
        tree::same_trees(&mut self)?;
        self.forget()
    }

    pub fn lower_path(&self) -> PathBuf {
        self.lower.path().to_path_buf()
    }

    // -- targets --------------------------------------------------------------------------------

    fn pick_dir(&self, pick: Pick) -> Ino {
        let dirs = self.model.inos(|node| node.kind() == NodeKind::Dir);
        dirs[usize::from(pick) % dirs.len()]
    }

    fn pick_file(&self, pick: Pick) -> Option<Ino> {
        let files = self.model.inos(|node| node.kind() == NodeKind::File);
        files.get(usize::from(pick) % files.len().max(1)).copied()
    }

    fn pick_node(&self, pick: Pick) -> Option<Ino> {
        let nodes = self.model.inos(|_| true);
        nodes.get(usize::from(pick) % nodes.len().max(1)).copied()
    }

    fn pick_entry(&self, pick: Pick) -> Option<(Ino, Vec<u8>)> {
        let entries = self.model.entries();
        let entry = entries.get(usize::from(pick) % entries.len().max(1))?;
        Some((entry.0, entry.1.clone()))
    }

    /// The node of an inode, looked up along some path if the kernel does not know it.
    pub fn node(&mut self, ino: Ino) -> Result<NodeId, String> {
        if let Some(node) = self.nodes.get(&ino) {
            return Ok(*node);
        }
        let (dir, name) = self.model.name_of(ino).ok_or("an inode without name or node")?;
        let parent = self.node(dir)?;
        let found = self.volume().lookup(parent, &plain(&name));
        let attr = found.map_err(|e| e.to_string())?.ok_or("a name is not found")?;
        self.reached(ino, &attr);
        Ok(attr.node)
    }

    /// The volume has counted a lookup.
    pub fn reached(&mut self, ino: Ino, attr: &Attr) {
        *self.lookups.entry(attr.node).or_default() += 1;
        self.nodes.insert(ino, attr.node);
    }

    // -- names ----------------------------------------------------------------------------------

    fn make(&mut self, dir: Pick, name: Pick, mode: u32, body: &dyn Fn() -> Body) -> Check {
        let (dir, name) = (self.pick_dir(dir), ops::name(name));
        let parent = self.node(dir)?;
        let made = self.volume().mknod(parent, &plain(&name), mode, 0, 0, CALLER);
        let expected = self.model.make(dir, &name, body(), mode & 0o777);
        self.same_made(made, expected)
    }

    fn mkdir(&mut self, dir: Pick, name: Pick) -> Check {
        let (dir, name) = (self.pick_dir(dir), ops::name(name));
        let parent = self.node(dir)?;
        let made = self.volume().mkdir(parent, &plain(&name), 0o755, 0, CALLER);
        // Made under another name first; a kernel that knows the name does not even ask.
        self.model.set_mtime(dir, None);
        let expected = self.model.make(dir, &name, Body::Dir(BTreeMap::new()), 0o755);
        self.same_made(made, expected)
    }

    fn symlink(&mut self, dir: Pick, name: Pick, target_len: u16) -> Check {
        let (dir, name, target) = (self.pick_dir(dir), ops::name(name), ops::target(target_len));
        let parent = self.node(dir)?;
        let made = self.volume().symlink(parent, &plain(&name), &target, CALLER);
        let expected = self.model.make(dir, &name, Body::Symlink(target), 0o777);
        self.same_made(made, expected)
    }

    fn same_made(&mut self, made: Result<Attr, FsError>, expected: Result<Ino, Errno>) -> Check {
        if let (Ok(attr), Ok(ino)) = (&made, &expected) {
            self.reached(*ino, attr);
        }
        same(&made.map(drop).map_err(errno), &expected.map(drop))?;
        match expected {
            Ok(ino) => self.same_attr(ino),
            Err(_) => Ok(()),
        }
    }

    fn readlink(&mut self, node: Pick) -> Check {
        let Some(ino) = self.pick_node(node) else { return Ok(()) };
        if self.model.name_of(ino).is_none() {
            return Ok(());
        }
        let Some(Body::Symlink(target)) = self.model.find(ino).map(|node| &node.body) else {
            return Ok(());
        };
        let target = target.clone();
        let node = self.node(ino)?;
        same(&self.volume().readlink(node).map_err(errno), &Ok(target))
    }

    fn rename(&mut self, entry: Pick, dir: Pick, name: Pick, how: RenameHow) -> Check {
        let Some((from, old)) = self.pick_entry(entry) else { return Ok(()) };
        let (to, new) = (self.pick_dir(dir), ops::name(name));
        let (parent, new_parent) = (self.node(from)?, self.node(to)?);
        let done = self.volume().rename(parent, &plain(&old), new_parent, &plain(&new), how);
        // A sidecar may have been made and removed again.
        [from, to].iter().for_each(|dir| self.model.set_mtime(*dir, None));
        let expected = self.model.rename(from, &old, to, &new, how);
        same(&done.map_err(errno), &expected.map(drop))?;
        if let Ok(Some(replaced)) = expected {
            self.lost_a_name(replaced);
        }
        match self.model.lookup(to, &new) {
            Ok(ino) => self.same_attr(ino),
            Err(_) => Ok(()),
        }
    }

    fn link(&mut self, node: Pick, dir: Pick, name: Pick) -> Check {
        let Some(ino) = self.pick_node(node).filter(|ino| *ino != ROOT) else { return Ok(()) };
        let (dir, name) = (self.pick_dir(dir), ops::name(name));
        let (node, parent) = (self.node(ino)?, self.node(dir)?);
        let made = self.volume().link(node, parent, &plain(&name));
        self.model.set_mtime(dir, None);
        let expected = self.model.link(ino, dir, &name).map(|()| ino);
        self.same_made(made, expected)
    }

    fn remove(&mut self, entry: Pick, is_rmdir: bool) -> Check {
        let Some((dir, name)) = self.pick_entry(entry) else { return Ok(()) };
        let parent = self.node(dir)?;
        let (done, expected) = match is_rmdir {
            true => (self.volume().rmdir(parent, &plain(&name)), self.model.rmdir(dir, &name)),
            false => (self.volume().unlink(parent, &plain(&name)), self.model.unlink(dir, &name)),
        };
        same(&done.map_err(errno), &expected.map(drop))?;
        if let Ok(ino) = expected {
            self.lost_a_name(ino);
        }
        Ok(())
    }

    /// A nameless inode stays as long as the kernel knows it; directories are of no use then.
    fn lost_a_name(&mut self, ino: Ino) {
        if !self.nodes.contains_key(&ino) {
            self.model.drop_if_nameless(ino);
        }
        if self.model.find(ino).is_none() {
            self.nodes.remove(&ino);
        }
    }

    // -- attributes -----------------------------------------------------------------------------

    fn set_mode(&mut self, node: Pick, mode: u32) -> Check {
        let Some(ino) = self.pick_node(node) else { return Ok(()) };
        if self.model.find(ino).is_some_and(|node| node.kind() == NodeKind::Symlink) {
            return Ok(());
        }
        let node = self.node(ino)?;
        let set = SetAttr { mode: Some(mode), ..SetAttr::default() };
        self.volume().set_attr(node, &set).map_err(|error| error.to_string())?;
        self.model.set_mode(ino, mode);
        self.same_attr(ino)
    }

    fn set_mtime(&mut self, node: Pick, secs: u32, nanos: u32) -> Check {
        let Some(ino) = self.pick_node(node) else { return Ok(()) };
        let node = self.node(ino)?;
        // ext4 ends in 2446.
        let time = LowerTime { secs: i64::from(secs), nanos };
        let set = SetAttr { mtime: Some(SetTime::At(time)), ..SetAttr::default() };
        self.volume().set_attr(node, &set).map_err(|error| error.to_string())?;
        self.model.set_mtime(ino, Some(time));
        self.same_attr(ino)
    }

    /// The attributes of an inode are those of the model; an unknown time is learned.
    pub fn same_attr(&mut self, ino: Ino) -> Check {
        let node = self.node(ino)?;
        let attr = self.volume().attr(node).map_err(|error| format!("attr: {error}"))?;
        let model = self.model.find(ino).ok_or("an inode is gone")?;
        same(&attr.kind, &model.kind())?;
        if let Some(size) = model.size() {
            same(&attr.size, &size).map_err(|text| format!("size: {text}"))?;
        }
        if model.kind() != NodeKind::Dir || self.counts_dirs {
            same(&attr.nlink, &model.nlink).map_err(|text| format!("nlink: {text}"))?;
        }
        if model.kind() != NodeKind::Symlink && ino != ROOT {
            same(&attr.mode, &model.mode).map_err(|text| format!("mode: {text}"))?;
        }
        match model.mtime {
            Some(mtime) => same(&attr.mtime, &mtime).map_err(|text| format!("mtime: {text}")),
            None => {
                self.model.set_mtime(ino, Some(attr.mtime));
                Ok(())
            }
        }
    }

    fn xattr(&mut self, op: &Op) -> Check {
        let (Op::SetXattr { node, .. }
        | Op::FindXattr { node, .. }
        | Op::ListXattrs { node }
        | Op::RemoveXattr { node, .. }) = op
        else {
            return Ok(());
        };
        let Some(ino) = self.pick_node(*node) else { return Ok(()) };
        let node = self.node(ino)?;
        match op {
            Op::SetXattr { name, len, how, .. } => {
                let (name, value) = (ops::xattr_name(*name), ops::target(*len));
                let done = self.volume().set_xattr(node, &name, &value, *how);
                let expected = self.model.set_xattr(ino, &name, &value, *how);
                same(&done.map_err(errno), &expected)?;
            }
            Op::FindXattr { name, .. } => {
                let name = ops::xattr_name(*name);
                let found = self.volume().find_xattr(node, &name).map_err(errno);
                same(&found, &self.model.find_xattr(ino, &name))?;
            }
            Op::RemoveXattr { name, .. } => {
                let name = ops::xattr_name(*name);
                let done = self.volume().remove_xattr(node, &name).map_err(errno);
                same(&done, &self.model.remove_xattr(ino, &name))?;
            }
            _ => tree::same_xattr_names(self, ino, node)?,
        }
        self.same_attr(ino)
    }

    // -- content --------------------------------------------------------------------------------

    /// While the key service is out of reach, an operation does what it always does or changes
    /// nothing.
    fn run_refused(&mut self, op: &Op) -> Check {
        let (Op::Write { file, .. }
        | Op::Read { file, .. }
        | Op::SetSize { file, .. }
        | Op::Allocate { file, .. }
        | Op::Seek { file, .. }
        | Op::CopyRange { to: file, .. }) = op
        else {
            return Ok(());
        };
        let Some(ino) = self.pick_file(*file) else { return Ok(()) };
        self.node(ino)?;
        let unreachable = KmsError::KeyUnavailable { message: "out of reach".to_owned() };
        self.kms.refuse(Some(unreachable));
        let done = self.content(op);
        self.kms.refuse(None);
        match done {
            // What failed may have set the times.
            Err(text) if text.starts_with(REFUSED) => {
                self.model.set_mtime(ino, None);
                self.same_attr(ino)
            }
            done => done,
        }
    }

    fn content(&mut self, op: &Op) -> Check {
        let (Op::Write { file, .. }
        | Op::Read { file, .. }
        | Op::SetSize { file, .. }
        | Op::Allocate { file, .. }
        | Op::Seek { file, .. }
        | Op::CopyRange { to: file, .. }) = op
        else {
            return Ok(());
        };
        let Some(ino) = self.pick_file(*file) else { return Ok(()) };
        let node = self.node(ino)?;
        match op {
            Op::Write { at, len, fill, .. } => {
                let data = vec![*fill; len_of(*len)];
                let done = self.volume().write(node, *at, &data, WriteHow::Keep).map(drop);
                let done = unless_refused(done)?;
                same(&done, &self.model.write(ino, *at, &data))?;
            }
            Op::Read { at, len, .. } => {
                let got = tree::read(self.volume(), node, *at, len_of(*len));
                same_bytes(&unless_refused(got)?, &self.model.read(ino, *at, len_of(*len)))?;
            }
            Op::SetSize { size, .. } => {
                let set = SetAttr { size: Some(*size), ..SetAttr::default() };
                let done = unless_refused(self.volume().set_attr(node, &set).map(drop))?;
                same(&done, &self.model.set_size(ino, *size))?;
            }
            Op::Allocate { at, len, how, .. } => {
                let len = u64::from(*len);
                let done = unless_refused(self.volume().allocate(node, *at, len, *how))?;
                same(&done, &self.model.allocate(ino, *at, len, *how))?;
            }
            Op::Seek { at, to, .. } => {
                let found = unless_refused(self.volume().seek(node, *at, *to))?;
                return self.check_seek(ino, *at, *to, found);
            }
            Op::CopyRange { from, at, to_at, len, .. } => {
                let Some(source) = self.pick_file(*from) else { return Ok(()) };
                let from = self.node(source)?;
                let len = u64::from(*len);
                let copied = self.volume().copy_range(from, *at, node, *to_at, len);
                let copied = unless_refused(copied)?;
                let data = self.model.read(source, *at, usize::try_from(len).unwrap());
                let (Ok(copied), Ok(mut data)) = (copied, data) else {
                    return Err("a copy failed".to_owned());
                };
                // It may copy less, but not nothing.
                let copied = usize::try_from(copied).unwrap();
                if copied > data.len() || (copied == 0 && !data.is_empty()) {
                    return Err(format!("copied {copied} bytes of {}", data.len()));
                }
                data.truncate(copied);
                same(&Ok(()), &self.model.write(ino, *to_at, &data))?;
            }
            _ => {}
        }
        self.same_attr(ino)
    }

    /// Data is never said to be a hole, and what is said to lie there lies there.
    fn check_seek(&self, ino: Ino, at: u64, to: SeekTo, found: Result<u64, Errno>) -> Check {
        let size = self.model.find(ino).and_then(|node| node.size()).ok_or("no such file")?;
        match (to, found) {
            (_, Err(libc::ENXIO)) if at >= size => Ok(()),
            (SeekTo::Data, Err(libc::ENXIO)) => {
                let behind = self.model.next_nonzero(ino, at, size).map_err(|e| e.to_string())?;
                same(&behind, &None)
            }
            (SeekTo::Data, Ok(found)) if found >= at && found < size => {
                let skipped = self.model.next_nonzero(ino, at, found).map_err(|e| e.to_string())?;
                same(&skipped, &None)
            }
            (SeekTo::Hole, Ok(found)) if found >= at && found <= size => Ok(()),
            (_, found) => Err(format!("seek {to:?} at {at} of {size} gave {found:?}")),
        }
    }

    // -- what must be invisible -----------------------------------------------------------------

    /// The kernel forgets everything; nameless files are gone with that.
    fn forget(&mut self) -> Check {
        for (node, count) in std::mem::take(&mut self.lookups) {
            self.volume().forget(node, count);
        }
        self.nodes = HashMap::from([(ROOT, NodeId::ROOT)]);
        self.model.drop_nameless();
        same(&self.volume().status().nodes, &1).map_err(|text| format!("nodes held: {text}"))
    }

    fn open_again(&mut self, is_killed: bool) -> Check {
        self.lookups.clear();
        self.nodes = HashMap::from([(ROOT, NodeId::ROOT)]);
        self.model.drop_nameless();
        // Never the same again: what is random must not repeat.
        self.openings += 1;
        // The old one first: it holds the lock.
        self.volume = None;
        self.volume = Some(open(self.lower.path(), &self.kms, self.openings));
        let recovery = self.volume().status().recovery;
        same(&recovery.is_some(), &is_killed).map_err(|text| format!("recovery: {text}"))?;
        let failed = recovery.map_or(0, |recovery| recovery.files_failed);
        same(&failed, &0).map_err(|text| format!("recovery: {text} failed"))
    }

    fn rewrap_tree(&self) -> Check {
        let before = tree::content_digests(&self.lower_path());
        let mut go_on = |_: &_| ControlFlow::Continue(());
        let report = self.volume().rewrap_tree(&[], &RewrapOptions::default(), &mut go_on);
        let report = report.map_err(|error| error.to_string())?;
        same(&(report.failed, report.left), &(0, 0)).map_err(|text| format!("rewrap: {text}"))?;
        let again = self.volume().rewrap_tree(&[], &RewrapOptions::default(), &mut go_on);
        same(&again.map(|report| report.stale), &Ok(0)).map_err(|text| format!("stale: {text}"))?;
        let after = tree::content_digests(&self.lower_path());
        same(&(before == after), &true).map_err(|_| "rewrap changed a record".to_owned())
    }
}

/// The caller of every operation; with no capability to lose.
const CALLER: Caller = Caller { uid: 0, gid: 0, pid: 0 };

/// How the error of an unreachable key service begins.
const REFUSED: &str = "refused: ";

fn open(lower: &std::path::Path, kms: &Arc<FaultKms>, seed: u64) -> Volume {
    let service = Arc::clone(kms);
    let random = Arc::new(SeededRandom::new(1000 + seed));
    let options = OpenOptions { read_only: false };
    Volume::open(lower, service, random, Arc::new(SystemClock), options).unwrap()
}

/// A directory on the filesystem of `KMSFS_MODEL_DIR`; without it, in memory: syncs are free there.
fn memory_dir() -> tempfile::TempDir {
    if let Some(dir) = std::env::var_os("KMSFS_MODEL_DIR") {
        return tempfile::tempdir_in(dir).unwrap();
    }
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn plain(name: &[u8]) -> PlainName {
    PlainName::from_bytes(name).unwrap()
}

fn len_of(len: u32) -> usize {
    usize::try_from(len).unwrap()
}

/// errno of an error, as the adapter would have it.
pub fn errno(error: FsError) -> Errno {
    match error {
        FsError::Errno(errno) => errno,
        FsError::Lower(error) => error.errno,
        FsError::NotFound => libc::ENOENT,
        FsError::NameTooLong => libc::ENAMETOOLONG,
        FsError::BadName => libc::EINVAL,
        FsError::StaleNode => libc::ESTALE,
        FsError::Unsupported => libc::EOPNOTSUPP,
        FsError::ReadOnly => libc::EROFS,
        other => panic!("{other}"),
    }
}

fn unless_refused<T>(done: Result<T, FsError>) -> Result<Result<T, Errno>, String> {
    match done {
        Err(FsError::Key(error)) => Err(format!("{REFUSED}{error}")),
        Err(FsError::Corrupt(part)) => Err(format!("{part} is corrupt")),
        done => Ok(done.map_err(errno)),
    }
}

pub fn same<T: PartialEq + std::fmt::Debug>(volume: &T, model: &T) -> Check {
    if volume == model { Ok(()) } else { Err(format!("{volume:?}, expected {model:?}")) }
}

fn same_bytes(volume: &Result<Vec<u8>, Errno>, model: &Result<Vec<u8>, Errno>) -> Check {
    let (Ok(got), Ok(expected)) = (volume, model) else {
        return same(&volume.as_ref().err(), &model.as_ref().err());
    };
    same(&got.len(), &expected.len()).map_err(|text| format!("length: {text}"))?;
    match got.iter().zip(expected).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => Err(format!("byte {at} is {}, expected {}", got[at], expected[at])),
    }
}
