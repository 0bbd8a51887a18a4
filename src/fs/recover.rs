//! Mending of one file after an unclean stop.
//!
//! What was fsynced is complete on disk, so nothing of it is touched. What was not synced is brought
//! to a state that the file really had, or to a prefix of it: see docs/FORMAT.md, "Recovery".

use crate::format::layout::{
    PAGE_LEN, PAYLOAD, block_start, lower_len, page_at, payload_len, record_at, record_len,
};
use crate::format::record::{self, Position};
use crate::fs::content::{u64_of, usize_of};
use crate::fs::data_keys::DataKeys;
use crate::fs::header_io::{HeaderState, OpenKeys, keeping_marks};
use crate::fs::resize::cut;
use crate::fs::{CorruptPart, FsError};
use crate::lower::LowerFile;
use crate::random::random_array;
use crate::units::{BlockNo, LowerLen, LowerOffset, PlainLen};

/// What recovery found in a file, and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Lower length before, if it was changed.
    pub length_from: Option<u64>,
    /// The last record was sealed anew.
    pub tail_sealed: bool,
    /// The file was marked SPARSE because pages in its middle never reached the disk.
    pub marked_sparse: bool,
    /// Blocks that do not open; left as they are.
    pub corrupt_blocks: u64,
}

impl Mended {
    /// Whether anything was changed.
    pub fn is_changed(&self) -> bool {
        self.length_from.is_some() || self.tail_sealed || self.marked_sparse
    }
}

/// What lies in a page.
pub(super) enum Found {
    Hole,
    Record { len: usize, position: Position },
    Corrupt,
}

/// Mends one file. Crash-safe: run again, it comes to the same end.
///
/// # Errors
/// `FsError::Key` if the file cannot be opened now; `FsError::Corrupt` if its header is wrong.
pub fn mend(file: &dyn LowerFile, data_keys: &DataKeys) -> Result<Mended, FsError> {
    // Mending adds nothing to what was written, and when.
    keeping_marks(file, || mend_content(file, data_keys))
}

fn mend_content(file: &dyn LowerFile, data_keys: &DataKeys) -> Result<Mended, FsError> {
    let lower = file.len()?.0;
    if lower == 0 {
        return Ok(Mended::default());
    }
    let page_len = u64_of(PAGE_LEN);
    if is_header_missing(file)? {
        // The header never reached the disk, so nothing of this content was ever synced.
        file.set_len(LowerLen(0))?;
        return Ok(Mended { length_from: Some(lower), ..Mended::default() });
    }
    let (mut header, keys) = HeaderState::load(file, data_keys)?;
    let keys = OpenKeys::new(keys, data_keys.random());
    let mut mended = Mended::default();

    let scan = Scan::of(file, &keys, lower)?;
    mended.corrupt_blocks = scan.corrupt_blocks;
    let size = scan.size(lower);
    let wanted = match size.0 {
        0 => page_len,
        _ => lower_len(size).0,
    };
    if scan.holes_below(size) && !header.envelope.sparse {
        let mut envelope = header.envelope.clone();
        envelope.sparse = true;
        header.replace(file, &keys.mac, envelope)?;
        mended.marked_sparse = true;
    }
    if wanted != lower {
        match size.0 {
            0 => file.set_len(LowerLen(page_len))?,
            _ => cut(file, size)?,
        }
        mended.length_from = Some(lower);
    }
    mended.tail_sealed = seal_tail(file, &keys, data_keys, size)?;
    Ok(mended)
}

/// Whether the header of a lower file never reached the disk, if it was ever written.
///
/// # Errors
/// `FsError::Lower`.
pub(super) fn is_header_missing(file: &dyn LowerFile) -> Result<bool, FsError> {
    let mut first_page = [0; PAGE_LEN];
    let got = file.read_at(LowerOffset(0), &mut first_page)?;
    Ok(got < PAGE_LEN || record::is_hole(&first_page))
}

/// What the pages of a file hold.
#[derive(Debug, Default)]
struct Scan {
    /// The first record with FINAL: the file ended there at some moment.
    end: Option<(BlockNo, usize)>,
    /// The last record of any kind.
    last: Option<(BlockNo, usize)>,
    /// The first hole.
    first_hole: Option<BlockNo>,
    corrupt_blocks: u64,
}

impl Scan {
    fn of(file: &dyn LowerFile, keys: &OpenKeys, lower: u64) -> Result<Self, FsError> {
        let page_len = u64_of(PAGE_LEN);
        let count = lower / page_len;
        let mut scan = Self::default();
        let mut no = 0;
        while no < count {
            let block = BlockNo(no);
            // A run of holes is stepped over in one call.
            match file.next_data(page_at(block))? {
                Some(data) if data.0 / page_len > no => {
                    scan.first_hole.get_or_insert(block);
                    no = (data.0 / page_len).min(count);
                    continue;
                }
                Some(_) => {}
                None => {
                    scan.first_hole.get_or_insert(block);
                    break;
                }
            }
            match look(file, keys, block)? {
                Found::Hole => {
                    scan.first_hole.get_or_insert(block);
                }
                Found::Record { len, position } => {
                    scan.last = Some((block, len));
                    if position == Position::Final {
                        scan.end = Some((block, len));
                        break;
                    }
                }
                Found::Corrupt => {
                    scan.corrupt_blocks += 1;
                    scan.last = Some((block, payload_len(block)));
                }
            }
            no += 1;
        }
        Ok(scan)
    }

    /// The plaintext length that the records bear out. Where the length shows less of the last
    /// record than it holds, the length counts: it was cut, or not yet grown.
    fn size(&self, lower: u64) -> PlainLen {
        let page_len = u64_of(PAGE_LEN);
        let (count, shown) = (lower / page_len, lower % page_len);
        let Some((block, len)) = self.end.or(self.last) else {
            return PlainLen(0);
        };
        let is_last_page = block.0 + 1 == count;
        let held = u64_of(len);
        let len = if is_last_page && shown > 0 { held.min(shown) } else { held };
        PlainLen(block_start(block).0 + len)
    }

    fn holes_below(&self, size: PlainLen) -> bool {
        self.first_hole.is_some_and(|hole| block_start(hole).0 < size.0)
    }
}

pub(super) fn look(
    file: &dyn LowerFile,
    keys: &OpenKeys,
    block: BlockNo,
) -> Result<Found, FsError> {
    let mut page = [0; PAGE_LEN];
    let page = page.get_mut(..record_len(block)).unwrap_or_default();
    let len = file.read_at(record_at(block), page)?;
    if len < page.len() {
        return Ok(Found::Corrupt);
    }
    if record::is_hole(page) {
        return Ok(Found::Hole);
    }
    let mut plain = [0; PAYLOAD];
    Ok(match record::open(&keys.cipher, block, page, &mut plain) {
        Ok(head) => Found::Record { len: head.len, position: head.position },
        Err(_) => Found::Corrupt,
    })
}

/// Seals the last record with FINAL and the right length, if it is not so already.
fn seal_tail(
    file: &dyn LowerFile,
    keys: &OpenKeys,
    data_keys: &DataKeys,
    size: PlainLen,
) -> Result<bool, FsError> {
    let block = crate::format::layout::last_block(size).unwrap_or(BlockNo(0));
    let wanted = usize_of(size.0 - block_start(block).0)?;
    let mut page = [0; PAGE_LEN];
    let page = page.get_mut(..record_len(block)).unwrap_or_default();
    let got = file.read_at(record_at(block), page)?;
    let mut plain = [0; PAYLOAD];
    if got == page.len() && !record::is_hole(page) {
        match record::open(&keys.cipher, block, page, &mut plain) {
            Ok(head) if head.len == wanted && head.position == Position::Final => return Ok(false),
            Ok(_) => {}
            // A block that does not open is not covered up.
            Err(_) if size.0 > 0 => return Err(FsError::Corrupt(CorruptPart::Block(block))),
            Err(_) => {}
        }
    }
    let n2 = random_array(data_keys.random());
    let kept = plain.get(..wanted).unwrap_or_default();
    record::seal(&keys.cipher, block, kept, Position::Final, &n2, page);
    file.write_at(record_at(block), page)?;
    Ok(true)
}
