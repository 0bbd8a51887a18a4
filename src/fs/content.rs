//! The block pipeline: plaintext ranges to records of one lower file and back.
//!
//! Knows nothing of headers, keys in the service, or locks; [`crate::fs::file`] brings those.

use crate::format::layout::{
    HEADER_LEN, PAYLOAD, block_of, block_start, is_legal, last_block, page_at, payload_len,
    record_at, record_len,
};
use crate::format::record::{self, Position, RecordHead};
use crate::fs::buffers::with_buffer;
use crate::fs::gaps::Gaps;
use crate::fs::header_io::OpenKeys;
use crate::fs::{CorruptPart, FsError};
use crate::lower::LowerFile;
use crate::random::Random;
use crate::units::{BlockNo, LowerLen, LowerOffset, PlainLen, PlainOffset};

/// How far a reader trusts the lower file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A clean volume: whatever does not fit is corrupt.
    Strict,
    /// After an unclean stop: a record may hold more than the length shows, FINAL may be missing,
    /// and missing pages read as zeros.
    Lenient,
}

/// One file's content as it lies on disk now.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The lower file.
    pub file: &'a dyn LowerFile,
    /// Its keys.
    pub keys: &'a OpenKeys,
    /// Plaintext length.
    pub size: PlainLen,
    /// The envelope says SPARSE: any page may be a hole.
    pub sparse: bool,
    /// Holes that the envelope does not tell of.
    pub gaps: &'a Gaps,
    /// How far to trust.
    pub trust: Trust,
}

impl View<'_> {
    /// Reads plaintext; the range lies within the size.
    ///
    /// # Errors
    /// `FsError::Lower`, `FsError::Corrupt` with the first block that does not open.
    pub fn read(&self, at: PlainOffset, out: &mut [u8]) -> Result<(), FsError> {
        let Some(end) = u64::try_from(out.len()).ok().filter(|len| *len > 0) else {
            return Ok(());
        };
        let (first, skip) = block_of(at);
        let (last, _) = block_of(PlainOffset(at.0 + end - 1));
        if self.lies_in_hole(first, last)? {
            out.fill(0);
            return Ok(());
        }
        let mut out = out;
        let mut skip = skip;
        let mut next = first.0;
        while next <= last.0 {
            let to = last.0.min(next + BLOCKS_AT_ONCE - 1);
            out = self.read_blocks(BlockNo(next), BlockNo(to), skip, out)?;
            next = to + 1;
            skip = 0;
        }
        Ok(())
    }

    /// Reads a few blocks in one read, but for the first `skip` bytes, as far as `out` reaches. Gives
    /// what is left of `out`.
    fn read_blocks<'o>(
        &self,
        first: BlockNo,
        last: BlockNo,
        skip: usize,
        out: &'o mut [u8],
    ) -> Result<&'o mut [u8], FsError> {
        let from = record_at(first);
        let len = usize_of(page_at(BlockNo(last.0 + 1)).0 - from.0)?;
        with_buffer(len, |lower| {
            let got = self.file.read_at(from, lower)?;
            let mut rest = lower.get(..got).unwrap_or_default();
            let mut out = out;
            let mut skip = skip;
            for no in first.0..=last.0 {
                let block = BlockNo(no);
                let (page, behind) = rest
                    .split_at_checked(record_len(block))
                    .ok_or(FsError::Corrupt(CorruptPart::Block(block)))?;
                rest = behind;
                let wanted = (payload_len(block) - skip).min(out.len());
                let (part, later) = out.split_at_mut(wanted);
                out = later;
                self.open_part(block, page, skip, part)?;
                skip = 0;
            }
            Ok(out)
        })
    }

    /// Whether all pages of these blocks are a hole that need not be read to be known. Asked of sparse
    /// files only, and not of a file's last block, which must not be one.
    fn lies_in_hole(&self, first: BlockNo, last: BlockNo) -> Result<bool, FsError> {
        if first.0 == 0 || !self.sparse || last_block(self.size) == Some(last) {
            return Ok(false);
        }
        let behind = page_at(BlockNo(last.0 + 1));
        Ok(self.file.next_data(page_at(first))?.is_none_or(|data| data >= behind))
    }

    /// Reads the beginning of one block; what lies behind the size is left alone.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn read_block(&self, block: BlockNo, out: &mut [u8]) -> Result<(), FsError> {
        let start = block_start(block);
        let len = usize_of(self.size.0.saturating_sub(start.0))?.min(payload_len(block));
        match out.get_mut(..len) {
            Some(part) => self.read(start, part),
            None => Err(FsError::Bug("block does not fit its buffer")),
        }
    }

    /// Opens one record and gives the plaintext from `skip` on.
    fn open_part(
        &self,
        block: BlockNo,
        page: &[u8],
        skip: usize,
        part: &mut [u8],
    ) -> Result<(), FsError> {
        let corrupt = FsError::Corrupt(CorruptPart::Block(block));
        if record::is_hole(page) {
            // A hole as the last block is a file cut off there.
            let may_be = last_block(self.size) != Some(block);
            let told = may_be && (self.sparse || self.gaps.contains(block));
            let known = told || self.trust == Trust::Lenient;
            part.fill(0);
            return if known { Ok(()) } else { Err(corrupt) };
        }
        let head = record::head(block, page).map_err(|_| corrupt.clone())?;
        self.check_head(block, &head).ok_or_else(|| corrupt.clone())?;
        if skip == 0 && part.len() == head.len {
            record::open(&self.keys.cipher, block, page, part).map_err(|_| corrupt)?;
            return Ok(());
        }
        let mut plain = [0; PAYLOAD];
        record::open(&self.keys.cipher, block, page, &mut plain).map_err(|_| corrupt.clone())?;
        let held = plain.get(..head.len).and_then(|held| held.get(skip..)).unwrap_or_default();
        let common = held.len().min(part.len());
        let (filled, missing) = part.split_at_mut(common);
        filled.copy_from_slice(held.get(..common).unwrap_or_default());
        match (missing.is_empty(), self.trust) {
            (true, _) => Ok(()),
            (false, Trust::Lenient) => {
                missing.fill(0);
                Ok(())
            }
            (false, Trust::Strict) => Err(corrupt),
        }
    }

    /// Whether a record's length and flag are what its place in the file asks for.
    fn check_head(&self, block: BlockNo, head: &RecordHead) -> Option<()> {
        if self.trust == Trust::Lenient {
            return Some(());
        }
        let is_last = last_block(self.size) == Some(block);
        let wanted_len = match is_last {
            true => usize::try_from(self.size.0 - block_start(block).0).ok()?,
            false => payload_len(block),
        };
        let wanted_position = if is_last { Position::Final } else { Position::Middle };
        (head.len == wanted_len && head.position == wanted_position).then_some(())
    }

    /// Seals and writes the blocks that `change` touches, in one write.
    ///
    /// Blocks that the data covers in part, or not at all, keep their other bytes; bytes between the
    /// old size and the data are zeros. The lower length is not touched.
    ///
    /// # Errors
    /// `FsError::Lower`; `FsError::Corrupt` if a block that must be kept does not open.
    pub fn write(&self, change: &Change<'_>, random: &dyn Random) -> Result<(), FsError> {
        let Change { first, last, size, at, data, header } = *change;
        let from = if header.is_some() { LowerOffset(0) } else { record_at(first) };
        let len = usize_of(page_at(BlockNo(last.0 + 1)).0 - from.0)?;
        let count = usize_of(last.0 - first.0 + 1)?;
        // An empty file that has a header carries FINAL in an empty block 0.
        let new_last = last_block(size).unwrap_or(BlockNo(0));
        with_buffer(len + count * N2_LEN, |buffer| {
            let (lower, nonces) = buffer.split_at_mut(len);
            random.fill(nonces);
            let mut rest = &mut *lower;
            if let Some(header) = header {
                let (place, behind) = rest.split_at_mut(HEADER_LEN);
                place.copy_from_slice(header);
                rest = behind;
            }
            for (no, n2) in (first.0..=last.0).zip(nonces.as_chunks::<N2_LEN>().0) {
                let block = BlockNo(no);
                let (page, behind) = rest.split_at_mut(record_len(block));
                rest = behind;
                let is_last = new_last == block;
                let position = if is_last { Position::Final } else { Position::Middle };
                let start = block_start(block).0;
                let new_len = usize_of(size.0.saturating_sub(start))?.min(payload_len(block));
                let mut kept;
                let plain = match whole_block(data, at, start, new_len) {
                    Some(plain) => plain,
                    None => {
                        kept = [0; PAYLOAD];
                        self.merge(block, at, data, &mut kept)?;
                        kept.get(..new_len).unwrap_or_default()
                    }
                };
                record::seal(&self.keys.cipher, block, plain, position, n2, page);
            }
            Ok(self.file.write_at(from, lower)?)
        })
    }

    /// The old bytes of a block with the new ones laid over them.
    fn merge(
        &self,
        block: BlockNo,
        at: PlainOffset,
        data: &[u8],
        kept: &mut [u8; PAYLOAD],
    ) -> Result<(), FsError> {
        if block_start(block).0 < self.size.0 {
            self.read_block(block, kept)?;
        }
        let start = block_start(block).0;
        let block_end = start + u64_of(payload_len(block));
        let data_end = at.0 + u64_of(data.len());
        let (from, to) = (at.0.max(start), data_end.min(block_end));
        if from < to {
            let source = data.get(usize_of(from - at.0)?..usize_of(to - at.0)?);
            let target = kept.get_mut(usize_of(from - start)?..usize_of(to - start)?);
            if let (Some(source), Some(target)) = (source, target) {
                target.copy_from_slice(source);
            }
        }
        Ok(())
    }
}

/// Refuses a file that shows no plaintext and was not empty: one that was cut down to its header.
///
/// # Errors
/// `FsError::Corrupt`, `FsError::Lower`.
pub(super) fn check_empty(
    file: &dyn LowerFile,
    lower: LowerLen,
    keys: &OpenKeys,
) -> Result<(), FsError> {
    if !is_legal(lower) {
        return Err(FsError::Corrupt(CorruptPart::Length));
    }
    let block = BlockNo(0);
    let mut page = [0; PAYLOAD];
    let page = page.get_mut(..record_len(block)).unwrap_or_default();
    let got = file.read_at(record_at(block), page)?;
    let record = page.get(..got).unwrap_or_default();
    match record::open(&keys.cipher, block, record, &mut []) {
        Ok(RecordHead { len: 0, position: Position::Final }) => Ok(()),
        Ok(_) | Err(_) => Err(FsError::Corrupt(CorruptPart::Block(block))),
    }
}

/// One write: blocks `first..=last` of a file that is `size` bytes long afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// First block to write.
    pub first: BlockNo,
    /// Last block to write.
    pub last: BlockNo,
    /// Plaintext length afterwards.
    pub size: PlainLen,
    /// Where the data goes.
    pub at: PlainOffset,
    /// The data.
    pub data: &'a [u8],
    /// A new file's header, to be written in front of block 0.
    pub header: Option<&'a [u8; HEADER_LEN]>,
}

/// Blocks that are read and opened together: with their plaintext they stay in the processor's cache.
const BLOCKS_AT_ONCE: u64 = 16;

/// Bytes of a record's own half of the nonce.
const N2_LEN: usize = 12;

/// The plaintext of a block, if the data covers all of it.
fn whole_block(data: &[u8], at: PlainOffset, start: u64, len: usize) -> Option<&[u8]> {
    let from = usize::try_from(start.checked_sub(at.0)?).ok()?;
    data.get(from..from.checked_add(len)?)
}

/// Lengths of single requests fit a `usize` on every machine that we run on.
pub(super) fn usize_of(len: u64) -> Result<usize, FsError> {
    usize::try_from(len).map_err(|_| FsError::Bug("length does not fit usize"))
}

/// A length in memory as a length in a file.
pub(super) fn u64_of(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
