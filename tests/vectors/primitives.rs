//! Sections 2 and 10: derivation, XAES-256-GCM, encryption contexts, layout.

use kmsfs::crypto::kdf::derive;
use kmsfs::crypto::xaes::{XaesKey, split_nonce};
use kmsfs::crypto::{ContentCipher, Label, open_short, seal_short};
use kmsfs::format::layout;
use kmsfs::kms::EncryptionContext;
use kmsfs::random::Random;
use kmsfs::units::{BlockNo, LowerLen, LowerOffset, PlainLen, PlainOffset};

use super::vector::{Vector, load, secret};

/// Every label of the program is in the vectors, and every label there derives these bytes.
#[test]
fn labels_derive_these_keys() {
    let vector = load("kdf");
    let mut listed: Vec<String> =
        vector.list("labels").iter().map(|label| label.as_text().to_owned()).collect();
    let mut ours: Vec<String> =
        Label::ALL.iter().map(|label| String::from_utf8(label.bytes().to_vec()).unwrap()).collect();
    listed.sort();
    ours.sort();
    assert_eq!(ours, listed);
    for (whose, ikm, salt) in
        [("file", "data_key", "file_id"), ("volume", "volume_key", "volume_id")]
    {
        let keys = vector.get(whose);
        for what in keys.keys() {
            let label = format!("kmsfs v1 {whose} {what}");
            let (ikm, salt) = (vector.bytes(ikm), vector.bytes(salt));
            let expected = keys.bytes(&what);
            let derived = match expected.len() {
                32 => derive::<32>(&ikm, &salt, label.as_bytes()).expose().to_vec(),
                _ => derive::<64>(&ikm, &salt, label.as_bytes()).expose().to_vec(),
            };
            assert_eq!(derived, expected, "{label}");
        }
    }
}

/// Gives the nonce of one case.
#[derive(Debug)]
struct Fixed(Vec<u8>);

impl Random for Fixed {
    fn fill(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.0);
    }
}

/// The derived key, and both of our ways to XAES: through aws-lc-rs and through aes-gcm.
#[test]
fn xaes_gives_these_bytes() {
    for case in load("xaes").list("cases") {
        let nonce = case.array::<24>("nonce");
        let (n1, n2) = split_nonce(&nonce);
        let key = || secret(case.array("key"));
        assert_eq!(XaesKey::new(&key()).derive(&n1).expose()[..], case.bytes("derived"));
        let (aad, plain) = (case.bytes("aad"), case.bytes("plain"));

        let short = seal_short(&key(), &aad, &plain, &Fixed(nonce.to_vec()));
        assert_eq!(short, [&nonce[..], &case.bytes("tag"), &case.bytes("ciphertext")].concat());
        assert_eq!(open_short(&key(), &aad, &short).unwrap(), plain);

        let cipher = ContentCipher::new(key(), n1);
        let (mut written, mut tag) = ([0; 24], [0; 16]);
        let mut ciphertext = vec![0; plain.len()];
        cipher.seal(&n2, &aad, &plain, &mut written, &mut ciphertext, &mut tag);
        assert_eq!(written, nonce);
        assert_eq!((ciphertext, tag.to_vec()), (case.bytes("ciphertext"), case.bytes("tag")));
        // A cipher of another session opens it too.
        let other = ContentCipher::new(key(), [9; 12]);
        let mut out = vec![0; plain.len()];
        other.open(&nonce, &aad, &case.bytes("ciphertext"), &tag, &mut out).unwrap();
        assert_eq!(out, plain);
    }
}

#[test]
fn contexts_have_these_canonical_bytes() {
    for case in load("contexts").list("cases") {
        let pairs = case.get("pairs");
        let mut context = EncryptionContext::new();
        // Backwards: the order of giving must not matter.
        for key in pairs.keys().iter().rev() {
            context.insert(key, &pairs.text(key)).unwrap();
        }
        assert_eq!(context.canonical_bytes(), case.bytes("canonical"), "{}", case.name());
    }
}

#[test]
fn sizes_and_lengths_are_these() {
    let vector = load("layout");
    for row in vector.list("sizes") {
        let (size, lower) = (PlainLen(row.number("size")), LowerLen(row.number("lower_len")));
        assert_eq!(layout::lower_len(size), lower);
        assert_eq!(layout::plain_len(lower), size);
        assert_eq!(layout::block_count(size), row.number("blocks"));
        assert!(layout::is_legal(lower));
    }
    for row in vector.list("lower") {
        let lower = LowerLen(row.number("lower_len"));
        assert_eq!(layout::plain_len(lower), PlainLen(row.number("size")), "{lower:?}");
        assert_eq!(layout::is_legal(lower), row.get("legal").as_bool(), "{lower:?}");
    }
}

#[test]
fn offsets_and_blocks_are_these() {
    let vector = load("layout");
    let block = |row: &Vector| BlockNo(row.number("block"));
    for row in vector.list("offsets") {
        let at = PlainOffset(row.number("offset"));
        assert_eq!(layout::block_of(at), (block(&row), row.len("inside")));
    }
    for row in vector.list("blocks") {
        let no = block(&row);
        assert_eq!(layout::block_start(no), PlainOffset(row.number("first_offset")));
        assert_eq!(layout::payload_len(no), row.len("payload"));
        assert_eq!(layout::record_at(no), LowerOffset(row.number("record_at")));
        assert_eq!(layout::record_len(no), row.len("record_len"));
    }
}
