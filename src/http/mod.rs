//! AWS KMS' protocol over HTTP, on both sides.
//!
//! The server: who asks ([`sigv4`], [`credentials`]), what is asked ([`service`]), and the sockets
//! ([`server`]); [`test_clock`] is for tests. The client: where ([`endpoint`]), whom it believes there
//! ([`trust`]), as whom it asks ([`identity`]), the calls ([`client`]), and the filesystem's questions
//! ([`remote`]). What a volume tells of its files is in [`volumes`], for both.
//! What both sign with is in [`signature`]; what the JSON means is in [`crate::wire`].

pub mod client;
pub mod credentials;
pub mod endpoint;
pub mod identity;
pub mod remote;
pub mod server;
pub mod service;
pub mod signature;
pub mod sigv4;
pub mod test_clock;
pub mod trust;
pub mod volumes;

/// In front of an operation's name in `X-Amz-Target`.
const TARGET_PREFIX: &str = "TrentService.";

pub use client::{CallError, Client, Patience};
pub use credentials::{Credential, Credentials};
pub use endpoint::{Endpoint, EndpointError};
pub use identity::{Identity, IdentityError, Wanted};
pub use remote::RemoteKms;
pub use server::{Listen, Server};
pub use service::Service;
pub use test_clock::TestClock;
pub use trust::{Trust, TrustError};
