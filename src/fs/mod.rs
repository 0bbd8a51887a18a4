//! The filesystem core: names, headers, content, rotation. Knows nothing of FUSE.
//!
//! [`Volume`] is the whole surface. Its operations stand by subject: `lookup` and `readdir`,
//! `create`, `remove`, `attrs`, `xattrs`, `io`, `home`; checks and repairs in `fsck`, `findings`,
//! `repair` and `salvage`; what concerns one file's content and header stands in
//! `file`, `content`, `resize`, `holes`, `header_io`, `rewrap` and `recover`, which know no names and
//! run on any [`crate::lower::LowerFile`].

mod ahead;
mod archive;
mod archive_restore;
mod attrs;
mod buffers;
mod content;
mod create;
mod data_keys;
mod descriptors;
mod error;
mod file;
mod findings;
mod fsck;
mod gaps;
mod header_io;
mod holes;
mod home;
mod io;
mod key_limits;
mod leaving;
mod lifecycle;
mod listings;
mod lookup;
mod names;
mod nodes;
mod policy;
mod readdir;
mod recover;
mod recover_names;
mod recover_tree;
mod remove;
mod repair;
mod resize;
mod rewrap;
mod rewrap_queue;
mod salvage;
mod status;
mod sweep;
mod sweep_hands;
mod traces;
mod types;
mod unsynced;
mod volume;
mod walk;
mod workers;
mod written;
mod xattrs;

pub use crate::format::archive::EntryKind as ArchiveEntryKind;
pub use archive::{ArchiveError, ArchiveReader, Saved, save_headers};
pub use archive_restore::{
    RestoreOptions, Restored, archived_place, check_archive, restore_headers,
};
pub use content::Trust;
pub use data_keys::DataKeys;
pub use error::{CorruptPart, FsError};
pub use file::{FileEnv, FileNode};
pub use findings::{CODES, Finding, FsckDepth, FsckReport, Rebind, Repair};
pub use home::{Homeless, Housing};
pub use key_limits::KeyLimits;
pub use lifecycle::{NewVolume, OpenOptions, VolumeSummary, init, init_with, probe, rehearse};
pub use recover::{Mended, mend};
pub use recover_tree::RecoveryReport;
pub use resize::EmptyHeader;
pub use rewrap::Rewrapped;
pub use status::{FileStatus, VolumeStatus};
pub use sweep::{RewrapOptions, RewrapReport, Usage, UsageRow};
pub use traces::LastCheckpoint;
pub use types::{
    AllocateHow, Attr, Caller, DirEntry, NodeId, RenameHow, SeekTo, SetAttr, SetTime, StatFs,
    WriteHow, XattrHow,
};
pub use volume::Volume;
pub use workers::Workers;
pub use written::{Remembering, Written};
