//! Ed25519 private keys (RFC 8032), pure and prehashed.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use ed25519_dalek::{Signature, SigningKey, Verifier as _, VerifyingKey};
use sha2::digest::consts::U64;
use sha2::digest::{FixedOutput, HashMarker, Output, OutputSizeUser, Reset, Update};
use zeroize::Zeroize as _;

use crate::kms::KmsError;
use crate::kms::algorithms::SigningAlgorithm;

#[derive(Debug)]
pub(super) struct Ed25519Key {
    signing: SigningKey,
    verifying: VerifyingKey,
}

impl Ed25519Key {
    pub(super) fn from_pkcs8(pkcs8: &[u8]) -> Option<(Self, Vec<u8>)> {
        use aws_lc_rs::encoding::AsBigEndian as _;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).ok()?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
        let public = public.as_ref().to_vec();
        let seed = pair.seed().ok()?;
        let seed = seed.as_be_bytes().ok()?;
        let mut bytes = <[u8; 32]>::try_from(seed.as_ref()).ok()?;
        let signing = SigningKey::from_bytes(&bytes);
        bytes.zeroize();
        let verifying = signing.verifying_key();
        Some((Self { signing, verifying }, public))
    }

    pub(super) fn sign(&self, how: SigningAlgorithm, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        use ed25519_dalek::Signer as _;
        let failed = || KmsError::Internal { message: "the Ed25519 signature failed".to_owned() };
        let signature = match how {
            SigningAlgorithm::Ed25519PhSha512 => {
                let digest = GivenDigest::of(message).ok_or_else(failed)?;
                self.signing.sign_prehashed(digest, None).map_err(|_| failed())?
            }
            _ => self.signing.sign(message),
        };
        Ok(signature.to_bytes().to_vec())
    }

    pub(super) fn is_valid(&self, how: SigningAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        match how {
            SigningAlgorithm::Ed25519PhSha512 => GivenDigest::of(message).is_some_and(|digest| {
                self.verifying.verify_prehashed(digest, None, &signature).is_ok()
            }),
            _ => self.verifying.verify(message, &signature).is_ok(),
        }
    }
}

/// A SHA-512 digest that the caller has made, where a hash in the making is wanted.
#[derive(Clone)]
struct GivenDigest([u8; 64]);

impl GivenDigest {
    fn of(digest: &[u8]) -> Option<Self> {
        digest.try_into().ok().map(Self)
    }
}

impl Default for GivenDigest {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl HashMarker for GivenDigest {}

impl OutputSizeUser for GivenDigest {
    type OutputSize = U64;
}

impl Update for GivenDigest {
    fn update(&mut self, _: &[u8]) {}
}

impl Reset for GivenDigest {
    fn reset(&mut self) {}
}

impl FixedOutput for GivenDigest {
    fn finalize_into(self, out: &mut Output<Self>) {
        out.copy_from_slice(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA512, digest};

    use super::*;
    use crate::codec::{hex, unhex_array};

    /// PKCS#8 of a seed (RFC 8410, section 7).
    fn key(seed: &str) -> Ed25519Key {
        let head = unhex_array::<16>("302e020100300506032b657004220420").unwrap();
        let seed = unhex_array::<32>(seed).unwrap();
        Ed25519Key::from_pkcs8(&[&head[..], &seed].concat()).unwrap().0
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn pure_signature_is_that_of_rfc_8032() {
        let key = key("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let signature = key.sign(SigningAlgorithm::Ed25519Sha512, &[0x72]).unwrap();
        assert_eq!(
            hex(&signature),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    /// RFC 8032, section 7.3.
    #[test]
    fn prehashed_signature_is_that_of_rfc_8032() {
        let key = key("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42");
        let digest = digest(&SHA512, b"abc");
        let how = SigningAlgorithm::Ed25519PhSha512;
        let signature = key.sign(how, digest.as_ref()).unwrap();
        assert_eq!(
            hex(&signature),
            "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41\
             31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
        );
        assert!(key.is_valid(how, digest.as_ref(), &signature));
        assert!(!key.is_valid(SigningAlgorithm::Ed25519Sha512, digest.as_ref(), &signature));
    }
}
