//! The life of keys: rotation, aliases, deletion; and two processes on one key database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;

use std::sync::{Arc, Mutex};

use bench::{Bench, context, none};
use kmsfs::kms::*;
use rusqlite::Connection;
use serde_json::json;

fn materials(kms: &Kms, key: &KeyRef) -> Vec<RotationEntry> {
    let include = IncludeKeyMaterial::AllKeyMaterial;
    kms.list_key_rotations(key, include, &PageRequest::default()).unwrap().entries
}

fn state(kms: &Kms, key: &KeyRef) -> KeyState {
    kms.describe_key(key).unwrap().state
}

/// Law K7 from outside: what was wrapped opens after any number of rotations and a reopen.
#[test]
fn a_data_key_opens_after_rotations_and_a_reopen() {
    let bench = Bench::new();
    let (key, context) = (bench.new_key(), context(&[("kmsfs:file", "00")]));
    let made = KeyService::generate_data_key(&bench.kms, &key, &context).unwrap();
    for _ in 0..3 {
        bench.kms.rotate_key_on_demand(&key).unwrap();
    }
    let kms = bench.open();
    let again = KeyService::decrypt(&kms, &key, &made.wrapped.blob, &context).unwrap();
    assert!(again.0.ct_eq(&made.plain.0));
    let rewrapped = KeyService::re_encrypt(&kms, &made.wrapped.blob, &key, &context).unwrap();
    let current = KeyService::describe_key(&kms, &key).unwrap().current_material;
    assert_eq!(rewrapped.material, current);
    assert_ne!(made.wrapped.material, current);
    let again = KeyService::decrypt(&kms, &key, &rewrapped.blob, &context).unwrap();
    assert!(again.0.ct_eq(&made.plain.0));
}

#[test]
fn rotation_on_schedule_comes_each_period_and_keeps_the_key() {
    let bench = Bench::new();
    let key = bench.new_key();
    bench.kms.enable_key_rotation(&key, Some(90)).unwrap();
    let mut blobs = Vec::new();
    for round in 1..=3 {
        blobs.push(KeyService::generate_data_key(&bench.kms, &key, &none()).unwrap());
        bench.days(89);
        bench.tick();
        assert_eq!(materials(&bench.kms, &key).len(), round, "a day early");
        bench.days(1);
        bench.tick();
        let entries = materials(&bench.kms, &key);
        assert_eq!(entries.len(), round + 1);
        assert_eq!(entries[round].rotation, Some(RotationType::Automatic));
        assert_eq!(entries[round].state, MaterialState::Current);
    }
    for made in blobs {
        let again = KeyService::decrypt(&bench.kms, &key, &made.wrapped.blob, &none()).unwrap();
        assert!(again.0.ct_eq(&made.plain.0));
    }
}

#[test]
fn rotation_rests_while_disabled_and_catches_up_when_enabled() {
    let bench = Bench::new();
    let key = bench.new_key();
    bench.kms.enable_key_rotation(&key, None).unwrap();
    bench.kms.disable_key(&key).unwrap();
    bench.days(1000);
    bench.tick();
    assert_eq!(materials(&bench.kms, &key).len(), 1);
    bench.kms.enable_key(&key).unwrap();
    bench.tick();
    assert_eq!(materials(&bench.kms, &key).len(), 2, "once, not once for each missed period");
    bench.days(364);
    bench.tick();
    assert_eq!(materials(&bench.kms, &key).len(), 2);
    bench.days(1);
    bench.tick();
    assert_eq!(materials(&bench.kms, &key).len(), 3);
}

#[test]
fn rotation_on_demand_ends_at_its_limit_and_leaves_the_schedule() {
    let bench = Bench::new();
    let key = bench.new_key();
    bench.kms.enable_key_rotation(&key, None).unwrap();
    let before = bench.kms.get_key_rotation_status(&key).unwrap();
    for _ in 0..25 {
        bench.kms.rotate_key_on_demand(&key).unwrap();
    }
    let refused = bench.kms.rotate_key_on_demand(&key).unwrap_err();
    assert_eq!(refused.exception(), "LimitExceededException");
    assert_eq!(bench.kms.get_key_rotation_status(&key).unwrap(), before);
    assert_eq!(materials(&bench.kms, &key).len(), 26);
    let ids: std::collections::BTreeSet<_> =
        materials(&bench.kms, &key).iter().map(|entry| entry.material).collect();
    assert_eq!(ids.len(), 26);
}

#[test]
fn rotation_shows_as_off_while_deletion_is_pending_and_comes_back() {
    let bench = Bench::new();
    let key = bench.new_key();
    bench.kms.enable_key_rotation(&key, None).unwrap();
    bench.kms.schedule_key_deletion(&key, Some(7)).unwrap();
    assert_eq!(bench.kms.get_key_rotation_status(&key).unwrap().rotation, None);
    bench.kms.cancel_key_deletion(&key).unwrap();
    assert!(bench.kms.get_key_rotation_status(&key).unwrap().rotation.is_some());
}

/// Bodies of a key's rows in the file: what must not be there once the key is destroyed.
fn sealed_rows(bench: &Bench, id: &str) -> Vec<Vec<u8>> {
    let connection = Connection::open(bench.database()).unwrap();
    let mut rows = Vec::new();
    for table in ["keys", "materials"] {
        let sql = format!("SELECT body FROM {table} WHERE id LIKE '{id}%'");
        let mut statement = connection.prepare(&sql).unwrap();
        let found = statement.query_map([], |row| row.get(0)).unwrap();
        rows.extend(found.map(Result::unwrap));
    }
    rows
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn the_end_of_the_window_destroys_key_materials_and_aliases() {
    let bench = Bench::new();
    let (key, other) = (bench.new_key(), bench.new_key());
    bench.kms.rotate_key_on_demand(&key).unwrap();
    bench.kms.create_alias("alias/doomed", &key).unwrap();
    bench.kms.create_alias("alias/other", &other).unwrap();
    let id = bench.kms.describe_key(&key).unwrap().key_id();
    let made = KeyService::generate_data_key(&bench.kms, &key, &none()).unwrap();
    let planned = bench.kms.schedule_key_deletion(&key, Some(7)).unwrap();
    let rows = sealed_rows(&bench, id.as_str());
    assert_eq!(rows.len(), 3);
    let file = std::fs::read(bench.database()).unwrap();
    assert!(rows.iter().all(|row| contains(&file, &row[row.len() - 32..])));

    bench.days(6);
    bench.tick();
    assert_eq!(state(&bench.kms, &key), KeyState::PendingDeletion);
    bench.days(1);
    bench.kms.tick().unwrap();
    assert_eq!(state(&bench.kms, &key), KeyState::PendingDeletion, "seen once only");
    bench.tick();
    assert_eq!(planned.window_days, 7);

    for kms in [bench.kms.clone(), bench.open()] {
        let gone = kms.describe_key(&key).unwrap_err();
        assert_eq!(gone.to_string(), format!("Key '{key}' does not exist"));
        let refused = KeyService::decrypt(&kms, &key, &made.wrapped.blob, &none()).unwrap_err();
        assert_eq!(refused.trouble(), KeyTrouble::Missing);
        let aliases = kms.list_aliases(&ListAliases::default()).unwrap().entries;
        let names: Vec<_> = aliases.iter().map(|alias| alias.name.as_str()).collect();
        assert_eq!(names, ["alias/other"]);
    }
    let file = std::fs::read(bench.database()).unwrap();
    assert!(rows.iter().all(|row| !contains(&file, &row[row.len() - 32..])));
    assert!(sealed_rows(&bench, id.as_str()).is_empty());
}

#[test]
fn a_cancelled_deletion_leaves_the_key_disabled() {
    let bench = Bench::new();
    let key = bench.new_key();
    let made = KeyService::generate_data_key(&bench.kms, &key, &none()).unwrap();
    bench.kms.schedule_key_deletion(&key, None).unwrap();
    bench.days(29);
    bench.tick();
    bench.kms.cancel_key_deletion(&key).unwrap();
    assert_eq!(state(&bench.kms, &key), KeyState::Disabled);
    bench.days(1000);
    bench.tick();
    let refused = KeyService::decrypt(&bench.kms, &key, &made.wrapped.blob, &none()).unwrap_err();
    assert_eq!(refused.trouble(), KeyTrouble::Disabled);
    bench.kms.enable_key(&key).unwrap();
    assert!(KeyService::decrypt(&bench.kms, &key, &made.wrapped.blob, &none()).is_ok());
}

#[test]
fn a_clock_that_jumps_ahead_for_a_moment_destroys_nothing() {
    let bench = Bench::new();
    let key = bench.new_key();
    bench.kms.schedule_key_deletion(&key, Some(7)).unwrap();
    let ahead = Arc::new(kmsfs::clock::ManualClock::at(1_900_000_000));
    let jumped = Kms::open(bench.dir.path(), &bench::unlock(), bench::options(&ahead)).unwrap();
    jumped.tick().unwrap();
    jumped.tick().unwrap();
    bench.kms.tick().unwrap();
    ahead.advance(std::time::Duration::from_secs(50));
    bench.days(1);
    bench.tick();
    assert_eq!(state(&bench.kms, &key), KeyState::PendingDeletion);
}

/// Law: a clock set back prolongs nothing that has run out, also for a process that starts afterwards.
#[test]
fn a_clock_set_back_prolongs_nothing_across_a_restart() {
    let bench = Bench::new();
    let input = json!({"Origin": "EXTERNAL"});
    let made = bench.call("CreateKey", input).unwrap()["KeyMetadata"]["KeyId"].clone();
    let input = json!({"KeyId": made, "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
        "WrappingKeySpec": "RSA_2048"});
    let token = bench.call("GetParametersForImport", input).unwrap()["ImportToken"].clone();
    let import = |kms: &Kms| {
        let input = json!({"KeyId": made, "ImportToken": token, "EncryptedKeyMaterial": "AAAA",
            "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"});
        kmsfs::wire::call(kms, &kms.owner(), "ImportKeyMaterial", &input).unwrap_err().exception()
    };
    assert_eq!(import(&bench.kms), "InvalidCiphertextException");
    bench.days(2);
    bench.tick();
    assert_eq!(import(&bench.kms), "ExpiredImportTokenException");
    let earlier = Arc::new(kmsfs::clock::ManualClock::at(1_700_000_100));
    let restarted =
        Kms::open(bench.dir.path(), &bench::unlock(), bench::options(&earlier)).unwrap();
    restarted.tick().unwrap();
    assert_eq!(import(&restarted), "ExpiredImportTokenException");
}

/// Law: a clock that jumps ahead for a moment moves no schedule: the next rotation stays where it was.
#[test]
fn a_clock_that_jumps_ahead_for_a_moment_rotates_nothing() {
    let bench = Bench::new();
    let key = bench.new_key();
    bench.kms.enable_key_rotation(&key, Some(90)).unwrap();
    bench.tick();
    let next = bench.kms.get_key_rotation_status(&key).unwrap().rotation.unwrap().next;
    let ahead = Arc::new(kmsfs::clock::ManualClock::at(1_900_000_000));
    let jumped = Kms::open(bench.dir.path(), &bench::unlock(), bench::options(&ahead)).unwrap();
    jumped.tick().unwrap();
    ahead.advance(std::time::Duration::from_secs(50));
    jumped.tick().unwrap();
    bench.tick();
    assert_eq!(materials(&bench.kms, &key).len(), 1);
    assert_eq!(bench.kms.get_key_rotation_status(&key).unwrap().rotation.unwrap().next, next);
}

#[test]
fn an_alias_moves_and_old_blobs_stay_with_their_key() {
    let bench = Bench::new();
    let (old, new) = (bench.new_key(), bench.new_key());
    bench.kms.create_alias("alias/home", &old).unwrap();
    let alias = KeyRef::new("alias/home");
    let made = KeyService::generate_data_key(&bench.kms, &alias, &none()).unwrap();
    assert_eq!(made.wrapped.key_arn.as_str(), old.as_str());
    bench.kms.update_alias("alias/home", &new).unwrap();
    let arn = KeyService::describe_key(&bench.kms, &alias).unwrap().arn;
    assert_eq!(arn.as_str(), new.as_str());
    let blob = made.wrapped.blob;
    let refused = KeyService::decrypt(&bench.kms, &alias, &blob, &none()).unwrap_err();
    assert_eq!(refused.exception(), "IncorrectKeyException");
    assert!(KeyService::decrypt(&bench.kms, &old, &blob, &none()).is_ok());
    let rewrapped = KeyService::re_encrypt(&bench.kms, &blob, &alias, &none()).unwrap();
    assert_eq!(rewrapped.key_arn.as_str(), new.as_str());
    assert!(KeyService::decrypt(&bench.kms, &alias, &rewrapped.blob, &none()).is_ok());
}

#[test]
fn aliases_have_their_rules() {
    let bench = Bench::new();
    let key = bench.new_key();
    let exception = |outcome: Result<(), KmsError>| outcome.unwrap_err().exception();
    bench.kms.create_alias("alias/a", &key).unwrap();
    let kms = &bench.kms;
    assert_eq!(exception(kms.create_alias("alias/a", &key)), "AlreadyExistsException");
    assert_eq!(exception(kms.create_alias("a", &key)), "ValidationException");
    assert_eq!(exception(kms.create_alias("alias/a b", &key)), "ValidationException");
    assert_eq!(exception(kms.create_alias("alias/aws/x", &key)), "NotAuthorizedException");
    assert_eq!(exception(kms.update_alias("alias/b", &key)), "NotFoundException");
    assert_eq!(exception(kms.delete_alias("alias/b")), "NotFoundException");
    let alias = KeyRef::new("alias/a");
    assert_eq!(exception(kms.create_alias("alias/b", &alias)), "NotFoundException");
    for n in 1..50 {
        kms.create_alias(&format!("alias/n{n}"), &key).unwrap();
    }
    assert_eq!(exception(kms.create_alias("alias/n50", &key)), "LimitExceededException");
    kms.delete_alias("alias/a").unwrap();
    assert!(KeyService::describe_key(kms, &alias).is_err());
    assert!(KeyService::describe_key(kms, &key).is_ok());
}

#[test]
fn the_filesystems_key_is_made_once_and_managed_by_no_one_else() {
    let bench = Bench::new();
    let first = bench.kms.filesystem_key().unwrap();
    assert_eq!(bench.kms.filesystem_key().unwrap(), first);
    assert_eq!(bench.open().filesystem_key().unwrap(), first);
    let key = KeyRef::from(&first.arn);
    let shown = bench.kms.describe_key(&KeyRef::new(AliasName::FILESYSTEM)).unwrap();
    assert_eq!(shown.manager, KeyManager::Aws);
    let rotation = bench.kms.get_key_rotation_status(&key).unwrap().rotation.unwrap();
    assert_eq!(rotation.period_days, 365);
    let id = first.arn.key_id();
    for (operation, input) in [
        ("DisableKey", json!({"KeyId": id.as_str()})),
        ("ScheduleKeyDeletion", json!({"KeyId": id.as_str()})),
        ("RotateKeyOnDemand", json!({"KeyId": id.as_str()})),
        ("DisableKeyRotation", json!({"KeyId": id.as_str()})),
        ("UpdateKeyDescription", json!({"KeyId": id.as_str(), "Description": "x"})),
        ("CreateAlias", json!({"AliasName": "alias/x", "TargetKeyId": id.as_str()})),
        ("DeleteAlias", json!({"AliasName": "alias/aws/fs"})),
    ] {
        let refused = bench.call(operation, input).unwrap_err();
        assert_eq!(refused.exception(), "AccessDeniedException", "{operation}");
    }
    let alias = AliasName::parse(AliasName::FILESYSTEM).unwrap();
    let material = bench.kms.rotate_service_key(&alias).unwrap();
    assert_eq!(bench.kms.filesystem_key().unwrap().current_material, Some(material));
    bench.days(365);
    bench.tick();
    assert_eq!(materials(&bench.kms, &key).len(), 3);
    bench.kms.create_alias("alias/own", &bench.new_key()).unwrap();
    let refused = bench.kms.rotate_service_key(&AliasName::parse("alias/own").unwrap());
    assert_eq!(refused.unwrap_err().exception(), "AccessDeniedException");
    let refused = bench.kms.rotate_service_key(&AliasName::parse("alias/none").unwrap());
    assert_eq!(refused.unwrap_err().exception(), "NotFoundException");
}

/// Records what the hook of a KMS is told.
fn record(kms: &Kms) -> Arc<Mutex<Vec<KeyChange>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&seen);
    let again = kms.clone();
    kms.on_change(Box::new(move |change| {
        // No lock is held: the hook may ask the service.
        again.list_keys(&PageRequest::default()).unwrap();
        hook.lock().unwrap().push(change.clone());
    }));
    seen
}

/// Changes of another process are seen, told to the hooks, and never overwritten.
#[test]
fn two_processes_share_one_key_database() {
    let bench = Bench::new();
    let key = bench.new_key();
    let other = bench.open();
    let (here, there) = (record(&bench.kms), record(&other));

    other.rotate_key_on_demand(&key).unwrap();
    assert!(bench.kms.refresh().unwrap());
    assert!(!bench.kms.refresh().unwrap());
    let material = other.describe_key(&key).unwrap().current_material;
    assert_eq!(bench.kms.describe_key(&key).unwrap().current_material, material);

    // A blob of material that this process has not seen yet opens all the same.
    other.rotate_key_on_demand(&key).unwrap();
    let made = KeyService::generate_data_key(&other, &key, &none()).unwrap();
    assert!(KeyService::decrypt(&bench.kms, &key, &made.wrapped.blob, &none()).is_ok());

    // Neither update is lost.
    for n in 0..4 {
        bench.kms.create_alias(&format!("alias/here{n}"), &key).unwrap();
        other.create_alias(&format!("alias/there{n}"), &key).unwrap();
    }
    bench.kms.disable_key(&key).unwrap();
    other.refresh().unwrap();
    bench.kms.refresh().unwrap();
    for kms in [&bench.kms, &other] {
        assert_eq!(kms.list_aliases(&ListAliases::default()).unwrap().entries.len(), 8);
        assert_eq!(state(kms, &key), KeyState::Disabled);
    }
    let kinds = |seen: &Mutex<Vec<KeyChange>>| {
        let mut kinds: Vec<_> =
            seen.lock().unwrap().iter().map(|change| format!("{:?}", change.kind)).collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(&here), kinds(&there));
    assert_eq!(kinds(&here).len(), 2 + 8 + 1);
}

#[test]
fn many_threads_and_two_processes_lose_nothing() {
    let bench = Bench::new();
    let key = bench.new_key();
    let other = bench.open();
    std::thread::scope(|scope| {
        for (no, kms) in [&bench.kms, &other, &bench.kms, &other].into_iter().enumerate() {
            let key = &key;
            scope.spawn(move || {
                for n in 0..5 {
                    kms.create_alias(&format!("alias/t{no}-{n}"), key).unwrap();
                    KeyService::generate_data_key(kms, key, &none()).unwrap();
                }
            });
        }
    });
    assert_eq!(bench.open().list_aliases(&ListAliases::default()).unwrap().entries.len(), 20);
    bench.kms.flush_audit().unwrap();
    other.flush_audit().unwrap();
    bench.kms.refresh().unwrap();
    audit::verify(&bench.log(), Some(&bench.kms.audit_key())).unwrap();
}
