//! The ciphertext blob: which key and material sealed it, and the sealed bytes. docs/KMS.md,
//! "Ciphertext blob".

#![deny(clippy::indexing_slicing)]

use crate::codec::Reader;
use crate::kms::{EncryptionContext, KeyId, MaterialId};

/// First byte of every blob.
const VERSION: u8 = 1;

/// Bytes before the sealed ones: version, kind and bytes of the key id, material id.
#[cfg(test)]
const HEAD_LEN: usize = 1 + 17 + 32;

/// The part of a blob that says what sealed it. It is bound as additional data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobHead {
    /// The key.
    pub key: KeyId,
    /// The material.
    pub material: MaterialId,
}

impl BlobHead {
    /// Splits a blob into its head and the sealed bytes; `None` if it is none of ours.
    pub fn parse(blob: &[u8]) -> Option<(Self, &[u8])> {
        let mut reader = Reader::new(blob);
        if reader.u8() != Ok(VERSION) {
            return None;
        }
        let key = KeyId::from_bytes(&reader.array().ok()?)?;
        let material = MaterialId(reader.array().ok()?);
        Some((Self { key, material }, reader.rest()))
    }

    /// A blob's beginning, to which the sealed bytes are appended.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.push(VERSION);
        out.extend_from_slice(&self.key.to_bytes());
        out.extend_from_slice(&self.material.0);
        out
    }

    /// What is bound to the sealed bytes: the head, then the context in its canonical form.
    pub fn additional_data(&self, context: &EncryptionContext) -> Vec<u8> {
        let mut out = self.encode();
        out.extend_from_slice(&context.canonical_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_round_trips_and_refuses_what_is_not_ours() {
        let key = KeyId::from_random([7; 16]);
        let head = BlobHead { key, material: MaterialId([9; 32]) };
        let mut blob = head.encode();
        assert_eq!(blob.len(), HEAD_LEN);
        blob.extend_from_slice(b"sealed");
        assert_eq!(BlobHead::parse(&blob), Some((head, b"sealed".as_slice())));
        for len in 0..HEAD_LEN {
            assert_eq!(BlobHead::parse(&blob[..len]), None, "cut at {len}");
        }
        blob[0] = 2;
        assert_eq!(BlobHead::parse(&blob), None);
        blob[..2].copy_from_slice(&[1, 9]);
        assert_eq!(BlobHead::parse(&blob), None);
    }
}
