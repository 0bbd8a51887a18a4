//! Deterministic authenticated encryption of names: AES-256-SIV (RFC 5297), bytes to bytes.
//!
//! The same name in the same directory always gives the same bytes, so that a lookup is one system
//! call; in another directory it gives others. The text form on disk is `format::name`'s business.

use std::fmt;

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;

use crate::crypto::AuthFailed;
use crate::crypto::failure::stop;
use crate::secret::Secret;

/// Bytes that sealing adds: the synthetic initialization vector, which is also the tag.
pub const SIV_LEN: usize = 16;

/// A key for names. All methods may be called from many threads at once.
///
/// The keyed state of the primitive is made anew for each call (a few AES key schedules, little
/// against the system call that follows), so that no lock is needed.
pub struct NameCipher(Secret<64>);

impl NameCipher {
    /// A cipher under a 512-bit key: the first half for S2V, the second for CTR (RFC 5297, section
    /// 2.2).
    pub fn new(key: Secret<64>) -> Self {
        Self(key)
    }

    /// Seals a name: synthetic initialization vector, then ciphertext. `aad` is the one component
    /// of associated data.
    pub fn seal(&self, aad: &[u8], name: &[u8]) -> Vec<u8> {
        self.keyed().encrypt([aad], name).unwrap_or_else(|_| stop("aes-siv seal"))
    }

    /// Opens what [`NameCipher::seal`] made.
    ///
    /// # Errors
    /// [`AuthFailed`] if key, associated data or bytes differ, or fewer than [`SIV_LEN`] are given.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, AuthFailed> {
        self.keyed().decrypt([aad], sealed).map_err(|_| AuthFailed)
    }

    fn keyed(&self) -> Aes256Siv {
        Aes256Siv::new(self.0.expose().into())
    }
}

impl fmt::Debug for NameCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameCipher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{hex, unhex, unhex_array};
    use aes_siv::siv::Aes128Siv;

    fn cipher() -> NameCipher {
        NameCipher::new(Secret::fill_with(|out| {
            for (byte, n) in out.iter_mut().zip(0..) {
                *byte = n;
            }
        }))
    }

    /// RFC 5297, appendix A.1, deterministic authenticated encryption (its key is that of AES-128).
    #[test]
    fn primitive_gives_the_vector_of_the_rfc() {
        let key: [u8; 32] =
            unhex_array("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
                .unwrap();
        let ad = unhex("101112131415161718191a1b1c1d1e1f2021222324252627").unwrap();
        let plain = unhex("112233445566778899aabbccddee").unwrap();
        assert_eq!(
            hex(&Aes128Siv::new(&key.into()).encrypt([&ad], &plain).unwrap()),
            "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"
        );
    }

    /// From Python `cryptography` (OpenSSL): AESSIV(bytes(range(64))).encrypt(name, [aad]).
    #[test]
    fn aes_256_gives_the_bytes_of_another_implementation() {
        for (aad, name, sealed) in SIV_VECTORS {
            let aad = unhex(aad).unwrap();
            assert_eq!(hex(&cipher().seal(&aad, name.as_bytes())), sealed);
            let sealed = unhex(sealed).unwrap();
            assert_eq!(cipher().open(&aad, &sealed).unwrap(), name.as_bytes());
        }
    }

    const SIV_VECTORS: [(&str, &str, &str); 3] = [
        ("000102030405060708090a0b0c0d0e0f", "a", "e3cbdaad302de9860116ae3abf0c80fa25"),
        (
            "000102030405060708090a0b0c0d0e0f",
            "name.txt",
            "ba0aac965033d837c7c4711329348faf1ca6cc4af436c0f0",
        ),
        (
            "ffffffffffffffffffffffffffffffff",
            "sixteen bytes ok",
            "b9fcfcf44f01d36e21c9b01bbca7d0a803d578b555de894314a4b2cfff727c66",
        ),
    ];

    #[test]
    fn every_changed_byte_and_every_cut_is_found() {
        let sealed = cipher().seal(b"dir", b"name.txt");
        assert_eq!(sealed.len(), SIV_LEN + 8);
        assert_eq!(cipher().open(b"dir", &sealed).unwrap(), b"name.txt");
        assert_eq!(cipher().open(b"dis", &sealed), Err(AuthFailed));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(cipher().open(b"dir", &changed), Err(AuthFailed), "byte {at}");
            assert_eq!(cipher().open(b"dir", &sealed[..at]), Err(AuthFailed), "cut at {at}");
        }
    }
}
