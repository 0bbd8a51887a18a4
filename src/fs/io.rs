//! Content operations by node: read, write, allocate, seek, copy.

use crate::format::layout::{block_of, page_at};
use crate::fs::content::u64_of;
use crate::fs::resize::EmptyHeader;
use crate::fs::{AllocateHow, FsError, NodeId, SeekTo, Volume, WriteHow};
use crate::lower::LowerError;
use crate::units::{BlockNo, LowerLen, PlainLen, PlainOffset};

/// Most bytes that one call copies; the caller asks again for the rest.
const COPY_LEN_MAX: u64 = 4 * 1024 * 1024;

impl Volume {
    /// Reads at most `len` bytes at `at` into the beginning of `out`, which is made long enough and
    /// never shortened; gives how many there were. Short only at the end of the file.
    ///
    /// # Errors
    /// `FsError::Key`, `FsError::Corrupt`, `FsError::Lower`.
    pub fn read(
        &self,
        node: NodeId,
        at: u64,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, FsError> {
        let node = self.nodes.find(node)?;
        if out.len() < len {
            out.resize(len, 0);
        }
        let part = out.get_mut(..len).unwrap_or_default();
        self.with_file(&node, |env| node.file.read(env, PlainOffset(at), part))
    }

    /// Writes all of `data` at `at`.
    ///
    /// # Errors
    /// `FsError::Key`, `FsError::Corrupt`, `FsError::Lower`.
    pub fn write(
        &self,
        node: NodeId,
        at: u64,
        data: &[u8],
        how: WriteHow,
    ) -> Result<usize, FsError> {
        let node = self.nodes.find(node)?;
        self.with_file_mut(&node, |env| node.file.write(env, PlainOffset(at), data))?;
        if let WriteHow::KillPrivileges(caller) = how {
            self.kill_privileges(&node, caller)?;
        }
        Ok(data.len())
    }

    /// fallocate.
    ///
    /// # Errors
    /// `FsError::Key`, `FsError::Corrupt`, `FsError::Lower`.
    pub fn allocate(
        &self,
        node: NodeId,
        at: u64,
        len: u64,
        how: AllocateHow,
    ) -> Result<(), FsError> {
        let node = self.nodes.find(node)?;
        node.check_file()?;
        let end = at.checked_add(len).filter(|_| len > 0).ok_or(FsError::Errno(libc::EINVAL))?;
        self.with_file_mut(&node, |env| {
            let zeroes = matches!(
                how,
                AllocateHow::PunchHole | AllocateHow::ZeroRange | AllocateHow::ZeroRangeKeepSize
            );
            if zeroes {
                node.file.punch(env, PlainOffset(at), len)?;
            }
            if how == AllocateHow::PunchHole {
                return Ok(());
            }
            let first = page_at(block_of(PlainOffset(at)).0);
            let last = block_of(PlainOffset(end - 1)).0;
            let room = LowerLen(page_at(BlockNo(last.0 + 1)).0 - first.0);
            match env.file.reserve(first, room) {
                // Room cannot be promised there; the size can still be set.
                Ok(()) | Err(LowerError { errno: libc::EOPNOTSUPP, .. }) => {}
                Err(error) => return Err(error.into()),
            }
            let grows = matches!(how, AllocateHow::Grow | AllocateHow::ZeroRange);
            if grows && node.file.size(env)?.0 < end {
                node.file.set_size(env, PlainLen(end), EmptyHeader::Keep)?;
            }
            Ok(())
        })
    }

    /// lseek with SEEK_DATA or SEEK_HOLE.
    ///
    /// # Errors
    /// ENXIO.
    pub fn seek(&self, node: NodeId, at: u64, to: SeekTo) -> Result<u64, FsError> {
        let node = self.nodes.find(node)?;
        self.with_file(&node, |env| node.file.seek(env, at, to))
    }

    /// Copies a range between two files, each under its own key; may copy less than asked for. A
    /// hole stays a hole.
    ///
    /// # Errors
    /// `FsError::Key`, `FsError::Corrupt`, `FsError::Lower`.
    pub fn copy_range(
        &self,
        from: NodeId,
        at: u64,
        to: NodeId,
        to_at: u64,
        len: u64,
    ) -> Result<u64, FsError> {
        let hole = self.hole_at(from, at)?.min(len);
        if hole > 0 {
            return self.copy_hole(to, to_at, hole);
        }
        let part = usize::try_from(len.min(COPY_LEN_MAX)).map_err(|_| FsError::Unsupported)?;
        let mut data = Vec::new();
        let got = self.read(from, at, part, &mut data)?;
        match data.get(..got) {
            Some(data) if !data.is_empty() => {
                self.write(to, to_at, data, WriteHow::Keep).map(u64_of)
            }
            _ => Ok(0),
        }
    }

    /// Length of the hole that begins at `at`; 0 if there is data.
    fn hole_at(&self, node: NodeId, at: u64) -> Result<u64, FsError> {
        match self.seek(node, at, SeekTo::Data) {
            Ok(data) => Ok(data.saturating_sub(at)),
            Err(FsError::Errno(libc::ENXIO)) => Ok(self.attr(node)?.size.saturating_sub(at)),
            Err(error) => Err(error),
        }
    }

    fn copy_hole(&self, to: NodeId, at: u64, len: u64) -> Result<u64, FsError> {
        let node = self.nodes.find(to)?;
        let end = at.checked_add(len).ok_or(FsError::Errno(libc::EFBIG))?;
        self.with_file_mut(&node, |env| {
            node.file.punch(env, PlainOffset(at), len)?;
            if node.file.size(env)?.0 < end {
                node.file.set_size(env, PlainLen(end), EmptyHeader::Keep)?;
            }
            Ok(len)
        })
    }
}
