//! Private keys on the NIST curves and secp256k1: one signs, another agrees on secrets.

use aws_lc_rs::agreement::{
    Algorithm, ECDH_P256, ECDH_P384, ECDH_P521, ParsedPublicKey, PrivateKey, UnparsedPublicKey,
    agree,
};
use aws_lc_rs::digest::{self, Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1,
    ECDSA_P256K1_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    EcdsaVerificationAlgorithm, KeyPair as _,
};

use crate::kms::KmsError;
use crate::kms::algorithms::MessageType;
use crate::kms::spec::KeySpec;
use crate::secret::SecretBytes;

/// How a curve signs, how that is checked, and with which digest.
type Scheme = (
    &'static EcdsaSigningAlgorithm,
    &'static EcdsaVerificationAlgorithm,
    &'static digest::Algorithm,
);

pub(super) fn scheme(spec: KeySpec) -> Option<Scheme> {
    Some(match spec {
        KeySpec::EccNistP256 => (&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_ASN1, &SHA256),
        KeySpec::EccNistP384 => (&ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1, &SHA384),
        KeySpec::EccNistP521 => (&ECDSA_P521_SHA512_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1, &SHA512),
        KeySpec::EccSecgP256k1 => {
            (&ECDSA_P256K1_SHA256_ASN1_SIGNING, &ECDSA_P256K1_SHA256_ASN1, &SHA256)
        }
        _ => return None,
    })
}

#[derive(Debug)]
pub(super) struct EcdsaKey {
    pair: EcdsaKeyPair,
    verification: &'static EcdsaVerificationAlgorithm,
    digest: &'static digest::Algorithm,
}

impl EcdsaKey {
    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Option<(Self, Vec<u8>)> {
        let (signing, verification, digest) = scheme(spec)?;
        let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8).ok()?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
        let public = public.as_ref().to_vec();
        Some((Self { pair, verification, digest }, public))
    }

    pub(super) fn sign(&self, kind: MessageType, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        let failed = |_| KmsError::Internal { message: "the ECDSA signature failed".to_owned() };
        let signature = match kind {
            MessageType::Digest => {
                let digest = Digest::import_less_safe(message, self.digest).map_err(failed)?;
                self.pair.sign_digest(&digest)
            }
            MessageType::Raw | MessageType::ExternalMu => {
                self.pair.sign(&SystemRandom::new(), message)
            }
        };
        Ok(signature.map_err(failed)?.as_ref().to_vec())
    }

    pub(super) fn is_valid(&self, kind: MessageType, message: &[u8], sig: &[u8]) -> bool {
        let key =
            signature::UnparsedPublicKey::new(self.verification, self.pair.public_key().as_ref());
        match kind {
            MessageType::Digest => Digest::import_less_safe(message, self.digest)
                .is_ok_and(|digest| key.verify_digest(&digest, sig).is_ok()),
            MessageType::Raw | MessageType::ExternalMu => key.verify(message, sig).is_ok(),
        }
    }
}

#[derive(Debug)]
pub(super) struct AgreementKey {
    private: PrivateKey,
    curve: &'static Algorithm,
}

impl AgreementKey {
    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Option<(Self, Vec<u8>)> {
        let curve = match spec {
            KeySpec::EccNistP256 => &ECDH_P256,
            KeySpec::EccNistP384 => &ECDH_P384,
            KeySpec::EccNistP521 => &ECDH_P521,
            _ => return None,
        };
        let private = PrivateKey::from_private_key_der(curve, pkcs8).ok()?;
        let public: PublicKeyX509Der<'_> = private.compute_public_key().ok()?.as_der().ok()?;
        let public = public.as_ref().to_vec();
        Some((Self { private, curve }, public))
    }

    pub(super) fn agree(&self, peer: &[u8]) -> Result<SecretBytes, KmsError> {
        let refused = || KmsError::Validation { message: String::new() };
        // The library takes bare points as well; AWS, and we, take SubjectPublicKeyInfo only.
        if peer.first() != Some(&0x30) {
            return Err(refused());
        }
        let peer = UnparsedPublicKey::new(self.curve, peer);
        let peer = ParsedPublicKey::try_from(peer).map_err(|_| refused())?;
        agree(&self.private, peer, refused(), |secret| Ok(SecretBytes::new(secret.to_vec())))
    }
}
