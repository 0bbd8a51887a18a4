//! Sealing of blocks, short records, names and keys. Bytes to bytes; no I/O, no clock.
//!
//! * [`suite`]: the named set of algorithms that a file carries
//! * [`xaes`]: XAES-256-GCM's derivation of key and nonce
//! * [`block`]: the content of one file, through the fast AEAD
//! * [`short`]: short records under a long-lived key
//! * [`name`]: deterministic sealing of names
//! * [`kdf`]: HKDF, HMAC, SHA-256 and the list of every label
//!
//! What the sealed bytes look like on disk is `format`'s business.

pub mod block;
mod failure;
pub mod kdf;
pub mod name;
pub mod short;
pub mod suite;
pub mod xaes;

pub use block::ContentCipher;
pub use failure::AuthFailed;
pub use kdf::{FileKeys, Label, MacKey, VolumeKeys, sha256};
pub use name::NameCipher;
pub use short::{SHORT_OVERHEAD, open_short, seal_short};
pub use suite::Suite;
