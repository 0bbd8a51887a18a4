//! The software key store: material in this process' memory, sealed under the root key at rest.

use crate::crypto::kdf::MacKey;
use crate::crypto::short::{ShortKey, open_short, seal_short};
use crate::kms::store::{HeldMaterial, RowKey};
use crate::kms::{KeyId, KmsError, MaterialId};
use crate::random::Random;
use crate::secret::{Secret, SecretBytes};

/// Bound into every material id, before the key id.
const MATERIAL_ID_LABEL: &[u8] = b"kmsfs v1 kms material id";

/// 256 bits of material.
#[derive(Debug)]
pub struct SoftMaterial {
    bytes: Secret<32>,
    /// The same, prepared for use: every file is created and opened through it.
    key: ShortKey,
}

impl SoftMaterial {
    fn new(bytes: Secret<32>) -> Self {
        let key = ShortKey::new(&bytes);
        Self { bytes, key }
    }

    /// Fresh material.
    pub fn random(random: &dyn Random) -> Self {
        Self::new(Secret::random(random))
    }

    /// Material that [`HeldMaterial::to_row`] sealed; `None` if it does not open.
    pub fn from_row(row_key: &RowKey, aad: &[u8], sealed: &[u8]) -> Option<Self> {
        let mut plain = open_short(&row_key.0, aad, sealed).ok()?;
        Secret::take(&mut plain).map(Self::new)
    }

    /// Its identity in a key: a fingerprint that only who has the material can make. The same on
    /// every installation, so that replicas agree and an import of the same bytes is recognised.
    pub fn id(&self, key: &KeyId) -> MaterialId {
        MaterialId(MacKey::new(&self.bytes).tag(&[MATERIAL_ID_LABEL, &key.to_bytes()]))
    }
}

impl HeldMaterial for SoftMaterial {
    fn seal(&self, aad: &[u8], plain: &[u8], random: &dyn Random) -> Result<Vec<u8>, KmsError> {
        Ok(self.key.seal(aad, plain, random))
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, KmsError> {
        self.key.open(aad, sealed).map(SecretBytes::new).map_err(|_| KmsError::InvalidCiphertext)
    }

    fn to_row(&self, row_key: &RowKey, aad: &[u8], random: &dyn Random) -> Option<Vec<u8>> {
        Some(seal_short(&row_key.0, aad, self.bytes.expose(), random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn id_depends_on_key_and_material() {
        let random = SeededRandom::new(1);
        let (one, two) = (SoftMaterial::random(&random), SoftMaterial::random(&random));
        let (a, b) = (KeyId::from_random([1; 16]), KeyId::from_random([2; 16]));
        assert_eq!(one.id(&a), one.id(&a));
        assert_ne!(one.id(&a), one.id(&b));
        assert_ne!(one.id(&a), two.id(&a));
    }

    #[test]
    fn a_row_opens_only_where_it_belongs() {
        let random = SeededRandom::new(2);
        let material = SoftMaterial::random(&random);
        let row_key = RowKey(Secret::random(&random));
        let sealed = material.to_row(&row_key, b"here", &random).unwrap();
        let key = KeyId::from_random([1; 16]);
        let again = SoftMaterial::from_row(&row_key, b"here", &sealed).unwrap();
        assert_eq!(again.id(&key), material.id(&key));
        assert!(SoftMaterial::from_row(&row_key, b"there", &sealed).is_none());
    }
}
