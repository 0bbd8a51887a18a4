//! What a use of a key costs in process, the audit log on: `cargo bench --bench kms [-- FILTER]`.
//!
//! Counts processor time of the whole process, the thread that writes the log included, so that the
//! figure is one core's and a busy machine disturbs it little. `KMSFS_BENCH_DIR` (tmpfs: `/dev/shm`)
//! takes key database and log; `KMSFS_BENCH_CALLS` is the number of calls of a round.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/rounds.rs"]
mod rounds;

use std::path::PathBuf;
use std::time::Duration;

use kmsfs::kms::*;
use kmsfs::secret::SecretBytes;

use rounds::{number, report};

/// Lets the account in, and ann under a condition: what a policy written by hand looks like.
const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Sid": "Administration", "Effect": "Allow", "Action": ["kms:Describe*", "kms:Put*", "kms:Create*"],
     "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Resource": "*"},
    {"Sid": "NotFromElsewhere", "Effect": "Deny", "Action": "kms:*", "Principal": "*", "Resource": "*",
     "Condition": {"StringNotEquals": {"kms:CallerAccount": "000000000000"}}},
    {"Sid": "Use", "Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*"],
     "Principal": {"AWS": ["arn:aws:iam::000000000000:user/bob", "arn:aws:iam::000000000000:user/ann"]},
     "Resource": "*", "Condition": {"StringEquals": {"kms:EncryptionContext:department": ["law", "hr"]},
     "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["department", "year"]}}}]}"#;

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let calls: u32 = number("KMSFS_BENCH_CALLS", 100_000);
    let place =
        std::env::var_os("KMSFS_BENCH_DIR").map_or(PathBuf::from("/dev/shm"), PathBuf::from);
    let dir = tempfile::tempdir_in(place).unwrap();
    let unlock = Unlock::KeyFile(SecretBytes::new(vec![7; 32]));
    let root = Kms::create(dir.path(), &unlock, Argon2Cost::TEST, KmsOptions::default()).unwrap();
    let plain = Calls::new(root.clone(), None, &[]);
    let ann = Principal::from_arn("arn:aws:iam::000000000000:user/ann").unwrap();
    let context = [("department", "law"), ("year", "2026")];
    let custom = Calls::new(root.caller(ann), Some((&root, POLICY)), &context);
    rounds::heading();
    for (kind, calls_of) in [("default policy", &plain), ("custom policy, context", &custom)] {
        for (name, call) in [
            ("generate_data_key", Calls::generate as fn(&Calls)),
            ("decrypt", Calls::decrypt),
            ("encrypt", Calls::encrypt),
        ] {
            let title = format!("{name}, {kind}");
            if title.contains(&filter) {
                report(&title, &measure(calls, &root, || call(calls_of)), calls);
            }
        }
    }
}

/// Processor time of each round, the log written.
fn measure(calls: u32, kms: &Kms, call: impl Fn()) -> Vec<Duration> {
    rounds::measure(calls, |calls| {
        (0..calls).for_each(|_| call());
        kms.flush_audit().unwrap();
    })
}

/// The requests of one principal for one key.
struct Calls {
    kms: Kms,
    generate: GenerateDataKey,
    decrypt: Decrypt,
    encrypt: Encrypt,
}

impl Calls {
    fn new(kms: Kms, policy: Option<(&Kms, &str)>, pairs: &[(&str, &str)]) -> Self {
        let owner = policy.map_or(&kms, |(owner, _)| owner);
        let policy = policy.map(|(_, text)| text.to_owned());
        let made = owner.create_key(CreateKey { policy, ..CreateKey::default() }).unwrap();
        let key = KeyRef::from(&made.arn);
        let mut context = EncryptionContext::new();
        for (name, value) in pairs {
            context.insert(name, value).unwrap();
        }
        let encrypt = Encrypt {
            key: key.clone(),
            plaintext: SecretBytes::new(vec![5; 32]),
            context: context.clone(),
            algorithm: None,
            dry_run: false,
        };
        let blob = kms.encrypt(&encrypt).unwrap().blob;
        let decrypt = Decrypt {
            blob,
            key: Some(key.clone()),
            context: context.clone(),
            algorithm: None,
            dry_run: DryRun::Off,
        };
        let len = DataKeyLen::Spec(DataKeySpec::Aes256);
        let generate = GenerateDataKey { key, len, context, dry_run: false };
        Self { kms, generate, decrypt, encrypt }
    }

    fn generate(&self) {
        self.kms.generate_data_key(&self.generate).unwrap();
    }

    fn decrypt(&self) {
        self.kms.decrypt(&self.decrypt).unwrap();
    }

    fn encrypt(&self) {
        self.kms.encrypt(&self.encrypt).unwrap();
    }
}
