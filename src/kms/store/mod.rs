//! Key stores: where material lives and is used. Material goes in and never comes out.

mod ecc;
mod ed25519;
mod held;
mod import;
mod mac;
mod ml_dsa;
mod ml_kem;
mod pair;
mod rsa;
mod soft;
mod symmetric;

pub use held::{HeldMaterial, RowKey};
pub(crate) use import::{public_half, unwrap_material, wrap_key};
pub(crate) use pair::{KeyPair, generate_data_pair, generate_pair};
pub(crate) use soft::{SoftMaterial, generate};
