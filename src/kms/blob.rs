//! The ciphertext blob: which key and material sealed it, and the sealed bytes. docs/KMS.md,
//! "Ciphertext blob".

#![deny(clippy::indexing_slicing)]

use std::borrow::Cow;

use crate::codec::Reader;
use crate::kms::{EncryptionContext, KeyId, MaterialId};

/// First byte of every blob.
const VERSION: u8 = 1;

/// Bytes before the sealed ones: version, kind and bytes of the key id, material id.
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
        encode_head(&self.key, &self.material)
    }
}

/// A blob's beginning, with room for what most blobs hold.
pub(crate) fn encode_head(key: &KeyId, material: &MaterialId) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(VERSION);
    out.extend_from_slice(&key.to_bytes());
    out.extend_from_slice(&material.0);
    out
}

/// What is bound to the sealed bytes of a blob: its head, then the context in its canonical form.
pub(crate) fn additional_data<'a>(blob: &'a [u8], context: &EncryptionContext) -> Cow<'a, [u8]> {
    let head = blob.get(..HEAD_LEN).unwrap_or_default();
    if context.is_empty() {
        return Cow::Borrowed(head);
    }
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(head);
    context.push_canonical(&mut out);
    Cow::Owned(out)
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
