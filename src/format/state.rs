//! `.kmsfs/state`: whether the last read-write mount ended cleanly, and its last checkpoint.
//! docs/FORMAT.md, section 9. When a checkpoint is made is `fs`' business.

#![deny(clippy::indexing_slicing)]

use crate::codec::{OutOfBounds, Reader, Writer};
use crate::crypto::MacKey;
use crate::format::FormatError;
use crate::format::error::check_reserved;

/// Bytes of the state file.
pub const STATE_LEN: usize = 64;

const MAGIC: [u8; 8] = *b"KMSFSTAT";
const VERSION: u16 = 1;
/// Bytes that the authentication code covers.
const BODY_LEN: usize = 32;

/// What the state file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeState {
    /// Whether no read-write mount is under way or was cut off.
    pub clean: bool,
    /// Seconds since 1970 of the last checkpoint. Everything changed before it is on disk.
    pub checkpoint_secs: i64,
    /// Its nanoseconds, below 1,000,000,000.
    pub checkpoint_nanos: u32,
    /// A file may have been renamed since whose times on disk are of before.
    pub old_moves: bool,
}

impl VolumeState {
    /// The bytes of the state file. `key` is `VolumeKeys::checkpoint`.
    pub fn encode(&self, key: &MacKey) -> [u8; STATE_LEN] {
        let mut body = [0; BODY_LEN];
        let written = self.write(&mut Writer::new(&mut body));
        debug_assert_eq!(written, Ok(()));
        let tag = key.tag(&[&body]);
        let mut out = [0; STATE_LEN];
        for (to, from) in out.iter_mut().zip(body.iter().chain(&tag)) {
            *to = *from;
        }
        out
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), OutOfBounds> {
        writer.bytes(&MAGIC)?;
        writer.u16(VERSION)?;
        writer.u8(u8::from(self.clean))?;
        writer.u8(u8::from(self.old_moves))?;
        writer.bytes(&[0; 4])?;
        writer.bytes(&self.checkpoint_secs.to_le_bytes())?;
        writer.u32(self.checkpoint_nanos)
    }

    /// Reads a state file of exactly [`STATE_LEN`] bytes.
    ///
    /// # Errors
    /// [`FormatError::Truncated`], [`FormatError::TooLong`], [`FormatError::BadMagic`] or
    /// [`FormatError::UnknownVersion`] by its grammar; [`FormatError::BadTag`] if it was not made
    /// under this key; [`FormatError::BadRecord`] or [`FormatError::ReservedNotZero`] if its fields
    /// do not fit. A reader treats each of them as unclean.
    pub fn parse(bytes: &[u8], key: &MacKey) -> Result<Self, FormatError> {
        if bytes.len() > STATE_LEN {
            return Err(FormatError::TooLong { what: "volume state", len: bytes.len() });
        }
        let mut whole = Reader::new(bytes);
        let body = whole.bytes(BODY_LEN)?;
        let tag = whole.array()?;
        let mut reader = Reader::new(body);
        if reader.array()? != MAGIC {
            return Err(FormatError::BadMagic);
        }
        let version = reader.u16()?;
        if version != VERSION {
            return Err(FormatError::UnknownVersion { found: version });
        }
        key.verify(&[body], &tag)?;
        let clean = yes_or_no(reader.u8()?)?;
        let old_moves = yes_or_no(reader.u8()?)?;
        check_reserved(reader.bytes(4)?)?;
        let checkpoint_secs = i64::from_le_bytes(reader.array()?);
        let checkpoint_nanos = reader.u32()?;
        check_reserved(reader.rest())?;
        if checkpoint_nanos >= 1_000_000_000 {
            return Err(FormatError::BadRecord);
        }
        Ok(Self { clean, checkpoint_secs, checkpoint_nanos, old_moves })
    }
}

fn yes_or_no(byte: u8) -> Result<bool, FormatError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FormatError::BadRecord),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn key() -> MacKey {
        MacKey::new(Secret::fill_with(|out| *out = [5; 32]))
    }

    #[test]
    fn state_leads_back_and_every_change_is_found() {
        for (clean, checkpoint_secs) in [(true, 1_700_000_000), (false, -1), (false, i64::MIN)] {
            let (checkpoint_nanos, old_moves) = (999_999_999, checkpoint_secs == -1);
            let state = VolumeState { clean, checkpoint_secs, checkpoint_nanos, old_moves };
            let bytes = state.encode(&key());
            assert_eq!(VolumeState::parse(&bytes, &key()), Ok(state));
            for at in 0..bytes.len() {
                let mut changed = bytes;
                changed[at] ^= 1;
                assert!(VolumeState::parse(&changed, &key()).is_err(), "byte {at}");
                let cut = VolumeState::parse(&bytes[..at], &key());
                assert_eq!(cut, Err(FormatError::Truncated));
            }
        }
    }

    #[test]
    fn fields_out_of_range_are_refused_even_with_a_good_tag() {
        let state = VolumeState {
            clean: true,
            checkpoint_secs: 0,
            checkpoint_nanos: 1_000_000_000,
            old_moves: false,
        };
        assert_eq!(VolumeState::parse(&state.encode(&key()), &key()), Err(FormatError::BadRecord));
        assert_eq!(
            VolumeState::parse(&[0; 65], &key()),
            Err(FormatError::TooLong { what: "volume state", len: 65 })
        );
    }
}
