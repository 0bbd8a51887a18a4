//! Writing and resizing: the order in which length and records change.
//!
//! Growing: the length first, then the records. Shrinking: the new last record first, then the
//! length, so that a shrink that fails has changed nothing. Every state in between is the old file,
//! the new file, or one that recovery turns into one of them (docs/FORMAT.md, "Crash contract").

use std::ops::Range;
use std::sync::Arc;

use crate::format::layout::{
    PAGE_LEN, PAYLOAD, PLAIN_LEN_MAX, block_of, block_start, last_block, len_in_block, lower_len,
    page_at, payload_len, record_at, record_len,
};
use crate::fs::FsError;
use crate::fs::content::{Change, Trust, View, u64_of, usize_of};
use crate::fs::file::{Content, FileEnv, FileNode, Header, Stage};
use crate::fs::header_io::OpenKeys;
use crate::lower::{LowerError, LowerFile, SyncScope};
use crate::units::{BlockNo, LowerLen, LowerOffset, PlainLen, PlainOffset};

/// What becomes of the header of a file that is cut down to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyHeader {
    /// It goes, and the next write takes a fresh data key.
    Drop,
    /// It stays: sealed extended attributes need it.
    Keep,
}

impl FileNode {
    /// Writes plaintext; all of it or an error.
    ///
    /// # Errors
    /// `FsError::Key`, `FsError::Corrupt`, `FsError::Lower`; EFBIG beyond the largest file.
    pub fn write(&self, env: &FileEnv<'_>, at: PlainOffset, data: &[u8]) -> Result<(), FsError> {
        let end = check_end(at.0, u64_of(data.len()))?;
        if data.is_empty() {
            return Ok(());
        }
        self.with_content_mut(env, |content, header, keys| {
            env.data_keys.count(keys, u64_of(data.len()));
            if end <= content.size.0 {
                return content.overwrite(env, keys, at, data);
            }
            let old = content.size;
            if header.bytes.is_none() {
                self.leave_trace(env)?;
            }
            self.grown();
            content.grow(env, header, keys, PlainLen(end), at, data).inspect_err(|_| {
                content.undo_growth(env, header, keys, old);
            })?;
            self.bound_gaps(content, env)
        })
    }

    /// Sets the length; new bytes are zeros.
    ///
    /// # Errors
    /// As [`FileNode::write`].
    pub fn set_size(
        &self,
        env: &FileEnv<'_>,
        size: PlainLen,
        empty: EmptyHeader,
    ) -> Result<(), FsError> {
        check_end(size.0, 0)?;
        if size.0 == 0 && empty == EmptyHeader::Drop {
            // Whoever empties a file is about to write it anew.
            env.data_keys.check_key(env.policy)?;
            let mut content = self.content.write();
            let emptied = env.file.set_len(LowerLen(0));
            self.header_changed();
            emptied?;
            content.reset(Stage::Empty);
            *self.header.lock() = None;
            return Ok(());
        }
        if size.0 == 0 && matches!(self.content.read().stage, Stage::Empty) {
            return Ok(());
        }
        self.with_content_mut(env, |content, header, keys| {
            let old = content.size;
            if header.bytes.is_none() && size != old {
                self.leave_trace(env)?;
            }
            if size.0 == 0 {
                return content.write_empty(env, header, keys);
            }
            if size <= old {
                return content.shrink(env, keys, size);
            }
            self.grown();
            content.grow(env, header, keys, size, PlainOffset(size.0), &[]).inspect_err(|_| {
                content.undo_growth(env, header, keys, old);
            })?;
            self.bound_gaps(content, env)
        })
    }

    /// Frees a range; it reads as zeros. The size stays.
    ///
    /// # Errors
    /// As [`FileNode::write`].
    pub fn punch(&self, env: &FileEnv<'_>, at: PlainOffset, len: u64) -> Result<(), FsError> {
        check_end(at.0, len)?;
        if self.is_empty(env)? {
            return Ok(());
        }
        self.with_content_mut(env, |content, header, keys| {
            if header.bytes.is_some() {
                // Cut down to nothing meanwhile; the header that was made for it has to be written.
                return content.write_empty(env, header, keys);
            }
            let end = (at.0 + len).min(content.size.0);
            match content.whole_blocks(at.0, end)? {
                None => content.write_zeros(env, keys, at.0, end),
                Some(whole) => {
                    self.prepare_holes(content, env)?;
                    content.punch(env, keys, at.0..end, whole)
                }
            }
        })
    }
}

impl Content {
    /// Overwrites bytes below the size.
    pub(super) fn overwrite(
        &mut self,
        env: &FileEnv<'_>,
        keys: &OpenKeys,
        at: PlainOffset,
        data: &[u8],
    ) -> Result<(), FsError> {
        let first = block_of(at).0;
        let last = block_of(PlainOffset(at.0 + u64_of(data.len()) - 1)).0;
        let change = Change { first, last, size: self.size, at, data, header: None };
        self.view(env, keys).write(&change, env.data_keys.random())?;
        self.gaps.remove(first, BlockNo(last.0 + 1));
        Ok(())
    }

    /// Grows to `size` and writes `data` at `at`; with no data, the new bytes are zeros.
    fn grow(
        &mut self,
        env: &FileEnv<'_>,
        header: &Header,
        keys: &Arc<OpenKeys>,
        size: PlainLen,
        at: PlainOffset,
        data: &[u8],
    ) -> Result<(), FsError> {
        let last = last_block(size).ok_or(FsError::Bug("growing to nothing"))?;
        let data_first = if data.is_empty() { last } else { block_of(at).0 };
        // The block that carries FINAL now; an empty file with a header has one in block 0.
        let tail = match header.bytes {
            Some(_) => None,
            None => Some(last_block(self.size).unwrap_or(BlockNo(0))),
        };
        let behind_tail = tail.map_or(BlockNo(0), |tail| BlockNo(tail.0 + 1));
        let adjoins = tail.is_some_and(|tail| tail.0 + 1 >= data_first.0);
        let first = match tail {
            Some(tail) if adjoins => tail.min(data_first),
            _ => data_first,
        };
        env.file.set_len(lower_len(size))?;
        let view = self.view(env, keys);
        let random = env.data_keys.random();
        let mut change = Change { first, last, size, at, data, header: None };
        match tail {
            Some(tail) if !adjoins => {
                view.write(&Change { first: tail, last: tail, ..change }, random)?;
            }
            None if first.0 > 0 => {
                let bytes = header.bytes.as_ref().map_or(&[][..], |bytes| &bytes[..]);
                env.file.write_at(LowerOffset(0), bytes)?;
            }
            None => change.header = header.bytes.as_ref(),
            Some(_) => {}
        }
        view.write(&change, random)?;
        self.gaps.add(behind_tail, first);
        self.gaps.remove(first, BlockNo(last.0 + 1));
        self.size = size;
        Ok(())
    }

    /// Puts the old length and the old last record back after a growth that failed half-way, as a
    /// full disk makes it. What cannot be put back is mended by the recovery after the next stop.
    fn undo_growth(&mut self, env: &FileEnv<'_>, header: &Header, keys: &OpenKeys, old: PlainLen) {
        let undone = if header.bytes.is_some() {
            env.file.set_len(LowerLen(0)).map_err(FsError::from)
        } else {
            self.seal_tail(env, keys, old)
        };
        if let Err(error) = undone {
            tracing::error!(%error, "putting a file back after a failed write");
        }
        self.gaps.remove(BlockNo(last_block(old).map_or(0, |b| b.0 + 1)), BlockNo(u64::MAX));
        self.size = old;
    }

    /// Cuts the file to `size` and seals its last record anew from what lies there.
    fn seal_tail(&self, env: &FileEnv<'_>, keys: &OpenKeys, size: PlainLen) -> Result<(), FsError> {
        let Some(last) = last_block(size) else {
            return self.seal_empty_tail(env, keys);
        };
        let start = block_start(last);
        let view = View { trust: Trust::Lenient, size, ..self.view(env, keys) };
        let mut kept = [0; PAYLOAD];
        view.read_block(last, &mut kept)?;
        cut(env.file, size)?;
        let len = usize_of(size.0 - start.0)?;
        let data = kept.get(..len).unwrap_or_default();
        let change = Change { first: last, last, size, at: start, data, header: None };
        view.write(&change, env.data_keys.random())
    }

    /// Leaves a header and the empty record behind it.
    fn seal_empty_tail(&self, env: &FileEnv<'_>, keys: &OpenKeys) -> Result<(), FsError> {
        let size = PlainLen(0);
        let block = BlockNo(0);
        env.file.set_len(LowerLen(u64_of(PAGE_LEN)))?;
        let view = View { size, ..self.view(env, keys) };
        let change =
            Change { first: block, last: block, size, at: PlainOffset(0), data: &[], header: None };
        view.write(&change, env.data_keys.random())
    }

    /// Cuts the file down to its header, or makes that header.
    pub(super) fn write_empty(
        &mut self,
        env: &FileEnv<'_>,
        header: &Header,
        keys: &OpenKeys,
    ) -> Result<(), FsError> {
        let Some(bytes) = &header.bytes else {
            return self.shrink(env, keys, PlainLen(0));
        };
        let (block, size) = (BlockNo(0), PlainLen(0));
        let header = Some(bytes);
        let change =
            Change { first: block, last: block, size, at: PlainOffset(0), data: &[], header };
        env.file.set_len(LowerLen(u64_of(PAGE_LEN)))?;
        self.view(env, keys).write(&change, env.data_keys.random()).inspect_err(|_| {
            if let Err(error) = env.file.set_len(LowerLen(0)) {
                tracing::error!(%error, "putting a file back after a failed header");
            }
        })
    }

    /// Cuts the file down to `size`; to nothing, its header stays.
    fn shrink(
        &mut self,
        env: &FileEnv<'_>,
        keys: &OpenKeys,
        size: PlainLen,
    ) -> Result<(), FsError> {
        if size == self.size {
            // Sets the times, as a truncate to the same length has to.
            return Ok(env.file.set_len(kept_len(size))?);
        }
        let last = last_block(size).unwrap_or(BlockNo(0));
        let start = block_start(last);
        let mut old = [0; PAYLOAD];
        let old = old.get_mut(..len_in_block(self.size, last)).unwrap_or_default();
        let view = self.view(env, keys);
        view.read(start, old)?;
        let data = old.get(..usize_of(size.0 - start.0)?).unwrap_or_default();
        let change = Change { first: last, last, size, at: start, data, header: None };
        let random = env.data_keys.random();
        let sealed = view.write(&change, random).and_then(|()| {
            if self.sparse {
                // This block may be a hole on disk. Were the length cut before it is none, a
                // recovery would take it for a growth that never reached the disk.
                env.file.sync(SyncScope::Data)?;
            }
            cut(env.file, size)
        });
        if let Err(error) = sealed {
            let change = Change { size: self.size, data: old, ..change };
            if let Err(error) = view.write(&change, random) {
                tracing::error!(%error, "putting a block back after a failed shrink");
            }
            return Err(error);
        }
        self.gaps.remove(last, BlockNo(u64::MAX));
        self.size = size;
        Ok(())
    }

    /// The blocks that `at..end` covers whole, less the last of the file, which carries FINAL and
    /// stays a record.
    fn whole_blocks(&self, at: u64, end: u64) -> Result<Option<Range<BlockNo>>, FsError> {
        if at >= end {
            return Ok(None);
        }
        let last = last_block(self.size).ok_or(FsError::Bug("punching an empty file"))?;
        let (first, skip) = block_of(PlainOffset(at));
        let first = if skip == 0 { first } else { BlockNo(first.0 + 1) };
        let behind = block_of(PlainOffset(end)).0.min(last);
        Ok((first < behind).then_some(first..behind))
    }

    /// Makes `range` zeros: `whole` blocks become holes, the rest is overwritten.
    fn punch(
        &mut self,
        env: &FileEnv<'_>,
        keys: &OpenKeys,
        range: Range<u64>,
        whole: Range<BlockNo>,
    ) -> Result<(), FsError> {
        self.write_zeros(env, keys, range.start, block_start(whole.start).0)?;
        self.write_zeros(env, keys, block_start(whole.end).0, range.end)?;
        let mut from = whole.start;
        if from.0 == 0 {
            env.file.write_at(record_at(from), &[0; PAGE_LEN][..record_len(from)])?;
            from = BlockNo(1);
        }
        let len = page_at(whole.end).0 - page_at(from).0;
        match len {
            0 => Ok(()),
            len => punch_pages(env, page_at(from), len),
        }
    }

    /// Overwrites `at..end` with zeros, block by block.
    fn write_zeros(
        &mut self,
        env: &FileEnv<'_>,
        keys: &OpenKeys,
        at: u64,
        end: u64,
    ) -> Result<(), FsError> {
        let mut at = at;
        while at < end {
            let (block, skip) = block_of(PlainOffset(at));
            let room = u64_of(payload_len(block) - skip);
            let len = usize_of((end - at).min(room))?;
            let zeros = [0; PAYLOAD];
            self.overwrite(env, keys, PlainOffset(at), zeros.get(..len).unwrap_or_default())?;
            at += u64_of(len);
        }
        Ok(())
    }
}

/// Lower length of a file that has a header.
fn kept_len(size: PlainLen) -> LowerLen {
    if size.0 == 0 { LowerLen(u64_of(PAGE_LEN)) } else { lower_len(size) }
}

/// Sets the lower length to that of a shorter plaintext. At a page's end first: what is left of the
/// page behind the last record must not stay, for a later growth may make a hole of it.
///
/// # Errors
/// `FsError::Lower`; nothing was cut then.
pub(super) fn cut(file: &dyn LowerFile, size: PlainLen) -> Result<(), FsError> {
    let len = kept_len(size);
    let page_len = u64_of(PAGE_LEN);
    file.set_len(LowerLen(len.0 / page_len * page_len))?;
    // What was cut off is gone, so that there is no way back: asked once more, should it fail.
    Ok(file.set_len(len).or_else(|_| file.set_len(len))?)
}

/// Frees whole pages, or fills them with zeros where the lower filesystem cannot.
fn punch_pages(env: &FileEnv<'_>, at: LowerOffset, len: u64) -> Result<(), FsError> {
    static ZEROS: [u8; 16 * PAGE_LEN] = [0; 16 * PAGE_LEN];
    match env.file.punch(at, LowerLen(len)) {
        Err(LowerError { errno: libc::EOPNOTSUPP, .. }) => {}
        done => return Ok(done?),
    }
    let (mut at, end) = (at.0, at.0 + len);
    while at < end {
        let part = usize_of((end - at).min(u64_of(ZEROS.len())))?;
        env.file.write_at(LowerOffset(at), ZEROS.get(..part).unwrap_or_default())?;
        at += u64_of(part);
    }
    Ok(())
}

/// The end of a range, if a file may be that long.
fn check_end(at: u64, len: u64) -> Result<u64, FsError> {
    match at.checked_add(len) {
        Some(end) if end <= PLAIN_LEN_MAX.0 => Ok(end),
        _ => Err(FsError::Errno(libc::EFBIG)),
    }
}
