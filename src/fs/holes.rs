//! SEEK_DATA and SEEK_HOLE: blocks that are holes, found by the lower filesystem, told in pages of the
//! kernel.
//!
//! A block is no multiple of a page. Whoever copied what lies between two holes of blocks would write
//! parts of pages, and the kernel would read each of them first.

use crate::format::layout::{block_of, block_start, last_block, page_at, record_at, record_len};
use crate::format::record;
use crate::fs::content::{View, u64_of, usize_of};
use crate::fs::file::{FileEnv, FileNode};
use crate::fs::{FsError, SeekTo};
use crate::units::{BlockNo, PlainOffset};

/// Bytes; the smallest page that a kernel has. Where it has larger ones, this costs reads and no more.
const PAGE: usize = 4096;

impl FileNode {
    /// Next data or hole at or behind `at`.
    ///
    /// # Errors
    /// ENXIO if `at` lies at or behind the end, or only a hole follows.
    pub fn seek(&self, env: &FileEnv<'_>, at: u64, to: SeekTo) -> Result<u64, FsError> {
        self.with_content(env, |content, view| {
            let size = content.size.0;
            let Some(view) = view.filter(|_| at < size) else {
                return Err(FsError::Errno(libc::ENXIO));
            };
            let may_have_holes = content.sparse || !content.gaps.is_empty();
            match (to, may_have_holes) {
                (SeekTo::Data, false) => Ok(at),
                (SeekTo::Hole, false) => Ok(size),
                (SeekTo::Data, true) => view.next_page_of_data(at),
                (SeekTo::Hole, true) => view.next_page_of_hole(at),
            }
        })
    }

    /// The first record at or behind a block of the file. A file of terabytes may be one hole.
    ///
    /// # Errors
    /// `FsError::Key`, `FsError::Lower`.
    pub fn next_record(&self, env: &FileEnv<'_>, block: BlockNo) -> Result<BlockNo, FsError> {
        self.with_content(env, |content, view| match view {
            Some(view) if content.sparse || !content.gaps.is_empty() => {
                Ok(block_of(PlainOffset(view.next_data(block_start(block).0)?)).0)
            }
            _ => Ok(block),
        })
    }
}

impl View<'_> {
    /// Next byte at or behind `at` in a page that holds data.
    fn next_page_of_data(&self, mut at: u64) -> Result<u64, FsError> {
        while at < self.size.0 {
            let page = page_start(self.next_data(at)?);
            if self.is_data(page)? {
                return Ok(at.max(page));
            }
            at = page + u64_of(PAGE);
        }
        Err(FsError::Errno(libc::ENXIO))
    }

    /// Next byte at or behind `at` in a page that holds none, or the size.
    fn next_page_of_hole(&self, mut at: u64) -> Result<u64, FsError> {
        if !self.is_data(page_start(at))? {
            return Ok(at);
        }
        while at < self.size.0 {
            let hole = self.next_hole(at)?;
            let page = page_start(hole.min(self.size.0 - 1));
            if !self.is_data(page)? {
                return Ok(at.max(page));
            }
            at = page + u64_of(PAGE);
        }
        Ok(self.size.0)
    }

    /// Whether the page that begins here holds data: all its blocks are records, or some are and not
    /// all of its bytes are zeros. The last block is a record even where nobody wrote to it: of the
    /// last page only the bytes count.
    fn is_data(&self, page: u64) -> Result<bool, FsError> {
        let end = page + u64_of(PAGE);
        if end >= self.size.0 {
            let mut bytes = [0; PAGE];
            let bytes = bytes.get_mut(..usize_of(self.size.0 - page)?).unwrap_or_default();
            self.read(PlainOffset(page), bytes)?;
            return Ok(bytes.iter().any(|byte| *byte != 0));
        }
        let (first, last) = (block_of(PlainOffset(page)).0, block_of(PlainOffset(end - 1)).0);
        let mut holes = 0;
        for block in first.0..=last.0 {
            holes += u64::from(self.is_hole(BlockNo(block))?);
        }
        if holes == 0 || holes == last.0 - first.0 + 1 {
            return Ok(holes == 0);
        }
        let mut bytes = [0; PAGE];
        self.read(PlainOffset(page), &mut bytes)?;
        Ok(bytes.iter().any(|byte| *byte != 0))
    }

    /// Next byte at or behind `at` that lies in a record. The last block is always a record.
    fn next_data(&self, at: u64) -> Result<u64, FsError> {
        let mut block = block_of(PlainOffset(at)).0;
        while Some(block) != last_block(self.size) {
            if !self.is_hole(block)? {
                break;
            }
            let behind = BlockNo(block.0 + 1);
            block = match self.file.next_data(page_at(behind))? {
                Some(data) => behind.max(BlockNo(data.0 / page_at(BlockNo(1)).0)),
                None => return Err(FsError::Errno(libc::ENXIO)),
            };
        }
        Ok(at.max(block_start(block).0))
    }

    /// Next byte at or behind `at` that lies in a hole, or the size.
    fn next_hole(&self, at: u64) -> Result<u64, FsError> {
        let mut block = block_of(PlainOffset(at)).0;
        while Some(block) != last_block(self.size) {
            if self.is_hole(block)? {
                return Ok(at.max(block_start(block).0));
            }
            let behind = BlockNo(block.0 + 1);
            let hole = self.file.next_hole(page_at(behind))?;
            block = behind.max(BlockNo(hole.0 / page_at(BlockNo(1)).0));
        }
        Ok(self.size.0)
    }

    fn is_hole(&self, block: BlockNo) -> Result<bool, FsError> {
        let mut page = [0; crate::format::layout::PAGE_LEN];
        let page = page.get_mut(..record_len(block)).unwrap_or_default();
        let len = self.file.read_at(record_at(block), page)?;
        Ok(record::is_hole(page.get(..len).unwrap_or_default()))
    }
}

fn page_start(at: u64) -> u64 {
    at - at % u64_of(PAGE)
}
