//! One checked path component, in its two forms.
//!
//! [`PlainName`] is what the user sees, [`LowerName`] is what lies on disk. There is no conversion
//! between them but `fs::names::NameCipher`, so that confusing the two is a compile error and not a
//! leak.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Longest name in bytes, plain or lower. Linux `NAME_MAX`.
pub const NAME_LEN_MAX: usize = 255;

/// Why bytes are not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Empty, `.`, `..`, or with a `/` or NUL in it.
    Malformed,
    /// Longer than [`NAME_LEN_MAX`].
    TooLong,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("not a file name"),
            Self::TooLong => write!(f, "file name longer than {NAME_LEN_MAX} bytes"),
        }
    }
}

impl std::error::Error for NameError {}

fn check(bytes: &[u8]) -> Result<(), NameError> {
    if bytes.len() > NAME_LEN_MAX {
        return Err(NameError::TooLong);
    }
    let malformed = bytes.is_empty()
        || bytes == b"."
        || bytes == b".."
        || bytes.iter().any(|&b| b == b'/' || b == 0);
    if malformed { Err(NameError::Malformed) } else { Ok(()) }
}

/// A plaintext file name. Secret: `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlainName(OsString);

impl PlainName {
    /// Checks one component.
    ///
    /// # Errors
    /// [`NameError`] if the bytes are no single path component.
    pub fn parse(name: &OsStr) -> Result<Self, NameError> {
        check(name.as_bytes())?;
        Ok(Self(name.to_os_string()))
    }

    /// Checks one component given as bytes.
    ///
    /// # Errors
    /// [`NameError`] if the bytes are no single path component.
    pub fn from_bytes(name: &[u8]) -> Result<Self, NameError> {
        Self::parse(OsStr::from_bytes(name))
    }

    /// The bytes of the name, without NUL.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The name as the operating system's string.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }
}

impl fmt::Debug for PlainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainName({} bytes)", self.0.len())
    }
}

/// The name of an entry in a lower directory. Not secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LowerName(OsString);

impl LowerName {
    /// Checks one component.
    ///
    /// # Errors
    /// [`NameError`] if the bytes are no single path component.
    pub fn from_bytes(name: &[u8]) -> Result<Self, NameError> {
        check(name)?;
        Ok(Self(OsString::from_vec(name.to_vec())))
    }

    /// Takes over text that is a name by construction, such as base64url of at most
    /// [`NAME_LEN_MAX`] characters. Only `format::name` makes such text.
    pub(crate) fn trusted(text: String) -> Self {
        debug_assert_eq!(check(text.as_bytes()), Ok(()));
        Self(OsString::from(text))
    }

    /// The bytes of the name, without NUL.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The name as the operating system's string.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }
}

impl fmt::Debug for LowerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LowerName({:?})", self.0)
    }
}

impl fmt::Display for LowerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_that_are_no_names_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
            assert_eq!(PlainName::from_bytes(bad), Err(NameError::Malformed));
        }
        assert_eq!(PlainName::from_bytes(&[b'x'; 256]), Err(NameError::TooLong));
        assert!(PlainName::from_bytes(&[0xff; 255]).is_ok());
    }

    #[test]
    fn debug_does_not_show_a_plain_name() {
        let name = PlainName::from_bytes(b"salary").unwrap();
        assert_eq!(format!("{name:?}"), "PlainName(6 bytes)");
    }
}
