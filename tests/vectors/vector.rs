//! Reading the JSON files, and the inputs that all of them share.

use std::fmt::Debug;
use std::path::Path;

use kmsfs::codec::unhex;
use kmsfs::crypto::{FileKeys, VolumeKeys};
use kmsfs::format::{DirId, FileId, VolumeId};
use kmsfs::random::Random;
use kmsfs::secret::Secret;
use serde_json::Value;

pub const ARN: &str = "arn:aws:kms:local:000000000000:key/01234567-89ab-4cde-8f01-23456789abcd";

/// One file of vectors, or one case of it.
#[derive(Clone, Debug)]
pub struct Vector(Value);

/// The file `testdata/format/v1/<name>.json`.
pub fn load(name: &str) -> Vector {
    load_from("format/v1", name)
}

/// The file `testdata/<folder>/<name>.json`.
pub fn load_from(folder: &str, name: &str) -> Vector {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/{folder}/{name}.json"));
    Vector(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
}

impl Vector {
    pub fn get(&self, key: &str) -> Vector {
        Vector(self.0.get(key).unwrap_or_else(|| panic!("no field {key}")).clone())
    }

    pub fn find(&self, key: &str) -> Option<Vector> {
        self.0.get(key).filter(|value| !value.is_null()).cloned().map(Vector)
    }

    pub fn list(&self, key: &str) -> Vec<Vector> {
        self.get(key).items()
    }

    pub fn items(&self) -> Vec<Vector> {
        self.0.as_array().unwrap().iter().cloned().map(Vector).collect()
    }

    pub fn keys(&self) -> Vec<String> {
        self.0.as_object().unwrap().keys().cloned().collect()
    }

    pub fn as_text(&self) -> &str {
        self.0.as_str().unwrap()
    }

    pub fn as_bytes(&self) -> Vec<u8> {
        unhex(self.as_text()).unwrap()
    }

    pub fn as_number(&self) -> u64 {
        self.0.as_u64().unwrap()
    }

    pub fn as_signed(&self) -> i64 {
        self.0.as_i64().unwrap()
    }

    pub fn as_bool(&self) -> bool {
        self.0.as_bool().unwrap()
    }

    pub fn text(&self, key: &str) -> String {
        self.get(key).as_text().to_owned()
    }

    /// Bytes given in hex.
    pub fn bytes(&self, key: &str) -> Vec<u8> {
        self.get(key).as_bytes()
    }

    pub fn array<const N: usize>(&self, key: &str) -> [u8; N] {
        self.bytes(key).try_into().unwrap()
    }

    pub fn number(&self, key: &str) -> u64 {
        self.get(key).as_number()
    }

    pub fn len(&self, key: &str) -> usize {
        usize::try_from(self.number(key)).unwrap()
    }

    /// Bytes given in hex without the zeros at their end; the structure is `len` bytes long.
    pub fn padded(&self, key: &str, len: usize) -> Vec<u8> {
        let mut bytes = self.bytes(key);
        assert!(bytes.len() <= len);
        bytes.resize(len, 0);
        bytes
    }

    /// Name of the case, for messages.
    pub fn name(&self) -> String {
        self.text("name")
    }
}

/// The case fails as it says: its `error` is the variant's name, with its fields or without.
#[track_caller]
pub fn assert_refused<T: Debug, E: Debug>(case: &Vector, outcome: Result<T, E>) {
    let error = match outcome {
        Ok(value) => panic!("{}: taken as {value:?}", case.name()),
        Err(error) => format!("{error:?}"),
    };
    let wanted = case.text("error");
    let is_it = error == wanted || error.starts_with(&format!("{wanted} {{"));
    assert!(is_it, "{}: {error} instead of {wanted}", case.name());
}

/// Plaintext of the vectors: byte `i` is `7 * i mod 256`.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 % 256).try_into().unwrap()).collect()
}

/// `N` bytes that count up from `first`.
pub fn count<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|i| first.wrapping_add(i.try_into().unwrap()))
}

pub fn secret(bytes: [u8; 32]) -> Secret<32> {
    Secret::fill_with(|out| *out = bytes)
}

pub fn volume_id() -> VolumeId {
    VolumeId(count(0xa0))
}

pub fn file_id() -> FileId {
    FileId(count(0xb0))
}

pub fn dir_id() -> DirId {
    DirId(count(0xc0))
}

pub fn data_key() -> Secret<32> {
    secret(count(0x20))
}

pub fn file_keys() -> FileKeys {
    FileKeys::derive(&data_key(), file_id().bytes())
}

pub fn volume_keys() -> VolumeKeys {
    VolumeKeys::derive(&secret(count(0)), volume_id().bytes())
}

/// Gives the nonce of every short record in the vectors.
#[derive(Debug)]
pub struct ShortNonce;

impl Random for ShortNonce {
    fn fill(&self, out: &mut [u8]) {
        out.copy_from_slice(&count::<24>(0x70));
    }
}
