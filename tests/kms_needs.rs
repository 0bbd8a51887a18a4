//! What files still need is not destroyed by any door; and one material is revoked, taken back,
//! destroyed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;
#[path = "common/counterpart.rs"]
mod counterpart;

use std::time::Duration;

use bench::{Bench, none};
use kmsfs::kms::*;
use serde_json::{Value, json};

fn use_of(key: &KeyRef, material: Option<MaterialId>, files: u64) -> KeyUse {
    KeyUse {
        key_arn: key.as_str().to_owned(),
        material,
        files,
        bytes: files * 10,
        is_volume_key: false,
        is_growing: false,
    }
}

fn report(kms: &Kms, volume: u8, extent: Extent, uses: Vec<KeyUse>) {
    let volume = format!("{volume:032x}");
    let path = "/srv/some-volume.enc".to_owned();
    kms.report_volume(&VolumeReport { volume, path, uses, extent }).unwrap();
}

fn schedule(bench: &Bench, key: &KeyRef) -> Result<Value, KmsError> {
    bench.call("ScheduleKeyDeletion", json!({"KeyId": key.as_str()}))
}

fn tag(bench: &Bench, key: &KeyRef, reason: &str) {
    let tags = json!([{"TagKey": LOSS_TAG, "TagValue": reason}]);
    bench.call("TagResource", json!({"KeyId": key.as_str(), "Tags": tags})).unwrap();
}

fn material(bench: &Bench, key: &KeyRef) -> MaterialId {
    bench.kms.describe_key(key).unwrap().current_material.unwrap()
}

/// Law: over the wire a key that files of known volumes need is kept, with their number in the
/// error, until a tag with a reason allows the loss; the tag is good for one deletion.
#[test]
fn a_key_that_files_need_is_kept_until_a_tag_allows_it() {
    let bench = Bench::new();
    let (key, other) = (bench.new_key(), bench.new_key());
    report(&bench.kms, 1, Extent::Whole, vec![use_of(&key, None, 400)]);
    report(&bench.kms, 2, Extent::Whole, vec![use_of(&key, None, 18), use_of(&other, None, 0)]);
    let refused = schedule(&bench, &key).unwrap_err();
    assert_eq!(refused.exception(), "KMSInvalidStateException");
    assert!(refused.to_string().contains("418 files of 2 known volumes"), "{refused}");
    assert!(refused.to_string().contains(LOSS_TAG), "{refused}");
    // Another key goes, and so does this one for another process that has not looked before.
    schedule(&bench, &other).unwrap();
    assert!(bench.open().schedule_key_deletion(&key, None).is_err());

    tag(&bench, &key, "");
    assert!(schedule(&bench, &key).is_err(), "a reason that says nothing");
    tag(&bench, &key, "volume retired");
    schedule(&bench, &key).unwrap();
    bench.call("CancelKeyDeletion", json!({"KeyId": key.as_str()})).unwrap();
    assert!(schedule(&bench, &key).is_err(), "the tag was for one deletion");
}

/// Law: a key is needed as well by a volume's own key, and by files that may have come since the
/// last count; a count that finds nothing frees it.
#[test]
fn what_may_have_come_since_the_count_counts() {
    let bench = Bench::new();
    let key = bench.new_key();
    let growing = KeyUse { is_growing: true, ..use_of(&key, None, 0) };
    report(&bench.kms, 1, Extent::Part, vec![growing]);
    assert!(schedule(&bench, &key).is_err(), "mounted, and never counted");
    report(&bench.kms, 1, Extent::Whole, vec![]);
    let own = KeyUse { is_volume_key: true, ..use_of(&key, None, 0) };
    report(&bench.kms, 1, Extent::Part, vec![own]);
    assert!(schedule(&bench, &key).is_err(), "the volume's own key");
    report(&bench.kms, 1, Extent::Whole, vec![use_of(&key, None, 7)]);
    report(&bench.kms, 1, Extent::Part, vec![use_of(&key, None, 3)]);
    let refused = schedule(&bench, &key).unwrap_err().to_string();
    assert!(refused.contains("7 files"), "part of a volume takes nothing away: {refused}");
    assert!(bench.kms.forget_volume(&format!("{:032x}", 9)).is_err());
    bench.kms.forget_volume(&format!("{:032x}", 1)).unwrap();
    schedule(&bench, &key).unwrap();
}

/// Law: what volumes told outlives the process, is sealed on disk, and a changed row is found.
#[test]
fn what_volumes_told_is_kept_and_sealed() {
    let bench = Bench::new();
    let key = bench.new_key();
    report(&bench.kms, 1, Extent::Whole, vec![use_of(&key, None, 5)]);
    let again = bench.open();
    let known = again.known_volumes();
    assert_eq!((known.len(), known[0].1.path.as_str()), (1, "/srv/some-volume.enc"));
    assert_eq!(known[0].1.uses[0].files, 5);
    let file = std::fs::read(bench.database()).unwrap();
    assert!(!file.windows(11).any(|part| part == b"some-volume"), "a path in the clear");
    // What is known already is not written again.
    let records = std::fs::read_to_string(bench.log()).unwrap().lines().count();
    report(&bench.kms, 1, Extent::Part, vec![use_of(&key, None, 5)]);
    bench.kms.flush_audit().unwrap();
    assert_eq!(std::fs::read_to_string(bench.log()).unwrap().lines().count(), records);
}

/// Law: a revoked material opens nothing, in this process and in others; taken back, it opens all
/// again; the current one cannot be revoked.
#[test]
fn a_revoked_material_opens_nothing_until_it_is_taken_back() {
    let bench = Bench::new();
    let key = bench.new_key();
    let first = material(&bench, &key);
    let made = KeyService::generate_data_key(&bench.kms, &key, &none()).unwrap();
    let open = |kms: &Kms| KeyService::decrypt(kms, &key, &made.wrapped.blob, &none());
    let refused = bench.kms.revoke_material(&key, &first).unwrap_err();
    assert!(refused.to_string().contains("rotate"), "{refused}");
    bench.kms.rotate_key_on_demand(&key).unwrap();
    let other = bench.open();
    bench.kms.revoke_material(&key, &first).unwrap();
    for kms in [&bench.kms, &bench.open()] {
        let refused = open(kms).unwrap_err();
        assert_eq!(refused.exception(), "DisabledException");
        assert!(refused.to_string().contains(&first.to_string()), "{refused}");
        let again = KeyService::re_encrypt(kms, &made.wrapped.blob, &key, &none());
        assert_eq!(again.unwrap_err().exception(), "DisabledException");
    }
    assert!(other.refresh().unwrap() && open(&other).is_err());
    let entry = |kms: &Kms| kms.materials().into_iter().find(|m| m.material == first).unwrap();
    assert!(entry(&bench.open()).revoked.is_some() && !entry(&bench.kms).is_current);
    // The key itself goes on.
    let newer = KeyService::generate_data_key(&bench.kms, &key, &none()).unwrap();
    KeyService::decrypt(&bench.kms, &key, &newer.wrapped.blob, &none()).unwrap();
    bench.kms.restore_material(&key, &first).unwrap();
    assert!(open(&bench.kms).is_ok() && open(&bench.open()).is_ok());
    let log = std::fs::read_to_string(bench.log()).unwrap();
    assert!(log.contains("RevokeMaterial") && log.contains("RestoreMaterial"));
    for operation in ["RevokeMaterial", "DestroyMaterial", "ReportUsage", "ForgetVolume"] {
        let refused = bench.call(operation, json!({"KeyId": key.as_str()})).unwrap_err();
        assert_eq!(refused.exception(), "UnknownOperationException", "{operation}");
    }
}

/// Law: only a revoked material that no file needs, by a count younger than the revocation, is
/// destroyed; then it is gone from the file in its sealed form too.
#[test]
fn only_a_revoked_material_that_no_file_needs_is_destroyed() {
    let bench = Bench::new();
    let key = bench.new_key();
    let first = material(&bench, &key);
    let made = KeyService::generate_data_key(&bench.kms, &key, &none()).unwrap();
    let row = format!("{}/{first}", key.as_str().rsplit('/').next().unwrap());
    bench.kms.rotate_key_on_demand(&key).unwrap();
    let second = material(&bench, &key);
    report(&bench.kms, 1, Extent::Whole, vec![use_of(&key, Some(first), 3)]);
    let destroy = |reason: Option<&str>| bench.kms.destroy_material(&key, &first, reason);
    assert_eq!(destroy(Some("x")).unwrap_err().exception(), "ValidationException");
    bench.clock.advance(Duration::from_secs(1));
    bench.kms.revoke_material(&key, &first).unwrap();
    let sealed = sealed_bytes(&bench, &row);

    let refused = destroy(None).unwrap_err();
    assert_eq!(refused.exception(), "KMSInvalidStateException");
    assert!(refused.to_string().contains("3 files of 1"), "{refused}");
    assert!(destroy(Some("")).is_err(), "a reason that says nothing");
    // Nothing under it, but counted before the revocation: files may have been missed.
    let old = VolumeReport {
        volume: format!("{:032x}", 2),
        path: "/v".to_owned(),
        uses: vec![use_of(&key, Some(second), 1)],
        extent: Extent::Part,
    };
    bench.kms.report_volume(&old).unwrap();
    report(&bench.kms, 1, Extent::Whole, vec![use_of(&key, Some(second), 3)]);
    assert!(destroy(None).is_err(), "a volume that was never counted");
    bench.kms.report_volume(&VolumeReport { extent: Extent::Whole, ..old }).unwrap();
    destroy(None).unwrap();

    let left = KeyService::decrypt(&bench.kms, &key, &made.wrapped.blob, &none()).unwrap_err();
    assert_eq!(left, KmsError::InvalidCiphertext);
    assert!(bench.open().materials().iter().all(|entry| entry.material != first));
    for file in std::fs::read_dir(bench.dir.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let is_left = bytes.windows(48).any(|part| part == &sealed[..48]);
        assert!(!is_left, "sealed bytes are left in {}", path.display());
    }
    assert!(std::fs::read_to_string(bench.log()).unwrap().contains("DestroyMaterial"));
}

/// The end of a row's body in the database file: sealed material.
fn sealed_bytes(bench: &Bench, row: &str) -> Vec<u8> {
    let db = rusqlite::Connection::open(bench.database()).unwrap();
    let body: Vec<u8> =
        db.query_row("SELECT body FROM materials WHERE id = ?1", [row], |row| row.get(0)).unwrap();
    let sealed = body[body.len() - 72..].to_vec();
    let file = std::fs::read(bench.database()).unwrap();
    assert!(file.windows(48).any(|part| part == &sealed[..48]), "the search finds nothing");
    sealed
}

/// Law: the filesystem's own key, which the account does not manage, has revocable material too.
#[test]
fn material_of_the_filesystems_own_key_can_be_revoked() {
    let bench = Bench::new();
    let alias = AliasName::parse(AliasName::FILESYSTEM).unwrap();
    let described = bench.kms.filesystem_key().unwrap();
    let key = KeyRef::from(&described.arn);
    let first = described.current_material.unwrap();
    let made = KeyService::generate_data_key(&bench.kms, &key, &none()).unwrap();
    bench.kms.rotate_service_key(&alias).unwrap();
    bench.kms.revoke_material(&key, &first).unwrap();
    assert!(KeyService::decrypt(&bench.kms, &key, &made.wrapped.blob, &none()).is_err());
    bench.kms.destroy_material(&key, &first, None).unwrap();
    assert_eq!(bench.kms.materials().len(), 1);
}

/// Law: another implementation, written from the documents, opens the database by the words of a kit, and reads
/// the rows of volumes and of revoked materials.
#[test]
fn another_implementation_reads_what_is_kept() {
    let bench = Bench::new();
    let key = bench.new_key();
    let first = material(&bench, &key);
    bench.kms.rotate_key_on_demand(&key).unwrap();
    bench.kms.revoke_material(&key, &first).unwrap();
    report(&bench.kms, 5, Extent::Whole, vec![use_of(&key, Some(first), 300)]);
    let growing = KeyUse { is_growing: true, ..use_of(&key, None, 0) };
    report(&bench.kms, 5, Extent::Part, vec![growing]);
    let kit = RecoveryKit::from_bytes(&[0x5a; 32]);
    let mut words = Vec::new();
    kit.write_words(&mut words).unwrap();
    let words = String::from_utf8(words).unwrap();
    let words: Vec<&str> = words.split_whitespace().collect();
    let kit = Unlock::RecoveryKit(RecoveryKit::from_bytes(&[0x5a; 32]));
    bench.kms.add_slot(&bench::unlock(), &kit, Argon2Cost::TEST).unwrap();
    bench.kms.flush_audit().unwrap();
    let dictionary = bip39::Language::English.word_list().to_vec();
    let task = json!({"do": "key_database", "dir": bench.dir.path(), "words": words,
        "dictionary": dictionary});
    let Some(answer) = counterpart::counterpart(&[task]) else { return };
    let volume = &answer[0]["volumes"][format!("{:032x}", 5)];
    assert_eq!(volume["path"], "/srv/some-volume.enc");
    assert_eq!((&volume["files"], &volume["growing"]), (&json!(300), &json!(true)));
    assert_eq!(answer[0]["revoked"], json!([first.to_string()]));
}
