//! The root key and what is derived from it. Slots, which seal the root key, are in `slot`.

use std::sync::Arc;

use crate::crypto::kdf::{MacKey, derive};
use crate::kms::store::RowKey;
use crate::secret::Secret;

/// 32 random bytes under which everything secret in the key database lies.
#[derive(Debug)]
pub(crate) struct RootKey(pub(crate) Secret<32>);

/// The keys derived from the root key of one database.
#[derive(Debug)]
pub(crate) struct RootKeys {
    /// Seals secret columns.
    pub(crate) rows: RowKey,
    /// Over the whole ring.
    pub(crate) ring: MacKey,
    /// Over each line of the audit log.
    pub(crate) audit: Arc<MacKey>,
}

impl RootKeys {
    /// Derives all of them; the database's id is the salt.
    pub(crate) fn derive(root: &RootKey, database: &[u8]) -> Self {
        let root = root.0.expose();
        Self {
            rows: RowKey(derive(root, database, b"kmsfs v1 kms rows")),
            ring: MacKey::new(&derive(root, database, b"kmsfs v1 kms ring")),
            audit: Arc::new(MacKey::new(&derive(root, database, b"kmsfs v1 kms audit"))),
        }
    }
}
