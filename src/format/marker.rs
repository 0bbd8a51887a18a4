//! `.kmsfs.dir`: the hidden file that gives a directory its id, authenticated and bound to the volume.
//! docs/FORMAT.md, section 6.

#![deny(clippy::indexing_slicing)]

use crate::codec::{OutOfBounds, Reader, Writer};
use crate::crypto::MacKey;
use crate::format::error::check_reserved;
use crate::format::{DirHome, DirId, FormatError, VolumeId};

/// Bytes of a marker.
pub const MARKER_LEN: usize = 96;

const MAGIC: [u8; 8] = *b"KMSFSDIR";
const VERSION: u16 = 1;
/// Bytes that the authentication code covers.
const BODY_LEN: usize = 64;

/// What a marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirMarker {
    /// The directory's id: associated data of the names in it.
    pub dir: DirId,
    /// Number of the key policy that new files in it follow.
    pub policy: u32,
    /// Where the directory belongs.
    pub home: DirHome,
}

impl DirMarker {
    /// The bytes of the marker. `key` is `VolumeKeys::markers`.
    pub fn encode(&self, volume: VolumeId, key: &MacKey) -> [u8; MARKER_LEN] {
        let mut body = [0; BODY_LEN];
        let written = self.write(volume, &mut Writer::new(&mut body));
        debug_assert_eq!(written, Ok(()));
        let tag = key.tag(&[&body]);
        let mut out = [0; MARKER_LEN];
        for (to, from) in out.iter_mut().zip(body.iter().chain(&tag)) {
            *to = *from;
        }
        out
    }

    fn write(&self, volume: VolumeId, writer: &mut Writer<'_>) -> Result<(), OutOfBounds> {
        writer.bytes(&MAGIC)?;
        writer.u16(VERSION)?;
        writer.u16(0)?;
        writer.u32(self.policy)?;
        writer.bytes(volume.bytes())?;
        writer.bytes(self.dir.bytes())?;
        writer.bytes(&self.home.0)
    }

    /// Reads a marker of exactly [`MARKER_LEN`] bytes.
    ///
    /// # Errors
    /// [`FormatError::Truncated`], [`FormatError::TooLong`], [`FormatError::BadMagic`] or
    /// [`FormatError::UnknownVersion`] by its grammar; [`FormatError::BadTag`] if it was not sealed
    /// under this key for this volume; [`FormatError::ReservedNotZero`].
    pub fn parse(bytes: &[u8], volume: VolumeId, key: &MacKey) -> Result<Self, FormatError> {
        if bytes.len() > MARKER_LEN {
            return Err(FormatError::TooLong { what: "directory marker", len: bytes.len() });
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
        check_reserved(reader.bytes(2)?)?;
        let policy = reader.u32()?;
        if VolumeId(reader.array()?) != volume {
            return Err(FormatError::BadTag);
        }
        let dir = DirId(reader.array()?);
        let home = DirHome(reader.array()?);
        Ok(Self { dir, policy, home })
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn key(fill: u8) -> MacKey {
        MacKey::new(Secret::fill_with(|out| *out = [fill; 32]))
    }

    const VOLUME: VolumeId = VolumeId([1; 16]);

    #[test]
    fn marker_leads_back_and_every_change_is_found() {
        let marker = DirMarker { dir: DirId([2; 16]), policy: 7, home: DirHome([4; 16]) };
        let bytes = marker.encode(VOLUME, &key(9));
        assert_eq!(DirMarker::parse(&bytes, VOLUME, &key(9)), Ok(marker));
        assert_eq!(DirMarker::parse(&bytes, VOLUME, &key(8)), Err(FormatError::BadTag));
        assert_eq!(DirMarker::parse(&bytes, VolumeId([3; 16]), &key(9)), Err(FormatError::BadTag));
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 1;
            let expected = match at {
                0..8 => FormatError::BadMagic,
                8 => FormatError::UnknownVersion { found: 0 },
                9 => FormatError::UnknownVersion { found: 257 },
                _ => FormatError::BadTag,
            };
            assert_eq!(DirMarker::parse(&changed, VOLUME, &key(9)), Err(expected), "byte {at}");
            assert_eq!(
                DirMarker::parse(&bytes[..at], VOLUME, &key(9)),
                Err(FormatError::Truncated)
            );
        }
    }

    #[test]
    fn a_longer_file_is_no_marker() {
        let marker = DirMarker { dir: DirId([2; 16]), policy: 0, home: DirHome::default() };
        let bytes = marker.encode(VOLUME, &key(9));
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            DirMarker::parse(&longer, VOLUME, &key(9)),
            Err(FormatError::TooLong { what: "directory marker", len: 97 })
        );
    }
}
