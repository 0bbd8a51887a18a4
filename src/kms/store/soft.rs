//! The software key store: material in this process' memory, sealed under the root key at rest.

use std::sync::Arc;

use crate::crypto::kdf::{MacKey, sha256};
use crate::crypto::short::{open_short, seal_short};
use crate::crypto::suite::NONCE_LEN;
use crate::kms::algorithms::{Family, MacAlgorithm, MessageType, SigningAlgorithm};
use crate::kms::spec::{EncryptionAlgorithm, KeySpec, KeyUsage};
use crate::kms::store::ecc::{AgreementKey, EcdsaKey};
use crate::kms::store::ed25519::Ed25519Key;
use crate::kms::store::mac::MacMaterial;
use crate::kms::store::ml_dsa::MlDsaKey;
use crate::kms::store::ml_kem::MlKemKey;
use crate::kms::store::rsa::{RsaDecryptingKey, RsaSigningKey};
use crate::kms::store::symmetric::SymmetricKey;
use crate::kms::store::{HeldMaterial, RowKey, generate_pair};
use crate::kms::{KeyId, KmsError, MaterialId};
use crate::random::Random;
use crate::secret::{Secret, SecretBytes};

/// Bound into every material id, before the key id.
const MATERIAL_ID_LABEL: &[u8] = b"kmsfs v1 kms material id";

/// Material of any kind.
#[derive(Debug)]
pub(crate) struct SoftMaterial {
    /// As the key database keeps it: 32 bytes of a symmetric key, the bytes of an HMAC key, PKCS#8 of
    /// a private key, the decapsulation key of ML-KEM.
    bytes: SecretBytes,
    /// The public half in DER; empty if there is none.
    public: Vec<u8>,
    /// The same, ready to work.
    tool: Tool,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one for each material, and always behind an Arc")]
enum Tool {
    Agreement(AgreementKey),
    Ecdsa(EcdsaKey),
    Ed25519(Ed25519Key),
    Mac(MacMaterial),
    MlDsa(MlDsaKey),
    MlKem(MlKemKey),
    RsaDecrypting(RsaDecryptingKey),
    RsaSigning(RsaSigningKey),
    Symmetric(SymmetricKey),
}

/// Fresh material for a key of this spec and usage. RSA takes up to seconds.
pub(crate) fn generate(
    spec: KeySpec,
    usage: KeyUsage,
    random: &dyn Random,
) -> Result<Arc<dyn HeldMaterial>, KmsError> {
    let bytes = match spec.family() {
        Family::Symmetric => random_bytes(32, random),
        Family::Hmac => random_bytes(mac_key_len(spec), random),
        _ => generate_pair(spec)?.private,
    };
    let material = SoftMaterial::from_bytes(spec, usage, bytes);
    material.map(|material| -> Arc<dyn HeldMaterial> { Arc::new(material) }).ok_or_else(|| {
        KmsError::Internal { message: format!("fresh {} is refused", spec.as_str()) }
    })
}

/// Bytes of an HMAC key that is made here: as long as its digest.
fn mac_key_len(spec: KeySpec) -> usize {
    match spec {
        KeySpec::Hmac224 => 28,
        KeySpec::Hmac384 => 48,
        KeySpec::Hmac512 => 64,
        _ => 32,
    }
}

fn random_bytes(len: usize, random: &dyn Random) -> SecretBytes {
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    SecretBytes::new(bytes)
}

impl SoftMaterial {
    /// Takes material in; `None` if the bytes are no such key.
    pub(crate) fn from_bytes(spec: KeySpec, usage: KeyUsage, bytes: SecretBytes) -> Option<Self> {
        let plain = bytes.expose();
        let (tool, public) = match (spec.family(), usage) {
            (Family::Symmetric, _) => (Tool::Symmetric(SymmetricKey::from_bytes(plain)?), vec![]),
            (Family::Hmac, _) => (Tool::Mac(MacMaterial::from_bytes(spec, plain)?), vec![]),
            (Family::Rsa, KeyUsage::SignVerify) => {
                let (key, public) = RsaSigningKey::from_pkcs8(spec, plain)?;
                (Tool::RsaSigning(key), public)
            }
            (Family::Rsa, _) => {
                let (key, public) = RsaDecryptingKey::from_pkcs8(spec, plain)?;
                (Tool::RsaDecrypting(key), public)
            }
            (Family::Ecc, KeyUsage::KeyAgreement) => {
                let (key, public) = AgreementKey::from_pkcs8(spec, plain)?;
                (Tool::Agreement(key), public)
            }
            (Family::Ecc, _) => {
                let (key, public) = EcdsaKey::from_pkcs8(spec, plain)?;
                (Tool::Ecdsa(key), public)
            }
            (Family::Ed25519, _) => {
                let (key, public) = Ed25519Key::from_pkcs8(plain)?;
                (Tool::Ed25519(key), public)
            }
            (Family::MlDsa, _) => {
                let (key, public) = MlDsaKey::from_pkcs8(spec, plain)?;
                (Tool::MlDsa(key), public)
            }
            (Family::MlKem, _) => {
                let (key, public) = MlKemKey::from_bytes(spec, plain)?;
                (Tool::MlKem(key), public)
            }
            (Family::Sm2, _) => return None,
        };
        Some(Self { bytes, public, tool })
    }

    /// Material that [`HeldMaterial::to_row`] sealed; `None` if it does not open.
    pub(crate) fn from_row(
        spec: KeySpec,
        usage: KeyUsage,
        row_key: &RowKey,
        aad: &[u8],
        sealed: &[u8],
    ) -> Option<Self> {
        let plain = open_short(&row_key.0, aad, sealed).ok()?;
        Self::from_bytes(spec, usage, SecretBytes::new(plain))
    }
}

/// Identity of material in a key. Material of 32 bytes is the key of the code itself, other material
/// by its SHA-256.
fn material_id(bytes: &[u8], key: &KeyId) -> MaterialId {
    let code_key = Secret::<32>::fill_with(|out| match <&[u8; 32]>::try_from(bytes) {
        Ok(bytes) => out.copy_from_slice(bytes),
        Err(_) => out.copy_from_slice(&sha256(&[bytes])),
    });
    MaterialId(MacKey::new(code_key).tag(&[MATERIAL_ID_LABEL, &key.to_bytes()]))
}

impl HeldMaterial for SoftMaterial {
    fn seal(
        &self,
        aad: &[u8],
        plain: &[u8],
        nonce: &[u8; NONCE_LEN],
        out: &mut Vec<u8>,
    ) -> Result<(), KmsError> {
        match &self.tool {
            Tool::Symmetric(key) => {
                key.seal(aad, plain, nonce, out);
                Ok(())
            }
            _ => Err(mismatch()),
        }
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, KmsError> {
        match &self.tool {
            Tool::Symmetric(key) => key.open(aad, sealed),
            _ => Err(mismatch()),
        }
    }

    fn public_key(&self) -> Option<&[u8]> {
        (!self.public.is_empty()).then_some(&self.public)
    }

    fn encrypt(&self, how: EncryptionAlgorithm, plain: &[u8]) -> Result<Vec<u8>, KmsError> {
        match &self.tool {
            Tool::RsaDecrypting(key) => key.encrypt(how, plain),
            _ => Err(mismatch()),
        }
    }

    fn decrypt(&self, how: EncryptionAlgorithm, sealed: &[u8]) -> Result<SecretBytes, KmsError> {
        match &self.tool {
            Tool::RsaDecrypting(key) => key.decrypt(how, sealed),
            _ => Err(mismatch()),
        }
    }

    fn sign(
        &self,
        how: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        match &self.tool {
            Tool::RsaSigning(key) => key.sign(how, kind, message),
            Tool::Ecdsa(key) => key.sign(kind, message),
            Tool::Ed25519(key) => key.sign(how, message),
            Tool::MlDsa(key) => key.sign(kind, message),
            _ => Err(mismatch()),
        }
    }

    fn verify(
        &self,
        how: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), KmsError> {
        let is_valid = match &self.tool {
            Tool::RsaSigning(key) => key.is_valid(how, kind, message, signature),
            Tool::Ecdsa(key) => key.is_valid(kind, message, signature),
            Tool::Ed25519(key) => key.is_valid(how, message, signature),
            Tool::MlDsa(key) => key.is_valid(kind, message, signature),
            _ => return Err(mismatch()),
        };
        if is_valid { Ok(()) } else { Err(KmsError::InvalidSignature) }
    }

    fn mac(&self, _how: MacAlgorithm, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        match &self.tool {
            Tool::Mac(key) => Ok(key.tag(message)),
            _ => Err(mismatch()),
        }
    }

    fn agree(&self, peer: &[u8]) -> Result<SecretBytes, KmsError> {
        match &self.tool {
            Tool::Agreement(key) => key.agree(peer),
            _ => Err(mismatch()),
        }
    }

    fn encapsulate(&self) -> Result<(Vec<u8>, SecretBytes), KmsError> {
        match &self.tool {
            Tool::MlKem(key) => key.encapsulate(),
            _ => Err(mismatch()),
        }
    }

    fn decapsulate(&self, sealed: &[u8]) -> Result<SecretBytes, KmsError> {
        match &self.tool {
            Tool::MlKem(key) => key.decapsulate(sealed),
            _ => Err(mismatch()),
        }
    }

    fn id(&self, key: &KeyId) -> MaterialId {
        material_id(self.bytes.expose(), key)
    }

    fn to_row(&self, row_key: &RowKey, aad: &[u8], random: &dyn Random) -> Option<Vec<u8>> {
        Some(seal_short(&row_key.0, aad, self.bytes.expose(), random))
    }
}

/// The operations check spec and usage first.
fn mismatch() -> KmsError {
    KmsError::Internal { message: "material of another kind".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    fn symmetric(random: &dyn Random) -> SoftMaterial {
        let bytes = random_bytes(32, random);
        SoftMaterial::from_bytes(KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt, bytes)
            .unwrap()
    }

    #[test]
    fn id_depends_on_key_and_material() {
        let random = SeededRandom::new(1);
        let (one, two) = (symmetric(&random), symmetric(&random));
        let (a, b) = (KeyId::from_random([1; 16]), KeyId::from_random([2; 16]));
        assert_eq!(one.id(&a), one.id(&a));
        assert_ne!(one.id(&a), one.id(&b));
        assert_ne!(one.id(&a), two.id(&a));
    }

    #[test]
    fn a_row_opens_only_where_it_belongs() {
        let random = SeededRandom::new(2);
        let material = symmetric(&random);
        let row_key = RowKey(Secret::random(&random));
        let sealed = material.to_row(&row_key, b"here", &random).unwrap();
        let key = KeyId::from_random([1; 16]);
        let open = |aad| {
            let (spec, usage) = (KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt);
            SoftMaterial::from_row(spec, usage, &row_key, aad, &sealed)
        };
        assert_eq!(open(b"here").unwrap().id(&key), material.id(&key));
        assert!(open(b"there").is_none());
    }

    /// Law: every kind of material comes back from its row as it was.
    #[test]
    fn every_kind_comes_back_from_its_row() {
        let random = SeededRandom::new(3);
        let row_key = RowKey(Secret::random(&random));
        let key = KeyId::from_random([1; 16]);
        for spec in KeySpec::ALL.iter().filter(|spec| **spec != KeySpec::Rsa4096) {
            for usage in spec.usages() {
                let material = generate(*spec, *usage, &random).unwrap();
                let sealed = material.to_row(&row_key, b"row", &random).unwrap();
                let again =
                    SoftMaterial::from_row(*spec, *usage, &row_key, b"row", &sealed).unwrap();
                assert_eq!(again.id(&key), material.id(&key), "{spec:?}");
                assert_eq!(again.public_key(), material.public_key(), "{spec:?}");
            }
        }
    }
}
