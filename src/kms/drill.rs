//! Opening a key database for a proof alone: nothing is changed, not even the audit log.

use std::path::Path;

use crate::kms::blob::{BlobHead, additional_data};
use crate::kms::db::{RowId, SqliteDb, Table};
use crate::kms::open::DATABASE_NAME;
use crate::kms::ring::{KeyRing, NamedBy};
use crate::kms::root::RootKeys;
use crate::kms::rows::META_DATABASE;
use crate::kms::service::verify_ring;
use crate::kms::slot::open_slots;
use crate::kms::state::{Op, check_state};
use crate::kms::{
    CiphertextBlob, DataKey, EncryptionContext, GeneratedKey, KeyDescription, KeyRef, KeyService,
    KmsError, OpenError, Unlock, Wrapped,
};
use crate::secret::Secret;

/// A key database that is only looked at.
#[derive(Debug)]
pub struct Drill {
    ring: KeyRing,
    slot: String,
    database: Vec<u8>,
}

impl Drill {
    /// Opens and verifies the key database in a directory, every row of it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, unlock: &Unlock) -> Result<Self, OpenError> {
        let path = dir.join(DATABASE_NAME);
        if !path.try_exists()? {
            return Err(OpenError::Missing { path });
        }
        let (snapshot, database) = SqliteDb::open_read_only(&path)?.load_with_file(&path)?;
        let slots = snapshot.rows.iter().filter(|(row, _)| row.table == Table::Slots);
        let slots = slots.map(|(row, body)| (row.id.as_str(), body.as_slice()));
        let (slot, root) = open_slots(slots, unlock)?;
        let salt = snapshot.rows.get(&RowId::new(Table::Meta, META_DATABASE));
        let salt = salt.ok_or_else(|| OpenError::Corrupt { what: "no id".to_owned() })?;
        let keys = RootKeys::derive(&root, salt);
        let ring = verify_ring(&snapshot, &keys, None)?;
        Ok(Self { ring, slot, database })
    }

    /// The bytes of the key database, as they were verified.
    pub fn database(&self) -> &[u8] {
        &self.database
    }

    /// The slot that opened.
    pub fn slot(&self) -> &str {
        &self.slot
    }
}

fn only_looking() -> KmsError {
    KmsError::UnsupportedOperation { message: "A drill only opens.".to_owned() }
}

impl KeyService for Drill {
    fn generate_data_key(
        &self,
        _key: &KeyRef,
        _context: &EncryptionContext,
    ) -> Result<GeneratedKey, KmsError> {
        Err(only_looking())
    }

    fn decrypt(
        &self,
        key: &KeyRef,
        blob: &CiphertextBlob,
        context: &EncryptionContext,
    ) -> Result<DataKey, KmsError> {
        let key = self.ring.resolve(key.as_str(), NamedBy::Anything)?;
        check_state(Op::Decrypt, &key.arn, key.state)?;
        let (head, sealed) = BlobHead::parse(&blob.0).ok_or(KmsError::InvalidCiphertext)?;
        let material = key.find_material(&head.material).filter(|_| head.key == key.id);
        let material = material.ok_or(KmsError::InvalidCiphertext)?;
        if material.revoked.is_some() {
            let (key, material) = (key.arn.to_string(), material.id);
            return Err(KmsError::MaterialRevoked { key, material });
        }
        let plain = material.held.open(&additional_data(&blob.0, context), sealed)?;
        let bytes = <&[u8; 32]>::try_from(plain.expose());
        let bytes = bytes.map_err(|_| KmsError::InvalidCiphertext)?;
        Ok(DataKey(Secret::fill_with(|out| out.copy_from_slice(bytes))))
    }

    fn re_encrypt(
        &self,
        _blob: &CiphertextBlob,
        _key: &KeyRef,
        _context: &EncryptionContext,
    ) -> Result<Wrapped, KmsError> {
        Err(only_looking())
    }

    fn describe_key(&self, key: &KeyRef) -> Result<KeyDescription, KmsError> {
        self.ring.resolve(key.as_str(), NamedBy::Anything).map(|key| KeyDescription {
            arn: key.arn.clone(),
            state: key.state,
            current_material: key.current_material().map(|material| material.id),
        })
    }
}
