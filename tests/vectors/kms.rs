//! docs/KMS.md: blobs, contexts, and a key database that another program wrote.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kmsfs::clock::ManualClock;
use kmsfs::codec::hex;
use kmsfs::kms::{
    CiphertextBlob, Decrypt, DryRun, Encrypt, EncryptionContext, KeyRef, Kms, KmsError, KmsOptions,
    ListAliases, OpenError, PageRequest, Unlock, audit,
};
use kmsfs::random::{OsRandom, Random};
use kmsfs::secret::SecretBytes;
use rusqlite::{Connection, params};
use tempfile::TempDir;

use super::vector::{Vector, assert_refused, load_from};

/// 2026-01-02, when nothing in the vectors is due.
const NOW: u64 = 1_767_323_045;

/// Gives the nonce of the vectors to whoever wants a nonce.
#[derive(Debug)]
struct Nonce;

impl Random for Nonce {
    fn fill(&self, out: &mut [u8]) {
        match out.len() {
            24 => out.copy_from_slice(&super::vector::count::<24>(0x70)),
            _ => OsRandom.fill(out),
        }
    }
}

fn options() -> KmsOptions {
    let clock = Arc::new(ManualClock::at(NOW));
    KmsOptions { clock, random: Arc::new(Nonce), ..KmsOptions::default() }
}

/// The database of the vectors as files.
fn database() -> (TempDir, Vector) {
    let (dir, vector) = (tempfile::tempdir().unwrap(), load_from("kms", "database"));
    fs::write(dir.path().join("audit.log"), vector.text("audit_log")).unwrap();
    let db = Connection::open(dir.path().join("keys.db")).unwrap();
    for sql in vector.list("schema") {
        db.execute_batch(sql.as_text()).unwrap();
    }
    let tables = vector.get("tables");
    for table in tables.keys() {
        let rows = tables.get(&table);
        for id in rows.keys() {
            let sql = format!("INSERT INTO {table} VALUES (?, ?)");
            db.execute(&sql, params![id, rows.bytes(&id)]).unwrap();
        }
    }
    let ring = params![vector.number("revision").cast_signed(), vector.bytes("mac")];
    db.execute("INSERT INTO ring VALUES (1, ?, ?)", ring).unwrap();
    db.execute_batch("PRAGMA application_id = 1802335051; PRAGMA user_version = 1;").unwrap();
    (dir, vector)
}

fn by_passphrase(vector: &Vector) -> Unlock {
    Unlock::Passphrase(SecretBytes::new(vector.text("passphrase").into_bytes()))
}

fn open(dir: &Path, unlock: &Unlock) -> Result<Kms, OpenError> {
    Kms::open(dir, unlock, options())
}

fn context(pairs: &Vector) -> EncryptionContext {
    let mut context = EncryptionContext::new();
    for key in pairs.keys() {
        context.insert(&key, &pairs.text(&key)).unwrap();
    }
    context
}

#[test]
fn contexts_have_these_canonical_bytes() {
    for case in load_from("kms", "contexts").list("cases") {
        let bytes = context(&case.get("pairs")).canonical_bytes();
        assert_eq!(bytes, case.bytes("canonical"), "{}", case.name());
    }
}

#[test]
fn database_of_another_program_opens_by_each_slot() {
    let (dir, vector) = database();
    let by_file = Unlock::KeyFile(SecretBytes::new(vector.bytes("key_file")));
    for unlock in [by_passphrase(&vector), by_file] {
        let kms = open(dir.path(), &unlock).unwrap();
        assert_eq!((kms.region().as_str(), kms.account().as_str()), ("eu-west-1", "111122223333"));
        let keys = vector.get("keys");
        for id in keys.keys() {
            let expected = keys.get(&id);
            let found = kms.describe_key(&KeyRef::new(&id)).unwrap();
            assert_eq!(found.arn.as_str(), expected.text("arn"));
            assert_eq!(found.state.as_str(), expected.text("state"));
            let materials = expected.list("materials");
            let current = found.current_material.map(|id| hex(&id.0));
            assert_eq!(current.as_deref(), materials.last().map(Vector::as_text));
        }
        assert_eq!(
            kms.list_keys(&PageRequest::default()).unwrap().entries.len(),
            keys.keys().len()
        );
        let aliases = kms.list_aliases(&ListAliases::default()).unwrap().entries;
        let named: Vec<&str> = aliases
            .iter()
            .map(|entry| entry.name.as_str())
            .filter(|name| !name.starts_with("alias/aws/"))
            .collect();
        assert_eq!(named, vector.get("aliases").keys());
    }
}

#[test]
fn audit_log_of_another_program_verifies() {
    let (dir, vector) = database();
    let kms = open(dir.path(), &by_passphrase(&vector)).unwrap();
    let report = audit::verify(&dir.path().join("audit.log"), Some(&kms.audit_key())).unwrap();
    assert_eq!((report.lines, report.torn_len), (2, 0));
}

#[test]
fn wrong_passphrase_and_torn_slot_are_told_apart() {
    let (dir, vector) = database();
    let wrong = Unlock::Passphrase(SecretBytes::new(b"another".to_vec()));
    assert!(matches!(open(dir.path(), &wrong), Err(OpenError::WrongUnlock)));
    let db = Connection::open(dir.path().join("keys.db")).unwrap();
    let mut slot = vector.get("tables").get("slots").bytes("1");
    slot[60] ^= 1;
    db.execute("UPDATE slots SET body = ? WHERE id = '1'", params![slot]).unwrap();
    assert!(matches!(open(dir.path(), &by_passphrase(&vector)), Err(OpenError::Corrupt { .. })));
}

/// "A row that is changed, removed, added, moved or put back is found when the database is opened".
#[test]
fn changed_databases_are_refused() {
    for sql in [
        "UPDATE keys SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB)",
        "UPDATE meta SET body = x'00' WHERE id = 'region'",
        "UPDATE ring SET revision = 8",
        "UPDATE ring SET revision = 6",
        "UPDATE ring SET mac = zeroblob(32)",
        "DELETE FROM aliases WHERE id = 'alias/two'",
        "DELETE FROM keys WHERE id LIKE 'mrk-%'",
        "DELETE FROM slots WHERE id = '2'",
        "DELETE FROM ring",
        "UPDATE aliases SET id = 'alias/three' WHERE id = 'alias/two'",
        "INSERT INTO aliases SELECT 'alias/three', body FROM aliases WHERE id = 'alias/one'",
        "UPDATE keys SET body = (SELECT body FROM keys WHERE id LIKE '0123%') WHERE id LIKE 'fedc%'",
        "PRAGMA user_version = 2",
        "PRAGMA application_id = 1",
    ] {
        let (dir, vector) = database();
        let db = Connection::open(dir.path().join("keys.db")).unwrap();
        db.execute_batch(sql).unwrap();
        drop(db);
        let opened = open(dir.path(), &by_passphrase(&vector));
        assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{sql}: {:?}", opened.map(drop));
    }
}

#[test]
fn blobs_open_and_are_made_like_this() {
    let (dir, vector) = database();
    let kms = open(dir.path(), &by_passphrase(&vector)).unwrap();
    for case in load_from("kms", "blobs").list("cases") {
        let (context, blob) = (context(&case.get("context")), CiphertextBlob(case.bytes("blob")));
        let key = KeyRef::new(&case.text("key"));
        let request = Decrypt {
            blob: blob.clone(),
            key: Some(key.clone()),
            context: context.clone(),
            algorithm: None,
            dry_run: DryRun::Off,
        };
        let opened = kms.decrypt(&request).unwrap();
        assert_eq!(opened.plaintext.expose(), case.bytes("plain"), "{}", case.name());
        if case.get("current").as_bool() {
            let plaintext = SecretBytes::new(case.bytes("plain"));
            let request = Encrypt { key, plaintext, context, algorithm: None, dry_run: false };
            assert_eq!(kms.encrypt(&request).unwrap().blob, blob, "{}", case.name());
        }
    }
}

/// Whatever is wrong with a blob, the answer is the same: anything more is an oracle.
#[test]
fn wrong_blobs_have_one_error() {
    let (dir, vector) = database();
    let kms = open(dir.path(), &by_passphrase(&vector)).unwrap();
    for case in load_from("kms", "blobs").list("errors") {
        let request = Decrypt {
            blob: CiphertextBlob(case.bytes("blob")),
            key: None,
            context: context(&case.get("context")),
            algorithm: None,
            dry_run: DryRun::Off,
        };
        let refused = kms.decrypt(&request);
        assert!(
            matches!(&refused, Err(error) if error.to_string().is_empty() || *error == KmsError::InvalidCiphertext)
        );
        assert_refused(&case, refused);
    }
}
