//! DeriveSharedSecret, Encapsulate and Decapsulate: secrets that two sides come to hold.

use crate::kms::algorithms::{EncapsulationAlgorithm, KeyAgreementAlgorithm, check_usage};
use crate::kms::audit::UseParams;
use crate::kms::check::{BLOB_LEN_MAX, Check};
use crate::kms::crypto_ops::dry;
use crate::kms::key::KmsKey;
use crate::kms::ring::NamedBy;
use crate::kms::sides::current;
use crate::kms::spec::{KeyUsage, Origin};
use crate::kms::state::Op;
use crate::kms::view::View;
use crate::kms::{EncryptionContext, KeyArn, KeyRef, Kms, KmsError};
use crate::secret::SecretBytes;

/// Bytes of a public key that a caller may send.
const PUBLIC_KEY_LEN_MAX: usize = 8192;

/// Request of `DeriveSharedSecret`.
#[derive(Clone, Debug)]
pub struct DeriveSharedSecret {
    /// The key, by any of its names.
    pub key: KeyRef,
    /// How.
    pub algorithm: KeyAgreementAlgorithm,
    /// The other side's SubjectPublicKeyInfo in DER, on the same curve.
    pub public_key: Vec<u8>,
    /// Check everything and do nothing.
    pub dry_run: bool,
}

/// Answer of `DeriveSharedSecret` and `Decapsulate`.
#[derive(Debug)]
pub struct SharedSecret {
    /// The secret: of ECDH the x coordinate, as long as the field; of ML-KEM 32 bytes.
    pub secret: SecretBytes,
    /// The key.
    pub key: KeyArn,
    /// Where the key's material comes from.
    pub origin: Origin,
}

/// Request of `Encapsulate`.
#[derive(Clone, Debug)]
pub struct Encapsulate {
    /// The key, by any of its names.
    pub key: KeyRef,
    /// How.
    pub algorithm: EncapsulationAlgorithm,
    /// Check everything and do nothing.
    pub dry_run: bool,
}

/// Answer of `Encapsulate`.
#[derive(Debug)]
pub struct Encapsulated {
    /// The secret, 32 bytes.
    pub secret: SecretBytes,
    /// What gives it to the owner of the key.
    pub sealed: Vec<u8>,
    /// The key.
    pub key: KeyArn,
}

/// Request of `Decapsulate`.
#[derive(Clone, Debug)]
pub struct Decapsulate {
    /// The key, and how.
    pub with: Encapsulate,
    /// What `Encapsulate` gave.
    pub sealed: Vec<u8>,
}

impl Kms {
    /// `DeriveSharedSecret`: the secret that this key and another side's public key have in common.
    ///
    /// # Errors
    /// [`KmsError::Validation`] for a public key of another curve, and [`KmsError`] by request, key
    /// and state.
    pub fn derive_shared_secret(
        &self,
        request: &DeriveSharedSecret,
    ) -> Result<SharedSecret, KmsError> {
        let detail = ("keyAgreementAlgorithm", request.algorithm.as_str());
        self.using(Op::DeriveSharedSecret, params(&request.key, detail), |view| {
            Check::default()
                .key("keyId", request.key.as_str())
                .bytes("publicKey", request.public_key.len(), 1, PUBLIC_KEY_LEN_MAX)
                .finish()?;
            let key = admit(view, &request.key, KeyUsage::KeyAgreement)?;
            let secret = current(key)?.held.agree(&request.public_key)?;
            dry(request.dry_run)?;
            Ok(SharedSecret { secret, key: key.arn.clone(), origin: key.origin })
        })
    }

    /// `Encapsulate`: a fresh secret, bare and for the owner of the key.
    ///
    /// # Errors
    /// [`KmsError`], by request, key and state.
    pub fn encapsulate(&self, request: &Encapsulate) -> Result<Encapsulated, KmsError> {
        let detail = ("encapsulationAlgorithm", request.algorithm.as_str());
        self.using(Op::Encapsulate, params(&request.key, detail), |view| {
            Check::default().key("keyId", request.key.as_str()).finish()?;
            let key = admit(view, &request.key, KeyUsage::EncapsulateDecapsulate)?;
            dry(request.dry_run)?;
            let (sealed, secret) = current(key)?.held.encapsulate()?;
            Ok(Encapsulated { secret, sealed, key: key.arn.clone() })
        })
    }

    /// `Decapsulate`: the secret in what `Encapsulate` gave. Changed bytes of the right length give
    /// another secret (FIPS 203, implicit rejection).
    ///
    /// # Errors
    /// [`KmsError::InvalidCiphertext`] for another length, and [`KmsError`] by request, key and state.
    pub fn decapsulate(&self, request: &Decapsulate) -> Result<SharedSecret, KmsError> {
        let Decapsulate { with, sealed } = request;
        let detail = ("encapsulationAlgorithm", with.algorithm.as_str());
        self.using(Op::Decapsulate, params(&with.key, detail), |view| {
            Check::default()
                .key("keyId", with.key.as_str())
                .bytes("sharedSecretCiphertextBlob", sealed.len(), 1, BLOB_LEN_MAX)
                .finish()?;
            let key = admit(view, &with.key, KeyUsage::EncapsulateDecapsulate)?;
            let secret = current(key)?.held.decapsulate(sealed)?;
            dry(with.dry_run)?;
            Ok(SharedSecret { secret, key: key.arn.clone(), origin: key.origin })
        })
    }
}

fn params<'a>(key: &'a KeyRef, detail: (&'static str, &'static str)) -> UseParams<'a> {
    UseParams { details: [Some(detail), None], ..UseParams::of_key(key.as_str()) }
}

fn admit<'a>(view: &mut View<'a>, key: &KeyRef, usage: KeyUsage) -> Result<&'a KmsKey, KmsError> {
    let key = view.admit(key.as_str(), NamedBy::Anything, &EncryptionContext::new())?;
    check_usage(key, usage, view.op())?;
    Ok(key)
}
