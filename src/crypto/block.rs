//! Seals and opens the content of one file: XAES-256-GCM through `aws-lc-rs`.
//!
//! The derived AES-256-GCM key belongs to a session (N1), not to a block, so it is made once, at its
//! first use, and its price vanishes. Where nonce, tag and ciphertext lie in a record is `format::record`'s business.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::crypto::AuthFailed;
use crate::crypto::failure::stop;
use crate::crypto::suite::{NONCE_LEN, SESSION_LEN, TAG_LEN};
use crate::crypto::xaes::{XaesKey, split_nonce};
use crate::secret::Secret;
use crate::sync::{Rank, RwLock};

/// Derived keys of other sessions that are kept. A file written in more sessions than this derives
/// again on the way (0.3 us), nothing worse.
const OTHER_SESSIONS_MAX: usize = 8;

/// The cipher of one file's content, with one session for everything that it seals.
pub struct ContentCipher {
    /// Expanded for each derivation anew: many of these are kept, and few derive twice.
    key: Secret<32>,
    session: [u8; SESSION_LEN],
    /// What is only read is never sealed for.
    own: OnceLock<Box<LessSafeKey>>,
    /// Derived keys of records that other sessions sealed. Rank `Cache`; shared: found, exclusive:
    /// inserted. Held across nothing.
    others: RwLock<Others>,
}

struct Others {
    keys: Vec<([u8; SESSION_LEN], Arc<LessSafeKey>)>,
    next: usize,
}

impl ContentCipher {
    /// A cipher under a file's content key.
    ///
    /// `session` (N1) must be random and fresh for every call with the same key: 2^32 records may be
    /// sealed in one session (NIST SP 800-38D, section 8.3).
    pub fn new(key: Secret<32>, session: [u8; SESSION_LEN]) -> Self {
        let others = Others { keys: Vec::new(), next: 0 };
        Self { key, session, own: OnceLock::new(), others: RwLock::new(Rank::Cache, others) }
    }

    /// Seals `plain` into `ciphertext` (of the same length), under a nonce made of the session and
    /// `n2`. `n2` must be random for every call.
    pub fn seal(
        &self,
        n2: &[u8; SESSION_LEN],
        aad: &[u8],
        plain: &[u8],
        nonce: &mut [u8; NONCE_LEN],
        ciphertext: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) {
        let (head, tail) = nonce.split_at_mut(SESSION_LEN);
        head.copy_from_slice(&self.session);
        tail.copy_from_slice(n2);
        let n2 = Nonce::assume_unique_for_key(*n2);
        let done = self.own().seal_out_of_place_scatter(
            n2,
            Aad::from(aad),
            plain,
            ciphertext,
            &[],
            tag.as_mut_slice(),
        );
        if done.is_err() {
            stop("aws-lc-rs seal");
        }
    }

    /// Opens `ciphertext` straight into `plain` (of the same length).
    ///
    /// # Errors
    /// [`AuthFailed`] if anything differs from what was sealed, or the lengths differ; `plain` is
    /// then worthless.
    pub fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        plain: &mut [u8],
    ) -> Result<(), AuthFailed> {
        let (session, n2) = split_nonce(nonce);
        let other;
        let key = if session == self.session {
            self.own()
        } else {
            other = self.other(session);
            &*other
        };
        let n2 = Nonce::assume_unique_for_key(n2);
        key.open_separate_gather(n2, Aad::from(aad), ciphertext, tag, plain).map_err(|_| AuthFailed)
    }

    /// The session that this cipher seals under.
    pub fn session(&self) -> &[u8; SESSION_LEN] {
        &self.session
    }

    fn own(&self) -> &LessSafeKey {
        self.own.get_or_init(|| Box::new(self.derive(&self.session)))
    }

    fn derive(&self, session: &[u8; SESSION_LEN]) -> LessSafeKey {
        gcm_key(&XaesKey::new(&self.key).derive(session))
    }

    fn other(&self, session: [u8; SESSION_LEN]) -> Arc<LessSafeKey> {
        if let Some(key) = self.others.read().find(&session) {
            return key;
        }
        let made = Arc::new(self.derive(&session));
        self.others.write().insert(session, &made);
        made
    }
}

impl Others {
    fn find(&self, session: &[u8; SESSION_LEN]) -> Option<Arc<LessSafeKey>> {
        let (_, key) = self.keys.iter().find(|(of, _)| of == session)?;
        Some(Arc::clone(key))
    }

    fn insert(&mut self, session: [u8; SESSION_LEN], key: &Arc<LessSafeKey>) {
        let entry = (session, Arc::clone(key));
        if self.keys.iter().any(|(of, _)| *of == session) {
            return;
        }
        match self.keys.get_mut(self.next) {
            Some(oldest) => *oldest = entry,
            None => self.keys.push(entry),
        }
        self.next = (self.next + 1) % OTHER_SESSIONS_MAX;
    }
}

impl fmt::Debug for ContentCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentCipher")
    }
}

fn gcm_key(key: &Secret<32>) -> LessSafeKey {
    match UnboundKey::new(&AES_256_GCM, key.expose()) {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => stop("aws-lc-rs key set-up"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{hex, unhex, unhex_array};
    use crate::crypto::short::seal_with;
    use crate::random::{Random, SeededRandom, random_array};

    fn secret(bytes: [u8; 32]) -> Secret<32> {
        Secret::fill_with(|out| *out = bytes)
    }

    struct Sealed {
        nonce: [u8; 24],
        tag: [u8; 16],
        ciphertext: Vec<u8>,
    }

    fn seal(cipher: &ContentCipher, n2: &[u8; 12], aad: &[u8], plain: &[u8]) -> Sealed {
        let mut sealed = Sealed { nonce: [0; 24], tag: [0; 16], ciphertext: vec![0; plain.len()] };
        let Sealed { nonce, tag, ciphertext } = &mut sealed;
        cipher.seal(n2, aad, plain, nonce, ciphertext, tag);
        sealed
    }

    fn open(cipher: &ContentCipher, aad: &[u8], sealed: &Sealed) -> Result<Vec<u8>, AuthFailed> {
        let mut plain = vec![0; sealed.ciphertext.len()];
        cipher.open(&sealed.nonce, aad, &sealed.ciphertext, &sealed.tag, &mut plain)?;
        Ok(plain)
    }

    #[test]
    fn both_libraries_make_the_same_bytes_at_every_length() {
        let random = SeededRandom::new(3);
        let key: [u8; 32] = random_array(&random);
        let cipher = ContentCipher::new(secret(key), random_array(&random));
        let other = XaesKey::new(&secret(key));
        let mut plain = vec![0; 4048];
        random.fill(&mut plain);
        for len in 0..=plain.len() {
            let plain = &plain[..len];
            let aad: [u8; 16] = random_array(&random);
            let sealed = seal(&cipher, &random_array(&random), &aad, plain);
            let expected = seal_with(&other, &sealed.nonce, &aad, plain);
            let ours = [&sealed.nonce[..], &sealed.tag, &sealed.ciphertext].concat();
            assert!(ours == expected, "length {len}");
            assert!(open(&cipher, &aad, &sealed).unwrap() == plain, "length {len}");
        }
    }

    #[test]
    fn records_of_many_sessions_open_from_many_threads() {
        let random = SeededRandom::new(4);
        let sealed: Vec<Sealed> = (0..20)
            .map(|n| {
                let cipher = ContentCipher::new(secret([7; 32]), random_array(&random));
                seal(&cipher, &random_array(&random), &[n], &[n; 100])
            })
            .collect();
        let reader = ContentCipher::new(secret([7; 32]), [0; 12]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        for (n, sealed) in (0..).zip(&sealed) {
                            assert_eq!(open(&reader, &[n], sealed).unwrap(), [n; 100]);
                        }
                    }
                });
            }
        });
        assert_eq!(reader.others.read().keys.len(), OTHER_SESSIONS_MAX);
    }

    #[test]
    fn a_change_anywhere_is_found() {
        let random = SeededRandom::new(5);
        let cipher = ContentCipher::new(secret([9; 32]), [1; 12]);
        let mut sealed = seal(&cipher, &random_array(&random), b"block 0", b"0123456789");
        assert_eq!(open(&cipher, b"block 1", &sealed), Err(AuthFailed));
        for at in 0..24 {
            sealed.nonce[at] ^= 1;
            assert_eq!(open(&cipher, b"block 0", &sealed), Err(AuthFailed));
            sealed.nonce[at] ^= 1;
        }
        for at in 0..16 {
            sealed.tag[at] ^= 0x80;
            assert_eq!(open(&cipher, b"block 0", &sealed), Err(AuthFailed));
            sealed.tag[at] ^= 0x80;
        }
        sealed.ciphertext[9] ^= 1;
        assert_eq!(open(&cipher, b"block 0", &sealed), Err(AuthFailed));
        sealed.ciphertext[9] ^= 1;
        assert_eq!(open(&cipher, b"block 0", &sealed).unwrap(), b"0123456789");
        let mut short = [0; 9];
        assert_eq!(
            cipher.open(&sealed.nonce, b"block 0", &sealed.ciphertext, &sealed.tag, &mut short),
            Err(AuthFailed)
        );
    }

    /// McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B, test cases 13, 14,
    /// 15 and 16 (the AES-256 cases with 96-bit nonces; NIST's CAVP quotes them).
    #[test]
    fn aes_256_gcm_gives_the_published_tags() {
        let key = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
        let nonce = "cafebabefacedbaddecaf888";
        let plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                     1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
        let ciphertext = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                          8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";
        let aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
        let zero_key = "00".repeat(32);
        let zero_nonce = "00".repeat(12);
        let zero_block = "00".repeat(16);
        for (key, nonce, aad, plain, ciphertext, tag) in [
            (&*zero_key, &*zero_nonce, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
            (
                &zero_key,
                &zero_nonce,
                "",
                &zero_block,
                "cea7403d4d606b6e074ec5d3baf39d18",
                "d0d1c8a799996bf0265b98b5d48ab919",
            ),
            (key, nonce, "", plain, ciphertext, "b094dac5d93471bdec1a502270e3cc6c"),
            (
                key,
                nonce,
                aad,
                &plain[..120],
                &ciphertext[..120],
                "76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        ] {
            let key = gcm_key(&secret(unhex_array(key).unwrap()));
            let plain = unhex(plain).unwrap();
            let mut out = vec![0; plain.len()];
            let mut out_tag = [0; 16];
            key.seal_out_of_place_scatter(
                Nonce::assume_unique_for_key(unhex_array(nonce).unwrap()),
                Aad::from(unhex(aad).unwrap()),
                &plain,
                &mut out,
                &[],
                &mut out_tag,
            )
            .unwrap();
            assert_eq!(hex(&out), ciphertext);
            assert_eq!(hex(&out_tag), tag);
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let cipher = ContentCipher::new(secret([0x5a; 32]), [0; 12]);
        assert_eq!(format!("{cipher:?}"), "ContentCipher");
    }
}
