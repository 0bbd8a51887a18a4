//! The first [`HEADER_LEN`] bytes of a lower file: the prelude, which never changes, and two envelope
//! slots. docs/FORMAT.md, section 4. Reading and writing them in the right order is `fs`' business.

#![deny(clippy::indexing_slicing)]

use crate::codec::{OutOfBounds, Reader, Writer};
use crate::crypto::{MacKey, Suite};
use crate::format::error::check_reserved;
use crate::format::layout::{HEADER_LEN, PAGE_LEN, PRELUDE_LEN, SLOT_LEN};
use crate::format::{Envelope, FileId, FormatError, Slot, SlotIndex, VolumeId};

/// First bytes of every lower file that has a header: a byte that is no text, the name, and a line
/// end that a transfer as text would change.
pub const MAGIC: [u8; 8] = [0x89, b'K', b'M', b'S', b'F', b'S', 0x0d, 0x0a];

/// The format version of file headers that this program writes, and the only one that it reads.
pub const VERSION: u16 = 1;

const PAGE_LEN_FIELD: u32 = 4096;
const HEADER_LEN_FIELD: u32 = 1536;

const _: () = assert!(PAGE_LEN == 4096 && HEADER_LEN == 1536);

/// What a file says of itself once and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prelude {
    /// The algorithms of its records.
    pub suite: Suite,
    /// Counts the data keys that this lower file has had. Informative.
    pub generation: u32,
    /// The volume that it belongs to.
    pub volume: VolumeId,
    /// Its identity: new with every data key.
    pub file: FileId,
}

impl Prelude {
    /// The bytes of the prelude.
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
        check_reserved(reader.rest())?;
        Ok(Self { suite, generation, volume, file })
    }
}

/// Prelude and slots as they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// What never changes.
    pub prelude: Prelude,
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
        let prelude = Prelude::parse(reader.bytes(PRELUDE_LEN)?)?;
        let slots = [Slot::parse(reader.bytes(SLOT_LEN)?)?, Slot::parse(reader.bytes(SLOT_LEN)?)?];
        Self::with_slots(prelude, slots)
    }

    fn with_slots(prelude: Prelude, slots: [Slot; 2]) -> Result<Self, FormatError> {
        let [a, b] = &slots;
        let current = match (a.envelope(), b.envelope()) {
            (Some(a), Some(b)) if b.sequence > a.sequence => (SlotIndex::B, b),
            (Some(a), _) => (SlotIndex::A, a),
            (None, Some(b)) => (SlotIndex::B, b),
            (None, None) => return Err(FormatError::TornSlots),
        };
        let current = (current.0, current.1.clone());
        Ok(Self { prelude, slots, current })
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
        Self::with_slots(self.prelude, slots)
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

/// The bytes of a new file's header: prelude, envelope in slot A, slot B empty.
///
/// # Errors
/// As [`Envelope::encode`].
pub fn encode_new(
    prelude: &Prelude,
    envelope: &Envelope,
    key: &MacKey,
) -> Result<[u8; HEADER_LEN], FormatError> {
    let mut out = [0; HEADER_LEN];
    let mut writer = Writer::new(&mut out);
    writer.bytes(&prelude.encode())?;
    writer.bytes(&envelope.encode(prelude, key)?)?;
    Ok(out)
}
