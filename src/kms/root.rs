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
    /// From which the root keys of further Regions come.
    regions: Secret<32>,
}

impl RootKeys {
    /// Derives all of them; the database's id is the salt.
    pub(crate) fn derive(root: &RootKey, database: &[u8]) -> Self {
        let root = root.0.expose();
        Self {
            rows: RowKey(derive(root, database, b"kmsfs v1 kms rows")),
            ring: MacKey::new(derive(root, database, b"kmsfs v1 kms ring")),
            audit: Arc::new(MacKey::new(derive(root, database, b"kmsfs v1 kms audit"))),
            regions: derive(root, database, b"kmsfs v1 kms regions"),
        }
    }

    /// The root key of an account in a Region: HKDF, salt the account, info a label and the Region.
    pub(crate) fn region_root(&self, account: &str, region: &str) -> RootKey {
        let info = [b"kmsfs v1 kms region ", region.as_bytes()].concat();
        RootKey(derive(self.regions.expose(), account.as_bytes(), &info))
    }
}
