//! What the material of each kind of key is used with: AWS' algorithms, and which spec knows which.

use crate::kms::KmsError;
use crate::kms::key::KmsKey;
use crate::kms::spec::{EncryptionAlgorithm, KeySpec, KeyUsage, aws_enum};
use crate::kms::state::Op;

aws_enum! {
    /// How a message is signed.
    SigningAlgorithm {
        /// RSASSA-PSS (RFC 8017), MGF1 with the same hash, salt as long as the digest; SHA-256.
        RsassaPssSha256 = "RSASSA_PSS_SHA_256",
        /// The same with SHA-384.
        RsassaPssSha384 = "RSASSA_PSS_SHA_384",
        /// The same with SHA-512.
        RsassaPssSha512 = "RSASSA_PSS_SHA_512",
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        RsassaPkcs1Sha256 = "RSASSA_PKCS1_V1_5_SHA_256",
        /// The same with SHA-384.
        RsassaPkcs1Sha384 = "RSASSA_PKCS1_V1_5_SHA_384",
        /// The same with SHA-512.
        RsassaPkcs1Sha512 = "RSASSA_PKCS1_V1_5_SHA_512",
        /// ECDSA (FIPS 186-5) with SHA-256; the signature is DER.
        EcdsaSha256 = "ECDSA_SHA_256",
        /// The same with SHA-384.
        EcdsaSha384 = "ECDSA_SHA_384",
        /// The same with SHA-512.
        EcdsaSha512 = "ECDSA_SHA_512",
        /// SM2 (AWS: China Regions).
        Sm2Dsa = "SM2DSA",
        /// ML-DSA (FIPS 204), pure, empty context.
        MlDsaShake256 = "ML_DSA_SHAKE_256",
        /// Ed25519 (RFC 8032).
        Ed25519Sha512 = "ED25519_SHA_512",
        /// Ed25519ph (RFC 8032): the message is a SHA-512 digest.
        Ed25519PhSha512 = "ED25519_PH_SHA_512",
    }
}

aws_enum! {
    /// How a message authentication code is made, in the order of AWS' messages.
    MacAlgorithm {
        /// HMAC with SHA-384.
        HmacSha384 = "HMAC_SHA_384",
        /// HMAC with SHA-256.
        HmacSha256 = "HMAC_SHA_256",
        /// HMAC with SHA-224.
        HmacSha224 = "HMAC_SHA_224",
        /// HMAC with SHA-512.
        HmacSha512 = "HMAC_SHA_512",
    }
}

aws_enum! {
    /// How a secret is agreed on.
    KeyAgreementAlgorithm {
        /// Elliptic-curve Diffie-Hellman, cofactor, x coordinate (SP 800-56A).
        Ecdh = "ECDH",
    }
}

aws_enum! {
    /// How a secret is encapsulated.
    EncapsulationAlgorithm {
        /// ML-KEM (FIPS 203).
        MlKem = "ML_KEM",
    }
}

aws_enum! {
    /// What the message of a signature is.
    MessageType {
        /// The message itself.
        Raw = "RAW",
        /// Its digest.
        Digest = "DIGEST",
        /// The 64 bytes mu of ML-DSA.
        ExternalMu = "EXTERNAL_MU",
    }
}

/// A spec's family: what its material is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Symmetric,
    Rsa,
    Ecc,
    Ed25519,
    Hmac,
    MlDsa,
    MlKem,
    Sm2,
}

impl KeySpec {
    pub(crate) fn family(self) -> Family {
        match self {
            Self::SymmetricDefault => Family::Symmetric,
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => Family::Rsa,
            Self::EccNistP256 | Self::EccNistP384 | Self::EccNistP521 | Self::EccSecgP256k1 => {
                Family::Ecc
            }
            Self::EccNistEdwards25519 => Family::Ed25519,
            Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => Family::Hmac,
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => Family::MlDsa,
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => Family::MlKem,
            Self::Sm2 => Family::Sm2,
        }
    }

    /// What a key of this spec may be for.
    pub(crate) fn usages(self) -> &'static [KeyUsage] {
        match (self, self.family()) {
            (_, Family::Symmetric) => &[KeyUsage::EncryptDecrypt],
            (_, Family::Rsa) => &[KeyUsage::EncryptDecrypt, KeyUsage::SignVerify],
            (Self::EccSecgP256k1, _) | (_, Family::Ed25519 | Family::MlDsa) => {
                &[KeyUsage::SignVerify]
            }
            (_, Family::Ecc) => &[KeyUsage::SignVerify, KeyUsage::KeyAgreement],
            (_, Family::Hmac) => &[KeyUsage::GenerateVerifyMac],
            (_, Family::MlKem) => &[KeyUsage::EncapsulateDecapsulate],
            (_, Family::Sm2) => &[],
        }
    }

    /// How a key of this spec and usage encrypts.
    pub(crate) fn encryption_algorithms(self, usage: KeyUsage) -> &'static [EncryptionAlgorithm] {
        match (usage, self.family()) {
            (KeyUsage::EncryptDecrypt, Family::Symmetric) => {
                &[EncryptionAlgorithm::SymmetricDefault]
            }
            (KeyUsage::EncryptDecrypt, Family::Rsa) => {
                &[EncryptionAlgorithm::RsaesOaepSha1, EncryptionAlgorithm::RsaesOaepSha256]
            }
            _ => &[],
        }
    }

    /// How a key of this spec and usage signs.
    pub(crate) fn signing_algorithms(self, usage: KeyUsage) -> &'static [SigningAlgorithm] {
        if usage != KeyUsage::SignVerify {
            return &[];
        }
        match (self, self.family()) {
            (_, Family::Rsa) => &[
                SigningAlgorithm::RsassaPkcs1Sha256,
                SigningAlgorithm::RsassaPkcs1Sha384,
                SigningAlgorithm::RsassaPkcs1Sha512,
                SigningAlgorithm::RsassaPssSha256,
                SigningAlgorithm::RsassaPssSha384,
                SigningAlgorithm::RsassaPssSha512,
            ],
            (Self::EccNistP384, _) => &[SigningAlgorithm::EcdsaSha384],
            (Self::EccNistP521, _) => &[SigningAlgorithm::EcdsaSha512],
            (_, Family::Ecc) => &[SigningAlgorithm::EcdsaSha256],
            (_, Family::Ed25519) => {
                &[SigningAlgorithm::Ed25519Sha512, SigningAlgorithm::Ed25519PhSha512]
            }
            (_, Family::MlDsa) => &[SigningAlgorithm::MlDsaShake256],
            _ => &[],
        }
    }

    /// How a key of this spec makes codes.
    pub(crate) fn mac_algorithms(self) -> &'static [MacAlgorithm] {
        match self {
            Self::Hmac224 => &[MacAlgorithm::HmacSha224],
            Self::Hmac256 => &[MacAlgorithm::HmacSha256],
            Self::Hmac384 => &[MacAlgorithm::HmacSha384],
            Self::Hmac512 => &[MacAlgorithm::HmacSha512],
            _ => &[],
        }
    }

    /// How a key of this usage agrees on a secret.
    pub(crate) fn agreement_algorithms(usage: KeyUsage) -> &'static [KeyAgreementAlgorithm] {
        if usage == KeyUsage::KeyAgreement { &[KeyAgreementAlgorithm::Ecdh] } else { &[] }
    }

    /// How a key of this usage encapsulates.
    pub(crate) fn encapsulation_algorithms(usage: KeyUsage) -> &'static [EncapsulationAlgorithm] {
        match usage {
            KeyUsage::EncapsulateDecapsulate => &[EncapsulationAlgorithm::MlKem],
            _ => &[],
        }
    }
}

impl SigningAlgorithm {
    /// Bytes of the digest that it signs; `None` if it takes no digest.
    pub(crate) fn digest_len(self) -> Option<usize> {
        match self {
            Self::RsassaPssSha256 | Self::RsassaPkcs1Sha256 | Self::EcdsaSha256 => Some(32),
            Self::RsassaPssSha384 | Self::RsassaPkcs1Sha384 | Self::EcdsaSha384 => Some(48),
            Self::RsassaPssSha512
            | Self::RsassaPkcs1Sha512
            | Self::EcdsaSha512
            | Self::Ed25519PhSha512 => Some(64),
            Self::Sm2Dsa | Self::MlDsaShake256 | Self::Ed25519Sha512 => None,
        }
    }
}

/// Refuses an operation that a key's usage is not made for.
pub(crate) fn check_usage(key: &KmsKey, usage: KeyUsage, op: Op) -> Result<(), KmsError> {
    if key.usage == usage {
        return Ok(());
    }
    let (arn, usage, op) = (&key.arn, key.usage.as_str(), op.name());
    Err(KmsError::InvalidKeyUsage {
        message: format!("{arn} key usage is {usage} which is not valid for {op}."),
    })
}

/// Refuses an algorithm that is not among those of a key.
pub(crate) fn check_algorithm<T: PartialEq>(
    key: &KmsKey,
    known: &[T],
    algorithm: &T,
    name: &str,
) -> Result<(), KmsError> {
    if known.contains(algorithm) {
        return Ok(());
    }
    Err(KmsError::InvalidKeyUsage {
        message: format!("Algorithm {name} is incompatible with key spec {}.", key.spec.as_str()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law: whatever a spec may be for, it has a way to do.
    #[test]
    fn every_usage_has_an_algorithm() {
        for spec in KeySpec::ALL {
            for usage in spec.usages() {
                let ways = spec.encryption_algorithms(*usage).len()
                    + spec.signing_algorithms(*usage).len()
                    + KeySpec::agreement_algorithms(*usage).len()
                    + KeySpec::encapsulation_algorithms(*usage).len()
                    + spec.mac_algorithms().len();
                assert!(ways > 0, "{spec:?} {usage:?}");
            }
        }
    }
}
