//! Unwrapping of material that comes from outside.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};

use crate::kms::import::WrappingAlgorithm;
use crate::kms::spec::{EncryptionAlgorithm, KeySpec};
use crate::kms::store::RowKey;
use crate::kms::store::rsa::{RsaDecryptingKey, modulus_len};
use crate::secret::SecretBytes;

/// The material in `wrapped`; `None` if it does not open. `private` is the PKCS#8 of an RSA key.
pub(crate) fn unwrap_material(
    how: WrappingAlgorithm,
    spec: KeySpec,
    private: &[u8],
    wrapped: &[u8],
) -> Option<SecretBytes> {
    let (key, _) = RsaDecryptingKey::from_pkcs8(spec, private)?;
    match how {
        WrappingAlgorithm::RsaesOaepSha1 => {
            key.decrypt(EncryptionAlgorithm::RsaesOaepSha1, wrapped).ok()
        }
        WrappingAlgorithm::RsaesOaepSha256 => {
            key.decrypt(EncryptionAlgorithm::RsaesOaepSha256, wrapped).ok()
        }
        WrappingAlgorithm::RsaAesKeyWrapSha1 => {
            unwrap_twice(&key, EncryptionAlgorithm::RsaesOaepSha1, wrapped)
        }
        WrappingAlgorithm::RsaAesKeyWrapSha256 => {
            unwrap_twice(&key, EncryptionAlgorithm::RsaesOaepSha256, wrapped)
        }
        WrappingAlgorithm::RsaesPkcs1V15 | WrappingAlgorithm::Sm2Pke => None,
    }
}

/// CKM_RSA_AES_KEY_WRAP (PKCS#11 2.40, section 2.1.21): an AES-256 key under RSA-OAEP, then the
/// material under that key by AES-KWP (RFC 5649).
fn unwrap_twice(
    key: &RsaDecryptingKey,
    how: EncryptionAlgorithm,
    wrapped: &[u8],
) -> Option<SecretBytes> {
    let (first, second) = wrapped.split_at_checked(key.len())?;
    let aes = key.decrypt(how, first).ok()?;
    let kek = AesKek::new(&AES_256, aes.expose()).ok()?;
    let mut room = zeroize::Zeroizing::new(vec![0; second.len()]);
    let plain = kek.unwrap_with_padding(second, &mut room).ok()?;
    Some(SecretBytes::new(plain.to_vec()))
}

/// A key under RSA-OAEP with SHA-256, for who has the private half of `public`, a SubjectPublicKeyInfo
/// in DER; `None` if that is no RSA key of this spec.
pub(crate) fn wrap_key(spec: KeySpec, public: &[u8], key: &RowKey) -> Option<Vec<u8>> {
    let public = PublicEncryptingKey::from_der(public).ok()?;
    if public.key_size_bytes() != modulus_len(spec) {
        return None;
    }
    let public = OaepPublicEncryptingKey::new(public).ok()?;
    let mut wrapped = vec![0; public.ciphertext_size()];
    public.encrypt(&OAEP_SHA256_MGF1SHA256, key.0.expose(), &mut wrapped, None).ok()?;
    Some(wrapped)
}

/// The public half of an RSA key in PKCS#8, as a SubjectPublicKeyInfo in DER.
pub(crate) fn public_half(spec: KeySpec, private: &[u8]) -> Option<Vec<u8>> {
    RsaDecryptingKey::from_pkcs8(spec, private).map(|(_, public)| public)
}
