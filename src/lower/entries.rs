//! Reading a directory in pieces, each from a stable cookie.
//!
//! Every piece is one getdents64 on a descriptor of its own, so nothing has to be remembered between
//! two pieces, and two readers do not disturb each other.

use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags, SeekFrom, seek};
use rustix::io::{Errno, retry_on_intr};

use crate::codec::{OutOfBounds, Reader};

use super::attributes::node_kind;
use super::proc_fd::open_inode_as_owner;
use super::sys::getdents64;
use super::types::{call, refused};
use super::{LowerDir, LowerError, NodeKind};

/// One entry of a lower directory; `.` and `..` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowerEntry<'b> {
    /// Name without NUL.
    pub name: &'b [u8],
    /// Where to go on behind this entry; meaningful to the lower filesystem only.
    pub cookie: u64,
    /// Inode number. Behind a mount point that of the covered directory.
    pub ino: u64,
    /// Kind; `None` where the lower filesystem does not say, so that stat has to.
    pub kind: Option<NodeKind>,
}

/// Some entries of a directory, in its order.
#[derive(Clone, Debug)]
pub struct Entries<'b> {
    rest: Reader<'b>,
}

impl LowerDir {
    /// Reads the entries behind `cookie` (that of an earlier entry; 0 for the first) that fit into
    /// the capacity of `buffer`. None: the end.
    ///
    /// # Errors
    /// What openat, lseek and getdents64 answer.
    pub fn entries<'b>(
        &self,
        cookie: u64,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Entries<'b>, LowerError> {
        let dir = match self.open_for_reading() {
            // The kernel has checked who may read; we have to look into our own closed directories
            // to see whether they are empty.
            Err(Errno::ACCESS) => {
                open_inode_as_owner(self.fd(), OFlags::DIRECTORY | OFlags::RDONLY, 0o400)
            }
            answer => answer,
        };
        let dir = dir.map_err(|error| refused("openat", error))?;
        if cookie != 0 {
            call("lseek", || seek(&dir, SeekFrom::Start(cookie)))?;
        }
        buffer.reserve(BUFFER_LEN_MIN.saturating_sub(buffer.len()));
        // Costs nothing the second time: the length stays at the capacity.
        buffer.resize(buffer.capacity(), 0);
        let len = retry_on_intr(|| getdents64(dir.as_fd(), buffer))
            .map_err(|error| refused("getdents64", error))?;
        Ok(Entries { rest: Reader::new(buffer.get(..len).unwrap_or_default()) })
    }
}

impl Entries<'_> {
    /// Whether no entry is left.
    pub fn is_empty(&self) -> bool {
        self.rest.rest().is_empty()
    }
}

impl<'b> Iterator for Entries<'b> {
    type Item = LowerEntry<'b>;

    fn next(&mut self) -> Option<LowerEntry<'b>> {
        // The kernel makes these records itself; one that does not fit ends the piece.
        next_entry(&mut self.rest).ok()
    }
}

/// `struct linux_dirent64` of getdents64(2): in the machine's byte order, which is ours.
fn next_entry<'b>(rest: &mut Reader<'b>) -> Result<LowerEntry<'b>, OutOfBounds> {
    let ino = u64::from_ne_bytes(rest.array()?);
    let cookie = u64::from_ne_bytes(rest.array()?);
    let record_len = u16::from_ne_bytes(rest.array()?);
    let kind = rest.u8()?;
    let name_len = usize::from(record_len).checked_sub(NAME_AT).ok_or(OutOfBounds)?;
    let padded = rest.bytes(name_len)?;
    let name = padded.split(|byte| *byte == 0).next().ok_or(OutOfBounds)?;
    Ok(LowerEntry { name, cookie, ino, kind: kind_of_dirent(kind) })
}

/// The kind that a `d_type` stands for: the file type bits of `st_mode`, shifted (DTTOIF).
fn kind_of_dirent(kind: u8) -> Option<NodeKind> {
    node_kind(FileType::from_raw_mode(u32::from(kind) << 12))
}

/// Bytes of a record before its name: ino, off, reclen, type.
const NAME_AT: usize = 8 + 8 + 2 + 1;

/// Bytes; smallest buffer that is read into. Below 280 the longest name would not fit.
const BUFFER_LEN_MIN: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::test_dir::{ODD, TestDir, name};
    use super::*;

    /// All names, read in pieces of one entry: after each, a new call from its cookie.
    fn names_one_by_one(dir: &LowerDir) -> Vec<Vec<u8>> {
        let mut buffer = Vec::with_capacity(4096);
        let (mut cookie, mut names) = (0, Vec::new());
        while let Some(entry) = dir.entries(cookie, &mut buffer).unwrap().next() {
            names.push(entry.name.to_vec());
            cookie = entry.cookie;
        }
        names
    }

    #[test]
    fn every_entry_comes_once_with_kind_and_inode() {
        let dir = TestDir::new();
        dir.create_file(&name(ODD), 0o600).unwrap();
        dir.mkdir(&name("d"), 0o700).unwrap();
        dir.symlink(b"x", &name("l")).unwrap();
        dir.create_file(&name([0xfe; 255]), 0o600).unwrap();
        let mut buffer = Vec::with_capacity(32_768);
        let found: BTreeMap<Vec<u8>, (u64, NodeKind)> = dir
            .entries(0, &mut buffer)
            .unwrap()
            .map(|entry| (entry.name.to_vec(), (entry.ino, entry.kind.unwrap())))
            .collect();
        assert_eq!(found.len(), 6);
        for (bytes, (ino, kind)) in &found {
            if let Ok(entry) = crate::name::LowerName::from_bytes(bytes) {
                let stat = dir.stat(&entry).unwrap();
                assert_eq!((stat.id.ino, stat.kind), (*ino, *kind));
            }
        }
        assert_eq!(found[&b"."[..]], (dir.stat_self().unwrap().id.ino, NodeKind::Dir));
        assert!(found.contains_key(&b".."[..]));
    }

    #[test]
    fn cookies_resume_exactly() {
        let dir = TestDir::new();
        let mut expected = BTreeSet::from([b".".to_vec(), b"..".to_vec()]);
        for no in 0..500 {
            let text = format!("{no}-{}", "n".repeat(no % 200));
            dir.create_file(&name(&text), 0o600).unwrap();
            expected.insert(text.into_bytes());
        }
        let names = names_one_by_one(&dir);
        assert_eq!(names.len(), expected.len());
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    #[test]
    fn cookie_stays_good_when_what_was_read_is_removed() {
        let dir = TestDir::new();
        for no in 0..300 {
            dir.create_file(&name(format!("file{no}")), 0o600).unwrap();
        }
        let mut buffer = Vec::with_capacity(4096);
        let (mut cookie, mut removed) = (0, 0);
        loop {
            let piece: Vec<(Vec<u8>, u64)> = dir
                .entries(cookie, &mut buffer)
                .unwrap()
                .map(|entry| (entry.name.to_vec(), entry.cookie))
                .collect();
            let Some((_, last)) = piece.last() else { break };
            cookie = *last;
            for (bytes, _) in &piece {
                if let Ok(entry) = crate::name::LowerName::from_bytes(bytes) {
                    dir.unlink(&entry).unwrap();
                    removed += 1;
                }
            }
        }
        assert_eq!(removed, 300);
        assert_eq!(names_one_by_one(&dir).len(), 2);
    }

    #[test]
    fn removed_directory_reads_as_empty_or_refuses() {
        let dir = TestDir::new();
        dir.mkdir(&name("d"), 0o700).unwrap();
        let sub = dir.open_dir(&name("d")).unwrap();
        dir.rmdir(&name("d")).unwrap();
        match sub.entries(0, &mut Vec::new()) {
            Ok(entries) => assert!(entries.is_empty()),
            Err(error) => assert_eq!(error.errno, libc::ENOENT),
        };
    }

    #[test]
    fn records_that_do_not_fit_end_the_piece() {
        for bytes in [&[0; 18][..], &[0; 19], &[0xff; 40]] {
            assert_eq!(Entries { rest: Reader::new(bytes) }.count(), 0);
        }
    }
}
