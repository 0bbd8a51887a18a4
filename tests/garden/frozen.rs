//! The frozen volumes of testdata/volumes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use kmsfs::clock::SystemClock;
use kmsfs::fs::{FsError, OpenOptions, Volume};
use kmsfs::kms::{Kms, KmsOptions, Unlock};
use kmsfs::random::OsRandom;
use kmsfs::secret::SecretBytes;
use serde_json::Value;
use tempfile::TempDir;

/// Opens the embedded key databases. They guard nothing.
pub const PASSPHRASE: &str = "frozen test volume";

/// A file in testdata/volumes.
pub fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/volumes").join(name)
}

/// Unpacks a frozen volume. It is an archive because git keeps neither extended attributes nor holes.
pub fn unpack(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    tar(
        &["--xattrs", "--xattrs-include=user.*", "-xzf", beside(name).to_str().unwrap()],
        dir.path(),
    );
    dir
}

/// Packs a volume; the opposite of `unpack`.
pub fn pack(name: &str, dir: &Path) {
    let fixed =
        ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--sparse", "--xattrs"];
    let archive = beside(name);
    let rest = ["--xattrs-include=user.*", "-czf", archive.to_str().unwrap(), "."];
    tar(&[&fixed[..], &rest].concat(), dir);
}

fn tar(arguments: &[&str], dir: &Path) {
    let status = Command::new("tar").args(arguments).current_dir(dir).status().unwrap();
    assert!(status.success(), "tar {arguments:?}");
}

pub fn unlock() -> Unlock {
    Unlock::Passphrase(SecretBytes::new(PASSPHRASE.as_bytes().to_vec()))
}

/// Opens a volume and its embedded key database.
pub fn open(lower: &Path, read_only: bool) -> Result<Volume, FsError> {
    let kms = Kms::open(&lower.join(".kmsfs"), &unlock(), KmsOptions::default()).unwrap();
    let options = OpenOptions { read_only };
    Volume::open(lower, kms.as_service(), Arc::new(OsRandom), Arc::new(SystemClock), options)
}

/// What was written into a frozen volume.
pub fn expected(name: &str) -> BTreeMap<String, Value> {
    serde_json::from_str(&fs::read_to_string(beside(name)).unwrap()).unwrap()
}
