//! Whole lower files (F-14), read by the filesystem's own pipeline.

use std::sync::Arc;

use kmsfs::codec::hex;
use kmsfs::crypto::sha256;
use kmsfs::format::layout::{block_count, block_start, payload_len, plain_len};
use kmsfs::fs::{DataKeys, FileEnv, FileNode, FsError, Homeless, LastCheckpoint, Trust};
use kmsfs::kms::{
    CiphertextBlob, DataKey, EncryptionContext, GeneratedKey, KeyDescription, KeyRef, KeyService,
    KmsError, Wrapped,
};
use kmsfs::random::OsRandom;
use kmsfs::testing::MemFile;
use kmsfs::units::{BlockNo, LowerLen};

use super::vector::{ARN, Vector, count, data_key, load, volume_id};

/// Knows one wrapped key.
#[derive(Debug)]
struct OneKey;

const REFUSED: KmsError = KmsError::InvalidCiphertext;

impl KeyService for OneKey {
    fn generate_data_key(
        &self,
        _: &KeyRef,
        _: &EncryptionContext,
    ) -> Result<GeneratedKey, KmsError> {
        Err(REFUSED)
    }

    fn decrypt(
        &self,
        key: &KeyRef,
        blob: &CiphertextBlob,
        _: &EncryptionContext,
    ) -> Result<DataKey, KmsError> {
        let is_it = key.as_str() == ARN && blob.0 == count::<96>(0x60);
        if is_it { Ok(DataKey(data_key())) } else { Err(REFUSED) }
    }

    fn re_encrypt(
        &self,
        _: &CiphertextBlob,
        _: &KeyRef,
        _: &EncryptionContext,
    ) -> Result<Wrapped, KmsError> {
        Err(REFUSED)
    }

    fn describe_key(&self, _: &KeyRef) -> Result<KeyDescription, KmsError> {
        Err(REFUSED)
    }
}

/// The lower file of a case.
fn lower_file(case: &Vector) -> Vec<u8> {
    let mut bytes = Vec::new();
    for page in case.list("pages") {
        let end = bytes.len() + 4096;
        bytes.extend(page.as_bytes());
        bytes.resize(end, 0);
    }
    bytes.resize(bytes.len() + case.len("tail"), 0);
    bytes
}

/// Reads a file block by block, so that an error names its place.
fn read(bytes: &[u8]) -> Result<Vec<u8>, FsError> {
    let file = MemFile::from_bytes(bytes);
    let data_keys = DataKeys::new(Arc::new(OneKey), Arc::new(OsRandom), volume_id(), &[]);
    let (trust, home) = (Trust::Strict, &Homeless);
    let checkpoint = LastCheckpoint::of_no_volume();
    let env = FileEnv { file: &file, data_keys: &data_keys, policy: 0, trust, home, checkpoint };
    let node = FileNode::default();
    node.keys(&env)?;
    let size = plain_len(LowerLen(bytes.len().try_into().unwrap()));
    let mut plain = Vec::new();
    for block in (0..block_count(size)).map(BlockNo) {
        let mut out = vec![0; payload_len(block)];
        let got = node.read(&env, block_start(block), &mut out)?;
        plain.extend(&out[..got]);
    }
    Ok(plain)
}

#[test]
fn whole_files_read_like_this() {
    for case in load("files").list("cases") {
        let outcome = read(&lower_file(&case));
        let Some(part) = case.find("part") else {
            let plain = outcome.unwrap_or_else(|error| panic!("{}: {error}", case.name()));
            assert_eq!(plain.len(), case.len("size"), "{}", case.name());
            assert_eq!(hex(&sha256(&[&plain])), case.text("sha256"), "{}", case.name());
            continue;
        };
        match outcome {
            Err(FsError::Corrupt(found)) => {
                assert_eq!(found.to_string(), part.as_text(), "{}", case.name());
            }
            Err(other) => panic!("{}: {other:?}", case.name()),
            Ok(plain) => panic!("{}: reads as {} bytes", case.name(), plain.len()),
        }
    }
}
