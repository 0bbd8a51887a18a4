//! kmsfs: a FUSE filesystem that encrypts every file under its own data key.
//!
//! Each data key is kept in an envelope header of its file, wrapped by a KMS key of kmsfs' own key
//! management service. Rotating that key changes who wraps the data key, never the data key itself;
//! headers are rewrapped lazily and content is not touched.
//!
//! A tour, in reading order:
//!
//! * base: [`units`], [`name`], [`codec`], [`secret`], [`clock`], [`random`], [`sync`]
//! * [`crypto`]: sealing of blocks, names and keys; no I/O
//! * [`format`](mod@format): bytes on disk to types and back; no I/O
//! * [`lower`]: the only place that touches the volume's directory, and the only `unsafe`
//! * [`fence`]: what a long-lived process gives up
//! * [`kms`]: the key management service; knows nothing of files
//! * [`wire`]: AWS' JSON shapes over [`kms`]
//! * [`events`]: what happens in [`kms`], told to others; alarms
//! * [`http`]: AWS' protocol on sockets: signatures, credentials, server
//! * [`fs`]: the filesystem core; knows nothing of FUSE
//! * [`fuse`]: the adapter between the kernel and [`fs`]
//! * [`control`]: the socket through which commands reach a mounted volume
//! * [`cli`]: the command line

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod clock;
pub mod codec;
pub mod name;
pub mod random;
pub mod secret;
pub mod sync;
pub mod units;

pub mod crypto;
pub mod fence;
pub mod format;
pub mod lower;

pub mod events;
pub mod fs;
pub mod http;
pub mod kms;
pub mod wire;

pub mod cli;
pub mod control;
#[cfg(feature = "fuse")]
pub mod fuse;

#[cfg(feature = "testing")]
pub mod testing;
