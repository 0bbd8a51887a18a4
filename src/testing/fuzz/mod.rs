//! What is fuzzed: each target takes any bytes and panics where a law is broken.
//!
//! `fuzz/` drives the targets by libFuzzer; `tests/fuzz_corpus.rs` replays the corpora without it. A
//! target is a function of its bytes alone: no clock, no chance, nothing left from the run before.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken law must be loud")]

mod archive;
mod content;
mod file;
mod kms;
mod names;
mod protocols;
mod tree;
mod words;

/// Takes any bytes; panics where a law is broken.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus and of its binary in `fuzz/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("access_policy", kms::access_policy),
    ("audit_line", kms::audit_line),
    ("blob", kms::blob),
    ("content_ops", content::content_ops),
    ("control_request", protocols::control_request),
    ("credentials", protocols::credentials),
    ("dir_marker", file::dir_marker),
    ("file_header", file::file_header),
    ("header_archive", archive::header_archive),
    ("http_service", protocols::http_service),
    ("import_token", kms::import_token),
    ("key_names", kms::key_names),
    ("key_rows", kms::key_rows),
    ("key_slot", kms::key_slot),
    ("kms_calls", kms::kms_calls),
    ("layout", file::layout),
    ("lower_name", names::lower_name),
    ("lower_tree", tree::lower_tree),
    ("plain_name", names::plain_name),
    ("record", file::record),
    ("recovery_kit", kms::recovery_kit),
    ("replica_bundle", kms::replica_bundle),
    ("sigv4", protocols::sigv4),
    ("symlink", names::symlink),
    ("volume_config", file::volume_config),
    ("volume_state", file::volume_state),
    ("xattr", names::xattr),
];

/// The keys and ids of the worked example of docs/FORMAT.md: the vectors in testdata are seeds.
mod example {
    use crate::crypto::{FileKeys, VolumeKeys};
    use crate::format::{DirId, FileId, VolumeId};
    use crate::secret::Secret;

    pub(super) const VOLUME: VolumeId = VolumeId(counted(0xa0));
    pub(super) const FILE: FileId = FileId(counted(0xb0));
    pub(super) const DIR: DirId = DirId(counted(0xc0));

    pub(super) fn volume_keys() -> VolumeKeys {
        VolumeKeys::derive(&Secret::fill_with(|out| *out = counted(0)), VOLUME.bytes())
    }

    pub(super) fn file_keys() -> FileKeys {
        FileKeys::derive(&Secret::fill_with(|out| *out = counted(0x20)), FILE.bytes())
    }

    const fn counted<const N: usize>(from: u8) -> [u8; N] {
        let mut out = [from; N];
        let mut at = 1;
        while at < N {
            out[at] = out[at - 1] + 1;
            at += 1;
        }
        out
    }
}
