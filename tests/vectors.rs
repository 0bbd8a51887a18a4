//! Known answers: testdata/format/v1/*.json, made by testdata/make_vectors.py and never by kmsfs, held
//! against the library in both directions. What the fields mean: testdata/README.md.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests, and what they share")]

mod vectors {
    mod attributes;
    mod config;
    mod content;
    mod files;
    mod header;
    mod kms;
    mod names;
    mod primitives;
    mod vector;
}
