//! Bytes on disk to types and back. No I/O, no clock. The text of the format is docs/FORMAT.md.
//!
//! * [`layout`]: all arithmetic of offsets and sizes
//! * [`record`]: one sealed block
//! * [`header`], [`envelope`]: the first bytes of a lower file
//! * [`home`]: where a file belongs
//! * [`ids`]: random identities of volumes, files and directories
//! * [`name`], [`marker`]: lower names and the marker of a directory
//! * [`symlink`], [`xattr`]: targets and extended attributes
//! * [`volume`], [`state`]: the volume's own two files

pub mod archive;
pub mod envelope;
mod error;
pub mod header;
pub mod home;
pub mod ids;
pub mod layout;
pub mod marker;
pub mod name;
pub mod record;
pub mod state;
pub mod symlink;
pub mod volume;
mod volume_text;
pub mod xattr;

pub use envelope::{Envelope, Slot, SlotIndex};
pub use error::FormatError;
pub use header::{FileHeader, Prelude};
pub use home::{DirHome, Home, HomePlace};
pub use ids::{DirId, FileId, VolumeId};
pub use marker::DirMarker;
pub use name::{LowerEntry, LowerForm};
pub use record::{Position, RecordHead};
pub use state::VolumeState;
pub use symlink::LowerTarget;
pub use volume::{
    KeyPolicyEntry, KmsPlace, NameBinding, UnverifiedConfig, VolumeConfig, WrappedVolumeKey,
};
pub use xattr::XattrName;

#[cfg(test)]
mod example;
