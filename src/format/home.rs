//! The home of a file: directory and name that it belongs to, in the clear part of its header, under a
//! key of the volume. So a file that is put into another's place does not open there, and a rename
//! needs no data key. docs/FORMAT.md, section 4.3.

#![deny(clippy::indexing_slicing)]

use crate::codec::{OutOfBounds, Reader, Writer};
use crate::crypto::MacKey;
use crate::format::error::check_reserved;
use crate::format::name::lower_form;
use crate::format::{DirId, FileId, FormatError};
use crate::name::LowerName;
use crate::units::LowerOffset;

/// Where the home begins in the lower file.
pub const HOME_OFFSET: LowerOffset = LowerOffset(64);
/// Bytes of a home.
pub const HOME_LEN: usize = 328;

/// Bytes that the tag covers, besides file id and name.
const FIELDS_LEN: usize = 24;
const SEALED_PLACE: usize = 272;
const SEALED_MAX: usize = 271;
const TAG_LEN: usize = 32;
const _: () = assert!(FIELDS_LEN + SEALED_PLACE + TAG_LEN == HOME_LEN);

const KIND_NONE: u16 = 0;
const KIND_NAMED: u16 = 1;
const KIND_RELEASED: u16 = 2;

/// Begins what is authenticated, so that the home of a file is never one of a directory.
const FILE_DOMAIN: &[u8; 8] = b"file    ";
const DIR_DOMAIN: &[u8; 8] = b"dir     ";

/// One place in a volume: a directory and the name of an object in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomePlace {
    /// The directory.
    pub dir: DirId,
    /// The lower name in it.
    pub object: LowerName,
    /// The sealed name, if it is at hand; what a lost name or sidecar is made of again.
    pub sealed: Option<Vec<u8>>,
}

/// Where a file belongs, as its header says. Nothing is authenticated yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// It says nothing: the volume does not bind names.
    None,
    /// Under one name.
    Named {
        /// The directory.
        dir: DirId,
        /// The sealed name, if it was at hand.
        sealed: Option<Vec<u8>>,
        /// Authenticates file, directory and lower name.
        tag: [u8; TAG_LEN],
    },
    /// Under any name: the file has, or had, several.
    Released {
        /// Authenticates that.
        tag: [u8; TAG_LEN],
    },
}

impl Home {
    /// The home of a file under one name. `key` is `VolumeKeys::homes`.
    pub fn named(file: FileId, place: &HomePlace, key: &MacKey) -> Self {
        let sealed = place.sealed.clone().filter(|sealed| sealed.len() <= SEALED_MAX);
        let fields = fields(KIND_NAMED, sealed.as_deref(), Some(place.dir));
        let tag = key.tag(&[FILE_DOMAIN, file.bytes(), &fields, place.object.as_bytes()]);
        Self::Named { dir: place.dir, sealed, tag }
    }

    /// The home of a file that may lie anywhere in its volume.
    pub fn released(file: FileId, key: &MacKey) -> Self {
        let fields = fields(KIND_RELEASED, None, None);
        Self::Released { tag: key.tag(&[FILE_DOMAIN, file.bytes(), &fields]) }
    }

    /// Whether the file belongs where it lies.
    pub fn is_at(&self, file: FileId, dir: DirId, object: &LowerName, key: &MacKey) -> bool {
        match self {
            Self::None => false,
            Self::Named { dir: own, sealed, tag } => {
                let fields = fields(KIND_NAMED, sealed.as_deref(), Some(*own));
                let parts: [&[u8]; 4] = [FILE_DOMAIN, file.bytes(), &fields, object.as_bytes()];
                let fits = sealed.as_deref().is_none_or(|s| lower_form(s).object() == object);
                *own == dir && fits && key.verify(&parts, tag).is_ok()
            }
            Self::Released { tag } => {
                let fields = fields(KIND_RELEASED, None, None);
                key.verify(&[FILE_DOMAIN, file.bytes(), &fields], tag).is_ok()
            }
        }
    }

    /// The place that the home names, if it says it whole and is authentic.
    pub fn place(&self, file: FileId, key: &MacKey) -> Option<HomePlace> {
        let Self::Named { dir, sealed: Some(sealed), .. } = self else {
            return None;
        };
        let object = lower_form(sealed).object().clone();
        self.is_at(file, *dir, &object, key).then(|| HomePlace {
            dir: *dir,
            object,
            sealed: Some(sealed.clone()),
        })
    }

    /// The bytes.
    pub fn encode(&self) -> [u8; HOME_LEN] {
        let mut out = [0; HOME_LEN];
        let written = self.write(&mut Writer::new(&mut out));
        debug_assert_eq!(written, Ok(()));
        out
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), OutOfBounds> {
        let (head, sealed, tag) = match self {
            Self::None => return Ok(()),
            Self::Named { dir, sealed, tag } => {
                let sealed = sealed.as_deref().unwrap_or_default();
                let stored = Some(sealed).filter(|sealed| !sealed.is_empty());
                (fields(KIND_NAMED, stored, Some(*dir)), sealed, tag)
            }
            Self::Released { tag } => (fields(KIND_RELEASED, None, None), &[][..], tag),
        };
        writer.bytes(&head)?;
        writer.bytes(sealed)?;
        for _ in sealed.len()..SEALED_PLACE {
            writer.u8(0)?;
        }
        writer.bytes(tag)
    }

    /// Reads a home of exactly [`HOME_LEN`] bytes.
    ///
    /// # Errors
    /// [`FormatError::Truncated`], [`FormatError::BadHome`], [`FormatError::ReservedNotZero`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes.get(..HOME_LEN).ok_or(FormatError::Truncated)?);
        let kind = reader.u16()?;
        let len = usize::from(reader.u16()?);
        check_reserved(reader.bytes(4)?)?;
        let dir = DirId(reader.array()?);
        let place = reader.bytes(SEALED_PLACE)?;
        let tag: [u8; TAG_LEN] = reader.array()?;
        let (sealed, padding) = place.split_at_checked(len).ok_or(FormatError::BadHome)?;
        check_reserved(padding)?;
        let is_bare = len == 0 && dir.0 == [0; 16];
        match kind {
            KIND_NONE if is_bare && tag == [0; TAG_LEN] => Ok(Self::None),
            KIND_NAMED if len <= SEALED_MAX => {
                let sealed = (len > 0).then(|| sealed.to_vec());
                Ok(Self::Named { dir, sealed, tag })
            }
            KIND_RELEASED if is_bare => Ok(Self::Released { tag }),
            _ => Err(FormatError::BadHome),
        }
    }
}

/// The first bytes of a home.
fn fields(kind: u16, sealed: Option<&[u8]>, dir: Option<DirId>) -> [u8; FIELDS_LEN] {
    let mut out = [0; FIELDS_LEN];
    let mut writer = Writer::new(&mut out);
    let len = sealed.map_or(0, |sealed| u16::try_from(sealed.len()).unwrap_or(u16::MAX));
    let written = writer
        .u16(kind)
        .and_then(|()| writer.u16(len))
        .and_then(|()| writer.u32(0))
        .and_then(|()| writer.bytes(&dir.map_or([0; 16], |dir| dir.0)));
    debug_assert_eq!(written, Ok(()));
    out
}

/// The home of a directory, in its marker: 16 bytes that authenticate where it lies; zeros if the
/// volume does not bind names, and in the root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirHome(pub [u8; 16]);

impl DirHome {
    /// The home of a directory under a name. `key` is `VolumeKeys::homes`.
    pub fn named(own: DirId, parent: DirId, object: &LowerName, key: &MacKey) -> Self {
        let tag = key.tag(&[DIR_DOMAIN, own.bytes(), parent.bytes(), object.as_bytes()]);
        let mut half = [0; 16];
        for (to, from) in half.iter_mut().zip(tag) {
            *to = from;
        }
        Self(half)
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::crypto::NameCipher;
    use crate::secret::Secret;

    const FILE: FileId = FileId([7; 16]);
    const DIR: DirId = DirId([8; 16]);

    fn key() -> MacKey {
        MacKey::new(Secret::fill_with(|out| *out = [5; 32]))
    }

    fn place(len: usize) -> HomePlace {
        let names = NameCipher::new(Secret::fill_with(|out| *out = [1; 64]));
        let sealed = names.seal(&DIR.0, &vec![b'n'; len]);
        HomePlace { dir: DIR, object: lower_form(&sealed).object().clone(), sealed: Some(sealed) }
    }

    #[test]
    fn homes_lead_back_and_fit_their_place_only() {
        for len in [1, 175, 176, 255] {
            let place = place(len);
            for sealed in [place.sealed.clone(), None] {
                let place = HomePlace { sealed, ..place.clone() };
                let home = Home::named(FILE, &place, &key());
                assert_eq!(Home::parse(&home.encode()), Ok(home.clone()));
                assert!(home.is_at(FILE, DIR, &place.object, &key()));
                assert!(!home.is_at(FileId([9; 16]), DIR, &place.object, &key()));
                assert!(!home.is_at(FILE, DirId([9; 16]), &place.object, &key()));
                let other = self::place(2).object;
                assert!(!home.is_at(FILE, DIR, &other, &key()));
                let found = home.place(FILE, &key());
                assert_eq!(found, place.sealed.is_some().then_some(place));
            }
        }
    }

    #[test]
    fn a_released_file_is_at_home_anywhere_and_no_other_file_is() {
        let home = Home::released(FILE, &key());
        assert_eq!(Home::parse(&home.encode()), Ok(home.clone()));
        assert!(home.is_at(FILE, DirId([1; 16]), &place(3).object, &key()));
        assert!(!home.is_at(FileId([9; 16]), DIR, &place(3).object, &key()));
        assert_eq!(home.place(FILE, &key()), None);
        assert_eq!(Home::parse(&[0; HOME_LEN]), Ok(Home::None));
        assert!(!Home::None.is_at(FILE, DIR, &place(3).object, &key()));
    }

    /// Law: no bit of a home can be changed.
    #[test]
    fn every_changed_byte_is_found() {
        let place = place(200);
        for home in [Home::named(FILE, &place, &key()), Home::released(FILE, &key())] {
            for at in 0..HOME_LEN {
                let mut bytes = home.encode();
                bytes[at] ^= 1;
                let read = Home::parse(&bytes);
                let fits = read.is_ok_and(|home| home.is_at(FILE, DIR, &place.object, &key()));
                assert!(!fits, "byte {at}");
            }
            assert_eq!(Home::parse(&home.encode()[..HOME_LEN - 1]), Err(FormatError::Truncated));
        }
    }

    #[test]
    fn a_directory_is_at_home_in_one_place() {
        let object = place(3).object;
        let home = DirHome::named(DIR, DirId([1; 16]), &object, &key());
        assert_ne!(home, DirHome::default());
        assert_ne!(home, DirHome::named(DIR, DirId([2; 16]), &object, &key()));
        assert_ne!(home, DirHome::named(DirId([1; 16]), DIR, &object, &key()));
        assert_ne!(home, DirHome::named(DIR, DirId([1; 16]), &place(4).object, &key()));
    }
}
