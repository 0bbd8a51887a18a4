//! Every way in which bytes on disk can be wrong.

use std::fmt;

use crate::codec::OutOfBounds;
use crate::crypto::AuthFailed;

/// What is wrong with bytes on disk. Says nothing about who made them so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// An envelope slot whose checksum holds but whose fields do not fit.
    BadEnvelope,
    /// Block geometry other than that of this format version.
    BadGeometry,
    /// A file's home whose fields do not fit.
    BadHome,
    /// The first bytes are not those of the structure.
    BadMagic,
    /// A lower name, or the name of a lower extended attribute, that kmsfs does not write, or whose
    /// sealed name does not open in this place.
    BadName,
    /// A block's record whose fields do not fit, or bytes other than zero behind its ciphertext.
    BadRecord,
    /// Authentication failed: bytes, key, or place differ from what was sealed.
    BadTag,
    /// Text that does not follow its grammar, from this line on (0: a text without lines).
    BadText {
        /// Counted from 1.
        line: usize,
    },
    /// Reserved bytes or flag bits that are not zero.
    ReservedNotZero,
    /// Something longer than its place.
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// No envelope slot is valid.
    TornSlots,
    /// Fewer bytes than the structure has.
    Truncated,
    /// A suite that this version does not know.
    UnknownSuite {
        /// Its number; 0 if the suite was given by name.
        found: u16,
    },
    /// A format version that this version does not know.
    UnknownVersion {
        /// Its number.
        found: u16,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadEnvelope => f.write_str("envelope slot does not follow the format"),
            Self::BadGeometry => f.write_str("block geometry is not that of this format version"),
            Self::BadHome => f.write_str("home does not follow the format"),
            Self::BadMagic => f.write_str("magic bytes are missing"),
            Self::BadName => f.write_str("lower name does not open here"),
            Self::BadRecord => f.write_str("record does not follow the format"),
            Self::BadTag => f.write_str("authentication failed"),
            Self::BadText { line: 0 } => f.write_str("text does not follow the format"),
            Self::BadText { line } => write!(f, "text does not follow the format at line {line}"),
            Self::ReservedNotZero => f.write_str("reserved bytes are not zero"),
            Self::TooLong { what, len } => write!(f, "{what} of {len} bytes is too long"),
            Self::TornSlots => f.write_str("no envelope slot is valid"),
            Self::Truncated => f.write_str("structure is cut off"),
            Self::UnknownSuite { found } => write!(f, "suite {found} is unknown"),
            Self::UnknownVersion { found } => write!(f, "format version {found} is unknown"),
        }
    }
}

impl std::error::Error for FormatError {}

impl From<AuthFailed> for FormatError {
    fn from(_: AuthFailed) -> Self {
        Self::BadTag
    }
}

impl From<OutOfBounds> for FormatError {
    fn from(_: OutOfBounds) -> Self {
        Self::Truncated
    }
}

/// Checks reserved bytes.
///
/// # Errors
/// [`FormatError::ReservedNotZero`] unless all are zero.
pub(super) fn check_reserved(bytes: &[u8]) -> Result<(), FormatError> {
    if bytes.iter().all(|&b| b == 0) { Ok(()) } else { Err(FormatError::ReservedNotZero) }
}
