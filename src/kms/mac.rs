//! GenerateMac and VerifyMac.

use subtle::ConstantTimeEq as _;

use crate::kms::algorithms::{MacAlgorithm, check_algorithm, check_usage};
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

/// Bytes of a message that `GenerateMac` takes from 1.
const MESSAGE_LEN_MAX: usize = 4096;
/// Bytes of a code that a caller may send.
const MAC_LEN_MAX: usize = 6144;

/// Request of `GenerateMac`.
#[derive(Clone, Debug)]
pub struct GenerateMac {
    /// The key, by any of its names.
    pub key: KeyRef,
    /// 1 to 4096 bytes.
    pub message: Vec<u8>,
    /// How; a key knows one way.
    pub algorithm: MacAlgorithm,
    /// Check everything and do nothing.
    pub dry_run: bool,
}

/// Answer of `GenerateMac`.
#[derive(Clone, Debug)]
pub struct GeneratedMac {
    /// As long as the digest.
    pub mac: Vec<u8>,
    /// The key.
    pub key: KeyArn,
}

/// Request of `VerifyMac`.
#[derive(Clone, Debug)]
pub struct VerifyMac {
    /// What the code was made of, and how.
    pub made: GenerateMac,
    /// The code.
    pub mac: Vec<u8>,
}

impl Kms {
    /// `GenerateMac`: the code of a message.
    ///
    /// # Errors
    /// [`KmsError`], by request, key and state.
    pub fn generate_mac(&self, request: &GenerateMac) -> Result<GeneratedMac, KmsError> {
        self.using(Op::GenerateMac, params(request), |view| {
            let key = admit(view, request, 1)?;
            dry(request.dry_run)?;
            let mac = current(key)?.held.mac(request.algorithm, &request.message)?;
            Ok(GeneratedMac { mac, key: key.arn.clone() })
        })
    }

    /// `VerifyMac`: checks a code, in constant time. It is never answered by "no".
    ///
    /// # Errors
    /// [`KmsError::InvalidMac`] if it is none, and [`KmsError`] by request, key and state.
    pub fn verify_mac(&self, request: &VerifyMac) -> Result<KeyArn, KmsError> {
        let VerifyMac { made, mac } = request;
        self.using(Op::VerifyMac, params(made), |view| {
            let key = admit(view, made, mac.len())?;
            dry(made.dry_run)?;
            let right = current(key)?.held.mac(made.algorithm, &made.message)?;
            match bool::from(right.ct_eq(mac)) {
                true => Ok(key.arn.clone()),
                false => Err(KmsError::InvalidMac),
            }
        })
    }
}

fn params(request: &GenerateMac) -> UseParams<'_> {
    UseParams {
        details: [Some(("macAlgorithm", request.algorithm.as_str())), None],
        ..UseParams::of_key(request.key.as_str())
    }
}

/// Finds the key and checks everything but a code's bytes.
fn admit<'a>(
    view: &mut View<'a>,
    request: &GenerateMac,
    mac_len: usize,
) -> Result<&'a KmsKey, KmsError> {
    Check::default()
        .key("keyId", request.key.as_str())
        .bytes("message", request.message.len(), 1, MESSAGE_LEN_MAX)
        .bytes("mac", mac_len, 1, MAC_LEN_MAX)
        .finish()?;
    let none = EncryptionContext::new();
    let key = view.admit(request.key.as_str(), NamedBy::Anything, &none)?;
    check_usage(key, KeyUsage::GenerateVerifyMac, view.op())?;
    let how = request.algorithm;
    check_algorithm(key, key.spec.mac_algorithms(), &how, how.as_str())?;
    Ok(key)
}
