//! Short records under a long-lived key: symlink targets, values of extended attributes, keys.
//!
//! `nonce 24 | tag 16 | ciphertext`, XAES-256-GCM with a random nonce. Plain AES-256-GCM with a random
//! 96-bit nonce must stop after 2^32 records of one key (NIST SP 800-38D, section 8.3), which a key of
//! a whole volume could reach; XAES may seal 2^80. The derivation costs 0.3 us, nothing here.
//! Through the `aes-gcm` crate, which is at the same time the independent check of `block`.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};

use crate::crypto::AuthFailed;
use crate::crypto::failure::stop;
use crate::crypto::suite::{NONCE_LEN, TAG_LEN};
use crate::crypto::xaes::{XaesKey, split_nonce};
use crate::random::{Random, random_array};
use crate::secret::Secret;

/// Bytes that sealing adds: nonce and tag.
pub const SHORT_OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// A key prepared for many short records.
#[derive(Debug)]
pub struct ShortKey(XaesKey);

impl ShortKey {
    /// Prepares a key.
    pub fn new(key: &Secret<32>) -> Self {
        Self(XaesKey::new(key))
    }

    /// Seals a short record under a fresh random nonce.
    pub fn seal(&self, aad: &[u8], plain: &[u8], random: &dyn Random) -> Vec<u8> {
        seal_with(&self.0, &random_array(random), aad, plain)
    }

    /// Appends a short record that is sealed under a nonce which the caller has just drawn from the
    /// generator, and uses nowhere else.
    pub fn seal_at(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], plain: &[u8], out: &mut Vec<u8>) {
        push_sealed(&self.0, nonce, aad, plain, out);
    }

    /// Opens what [`Self::seal`] made.
    ///
    /// # Errors
    /// [`AuthFailed`] if key, additional data or bytes differ, or fewer than [`SHORT_OVERHEAD`] are
    /// given.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, AuthFailed> {
        open_with(&self.0, aad, sealed)
    }
}

/// Seals a short record under a fresh random nonce.
pub fn seal_short(key: &Secret<32>, aad: &[u8], plain: &[u8], random: &dyn Random) -> Vec<u8> {
    seal_with(&XaesKey::new(key), &random_array(random), aad, plain)
}

/// Opens what [`seal_short`] made.
///
/// # Errors
/// [`AuthFailed`] if key, additional data or bytes differ, or fewer than [`SHORT_OVERHEAD`] are given.
pub fn open_short(key: &Secret<32>, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, AuthFailed> {
    open_with(&XaesKey::new(key), aad, sealed)
}

pub(super) fn seal_with(
    key: &XaesKey,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    plain: &[u8],
) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SHORT_OVERHEAD + plain.len());
    push_sealed(key, nonce, aad, plain, &mut sealed);
    sealed
}

fn push_sealed(
    key: &XaesKey,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    plain: &[u8],
    out: &mut Vec<u8>,
) {
    let (session, own) = split_nonce(nonce);
    // Copied once, so that no bare byte is left where the vector might have to move from.
    out.reserve(SHORT_OVERHEAD + plain.len());
    out.extend_from_slice(nonce);
    let tag_at = out.len();
    out.extend_from_slice(&[0; TAG_LEN]);
    out.extend_from_slice(plain);
    let (tag_place, ciphertext) = out.get_mut(tag_at..).unwrap_or_default().split_at_mut(TAG_LEN);
    let tag = Aes256Gcm::new(key.derive(&session).expose().into())
        .encrypt_inout_detached(&own.into(), aad, ciphertext.into())
        .unwrap_or_else(|_| stop("aes-gcm seal"));
    tag_place.copy_from_slice(&tag);
}

pub(super) fn open_with(key: &XaesKey, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, AuthFailed> {
    let (nonce, rest) = sealed.split_first_chunk().ok_or(AuthFailed)?;
    let (tag, ciphertext) = rest.split_first_chunk::<TAG_LEN>().ok_or(AuthFailed)?;
    let (session, own) = split_nonce(nonce);
    let mut plain = ciphertext.to_vec();
    Aes256Gcm::new(key.derive(&session).expose().into())
        .decrypt_inout_detached(&own.into(), aad, plain.as_mut_slice().into(), tag.into())
        .map_err(|_| AuthFailed)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn every_changed_byte_and_every_cut_is_found() {
        let random = SeededRandom::new(1);
        let key = Secret::random(&random);
        let sealed = seal_short(&key, b"aad", b"target", &random);
        assert_eq!(sealed.len(), SHORT_OVERHEAD + 6);
        assert_eq!(open_short(&key, b"aad", &sealed).unwrap(), b"target");
        assert_eq!(open_short(&key, b"aae", &sealed), Err(AuthFailed));
        assert_eq!(open_short(&Secret::random(&random), b"aad", &sealed), Err(AuthFailed));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open_short(&key, b"aad", &changed), Err(AuthFailed), "byte {at}");
            assert_eq!(open_short(&key, b"aad", &sealed[..at]), Err(AuthFailed), "cut at {at}");
        }
    }

    #[test]
    fn an_empty_record_and_two_seals_of_one_text_are_fine() {
        let random = SeededRandom::new(2);
        let key = Secret::random(&random);
        let first = seal_short(&key, b"", b"", &random);
        assert_eq!(open_short(&key, b"", &first).unwrap(), b"");
        assert_ne!(first, seal_short(&key, b"", b"", &random));
    }
}
