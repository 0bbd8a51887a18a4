//! The socket through which commands reach a mounted volume, and the requests behind it.
//!
//! A request is carried out by [`Session`], which needs an open volume and nothing of a mount: a
//! command on an unmounted volume runs the very same code without a socket. What a command prints
//! is a report of [`report`]; text and JSON come from the same struct. Exit codes are not decided
//! here but in `cli/exit.rs`.

mod audit;
mod client;
mod failure;
pub(crate) mod keys;
pub(crate) mod known;
pub(crate) mod materials;
mod places;
mod protocol;
pub mod report;
mod report_keys;
mod server;
mod session;
mod walks;

pub use audit::verify_log;
pub(crate) use client::real_path;
pub use client::{Client, Mount, list_mounts};
#[cfg(feature = "fuse")]
pub(crate) use failure::io_words;
pub use failure::{Failure, Kind};
pub use keys::Keys;
#[cfg(feature = "fuse")]
pub(crate) use places::make_socket_dir;
pub use places::socket_dir;
pub use protocol::{
    FsckDepth, Progress, RepairRequest, Reply, Request, RevokeRequest, RewrapRequest, Verb,
};
pub use server::{Server, Started};
pub use session::{MountSide, OnProgress, Session};
