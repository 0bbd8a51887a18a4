//! Key stores: where material lives and is used. Material goes in and never comes out.

mod held;
mod soft;

pub use held::{HeldMaterial, RowKey};
pub use soft::SoftMaterial;
