//! The state table: docs/KMS.md, the code's table, and what the service does agree in every cell.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;

use std::collections::BTreeMap;

use bench::Bench;
use kmsfs::kms::*;
use serde_json::{Value, json};

/// The table of docs/KMS.md: operation, then a letter per state.
fn documented() -> BTreeMap<String, Vec<String>> {
    let text = include_str!("../docs/KMS.md");
    let section = text.split("## Key states").nth(1).expect("section Key states");
    let section = section.split("\n## ").next().unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = section.lines().filter(|line| line.starts_with("| "));
    let header = cells(lines.next().unwrap());
    let states: Vec<&str> = COLUMNS.iter().map(|state| state.as_str()).collect();
    assert_eq!(header[1..], states, "columns of the documented table");
    lines.map(cells).map(|mut row| (row.remove(0), row)).collect()
}

fn letter(op: Op, state: KeyState) -> String {
    let text = match (op.cell(state), state) {
        (Cell::Ok, _) => "ok",
        (Cell::Disabled, _) => "D",
        (Cell::NotPending, _) => "N",
        (Cell::Unsupported, _) => "X",
        (Cell::Invalid, KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => "P",
        (Cell::Invalid, KeyState::PendingImport) => "I",
        (Cell::Invalid, KeyState::Unavailable) => "U",
        (Cell::Invalid, KeyState::Creating) => "C",
        (Cell::Invalid, KeyState::Updating) => "W",
        (Cell::Invalid, KeyState::Enabled | KeyState::Disabled) => "?",
    };
    text.to_owned()
}

/// The documented table is the code's, cell by cell, with no operation left out.
#[test]
fn the_documented_table_is_the_one_in_the_code() {
    let mut documented = documented();
    for op in Op::ALL {
        let row = documented.remove(op.name());
        let row = row.unwrap_or_else(|| panic!("{} has no row in docs/KMS.md", op.name()));
        let ours: Vec<String> = COLUMNS.iter().map(|state| letter(*op, *state)).collect();
        assert_eq!(row, ours, "{}", op.name());
    }
    assert!(documented.is_empty(), "rows of no operation: {documented:?}");
}

trait InState {
    fn key(&self, state: KeyState) -> (String, String);
}

impl InState for Bench {
    /// A key in a state, with a blob made by it.
    fn key(&self, state: KeyState) -> (String, String) {
        let is_waiting = state == KeyState::PendingImport;
        let origin = if is_waiting { "EXTERNAL" } else { "AWS_KMS" };
        let answer = self.call("CreateKey", json!({"Origin": origin})).unwrap();
        let arn = answer["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
        if is_waiting {
            return (arn, String::new());
        }
        let sealed = self.call("Encrypt", json!({"KeyId": arn, "Plaintext": "aGk="})).unwrap();
        let blob = sealed["CiphertextBlob"].as_str().unwrap().to_owned();
        let move_to = match state {
            KeyState::Enabled => None,
            KeyState::Disabled => Some("DisableKey"),
            KeyState::PendingDeletion => Some("ScheduleKeyDeletion"),
            _ => panic!("{state:?} cannot be reached yet"),
        };
        if let Some(operation) = move_to {
            self.call(operation, json!({"KeyId": arn})).unwrap();
        }
        (arn, blob)
    }
}

fn input(op: Op, arn: &str, blob: &str, alias: &str) -> Option<Value> {
    Some(match op {
        Op::CancelKeyDeletion
        | Op::DescribeKey
        | Op::DisableKey
        | Op::DisableKeyRotation
        | Op::EnableKey
        | Op::EnableKeyRotation
        | Op::GetKeyPolicy
        | Op::GetKeyRotationStatus
        | Op::ListAliases
        | Op::ListKeyPolicies
        | Op::ListKeyRotations
        | Op::ListResourceTags
        | Op::RotateKeyOnDemand
        | Op::ScheduleKeyDeletion => json!({"KeyId": arn}),
        Op::CreateAlias | Op::UpdateAlias => json!({"AliasName": alias, "TargetKeyId": arn}),
        Op::Decrypt => json!({"CiphertextBlob": blob}),
        Op::Encrypt => json!({"KeyId": arn, "Plaintext": "aGk="}),
        Op::GenerateDataKey | Op::GenerateDataKeyWithoutPlaintext => {
            json!({"KeyId": arn, "KeySpec": "AES_256"})
        }
        Op::PutKeyPolicy => json!({"KeyId": arn, "Policy":
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}"#}),
        Op::ReEncrypt => json!({"CiphertextBlob": blob, "DestinationKeyId": arn}),
        Op::TagResource => json!({"KeyId": arn, "Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        Op::UntagResource => json!({"KeyId": arn, "TagKeys": ["a"]}),
        Op::UpdateKeyDescription => json!({"KeyId": arn, "Description": "x"}),
        _ => return None,
    })
}

/// What the service does is what the table says, for every operation that takes a key and every
/// state that a key can be brought into.
#[test]
fn the_service_does_what_the_table_says() {
    let bench = Bench::new();
    let (other, _) = bench.key(KeyState::Enabled);
    let mut checked = 0;
    for op in Op::ALL {
        for state in [
            KeyState::Enabled,
            KeyState::Disabled,
            KeyState::PendingImport,
            KeyState::PendingDeletion,
        ] {
            // No blob was made by a key that has never had material.
            if state == KeyState::PendingImport && matches!(op, Op::Decrypt | Op::ReEncrypt) {
                continue;
            }
            let alias = format!("alias/{}-{}", op.name(), state.as_str());
            if input(*op, "", "", "").is_none() {
                continue;
            }
            let (arn, blob) = bench.key(state);
            let input = input(*op, &arn, &blob, &alias).unwrap();
            if *op == Op::UpdateAlias {
                let make = json!({"AliasName": alias, "TargetKeyId": other});
                bench.call("CreateAlias", make).unwrap();
            }
            let outcome = bench.call(op.name(), input);
            let wanted = check_state(*op, &KeyArn::parse(&arn).unwrap(), state);
            assert_eq!(outcome.map(|_| ()), wanted, "{} in {}", op.name(), state.as_str());
            checked += 1;
        }
    }
    assert_eq!(checked, 4 * 25 - 2);
}

/// A dry run is refused as the real call would be, and only then says that it was one.
#[test]
fn a_dry_run_tells_the_true_error_first() {
    let bench = Bench::new();
    for state in [KeyState::Enabled, KeyState::Disabled, KeyState::PendingDeletion] {
        let (arn, blob) = bench.key(state);
        let key = KeyArn::parse(&arn).unwrap();
        for op in [
            Op::Encrypt,
            Op::Decrypt,
            Op::ReEncrypt,
            Op::GenerateDataKey,
            Op::GenerateDataKeyWithoutPlaintext,
        ] {
            let mut input = input(op, &arn, &blob, "").unwrap();
            input["DryRun"] = json!(true);
            let wanted = check_state(op, &key, state).and(Err(KmsError::DryRunOperation));
            assert_eq!(bench.call(op.name(), input).map(|_| ()), wanted, "{}", op.name());
        }
    }
    let (arn, blob) = bench.key(KeyState::Enabled);
    let broken = json!({"CiphertextBlob": format!("AAAA{}", &blob[4..]), "DryRun": true});
    assert_eq!(bench.call("Decrypt", broken), Err(KmsError::InvalidCiphertext));
    let wrong = json!({"KeyId": arn, "Plaintext": "", "DryRun": true});
    let refused = bench.call("Encrypt", wrong).unwrap_err();
    assert_eq!(refused.exception(), "ValidationException");
}
