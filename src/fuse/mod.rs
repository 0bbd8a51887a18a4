//! The adapter between the kernel and [`fs::Volume`](crate::fs::Volume): types in, types out.
//!
//! Every request of the kernel becomes one call of the volume, every error one errno, and nothing
//! else is decided here. This is the only module that names `fuser`; it never sees a key, a block
//! or a lower path.

mod adapter;
mod convert;
mod counters;
mod device;
mod duty;
mod errno;
mod error;
mod given;
mod guard;
mod linger;
mod mounter;
mod mountinfo;
mod negotiate;
mod no_room;
mod options;
mod patience;
mod seeker;
mod session;

pub use adapter::Adapter;
pub use counters::{Counters, Op};
pub use error::MountError;
pub use mounter::{Apart, Mounter, serve as serve_mounts};
pub use negotiate::Caching;
pub use options::{MountFlag, MountOptions};
pub use session::{
    Invalidator, Mounted, UnmountHow, Unmounter, is_mounted, mount, mount_by, remount,
};
