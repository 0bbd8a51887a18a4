//! Sealed symlink targets: inline in the lower symlink's text, or in a file of the volume.
//! docs/FORMAT.md, section 7.

#![deny(clippy::indexing_slicing)]

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::codec::{hex, unhex_array};
use crate::crypto::{Label, SHORT_OVERHEAD, open_short, seal_short};
use crate::format::FormatError;
use crate::random::Random;
use crate::secret::Secret;

/// Bytes of a plaintext target at most. Linux `PATH_MAX` without its NUL.
pub const TARGET_LEN_MAX: usize = 4095;
/// Bytes of a lower symlink's text at most. Linux `PATH_MAX` without its NUL.
pub const TEXT_LEN_MAX: usize = 4095;
/// The directory in `.kmsfs` with the targets of the external form.
pub const LINKS_DIR: &str = "links";

/// Length of the shortest inline text: a target of one byte.
const INLINE_TEXT_MIN: u64 = 55;
const EXTERNAL_MARK: u8 = b'@';

/// The lower text of a target in the inline form; `None` if it would be too long.
pub fn inline(key: &Secret<32>, target: &[u8], random: &dyn Random) -> Option<Vec<u8>> {
    let text_len = (SHORT_OVERHEAD + target.len()) * 4;
    if text_len.div_ceil(3) > TEXT_LEN_MAX {
        return None;
    }
    let sealed = seal_short(key, Label::SymlinkInline.bytes(), target, random);
    Some(BASE64_URL_SAFE_NO_PAD.encode(sealed).into_bytes())
}

/// The lower text of a target in the external form, and the content of the file
/// `.kmsfs/links/<id>`, which is written first.
pub fn external(
    key: &Secret<32>,
    id: [u8; 16],
    target: &[u8],
    random: &dyn Random,
) -> (Vec<u8>, Vec<u8>) {
    let text = format!("@{}.{}", hex(&id), target.len());
    (text.into_bytes(), seal_short(key, &external_aad(id), target, random))
}

/// What the text of a lower symlink says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LowerTarget {
    /// The sealed target itself.
    Inline(Vec<u8>),
    /// The sealed target lies in a file of the volume.
    External {
        /// Names the file.
        id: [u8; 16],
        /// Bytes of the plaintext target. Not authenticated; for `stat` only.
        plain_len: usize,
    },
}

/// Reads the text of a lower symlink.
///
/// # Errors
/// [`FormatError::BadText`] if it is neither form.
pub fn parse(text: &[u8]) -> Result<LowerTarget, FormatError> {
    const BAD: FormatError = FormatError::BadText { line: 0 };
    if let Some((&EXTERNAL_MARK, rest)) = text.split_first() {
        return parse_external(rest).ok_or(BAD);
    }
    let sealed = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| BAD)?;
    if sealed.len() > SHORT_OVERHEAD && text.len() <= TEXT_LEN_MAX {
        Ok(LowerTarget::Inline(sealed))
    } else {
        Err(BAD)
    }
}

fn parse_external(text: &[u8]) -> Option<LowerTarget> {
    let (id, len) = std::str::from_utf8(text).ok()?.split_once('.')?;
    if !id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    if len.starts_with('0') || !len.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let plain_len = len.parse().ok().filter(|&len| len <= TARGET_LEN_MAX)?;
    Some(LowerTarget::External { id: unhex_array(id)?, plain_len })
}

/// Opens a target of the inline form.
///
/// # Errors
/// [`FormatError::BadTag`] if it was not sealed under this key.
pub fn open_inline(key: &Secret<32>, sealed: &[u8]) -> Result<Vec<u8>, FormatError> {
    Ok(open_short(key, Label::SymlinkInline.bytes(), sealed)?)
}

/// Opens a target of the external form.
///
/// # Errors
/// [`FormatError::BadTag`] if it was not sealed under this key for this id.
pub fn open_external(
    key: &Secret<32>,
    id: [u8; 16],
    sealed: &[u8],
) -> Result<Vec<u8>, FormatError> {
    Ok(open_short(key, &external_aad(id), sealed)?)
}

/// Size of the plaintext target behind a lower symlink of this length, by arithmetic; `None` below
/// the shortest inline form, where the text must be read.
pub fn inline_plain_len(lower_len: u64) -> Option<u64> {
    if lower_len < INLINE_TEXT_MIN {
        return None;
    }
    let overhead = u64::try_from(SHORT_OVERHEAD).unwrap_or(u64::MAX);
    // Four characters for three bytes, without padding; no overflow for any length.
    (lower_len / 4 * 3 + lower_len % 4 * 3 / 4).checked_sub(overhead)
}

fn external_aad(id: [u8; 16]) -> Vec<u8> {
    [Label::SymlinkExternal.bytes(), &id].concat()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    fn key() -> Secret<32> {
        Secret::fill_with(|out| *out = [8; 32])
    }

    fn open(text: &[u8]) -> Result<Vec<u8>, FormatError> {
        match parse(text)? {
            LowerTarget::Inline(sealed) => open_inline(&key(), &sealed),
            LowerTarget::External { .. } => Err(FormatError::BadText { line: 0 }),
        }
    }

    /// docs/FORMAT.md, section 7: 3031 bytes of target are the longest of the inline form.
    #[test]
    fn inline_targets_lead_back_and_their_length_is_arithmetic() {
        let random = SeededRandom::new(1);
        for len in (1..3031).step_by(37).chain([1, 2, 3, 4, 3030, 3031]) {
            let target = vec![b't'; len];
            let text = inline(&key(), &target, &random).unwrap();
            assert!(text.len() <= 4095);
            assert_eq!(open(&text), Ok(target));
            let lower_len = u64::try_from(text.len()).unwrap();
            assert_eq!(inline_plain_len(lower_len), Some(u64::try_from(len).unwrap()));
        }
        assert_eq!(inline(&key(), &[b't'; 3032], &random), None);
        assert_eq!(inline(&key(), b"t", &random).unwrap().len(), 55);
        let _ = inline_plain_len(u64::MAX);
    }

    #[test]
    fn external_targets_lead_back_under_their_own_id_only() {
        let random = SeededRandom::new(2);
        for len in [1, 3032, 4095] {
            let target = vec![b'x'; len];
            let (text, content) = external(&key(), [7; 16], &target, &random);
            assert_eq!(parse(&text), Ok(LowerTarget::External { id: [7; 16], plain_len: len }));
            assert_eq!(inline_plain_len(u64::try_from(text.len()).unwrap()), None);
            assert_eq!(open_external(&key(), [7; 16], &content), Ok(target));
            assert_eq!(open_external(&key(), [6; 16], &content), Err(FormatError::BadTag));
            assert_eq!(open_inline(&key(), &content), Err(FormatError::BadTag));
        }
    }

    #[test]
    fn text_that_is_neither_form_is_refused() {
        let id = "0123456789abcdef0123456789abcdef";
        for bad in [
            "",
            "target",
            "../up",
            &"A".repeat(54),
            "@",
            &format!("@{id}"),
            &format!("@{id}."),
            &format!("@{id}.0"),
            &format!("@{id}.01"),
            &format!("@{id}.4096"),
            &format!("@{id}.+1"),
            &format!("@{}.1", id.to_uppercase()),
            &format!("@{}.1", &id[1..]),
        ] {
            assert_eq!(parse(bad.as_bytes()), Err(FormatError::BadText { line: 0 }), "{bad}");
        }
        assert!(parse(format!("@{id}.4095").as_bytes()).is_ok());
    }
}
