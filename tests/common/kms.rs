//! A KMS in a temporary directory under a clock that stands still until it is moved.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kmsfs::clock::{Clock, ManualClock};
use kmsfs::kms::*;
use kmsfs::secret::SecretBytes;
use kmsfs::wire;
use serde_json::Value;
use tempfile::TempDir;

pub struct Bench {
    pub dir: TempDir,
    pub clock: Arc<ManualClock>,
    pub kms: Kms,
}

impl Bench {
    pub fn new() -> Self {
        let dir = place();
        let clock = Arc::new(ManualClock::at(1_700_000_000));
        let kms = Kms::create(dir.path(), &unlock(), Argon2Cost::TEST, options(&clock)).unwrap();
        Self { dir, clock, kms }
    }

    /// Another handle on the same files, as another process has it.
    pub fn open(&self) -> Kms {
        Kms::open(self.dir.path(), &unlock(), options(&self.clock)).unwrap()
    }

    pub fn days(&self, days: u32) {
        self.clock.advance(Duration::from_secs(86_400) * days);
    }

    /// What is due, seen twice so that deletions are confirmed.
    pub fn tick(&self) {
        self.kms.tick().unwrap();
        self.clock.advance(Duration::from_secs(60));
        self.kms.tick().unwrap();
    }

    pub fn call(&self, operation: &str, input: Value) -> Result<Value, KmsError> {
        wire::call(&self.kms, &self.kms.owner(), operation, &input)
    }

    pub fn new_key(&self) -> KeyRef {
        KeyRef::from(&self.kms.create_key(CreateKey::default()).unwrap().arn)
    }

    pub fn database(&self) -> PathBuf {
        self.dir.path().join("keys.db")
    }

    pub fn log(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }
}

/// In memory where there is such a place: most tests are not about the disk.
fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

pub fn options(clock: &Arc<ManualClock>) -> KmsOptions {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    KmsOptions { clock, ..KmsOptions::default() }
}

pub fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(SecretBytes::new(text.as_bytes().to_vec()))
}

pub fn unlock() -> Unlock {
    passphrase("passphrase")
}

pub fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    let mut context = EncryptionContext::new();
    for (key, value) in pairs {
        context.insert(key, value).unwrap();
    }
    context
}

pub fn none() -> EncryptionContext {
    EncryptionContext::new()
}
