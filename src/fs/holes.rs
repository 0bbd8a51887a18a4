//! SEEK_DATA and SEEK_HOLE: whole blocks that are holes, found by the lower filesystem.

use crate::format::layout::{block_of, block_start, last_block, page_at, record_at, record_len};
use crate::format::record;
use crate::fs::content::View;
use crate::fs::file::{FileEnv, FileNode};
use crate::fs::{FsError, SeekTo};
use crate::units::{BlockNo, PlainOffset};

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
                (SeekTo::Data, true) => view.next_data(at),
                (SeekTo::Hole, true) => Ok(view.next_hole(at)?.min(size)),
            }
        })
    }
}

impl View<'_> {
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
