//! One envelope slot: which KMS key and material wrap the data key, and the wrapped data key.
//!
//! A checksum finds a torn slot without a key; a header tag under a key derived from the data key
//! authenticates prelude and slot, and commits to the data key. docs/FORMAT.md, section 4.

#![deny(clippy::indexing_slicing)]

use crate::codec::{OutOfBounds, Reader, Writer};
use crate::crypto::{MacKey, sha256};
use crate::format::error::check_reserved;
use crate::format::layout::SLOT_LEN;
use crate::format::{FormatError, Prelude};
use crate::units::LowerOffset;

/// Bytes of a key ARN at most. AWS' own have fewer than 100, in every partition and region.
pub const ARN_LEN_MAX: usize = 152;
/// Bytes of a wrapped data key at most: a ciphertext blob of AWS KMS over 32 bytes has 184.
pub const WRAPPED_LEN_MAX: usize = 256;

/// Bytes that the header tag covers.
const BODY_LEN: usize = 472;
const CHECKSUM_LEN: usize = 8;
const TAG_LEN: usize = 32;
/// Bit 0 of the flags: the file may have holes.
const FLAG_SPARSE: u32 = 1;

const _: () = assert!(BODY_LEN + CHECKSUM_LEN + TAG_LEN == SLOT_LEN);

/// The content of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Counts the envelopes of this file from 1; the highest valid one is current.
    pub sequence: u64,
    /// Whether a page of zeros is a hole; otherwise it is corrupt.
    pub sparse: bool,
    /// Number of the key policy in the volume configuration: the alias that this file follows.
    pub policy: u32,
    /// The KMS key that wraps the data key.
    pub key_arn: String,
    /// The key material that wraps it; `None` if the key service does not tell.
    pub material: Option<[u8; 32]>,
    /// The wrapped data key, as the key service gave it.
    pub wrapped: Vec<u8>,
}

impl Envelope {
    /// The bytes of a slot with this envelope. `key` is the header key of the file
    /// (`FileKeys::header`).
    ///
    /// # Errors
    /// [`FormatError::TooLong`] if the ARN or the wrapped data key does not fit;
    /// [`FormatError::BadEnvelope`] if either is empty or the sequence is 0.
    pub fn encode(&self, prelude: &Prelude, key: &MacKey) -> Result<[u8; SLOT_LEN], FormatError> {
        let body = self.body()?;
        let tag = key.tag(&[&prelude.encode(), &body]);
        let mut slot = [0; SLOT_LEN];
        let mut writer = Writer::new(&mut slot);
        writer.bytes(&body)?;
        writer.bytes(&checksum(&body, &tag))?;
        writer.bytes(&tag)?;
        Ok(slot)
    }

    /// Checks the header tag that came with this envelope.
    ///
    /// # Errors
    /// [`FormatError::BadTag`] if the tag is not that of prelude and envelope under this key.
    pub fn verify(
        &self,
        prelude: &Prelude,
        key: &MacKey,
        tag: &[u8; TAG_LEN],
    ) -> Result<(), FormatError> {
        Ok(key.verify(&[&prelude.encode(), &self.body()?], tag)?)
    }

    fn body(&self) -> Result<[u8; BODY_LEN], FormatError> {
        let arn_len = checked_len("key arn", self.key_arn.as_bytes(), ARN_LEN_MAX)?;
        let wrapped_len = checked_len("wrapped data key", &self.wrapped, WRAPPED_LEN_MAX)?;
        if self.sequence == 0 {
            return Err(FormatError::BadEnvelope);
        }
        let mut body = [0; BODY_LEN];
        let mut writer = Writer::new(&mut body);
        writer.u64(self.sequence)?;
        writer.u32(if self.sparse { FLAG_SPARSE } else { 0 })?;
        writer.u32(self.policy)?;
        writer.bytes(&self.material.unwrap_or_default())?;
        writer.u16(arn_len)?;
        writer.u16(wrapped_len)?;
        writer.u32(0)?;
        write_padded(&mut writer, self.key_arn.as_bytes(), ARN_LEN_MAX)?;
        write_padded(&mut writer, &self.wrapped, WRAPPED_LEN_MAX)?;
        Ok(body)
    }

    fn parse(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(body);
        let sequence = reader.u64()?;
        let flags = reader.u32()?;
        let policy = reader.u32()?;
        let material: [u8; 32] = reader.array()?;
        let arn_len = usize::from(reader.u16()?);
        let wrapped_len = usize::from(reader.u16()?);
        check_reserved(reader.bytes(4)?)?;
        let key_arn = read_padded(reader.bytes(ARN_LEN_MAX)?, arn_len)?;
        let wrapped = read_padded(reader.bytes(WRAPPED_LEN_MAX)?, wrapped_len)?;
        check_reserved(reader.rest())?;
        if flags & !FLAG_SPARSE != 0 {
            return Err(FormatError::ReservedNotZero);
        }
        Ok(Self {
            sequence,
            sparse: flags == FLAG_SPARSE,
            policy,
            key_arn: String::from_utf8(key_arn.to_vec()).map_err(|_| FormatError::BadEnvelope)?,
            material: (material != [0; 32]).then_some(material),
            wrapped: wrapped.to_vec(),
        })
    }
}

/// What lies in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nothing yet: all bytes are zero.
    Empty,
    /// Bytes whose checksum does not hold: a write that was cut off.
    Torn,
    /// An envelope. Its header tag is not verified yet; that takes the data key.
    Valid {
        /// The envelope.
        envelope: Envelope,
        /// The header tag that lies beside it.
        tag: [u8; 32],
    },
}

impl Slot {
    /// Reads a slot of [`SLOT_LEN`] bytes.
    ///
    /// # Errors
    /// [`FormatError::Truncated`] if there are fewer bytes; [`FormatError::BadEnvelope`] or
    /// [`FormatError::ReservedNotZero`] if the checksum holds and the fields do not fit.
    pub fn parse(slot: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(slot);
        let body = reader.bytes(BODY_LEN)?;
        let found: [u8; CHECKSUM_LEN] = reader.array()?;
        let tag = reader.array()?;
        if check_reserved(slot).is_ok() {
            return Ok(Self::Empty);
        }
        if body.starts_with(&[0; 8]) || found != checksum(body, &tag) {
            return Ok(Self::Torn);
        }
        Ok(Self::Valid { envelope: Envelope::parse(body)?, tag })
    }

    /// The envelope, if there is a valid one.
    pub fn envelope(&self) -> Option<&Envelope> {
        match self {
            Self::Valid { envelope, .. } => Some(envelope),
            Self::Empty | Self::Torn => None,
        }
    }
}

/// Which of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotIndex {
    /// The first.
    A,
    /// The second.
    B,
}

impl SlotIndex {
    /// Where the slot begins in the lower file.
    pub fn offset(self) -> LowerOffset {
        match self {
            Self::A => LowerOffset(512),
            Self::B => LowerOffset(1024),
        }
    }

    /// The other slot.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// First bytes of SHA-256 over the slot without the checksum itself.
fn checksum(body: &[u8], tag: &[u8; TAG_LEN]) -> [u8; CHECKSUM_LEN] {
    let [a, b, c, d, e, f, g, h, ..] = sha256(&[body, tag]);
    [a, b, c, d, e, f, g, h]
}

fn checked_len(what: &'static str, bytes: &[u8], max: usize) -> Result<u16, FormatError> {
    let len = bytes.len();
    if len == 0 {
        return Err(FormatError::BadEnvelope);
    }
    if len > max {
        return Err(FormatError::TooLong { what, len });
    }
    u16::try_from(len).map_err(|_| FormatError::TooLong { what, len })
}

fn write_padded(writer: &mut Writer<'_>, bytes: &[u8], place: usize) -> Result<(), OutOfBounds> {
    writer.bytes(bytes)?;
    for _ in bytes.len()..place {
        writer.u8(0)?;
    }
    Ok(())
}

fn read_padded(place: &[u8], len: usize) -> Result<&[u8], FormatError> {
    let (bytes, padding) = place.split_at_checked(len).ok_or(FormatError::BadEnvelope)?;
    if bytes.is_empty() {
        return Err(FormatError::BadEnvelope);
    }
    check_reserved(padding)?;
    Ok(bytes)
}
