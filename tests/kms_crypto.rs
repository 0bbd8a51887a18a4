//! What opens a blob, and what does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;

use bench::{Bench, context, none};
use kmsfs::kms::*;
use kmsfs::secret::SecretBytes;

fn encrypt(kms: &Kms, key: &KeyRef, plain: &[u8], context: &EncryptionContext) -> CiphertextBlob {
    let request = Encrypt {
        key: key.clone(),
        plaintext: SecretBytes::new(plain.to_vec()),
        context: context.clone(),
        algorithm: None,
        dry_run: false,
    };
    kms.encrypt(&request).unwrap().blob
}

fn decrypt(
    kms: &Kms,
    blob: &CiphertextBlob,
    context: &EncryptionContext,
) -> Result<Vec<u8>, KmsError> {
    let request = Decrypt {
        blob: blob.clone(),
        key: None,
        context: context.clone(),
        algorithm: None,
        dry_run: DryRun::Off,
    };
    kms.decrypt(&request).map(|answer| answer.plaintext.expose().to_vec())
}

#[test]
fn the_context_must_be_the_same() {
    let bench = Bench::new();
    let key = bench.new_key();
    let right = context(&[("a", "1"), ("b", "2")]);
    let blob = encrypt(&bench.kms, &key, b"plain", &right);
    assert_eq!(decrypt(&bench.kms, &blob, &context(&[("b", "2"), ("a", "1")])).unwrap(), b"plain");
    for wrong in [
        none(),
        context(&[("a", "1")]),
        context(&[("a", "1"), ("b", "2"), ("c", "3")]),
        context(&[("a", "2"), ("b", "1")]),
        context(&[("A", "1"), ("b", "2")]),
        context(&[("a", "1,b=2")]),
        context(&[("a", "1b"), ("b", "2")]),
    ] {
        assert_eq!(decrypt(&bench.kms, &blob, &wrong), Err(KmsError::InvalidCiphertext));
    }
    let without = encrypt(&bench.kms, &key, b"plain", &none());
    assert_eq!(decrypt(&bench.kms, &without, &none()).unwrap(), b"plain");
    assert_eq!(decrypt(&bench.kms, &without, &right), Err(KmsError::InvalidCiphertext));
}

#[test]
fn every_changed_bit_and_every_cut_is_found_with_an_empty_message() {
    let bench = Bench::new();
    let key = bench.new_key();
    let blob = encrypt(&bench.kms, &key, b"plain", &none());
    for at in 0..blob.0.len() {
        for bit in 0..8 {
            let mut changed = blob.clone();
            changed.0[at] ^= 1 << bit;
            let refused = decrypt(&bench.kms, &changed, &none()).unwrap_err();
            assert_eq!(refused, KmsError::InvalidCiphertext, "bit {bit} of byte {at}");
            assert_eq!(refused.to_string(), "");
        }
        if at > 0 {
            let cut = CiphertextBlob(blob.0[..at].to_vec());
            assert_eq!(decrypt(&bench.kms, &cut, &none()), Err(KmsError::InvalidCiphertext));
        }
    }
    let longer = CiphertextBlob([blob.0.as_slice(), b"x"].concat());
    assert_eq!(decrypt(&bench.kms, &longer, &none()), Err(KmsError::InvalidCiphertext));
}

/// A blob of key A never opens with key B, nor one of a key's materials with another.
#[test]
fn a_blob_opens_with_its_own_key_and_material_only() {
    let bench = Bench::new();
    let (a, b) = (bench.new_key(), bench.new_key());
    let blob_a = encrypt(&bench.kms, &a, b"plain", &none());
    let blob_b = encrypt(&bench.kms, &b, b"plain", &none());
    let refused = KeyService::decrypt(&bench.kms, &b, &blob_a, &none()).unwrap_err();
    assert_eq!(refused.exception(), "IncorrectKeyException");
    // Heads swapped: key id and material id are bound.
    let swapped = CiphertextBlob([&blob_b.0[..50], &blob_a.0[50..]].concat());
    assert_eq!(decrypt(&bench.kms, &swapped, &none()), Err(KmsError::InvalidCiphertext));
    bench.kms.rotate_key_on_demand(&a).unwrap();
    let newer = encrypt(&bench.kms, &a, b"plain", &none());
    assert_ne!(newer.0[18..50], blob_a.0[18..50]);
    assert_eq!(newer.0[..18], blob_a.0[..18]);
    let swapped = CiphertextBlob([&newer.0[..50], &blob_a.0[50..]].concat());
    assert_eq!(decrypt(&bench.kms, &swapped, &none()), Err(KmsError::InvalidCiphertext));
}

/// Another installation's key is unknown here, even with the same id.
#[test]
fn a_blob_of_another_installation_does_not_open() {
    let (here, there) = (Bench::new(), Bench::new());
    let key = there.new_key();
    here.new_key();
    let blob = encrypt(&there.kms, &key, b"plain", &none());
    assert_eq!(decrypt(&here.kms, &blob, &none()), Err(KmsError::InvalidCiphertext));
}

/// docs/KMS.md, "Ciphertext blob".
#[test]
fn a_blob_has_its_documented_layout() {
    let bench = Bench::new();
    let key = bench.new_key();
    let made = KeyService::generate_data_key(&bench.kms, &key, &none()).unwrap();
    let blob = &made.wrapped.blob.0;
    assert_eq!(blob.len(), 122);
    assert_eq!(blob[..2], [1, 0]);
    let digits: String = blob[2..18].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digits, made.wrapped.key_arn.key_id().as_str().replace('-', ""));
    assert_eq!(blob[18..50], made.wrapped.material.unwrap().0);
}

#[test]
fn lengths_have_limits() {
    let bench = Bench::new();
    let key = bench.new_key();
    let outcome = |len: usize| {
        let request = Encrypt {
            key: key.clone(),
            plaintext: SecretBytes::new(vec![7; len]),
            context: none(),
            algorithm: None,
            dry_run: false,
        };
        bench.kms.encrypt(&request)
    };
    assert_eq!(outcome(0).unwrap_err().exception(), "ValidationException");
    assert_eq!(outcome(4097).unwrap_err().exception(), "ValidationException");
    let blob = outcome(4096).unwrap().blob;
    assert_eq!(decrypt(&bench.kms, &blob, &none()).unwrap(), vec![7; 4096]);
    let generate = |len| {
        bench
            .kms
            .generate_data_key(&GenerateDataKey {
                key: key.clone(),
                len,
                context: none(),
                dry_run: false,
            })
            .map(|answer| answer.plaintext.unwrap().len())
    };
    assert_eq!(generate(DataKeyLen::Spec(DataKeySpec::Aes128)), Ok(16));
    assert_eq!(generate(DataKeyLen::Bytes(1024)), Ok(1024));
    for number in [0, 1025] {
        assert_eq!(
            generate(DataKeyLen::Bytes(number)).unwrap_err().exception(),
            "ValidationException"
        );
    }
    let big = context(&[("k", &"x".repeat(8192))]);
    let refused = decrypt(&bench.kms, &blob, &big).unwrap_err();
    assert_eq!(refused.exception(), "ValidationException");
    assert_eq!(bench.kms.generate_random(1024).unwrap().len(), 1024);
    assert!(bench.kms.generate_random(0).is_err() && bench.kms.generate_random(1025).is_err());
}

/// The answer without plaintext holds none, and its blob opens to the right length.
#[test]
fn a_data_key_without_plaintext_opens_later() {
    let bench = Bench::new();
    let request = GenerateDataKey {
        key: bench.new_key(),
        len: DataKeyLen::Spec(DataKeySpec::Aes256),
        context: none(),
        dry_run: false,
    };
    let answer = bench.kms.generate_data_key_without_plaintext(&request).unwrap();
    assert!(answer.plaintext.is_none());
    assert_eq!(decrypt(&bench.kms, &answer.blob, &none()).unwrap().len(), 32);
}
