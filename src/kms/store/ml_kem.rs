//! ML-KEM decapsulation keys (FIPS 203).

use aws_lc_rs::kem::{
    Algorithm, AlgorithmId, Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_512, ML_KEM_768,
    ML_KEM_1024,
};
use ml_kem::{FromSeed as _, KeyExport as _, MlKem512, MlKem768, MlKem1024, Seed};

use crate::kms::KmsError;
use crate::kms::spec::KeySpec;
use crate::kms::store::KeyPair;
use crate::random::Random;
use crate::secret::{Secret, SecretBytes};

pub(super) struct MlKemKey {
    private: DecapsulationKey<AlgorithmId>,
    public: EncapsulationKey<AlgorithmId>,
    ciphertext_len: usize,
}

impl std::fmt::Debug for MlKemKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MlKemKey")
    }
}

/// Parameters of a set: the algorithm, k (FIPS 203, table 2), bytes of a ciphertext (table 3), and the
/// last arc of its object identifier (2.16.840.1.101.3.4.4.x, RFC 9935).
pub(super) struct Set {
    pub(super) algorithm: &'static Algorithm<AlgorithmId>,
    k: usize,
    ciphertext_len: usize,
    arc: u8,
}

pub(super) fn set(spec: KeySpec) -> Option<Set> {
    Some(match spec {
        KeySpec::MlKem512 => Set { algorithm: &ML_KEM_512, k: 2, ciphertext_len: 768, arc: 1 },
        KeySpec::MlKem768 => Set { algorithm: &ML_KEM_768, k: 3, ciphertext_len: 1088, arc: 2 },
        KeySpec::MlKem1024 => Set { algorithm: &ML_KEM_1024, k: 4, ciphertext_len: 1568, arc: 3 },
        _ => return None,
    })
}

impl Set {
    /// The encapsulation key inside a decapsulation key: dk_PKE (384 k bytes), ek (384 k + 32), hash
    /// of ek, z (FIPS 203, algorithm 16).
    fn public_part<'a>(&self, private: &'a [u8]) -> Option<&'a [u8]> {
        let len = self.k.checked_mul(384)?;
        private.get(len..)?.get(..len.checked_add(32)?)
    }

    /// SubjectPublicKeyInfo of an encapsulation key.
    pub(super) fn spki(&self, public: &[u8]) -> Vec<u8> {
        let bits = [&[0][..], public].concat();
        let body = [&self.identifier()[..], &der(0x03, &bits)].concat();
        der(0x30, &body)
    }

    /// PKCS#8 of the key that a seed makes (RFC 9935, `seed`).
    fn pkcs8(&self, seed: &Secret<64>) -> SecretBytes {
        let head = [&[0x30, 0x54, 0x02, 0x01, 0x00][..], &self.identifier()].concat();
        SecretBytes::new([&head[..], &[0x04, 0x42, 0x80, 0x40], seed.expose()].concat())
    }

    fn identifier(&self) -> [u8; 13] {
        [0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, self.arc]
    }
}

/// A fresh pair whose private half is PKCS#8 of its seed; `None` if the spec is none of ML-KEM.
pub(super) fn seeded_pair(spec: KeySpec, random: &dyn Random) -> Option<KeyPair> {
    let set = set(spec)?;
    let seed = Secret::<64>::random(random);
    let bytes = Seed::from(*seed.expose());
    let public = match spec {
        KeySpec::MlKem512 => MlKem512::from_seed(&bytes).1.to_bytes().to_vec(),
        KeySpec::MlKem768 => MlKem768::from_seed(&bytes).1.to_bytes().to_vec(),
        _ => MlKem1024::from_seed(&bytes).1.to_bytes().to_vec(),
    };
    Some(KeyPair { private: set.pkcs8(&seed), public: set.spki(&public) })
}

/// A DER element; the contents here take at most 65535 bytes.
fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let len = u16::try_from(contents.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[tag, 0x82][..], &len, contents].concat()
}

impl MlKemKey {
    pub(super) fn from_bytes(spec: KeySpec, bytes: &[u8]) -> Option<(Self, Vec<u8>)> {
        let set = set(spec)?;
        let private = DecapsulationKey::new(set.algorithm, bytes).ok()?;
        let public = set.public_part(bytes)?;
        let spki = set.spki(public);
        let public = EncapsulationKey::new(set.algorithm, public).ok()?;
        Some((Self { private, public, ciphertext_len: set.ciphertext_len }, spki))
    }

    pub(super) fn encapsulate(&self) -> Result<(Vec<u8>, SecretBytes), KmsError> {
        let (sealed, secret) = self.public.encapsulate().map_err(|_| KmsError::Internal {
            message: "the ML-KEM encapsulation failed".to_owned(),
        })?;
        Ok((sealed.as_ref().to_vec(), SecretBytes::new(secret.as_ref().to_vec())))
    }

    pub(super) fn decapsulate(&self, sealed: &[u8]) -> Result<SecretBytes, KmsError> {
        if sealed.len() != self.ciphertext_len {
            return Err(KmsError::InvalidCiphertext);
        }
        let secret = self.private.decapsulate(Ciphertext::from(sealed));
        let secret = secret.map_err(|_| KmsError::InvalidCiphertext)?;
        Ok(SecretBytes::new(secret.as_ref().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use ml_kem::Decapsulate as _;

    use super::*;
    use crate::random::SeededRandom;

    /// Law: what one library encapsulates to the public half, another decapsulates by the seed.
    #[test]
    fn halves_of_a_seeded_pair_belong_together() {
        for spec in [KeySpec::MlKem512, KeySpec::MlKem768, KeySpec::MlKem1024] {
            let pair = seeded_pair(spec, &SeededRandom::new(1)).unwrap();
            let public = EncapsulationKey::new(set(spec).unwrap().algorithm, &pair.public[22..]);
            let (sealed, secret) = public.unwrap().encapsulate().unwrap();
            let sealed = sealed.as_ref();
            let seed = Seed::try_from(&pair.private.expose()[22..]).unwrap();
            let opened = match spec {
                KeySpec::MlKem512 => MlKem512::from_seed(&seed).0.decapsulate_slice(sealed),
                KeySpec::MlKem768 => MlKem768::from_seed(&seed).0.decapsulate_slice(sealed),
                _ => MlKem1024::from_seed(&seed).0.decapsulate_slice(sealed),
            };
            assert_eq!(opened.unwrap().as_slice(), secret.as_ref(), "{spec:?}");
        }
    }
}
