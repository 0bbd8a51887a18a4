//! Reading a directory in pieces, each from a stable cookie.
//!
//! Every piece is one getdents64 on a descriptor of its own, so nothing has to be remembered between
//! two pieces, and two readers do not disturb each other.

use std::os::fd::AsFd;

use rustix::fs::{FileType, SeekFrom, seek};
use rustix::io::retry_on_intr;

use crate::codec::{OutOfBounds, Reader};

use super::attributes::node_kind;
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
        let dir = self.open_for_reading().map_err(|error| refused("openat", error))?;
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
