//! Opening: what opens a key database, what does not, and how it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::type_complexity)]

#[path = "common/kms.rs"]
mod bench;

use std::os::unix::fs::PermissionsExt;

use bench::{Bench, none, options, passphrase, unlock};
use kmsfs::kms::*;
use kmsfs::secret::SecretBytes;
use rusqlite::Connection;

fn open(bench: &Bench, unlock: &Unlock) -> Result<Kms, OpenError> {
    Kms::open(bench.dir.path(), unlock, options(&bench.clock))
}

fn change(bench: &Bench, sql: &str) {
    let connection = Connection::open(bench.database()).unwrap();
    assert_ne!(connection.execute(sql, []).unwrap(), 0, "{sql}");
}

#[test]
fn a_wrong_passphrase_is_told_apart_from_a_broken_file() {
    let bench = Bench::new();
    for wrong in [passphrase("passphrasf"), passphrase("Passphrase"), passphrase("x")] {
        assert!(matches!(open(&bench, &wrong), Err(OpenError::WrongUnlock)));
    }
    let file = Unlock::KeyFile(SecretBytes::new(vec![0; 64]));
    assert!(matches!(open(&bench, &file), Err(OpenError::WrongUnlock)));
    assert!(matches!(open(&bench, &passphrase("")), Err(OpenError::EmptyPassphrase)));
    std::fs::write(bench.database(), b"this is no database at all, but some text").unwrap();
    assert!(matches!(open(&bench, &unlock()), Err(OpenError::Corrupt { .. })));
    std::fs::write(bench.database(), b"").unwrap();
    assert!(matches!(open(&bench, &unlock()), Err(OpenError::Corrupt { .. })));
    std::fs::remove_file(bench.database()).unwrap();
    assert!(matches!(open(&bench, &unlock()), Err(OpenError::Missing { .. })));
}

#[test]
fn a_key_file_opens_what_it_made() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("other");
    let key_file = |byte| Unlock::KeyFile(SecretBytes::new(vec![byte; 32]));
    let cost = Argon2Cost::TEST;
    let kms = Kms::create(&dir, &key_file(1), cost, options(&bench.clock)).unwrap();
    let key = KeyRef::from(&kms.create_key(CreateKey::default()).unwrap().arn);
    drop(kms);
    let kms = Kms::open(&dir, &key_file(1), options(&bench.clock)).unwrap();
    assert!(KeyService::generate_data_key(&kms, &key, &none()).is_ok());
    let wrong = Kms::open(&dir, &key_file(2), options(&bench.clock));
    assert!(matches!(wrong, Err(OpenError::WrongUnlock)));
    let short = Unlock::KeyFile(SecretBytes::new(vec![1; 31]));
    let refused = Kms::create(&bench.dir.path().join("short"), &short, cost, options(&bench.clock));
    assert!(matches!(refused, Err(OpenError::ShortKeyFile { len: 31 })));
}

#[test]
fn a_second_create_leaves_the_first_alone() {
    let bench = Bench::new();
    let key = bench.new_key();
    let again = Kms::create(
        bench.dir.path(),
        &passphrase("other"),
        Argon2Cost::TEST,
        options(&bench.clock),
    );
    assert!(matches!(again, Err(OpenError::Exists { .. })));
    assert!(open(&bench, &unlock()).unwrap().describe_key(&key).is_ok());
    let mut names: Vec<_> = std::fs::read_dir(bench.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["audit.log", "keys.db", "keys.db-journal"]);
}

#[test]
fn files_are_for_their_owner_alone() {
    let bench = Bench::new();
    bench.new_key();
    let dir = bench.dir.path().join("made");
    Kms::create(&dir, &unlock(), Argon2Cost::TEST, options(&bench.clock)).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&dir) & 0o777, 0o700);
    for name in ["keys.db", "audit.log"] {
        assert_eq!(mode(&dir.join(name)) & 0o777, 0o600, "{name}");
    }
}

/// Rows that were changed, removed, moved, or put back; with SQL, as someone with the file can.
#[test]
fn no_row_can_be_changed_removed_moved_or_put_back() {
    let disable = |bench: &Bench| {
        let key = bench.new_key();
        let connection = Connection::open(bench.database()).unwrap();
        connection.execute_batch("CREATE TABLE kept AS SELECT * FROM keys").unwrap();
        bench.kms.disable_key(&key).unwrap();
    };
    let cases: [(&str, &dyn Fn(&Bench)); 8] = [
        ("removed key", &|bench| {
            change(bench, "DELETE FROM keys WHERE id = (SELECT min(id) FROM keys)");
        }),
        ("removed alias", &|bench| change(bench, "DELETE FROM aliases WHERE id = 'alias/a'")),
        ("moved alias", &|bench| {
            change(bench, "UPDATE aliases SET id = 'alias/c' WHERE id = 'alias/a'");
        }),
        ("alias of another key", &|bench| {
            change(
                bench,
                "UPDATE aliases SET body = (SELECT body FROM aliases WHERE id = 'alias/b') WHERE id = 'alias/a'",
            );
        }),
        ("changed Region", &|bench| {
            change(bench, "UPDATE meta SET body = x'65752d776573742d31' WHERE id = 'region'");
        }),
        ("old revision number", &|bench| change(bench, "UPDATE ring SET revision = revision - 1")),
        ("added slot", &|bench| change(bench, "INSERT INTO slots SELECT '2', body FROM slots")),
        ("state put back", &|bench| {
            disable(bench);
            change(
                bench,
                "UPDATE keys SET body = (SELECT k.body FROM kept k WHERE k.id = keys.id)",
            );
        }),
    ];
    for (name, tamper) in cases {
        let bench = Bench::new();
        let (a, b) = (bench.new_key(), bench.new_key());
        bench.kms.create_alias("alias/a", &a).unwrap();
        bench.kms.create_alias("alias/b", &b).unwrap();
        tamper(&bench);
        let outcome = open(&bench, &unlock());
        assert!(matches!(outcome, Err(OpenError::Corrupt { .. })), "{name}: {outcome:?}");
    }
}

/// A running KMS does not take over what does not verify, nor build on it.
#[test]
fn a_running_service_refuses_rows_that_do_not_verify() {
    let bench = Bench::new();
    let key = bench.new_key();
    change(&bench, "DELETE FROM keys");
    change(&bench, "UPDATE ring SET revision = revision + 1");
    let refused = bench.kms.disable_key(&key).unwrap_err();
    assert_eq!(refused.exception(), "KMSInternalException");
    assert!(KeyService::generate_data_key(&bench.kms, &key, &none()).is_ok());
    change(&bench, "UPDATE ring SET revision = 1");
    let refused = bench.kms.disable_key(&key).unwrap_err();
    assert_eq!(refused.to_string(), "key database is corrupt: revision 1 after 2");
}

#[test]
fn a_database_of_a_later_version_is_refused_by_number() {
    let bench = Bench::new();
    let connection = Connection::open(bench.database()).unwrap();
    connection.execute_batch("PRAGMA user_version = 2").unwrap();
    let refused = open(&bench, &unlock()).unwrap_err();
    assert_eq!(refused.to_string(), "key database is corrupt: unknown version 2");
}

#[test]
fn region_and_account_are_those_of_the_creation() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("there");
    let there = KmsOptions {
        region: "eu-central-1".to_owned(),
        account: "123456789012".to_owned(),
        ..options(&bench.clock)
    };
    let kms = Kms::create(&dir, &unlock(), Argon2Cost::TEST, there).unwrap();
    let arn = kms.create_key(CreateKey::default()).unwrap().arn;
    assert!(arn.as_str().starts_with("arn:aws:kms:eu-central-1:123456789012:key/"));
    drop(kms);
    let kms = Kms::open(&dir, &unlock(), options(&bench.clock)).unwrap();
    assert_eq!((kms.region().as_str(), kms.account().as_str()), ("eu-central-1", "123456789012"));
    assert!(kms.describe_key(&KeyRef::from(&arn)).is_ok());
}
