//! Sign and Verify.

use crate::kms::algorithms::{Family, MessageType, SigningAlgorithm, check_algorithm, check_usage};
use crate::kms::audit::UseParams;
use crate::kms::check::Check;
use crate::kms::crypto_ops::dry;
use crate::kms::key::KmsKey;
use crate::kms::ring::NamedBy;
use crate::kms::sides::current;
use crate::kms::spec::KeyUsage;
use crate::kms::state::Op;
use crate::kms::view::View;
use crate::kms::{EncryptionContext, KeyArn, KeyRef, Kms, KmsError};

/// Bytes of a message that `Sign` takes from 1.
const MESSAGE_LEN_MAX: usize = 4096;
/// Bytes of the representative of a message that ML-DSA signs (FIPS 204, algorithm 7).
const MU_LEN: usize = 64;
/// Bytes of a signature that a caller may send.
const SIGNATURE_LEN_MAX: usize = 6144;

/// Request of `Sign`.
#[derive(Clone, Debug)]
pub struct Sign {
    /// The key, by any of its names.
    pub key: KeyRef,
    /// 1 to 4096 bytes, a digest, or mu.
    pub message: Vec<u8>,
    /// What the message is.
    pub kind: MessageType,
    /// How.
    pub algorithm: SigningAlgorithm,
    /// Check everything and do nothing.
    pub dry_run: bool,
}

/// Answer of `Sign`.
#[derive(Clone, Debug)]
pub struct Signed {
    /// DER for ECDSA, as long as the modulus for RSA, the encoding of the standard otherwise.
    pub signature: Vec<u8>,
    /// The key.
    pub key: KeyArn,
}

/// Request of `Verify`.
#[derive(Clone, Debug)]
pub struct Verify {
    /// What was signed, and how.
    pub signed: Sign,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Kms {
    /// `Sign`: signs a message or its digest.
    ///
    /// # Errors
    /// [`KmsError`], by request, key and state.
    pub fn sign(&self, request: &Sign) -> Result<Signed, KmsError> {
        self.using(Op::Sign, params(request), |view| {
            let key = admit(view, request, None)?;
            dry(request.dry_run)?;
            let held = &current(key)?.held;
            let signature = held.sign(request.algorithm, request.kind, &request.message)?;
            Ok(Signed { signature, key: key.arn.clone() })
        })
    }

    /// `Verify`: checks a signature. It is never answered by "no".
    ///
    /// # Errors
    /// [`KmsError::InvalidSignature`] if it is none, and [`KmsError`] by request, key and state.
    pub fn verify(&self, request: &Verify) -> Result<KeyArn, KmsError> {
        let Verify { signed, signature } = request;
        self.using(Op::Verify, params(signed), |view| {
            let key = admit(view, signed, Some(signature))?;
            dry(signed.dry_run)?;
            let held = &current(key)?.held;
            held.verify(signed.algorithm, signed.kind, &signed.message, signature)?;
            Ok(key.arn.clone())
        })
    }
}

fn params(request: &Sign) -> UseParams<'_> {
    let (kind, how) = (request.kind.as_str(), request.algorithm.as_str());
    UseParams {
        details: [Some(("messageType", kind)), Some(("signingAlgorithm", how))],
        ..UseParams::of_key(request.key.as_str())
    }
}

/// Finds the key and checks everything but a signature's bytes.
fn admit<'a>(
    view: &mut View<'a>,
    request: &Sign,
    signature: Option<&[u8]>,
) -> Result<&'a KmsKey, KmsError> {
    Check::default()
        .key("keyId", request.key.as_str())
        .bytes("message", request.message.len(), 1, MESSAGE_LEN_MAX)
        .bytes("signature", signature.map_or(1, <[u8]>::len), 1, SIGNATURE_LEN_MAX)
        .finish()?;
    let none = EncryptionContext::new();
    let key = view.admit(request.key.as_str(), NamedBy::Anything, &none)?;
    check_usage(key, KeyUsage::SignVerify, view.op())?;
    let (how, known) = (request.algorithm, key.spec.signing_algorithms(key.usage));
    check_algorithm(key, known, &how, how.as_str())?;
    check_message(key, request)?;
    Ok(key)
}

/// Whether the message is of a kind and length that the algorithm signs.
fn check_message(key: &KmsKey, request: &Sign) -> Result<(), KmsError> {
    let how = request.algorithm;
    let refuse = |message: String| Err(KmsError::Validation { message });
    let prehashed = how == SigningAlgorithm::Ed25519PhSha512;
    match (request.kind, how.digest_len()) {
        (MessageType::Digest, Some(len)) if request.message.len() == len => Ok(()),
        (MessageType::Digest, Some(_)) => {
            refuse(format!("Digest is invalid length for algorithm {}.", how.as_str()))
        }
        (MessageType::Raw, _) if !prehashed => Ok(()),
        (MessageType::ExternalMu, _) if key.spec.family() == Family::MlDsa => {
            match request.message.len() {
                MU_LEN => Ok(()),
                len => refuse(format!("Message is of {len} bytes, and EXTERNAL_MU of {MU_LEN}.")),
            }
        }
        (kind, _) => refuse(format!(
            "MessageType {} is not valid for algorithm {}.",
            kind.as_str(),
            how.as_str()
        )),
    }
}
