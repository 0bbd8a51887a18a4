//! Text form of a sealed name: base64url, or a digest with a sidecar when that is too long.
//!
//! Sealing and opening of the name itself is `crypto::name`; docs/FORMAT.md, section 6.

#![deny(clippy::indexing_slicing)]

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::crypto::name::SIV_LEN;
use crate::crypto::sha256;
use crate::format::FormatError;
use crate::name::{LowerName, NAME_LEN_MAX};

/// The marker file of a directory.
pub const MARKER_NAME: &str = ".kmsfs.dir";
/// The volume's own directory, in the lower root.
pub const VOLUME_DIR: &str = ".kmsfs";
/// How the names of files that are being made begin. After an unclean stop they are garbage.
pub const TEMPORARY_PREFIX: &str = ".kmsfs.tmp.";

/// How every lower name begins that is kmsfs' own; `.` is not in the alphabet of sealed names.
const OWN_PREFIX: &[u8] = b".kmsfs";
/// How the name of an object with a long name begins.
const LONG_PREFIX: &str = "L.";
/// How the name of a sidecar ends.
const SIDECAR_SUFFIX: &str = ".name";
/// Bytes of the longest sealed name whose text fits [`NAME_LEN_MAX`]: a plaintext name of 175.
const SHORT_SEALED_MAX: usize = 191;
/// Bytes of the longest sealed name.
const SEALED_MAX: usize = SIV_LEN + NAME_LEN_MAX;

/// Where an object with a sealed name lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LowerForm {
    /// Under the text of the sealed name.
    Short(LowerName),
    /// Under a digest of it.
    Long {
        /// Name of the object.
        object: LowerName,
        /// Name of the file that holds the sealed name: written before the object, removed after.
        sidecar: LowerName,
        /// Content of that file.
        sealed: Vec<u8>,
    },
}

impl LowerForm {
    /// The name of the object itself.
    pub fn object(&self) -> &LowerName {
        match self {
            Self::Short(object) | Self::Long { object, .. } => object,
        }
    }
}

/// Where the object with this sealed name lies.
pub fn lower_form(sealed: &[u8]) -> LowerForm {
    if sealed.len() <= SHORT_SEALED_MAX {
        return LowerForm::Short(LowerName::trusted(BASE64_URL_SAFE_NO_PAD.encode(sealed)));
    }
    let object = digest_text(sealed);
    let sidecar = LowerName::trusted(format!("{object}{SIDECAR_SUFFIX}"));
    LowerForm::Long { object: LowerName::trusted(object), sidecar, sealed: sealed.to_vec() }
}

/// What the name of an entry in a lower directory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LowerEntry {
    /// An object under this sealed name.
    Short(Vec<u8>),
    /// An object whose sealed name lies in a sidecar.
    Long {
        /// Name of the sidecar.
        sidecar: LowerName,
    },
    /// A file of kmsfs' own, never shown: markers, sidecars, the volume's directory.
    Own,
    /// Nothing that kmsfs writes.
    Foreign,
}

/// What a lower name says. Whether a sealed name opens in its directory is another question.
pub fn classify(name: &[u8]) -> LowerEntry {
    if name.starts_with(OWN_PREFIX) {
        return LowerEntry::Own;
    }
    if let Some(digest) = name.strip_prefix(LONG_PREFIX.as_bytes()) {
        return classify_long(digest);
    }
    match BASE64_URL_SAFE_NO_PAD.decode(name) {
        Ok(sealed) if sealed.len() > SIV_LEN && sealed.len() <= SHORT_SEALED_MAX => {
            LowerEntry::Short(sealed)
        }
        _ => LowerEntry::Foreign,
    }
}

fn classify_long(digest: &[u8]) -> LowerEntry {
    let (digest, found) = match digest.strip_suffix(SIDECAR_SUFFIX.as_bytes()) {
        Some(digest) => (digest, LowerEntry::Own),
        None => {
            let text = String::from_utf8_lossy(digest);
            let sidecar = format!("{LONG_PREFIX}{text}{SIDECAR_SUFFIX}");
            match LowerName::from_bytes(sidecar.as_bytes()) {
                Ok(sidecar) => (digest, LowerEntry::Long { sidecar }),
                Err(_) => return LowerEntry::Foreign,
            }
        }
    };
    match BASE64_URL_SAFE_NO_PAD.decode(digest) {
        Ok(bytes) if bytes.len() == 32 => found,
        _ => LowerEntry::Foreign,
    }
}

/// Checks that a sidecar's content belongs to the object with this name. The content is then a
/// sealed name, still to be opened.
///
/// # Errors
/// [`FormatError::TooLong`] if it is longer than any sealed name; [`FormatError::BadName`] if its
/// digest is another, or if it is so short that the short form must be used.
pub fn check_sidecar(object: &LowerName, content: &[u8]) -> Result<(), FormatError> {
    if content.len() > SEALED_MAX {
        return Err(FormatError::TooLong { what: "sealed name", len: content.len() });
    }
    let fits =
        content.len() > SHORT_SEALED_MAX && object.as_bytes() == digest_text(content).as_bytes();
    if fits { Ok(()) } else { Err(FormatError::BadName) }
}

fn digest_text(sealed: &[u8]) -> String {
    format!("{LONG_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(sha256(&[sealed])))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::crypto::NameCipher;
    use crate::secret::Secret;

    fn sealed(plain_len: usize) -> Vec<u8> {
        NameCipher::new(Secret::fill_with(|out| *out = [1; 64]))
            .seal(&[2; 16], &vec![b'n'; plain_len])
    }

    /// docs/FORMAT.md, section 6: 175 bytes of plaintext name are the longest of the short form.
    #[test]
    fn names_up_to_255_bytes_have_a_form_that_leads_back() {
        for plain_len in 1..=255 {
            let sealed = sealed(plain_len);
            match lower_form(&sealed) {
                LowerForm::Short(name) => {
                    assert!(plain_len <= 175);
                    assert_eq!(classify(name.as_bytes()), LowerEntry::Short(sealed));
                }
                LowerForm::Long { object, sidecar, sealed: content } => {
                    assert!(plain_len > 175);
                    assert_eq!(object.as_bytes().len(), 45);
                    assert_eq!(content, sealed);
                    assert_eq!(check_sidecar(&object, &content), Ok(()));
                    assert_eq!(classify(sidecar.as_bytes()), LowerEntry::Own);
                    assert_eq!(classify(object.as_bytes()), LowerEntry::Long { sidecar });
                }
            }
        }
    }

    #[test]
    fn own_files_are_never_shown() {
        for own in [MARKER_NAME, VOLUME_DIR, ".kmsfs.tmp.0123"] {
            assert_eq!(classify(own.as_bytes()), LowerEntry::Own, "{own}");
        }
    }

    #[test]
    fn what_kmsfs_does_not_write_is_foreign() {
        let long = lower_form(&sealed(200)).object().to_string();
        let padded = format!("{}=", BASE64_URL_SAFE_NO_PAD.encode(sealed(3)));
        let trailing_bits = format!("{}B", "A".repeat(22));
        for foreign in [
            "README",
            "lost+found",
            "..",
            ".hidden",
            "L.",
            "L.abc",
            "L.abc.name",
            &"A".repeat(22),
            &"A".repeat(256),
            &padded,
            &trailing_bits,
            &format!("{long}.nam"),
            &long.replace("L.", "l."),
        ] {
            assert_eq!(classify(foreign.as_bytes()), LowerEntry::Foreign, "{foreign}");
        }
        assert_eq!(classify(b"\xff\xfe"), LowerEntry::Foreign);
        assert_eq!(classify(b"L.\xff"), LowerEntry::Foreign);
    }

    #[test]
    fn a_sidecar_of_another_object_is_found() {
        let form = lower_form(&sealed(200));
        assert_eq!(check_sidecar(form.object(), &sealed(201)), Err(FormatError::BadName));
        assert_eq!(
            check_sidecar(form.object(), &[0; 272]),
            Err(FormatError::TooLong { what: "sealed name", len: 272 })
        );
        let short = sealed(175);
        let object = LowerName::trusted(digest_text(&short));
        assert_eq!(check_sidecar(&object, &short), Err(FormatError::BadName));
    }
}
