//! Structures of a volume's files: what parses leads back to its bytes, and every field is checked
//! behind a good authentication code too.

use super::example::{VOLUME, file_keys, volume_keys};
use super::words::Words;
use crate::crypto::{ContentCipher, MacKey, sha256};
use crate::format::envelope::Slot;
use crate::format::home::{HOME_LEN, HOME_OFFSET};
use crate::format::layout::{
    HEADER_LEN, PRELUDE_LEN, SLOT_LEN, is_legal, lower_len, payload_len, plain_len, record_len,
};
use crate::format::marker::MARKER_LEN;
use crate::format::state::STATE_LEN;
use crate::format::{
    DirMarker, FileHeader, Position, Prelude, SlotIndex, VolumeState, record, volume,
};
use crate::secret::Secret;
use crate::units::{BlockNo, LowerLen, PlainLen};

/// Law: a header that parses is made of the bytes that its parts encode to; its current slot is the
/// one of the highest sequence.
pub(super) fn file_header(data: &[u8]) {
    check_header(data);
    let mut repaired = data.to_vec();
    if repaired.len() < HEADER_LEN {
        return;
    }
    for at in [PRELUDE_LEN, PRELUDE_LEN + SLOT_LEN] {
        let slot = repaired.get_mut(at..at + SLOT_LEN).unwrap();
        let (body, tail) = slot.split_at_mut(SLOT_LEN - 40);
        let (checksum, tag) = tail.split_at_mut(8);
        checksum.copy_from_slice(sha256(&[body, tag]).get(..8).unwrap());
    }
    check_header(&repaired);
}

fn check_header(bytes: &[u8]) {
    let Ok(header) = FileHeader::parse(bytes) else { return };
    let mut again = header.prelude.encode();
    let at = usize::try_from(HOME_OFFSET.0).unwrap();
    again[at..at + HOME_LEN].copy_from_slice(&header.home.encode());
    assert_eq!(again.as_slice(), &bytes[..PRELUDE_LEN], "prelude and home");
    assert_eq!(Prelude::parse(bytes), Ok(header.prelude));
    let key = file_keys().header;
    let (current, envelope) = header.current();
    for index in [SlotIndex::A, SlotIndex::B] {
        let at = usize::try_from(index.offset().0).unwrap();
        let slot = &bytes[at..at + SLOT_LEN];
        let Slot::Valid { envelope: found, tag } = header.slot(index) else { continue };
        assert!(found.sequence <= envelope.sequence, "an older slot is current");
        let again = found.encode(&header.prelude, &key).unwrap();
        assert_eq!(&again[..SLOT_LEN - 40], &slot[..SLOT_LEN - 40], "envelope");
        let verified = found.verify(&header.prelude, &key, tag);
        assert_eq!(verified.is_ok(), slot[SLOT_LEN - 32..] == again[SLOT_LEN - 32..]);
        assert_eq!(header.with_slot(index, slot).as_ref(), Ok(&header));
    }
    assert!(matches!(header.slot(current), Slot::Valid { .. }));
}

/// Law: a record opens only to what seals to the very same bytes.
pub(super) fn record(data: &[u8]) {
    let mut words = Words::new(data);
    let block = BlockNo(match words.u8() {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        _ => words.u64(),
    });
    let fields: [u8; 8] = words.array();
    let rest = words.rest();
    let cipher = || {
        let keys = file_keys();
        ContentCipher::new(keys.content, *b"\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xdb")
    };
    let mut raw = rest.to_vec();
    let _short = record::open(&cipher(), block, &raw, &mut []);
    raw.resize(record_len(block), 0);
    let mut out = vec![0; payload_len(block)];
    let _any = record::open(&cipher(), block, &raw, &mut out);
    let _any = record::head(block, &raw);

    // The same fields and content under a good tag.
    let len = usize::from(u16::from_le_bytes([fields[0], fields[1]])).min(payload_len(block));
    let mut plain = rest.to_vec();
    plain.resize(len, 7);
    let mut made = vec![0; record_len(block)];
    let (mut nonce, mut tag, mut sealed) = ([0; 24], [0; 16], vec![0; len]);
    let aad = [block.0.to_le_bytes(), fields].concat();
    cipher().seal(b"fuzzed nonce", &aad, &plain, &mut nonce, &mut sealed, &mut tag);
    for (to, from) in made.iter_mut().zip(nonce.iter().chain(&tag).chain(&fields).chain(&sealed)) {
        *to = *from;
    }
    let padding = raw.last().copied().unwrap_or(0);
    if let Some(last) = made.last_mut().filter(|_| len < payload_len(block)) {
        *last = padding;
    }
    let Ok(head) = record::open(&cipher(), block, &made, &mut out) else {
        let is_canonical = fields[2..] == [1, 0, 0, 0, 0, 0]
            && usize::from(u16::from_le_bytes([fields[0], fields[1]])) == len
            && len > 0
            && (padding == 0 || len == payload_len(block));
        assert!(!is_canonical, "a good record does not open");
        return;
    };
    assert_eq!(out[..head.len], plain);
    let mut again = vec![0xee; record_len(block)];
    let is_possible = head.position == Position::Final || head.len == payload_len(block);
    assert!(is_possible, "a middle block that is not full");
    record::seal(&cipher(), block, &plain, head.position, b"fuzzed nonce", &mut again);
    assert!(again == made, "a record that seals to other bytes");
}

/// Law: a marker that parses is the one that its parts encode to.
pub(super) fn dir_marker(data: &[u8]) {
    let key = volume_keys().markers;
    for bytes in [data.to_vec(), with_code(data, MARKER_LEN, &key)] {
        if let Ok(marker) = DirMarker::parse(&bytes, VOLUME, &key) {
            assert_eq!(marker.encode(VOLUME, &key).as_slice(), bytes);
        }
    }
}

/// Law: a state that parses is the one that its parts encode to.
pub(super) fn volume_state(data: &[u8]) {
    let key = volume_keys().checkpoint;
    for bytes in [data.to_vec(), with_code(data, STATE_LEN, &key)] {
        if let Ok(state) = VolumeState::parse(&bytes, &key) {
            assert_eq!(state.encode(&key).as_slice(), bytes);
        }
    }
}

/// The bytes at that length, with a good code in the last 32.
fn with_code(data: &[u8], len: usize, key: &MacKey) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.resize(len, 0);
    let code = key.tag(&[&bytes[..len - 32]]);
    bytes[len - 32..].copy_from_slice(&code);
    bytes
}

/// Law: a configuration that is verified encodes to a text that parses to the same.
pub(super) fn volume_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let key = volume_keys().config;
    let Ok(read) = volume::parse(text) else { return };
    let seen = (read.volume(), read.suite(), read.kms().clone(), read.volume_key().clone());
    let covered = &text[..text.len() - 64 - "mac = \"".len() - "\"\n".len()];
    let code = crate::codec::hex(&key.tag(&[covered.as_bytes()]));
    let signed = volume::parse(&format!("{covered}mac = \"{code}\"\n")).unwrap();
    let config = signed.verify(&key).unwrap();
    assert_eq!(seen, (config.volume, config.suite, config.kms.clone(), config.volume_key.clone()));
    let again = volume::parse(&config.encode(&key)).unwrap().verify(&key);
    assert_eq!(again, Ok(config));
    let other = MacKey::new(Secret::fill_with(|out| *out = [1; 32]));
    assert!(read.verify(&other).is_err(), "a configuration under any key");
}

/// Law: the arithmetic of sizes neither overflows nor contradicts itself.
pub(super) fn layout(data: &[u8]) {
    use crate::format::layout::{block_count, block_of, block_start, last_block, len_in_block};
    let lower = LowerLen(Words::new(data).u64());
    let size = plain_len(lower);
    if is_legal(lower) && lower.0 > 0 && size.0 > 0 {
        assert_eq!(lower_len(size), lower);
    }
    let made = lower_len(size);
    assert!(is_legal(made) && plain_len(made) == size, "{lower:?}");
    let plain = PlainLen(lower.0 >> 1);
    assert_eq!(plain_len(lower_len(plain)), plain);
    let Some(last) = last_block(plain) else { return };
    assert_eq!(block_count(plain), last.0 + 1);
    assert!(len_in_block(plain, last) > 0);
    let (block, inside) = block_of(crate::units::PlainOffset(plain.0 - 1));
    assert_eq!(block, last);
    assert_eq!(block_start(block).0 + u64::try_from(inside).unwrap(), plain.0 - 1);
}
