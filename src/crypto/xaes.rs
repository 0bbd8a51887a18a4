//! XAES-256-GCM: derivation of an AES-256-GCM key from a 256-bit key and half of a 192-bit nonce.
//!
//! Source: C2SP, c2sp.org/XAES-256-GCM (NIST SP 800-108r1 in counter mode over AES-CMAC, reduced to
//! one block per output half). The other half of the nonce is the AES-GCM nonce as it stands. The
//! AEAD itself is not here: `block` and `short` each bring their own implementation.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};

use crate::crypto::suite::{NONCE_LEN, SESSION_LEN};
use crate::secret::Secret;

/// A 256-bit key prepared for derivations: its AES key schedule and the CMAC subkey K1.
pub struct XaesKey {
    aes: Aes256,
    subkey: Secret<16>,
}

impl XaesKey {
    /// Prepares a key (steps 1 and 2 of the specification).
    pub fn new(key: &Secret<32>) -> Self {
        let aes = Aes256::new(key.expose().into());
        let subkey = Secret::fill_with(|out| {
            aes.encrypt_block(out.into());
            double(out);
        });
        Self { aes, subkey }
    }

    /// The AES-256-GCM key for the first half of a nonce (steps 3 to 5).
    pub fn derive(&self, session: &[u8; SESSION_LEN]) -> Secret<32> {
        Secret::fill_with(|out| {
            let (first, second) = out.split_at_mut(16);
            self.derive_half(1, session, first);
            self.derive_half(2, session, second);
        })
    }

    fn derive_half(&self, counter: u8, session: &[u8; SESSION_LEN], out: &mut [u8]) {
        let prefix = [0, counter, b'X', 0];
        let message = prefix.iter().chain(session);
        let mut block = aes::Block::default();
        for ((byte, message), subkey) in block.iter_mut().zip(message).zip(self.subkey.expose()) {
            *byte = message ^ subkey;
        }
        self.aes.encrypt_block(&mut block);
        out.copy_from_slice(&block);
        zeroize::Zeroize::zeroize(block.as_mut_slice());
    }
}

impl std::fmt::Debug for XaesKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("XaesKey")
    }
}

/// Splits a nonce into its session half (N1) and its AES-GCM half (N2).
pub fn split_nonce(nonce: &[u8; NONCE_LEN]) -> ([u8; SESSION_LEN], [u8; SESSION_LEN]) {
    let mut session = [0; SESSION_LEN];
    let mut own = [0; SESSION_LEN];
    for (to, from) in session.iter_mut().chain(&mut own).zip(nonce) {
        *to = *from;
    }
    (session, own)
}

/// Multiplies by x in GF(2^128), without a branch on the secret. NIST SP 800-38B, section 6.1.
fn double(block: &mut [u8; 16]) {
    let value = u128::from_be_bytes(*block);
    let carry = value >> 127;
    *block = ((value << 1) ^ (carry * 0x87)).to_be_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{hex, unhex, unhex_array};
    use crate::crypto::short::{open_with, seal_with};
    use crate::crypto::suite::TAG_LEN;

    fn seal(key: [u8; 32], nonce: &[u8; 24], aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let key = Secret::<32>::fill_with(|out| *out = key);
        let sealed = seal_with(&XaesKey::new(&key), nonce, aad, plain);
        assert_eq!(open_with(&XaesKey::new(&key), aad, &sealed).unwrap(), plain);
        // Ours: nonce, tag, ciphertext. The specification's: ciphertext, tag.
        let (tag, ciphertext) = sealed[24..].split_at(TAG_LEN);
        [ciphertext, tag].concat()
    }

    /// C2SP XAES-256-GCM, test vectors: MSB(L) = 0 and MSB(L) = 1.
    #[test]
    fn derived_key_and_ciphertext_are_those_of_the_specification() {
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        for (fill, aad, derived, sealed) in [
            (
                1,
                &b""[..],
                "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b",
                "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
            ),
            (
                3,
                b"c2sp.org/XAES-256-GCM",
                "e9c621d4cdd9b11b00a6427ad7e559aeedd66b3857646677748f8ca796cb3fd8",
                "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
            ),
        ] {
            let key = Secret::<32>::fill_with(|out| *out = [fill; 32]);
            let (session, own) = split_nonce(nonce);
            assert_eq!(own, unhex_array("4d4e4f505152535455565758").unwrap());
            assert_eq!(hex(XaesKey::new(&key).derive(&session).expose()), derived);
            assert_eq!(hex(&seal([fill; 32], nonce, aad, b"XAES-256-GCM")), sealed);
        }
    }

    /// C2SP XAES-256-GCM, accumulated randomized tests, 10 000 iterations.
    #[test]
    fn accumulated_hash_is_that_of_the_specification() {
        let mut random = Shake128::new(&[]);
        assert_eq!(random.clone().bytes(16), unhex("7f9c2ba4e88f827d616045507605853e").unwrap());
        let mut sealed = Vec::new();
        for _ in 0..10_000 {
            let key: [u8; 32] = random.bytes(32).try_into().unwrap();
            let nonce: [u8; 24] = random.bytes(24).try_into().unwrap();
            let plain_len = random.bytes(1)[0];
            let plain = random.bytes(usize::from(plain_len));
            let aad_len = random.bytes(1)[0];
            let aad = random.bytes(usize::from(aad_len));
            sealed.extend_from_slice(&seal(key, &nonce, &aad, &plain));
        }
        assert_eq!(
            hex(&Shake128::new(&sealed).bytes(32)),
            "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
        );
    }

    /// SHAKE128 (FIPS 202), only for the test above.
    #[derive(Clone)]
    struct Shake128 {
        state: [u64; 25],
        at: usize,
    }

    impl Shake128 {
        const RATE: usize = 168;

        fn new(input: &[u8]) -> Self {
            let mut padded = input.to_vec();
            padded.push(0x1f);
            padded.resize(padded.len().next_multiple_of(Self::RATE), 0);
            *padded.last_mut().unwrap() |= 0x80;
            let mut state = [0u64; 25];
            for block in padded.chunks(Self::RATE) {
                for (lane, bytes) in state.iter_mut().zip(block.chunks(8)) {
                    *lane ^= u64::from_le_bytes(bytes.try_into().unwrap());
                }
                keccak_f(&mut state);
            }
            Self { state, at: 0 }
        }

        fn bytes(&mut self, len: usize) -> Vec<u8> {
            let mut out = Vec::with_capacity(len);
            for _ in 0..len {
                if self.at == Self::RATE {
                    keccak_f(&mut self.state);
                    self.at = 0;
                }
                out.push(self.state[self.at / 8].to_le_bytes()[self.at % 8]);
                self.at += 1;
            }
            out
        }
    }

    /// Keccak-f[1600], FIPS 202, section 3.3; round constants from the LFSR of section 3.2.5.
    fn keccak_f(a: &mut [u64; 25]) {
        let mut lfsr = 1u8;
        for _ in 0..24 {
            let parity: [u64; 5] = std::array::from_fn(|x| (0..5).fold(0, |p, y| p ^ a[x + 5 * y]));
            for i in 0..25 {
                a[i] ^= parity[(i % 5 + 4) % 5] ^ parity[(i % 5 + 1) % 5].rotate_left(1);
            }
            let (mut x, mut y, mut lane, mut rotation) = (1, 0, a[1], 0);
            for t in 1..=24 {
                rotation += t;
                (x, y) = (y, (2 * x + 3 * y) % 5);
                (a[x + 5 * y], lane) = (lane.rotate_left(rotation), a[x + 5 * y]);
            }
            for row in a.chunks_mut(5) {
                let old: [u64; 5] = (&*row).try_into().unwrap();
                for x in 0..5 {
                    row[x] = old[x] ^ (!old[(x + 1) % 5] & old[(x + 2) % 5]);
                }
            }
            for j in 0..7 {
                a[0] ^= u64::from(lfsr & 1) << ((1 << j) - 1);
                lfsr = (lfsr << 1) ^ (if lfsr & 0x80 == 0 { 0 } else { 0x71 });
            }
        }
    }
}
