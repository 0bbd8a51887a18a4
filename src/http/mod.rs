//! AWS KMS' protocol over HTTP: who asks ([`sigv4`], [`credentials`]), what is asked ([`service`]), and
//! the sockets ([`server`]). What the JSON means is in [`crate::wire`].

pub mod credentials;
pub mod server;
pub mod service;
pub mod sigv4;

pub use credentials::{Credential, Credentials};
pub use server::{Listen, Server};
pub use service::Service;
