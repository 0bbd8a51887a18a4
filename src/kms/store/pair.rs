//! Fresh key pairs, for keys of the KMS and for data key pairs.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::kem::DecapsulationKey;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, PqdsaKeyPair};

use crate::kms::KmsError;
use crate::kms::spec::KeySpec;
use crate::kms::store::{ecc, ml_dsa, ml_kem};
use crate::random::Random;
use crate::secret::SecretBytes;

/// Both halves of a fresh pair.
pub(crate) struct KeyPair {
    /// PKCS#8 in DER; of ML-KEM the bare decapsulation key.
    pub(crate) private: SecretBytes,
    /// SubjectPublicKeyInfo in DER.
    pub(crate) public: Vec<u8>,
}

/// A fresh pair from the operating system's generator. RSA takes up to seconds.
pub(crate) fn generate_pair(spec: KeySpec) -> Result<KeyPair, KmsError> {
    try_generate(spec).ok_or_else(|| KmsError::Internal {
        message: format!("no key pair of spec {} could be made", spec.as_str()),
    })
}

/// The same for who takes it away: the private half is PKCS#8 in DER, whatever the spec.
pub(crate) fn generate_data_pair(spec: KeySpec, random: &dyn Random) -> Result<KeyPair, KmsError> {
    ml_kem::seeded_pair(spec, random).map_or_else(|| generate_pair(spec), Ok)
}

fn try_generate(spec: KeySpec) -> Option<KeyPair> {
    let size = match spec {
        KeySpec::Rsa2048 => Some(KeySize::Rsa2048),
        KeySpec::Rsa3072 => Some(KeySize::Rsa3072),
        KeySpec::Rsa4096 => Some(KeySize::Rsa4096),
        _ => None,
    };
    if let Some(size) = size {
        let pair = RsaKeyPair::generate(size).ok()?;
        let private: Pkcs8V1Der<'_> = pair.as_der().ok()?;
        return halves(private.as_ref(), &pair.public_key().as_der().ok()?);
    }
    if let Some((signing, ..)) = ecc::scheme(spec) {
        let pair = EcdsaKeyPair::generate(signing).ok()?;
        let private = pair.to_pkcs8v1().ok()?;
        return halves(private.as_ref(), &pair.public_key().as_der().ok()?);
    }
    if let Some((signing, _)) = ml_dsa::scheme(spec) {
        let pair = PqdsaKeyPair::generate(signing).ok()?;
        let private = pair.to_pkcs8v1().ok()?;
        return halves(private.as_ref(), &pair.public_key().as_der().ok()?);
    }
    if let Some(set) = ml_kem::set(spec) {
        let private = DecapsulationKey::generate(set.algorithm).ok()?;
        let public = private.encapsulation_key().ok()?.key_bytes().ok()?;
        let private = SecretBytes::new(private.key_bytes().ok()?.as_ref().to_vec());
        return Some(KeyPair { private, public: set.spki(public.as_ref()) });
    }
    if spec == KeySpec::EccNistEdwards25519 {
        let pair = Ed25519KeyPair::generate().ok()?;
        let private = pair.to_pkcs8v1().ok()?;
        return halves(private.as_ref(), &pair.public_key().as_der().ok()?);
    }
    None
}

fn halves(private: &[u8], public: &PublicKeyX509Der<'_>) -> Option<KeyPair> {
    let private = SecretBytes::new(private.to_vec());
    Some(KeyPair { private, public: public.as_ref().to_vec() })
}
