//! An archive of headers: what the content of a volume cannot be read without, and little else.
//! docs/FORMAT.md, "Header archive".
//!
//! `head 64 | entries`, an entry being `kind 1 | length of path 4 | length of data 4 | path | data |
//! tag 32`. The tag covers the head, the entry's number and the entry, so that none can be changed,
//! moved, left out or taken from another archive; the last one has no path and no data, so that none can be cut off.

#![deny(clippy::indexing_slicing)]

use crate::codec::Reader;
use crate::crypto::MacKey;
use crate::format::error::check_reserved;
use crate::format::{FormatError, VolumeId};

/// Bytes of the head.
pub const ARCHIVE_HEAD_LEN: usize = 64;
/// Bytes in front of an entry's path.
pub const ENTRY_HEAD_LEN: usize = 9;
/// Bytes behind an entry's data.
pub const ENTRY_TAG_LEN: usize = 32;
/// Longest path, in bytes.
pub const PATH_LEN_MAX: usize = 1 << 20;
/// Longest data, in bytes: a key database.
pub const DATA_LEN_MAX: usize = 256 << 20;

const MAGIC: [u8; 8] = *b"KMSFSHDR";
const VERSION: u16 = 1;

/// What an archive says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveHead {
    /// The volume.
    pub volume: VolumeId,
    /// When it was made, seconds since 1970.
    pub created: u64,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file in `.kmsfs`.
    Own,
    /// A directory's marker; the path is the directory's.
    Marker,
    /// The header of a file.
    Header,
    /// The sidecar of a long name.
    Sidecar,
    /// The end of the archive.
    End,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Lower path from the volume's root, names separated by `/`.
    pub path: Vec<u8>,
    /// The bytes.
    pub data: Vec<u8>,
}

/// The part of an entry that tells how much follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of its path.
    pub path_len: usize,
    /// Bytes of its data.
    pub data_len: usize,
}

impl EntryKind {
    const ALL: [Self; 5] = [Self::Own, Self::Marker, Self::Header, Self::Sidecar, Self::End];

    fn number(self) -> u8 {
        match self {
            Self::Own => 1,
            Self::Marker => 2,
            Self::Header => 3,
            Self::Sidecar => 4,
            Self::End => 255,
        }
    }
}

impl ArchiveHead {
    /// The bytes.
    pub fn encode(&self) -> [u8; ARCHIVE_HEAD_LEN] {
        let mut bytes = [0; ARCHIVE_HEAD_LEN];
        let parts = MAGIC
            .into_iter()
            .chain(VERSION.to_le_bytes())
            .chain([0; 6])
            .chain(self.volume.0)
            .chain(self.created.to_le_bytes());
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = from;
        }
        bytes
    }

    /// Reads a head. Not authenticated: the tags of the entries cover it.
    ///
    /// # Errors
    /// [`FormatError::Truncated`], [`FormatError::BadMagic`], [`FormatError::UnknownVersion`],
    /// [`FormatError::ReservedNotZero`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes = bytes.get(..ARCHIVE_HEAD_LEN).ok_or(FormatError::Truncated)?;
        let mut reader = Reader::new(bytes);
        if reader.array::<8>()? != MAGIC {
            return Err(FormatError::BadMagic);
        }
        match reader.u16()? {
            VERSION => {}
            found => return Err(FormatError::UnknownVersion { found }),
        }
        check_reserved(reader.bytes(6)?)?;
        let volume = VolumeId(reader.array()?);
        let created = reader.u64()?;
        check_reserved(reader.rest())?;
        Ok(Self { volume, created })
    }
}

impl EntryHead {
    /// Reads the first [`ENTRY_HEAD_LEN`] bytes of an entry.
    ///
    /// # Errors
    /// [`FormatError::Truncated`], [`FormatError::BadRecord`] for a kind that is not known,
    /// [`FormatError::TooLong`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let number = reader.u8()?;
        let kind = EntryKind::ALL.into_iter().find(|kind| kind.number() == number);
        let kind = kind.ok_or(FormatError::BadRecord)?;
        let mut length = |what, max| {
            let len = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
            if len <= max { Ok(len) } else { Err(FormatError::TooLong { what, len }) }
        };
        let path_len = length("path", PATH_LEN_MAX)?;
        let data_len = length("entry", DATA_LEN_MAX)?;
        Ok(Self { kind, path_len, data_len })
    }
}

impl Entry {
    fn head(&self) -> Result<[u8; ENTRY_HEAD_LEN], FormatError> {
        let length = |what, len: usize, max| match u32::try_from(len) {
            Ok(short) if len <= max => Ok(short.to_le_bytes()),
            _ => Err(FormatError::TooLong { what, len }),
        };
        let [p0, p1, p2, p3] = length("path", self.path.len(), PATH_LEN_MAX)?;
        let [d0, d1, d2, d3] = length("entry", self.data.len(), DATA_LEN_MAX)?;
        Ok([self.kind.number(), p0, p1, p2, p3, d0, d1, d2, d3])
    }

    /// The bytes of the entry of that number. `key` is `VolumeKeys::archive`.
    ///
    /// # Errors
    /// [`FormatError::TooLong`].
    pub fn encode(
        &self,
        head: &[u8; ARCHIVE_HEAD_LEN],
        number: u64,
        key: &MacKey,
    ) -> Result<Vec<u8>, FormatError> {
        let own = self.head()?;
        let tag = key.tag(&[head, &number.to_le_bytes(), &own, &self.path, &self.data]);
        Ok([own.as_slice(), &self.path, &self.data, &tag].concat())
    }

    /// Checks the tag of the entry of that number.
    ///
    /// # Errors
    /// [`FormatError::BadTag`].
    pub fn verify(
        &self,
        head: &[u8; ARCHIVE_HEAD_LEN],
        number: u64,
        key: &MacKey,
        tag: &[u8; ENTRY_TAG_LEN],
    ) -> Result<(), FormatError> {
        let parts: [&[u8]; 5] =
            [head, &number.to_le_bytes(), &self.head()?, &self.path, &self.data];
        key.verify(&parts, tag).map_err(|_| FormatError::BadTag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn key() -> MacKey {
        MacKey::new(Secret::fill_with(|out| *out = [7; 32]))
    }

    #[test]
    fn heads_come_back_and_every_flipped_bit_but_those_of_id_and_time_is_found() {
        let head = ArchiveHead { volume: VolumeId([9; 16]), created: 1_700_000_000 };
        let bytes = head.encode();
        assert_eq!(ArchiveHead::parse(&bytes), Ok(head));
        for at in (0..16).chain(40..64) {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert!(ArchiveHead::parse(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_entry_holds_at_its_place_alone() {
        let head = ArchiveHead { volume: VolumeId([9; 16]), created: 1 }.encode();
        let other = ArchiveHead { volume: VolumeId([9; 16]), created: 2 }.encode();
        let entry = Entry { kind: EntryKind::Header, path: b"a/b".to_vec(), data: vec![5; 1536] };
        let bytes = entry.encode(&head, 3, &key()).unwrap();
        let parsed = EntryHead::parse(&bytes).unwrap();
        assert_eq!((parsed.kind, parsed.path_len, parsed.data_len), (EntryKind::Header, 3, 1536));
        let tag = <[u8; 32]>::try_from(&bytes[bytes.len() - 32..]).unwrap();
        assert_eq!(entry.verify(&head, 3, &key(), &tag), Ok(()));
        assert_eq!(entry.verify(&head, 4, &key(), &tag), Err(FormatError::BadTag));
        assert_eq!(entry.verify(&other, 3, &key(), &tag), Err(FormatError::BadTag));
        let moved = Entry { path: b"a/c".to_vec(), ..entry };
        assert_eq!(moved.verify(&head, 3, &key(), &tag), Err(FormatError::BadTag));
    }
}
