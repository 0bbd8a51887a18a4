//! The lower filesystem: the only place that touches the volume's directory.
//!
//! Everything is `(directory descriptor, name)`; no method takes a path, so that there is no race of
//! strings. All of the crate's `unsafe` stands in `sys`.

mod types;

pub use types::{LowerError, LowerFile, LowerId, LowerStat, LowerTime, NodeKind, SyncScope};
