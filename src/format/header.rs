//! The first [`HEADER_LEN`] bytes of a lower file: the prelude, which never changes, and two envelope
//! slots. docs/FORMAT.md, section 4. Reading and writing them in the right order is `fs`' business.

#![deny(clippy::indexing_slicing)]

use crate::codec::{OutOfBounds, Reader, Writer};
use crate::crypto::{MacKey, Suite};
use crate::format::error::check_reserved;
use crate::format::home::{HOME_LEN, HOME_OFFSET, Home};
use crate::format::layout::{HEADER_LEN, PAGE_LEN, PRELUDE_LEN, SLOT_LEN};
use crate::format::{Envelope, FileId, FormatError, VolumeId};

pub use crate::format::envelope::{Slot, SlotIndex};

/// First bytes of every lower file that has a header: a byte that is no text, the name, and a line
/// end that a transfer as text would change.
pub const MAGIC: [u8; 8] = [0x89, b'K', b'M', b'S', b'F', b'S', 0x0d, 0x0a];

/// The format version of file headers that this program writes, and the only one that it reads.
pub const VERSION: u16 = 1;

const PAGE_LEN_FIELD: u32 = 4096;
const HEADER_LEN_FIELD: u32 = 1536;

/// Where the home lies in the prelude.
const HOME_AT: usize = 64;

const _: () = assert!(PAGE_LEN == 4096 && HEADER_LEN == 1536);
const _: () = assert!(HOME_OFFSET.0 == 64 && HOME_AT + HOME_LEN <= PRELUDE_LEN);

/// What a file says of itself once and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prelude {
    /// The algorithms of its records.
    pub suite: Suite,
    /// Kept for a count of data keys; written 0, and any value is read.
    pub generation: u32,
    /// The volume that it belongs to.
    pub volume: VolumeId,
    /// Its identity: new with every data key.
    pub file: FileId,
}

impl Prelude {
    /// The bytes of the prelude, without a home: these are what the header tag covers.
    pub fn encode(&self) -> [u8; PRELUDE_LEN] {
        let mut out = [0; PRELUDE_LEN];
        let written = self.write(&mut Writer::new(&mut out));
        debug_assert_eq!(written, Ok(()));
        out
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), OutOfBounds> {
        writer.bytes(&MAGIC)?;
        writer.u16(VERSION)?;
        writer.u16(self.suite.number())?;
        writer.u32(PAGE_LEN_FIELD)?;
        writer.u32(HEADER_LEN_FIELD)?;
        writer.u32(self.generation)?;
        writer.bytes(self.volume.bytes())?;
        writer.bytes(self.file.bytes())
    }

    /// Reads a prelude from the first [`PRELUDE_LEN`] bytes.
    ///
    /// # Errors
    /// [`FormatError::BadMagic`], [`FormatError::UnknownVersion`], [`FormatError::UnknownSuite`],
    /// [`FormatError::BadGeometry`], [`FormatError::ReservedNotZero`] or
    /// [`FormatError::Truncated`], checked in this order.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes.get(..PRELUDE_LEN).ok_or(FormatError::Truncated)?);
        if reader.array()? != MAGIC {
            return Err(FormatError::BadMagic);
        }
        let version = reader.u16()?;
        if version != VERSION {
            return Err(FormatError::UnknownVersion { found: version });
        }
        let suite = reader.u16()?;
        let suite = Suite::from_number(suite).ok_or(FormatError::UnknownSuite { found: suite })?;
        if (reader.u32()?, reader.u32()?) != (PAGE_LEN_FIELD, HEADER_LEN_FIELD) {
            return Err(FormatError::BadGeometry);
        }
        let generation = reader.u32()?;
        let volume = VolumeId(reader.array()?);
        let file = FileId(reader.array()?);
        check_reserved(reader.bytes(8)?)?;
        reader.bytes(HOME_LEN)?;
        check_reserved(reader.rest())?;
        Ok(Self { suite, generation, volume, file })
    }
}

/// Prelude and slots as they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// What never changes.
    pub prelude: Prelude,
    /// Where the file belongs.
    pub home: Home,
    slots: [Slot; 2],
    current: (SlotIndex, Envelope),
}

impl FileHeader {
    /// Reads a header from the first [`HEADER_LEN`] bytes. Nothing is authenticated yet; see
    /// [`FileHeader::verify`].
    ///
    /// # Errors
    /// As [`Prelude::parse`] and [`Slot::parse`]; [`FormatError::TornSlots`] if no slot is valid.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes.get(..HEADER_LEN).ok_or(FormatError::Truncated)?);
        let (prelude, home) = parse_prelude(reader.bytes(PRELUDE_LEN)?)?;
        let slots = [Slot::parse(reader.bytes(SLOT_LEN)?)?, Slot::parse(reader.bytes(SLOT_LEN)?)?];
        Self::with_slots(prelude, home, slots)
    }

    fn with_slots(prelude: Prelude, home: Home, slots: [Slot; 2]) -> Result<Self, FormatError> {
        let [a, b] = &slots;
        let current = match (a.envelope(), b.envelope()) {
            (Some(a), Some(b)) if b.sequence > a.sequence => (SlotIndex::B, b),
            (Some(a), _) => (SlotIndex::A, a),
            (None, Some(b)) => (SlotIndex::B, b),
            (None, None) => return Err(FormatError::TornSlots),
        };
        let current = (current.0, current.1.clone());
        Ok(Self { prelude, home, slots, current })
    }

    /// The envelope with the highest valid sequence, and where it lies. Slot A if both are equal, as
    /// they are after a rewrap has scrubbed the older one.
    pub fn current(&self) -> (SlotIndex, &Envelope) {
        (self.current.0, &self.current.1)
    }

    /// What lies in a slot.
    pub fn slot(&self, index: SlotIndex) -> &Slot {
        let [a, b] = &self.slots;
        match index {
            SlotIndex::A => a,
            SlotIndex::B => b,
        }
    }

    /// The header after these bytes were written into a slot.
    ///
    /// # Errors
    /// As [`Slot::parse`].
    pub fn with_slot(&self, index: SlotIndex, slot: &[u8]) -> Result<Self, FormatError> {
        let slot = Slot::parse(slot)?;
        let [a, b] = self.slots.clone();
        let slots = match index {
            SlotIndex::A => [slot, b],
            SlotIndex::B => [a, slot],
        };
        Self::with_slots(self.prelude, self.home.clone(), slots)
    }

    /// Checks the header tag of the current envelope, and with it that `key` comes from the data key
    /// that this file was sealed under. No record may be opened before.
    ///
    /// # Errors
    /// [`FormatError::BadTag`] if it does not fit.
    pub fn verify(&self, key: &MacKey) -> Result<(), FormatError> {
        let (index, envelope) = self.current();
        match self.slot(index) {
            Slot::Valid { tag, .. } => envelope.verify(&self.prelude, key, tag),
            Slot::Empty | Slot::Torn => Err(FormatError::TornSlots),
        }
    }
}

/// Reads prelude and home from the first [`PRELUDE_LEN`] bytes.
///
/// # Errors
/// As [`Prelude::parse`] and [`Home::parse`].
pub fn parse_prelude(bytes: &[u8]) -> Result<(Prelude, Home), FormatError> {
    let prelude = Prelude::parse(bytes)?;
    Ok((prelude, Home::parse(bytes.get(HOME_AT..).ok_or(FormatError::Truncated)?)?))
}

/// The bytes of a new file's header: prelude with its home, envelope in slot A, slot B empty.
///
/// # Errors
/// As [`Envelope::encode`].
pub fn encode_new(
    prelude: &Prelude,
    home: &Home,
    envelope: &Envelope,
    key: &MacKey,
) -> Result<[u8; HEADER_LEN], FormatError> {
    let mut out = [0; HEADER_LEN];
    let mut writer = Writer::new(&mut out);
    let bytes = prelude.encode();
    let (head, rest) = bytes.split_at(HOME_AT);
    let (_, tail) = rest.split_at(HOME_LEN);
    writer.bytes(head)?;
    writer.bytes(&home.encode())?;
    writer.bytes(tail)?;
    writer.bytes(&envelope.encode(prelude, key)?)?;
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::crypto::{FileKeys, sha256};
    use crate::format::envelope::{ARN_LEN_MAX, WRAPPED_LEN_MAX};
    use crate::random::{SeededRandom, random_array};
    use crate::secret::Secret;
    use crate::units::LowerOffset;

    fn prelude() -> Prelude {
        Prelude {
            suite: Suite::Xaes256Gcm,
            generation: 7,
            volume: VolumeId([0xaa; 16]),
            file: FileId([0xbb; 16]),
        }
    }

    fn envelope(sequence: u64) -> Envelope {
        Envelope {
            sequence,
            sparse: false,
            policy: 3,
            key_arn: "arn:aws:kms:local:000000000000:key/1".to_owned(),
            material: Some([0xcc; 32]),
            wrapped: vec![0xdd; 100],
        }
    }

    fn key(fill: u8) -> MacKey {
        FileKeys::derive(&Secret::fill_with(|out| *out = [fill; 32]), &[0xbb; 16]).header
    }

    fn header() -> [u8; HEADER_LEN] {
        encode_new(&prelude(), &Home::None, &envelope(1), &key(1)).unwrap()
    }

    fn slot(envelope: &Envelope) -> [u8; SLOT_LEN] {
        envelope.encode(&prelude(), &key(1)).unwrap()
    }

    /// A slot with these bytes changed and a checksum that holds again.
    fn slot_with(at: usize, bytes: &[u8]) -> [u8; SLOT_LEN] {
        let mut slot = slot(&envelope(1));
        slot[at..at + bytes.len()].copy_from_slice(bytes);
        let checksum = sha256(&[&slot[..472], &slot[480..]]);
        slot[472..480].copy_from_slice(&checksum[..8]);
        slot
    }

    #[test]
    fn header_leads_back() {
        let read = FileHeader::parse(&header()).unwrap();
        assert_eq!(read.prelude, prelude());
        assert_eq!(read.current(), (SlotIndex::A, &envelope(1)));
        assert_eq!(read.slot(SlotIndex::B), &Slot::Empty);
        assert_eq!(read.verify(&key(1)), Ok(()));
        assert_eq!(read.verify(&key(2)), Err(FormatError::BadTag));
        for cut in [0, 511, 512, 1535] {
            assert_eq!(FileHeader::parse(&header()[..cut]), Err(FormatError::Truncated));
        }
    }

    /// docs/FORMAT.md, section 4.1: the offsets, by hand.
    #[test]
    fn prelude_fields_lie_where_the_text_says() {
        let bytes = prelude().encode();
        assert_eq!(&bytes[..8], b"\x89KMSFS\r\n");
        assert_eq!(&bytes[8..24], &[1, 0, 1, 0, 0, 16, 0, 0, 0, 6, 0, 0, 7, 0, 0, 0]);
        assert_eq!(&bytes[24..40], &[0xaa; 16]);
        assert_eq!(&bytes[40..56], &[0xbb; 16]);
        assert_eq!(&bytes[56..], &[0; 456]);
        assert_eq!(
            (SlotIndex::A.offset(), SlotIndex::B.offset()),
            (LowerOffset(512), LowerOffset(1024))
        );
    }

    #[test]
    fn each_way_for_a_prelude_to_be_wrong_has_its_error() {
        for (at, expected) in [
            (0, FormatError::BadMagic),
            (7, FormatError::BadMagic),
            (8, FormatError::UnknownVersion { found: 0 }),
            (10, FormatError::UnknownSuite { found: 0 }),
            (12, FormatError::BadGeometry),
            (17, FormatError::BadGeometry),
            (56, FormatError::ReservedNotZero),
            (63, FormatError::ReservedNotZero),
            (65, FormatError::BadHome),
            (100, FormatError::ReservedNotZero),
            (391, FormatError::BadHome),
            (392, FormatError::ReservedNotZero),
            (511, FormatError::ReservedNotZero),
        ] {
            let mut bytes = header();
            bytes[at] ^= 1;
            assert_eq!(FileHeader::parse(&bytes), Err(expected), "byte {at}");
        }
    }

    /// Law: whatever one interrupted slot write leaves, the other slot's envelope is current.
    #[test]
    fn a_torn_slot_leaves_the_other_one_current() {
        let old = header();
        let new = slot(&envelope(2));
        for cut in 0..=SLOT_LEN {
            let mut bytes = old;
            bytes[1024..1024 + cut].copy_from_slice(&new[..cut]);
            let read = FileHeader::parse(&bytes).unwrap();
            let expected = if cut == SLOT_LEN { SlotIndex::B } else { SlotIndex::A };
            assert_eq!(read.current().0, expected, "cut at {cut}");
            assert_eq!(read.verify(&key(1)), Ok(()));
        }
        let mut both = old;
        both[512] ^= 2;
        assert_eq!(FileHeader::parse(&both), Err(FormatError::TornSlots));
        both[512..1024].fill(0);
        assert_eq!(FileHeader::parse(&both), Err(FormatError::TornSlots));
    }

    #[test]
    fn highest_sequence_wins_and_slot_a_breaks_the_tie() {
        let read = FileHeader::parse(&header()).unwrap();
        let read = read.with_slot(SlotIndex::B, &slot(&envelope(2))).unwrap();
        assert_eq!(read.current(), (SlotIndex::B, &envelope(2)));
        let scrubbed = read.with_slot(SlotIndex::A, &slot(&envelope(2))).unwrap();
        assert_eq!(scrubbed.current(), (SlotIndex::A, &envelope(2)));
        let read = scrubbed.with_slot(SlotIndex::B, &slot(&envelope(u64::MAX))).unwrap();
        assert_eq!(read.current(), (SlotIndex::B, &envelope(u64::MAX)));
        assert_eq!(read.current().0.other(), SlotIndex::A);
    }

    /// Law: every bit of prelude and current slot is covered by the checksum, the header tag, or both.
    #[test]
    fn every_changed_byte_is_found() {
        for at in 0..1024 {
            let mut bytes = header();
            bytes[at] ^= 0x10;
            let verified = FileHeader::parse(&bytes).and_then(|read| read.verify(&key(1)));
            assert!(verified.is_err(), "byte {at}");
        }
    }

    /// A checksum can be made by anyone; the header tag cannot.
    #[test]
    fn a_changed_field_under_a_good_checksum_fails_the_header_tag() {
        for (at, bytes) in [(0, &[9][..]), (8, &[1]), (12, &[4]), (16, &[0; 32]), (208, b"x")] {
            let read = FileHeader::parse(&header()).unwrap();
            let read = read.with_slot(SlotIndex::A, &slot_with(at, bytes)).unwrap();
            assert_eq!(read.verify(&key(1)), Err(FormatError::BadTag), "byte {at}");
        }
    }

    #[test]
    fn each_way_for_an_envelope_to_be_wrong_has_its_error() {
        for (at, bytes, expected) in [
            (8, &[2][..], FormatError::ReservedNotZero),
            (11, &[0x80], FormatError::ReservedNotZero),
            (48, &[0, 0], FormatError::BadEnvelope),
            (48, &[153, 0], FormatError::BadEnvelope),
            (48, &[20, 0], FormatError::ReservedNotZero),
            (50, &[0, 0], FormatError::BadEnvelope),
            (50, &[1, 1], FormatError::BadEnvelope),
            (50, &[99, 0], FormatError::ReservedNotZero),
            (52, &[1], FormatError::ReservedNotZero),
            (56, &[0xff], FormatError::BadEnvelope),
            (207, &[1], FormatError::ReservedNotZero),
            (463, &[1], FormatError::ReservedNotZero),
            (464, &[1], FormatError::ReservedNotZero),
        ] {
            assert_eq!(Slot::parse(&slot_with(at, bytes)), Err(expected), "byte {at}");
        }
        assert_eq!(Slot::parse(&slot_with(0, &[0])), Ok(Slot::Torn));
        assert_eq!(Slot::parse(&[0; SLOT_LEN]), Ok(Slot::Empty));
        assert_eq!(Slot::parse(&[0; SLOT_LEN - 1]), Err(FormatError::Truncated));
    }

    #[test]
    fn envelopes_of_every_length_lead_back_and_longer_ones_are_refused() {
        let parsed = |envelope: &Envelope| Slot::parse(&slot(envelope)).unwrap();
        for arn_len in [1, 75, ARN_LEN_MAX] {
            for wrapped_len in [1, 184, WRAPPED_LEN_MAX] {
                for (material, sparse) in [(None, true), (Some([1; 32]), false)] {
                    let mut envelope = envelope(u64::MAX);
                    envelope.key_arn = "a".repeat(arn_len);
                    envelope.wrapped = vec![0; wrapped_len];
                    (envelope.material, envelope.sparse) = (material, sparse);
                    assert_eq!(parsed(&envelope).envelope(), Some(&envelope));
                }
            }
        }
        let refused = |change: &dyn Fn(&mut Envelope)| {
            let mut envelope = envelope(1);
            change(&mut envelope);
            envelope.encode(&prelude(), &key(1)).unwrap_err()
        };
        assert_eq!(
            refused(&|e| e.key_arn = "a".repeat(153)),
            FormatError::TooLong { what: "key arn", len: 153 }
        );
        assert_eq!(
            refused(&|e| e.wrapped = vec![0; 257]),
            FormatError::TooLong { what: "wrapped data key", len: 257 }
        );
        assert_eq!(refused(&|e| e.sequence = 0), FormatError::BadEnvelope);
        assert_eq!(refused(&|e| e.wrapped.clear()), FormatError::BadEnvelope);
    }

    /// Law: no bytes make the parser panic, and what it accepts is canonical.
    #[test]
    fn random_bytes_are_refused_or_canonical() {
        let random = SeededRandom::new(21);
        for _ in 0..5000 {
            let mut bytes = header();
            let [at, fill, len, _]: [u8; 4] = random_array(&random);
            let at = usize::from(at) * 6;
            let end = (at + usize::from(len % 8)).min(HEADER_LEN);
            bytes[at..end].fill(fill);
            if let Ok(read) = FileHeader::parse(&bytes) {
                assert_eq!(&read.prelude.encode()[..], &bytes[..512]);
                let (index, envelope) = read.current();
                if read.verify(&key(1)).is_ok() {
                    let at = usize::try_from(index.offset().0).unwrap();
                    let again = envelope.encode(&read.prelude, &key(1)).unwrap();
                    assert_eq!(&again[..], &bytes[at..at + SLOT_LEN]);
                }
            }
        }
    }
}
