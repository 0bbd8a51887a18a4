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
    fn key(&self, op: Op, state: KeyState) -> (String, String);
}

impl InState for Bench {
    /// A key that an operation is for, in a state, with a blob made by it.
    fn key(&self, op: Op, state: KeyState) -> (String, String) {
        let kind = match op {
            Op::Sign | Op::Verify | Op::GetPublicKey => {
                json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"})
            }
            Op::GenerateMac | Op::VerifyMac => {
                json!({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"})
            }
            Op::DeriveSharedSecret => {
                json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT"})
            }
            Op::Encapsulate | Op::Decapsulate => {
                json!({"KeySpec": "ML_KEM_512", "KeyUsage": "ENCAPSULATE_DECAPSULATE"})
            }
            Op::DeleteImportedKeyMaterial | Op::GetParametersForImport => {
                json!({"Origin": "EXTERNAL"})
            }
            Op::ReplicateKey | Op::UpdatePrimaryRegion => json!({"MultiRegion": true}),
            _ => json!({}),
        };
        let is_symmetric = kind == json!({});
        let answer = self.call("CreateKey", kind).unwrap();
        let arn = answer["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
        let blob = match is_symmetric {
            true => {
                let sealed = self.call("Encrypt", json!({"KeyId": arn, "Plaintext": "aGk="}));
                sealed.unwrap()["CiphertextBlob"].as_str().unwrap().to_owned()
            }
            false => String::new(),
        };
        match state {
            KeyState::Enabled if op != Op::DeleteImportedKeyMaterial => {}
            KeyState::Disabled => {
                self.kms.put_in_state(&KeyRef::new(&arn), KeyState::Enabled).unwrap();
                self.call("DisableKey", json!({"KeyId": arn})).unwrap();
            }
            KeyState::PendingDeletion => {
                self.call("ScheduleKeyDeletion", json!({"KeyId": arn})).unwrap();
            }
            // A key comes into the others by what it is, or in a moment that nobody sees.
            _ => self.kms.put_in_state(&KeyRef::new(&arn), state).unwrap(),
        }
        (arn, blob)
    }
}

const P256_PUBLIC: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECrAhWkqnHp5rMUtVEQE2UDE4g5JrYJ01JQMooUlm1TuHCk6IKpw4G9bB3HcMlLK5a6+P4B/Nf7NH3kupvS/reQ==";

fn input(op: Op, arn: &str, blob: &str, alias: &str) -> Option<Value> {
    let grant = "0".repeat(64);
    Some(match op {
        Op::CancelKeyDeletion
        | Op::DeleteImportedKeyMaterial
        | Op::DescribeKey
        | Op::DisableKey
        | Op::DisableKeyRotation
        | Op::EnableKey
        | Op::EnableKeyRotation
        | Op::GetKeyPolicy
        | Op::GetKeyRotationStatus
        | Op::GetPublicKey
        | Op::ListAliases
        | Op::ListGrants
        | Op::ListKeyPolicies
        | Op::ListKeyRotations
        | Op::ListResourceTags
        | Op::RotateKeyOnDemand
        | Op::ScheduleKeyDeletion => json!({"KeyId": arn}),
        Op::CreateAlias | Op::UpdateAlias => json!({"AliasName": alias, "TargetKeyId": arn}),
        Op::CreateGrant => {
            json!({"KeyId": arn, "GranteePrincipal": "arn:aws:iam::000000000000:root",
            "Operations": ["Decrypt"]})
        }
        Op::Decapsulate => json!({"KeyId": arn, "EncapsulationAlgorithm": "ML_KEM",
            "SharedSecretCiphertextBlob": "A".repeat(1024)}),
        Op::Decrypt => json!({"CiphertextBlob": blob}),
        Op::DeriveSharedSecret => json!({"KeyId": arn, "KeyAgreementAlgorithm": "ECDH",
            "PublicKey": P256_PUBLIC}),
        Op::Encapsulate => json!({"KeyId": arn, "EncapsulationAlgorithm": "ML_KEM"}),
        Op::Encrypt => json!({"KeyId": arn, "Plaintext": "aGk="}),
        Op::GenerateDataKey | Op::GenerateDataKeyWithoutPlaintext => {
            json!({"KeyId": arn, "KeySpec": "AES_256"})
        }
        Op::GenerateDataKeyPair | Op::GenerateDataKeyPairWithoutPlaintext => {
            json!({"KeyId": arn, "KeyPairSpec": "ECC_NIST_P256"})
        }
        Op::GenerateMac => json!({"KeyId": arn, "Message": "aGk=", "MacAlgorithm": "HMAC_SHA_256"}),
        Op::GetParametersForImport => {
            json!({"KeyId": arn, "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
            "WrappingKeySpec": "RSA_2048"})
        }
        Op::PutKeyPolicy => json!({"KeyId": arn, "Policy":
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}"#}),
        Op::ReEncrypt => json!({"CiphertextBlob": blob, "DestinationKeyId": arn}),
        Op::ReplicateKey => json!({"KeyId": arn, "ReplicaRegion": "eu-central-1"}),
        Op::Sign => json!({"KeyId": arn, "Message": "aGk=", "SigningAlgorithm": "ECDSA_SHA_256"}),
        Op::TagResource => json!({"KeyId": arn, "Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        Op::UntagResource => json!({"KeyId": arn, "TagKeys": ["a"]}),
        Op::UpdateKeyDescription => json!({"KeyId": arn, "Description": "x"}),
        Op::UpdatePrimaryRegion => json!({"KeyId": arn, "PrimaryRegion": "us-west-2"}),
        Op::Verify => json!({"KeyId": arn, "Message": "aGk=", "Signature": "aGk=",
            "SigningAlgorithm": "ECDSA_SHA_256"}),
        Op::VerifyMac => json!({"KeyId": arn, "Message": "aGk=", "Mac": "aGk=",
            "MacAlgorithm": "HMAC_SHA_256"}),
        Op::RevokeGrant => json!({"KeyId": arn, "GrantId": grant}),
        _ => return None,
    })
}

/// What an operation that the state allows answers to a request that nothing else can please.
fn answer_where_allowed(op: Op) -> Option<&'static str> {
    match op {
        Op::RevokeGrant => Some("InvalidGrantIdException"),
        Op::UpdatePrimaryRegion => Some("NotFoundException"),
        Op::Verify => Some("KMSInvalidSignatureException"),
        Op::VerifyMac => Some("KMSInvalidMacException"),
        _ => None,
    }
}

/// What the service does is what the table says, for every operation that takes a key and every
/// state.
#[test]
fn the_service_does_what_the_table_says() {
    let bench = Bench::new();
    let _regions = Regions::open(bench.kms.clone(), bench.dir.path()).unwrap();
    let (other, _) = bench.key(Op::Encrypt, KeyState::Enabled);
    let mut checked = 0;
    for op in Op::ALL.iter().filter(|op| input(**op, "", "", "").is_some()) {
        for state in COLUMNS {
            let alias = format!("alias/{}-{}", op.name(), state.as_str());
            let (arn, blob) = bench.key(*op, state);
            let input = input(*op, &arn, &blob, &alias).unwrap();
            if *op == Op::UpdateAlias {
                let make = json!({"AliasName": alias, "TargetKeyId": other});
                bench.call("CreateAlias", make).unwrap();
            }
            let outcome = bench.call(op.name(), input).map(|_| ());
            let wanted = check_state(*op, &KeyArn::parse(&arn).unwrap(), state);
            match (answer_where_allowed(*op), &wanted, &outcome) {
                (Some(exception), Ok(()), Err(error)) => assert_eq!(error.exception(), exception),
                _ => assert_eq!(outcome, wanted, "{} in {}", op.name(), state.as_str()),
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 8 * 42);
}

/// A dry run is refused as the real call would be, and only then says that it was one.
#[test]
fn a_dry_run_tells_the_true_error_first() {
    let bench = Bench::new();
    let dry = Op::ALL.iter().filter(|op| op.kind() == OpKind::Use && **op != Op::GenerateRandom);
    for op in dry.chain(&[Op::CreateGrant]).copied() {
        for state in [KeyState::Enabled, KeyState::Disabled, KeyState::PendingDeletion] {
            let (arn, blob) = bench.key(op, state);
            let key = KeyArn::parse(&arn).unwrap();
            let mut input = input(op, &arn, &blob, "").unwrap();
            input["DryRun"] = json!(true);
            let wanted = check_state(op, &key, state).and(Err(KmsError::DryRunOperation));
            assert_eq!(bench.call(op.name(), input).map(|_| ()), wanted, "{}", op.name());
        }
    }
    let (arn, blob) = bench.key(Op::Encrypt, KeyState::Enabled);
    let broken = json!({"CiphertextBlob": format!("AAAA{}", &blob[4..]), "DryRun": true});
    assert_eq!(bench.call("Decrypt", broken), Err(KmsError::InvalidCiphertext));
    let wrong = json!({"KeyId": arn, "Plaintext": "", "DryRun": true});
    let refused = bench.call("Encrypt", wrong).unwrap_err();
    assert_eq!(refused.exception(), "ValidationException");
}

/// Law: where the ciphertext is ignored, a dry run asks all the rest, of the key that is named.
#[test]
fn a_dry_run_without_ciphertext_asks_the_rest() {
    let bench = Bench::new();
    let ignoring = |operation: &str, mut input: Value| {
        input["DryRunModifiers"] = json!(["IGNORE_CIPHERTEXT"]);
        input["DryRun"] = json!(true);
        let error = bench.call(operation, input).unwrap_err();
        (error.exception(), error.to_string())
    };
    for state in COLUMNS {
        let (arn, _) = bench.key(Op::Decrypt, state);
        let (other, _) = bench.key(Op::Decrypt, KeyState::Enabled);
        let wanted = check_state(Op::Decrypt, &KeyArn::parse(&arn).unwrap(), state);
        let wanted = wanted.and(Err::<(), _>(KmsError::DryRunOperation)).unwrap_err();
        let wanted = (wanted.exception(), wanted.to_string());
        assert_eq!(ignoring("Decrypt", json!({"KeyId": arn})), wanted);
        assert_eq!(ignoring("Decrypt", json!({"KeyId": arn, "CiphertextBlob": "AAAA"})), wanted);
        for (source, destination) in [(&arn, &other), (&other, &arn)] {
            let input = json!({"SourceKeyId": source, "DestinationKeyId": destination});
            assert_eq!(ignoring("ReEncrypt", input), wanted);
        }
    }
    let (arn, blob) = bench.key(Op::Decrypt, KeyState::Enabled);
    assert_eq!(ignoring("Decrypt", json!({"CiphertextBlob": blob})).0, "ValidationException");
    let no_source = json!({"CiphertextBlob": blob, "DestinationKeyId": arn});
    assert_eq!(ignoring("ReEncrypt", no_source).0, "ValidationException");
    let deny = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"},
        {"Effect":"Deny","Principal":"*","Action":["kms:Decrypt","kms:ReEncryptFrom"],"Resource":"*"}]}"#;
    bench.call("PutKeyPolicy", json!({"KeyId": arn, "Policy": deny})).unwrap();
    assert_eq!(ignoring("Decrypt", json!({"KeyId": arn})).0, "AccessDeniedException");
    let both = json!({"SourceKeyId": arn, "DestinationKeyId": arn});
    assert_eq!(ignoring("ReEncrypt", both).0, "AccessDeniedException");
    // The modifier says something of a dry run alone, and there is one.
    let wet = json!({"KeyId": arn, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]});
    assert_eq!(bench.call("Decrypt", wet).unwrap_err().exception(), "ValidationException");
    let other = json!({"KeyId": arn, "DryRun": true, "DryRunModifiers": ["X"]});
    let refused = bench.call("Decrypt", other).unwrap_err().to_string();
    assert!(refused.ends_with("enum value set: [IGNORE_CIPHERTEXT]]"), "{refused}");
}
