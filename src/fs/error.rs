//! What can go wrong in the filesystem core. errno is decided at the edge, in `fuse/errno.rs`.

use std::fmt;

use crate::format::FormatError;
use crate::kms::KmsError;
use crate::lower::LowerError;
use crate::units::BlockNo;

/// The part of a lower file, or of the volume, whose bytes do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorruptPart {
    /// The record of a block.
    Block(BlockNo),
    /// Prelude or envelope slots.
    Header,
    /// A file or directory that belongs elsewhere.
    Home,
    /// The lower length fits no plaintext.
    Length,
    /// A directory's marker.
    Marker,
    /// An entry's name, or its sidecar.
    Name,
    /// The target of a symbolic link.
    SymlinkTarget,
    /// The value of an extended attribute.
    Xattr,
}

impl fmt::Display for CorruptPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(no) => write!(f, "block {no}"),
            Self::Header => f.write_str("header"),
            Self::Home => f.write_str("place in the tree"),
            Self::Length => f.write_str("length"),
            Self::Marker => f.write_str("directory marker"),
            Self::Name => f.write_str("name"),
            Self::SymlinkTarget => f.write_str("symlink target"),
            Self::Xattr => f.write_str("extended attribute"),
        }
    }
}

/// What can go wrong in the filesystem core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FsError {
    /// The name is no name.
    BadName,
    /// A broken invariant of ours.
    Bug(&'static str),
    /// Bytes that fail authentication or grammar.
    Corrupt(CorruptPart),
    /// A plain POSIX refusal of our own, such as ENOTEMPTY, as errno.
    Errno(i32),
    /// The key service refused.
    Key(KmsError),
    /// The lower filesystem refused.
    Lower(LowerError),
    /// The name is too long.
    NameTooLong,
    /// No such name.
    NotFound,
    /// The volume is mounted read-only.
    ReadOnly,
    /// Nothing tells whether the volume was closed: its state is missing, or was changed.
    StateUnknown,
    /// The kernel names a node that we do not know.
    StaleNode,
    /// Not offered.
    Unsupported,
    /// Another mount or command has the volume open.
    VolumeBusy,
    /// The volume configuration does not parse or verify.
    VolumeConfig(FormatError),
    /// The directory holds no volume.
    VolumeMissing,
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName => f.write_str("not a file name"),
            Self::Bug(text) => write!(f, "internal error: {text}"),
            Self::Corrupt(part) => write!(f, "{part}: authentication failed"),
            Self::Errno(errno) => std::io::Error::from_raw_os_error(*errno).fmt(f),
            Self::Key(error) => write!(f, "{}: {error}", error.exception()),
            Self::Lower(error) => error.fmt(f),
            Self::NameTooLong => f.write_str("name too long"),
            Self::NotFound => f.write_str("no such file or directory"),
            Self::ReadOnly => f.write_str("read-only volume"),
            Self::StateUnknown => f.write_str("the volume's state is missing or was changed"),
            Self::StaleNode => f.write_str("stale node"),
            Self::Unsupported => f.write_str("not supported"),
            Self::VolumeBusy => f.write_str("the volume is open elsewhere"),
            Self::VolumeConfig(error) => write!(f, "volume configuration: {error}"),
            Self::VolumeMissing => f.write_str("no kmsfs volume"),
        }
    }
}

impl std::error::Error for FsError {}

impl From<LowerError> for FsError {
    fn from(error: LowerError) -> Self {
        Self::Lower(error)
    }
}

impl From<KmsError> for FsError {
    fn from(error: KmsError) -> Self {
        Self::Key(error)
    }
}
