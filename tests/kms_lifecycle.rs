//! The life of keys under a clock that stands still until it is moved.

use std::sync::Arc;
use std::time::Duration;

use kmsfs::clock::ManualClock;
use kmsfs::kms::*;
use kmsfs::secret::SecretBytes;
use tempfile::TempDir;

struct Place {
    dir: TempDir,
    clock: Arc<ManualClock>,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Place {
    fn new() -> (Self, Kms) {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(1_700_000_000)),
        };
        let kms =
            Kms::create(place.dir.path(), &unlock(), Argon2Cost::TEST, place.options()).unwrap();
        (place, kms)
    }

    fn options(&self) -> KmsOptions {
        KmsOptions { clock: Arc::clone(&self.clock) as _, ..KmsOptions::default() }
    }

    fn open(&self) -> Kms {
        Kms::open(self.dir.path(), &unlock(), self.options()).unwrap()
    }

    fn days(&self, days: u32) {
        self.clock.advance(DAY * days);
    }
}

fn unlock() -> Unlock {
    Unlock::Passphrase(SecretBytes::new(b"passphrase".to_vec()))
}

fn context() -> EncryptionContext {
    let mut context = EncryptionContext::new();
    context.insert("kmsfs:file", "00").unwrap();
    context
}

fn key(kms: &Kms) -> KeyRef {
    KeyRef::from(&kms.create_key(CreateKey::default()).unwrap().arn)
}

#[test]
fn a_data_key_opens_after_a_reopen_and_after_rotations() {
    let (place, kms) = Place::new();
    let key = key(&kms);
    let made = KeyService::generate_data_key(&kms, &key, &context()).unwrap();
    for _ in 0..3 {
        kms.rotate_key_on_demand(&key).unwrap();
    }
    drop(kms);
    let kms = place.open();
    let again = KeyService::decrypt(&kms, &key, &made.wrapped.blob, &context()).unwrap();
    assert!(again.0.ct_eq(&made.plain.0));
    let rewrapped = KeyService::re_encrypt(&kms, &made.wrapped.blob, &key, &context()).unwrap();
    let now = KeyService::describe_key(&kms, &key).unwrap().current_material;
    assert_eq!(rewrapped.material, now);
    assert_ne!(made.wrapped.material, now);
    let again = KeyService::decrypt(&kms, &key, &rewrapped.blob, &context()).unwrap();
    assert!(again.0.ct_eq(&made.plain.0));
}
