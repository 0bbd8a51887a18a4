//! The audit log: what is recorded, and that no line can be changed, cut, swapped or removed unseen.
//! Law K8.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;
#[path = "audit/events.rs"]
mod events;
#[path = "audit/segments.rs"]
mod segments;

use std::io::Write;
use std::path::PathBuf;

use bench::{Bench, context, none};
use kmsfs::kms::audit::{VerifyError, VerifyReport, verify};
use kmsfs::kms::*;
use kmsfs::secret::SecretBytes;
use serde_json::{Value, json};

/// A KMS that has done something of everything, with its log written out.
fn used() -> Bench {
    let bench = Bench::new();
    let key = bench.new_key();
    bench.kms.create_alias("alias/used", &key).unwrap();
    for n in 0..3 {
        let file = context(&[("kmsfs:file", &n.to_string())]);
        let made = KeyService::generate_data_key(&bench.kms, &key, &file).unwrap();
        KeyService::decrypt(&bench.kms, &key, &made.wrapped.blob, &file).unwrap();
        KeyService::decrypt(&bench.kms, &key, &made.wrapped.blob, &none()).unwrap_err();
    }
    bench.kms.disable_key(&key).unwrap();
    KeyService::generate_data_key(&bench.kms, &key, &none()).unwrap_err();
    bench.kms.flush_audit().unwrap();
    bench
}

fn lines(bench: &Bench) -> Vec<String> {
    let text = std::fs::read_to_string(bench.log()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn records(bench: &Bench) -> Vec<Value> {
    lines(bench).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Checks changed bytes, with and without the key.
fn check(bench: &Bench, text: &[u8]) -> [Result<VerifyReport, VerifyError>; 2] {
    let path: PathBuf = bench.dir.path().join("changed.log");
    std::fs::write(&path, text).unwrap();
    [verify(&path, None), verify(&path, Some(&bench.kms.audit_key()))]
}

/// Law: a call on the wire is on record under the id that its client was told.
#[test]
fn a_record_bears_the_id_of_its_request() {
    let bench = Bench::new();
    let client = Client { request_id: [0xcd; 16], ..Client::default() };
    let asked = bench.kms.from_client(client);
    asked.create_key(CreateKey::default()).unwrap();
    bench.new_key();
    bench.kms.flush_audit().unwrap();
    let ids: Vec<Value> =
        records(&bench).iter().map(|record| record["requestID"].clone()).collect();
    assert_eq!(ids[0], "cdcdcdcd-cdcd-4dcd-8dcd-cdcdcdcdcdcd");
    assert_ne!(ids[0], ids[1]);
}

/// Law: who looks into the log is in it, afterwards, refused or not.
#[test]
fn lookups_are_recorded() {
    let bench = Bench::new();
    bench.new_key();
    let (kms, root) = (&bench.kms, bench.kms.owner());
    let look = |who: &Principal, input: &Value| kmsfs::wire::lookup_events(kms, who, input);
    let names = |found: &Value| -> Vec<String> {
        let events = found["Events"].as_array().unwrap().iter();
        events.map(|event| event["EventName"].as_str().unwrap().to_owned()).collect()
    };
    let attribute = json!({"AttributeKey": "EventName", "AttributeValue": "CreateKey"});
    let by_name = json!({"LookupAttributes": [attribute], "MaxResults": 5});
    assert_eq!(names(&look(&root, &by_name).unwrap()), ["CreateKey"]);
    assert_eq!(names(&look(&root, &json!({})).unwrap()), ["LookupEvents", "CreateKey"]);
    let refused = look(&root, &json!({"MaxResults": 51})).unwrap_err();
    assert_eq!(refused.exception(), "InvalidMaxResultsException");
    let policy = r#"{"Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}"#;
    let ann = Principal::from_arn("arn:aws:iam::000000000000:user/ann").unwrap();
    let ann = ann.with_policy(IdentityPolicy::parse(policy).unwrap());
    let refused = look(&ann, &json!({})).unwrap_err();
    assert_eq!(refused.exception(), "AccessDeniedException");
    assert!(refused.to_string().contains("cloudtrail:LookupEvents"), "{refused}");
    // It is no operation of the key service.
    let unknown = bench.call("LookupEvents", json!({})).unwrap_err();
    assert_eq!(unknown.exception(), "UnknownOperationException");
    bench.kms.flush_audit().unwrap();
    let records = records(&bench);
    let looks: Vec<&Value> = records.iter().filter(|r| r["eventName"] == "LookupEvents").collect();
    let errors: Vec<&Value> = looks.iter().map(|record| &record["errorCode"]).collect();
    let expected = [
        json!(null),
        json!(null),
        json!("InvalidMaxResultsException"),
        json!("AccessDeniedException"),
    ];
    assert_eq!(errors, expected.iter().collect::<Vec<_>>());
    assert_eq!(looks[0]["eventSource"], "cloudtrail.amazonaws.com");
    assert_eq!(looks[0]["readOnly"], true);
    assert_eq!(looks[3]["userIdentity"]["userName"], "ann");
    let attribute = json!([{"attributeKey": "EventName", "attributeValue": "CreateKey"}]);
    assert_eq!(looks[0]["requestParameters"]["lookupAttributes"], attribute);
}

#[test]
fn every_call_leaves_a_record_with_who_what_and_how_it_ended() {
    let bench = used();
    let records = records(&bench);
    let names: Vec<_> = records.iter().map(|r| r["eventName"].as_str().unwrap()).collect();
    assert_eq!(names[..2], ["CreateKey", "CreateAlias"]);
    assert_eq!(names.iter().filter(|name| **name == "Decrypt").count(), 6);
    assert_eq!(names[names.len() - 2..], ["DisableKey", "GenerateDataKey"]);
    let first_use = &records[2];
    assert_eq!(first_use["requestParameters"]["encryptionContext"], json!({"kmsfs:file": "0"}));
    assert_eq!(first_use["requestParameters"]["keySpec"], "AES_256");
    assert_eq!(first_use["userIdentity"]["invokedBy"], "fs.kmsfs.internal");
    assert_eq!(first_use["eventTime"], "2023-11-14T22:13:20Z");
    let arn = records[0]["resources"][0]["ARN"].as_str().unwrap();
    assert!(KeyArn::parse(arn).is_some());
    assert_eq!(first_use["resources"][0]["ARN"], arn);
    assert_eq!(records[0]["userIdentity"]["arn"], "arn:aws:iam::000000000000:root");
    assert_eq!(records[4]["errorCode"], "InvalidCiphertextException");
    let last = records.last().unwrap();
    assert_eq!(last["errorCode"], "DisabledException");
    assert_eq!(last["errorMessage"], format!("{arn} is disabled."));
    for (no, record) in records.iter().enumerate() {
        assert_eq!(record["sequence"], no + 1);
        assert_eq!(record["awsRegion"], "us-east-1");
        let is_change = matches!(names[no], "CreateKey" | "CreateAlias" | "DisableKey");
        assert_eq!(record["readOnly"], !is_change);
    }
}

/// A call whose input is no request is a call all the same.
#[test]
fn a_call_that_does_not_parse_is_recorded() {
    let bench = Bench::new();
    bench.call("Decrypt", json!({"CiphertextBlob": 7})).unwrap_err();
    bench.call("ReplicateKey", json!({})).unwrap_err();
    bench.kms.flush_audit().unwrap();
    let records = records(&bench);
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["eventName"], "Decrypt");
    assert_eq!(records[0]["errorCode"], "SerializationException");
    assert_eq!(records[1]["errorCode"], "ValidationException");
}

/// Neither plaintext nor ciphertext, in any form that it was sent or answered in.
#[test]
fn no_secret_is_in_the_log_or_the_database() {
    let bench = Bench::new();
    let key = bench.new_key();
    let plain = "c2VjcmV0IGNhbmFyeQ==";
    let input = json!({"KeyId": key.as_str(), "Plaintext": plain});
    let blob = bench.call("Encrypt", input).unwrap()["CiphertextBlob"].clone();
    bench.call("Decrypt", json!({"CiphertextBlob": blob})).unwrap();
    let made = bench.call("GenerateDataKey", json!({"KeyId": key.as_str(), "KeySpec": "AES_256"}));
    let made = made.unwrap();
    bench.kms.flush_audit().unwrap();
    for path in [bench.log(), bench.database()] {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        let data_key = made["Plaintext"].as_str().unwrap();
        for secret in [plain, "secret canary", blob.as_str().unwrap(), data_key, "passphrase"] {
            assert!(!text.contains(secret), "{secret}");
        }
    }
    let debug = format!("{:?}", bench.kms);
    assert!(debug.len() < 300, "{debug}");
}

#[test]
fn an_untouched_log_verifies_and_ends_at_the_last_line() {
    let bench = used();
    let lines = u64::try_from(lines(&bench).len()).unwrap();
    for report in check(&bench, &std::fs::read(bench.log()).unwrap()) {
        let report = report.unwrap();
        assert_eq!((report.lines, report.head.sequence, report.torn_len), (lines, lines, 0));
    }
}

#[test]
fn any_changed_byte_is_found() {
    let bench = used();
    let text = std::fs::read(bench.log()).unwrap();
    for at in (0..text.len()).step_by(17) {
        let mut changed = text.clone();
        changed[at] ^= 0x01;
        let to_line_end = text[at..].iter().position(|byte| *byte == b'\n').unwrap();
        let is_seal = (3..35).contains(&to_line_end);
        let is_last_byte = at == text.len() - 1;
        let [without, with] = check(&bench, &changed);
        // Seals are looked at with the key alone; without its last byte the last line is torn.
        assert!(without.is_err() || is_seal || is_last_byte, "byte {at} of {}", text.len());
        assert!(with.is_err() || is_last_byte, "byte {at} of {}", text.len());
    }
}

#[test]
fn any_removed_swapped_or_repeated_line_is_found() {
    let bench = used();
    let lines = lines(&bench);
    let text = |lines: &[String]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    for at in 0..lines.len() - 1 {
        let mut removed = lines.clone();
        removed.remove(at);
        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        let mut repeated = lines.clone();
        repeated.insert(at, lines[at].clone());
        for changed in [removed, swapped, repeated] {
            for outcome in check(&bench, text(&changed).as_bytes()) {
                assert!(matches!(outcome, Err(VerifyError::Broken { .. })), "line {at}");
            }
        }
    }
}

/// Who can write the file but has no root key: mends the chain, but cannot mend the seals.
#[test]
fn a_forged_chain_is_found_with_the_key() {
    let bench = used();
    let mut forged = String::new();
    let mut before = [0; 32];
    for line in lines(&bench) {
        let (record, _) = line.split_once(",\"chain\"").unwrap();
        let record = record.replace("Decrypt", "Encrypt");
        let end = line.rsplit_once(",\"seal\"").unwrap().1;
        before = kmsfs::crypto::kdf::sha256(&[&before, record.as_bytes()]);
        let chain = kmsfs::codec::hex(&before);
        forged.push_str(&format!("{record},\"chain\":\"{chain}\",\"seal\"{end}\n"));
    }
    let [without, with] = check(&bench, forged.as_bytes());
    assert!(without.is_ok());
    assert!(matches!(with, Err(VerifyError::Broken { .. })));
}

#[test]
fn a_shortened_log_is_found_with_the_key() {
    let bench = used();
    let lines = lines(&bench);
    // The last change is DisableKey, second to last; what follows it may be lost in a crash.
    for kept in 0..lines.len() {
        let text: String = lines[..kept].iter().map(|line| format!("{line}\n")).collect();
        let [without, with] = check(&bench, text.as_bytes());
        assert!(without.is_ok());
        let is_whole = kept >= lines.len() - 1;
        assert_eq!(with.is_ok(), is_whole, "{kept} of {}", lines.len());
        if !is_whole {
            assert!(matches!(with, Err(VerifyError::Shortened { .. })));
        }
    }
}

#[test]
fn a_torn_last_line_is_accepted_and_set_apart_at_the_next_open() {
    let bench = used();
    let whole = std::fs::read(bench.log()).unwrap();
    let torn = b"{\"eventVersion\":\"1.11\",\"userId";
    let mut file = std::fs::OpenOptions::new().append(true).open(bench.log()).unwrap();
    file.write_all(torn).unwrap();
    drop(file);
    let report = verify(&bench.log(), Some(&bench.kms.audit_key())).unwrap();
    assert_eq!(report.torn_len, 30);

    let kms = bench.open();
    let apart = bench.dir.path().join(format!("audit.log.torn-{}", whole.len()));
    assert_eq!(std::fs::read(apart).unwrap(), torn);
    kms.list_keys(&PageRequest::default()).unwrap();
    kms.flush_audit().unwrap();
    let after = verify(&bench.log(), Some(&kms.audit_key())).unwrap();
    assert_eq!((after.lines, after.torn_len), (report.lines + 1, 0));
}

/// A log that was cut goes on, and its gap stays.
#[test]
fn a_gap_stays_in_the_chain() {
    let bench = used();
    let lines = lines(&bench);
    std::fs::write(bench.log(), format!("{}\n{}\n", lines[0], lines[1])).unwrap();
    let kms = bench.open();
    bench.new_key();
    kms.create_key(CreateKey::default()).unwrap();
    kms.flush_audit().unwrap();
    let found = verify(&bench.log(), Some(&kms.audit_key()));
    assert!(matches!(found, Err(VerifyError::Broken { line: 3, .. })), "{found:?}");
    std::fs::remove_file(bench.log()).unwrap();
    let kms = bench.open();
    kms.create_key(CreateKey::default()).unwrap();
    let found = verify(&bench.log(), None);
    assert!(matches!(found, Err(VerifyError::Broken { line: 1, .. })), "{found:?}");
}

/// A management change is on disk, with its record, when it is acknowledged.
#[test]
fn a_change_is_recorded_before_it_returns() {
    let bench = Bench::new();
    for n in 1..=3 {
        bench.new_key();
        assert_eq!(records(&bench).len(), n);
    }
}

/// `/dev/full` takes nothing.
#[test]
fn a_log_that_cannot_be_written_refuses_changes() {
    let bench = Bench::new();
    let key = bench.new_key();
    drop(bench.open());
    std::fs::remove_file(bench.log()).unwrap();
    std::os::unix::fs::symlink("/dev/full", bench.log()).unwrap();
    let kms = bench.open();
    let refused = kms.disable_key(&key).unwrap_err();
    assert_eq!(refused.exception(), "KMSInternalException");
    assert!(refused.to_string().starts_with("audit log cannot be written"), "{refused}");
    assert_eq!(bench.open().describe_key(&key).unwrap().state, KeyState::Enabled);
    // Uses go on for a while: their records are held back.
    let request = Encrypt {
        key,
        plaintext: SecretBytes::new(vec![1]),
        context: none(),
        algorithm: None,
        dry_run: false,
    };
    kms.encrypt(&request).unwrap();
    for _ in 0..30_000 {
        if kms.encrypt(&request).is_err() {
            return;
        }
    }
    panic!("uses are never refused");
}

/// Law: the last use of a key is the newest one that succeeded, whatever came between.
#[test]
fn the_last_use_of_a_key_is_known() {
    let bench = Bench::new();
    let (key, other) = (bench.new_key(), bench.new_key());
    let usage =
        |key: &KeyRef| bench.call("GetKeyLastUsage", json!({"KeyId": key.as_str()})).unwrap();
    let unused = usage(&key);
    assert_eq!(unused["KeyLastUsage"], json!({}));
    assert_eq!(unused["KeyCreationDate"], unused["TrackingStartDate"]);
    let encrypt =
        |key: &KeyRef| bench.call("Encrypt", json!({"KeyId": key.as_str(), "Plaintext": "AAAA"}));
    let blob = encrypt(&key).unwrap()["CiphertextBlob"].clone();
    bench.days(3);
    let answer = bench
        .call("ReEncrypt", json!({"CiphertextBlob": blob, "DestinationKeyId": other.as_str()}));
    answer.unwrap();
    bench.days(1);
    encrypt(&other).unwrap();
    let dry = json!({"KeyId": key.as_str(), "Plaintext": "AAAA", "DryRun": true});
    bench.call("Encrypt", dry).unwrap_err();
    bench.kms.disable_key(&key).unwrap();
    encrypt(&key).unwrap_err();
    let (first, second) =
        (usage(&key)["KeyLastUsage"].clone(), usage(&other)["KeyLastUsage"].clone());
    assert_eq!(
        (&first["Operation"], &second["Operation"]),
        (&json!("ReEncrypt"), &json!("Encrypt"))
    );
    const START: u64 = 1_700_000_000;
    assert_eq!(first["Timestamp"], START + 3 * 86_400);
    assert_eq!(second["Timestamp"], START + 4 * 86_400);
    let records = records(&bench);
    let told = records.iter().find(|record| record["eventID"] == first["CloudTrailEventId"]);
    assert_eq!(told.unwrap()["requestID"], first["KmsRequestId"]);
    let refused = bench.call("GetKeyLastUsage", json!({"KeyId": "alias/x"})).unwrap_err();
    assert_eq!(refused.exception(), "NotFoundException");
}
