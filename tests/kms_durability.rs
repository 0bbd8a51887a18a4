//! Law K7 and K8 under SIGKILL: what was acknowledged is there, the rest is there whole or not at
//! all, and the audit chain holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bench::{none, unlock};
use kmsfs::kms::*;

const DIR: &str = "KMSFS_DURABILITY_DIR";
const ROUNDS: u32 = 12;

/// The child: changes keys without end, and says what was acknowledged. Not a test by itself.
#[test]
#[ignore = "the child of the test below"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let kms = Kms::open(dir.as_ref(), &unlock(), KmsOptions::default()).unwrap();
    for n in 0.. {
        let key = KeyRef::from(&kms.create_key(CreateKey::default()).unwrap().arn);
        println!("\nkey {key}");
        let alias = format!("alias/p{}-{n}", std::process::id());
        kms.create_alias(&alias, &key).unwrap();
        println!("\nalias {alias} {key}");
        kms.rotate_key_on_demand(&key).unwrap();
        let made = KeyService::generate_data_key(&kms, &key, &none()).unwrap();
        let material = made.wrapped.material.unwrap();
        let blob: String = made.wrapped.blob.0.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("\nblob {key} {material} {blob}");
        kms.schedule_key_deletion(&key, Some(7)).unwrap();
        kms.cancel_key_deletion(&key).unwrap();
        println!("\ndisabled {key}");
    }
}

/// Whether what a child said is true. Later changes of the same key may have happened as well.
fn check(kms: &Kms, line: &str) {
    match line.split(' ').collect::<Vec<_>>().as_slice() {
        ["key", key] => assert!(kms.describe_key(&KeyRef::new(key)).is_ok(), "{line}"),
        ["alias", alias, key] => {
            let found = kms.describe_key(&KeyRef::new(alias)).unwrap();
            assert_eq!(found.arn.as_str(), *key, "{line}");
        }
        ["blob", key, material, blob] => {
            let key = KeyRef::new(key);
            let found = kms.describe_key(&key).unwrap();
            assert_eq!(found.current_material, MaterialId::parse(material), "{line}");
            if found.state != KeyState::Enabled {
                if found.state == KeyState::PendingDeletion {
                    kms.cancel_key_deletion(&key).unwrap();
                }
                kms.enable_key(&key).unwrap();
            }
            let blob = CiphertextBlob(kmsfs::codec::unhex(blob).unwrap());
            assert!(KeyService::decrypt(kms, &key, &blob, &none()).is_ok(), "{line}");
            kms.disable_key(&key).unwrap();
        }
        ["disabled", key] => {
            let found = kms.describe_key(&KeyRef::new(key)).unwrap();
            assert_eq!(found.state, KeyState::Disabled, "{line}");
        }
        _ => {}
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let kms = Kms::create(dir.path(), &unlock(), Argon2Cost::TEST, KmsOptions::default()).unwrap();
    drop(kms);
    let mut said = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_said = |line: &String| {
            ["key ", "alias ", "blob ", "disabled "].iter().any(|word| line.starts_with(word))
        };
        let mut acknowledged = Vec::new();
        while acknowledged.is_empty() {
            acknowledged.extend(lines.next().unwrap().ok().filter(is_said));
        }
        // Somewhere in the middle of the changes that follow: a different place each round.
        let until = Instant::now() + Duration::from_micros(u64::from(round) * 7_919 % 60_000);
        while Instant::now() < until {
            acknowledged.extend(lines.next().unwrap().ok().filter(is_said));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What the pipe still held was acknowledged as well; its last line may be torn.
        let mut rest: Vec<String> = lines.map_while(Result::ok).collect();
        rest.pop();
        acknowledged.extend(rest.into_iter().filter(is_said));
        said += acknowledged.len();

        let kms = Kms::open(dir.path(), &unlock(), KmsOptions::default()).unwrap();
        acknowledged.iter().for_each(|line| check(&kms, line));
        kms.flush_audit().unwrap();
        let report = audit::verify(&dir.path().join("audit.log"), Some(&kms.audit_key())).unwrap();
        assert_eq!(report.torn_len, 0);
    }
    assert!(said >= usize::try_from(ROUNDS).unwrap());
}
