//! The lower filesystem: the only place that touches the volume's directory.
//!
//! Everything is `(directory descriptor, name)`; no method takes a path, so that there is no race of
//! strings, and none follows a symbolic link. All of the crate's `unsafe` stands in `sys`.
//!
//! * [`LowerDir`]: a directory and what can be done to the names in it
//! * [`OsFile`]: an open regular file, the real [`LowerFile`]
//! * [`Pinned`]: any inode, held by descriptor, with or without a name
//! * [`Inode`]: any of these, for its attributes
//! * [`acting_as`]: creating on behalf of another user

mod attributes;
mod dir;
mod entries;
mod file;
mod identity;
mod inode;
mod limits;
mod pinned;
mod proc_fd;
#[allow(unsafe_code)]
mod sys;
#[cfg(test)]
mod test_dir;
mod types;
mod whole_file;
mod xattr;

pub use dir::LowerDir;
pub use entries::{Entries, LowerEntry};
pub use file::{CAPABILITY, OsFile};
pub use identity::{acting_as, is_in_group};
pub use inode::Inode;
pub use limits::{lock_memory, no_core_dumps, raise_descriptor_limit, reserve_descriptors};
pub use pinned::Pinned;
pub use types::{
    Access, LowerError, LowerFile, LowerId, LowerRename, LowerStat, LowerStatFs, LowerTime, Marks,
    NodeKind, Stamps, SyncScope, TimeSpec, XattrFlags,
};
pub use whole_file::LockedFile;
