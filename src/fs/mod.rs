//! The filesystem core: names, headers, content, rotation. Knows nothing of FUSE.

mod error;
mod types;
mod volume;

pub use error::{CorruptPart, FsError};
pub use types::{
    AllocateHow, Attr, Caller, DirEntry, NodeId, RenameHow, SeekTo, SetAttr, SetTime, StatFs,
    WriteHow, XattrHow,
};
pub use volume::Volume;
