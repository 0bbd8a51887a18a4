//! One sealed block: `nonce 24 | tag 16 | len 2 | flags 2 | reserved 4 | ciphertext | zeros`.
//!
//! A record does not depend on the length of its file, and it fills whole sectors of one page, so a
//! write of it is old or new. docs/FORMAT.md, section 3. Where it lies is `layout`'s business, what a
//! hole means is the reader's.

#![deny(clippy::indexing_slicing)]

use crate::crypto::ContentCipher;
use crate::format::FormatError;
use crate::format::layout::{RECORD_HEAD_LEN, payload_len, record_len};
use crate::units::BlockNo;

/// Whether a block is the last one of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Another block follows.
    Middle,
    /// The last block.
    Final,
}

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Plaintext bytes in it. 0 only in block 0 of an empty file that has a header.
    pub len: usize,
    /// Whether it ends the file.
    pub position: Position,
}

/// Bit 0 of a record's flags.
const FLAG_FINAL: u16 = 1;

/// Seals a block into its record, every byte of it.
///
/// `record` has [`record_len`] bytes; `plain` has [`payload_len`], or fewer in the last block; `n2`
/// is random for every call. A caller that breaks this gets no record: the process ends (see `crypto`), since a block
/// that was not written is data lost in silence.
pub fn seal(
    cipher: &ContentCipher,
    block: BlockNo,
    plain: &[u8],
    position: Position,
    n2: &[u8; 12],
    record: &mut [u8],
) {
    debug_assert_eq!(record.len(), record_len(block), "record of block {block}");
    debug_assert!(is_possible(block, plain.len(), position), "plaintext of block {block}");
    let fields = fields(plain.len(), position);
    let Some(parts) = split_mut(record, plain.len()) else { std::process::abort() };
    parts.fields.copy_from_slice(&fields);
    parts.padding.fill(0);
    cipher.seal(n2, &aad(block, &fields), plain, parts.nonce, parts.ciphertext, parts.tag);
}

/// What a record says of itself, not authenticated.
///
/// # Errors
/// [`FormatError::Truncated`], [`FormatError::ReservedNotZero`], or [`FormatError::BadRecord`] if
/// the record cannot be one of this block. A hole is no record.
pub fn head(block: BlockNo, record: &[u8]) -> Result<RecordHead, FormatError> {
    if record.len() != record_len(block) {
        return Err(FormatError::Truncated);
    }
    let (_, _, fields) = split_head(record).ok_or(FormatError::Truncated)?;
    parse_fields(block, fields)
}

/// Opens a record into the first bytes of `out` and says what it is.
///
/// # Errors
/// As [`head`]; [`FormatError::BadTag`] if authentication fails, [`FormatError::BadRecord`] if bytes
/// behind the ciphertext are not zero, [`FormatError::TooLong`] if `out` is shorter than the
/// block's plaintext. `out` is worthless then.
pub fn open(
    cipher: &ContentCipher,
    block: BlockNo,
    record: &[u8],
    out: &mut [u8],
) -> Result<RecordHead, FormatError> {
    if record.len() != record_len(block) {
        return Err(FormatError::Truncated);
    }
    let (nonce, tag, fields) = split_head(record).ok_or(FormatError::Truncated)?;
    let head = parse_fields(block, fields)?;
    let body = record.get(RECORD_HEAD_LEN..).ok_or(FormatError::Truncated)?;
    let (ciphertext, padding) = body.split_at_checked(head.len).ok_or(FormatError::BadRecord)?;
    let plain =
        out.get_mut(..head.len).ok_or(FormatError::TooLong { what: "block", len: head.len })?;
    cipher.open(nonce, &aad(block, fields), ciphertext, tag, plain)?;
    if is_hole(padding) { Ok(head) } else { Err(FormatError::BadRecord) }
}

/// Whether all bytes are zero. Stops at the first that is not.
pub fn is_hole(record: &[u8]) -> bool {
    match record.split_first() {
        None => true,
        // Equal to itself shifted by one byte, and the first is zero: one pass of the fast memcmp.
        Some((first, rest)) => *first == 0 && record.starts_with(rest),
    }
}

struct Parts<'a> {
    nonce: &'a mut [u8; 24],
    tag: &'a mut [u8; 16],
    fields: &'a mut [u8; 8],
    ciphertext: &'a mut [u8],
    padding: &'a mut [u8],
}

fn split_mut(record: &mut [u8], len: usize) -> Option<Parts<'_>> {
    let (nonce, rest) = record.split_first_chunk_mut()?;
    let (tag, rest) = rest.split_first_chunk_mut()?;
    let (fields, rest) = rest.split_first_chunk_mut()?;
    let (ciphertext, padding) = rest.split_at_mut_checked(len)?;
    Some(Parts { nonce, tag, fields, ciphertext, padding })
}

fn split_head(record: &[u8]) -> Option<(&[u8; 24], &[u8; 16], &[u8; 8])> {
    let (nonce, rest) = record.split_first_chunk()?;
    let (tag, rest) = rest.split_first_chunk()?;
    Some((nonce, tag, rest.first_chunk()?))
}

fn fields(len: usize, position: Position) -> [u8; 8] {
    let [len_low, len_high] = u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes();
    let flags = match position {
        Position::Middle => 0,
        Position::Final => FLAG_FINAL,
    };
    let [flags_low, flags_high] = flags.to_le_bytes();
    [len_low, len_high, flags_low, flags_high, 0, 0, 0, 0]
}

fn parse_fields(block: BlockNo, fields: &[u8; 8]) -> Result<RecordHead, FormatError> {
    let [len_low, len_high, flags_low, flags_high, reserved @ ..] = *fields;
    let len = usize::from(u16::from_le_bytes([len_low, len_high]));
    let flags = u16::from_le_bytes([flags_low, flags_high]);
    if reserved != [0; 4] || flags & !FLAG_FINAL != 0 {
        return Err(FormatError::ReservedNotZero);
    }
    let position = if flags == FLAG_FINAL { Position::Final } else { Position::Middle };
    if is_possible(block, len, position) {
        Ok(RecordHead { len, position })
    } else {
        Err(FormatError::BadRecord)
    }
}

/// A block that another one follows is full, and only an empty file has an empty block.
fn is_possible(block: BlockNo, len: usize, position: Position) -> bool {
    match position {
        Position::Middle => len == payload_len(block),
        Position::Final => len <= payload_len(block) && (len > 0 || block.0 == 0),
    }
}

/// Block number and fields: a record opens only where it was written, with what it says of itself.
fn aad(block: BlockNo, fields: &[u8; 8]) -> [u8; 16] {
    let mut aad = [0; 16];
    for (to, from) in aad.iter_mut().zip(block.0.to_le_bytes().iter().chain(fields)) {
        *to = *from;
    }
    aad
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::random::{Random, SeededRandom, random_array};
    use crate::secret::Secret;

    fn cipher() -> ContentCipher {
        ContentCipher::new(Secret::fill_with(|out| *out = [3; 32]), [4; 12])
    }

    fn sealed(block: BlockNo, plain: &[u8], position: Position) -> Vec<u8> {
        let mut record = vec![0xee; record_len(block)];
        seal(&cipher(), block, plain, position, &[5; 12], &mut record);
        record
    }

    fn opened(block: BlockNo, record: &[u8]) -> Result<(RecordHead, Vec<u8>), FormatError> {
        let mut out = vec![0; payload_len(block)];
        let head = open(&cipher(), block, record, &mut out)?;
        out.truncate(head.len);
        Ok((head, out))
    }

    #[test]
    fn what_was_sealed_opens_at_every_length() {
        let random = SeededRandom::new(6);
        let mut plain = vec![0; 4048];
        random.fill(&mut plain);
        for block in [BlockNo(0), BlockNo(1), BlockNo(u64::MAX)] {
            for len in (1..payload_len(block)).step_by(61).chain([payload_len(block)]) {
                let middle = (len == payload_len(block)).then_some(Position::Middle);
                for position in middle.into_iter().chain([Position::Final]) {
                    let record = sealed(block, &plain[..len], position);
                    let expected = RecordHead { len, position };
                    assert_eq!(head(block, &record), Ok(expected));
                    assert_eq!(opened(block, &record), Ok((expected, plain[..len].to_vec())));
                    assert!(is_hole(&record[RECORD_HEAD_LEN + len..]));
                }
            }
        }
    }

    #[test]
    fn an_empty_file_with_a_header_has_an_empty_final_block_0_and_nothing_else_is_empty() {
        let record = sealed(BlockNo(0), b"", Position::Final);
        let expected = RecordHead { len: 0, position: Position::Final };
        assert_eq!(opened(BlockNo(0), &record), Ok((expected, Vec::new())));
    }

    #[test]
    fn an_empty_block_elsewhere_and_a_short_one_before_the_end_are_refused() {
        for (block, len, flags, is_good) in [
            (0, 0, 1, true),
            (0, 0, 0, false),
            (1, 0, 1, false),
            (0, 2511, 0, false),
            (0, 2512, 0, true),
            (1, 4047, 0, false),
            (1, 4048, 0, true),
            (1, 1, 1, true),
        ] {
            let mut record = sealed(BlockNo(block), b"x", Position::Final);
            record[40..42].copy_from_slice(&u16::to_le_bytes(len));
            record[42] = flags;
            let read = head(BlockNo(block), &record);
            assert_eq!(read.is_ok(), is_good, "block {block} of {len} bytes, flags {flags}");
            if !is_good {
                assert_eq!(read, Err(FormatError::BadRecord));
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let record = sealed(BlockNo(1), &[7; 1000], Position::Final);
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 1;
            let error = opened(BlockNo(1), &changed).unwrap_err();
            let expected = match at {
                44..48 => FormatError::ReservedNotZero,
                43 => FormatError::ReservedNotZero,
                // No longer FINAL, and not full.
                42 => FormatError::BadRecord,
                1048.. => FormatError::BadRecord,
                _ => FormatError::BadTag,
            };
            assert_eq!(error, expected, "byte {at}");
        }
    }

    #[test]
    fn a_record_opens_only_in_its_own_place() {
        let record = sealed(BlockNo(1), b"text", Position::Final);
        assert_eq!(opened(BlockNo(2), &record), Err(FormatError::BadTag));
        assert_eq!(opened(BlockNo(0), &record), Err(FormatError::Truncated));
        assert_eq!(opened(BlockNo(1), &record[..4095]), Err(FormatError::Truncated));
        let mut short = [0; 3];
        assert_eq!(
            open(&cipher(), BlockNo(1), &record, &mut short),
            Err(FormatError::TooLong { what: "block", len: 4 })
        );
    }

    #[test]
    fn lengths_over_the_payload_are_refused() {
        let mut record = sealed(BlockNo(0), &[1; 2512], Position::Final);
        record[40..42].copy_from_slice(&2513u16.to_le_bytes());
        assert_eq!(opened(BlockNo(0), &record), Err(FormatError::BadRecord));
        record[40..42].copy_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(head(BlockNo(0), &record), Err(FormatError::BadRecord));
    }

    #[test]
    fn a_hole_is_all_zero_and_no_record() {
        let mut page = vec![0; 4096];
        assert!(is_hole(&page));
        assert!(is_hole(&[]));
        assert_eq!(head(BlockNo(1), &page), Err(FormatError::BadRecord));
        assert_eq!(head(BlockNo(0), &page[..2560]), Err(FormatError::BadRecord));
        for at in [0, 1, 2047, 4094, 4095] {
            page[at] = 1;
            assert!(!is_hole(&page), "byte {at}");
            page[at] = 0;
        }
    }

    #[test]
    fn random_bytes_never_open() {
        let random = SeededRandom::new(7);
        for _ in 0..2000 {
            let record: [u8; 4096] = random_array(&random);
            assert!(opened(BlockNo(1), &record).is_err());
        }
    }
}
