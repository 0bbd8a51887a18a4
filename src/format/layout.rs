//! Arithmetic of offsets and sizes between a plaintext file and its lower file.
//!
//! Pure: no I/O, no keys; the only module that multiplies by a block size. docs/FORMAT.md, section 2.

#![deny(clippy::indexing_slicing)]

use crate::units::{BlockNo, LowerLen, LowerOffset, PlainLen, PlainOffset};

/// Bytes of a page of the lower file: what the disk writes whole or not at all.
pub const PAGE_LEN: usize = 4096;
/// Bytes of prelude and both envelope slots together.
pub const HEADER_LEN: usize = 1536;
/// Bytes of the prelude.
pub const PRELUDE_LEN: usize = 512;
/// Bytes of one envelope slot: a disk sector, so that one slot is torn at most.
pub const SLOT_LEN: usize = 512;
/// Bytes of a record in front of its ciphertext.
pub const RECORD_HEAD_LEN: usize = 48;
/// Plaintext bytes of block 0, which shares its page with the header.
pub const PAYLOAD_FIRST: usize = 2512;
/// Plaintext bytes of every later block.
pub const PAYLOAD: usize = 4048;

/// Largest plaintext file in bytes: the largest whose lower length still fits `off_t` (`i64`).
pub const PLAIN_LEN_MAX: PlainLen = PlainLen(FIRST + (BLOCK_COUNT_MAX - 1) * LATER);

const PAGE: u64 = 4096;
const FIRST: u64 = 2512;
const LATER: u64 = 4048;
const BLOCK_COUNT_MAX: u64 = (1 << 51) - 1;

const _: () = {
    assert!(PRELUDE_LEN + 2 * SLOT_LEN == HEADER_LEN);
    assert!(HEADER_LEN + RECORD_HEAD_LEN + PAYLOAD_FIRST == PAGE_LEN);
    assert!(RECORD_HEAD_LEN + PAYLOAD == PAGE_LEN);
};

/// Plaintext bytes that a block holds at most.
pub fn payload_len(block: BlockNo) -> usize {
    if block.0 == 0 { PAYLOAD_FIRST } else { PAYLOAD }
}

/// Bytes of a block's record in the lower file.
pub fn record_len(block: BlockNo) -> usize {
    if block.0 == 0 { PAGE_LEN - HEADER_LEN } else { PAGE_LEN }
}

/// Where a block's record begins in the lower file.
pub fn record_at(block: BlockNo) -> LowerOffset {
    if block.0 == 0 { LowerOffset(1536) } else { page_at(block) }
}

/// Where the page of a block's record begins in the lower file.
pub fn page_at(block: BlockNo) -> LowerOffset {
    LowerOffset(block.0.saturating_mul(PAGE))
}

/// Where a block begins in the plaintext file.
pub fn block_start(block: BlockNo) -> PlainOffset {
    match block.0.checked_sub(1) {
        None => PlainOffset(0),
        Some(later) => PlainOffset(later.saturating_mul(LATER).saturating_add(FIRST)),
    }
}

/// The block that holds a position, and the position's offset inside it.
pub fn block_of(at: PlainOffset) -> (BlockNo, usize) {
    let (block, inside) = match at.0.checked_sub(FIRST) {
        None => (0, at.0),
        Some(later) => (1 + later / LATER, later % LATER),
    };
    (BlockNo(block), usize::try_from(inside).unwrap_or(0))
}

/// Number of blocks of a plaintext file.
pub fn block_count(size: PlainLen) -> u64 {
    last_block(size).map_or(0, |last| last.0 + 1)
}

/// The last block of a plaintext file; `None` if it is empty.
pub fn last_block(size: PlainLen) -> Option<BlockNo> {
    let last = size.0.checked_sub(1)?;
    Some(block_of(PlainOffset(last)).0)
}

/// Plaintext bytes in a block of a file of this size; 0 behind its end.
pub fn len_in_block(size: PlainLen, block: BlockNo) -> usize {
    let left = size.0.saturating_sub(block_start(block).0);
    usize::try_from(left).unwrap_or(usize::MAX).min(payload_len(block))
}

/// Size of the plaintext file behind a lower file of this length.
///
/// Total: what no write of ours leaves behind reads as the largest legal size below it.
pub fn plain_len(lower: LowerLen) -> PlainLen {
    let (pages, tail) = (lower.0 / PAGE, lower.0 % PAGE);
    PlainLen(match pages {
        0 => 0,
        1 => tail.min(FIRST),
        _ => FIRST + (pages - 2) * LATER + tail.min(LATER),
    })
}

/// Length of the lower file behind a plaintext file of this size; 0 for an empty one.
///
/// An empty file that keeps its header is [`PAGE_LEN`] long instead. Sizes over [`PLAIN_LEN_MAX`]
/// give lengths that no file can have; check before.
pub fn lower_len(size: PlainLen) -> LowerLen {
    let Some(last) = last_block(size) else {
        return LowerLen(0);
    };
    let tail = size.0 - block_start(last).0;
    LowerLen((last.0 + 1).saturating_mul(PAGE).saturating_add(tail))
}

/// Whether our own writing leaves lower files of this length behind.
pub fn is_legal(lower: LowerLen) -> bool {
    lower.0 == PAGE || lower_len(plain_len(lower)) == lower
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::random::{SeededRandom, random_array};

    fn sizes() -> impl Iterator<Item = u64> {
        let random = SeededRandom::new(11);
        let wild = (0..20_000).map(move |n| {
            let any = u64::from_le_bytes(random_array(&random));
            (any >> (n % 64)).min(PLAIN_LEN_MAX.0)
        });
        (0..20_000).chain(wild).chain([PLAIN_LEN_MAX.0 - 1, PLAIN_LEN_MAX.0])
    }

    /// Law: plain_len(lower_len(n)) == n for every n up to the largest file.
    #[test]
    fn plain_len_inverts_lower_len() {
        for size in sizes().map(PlainLen) {
            assert_eq!(plain_len(lower_len(size)), size);
            assert!(is_legal(lower_len(size)), "{size}");
        }
    }

    /// Law: block_start and block_of agree, and the blocks of a file cover it exactly.
    #[test]
    fn blocks_cover_the_file() {
        for at in sizes() {
            let (block, inside) = block_of(PlainOffset(at));
            assert!(inside < payload_len(block));
            assert_eq!(block_start(block).0 + u64::try_from(inside).unwrap(), at);
            assert_eq!(block_of(block_start(block)), (block, 0));
            let size = PlainLen(at);
            assert_eq!(block_count(size), last_block(size).map_or(0, |b| b.0 + 1));
            if let Some(last) = last_block(size) {
                let covered =
                    block_start(last).0 + u64::try_from(len_in_block(size, last)).unwrap();
                assert_eq!(covered, at);
                assert_eq!(lower_len(size).0 / 4096, block_count(size));
            }
            assert_eq!(len_in_block(size, BlockNo(block_count(size))), 0);
        }
    }

    /// docs/FORMAT.md, section 2, the table of examples.
    #[test]
    fn sizes_by_hand() {
        for (size, lower) in [
            (0, 0),
            (1, 4097),
            (2512, 6608),
            (2513, 8193),
            (5000, 10680),
            (6560, 12240),
            (6561, 12289),
            (1 << 20, 1_066_640),
        ] {
            assert_eq!(lower_len(PlainLen(size)), LowerLen(lower), "size {size}");
        }
    }

    #[test]
    fn lengths_that_no_write_leaves_read_as_the_size_below() {
        for (lower, size) in
            [(1, 0), (4095, 0), (4096, 0), (6609, 2512), (8191, 2512), (8192, 2512), (12288, 6560)]
        {
            assert_eq!(plain_len(LowerLen(lower)), PlainLen(size), "length {lower}");
            assert_eq!(is_legal(LowerLen(lower)), lower == 4096, "length {lower}");
        }
        assert_eq!(plain_len(LowerLen(8192 + 4050)), PlainLen(6560));
        assert!(!is_legal(LowerLen(8192 + 4050)));
    }

    /// Law: no input overflows, and a longer lower file is never a shorter plaintext file.
    #[test]
    fn plain_len_is_total_and_rises() {
        assert!(plain_len(LowerLen(u64::MAX)) > PLAIN_LEN_MAX);
        let _ = lower_len(PlainLen(u64::MAX));
        let _ = record_at(BlockNo(u64::MAX));
        let _ = block_start(BlockNo(u64::MAX));
        let _ = block_of(PlainOffset(u64::MAX));
        let mut before = PlainLen(0);
        for lower in 0..40_000 {
            let size = plain_len(LowerLen(lower));
            assert!(size >= before);
            before = size;
        }
    }

    #[test]
    fn largest_file_fits_off_t_and_one_byte_more_does_not() {
        let limit = u64::try_from(i64::MAX).unwrap();
        assert!(lower_len(PLAIN_LEN_MAX).0 <= limit);
        assert!(lower_len(PlainLen(PLAIN_LEN_MAX.0 + 1)).0 > limit);
    }

    #[test]
    fn records_lie_in_aligned_pages() {
        assert_eq!(record_at(BlockNo(0)), LowerOffset(1536));
        assert_eq!(record_at(BlockNo(3)), LowerOffset(3 * 4096));
        assert_eq!(page_at(BlockNo(0)), LowerOffset(0));
        for block in [BlockNo(0), BlockNo(1)] {
            assert_eq!(payload_len(block) + RECORD_HEAD_LEN, record_len(block));
        }
    }
}
