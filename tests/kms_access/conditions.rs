//! Conditions: what each key tells of a call.

use kmsfs::kms::{Principal, Via};
use kmsfs::wire;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::{ANN, BOB, ROOT, SESSION, call_as, encrypt, is_denied, key_with, statement};

#[test]
fn conditions_look_at_the_encryption_context() {
    let bench = Bench::new();
    let mut allow = statement("Allow", json!({"AWS": ANN}), json!("kms:*"));
    allow["Condition"] = json!({
        "StringEquals": {"kms:EncryptionContext:Department": ["hr", "law"]},
        "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["Department", "Year"]},
    });
    let key = key_with(&bench, &[allow]);
    for (context, allowed) in [
        (json!({"Department": "hr"}), true),
        (json!({"Department": "law", "Year": "2026"}), true),
        (json!({"Department": "it"}), false),
        (json!({"department": "hr"}), false),
        (json!({"Department": "hr", "Other": "x"}), false),
        (json!({}), false),
    ] {
        let answer = encrypt(&bench, ANN, &key, context.clone());
        assert_eq!(answer.is_ok(), allowed, "{context}");
    }
}

/// Statements, then calls and whether they are let in.
struct Table {
    /// Condition of the one Allow, for everybody.
    condition: Value,
    calls: &'static [(&'static str, &'static str, &'static str, bool)],
}

/// Law: every condition key that tells of a request does so with AWS' values.
#[test]
fn conditions_look_at_the_request() {
    let symmetric = [
        Table {
            condition: json!({"StringEquals": {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}}),
            calls: &[
                (ANN, "Encrypt", r#"{"Plaintext": "AAAA"}"#, true),
                (ANN, "GenerateDataKey", r#"{"KeySpec": "AES_256"}"#, true),
                (ANN, "DescribeKey", "{}", false),
            ],
        },
        Table {
            condition: json!({"StringEquals": {"kms:DataKeyPairSpec": "ECC_NIST_P256"}}),
            calls: &[
                (ANN, "GenerateDataKeyPair", r#"{"KeyPairSpec": "ECC_NIST_P256"}"#, true),
                (ANN, "GenerateDataKeyPair", r#"{"KeyPairSpec": "ECC_NIST_P384"}"#, false),
            ],
        },
        Table {
            condition: json!({"NumericLessThanEquals": {"kms:RotationPeriodInDays": 180}}),
            calls: &[
                (ANN, "EnableKeyRotation", r#"{"RotationPeriodInDays": 180}"#, true),
                (ANN, "EnableKeyRotation", r#"{"RotationPeriodInDays": 181}"#, false),
                (ANN, "EnableKeyRotation", "{}", false),
            ],
        },
        Table {
            condition: json!({"NumericGreaterThanEquals":
                {"kms:ScheduleKeyDeletionPendingWindowInDays": "14"}}),
            calls: &[
                (ANN, "ScheduleKeyDeletion", r#"{"PendingWindowInDays": 7}"#, false),
                (ANN, "ScheduleKeyDeletion", r#"{"PendingWindowInDays": 14}"#, true),
            ],
        },
        Table {
            condition: json!({"StringEquals": {"aws:RequestTag/team": "a"},
                "ForAllValues:StringEquals": {"aws:TagKeys": ["team", "cost"]}}),
            calls: &[
                (ANN, "TagResource", r#"{"Tags": [{"TagKey": "team", "TagValue": "a"}]}"#, true),
                (ANN, "TagResource", r#"{"Tags": [{"TagKey": "team", "TagValue": "b"}]}"#, false),
                (
                    ANN,
                    "TagResource",
                    r#"{"Tags": [{"TagKey": "team", "TagValue": "a"},
                        {"TagKey": "other", "TagValue": "x"}]}"#,
                    false,
                ),
            ],
        },
        Table {
            condition: json!({"ForAnyValue:StringEquals": {"aws:TagKeys": "team"}}),
            calls: &[
                (ANN, "UntagResource", r#"{"TagKeys": ["cost"]}"#, false),
                (ANN, "UntagResource", r#"{"TagKeys": ["cost", "team"]}"#, true),
            ],
        },
        Table {
            condition: json!({"StringEquals": {"kms:GrantConstraintType": "EncryptionContextSubset",
                "kms:RetiringPrincipal": ROOT, "kms:GranteePrincipal": BOB},
                "Bool": {"kms:GrantIsForAWSResource": "false"}}),
            calls: &[
                (
                    ANN,
                    "CreateGrant",
                    r#"{"GranteePrincipal": "arn:aws:iam::000000000000:user/bob",
                        "RetiringPrincipal": "arn:aws:iam::000000000000:root",
                        "Operations": ["Decrypt"],
                        "Constraints": {"EncryptionContextSubset": {"a": "b"}}}"#,
                    true,
                ),
                (
                    ANN,
                    "CreateGrant",
                    r#"{"GranteePrincipal": "arn:aws:iam::000000000000:user/bob",
                        "RetiringPrincipal": "arn:aws:iam::000000000000:root",
                        "Operations": ["Decrypt"],
                        "Constraints": {"EncryptionContextEquals": {"a": "b"}}}"#,
                    false,
                ),
            ],
        },
        Table {
            condition: json!({"DateGreaterThan": {"aws:CurrentTime": "2023-11-14T22:13:19Z"},
                "DateLessThan": {"aws:EpochTime": "1700000001"},
                "NumericEquals": {"aws:EpochTime": 1_700_000_000}}),
            calls: &[(ANN, "DescribeKey", "{}", true)],
        },
        Table {
            condition: json!({"DateLessThan": {"aws:CurrentTime": "2023-11-14"}}),
            calls: &[(ANN, "DescribeKey", "{}", false)],
        },
        Table {
            condition: json!({"StringEquals": {"aws:username": "ann", "aws:PrincipalType": "User",
                "aws:userid": "ann", "aws:RequestedRegion": "us-east-1"}}),
            calls: &[(ANN, "DescribeKey", "{}", true), (BOB, "DescribeKey", "{}", false)],
        },
        Table {
            condition: json!({"ArnEquals": {"aws:PrincipalArn":
                "arn:aws:iam::000000000000:role/Admin"}, "StringLike": {"aws:userid": "Admin:*"}}),
            calls: &[(SESSION, "DescribeKey", "{}", true), (ANN, "DescribeKey", "{}", false)],
        },
        Table {
            condition: json!({"StringEquals": {"kms:EncryptionContext:owner": "${aws:username}"}}),
            calls: &[
                (
                    ANN,
                    "Encrypt",
                    r#"{"Plaintext": "AAAA", "EncryptionContext": {"owner": "ann"}}"#,
                    true,
                ),
                (
                    BOB,
                    "Encrypt",
                    r#"{"Plaintext": "AAAA", "EncryptionContext": {"owner": "ann"}}"#,
                    false,
                ),
                // A role has no user name: the variable is none, and nothing equals it.
                (
                    SESSION,
                    "Encrypt",
                    r#"{"Plaintext": "AAAA", "EncryptionContext": {"owner": ""}}"#,
                    false,
                ),
            ],
        },
        Table {
            condition: json!({"StringEquals": {"kms:CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
                "kms:CustomerMasterKeyUsage": "ENCRYPT_DECRYPT", "kms:KeyOrigin": "AWS_KMS"},
                "Null": {"kms:MultiRegionKeyType": "true", "aws:SourceIp": "true",
                "aws:PrincipalTag/team": "true"}}),
            calls: &[(ANN, "DescribeKey", "{}", true)],
        },
        Table {
            condition: json!({"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "false"}}),
            calls: &[
                (ANN, "PutKeyPolicy", r#"{"Policy": "x"}"#, true),
                (
                    ANN,
                    "PutKeyPolicy",
                    r#"{"Policy": "x", "BypassPolicyLockoutSafetyCheck": true}"#,
                    false,
                ),
            ],
        },
    ];
    for table in symmetric {
        check_table(json!({}), &table);
    }
    let signing = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"});
    let sign = Table {
        condition: json!({"StringEquals": {"kms:SigningAlgorithm": "ECDSA_SHA_256",
            "kms:MessageType": "RAW"}}),
        calls: &[
            (ANN, "Sign", r#"{"Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256"}"#, true),
            (
                ANN,
                "Sign",
                r#"{"Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256",
                    "MessageType": "DIGEST"}"#,
                false,
            ),
        ],
    };
    check_table(signing, &sign);
    let mac = Table {
        condition: json!({"StringEquals": {"kms:MacAlgorithm": "HMAC_SHA_384"}}),
        calls: &[
            (ANN, "GenerateMac", r#"{"Message": "AAAA", "MacAlgorithm": "HMAC_SHA_384"}"#, true),
            (ANN, "GenerateMac", r#"{"Message": "AAAA", "MacAlgorithm": "HMAC_SHA_256"}"#, false),
        ],
    };
    check_table(json!({"KeySpec": "HMAC_384", "KeyUsage": "GENERATE_VERIFY_MAC"}), &mac);
    let import = Table {
        condition: json!({"StringEquals": {"kms:WrappingAlgorithm": "RSAES_OAEP_SHA_256",
            "kms:WrappingKeySpec": "RSA_2048"}}),
        calls: &[
            (
                ANN,
                "GetParametersForImport",
                r#"{"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}"#,
                true,
            ),
            (
                ANN,
                "GetParametersForImport",
                r#"{"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_3072"}"#,
                false,
            ),
        ],
    };
    check_table(json!({"Origin": "EXTERNAL"}), &import);
    let expiry = Table {
        condition: json!({"StringEquals": {"kms:ExpirationModel": "KEY_MATERIAL_EXPIRES"},
            "NumericLessThan": {"kms:ValidTo": "1700100000"},
            "DateLessThan": {"kms:ValidTo": "2023-11-16"}}),
        calls: &[
            (
                ANN,
                "ImportKeyMaterial",
                r#"{"ImportToken": "AAAA", "EncryptedKeyMaterial": "AAAA", "ValidTo": 1700050000}"#,
                true,
            ),
            (
                ANN,
                "ImportKeyMaterial",
                r#"{"ImportToken": "AAAA", "EncryptedKeyMaterial": "AAAA", "ValidTo": 1700200000}"#,
                false,
            ),
        ],
    };
    check_table(json!({"Origin": "EXTERNAL"}), &expiry);
}

/// A call that is let in may still fail for another reason: only whether it was denied is looked at.
fn check_table(create: Value, table: &Table) {
    for (who, operation, input, allowed) in table.calls {
        let bench = Bench::new();
        let mut allow = statement("Allow", json!({"AWS": "*"}), json!("kms:*"));
        allow["Condition"] = table.condition.clone();
        let policy = json!({"Version": "2012-10-17", "Statement": [allow]}).to_string();
        let mut create = create.clone();
        create["Policy"] = policy.into();
        create["BypassPolicyLockoutSafetyCheck"] = true.into();
        let made = bench.call("CreateKey", create).unwrap();
        let mut input: Value = serde_json::from_str(input).unwrap();
        input["KeyId"] = made["KeyMetadata"]["KeyId"].clone();
        let answer = call_as(&bench, who, operation, input.clone());
        assert_eq!(!is_denied(answer), *allowed, "{operation} {input} under {}", table.condition);
    }
}

/// Law: the aliases of a key, and the one that a request names it by, are told apart.
#[test]
fn conditions_look_at_aliases() {
    let bench = Bench::new();
    let allow = |condition: Value, action: &str| {
        let mut allow = statement("Allow", json!({"AWS": "*"}), json!(action));
        allow["Condition"] = condition;
        allow
    };
    let by_request = json!({"StringLike": {"kms:RequestAlias": "alias/app/*"}});
    let by_resource = json!({"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/app/x"}});
    let same = json!({"Bool": {"kms:ReEncryptOnSameKey": "true"}});
    let statements = [
        allow(by_request, "kms:Encrypt"),
        allow(by_resource, "kms:DescribeKey"),
        allow(same, "kms:ReEncrypt*"),
    ];
    let key = key_with(&bench, &statements);
    let other = key_with(&bench, &statements);
    let create = |name| bench.call("CreateAlias", json!({"AliasName": name, "TargetKeyId": key}));
    create("alias/app/x").unwrap();
    create("alias/free").unwrap();
    assert!(encrypt(&bench, ANN, "alias/app/x", json!({})).is_ok());
    let arn = "arn:aws:kms:us-east-1:000000000000:alias/app/x";
    let blob = encrypt(&bench, ANN, arn, json!({})).unwrap()["CiphertextBlob"].clone();
    assert!(is_denied(encrypt(&bench, ANN, "alias/free", json!({}))));
    assert!(is_denied(encrypt(&bench, ANN, &key, json!({}))));
    let describe = |key: &str| call_as(&bench, ANN, "DescribeKey", json!({"KeyId": key}));
    assert!(describe(&key).is_ok() && describe("alias/free").is_ok());
    assert!(is_denied(describe(&other)));
    let move_to = |key: &str| {
        call_as(&bench, ANN, "ReEncrypt", json!({"CiphertextBlob": blob, "DestinationKeyId": key}))
    };
    assert!(move_to("alias/free").is_ok());
    assert!(is_denied(move_to(&other)));
}

/// Law: a call tells from where it comes.
#[test]
fn conditions_look_at_the_address() {
    let bench = Bench::new();
    let mut allow = statement("Allow", json!({"AWS": ANN}), json!("kms:Encrypt"));
    allow["Condition"] = json!({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "::1"]},
        "Bool": {"aws:SecureTransport": "false"}});
    let key = key_with(&bench, &[allow]);
    for (via, allowed) in [
        (Via::Network("10.1.2.3".parse().unwrap()), true),
        (Via::Network("::1".parse().unwrap()), true),
        (Via::Network("11.1.2.3".parse().unwrap()), false),
        (Via::Socket, false),
        (Via::Process, false),
    ] {
        let input = json!({"KeyId": key, "Plaintext": "AAAA"});
        let ann = Principal::from_arn(ANN).unwrap();
        let answer = wire::call(&bench.kms.reached(via), &ann, "Encrypt", &input);
        assert_eq!(answer.is_ok(), allowed, "{via:?}");
    }
}
