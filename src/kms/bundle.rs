//! Bytes that carry a multi-Region key from one installation to another: the request of who is to
//! have it, and the bundle that answers it. docs/KMS.md, "From one installation to another".
//!
//! Both begin with a magic and a version, and are parsed before anything of them is authentic. What a
//! bundle carries is sealed under a key of its own; that key is wrapped for the request's public key.

#![deny(clippy::indexing_slicing)]

use std::fmt;

use bincode::{Decode, Encode};

use crate::codec::{OutOfBounds, Reader, hex};
use crate::crypto::kdf::sha256;
use crate::kms::rows::ImportRow;

/// Bytes of a request that is read at all: a public key of RSA-3072 and a token take 2.4 KiB.
pub const REPLICA_REQUEST_LEN_MAX: usize = 16 << 10;
/// Bytes of a bundle that is read at all. A symmetric material takes some 130 bytes.
pub const REPLICA_BUNDLE_LEN_MAX: usize = 1 << 20;

const REQUEST_MAGIC: &[u8; 8] = b"KMSFSREQ";
const BUNDLE_MAGIC: &[u8; 8] = b"KMSFSKEY";
const VERSION: u16 = 1;

/// What two operators compare: the first 16 bytes of a file's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Of the bytes of a request or a bundle.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_hash(&sha256(&[bytes]))
    }

    fn of_hash(hash: &[u8; 32]) -> Self {
        let mut first = [0; 16];
        first.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
        Self(first)
    }

    /// Whether a text is this fingerprint, in any case and however its digits are grouped.
    pub fn is_written(&self, text: &str) -> bool {
        let digits: String = text.chars().filter(|c| !matches!(c, ' ' | ':' | '-')).collect();
        digits.eq_ignore_ascii_case(&hex(&self.0))
    }
}

impl fmt::Display for Fingerprint {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// What an installation that is to hold a replica asks with. Nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRequest {
    /// Until when, in milliseconds since 1970.
    pub valid_to: u64,
    /// Its account.
    pub account: String,
    /// The Region of the replica.
    pub region: String,
    /// What the bundle's key is to be wrapped for: SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    /// Goes back with the bundle; sealed for who made it.
    pub token: Vec<u8>,
}

impl ReplicaRequest {
    /// The bytes; `None` if a part is too long.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = REQUEST_MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.valid_to.to_le_bytes());
        push_short(&mut bytes, self.account.as_bytes())?;
        push_short(&mut bytes, self.region.as_bytes())?;
        push_long(&mut bytes, &self.public_key)?;
        push_long(&mut bytes, &self.token)?;
        Some(bytes).filter(|bytes| bytes.len() <= REPLICA_REQUEST_LEN_MAX)
    }

    /// Reads a request; `None` if it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = begin(bytes, REQUEST_MAGIC, REPLICA_REQUEST_LEN_MAX).ok()??;
        let request = Self {
            valid_to: reader.u64().ok()?,
            account: text(&mut reader)?,
            region: text(&mut reader)?,
            public_key: long(&mut reader).ok()?.to_vec(),
            token: long(&mut reader).ok()?.to_vec(),
        };
        reader.rest().is_empty().then_some(request)
    }

    /// What both sides compare before anything is sealed for it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_hash(&self.hash())
    }

    /// SHA-256 of its bytes.
    pub(super) fn hash(&self) -> [u8; 32] {
        sha256(&[&self.encode().unwrap_or_default()])
    }
}

/// What stands in front of a bundle's content, and is bound to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleHead {
    /// SHA-256 of the request.
    pub request: [u8; 32],
    /// The request's account.
    pub account: String,
    /// The request's Region.
    pub region: String,
    /// The request's token.
    pub token: Vec<u8>,
    /// The content's key under the request's public key, RSA-OAEP with SHA-256.
    pub wrapped_key: Vec<u8>,
}

impl BundleHead {
    /// The bytes; `None` if a part is too long.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = BUNDLE_MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.request);
        push_short(&mut bytes, self.account.as_bytes())?;
        push_short(&mut bytes, self.region.as_bytes())?;
        push_long(&mut bytes, &self.token)?;
        push_long(&mut bytes, &self.wrapped_key)?;
        Some(bytes)
    }

    /// Reads the head of a bundle, and what is sealed behind it; `None` if it is none.
    pub fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut reader = begin(bytes, BUNDLE_MAGIC, REPLICA_BUNDLE_LEN_MAX).ok()??;
        let head = Self {
            request: reader.array().ok()?,
            account: text(&mut reader)?,
            region: text(&mut reader)?,
            token: long(&mut reader).ok()?.to_vec(),
            wrapped_key: long(&mut reader).ok()?.to_vec(),
        };
        Some((head, reader.rest()))
    }
}

/// What a bundle carries: all of a key that its replicas share. Texts are in AWS' spelling.
#[derive(Encode, Decode)]
pub(super) struct BundleContent {
    /// ARN of the primary.
    pub(super) primary: String,
    /// How often the primary has moved.
    pub(super) term: u32,
    /// When it was sealed, milliseconds since 1970.
    pub(super) made: u64,
    pub(super) spec: String,
    pub(super) usage: String,
    pub(super) origin: String,
    /// Oldest first.
    pub(super) materials: Vec<BundledMaterial>,
    /// What is remembered of imported material, oldest first.
    pub(super) imports: Vec<ImportRow>,
}

/// A material in a bundle.
#[derive(Encode, Decode)]
pub(super) struct BundledMaterial {
    pub(super) id: [u8; 32],
    /// Milliseconds since 1970.
    pub(super) since: u64,
    pub(super) rotation: Option<String>,
    pub(super) revoked: Option<u64>,
    /// Sealed under the bundle's key once more, so that no bare material leaves its store.
    pub(super) sealed: Vec<u8>,
}

/// A reader behind magic and version; `None` if they are others, or it is too long.
fn begin<'a>(
    bytes: &'a [u8],
    magic: &[u8; 8],
    len_max: usize,
) -> Result<Option<Reader<'a>>, OutOfBounds> {
    let mut reader = Reader::new(bytes);
    let is_ours = reader.array::<8>()? == *magic && reader.u16()? == VERSION;
    Ok(Some(reader).filter(|_| is_ours && bytes.len() <= len_max))
}

fn push_short(out: &mut Vec<u8>, part: &[u8]) -> Option<()> {
    out.push(u8::try_from(part.len()).ok()?);
    out.extend_from_slice(part);
    Some(())
}

fn push_long(out: &mut Vec<u8>, part: &[u8]) -> Option<()> {
    out.extend_from_slice(&u16::try_from(part.len()).ok()?.to_le_bytes());
    out.extend_from_slice(part);
    Some(())
}

fn text(reader: &mut Reader<'_>) -> Option<String> {
    let len = reader.u8().ok()?;
    String::from_utf8(reader.bytes(len.into()).ok()?.to_vec()).ok()
}

fn long<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], OutOfBounds> {
    let len = reader.u16()?;
    reader.bytes(len.into())
}
