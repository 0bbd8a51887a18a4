//! A volume with every kind of entry, and a record of what was written into it.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kmsfs::codec::{hex, unhex};
use kmsfs::crypto::sha256;
use kmsfs::fs::{
    AllocateHow, Caller, NodeId, RenameHow, RewrapOptions, SetAttr, Volume, WriteHow, XattrHow,
};
use kmsfs::kms::AliasName;
use kmsfs::lower::NodeKind;
use kmsfs::name::PlainName;
use serde_json::{Value, json};

pub mod frozen;

/// What an entry is, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Dir,
    File(Vec<u8>),
    Special,
    Symlink(Vec<u8>),
}

/// One entry as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Entries by absolute path, in bytes.
pub type Tree = BTreeMap<Vec<u8>, Entry>;

/// A volume that is being filled.
pub struct Garden<'a> {
    pub volume: &'a Volume,
    pub tree: Tree,
}

/// The alias of the volume.
pub const ALIAS: &str = "alias/volume";
/// The alias of another key, for a directory's key policy.
pub const OTHER_ALIAS: &str = "alias/other";

pub fn caller() -> Caller {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::metadata("/proc/self").unwrap();
    Caller { uid: own.uid(), gid: own.gid(), pid: std::process::id() }
}

pub fn pattern(len: usize, step: usize) -> Vec<u8> {
    (0..len).map(|i| (i * step % 251).try_into().unwrap()).collect()
}

fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn split(path: &[u8]) -> (&[u8], PlainName) {
    let at = path.iter().rposition(|b| *b == b'/').unwrap();
    (&path[..at], PlainName::from_bytes(&path[at + 1..]).unwrap())
}

fn at(place: usize) -> u64 {
    place.try_into().unwrap()
}

impl<'a> Garden<'a> {
    pub fn new(volume: &'a Volume) -> Self {
        let mut garden = Self { volume, tree: Tree::new() };
        garden.put(b"/", Kind::Dir);
        garden
    }

    fn put(&mut self, path: &[u8], kind: Kind) {
        self.tree.insert(path.to_vec(), Entry { kind, xattrs: BTreeMap::new() });
    }

    fn content(&mut self, path: &[u8]) -> &mut Vec<u8> {
        match &mut self.tree.get_mut(path).unwrap().kind {
            Kind::File(content) => content,
            other => panic!("{other:?} is no file"),
        }
    }

    /// Does something with a node, and forgets it again.
    fn on<T>(&self, path: &[u8], work: impl FnOnce(NodeId) -> T) -> T {
        let node = self.volume.resolve(as_path(path)).unwrap();
        let done = work(node);
        self.volume.forget(node, 1);
        done
    }

    pub fn dir(&mut self, path: &[u8]) {
        let (parent, name) = split(path);
        let made =
            self.on(parent, |dir| self.volume.mkdir(dir, &name, 0o755, 0, caller()).unwrap());
        self.volume.forget(made.node, 1);
        self.put(path, Kind::Dir);
    }

    fn mknod(&mut self, path: &[u8], mode: u32, kind: Kind) {
        let (parent, name) = split(path);
        let made =
            self.on(parent, |dir| self.volume.mknod(dir, &name, mode, 0, 0, caller()).unwrap());
        self.volume.forget(made.node, 1);
        self.put(path, kind);
    }

    pub fn fifo(&mut self, path: &[u8]) {
        self.mknod(path, 0o010_644, Kind::Special);
    }

    pub fn file(&mut self, path: &[u8], content: &[u8]) {
        self.mknod(path, 0o100_644, Kind::File(Vec::new()));
        if !content.is_empty() {
            self.write(path, 0, content);
        }
    }

    pub fn write(&mut self, path: &[u8], place: usize, data: &[u8]) {
        let volume = self.volume;
        self.on(path, |node| volume.write(node, at(place), data, WriteHow::Keep).unwrap());
        let content = self.content(path);
        let end = place + data.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[place..end].copy_from_slice(data);
    }

    pub fn resize(&mut self, path: &[u8], len: usize) {
        let set = SetAttr { size: Some(at(len)), ..SetAttr::default() };
        self.on(path, |node| self.volume.set_attr(node, &set).unwrap());
        self.content(path).resize(len, 0);
    }

    pub fn punch(&mut self, path: &[u8], place: usize, len: usize) {
        self.on(path, |node| {
            self.volume.allocate(node, at(place), at(len), AllocateHow::PunchHole).unwrap();
        });
        self.content(path)[place..place + len].fill(0);
    }

    pub fn symlink(&mut self, path: &[u8], target: &[u8]) {
        let (parent, name) = split(path);
        let made =
            self.on(parent, |dir| self.volume.symlink(dir, &name, target, caller()).unwrap());
        self.volume.forget(made.node, 1);
        self.put(path, Kind::Symlink(target.to_vec()));
    }

    pub fn link(&mut self, old: &[u8], new: &[u8]) {
        let (parent, name) = split(new);
        self.on(old, |node| self.on(parent, |dir| self.volume.link(node, dir, &name).unwrap()));
        self.on(old, |node| self.volume.forget(node, 1));
        let entry = self.tree[old].clone();
        self.tree.insert(new.to_vec(), entry);
    }

    pub fn rename(&mut self, old: &[u8], new: &[u8]) {
        let ((old_dir, old_name), (new_dir, new_name)) = (split(old), split(new));
        self.on(old_dir, |from| {
            self.on(new_dir, |to| {
                self.volume.rename(from, &old_name, to, &new_name, RenameHow::Replace).unwrap();
            });
        });
        let below = [old, b"/"].concat();
        for path in self.tree.keys().cloned().collect::<Vec<_>>() {
            let moved = match path.strip_prefix(&below[..]) {
                Some(rest) => [new, b"/", rest].concat(),
                None if path == old => new.to_vec(),
                None => continue,
            };
            let entry = self.tree.remove(&path).unwrap();
            self.tree.insert(moved, entry);
        }
    }

    pub fn remove(&mut self, path: &[u8]) {
        let (parent, name) = split(path);
        self.on(parent, |dir| self.volume.unlink(dir, &name).unwrap());
        self.tree.remove(path);
    }

    pub fn xattr(&mut self, path: &[u8], name: &[u8], value: &[u8]) {
        self.on(path, |node| self.volume.set_xattr(node, name, value, XattrHow::Set).unwrap());
        self.tree.get_mut(path).unwrap().xattrs.insert(name.to_vec(), value.to_vec());
    }

    pub fn rewrap(&self, paths: &[&str]) {
        let paths: Vec<_> = paths.iter().map(|path| Path::new(path).to_path_buf()).collect();
        let options = RewrapOptions::default();
        let report =
            self.volume.rewrap_tree(&paths, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((report.failed, report.left), (0, 0), "{report:?}");
    }

    /// Fills the volume. `rotate` gives its key new material; it is called twice, with a rewrap of
    /// a part in between and of everything behind.
    pub fn plant(&mut self, rotate: &mut dyn FnMut()) {
        self.sizes();
        self.names();
        self.links();
        self.changes();
        rotate();
        self.rewrap(&["/sizes"]);
        self.file(b"/second material", &pattern(3000, 3));
        self.write(b"/sizes/6561", 2500, b"over the border of two blocks");
        rotate();
        self.rewrap(&[]);
        self.file(b"/third material", &pattern(100, 5));
        self.holes();
        self.policies();
    }

    fn sizes(&mut self) {
        self.dir(b"/sizes");
        for len in [0, 1, 14, 2511, 2512, 2513, 6559, 6560, 6561, 20_000] {
            self.file(format!("/sizes/{len}").as_bytes(), &pattern(len, 7));
        }
        self.xattr(b"/sizes/0", b"user.on.an.empty.file", b"has a header");
        self.file(b"/sizes/no header", b"");
    }

    fn names(&mut self) {
        self.dir(b"/names");
        for len in [1, 175, 176, 255] {
            self.file(&[b"/names/", &vec![b'n'; len][..]].concat(), &pattern(len, 11));
        }
        self.file(b"/names/\xff\xfe\x01 no text", b"bytes");
        self.dir(&[b"/names/", &[b'd'; 200][..]].concat());
        self.file(&[b"/names/", &[b'd'; 200][..], b"/inside"].concat(), b"below a long name");
        self.dir(b"/names/deep");
        self.dir(b"/names/deep/deep");
        self.file(b"/names/deep/deep/n", b"the same name in another directory");
        self.xattr(b"/names/deep", b"user.on.a.directory", &pattern(100, 13));
        self.xattr(b"/", b"user.on.the.root", b"");
    }

    fn links(&mut self) {
        self.dir(b"/links");
        self.symlink(b"/links/short", b"x");
        self.symlink(b"/links/usual", b"../sizes/14");
        self.symlink(b"/links/longest inline", &[b'i'; 3031]);
        self.symlink(b"/links/external", &[b'e'; 3032]);
        self.symlink(b"/links/longest external", &[b'E'; 4095]);
        self.symlink(&[b"/links/", &[b'l'; 255][..]].concat(), b"under a long name");
        self.link(b"/sizes/2513", b"/links/hard");
        self.link(b"/sizes/2513", &[b"/links/", &[b'h'; 180][..]].concat());
        self.fifo(b"/links/fifo");
    }

    fn changes(&mut self) {
        self.dir(b"/changes");
        self.file(b"/changes/shrunk", &pattern(10_000, 3));
        self.resize(b"/changes/shrunk", 3000);
        self.file(b"/changes/shrunk to a border", &pattern(10_000, 3));
        self.resize(b"/changes/shrunk to a border", 2512);
        self.file(b"/changes/new data key", &pattern(5000, 3));
        self.resize(b"/changes/new data key", 0);
        self.write(b"/changes/new data key", 0, b"again");
        self.file(b"/changes/emptied", &pattern(5000, 3));
        self.resize(b"/changes/emptied", 0);
        self.file(b"/changes/appended", &pattern(2000, 3));
        for part in 0..5 {
            self.write(b"/changes/appended", 2000 + part * 1500, &pattern(1500, 17));
        }
        self.file(b"/changes/before", b"renamed");
        self.rename(b"/changes/before", b"/changes/after");
        self.file(&[b"/changes/", &[b'a'; 200][..]].concat(), b"long to long");
        self.rename(
            &[b"/changes/", &[b'a'; 200][..]].concat(),
            &[b"/changes/", &[b'b'; 210][..]].concat(),
        );
        self.dir(b"/changes/moved");
        self.file(b"/changes/moved/with it", b"content");
        self.rename(b"/changes/moved", b"/names/moved here");
        self.file(b"/changes/removed", b"gone");
        self.remove(b"/changes/removed");
        self.file(b"/changes/attributes", b"x");
        self.xattr(b"/changes/attributes", b"user.comment", b"draft");
        self.xattr(b"/changes/attributes", b"user.comment", b"final");
        self.xattr(
            b"/changes/attributes",
            &[b"user.", &[b'n'; 167][..]].concat(),
            b"longest short",
        );
        self.xattr(
            b"/changes/attributes",
            &[b"user.", &[b'n'; 168][..]].concat(),
            b"shortest long",
        );
        self.xattr(b"/changes/attributes", &[b"user.", &[b'n'; 250][..]].concat(), b"longest");
    }

    fn holes(&mut self) {
        self.dir(b"/holes");
        self.file(b"/holes/far", b"");
        self.write(b"/holes/far", 30_000, b"far out");
        self.file(b"/holes/grown", b"beginning");
        self.resize(b"/holes/grown", 25_000);
        self.file(b"/holes/punched", &pattern(30_000, 19));
        self.punch(b"/holes/punched", 2600, 20_000);
        self.file(b"/holes/only a size", b"");
        self.resize(b"/holes/only a size", 9000);
    }

    fn policies(&mut self) {
        self.dir(b"/other key");
        let alias = AliasName::parse(OTHER_ALIAS).unwrap();
        self.volume.set_policy(Path::new("/other key"), &alias).unwrap();
        self.dir(b"/other key/inherits");
        self.file(b"/other key/inherits/file", &pattern(4000, 23));
    }
}

/// Everything that a volume shows.
pub fn read_volume(volume: &Volume) -> Tree {
    let mut tree = Tree::new();
    let mut waiting = vec![b"/".to_vec()];
    while let Some(path) = waiting.pop() {
        let node = volume.resolve(as_path(&path)).unwrap();
        let attr = volume.attr(node).unwrap();
        let kind = match attr.kind {
            NodeKind::Dir => {
                let names = |entry: &kmsfs::fs::DirEntry| {
                    if !matches!(&entry.name[..], b"." | b"..") {
                        let parent = path.strip_suffix(b"/").unwrap_or(&path);
                        waiting.push([parent, b"/", &entry.name].concat());
                    }
                    ControlFlow::Continue(())
                };
                let mut names = names;
                volume.read_dir(node, 0, &mut names).unwrap();
                Kind::Dir
            }
            NodeKind::File => {
                let mut out = Vec::new();
                let len = attr.size.try_into().unwrap();
                assert_eq!(volume.read(node, 0, len, &mut out).unwrap(), len);
                Kind::File(out)
            }
            NodeKind::Symlink => {
                let target = volume.readlink(node).unwrap();
                assert_eq!(attr.size, at(target.len()));
                Kind::Symlink(target)
            }
            _ => Kind::Special,
        };
        let names = volume.list_xattrs(node).unwrap_or_default();
        let xattrs = names
            .split(|b| *b == 0)
            .filter(|name| name.starts_with(b"user."))
            .map(|name| (name.to_vec(), volume.find_xattr(node, name).unwrap()))
            .collect();
        volume.forget(node, 1);
        tree.insert(path, Entry { kind, xattrs });
    }
    tree
}

/// A tree as the decoder's `json` tells it, one object for a path; contents as SHA-256.
pub fn to_json(tree: &Tree) -> BTreeMap<String, Value> {
    let one = |(path, entry): (&Vec<u8>, &Entry)| {
        let mut value = match &entry.kind {
            Kind::Dir => json!({ "kind": "dir" }),
            Kind::File(content) => {
                json!({ "kind": "file", "size": content.len(), "sha256": hex(&sha256(&[content])) })
            }
            Kind::Special => json!({ "kind": "special" }),
            Kind::Symlink(target) => json!({ "kind": "symlink", "target": hex(target) }),
        };
        let xattrs: BTreeMap<String, String> =
            entry.xattrs.iter().map(|(name, value)| (hex(name), hex(value))).collect();
        value["xattrs"] = json!(xattrs);
        (hex(path), value)
    };
    tree.iter().map(one).collect()
}

/// Says where two trees differ, without flooding the terminal.
#[track_caller]
pub fn assert_same(found: &BTreeMap<String, Value>, expected: &BTreeMap<String, Value>) {
    let show = |path: &String| String::from_utf8_lossy(&unhex(path).unwrap()).into_owned();
    let mut differences = Vec::new();
    for (path, entry) in expected {
        match found.get(path) {
            None => differences.push(format!("missing: {}", show(path))),
            Some(other) if other != entry => {
                differences.push(format!("{}: {other} instead of {entry}", show(path)));
            }
            Some(_) => {}
        }
    }
    let surplus = found.keys().filter(|path| !expected.contains_key(*path));
    differences.extend(surplus.map(|path| format!("not written: {}", show(path))));
    assert!(differences.is_empty(), "{differences:#?}");
}
