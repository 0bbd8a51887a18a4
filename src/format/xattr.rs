//! Sealed names and values of `user.*` extended attributes. docs/FORMAT.md, section 8.
//!
//! Names are sealed under the volume, so that a lookup needs no key of the file; values under the
//! file, bound to its id and to the name, so that they cannot be moved. Which other attributes pass
//! through is `fs`' business.

#![deny(clippy::indexing_slicing)]

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::codec::Reader;
use crate::crypto::name::SIV_LEN;
use crate::crypto::{Label, NameCipher, SHORT_OVERHEAD, open_short, seal_short, sha256};
use crate::format::FormatError;
use crate::random::Random;
use crate::secret::Secret;

/// How the names begin that kmsfs seals.
pub const PLAIN_PREFIX: &[u8] = b"user.";
/// How the lower names begin that hold sealed attributes.
pub const LOWER_PREFIX: &str = "user.kmsfs.";
/// Bytes of an attribute's name at most, plain or lower. Linux `XATTR_NAME_MAX`.
pub const XATTR_NAME_LEN_MAX: usize = 255;
/// Bytes that sealing adds to a value in the short form; the long form adds the sealed name too.
pub const VALUE_OVERHEAD: usize = 2 + SHORT_OVERHEAD;

const LONG_MARK: &str = "L.";
/// Bytes of the longest sealed name whose text fits: a name of 167 bytes behind `user.`.
const SHORT_SEALED_MAX: usize = 183;

/// The lower name of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XattrName {
    /// The name on the lower file.
    pub lower: Vec<u8>,
    sealed: Vec<u8>,
    is_long: bool,
}

impl XattrName {
    /// Whether the sealed name lies in front of the value, the lower name being a digest.
    pub fn is_long(&self) -> bool {
        self.is_long
    }

    /// Bytes that sealing adds to a value under this name.
    pub fn overhead(&self) -> usize {
        VALUE_OVERHEAD + if self.is_long { self.sealed.len() } else { 0 }
    }
}

/// The lower name of the attribute `name`, which begins with `user.`. `names` is
/// `VolumeKeys::xattr_names`.
pub fn seal_name(names: &NameCipher, name: &[u8]) -> XattrName {
    let plain = name.strip_prefix(PLAIN_PREFIX).unwrap_or(name);
    let sealed = names.seal(Label::XattrName.bytes(), plain);
    let is_long = sealed.len() > SHORT_SEALED_MAX;
    let lower = if is_long { long_name(&sealed) } else { short_name(&sealed) };
    XattrName { lower, sealed, is_long }
}

/// The lower value of an attribute. `owner` is the file id, or the id that stands for it where there
/// is no data key.
pub fn seal_value(
    key: &Secret<32>,
    owner: &[u8; 16],
    name: &XattrName,
    value: &[u8],
    random: &dyn Random,
) -> Vec<u8> {
    let stored_name = if name.is_long { name.sealed.as_slice() } else { &[] };
    let name_len = u16::try_from(stored_name.len()).unwrap_or(u16::MAX);
    let sealed = seal_short(key, &value_aad(owner, name), value, random);
    [&name_len.to_le_bytes(), stored_name, &sealed].concat()
}

/// The value behind a lower value.
///
/// # Errors
/// [`FormatError::Truncated`], or [`FormatError::BadName`] if another name lies in front of it;
/// [`FormatError::BadTag`] if it was not sealed under this key for this owner and name.
pub fn open_value(
    key: &Secret<32>,
    owner: &[u8; 16],
    name: &XattrName,
    stored: &[u8],
) -> Result<Vec<u8>, FormatError> {
    let (stored_name, sealed) = split_stored(stored)?;
    let expected = if name.is_long { name.sealed.as_slice() } else { &[] };
    if stored_name != expected {
        return Err(FormatError::BadName);
    }
    Ok(open_short(key, &value_aad(owner, name), sealed)?)
}

/// The name, `user.` included, behind a lower name. The long form needs the lower value.
///
/// # Errors
/// [`FormatError::BadName`] if the lower name is not one of ours, or the value of a long form is
/// missing or another's; [`FormatError::BadTag`] if it was not sealed under this key.
pub fn open_name(
    names: &NameCipher,
    lower: &[u8],
    stored: Option<&[u8]>,
) -> Result<Vec<u8>, FormatError> {
    let sealed = if needs_value(lower) {
        let (sealed, _) = split_stored(stored.ok_or(FormatError::BadName)?)?;
        if sealed.len() <= SHORT_SEALED_MAX || lower != long_name(sealed) {
            return Err(FormatError::BadName);
        }
        sealed.to_vec()
    } else {
        let text = lower.strip_prefix(LOWER_PREFIX.as_bytes()).ok_or(FormatError::BadName)?;
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| FormatError::BadName)?;
        if sealed.len() <= SIV_LEN || sealed.len() > SHORT_SEALED_MAX {
            return Err(FormatError::BadName);
        }
        sealed
    };
    let plain = names.open(Label::XattrName.bytes(), &sealed)?;
    Ok([PLAIN_PREFIX, &plain].concat())
}

/// Whether a lower name is in the space that kmsfs keeps for sealed attributes.
pub fn is_ours(lower: &[u8]) -> bool {
    lower.starts_with(LOWER_PREFIX.as_bytes())
}

/// Whether a lower name is a digest, so that the name lies in front of the value.
pub fn needs_value(lower: &[u8]) -> bool {
    lower
        .strip_prefix(LOWER_PREFIX.as_bytes())
        .is_some_and(|text| text.starts_with(LONG_MARK.as_bytes()))
}

fn short_name(sealed: &[u8]) -> Vec<u8> {
    format!("{LOWER_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(sealed)).into_bytes()
}

fn long_name(sealed: &[u8]) -> Vec<u8> {
    let digest = BASE64_URL_SAFE_NO_PAD.encode(sha256(&[sealed]));
    format!("{LOWER_PREFIX}{LONG_MARK}{digest}").into_bytes()
}

fn split_stored(stored: &[u8]) -> Result<(&[u8], &[u8]), FormatError> {
    let mut reader = Reader::new(stored);
    let name_len = usize::from(reader.u16()?);
    let name = reader.bytes(name_len)?;
    Ok((name, reader.rest()))
}

fn value_aad(owner: &[u8; 16], name: &XattrName) -> Vec<u8> {
    [owner.as_slice(), &name.sealed].concat()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    fn names() -> NameCipher {
        NameCipher::new(Secret::fill_with(|out| *out = [1; 64]))
    }

    fn key() -> Secret<32> {
        Secret::fill_with(|out| *out = [2; 32])
    }

    fn plain_name(len: usize) -> Vec<u8> {
        [PLAIN_PREFIX, &vec![b'n'; len - 5]].concat()
    }

    /// docs/FORMAT.md, section 8: 172 bytes are the longest name of the short form.
    #[test]
    fn names_and_values_lead_back_at_every_name_length() {
        let random = SeededRandom::new(1);
        for len in 6..=XATTR_NAME_LEN_MAX {
            let plain = plain_name(len);
            let name = seal_name(&names(), &plain);
            assert!(name.lower.len() <= XATTR_NAME_LEN_MAX);
            assert_eq!(name.is_long(), len > 172);
            assert_eq!(needs_value(&name.lower), name.is_long());
            assert!(is_ours(&name.lower));
            let stored = seal_value(&key(), &[3; 16], &name, b"value", &random);
            assert_eq!(stored.len(), 5 + name.overhead());
            assert_eq!(open_value(&key(), &[3; 16], &name, &stored), Ok(b"value".to_vec()));
            assert_eq!(open_name(&names(), &name.lower, Some(&stored)), Ok(plain.clone()));
            let without = open_name(&names(), &name.lower, None);
            let expected = if name.is_long() { Err(FormatError::BadName) } else { Ok(plain) };
            assert_eq!(without, expected);
        }
    }

    #[test]
    fn a_value_cannot_move_to_another_owner_or_name() {
        let random = SeededRandom::new(2);
        for len in [10, 200] {
            let name = seal_name(&names(), &plain_name(len));
            let other = seal_name(&names(), &plain_name(len + 1));
            let stored = seal_value(&key(), &[3; 16], &name, b"", &random);
            assert_eq!(open_value(&key(), &[3; 16], &name, &stored), Ok(Vec::new()));
            assert_eq!(open_value(&key(), &[4; 16], &name, &stored), Err(FormatError::BadTag));
            let expected = if len == 10 { FormatError::BadTag } else { FormatError::BadName };
            assert_eq!(open_value(&key(), &[3; 16], &other, &stored), Err(expected));
            for cut in 0..stored.len() {
                assert!(open_value(&key(), &[3; 16], &name, &stored[..cut]).is_err());
            }
        }
    }

    #[test]
    fn foreign_names_are_refused() {
        let long = seal_name(&names(), &plain_name(200));
        let short = seal_name(&names(), &plain_name(10));
        let stored = seal_value(&key(), &[3; 16], &short, b"", &SeededRandom::new(3));
        for lower in [&b"user.other"[..], b"user.kmsfs.", b"user.kmsfs.x", b"security.selinux"] {
            assert_eq!(open_name(&names(), lower, None), Err(FormatError::BadName));
        }
        assert_eq!(open_name(&names(), &long.lower, Some(&stored)), Err(FormatError::BadName));
        assert_eq!(open_name(&names(), &long.lower, Some(&[1])), Err(FormatError::Truncated));
        let stranger = NameCipher::new(Secret::fill_with(|out| *out = [9; 64]));
        assert_eq!(open_name(&stranger, &short.lower, None), Err(FormatError::BadTag));
    }
}
