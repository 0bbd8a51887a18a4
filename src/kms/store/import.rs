//! Unwrapping of material that comes from outside.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};

use crate::kms::import::WrappingAlgorithm;
use crate::kms::spec::{EncryptionAlgorithm, KeySpec};
use crate::kms::store::rsa::RsaDecryptingKey;
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
