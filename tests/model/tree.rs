//! Comparing whole trees, and looking at the lower directory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kmsfs::crypto::sha256;
use kmsfs::format::layout::is_legal;
use kmsfs::fs::{Attr, FsError, FsckDepth, NodeId, SeekTo, Volume};
use kmsfs::lower::NodeKind;
use kmsfs::testing::model::{Body, Ino, ROOT};
use kmsfs::units::LowerLen;

use crate::pair::{Check, Pair, errno, same};

/// Reads from a volume.
pub fn read(volume: &Volume, node: NodeId, at: u64, len: usize) -> Result<Vec<u8>, FsError> {
    let mut out = Vec::new();
    let got = volume.read(node, at, len, &mut out)?;
    out.truncate(got);
    Ok(out)
}

/// Every directory has the same entries, and every inode the same attributes and content.
pub fn same_trees(pair: &mut Pair) -> Check {
    for ino in pair.model.inos(|_| true) {
        let at = |text| format!("inode {ino}: {text}");
        pair.same_attr(ino).map_err(at)?;
        let node = pair.node(ino)?;
        let body = &pair.model.find(ino).ok_or("an inode is gone")?.body;
        match body {
            Body::Dir(_) => same_entries(pair, ino, 1000).map_err(at)?,
            Body::File(_) => same_content(pair, ino, node).map_err(at)?,
            // What a nameless link pointed to is of no use to anybody, and may be gone.
            Body::Symlink(_) if pair.model.name_of(ino).is_none() => {}
            Body::Symlink(target) => {
                let target = target.clone();
                same(&pair.volume().readlink(node).map_err(errno), &Ok(target)).map_err(at)?;
            }
            Body::Fifo => {}
        }
        same_xattr_names(pair, ino, node).map_err(at)?;
        let xattrs = pair.model.find(ino).map(|node| node.xattrs.clone()).unwrap_or_default();
        for (name, value) in xattrs {
            same(&pair.volume().find_xattr(node, &name).map_err(errno), &Ok(value)).map_err(at)?;
        }
    }
    Ok(())
}

/// A directory has the entries of the model, read so many at a time.
pub fn same_entries(pair: &mut Pair, dir: Ino, at_once: usize) -> Check {
    let node = pair.node(dir)?;
    let mut found = BTreeMap::new();
    let (mut cookie, mut rounds) = (0, 0);
    loop {
        let mut batch = Vec::new();
        let walked = pair.volume().read_dir(node, cookie, &mut |entry| {
            if batch.len() == at_once {
                return ControlFlow::Break(());
            }
            batch.push((entry.name.clone(), entry.node, entry.kind, entry.cookie));
            ControlFlow::Continue(())
        });
        walked.map_err(|error| error.to_string())?;
        let Some((_, _, _, last)) = batch.last() else { break };
        cookie = *last;
        for (name, node, kind, _) in batch {
            if found.insert(name.clone(), (node, kind)).is_some() {
                return Err(format!("entry {name:?} is shown twice"));
            }
        }
        rounds += 1;
        same(&(rounds < 1000), &true).map_err(|_| "a listing does not end".to_owned())?;
    }
    let dots = [&b"."[..], b".."].map(|name| found.remove(name).map(|(_, kind)| kind));
    same(&dots, &[Some(NodeKind::Dir); 2])?;
    let expected = pair.model.read_dir(dir).map_err(|e| e.to_string())?.clone();
    let names = |keys: Vec<&Vec<u8>>| keys.into_iter().cloned().collect::<BTreeSet<_>>();
    same(&names(found.keys().collect()), &names(expected.keys().collect()))?;
    same_entries_plus(pair, node, &expected)?;
    for (name, ino) in expected {
        let node = pair.node(ino)?;
        let kind = pair.model.find(ino).ok_or("an inode is gone")?.kind();
        same(&found.get(&name), &Some(&(node, kind)))?;
    }
    Ok(())
}

/// The listing with attributes shows the same, and counts lookups.
fn same_entries_plus(pair: &mut Pair, node: NodeId, expected: &BTreeMap<Vec<u8>, Ino>) -> Check {
    let mut seen = Vec::new();
    let walked = pair.volume().read_dir_plus(node, 0, &mut |entry, attr| {
        seen.extend(attr.map(|attr| (entry.name.clone(), entry.node, *attr)));
        ControlFlow::Continue(())
    });
    walked.map_err(|error| error.to_string())?;
    same(&seen.len(), &expected.len())?;
    for (name, node, attr) in seen {
        let ino = *expected.get(&name).ok_or("an entry that is not there")?;
        pair.reached(ino, &attr);
        // Looking at a long link reads the lower one.
        let now = pair.volume().attr(node).map(|now| Attr { atime: attr.atime, ..now });
        same(&(attr.node, now), &(node, Ok(attr)))?;
    }
    Ok(())
}

/// Where either side has data, both have the same.
fn same_content(pair: &Pair, ino: Ino, node: NodeId) -> Check {
    let size = pair.model.find(ino).and_then(|node| node.size()).ok_or("no such file")?;
    let compare = |from: u64, to: u64| -> Check {
        let mut at = from;
        while at < to {
            let len = usize::try_from((to - at).min(65_536)).unwrap();
            let got = read(pair.volume(), node, at, len).map_err(|e| format!("at {at}: {e}"))?;
            let expected = pair.model.read(ino, at, len).map_err(|e| e.to_string())?;
            if got != expected {
                let differs = got.iter().zip(&expected).position(|(a, b)| a != b);
                return Err(format!("content differs {differs:?} bytes behind {at} of {size}"));
            }
            at += u64::try_from(len).unwrap();
        }
        Ok(())
    };
    // What the volume says is data.
    let mut at = 0;
    while at < size {
        let data = match pair.volume().seek(node, at, SeekTo::Data) {
            // A hole up to the end.
            Err(FsError::Errno(libc::ENXIO)) => break,
            found => found.map_err(|error| error.to_string())?,
        };
        let hole = pair.volume().seek(node, data, SeekTo::Hole).map_err(|e| e.to_string())?;
        if hole <= data || hole > size {
            return Err(format!("data at {data}, hole at {hole} of {size}"));
        }
        compare(data, hole)?;
        at = hole;
    }
    // What the model says is data.
    let mut at = 0;
    while let Some(data) = pair.model.next_nonzero(ino, at, size).map_err(|e| e.to_string())? {
        at = (data + 4096).min(size);
        compare(data, at)?;
    }
    let behind = read(pair.volume(), node, size, 10).map_err(|error| error.to_string())?;
    same(&behind.len(), &0)
}

/// The same names of attributes are listed.
pub fn same_xattr_names(pair: &Pair, ino: Ino, node: NodeId) -> Check {
    let list = pair.volume().list_xattrs(node).map_err(|error| error.to_string())?;
    let names = list.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    let names: BTreeSet<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
    let model = pair.model.find(ino).ok_or("an inode is gone")?;
    same(&names, &model.xattrs.keys().cloned().collect())
}

/// A full check finds nothing, lower lengths are legal, and nothing is left behind.
pub fn check_lower(pair: &Pair) -> Check {
    let report = pair.volume().fsck(FsckDepth::Full, &mut |_| ControlFlow::Continue(()));
    let findings = report.map(|report| report.findings).map_err(|error| error.to_string())?;
    same(&findings, &Vec::new()).map_err(|text| format!("fsck: {text}"))?;
    let links = pair.model.inos(|node| node.size().is_some_and(|len| len > 3031) && is_link(node));
    let mut external = 0;
    for (path, len) in lower_files(&pair.lower_path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.components().any(|part| part.as_os_str() == ".kmsfs") {
            external += usize::from(path.parent().is_some_and(|dir| dir.ends_with("links")));
        } else if !name.starts_with('.') && !name.ends_with(".name") && !is_legal(LowerLen(len)) {
            return Err(format!("{name} has length {len}"));
        }
    }
    // A nameless link that the kernel knows has lost its file already.
    let named = links.iter().filter(|ino| pair.model.name_of(**ino).is_some()).count();
    same(&external, &named).map_err(|text| format!("files of symlink targets: {text}"))?;
    same(&pair.model.find(ROOT).is_some(), &true)
}

fn is_link(node: &kmsfs::testing::model::ModelNode) -> bool {
    matches!(node.body, Body::Symlink(_))
}

/// Digest of everything behind the header of every lower file, by inode. Holes are skipped.
pub fn content_digests(lower: &Path) -> BTreeMap<u64, [u8; 32]> {
    let files = lower_files(lower).into_iter().filter(|(path, len)| {
        let is_own = path.components().any(|part| part.as_os_str() == ".kmsfs");
        !is_own && *len > 1536
    });
    files
        .map(|(path, len)| {
            let file = std::fs::File::open(&path).unwrap();
            let ino = file.metadata().unwrap().ino();
            (ino, digest_behind_header(&file, len))
        })
        .collect()
}

fn digest_behind_header(file: &std::fs::File, len: u64) -> [u8; 32] {
    use kmsfs::lower::LowerFile;
    let lower = kmsfs::lower::OsFile::from_fd(file.try_clone().unwrap().into());
    let mut digest = sha256(&[&len.to_le_bytes()]);
    let mut at = 1536;
    while let Ok(Some(data)) = lower.next_data(kmsfs::units::LowerOffset(at)) {
        let mut page = vec![0; 65_536];
        let got = lower.read_at(data, &mut page).unwrap();
        digest = sha256(&[&digest, &data.0.to_le_bytes(), &page[..got]]);
        at = data.0 + 65_536;
    }
    digest
}

/// All lower regular files and their lengths.
fn lower_files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            files.extend(lower_files(&path));
        } else if metadata.is_file() {
            files.push((path, metadata.len()));
        }
    }
    files
}
