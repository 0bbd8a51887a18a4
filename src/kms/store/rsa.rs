//! RSA private keys (RFC 8017): one signs, another decrypts.

use aws_lc_rs::digest::{Digest, SHA256, SHA384, SHA512};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaParameters, UnparsedPublicKey,
};

use crate::kms::KmsError;
use crate::kms::algorithms::{MessageType, SigningAlgorithm};
use crate::kms::spec::{EncryptionAlgorithm, KeySpec};
use crate::secret::SecretBytes;

/// Bytes of the modulus.
pub(super) fn modulus_len(spec: KeySpec) -> usize {
    match spec {
        KeySpec::Rsa3072 => 384,
        KeySpec::Rsa4096 => 512,
        _ => 256,
    }
}

#[derive(Debug)]
pub(super) struct RsaSigningKey(KeyPair);

/// How a digest is padded, how that is checked, and the digest.
type Scheme =
    (&'static dyn RsaEncoding, &'static RsaParameters, &'static aws_lc_rs::digest::Algorithm);

fn scheme(how: SigningAlgorithm) -> Option<Scheme> {
    Some(match how {
        SigningAlgorithm::RsassaPssSha256 => (&RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256, &SHA256),
        SigningAlgorithm::RsassaPssSha384 => (&RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384, &SHA384),
        SigningAlgorithm::RsassaPssSha512 => (&RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512, &SHA512),
        SigningAlgorithm::RsassaPkcs1Sha256 => {
            (&RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256, &SHA256)
        }
        SigningAlgorithm::RsassaPkcs1Sha384 => {
            (&RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384, &SHA384)
        }
        SigningAlgorithm::RsassaPkcs1Sha512 => {
            (&RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512, &SHA512)
        }
        _ => return None,
    })
}

impl RsaSigningKey {
    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Option<(Self, Vec<u8>)> {
        let key = KeyPair::from_pkcs8(pkcs8).ok()?;
        if key.public_modulus_len() != modulus_len(spec) {
            return None;
        }
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().ok()?;
        let public = public.as_ref().to_vec();
        Some((Self(key), public))
    }

    pub(super) fn sign(
        &self,
        how: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        let failed = |_| KmsError::Internal { message: "the RSA signature failed".to_owned() };
        let (encoding, _, digest) =
            scheme(how).ok_or_else(|| failed(aws_lc_rs::error::Unspecified))?;
        let mut signature = vec![0; self.0.public_modulus_len()];
        match kind {
            MessageType::Digest => {
                let digest = Digest::import_less_safe(message, digest).map_err(failed)?;
                self.0.sign_digest(encoding, &digest, &mut signature).map_err(failed)?;
            }
            MessageType::Raw | MessageType::ExternalMu => {
                let random = SystemRandom::new();
                self.0.sign(encoding, &random, message, &mut signature).map_err(failed)?;
            }
        }
        Ok(signature)
    }

    pub(super) fn is_valid(
        &self,
        how: SigningAlgorithm,
        kind: MessageType,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let Some((_, parameters, digest)) = scheme(how) else { return false };
        let key = UnparsedPublicKey::new(parameters, self.0.public_key().as_ref());
        match kind {
            MessageType::Digest => Digest::import_less_safe(message, digest)
                .is_ok_and(|digest| key.verify_digest(&digest, signature).is_ok()),
            MessageType::Raw | MessageType::ExternalMu => key.verify(message, signature).is_ok(),
        }
    }
}

#[derive(Debug)]
pub(super) struct RsaDecryptingKey {
    private: OaepPrivateDecryptingKey,
    public: OaepPublicEncryptingKey,
}

fn padding(how: EncryptionAlgorithm) -> Option<&'static OaepAlgorithm> {
    match how {
        EncryptionAlgorithm::RsaesOaepSha1 => Some(&OAEP_SHA1_MGF1SHA1),
        EncryptionAlgorithm::RsaesOaepSha256 => Some(&OAEP_SHA256_MGF1SHA256),
        EncryptionAlgorithm::SymmetricDefault | EncryptionAlgorithm::Sm2Pke => None,
    }
}

impl RsaDecryptingKey {
    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Option<(Self, Vec<u8>)> {
        let key = PrivateDecryptingKey::from_pkcs8(pkcs8).ok()?;
        if key.key_size_bytes() != modulus_len(spec) {
            return None;
        }
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().ok()?;
        let der = public.as_ref().to_vec();
        let public = OaepPublicEncryptingKey::new(key.public_key()).ok()?;
        let private = OaepPrivateDecryptingKey::new(key).ok()?;
        Some((Self { private, public }, der))
    }

    /// Bytes of the modulus, and of every ciphertext.
    pub(super) fn len(&self) -> usize {
        self.private.key_size_bytes()
    }

    pub(super) fn encrypt(
        &self,
        how: EncryptionAlgorithm,
        plain: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        let failed = || KmsError::Internal { message: "the RSA encryption failed".to_owned() };
        let padding = padding(how).ok_or_else(failed)?;
        let mut sealed = vec![0; self.public.ciphertext_size()];
        self.public.encrypt(padding, plain, &mut sealed, None).map_err(|_| failed())?;
        Ok(sealed)
    }

    pub(super) fn decrypt(
        &self,
        how: EncryptionAlgorithm,
        sealed: &[u8],
    ) -> Result<SecretBytes, KmsError> {
        let padding = padding(how).ok_or(KmsError::InvalidCiphertext)?;
        let mut plain = SecretBuffer(vec![0; self.private.min_output_size()]);
        let len = self
            .private
            .decrypt(padding, sealed, &mut plain.0, None)
            .map_err(|_| KmsError::InvalidCiphertext)?
            .len();
        Ok(SecretBytes::new(plain.0.get(..len).unwrap_or_default().to_vec()))
    }
}

/// A buffer that is wiped.
struct SecretBuffer(Vec<u8>);

impl Drop for SecretBuffer {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}
