//! Who may do what: key policies and grants, as several principals meet them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;

use bench::Bench;
use kmsfs::kms::{IdentityPolicy, KeyRef, KmsError, Principal, Via};
use kmsfs::wire;
use serde_json::{Value, json};

const ROOT: &str = "arn:aws:iam::000000000000:root";
const ANN: &str = "arn:aws:iam::000000000000:user/ann";
const BOB: &str = "arn:aws:iam::000000000000:user/bob";

fn call_as(bench: &Bench, who: &str, operation: &str, input: Value) -> Result<Value, KmsError> {
    wire::call(&bench.kms, &Principal::from_arn(who).unwrap(), operation, &input)
}

fn refusal(answer: Result<Value, KmsError>) -> (&'static str, String) {
    let error = answer.unwrap_err();
    (error.exception(), error.to_string())
}

fn is_denied(answer: Result<Value, KmsError>) -> bool {
    matches!(answer, Err(KmsError::AccessDenied { .. }))
}

fn statement(effect: &str, who: Value, actions: Value) -> Value {
    json!({"Effect": effect, "Principal": who, "Action": actions, "Resource": "*"})
}

/// A key whose root keeps everything but what the further statements say.
fn key_with(bench: &Bench, statements: &[Value]) -> String {
    // The root alone, not all of its account.
    let mut root = statement("Allow", json!({"AWS": "*"}), json!("kms:*"));
    root["Condition"] = json!({"ArnEquals": {"aws:PrincipalArn": ROOT}});
    let mut all = vec![root];
    all.extend_from_slice(statements);
    let policy = json!({"Version": "2012-10-17", "Statement": all}).to_string();
    let made = bench.call("CreateKey", json!({"Policy": policy})).unwrap();
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

fn encrypt(bench: &Bench, who: &str, key: &str, context: Value) -> Result<Value, KmsError> {
    let input = json!({"KeyId": key, "Plaintext": "AAAA", "EncryptionContext": context});
    call_as(bench, who, "Encrypt", input)
}

#[test]
fn the_default_policy_lets_in_the_whole_account_and_nobody_else() {
    let bench = Bench::new();
    let key = bench.new_key();
    assert!(encrypt(&bench, ANN, key.as_str(), json!({})).is_ok());
    let stranger = "arn:aws:iam::999999999999:user/eve";
    let (exception, words) = refusal(encrypt(&bench, stranger, key.as_str(), json!({})));
    assert_eq!(exception, "AccessDeniedException");
    let id = key.as_str();
    assert_eq!(
        words,
        format!(
            "User: {stranger} is not authorized to perform: kms:Encrypt on resource: {id} because \
             no resource-based policy allows the kms:Encrypt action"
        )
    );
}

#[test]
fn a_policy_names_who_may_do_what() {
    let bench = Bench::new();
    let key = key_with(
        &bench,
        &[statement("Allow", json!({"AWS": ANN}), json!(["kms:Encrypt", "kms:GenerateDataKey*"]))],
    );
    let blob = encrypt(&bench, ANN, &key, json!({})).unwrap()["CiphertextBlob"].clone();
    let data_key =
        |operation| call_as(&bench, ANN, operation, json!({"KeyId": key, "KeySpec": "AES_256"}));
    assert!(data_key("GenerateDataKey").is_ok());
    assert!(data_key("GenerateDataKeyWithoutPlaintext").is_ok());
    assert!(is_denied(call_as(&bench, ANN, "Decrypt", json!({"CiphertextBlob": blob}))));
    assert!(is_denied(call_as(&bench, ANN, "DisableKey", json!({"KeyId": key}))));
    assert!(is_denied(call_as(&bench, ANN, "DescribeKey", json!({"KeyId": key}))));
    assert!(is_denied(encrypt(&bench, BOB, &key, json!({}))));
    assert!(call_as(&bench, ROOT, "Decrypt", json!({"CiphertextBlob": blob})).is_ok());
}

/// Law: an explicit Deny wins over any Allow and any grant.
#[test]
fn deny_wins() {
    let bench = Bench::new();
    let key = key_with(
        &bench,
        &[
            statement("Allow", json!({"AWS": [ANN, BOB]}), json!("kms:*")),
            statement("Deny", json!({"AWS": BOB}), json!("kms:encrypt")),
        ],
    );
    bench
        .call(
            "CreateGrant",
            json!({"KeyId": key, "GranteePrincipal": BOB, "Operations": ["Encrypt"]}),
        )
        .unwrap();
    assert!(encrypt(&bench, ANN, &key, json!({})).is_ok());
    let (exception, words) = refusal(encrypt(&bench, BOB, &key, json!({})));
    assert_eq!(exception, "AccessDeniedException");
    assert!(words.ends_with("with an explicit deny in a resource-based policy"), "{words}");
}

#[test]
fn not_principal_and_not_action_turn_round() {
    let bench = Bench::new();
    let mut deny_others = statement("Deny", json!(null), json!("kms:*"));
    deny_others.as_object_mut().unwrap().remove("Principal");
    deny_others["NotPrincipal"] = json!({"AWS": [ANN, ROOT]});
    let mut all_but = statement("Allow", json!({"AWS": ANN}), json!(null));
    all_but.as_object_mut().unwrap().remove("Action");
    all_but["NotAction"] = json!("kms:Decrypt");
    let key = key_with(&bench, &[deny_others, all_but]);
    let blob = encrypt(&bench, ANN, &key, json!({})).unwrap()["CiphertextBlob"].clone();
    assert!(is_denied(call_as(&bench, ANN, "Decrypt", json!({"CiphertextBlob": blob}))));
    assert!(is_denied(encrypt(&bench, BOB, &key, json!({}))));
    // The root that a Deny spares does not spare the rest of its account.
    let (_, words) = refusal(encrypt(&bench, BOB, &key, json!({})));
    assert!(words.ends_with("with an explicit deny in a resource-based policy"), "{words}");
    assert!(encrypt(&bench, ROOT, &key, json!({})).is_ok());
}

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

/// Law: the two sides of ReEncrypt are allowed apart.
#[test]
fn re_encrypt_wants_both_sides() {
    let bench = Bench::new();
    let allow = |action: &str| statement("Allow", json!({"AWS": ANN}), json!(action));
    let from = key_with(&bench, &[allow("kms:ReEncryptFrom")]);
    let to = key_with(&bench, &[allow("kms:ReEncryptTo")]);
    let blob = encrypt(&bench, ROOT, &from, json!({})).unwrap()["CiphertextBlob"].clone();
    let move_to = |key: &str| {
        call_as(&bench, ANN, "ReEncrypt", json!({"CiphertextBlob": blob, "DestinationKeyId": key}))
    };
    assert!(move_to(&to).is_ok());
    assert!(is_denied(move_to(&from)));
}

#[test]
fn nobody_locks_himself_out_by_accident() {
    let bench = Bench::new();
    let key = key_with(&bench, &[]);
    let only_ann = json!({"Statement": statement("Allow", json!({"AWS": ANN}), json!("kms:*"))});
    let mut put = json!({"KeyId": key, "Policy": only_ann.to_string()});
    let words = "The new key policy will not allow you to update the key policy in the future.";
    let expected = ("MalformedPolicyDocumentException", words.to_owned());
    assert_eq!(refusal(bench.call("PutKeyPolicy", put.clone())), expected);
    let create = json!({"Policy": only_ann.to_string()});
    assert_eq!(refusal(bench.call("CreateKey", create)), expected);
    put["BypassPolicyLockoutSafetyCheck"] = json!(true);
    bench.call("PutKeyPolicy", put).unwrap();
    assert!(is_denied(bench.call("DescribeKey", json!({"KeyId": key}))));
    assert!(call_as(&bench, ANN, "DescribeKey", json!({"KeyId": key})).is_ok());
}

/// Law: policies are in force after the database is opened anew.
#[test]
fn policies_and_grants_outlive_the_process() {
    let bench = Bench::new();
    let key = key_with(&bench, &[statement("Allow", json!({"AWS": ANN}), json!("kms:Encrypt"))]);
    let grant = json!({"KeyId": key, "GranteePrincipal": BOB, "Operations": ["DescribeKey", "Encrypt"],
        "Constraints": {"EncryptionContextSubset": {"a": "b"}}, "Name": "one",
        "RetiringPrincipal": ANN});
    bench.call("CreateGrant", grant).unwrap();
    let listed = bench.call("ListGrants", json!({"KeyId": key})).unwrap();
    let again = bench.open();
    let call = |who: &str, operation: &str, input: Value| {
        wire::call(&again, &Principal::from_arn(who).unwrap(), operation, &input)
    };
    assert_eq!(call(ROOT, "ListGrants", json!({"KeyId": key})).unwrap(), listed);
    let encrypt = |who, context| {
        call(
            who,
            "Encrypt",
            json!({"KeyId": key, "Plaintext": "AAAA", "EncryptionContext": context}),
        )
    };
    assert!(encrypt(ANN, json!({})).is_ok());
    assert!(is_denied(encrypt(BOB, json!({}))));
    assert!(encrypt(BOB, json!({"a": "b", "c": "d"})).is_ok());
}

#[test]
fn a_grant_allows_its_grantee_its_operations() {
    let bench = Bench::new();
    let key = key_with(&bench, &[]);
    let grant = |extra: Value| {
        let mut input = json!({"KeyId": key, "GranteePrincipal": ANN, "Operations": ["Encrypt"]});
        input.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        bench.call("CreateGrant", input)
    };
    assert!(is_denied(encrypt(&bench, ANN, &key, json!({}))));
    assert_eq!(refusal(grant(json!({"DryRun": true}))).0, "DryRunOperationException");
    let made = grant(json!({"Name": "g"})).unwrap();
    assert_eq!(made["GrantId"].as_str().unwrap().len(), 64);
    assert!(encrypt(&bench, ANN, &key, json!({})).is_ok());
    assert!(is_denied(encrypt(&bench, BOB, &key, json!({}))));
    // The same request with the same name gives the same grant.
    assert_eq!(grant(json!({"Name": "g"})).unwrap(), made);
    assert_ne!(grant(json!({})).unwrap()["GrantId"], made["GrantId"]);
    let equals = json!({"Constraints": {"EncryptionContextEquals": {"a": "b"}},
        "GranteePrincipal": BOB});
    grant(equals).unwrap();
    assert!(encrypt(&bench, BOB, &key, json!({"a": "b"})).is_ok());
    assert!(is_denied(encrypt(&bench, BOB, &key, json!({"a": "b", "c": "d"}))));
    for (extra, exception) in [
        (json!({"Operations": []}), "ValidationException"),
        (json!({"Operations": ["Fly"]}), "ValidationException"),
        (json!({"Operations": ["Sign"]}), "ValidationException"),
        (json!({"GranteePrincipal": "arn:x"}), "InvalidArnException"),
        (json!({"Constraints": {"SourceArn": "x"}}), "UnsupportedOperationException"),
        (json!({"KeyId": "alias/x"}), "NotFoundException"),
    ] {
        assert_eq!(refusal(grant(extra.clone())).0, exception, "{extra}");
    }
}

#[test]
fn grants_are_listed_revoked_and_retired() {
    let bench = Bench::new();
    let key = key_with(&bench, &[]);
    let arn =
        bench.call("DescribeKey", json!({"KeyId": key})).unwrap()["KeyMetadata"]["Arn"].clone();
    let mut made = Vec::new();
    for (grantee, operations) in [
        (ANN, json!(["Encrypt", "RetireGrant"])),
        (BOB, json!(["Encrypt"])),
        (BOB, json!(["Decrypt"])),
    ] {
        let input = json!({"KeyId": key, "GranteePrincipal": grantee, "Operations": operations,
            "RetiringPrincipal": if grantee == BOB { ANN } else { ROOT }});
        made.push(bench.call("CreateGrant", input).unwrap());
    }
    let count =
        |input: Value| bench.call("ListGrants", input).unwrap()["Grants"].as_array().unwrap().len();
    assert_eq!(count(json!({"KeyId": key})), 3);
    assert_eq!(count(json!({"KeyId": key, "GranteePrincipal": BOB})), 2);
    assert_eq!(count(json!({"KeyId": key, "GrantId": made[0]["GrantId"]})), 1);
    let first = bench.call("ListGrants", json!({"KeyId": key, "Limit": 2})).unwrap();
    assert_eq!(
        (first["Truncated"].clone(), count(json!({"KeyId": key, "Marker": first["NextMarker"]}))),
        (json!(true), 1)
    );

    let retirable =
        call_as(&bench, ANN, "ListRetirableGrants", json!({"RetiringPrincipal": ANN})).unwrap();
    assert_eq!(retirable["Grants"].as_array().unwrap().len(), 2);
    assert!(is_denied(call_as(
        &bench,
        BOB,
        "ListRetirableGrants",
        json!({"RetiringPrincipal": ANN})
    )));

    let by_token = json!({"GrantToken": made[1]["GrantToken"]});
    assert!(is_denied(call_as(&bench, BOB, "RetireGrant", by_token.clone())));
    call_as(&bench, ANN, "RetireGrant", by_token.clone()).unwrap();
    assert_eq!(
        refusal(call_as(&bench, ANN, "RetireGrant", by_token)).0,
        "InvalidGrantTokenException"
    );
    let by_id = json!({"KeyId": arn, "GrantId": made[0]["GrantId"]});
    call_as(&bench, ANN, "RetireGrant", by_id).unwrap();
    let revoke = json!({"KeyId": key, "GrantId": made[2]["GrantId"]});
    assert!(is_denied(call_as(&bench, BOB, "RevokeGrant", revoke.clone())));
    bench.call("RevokeGrant", revoke.clone()).unwrap();
    assert_eq!(refusal(bench.call("RevokeGrant", revoke)).0, "InvalidGrantIdException");
    assert_eq!(count(json!({"KeyId": key})), 0);
}

/// Law: who may only grant gives no more than he has.
#[test]
fn a_grantee_grants_on_only_what_was_granted() {
    let bench = Bench::new();
    let key = key_with(&bench, &[]);
    bench
        .call(
            "CreateGrant",
            json!({"KeyId": key, "GranteePrincipal": ANN,
            "Operations": ["CreateGrant", "Encrypt"]}),
        )
        .unwrap();
    let grant_on = |operations: Value| {
        call_as(
            &bench,
            ANN,
            "CreateGrant",
            json!({"KeyId": key, "GranteePrincipal": BOB, "Operations": operations}),
        )
    };
    assert!(is_denied(grant_on(json!(["Encrypt", "Decrypt"]))));
    grant_on(json!(["Encrypt"])).unwrap();
    assert!(encrypt(&bench, BOB, &key, json!({})).is_ok());
}

/// Law: who may only grant under constraints gives no grant without them.
#[test]
fn constraints_are_handed_on() {
    let bench = Bench::new();
    let (equals, subset) = ("EncryptionContextEquals", "EncryptionContextSubset");
    let (ab, abcd) = (json!({"a": "b"}), json!({"a": "b", "c": "d"}));
    for (own, given, allowed) in [
        (json!({equals: ab}), json!({equals: ab}), true),
        (json!({equals: ab}), json!({}), false),
        (json!({equals: ab}), json!({subset: ab}), false),
        (json!({subset: ab}), json!({}), false),
        (json!({subset: ab}), json!({subset: abcd}), true),
        (json!({subset: ab}), json!({equals: abcd}), true),
        (json!({subset: ab}), json!({subset: {"a": "x"}}), false),
    ] {
        let key = key_with(&bench, &[]);
        let grant = json!({"KeyId": key, "GranteePrincipal": ANN,
            "Operations": ["CreateGrant", "Decrypt"], "Constraints": own});
        bench.call("CreateGrant", grant).unwrap();
        let on = json!({"KeyId": key, "GranteePrincipal": ANN, "Operations": ["Decrypt"],
            "Constraints": given});
        assert_eq!(call_as(&bench, ANN, "CreateGrant", on).is_ok(), allowed, "{own} {given}");
    }
}

/// Law: an alias is moved and removed only by who may do so with the key that it points to.
#[test]
fn aliases_of_others_cannot_be_taken() {
    let bench = Bench::new();
    let theirs = key_with(&bench, &[]);
    bench.call("CreateAlias", json!({"AliasName": "alias/x", "TargetKeyId": theirs})).unwrap();
    let own = bench.new_key();
    let take = json!({"AliasName": "alias/x", "TargetKeyId": own.as_str()});
    assert!(is_denied(call_as(&bench, ANN, "UpdateAlias", take.clone())));
    assert!(is_denied(call_as(&bench, ANN, "DeleteAlias", json!({"AliasName": "alias/x"}))));
    bench.call("UpdateAlias", take).unwrap();
    call_as(&bench, ANN, "DeleteAlias", json!({"AliasName": "alias/x"})).unwrap();
}

/// Law: a Deny of the key policy holds for RetireGrant too.
#[test]
fn deny_wins_over_the_right_to_retire() {
    let bench = Bench::new();
    let deny = statement("Deny", json!({"AWS": ANN}), json!("kms:RetireGrant"));
    let key = key_with(&bench, &[deny]);
    let grant = json!({"KeyId": key, "GranteePrincipal": BOB, "Operations": ["Encrypt"],
        "RetiringPrincipal": ANN});
    let made = bench.call("CreateGrant", grant).unwrap();
    let retire = json!({"GrantToken": made["GrantToken"]});
    assert!(is_denied(call_as(&bench, ANN, "RetireGrant", retire)));
}

/// Law: the filesystem is a principal like another.
#[test]
fn a_policy_can_keep_the_filesystem_out() {
    let bench = Bench::new();
    let service = json!({"Service": Principal::FILESYSTEM});
    let key = key_with(&bench, &[]);
    let ask = || bench.kms.as_service().generate_data_key(&KeyRef::new(&key), &bench::none());
    assert!(matches!(ask(), Err(KmsError::AccessDenied { .. })));
    let mut via = statement("Allow", json!({"AWS": "*"}), json!("kms:GenerateDataKey"));
    via["Condition"] = json!({"StringEquals": {"kms:ViaService": Principal::FILESYSTEM,
        "kms:CallerAccount": "000000000000"}});
    for allow in [statement("Allow", service, json!("kms:GenerateDataKey")), via] {
        let policy = json!({"Statement": [allow]}).to_string();
        let put = json!({"KeyId": key, "Policy": policy, "BypassPolicyLockoutSafetyCheck": true});
        let _answer = bench.call("PutKeyPolicy", put);
        let other = bench
            .call("CreateKey", json!({"Policy": policy, "BypassPolicyLockoutSafetyCheck": true}))
            .unwrap();
        let other = KeyRef::new(other["KeyMetadata"]["KeyId"].as_str().unwrap());
        assert!(bench.kms.as_service().generate_data_key(&other, &bench::none()).is_ok());
    }
}

const SESSION: &str = "arn:aws:sts::000000000000:assumed-role/Admin/ann";

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

/// Law: a key policy and a grant that name a role mean its sessions.
#[test]
fn sessions_act_for_their_role() {
    let bench = Bench::new();
    let role = "arn:aws:iam::000000000000:role/path/Admin";
    let key = key_with(&bench, &[statement("Allow", json!({"AWS": role}), json!("kms:Encrypt"))]);
    let blob = encrypt(&bench, SESSION, &key, json!({})).unwrap()["CiphertextBlob"].clone();
    let decrypt = || call_as(&bench, SESSION, "Decrypt", json!({"CiphertextBlob": blob}));
    assert!(is_denied(decrypt()));
    let grant = json!({"KeyId": key, "GranteePrincipal": role, "Operations": ["Decrypt"]});
    bench.call("CreateGrant", grant).unwrap();
    assert!(decrypt().is_ok());
    let other = "arn:aws:sts::000000000000:assumed-role/Other/ann";
    assert!(is_denied(encrypt(&bench, other, &key, json!({}))));
}

/// Law: a grant token is checked, and a good one changes nothing: grants are in force at once.
#[test]
fn grant_tokens_are_those_of_grants() {
    let bench = Bench::new();
    let key = key_with(&bench, &[]);
    let grant = json!({"KeyId": key, "GranteePrincipal": ANN, "Operations": ["Encrypt"]});
    let made = bench.call("CreateGrant", grant).unwrap();
    let encrypt = |who: &str, tokens: Value| {
        let input = json!({"KeyId": key, "Plaintext": "AAAA", "GrantTokens": tokens});
        call_as(&bench, who, "Encrypt", input)
    };
    let token = made["GrantToken"].clone();
    assert!(encrypt(ANN, json!([token])).is_ok());
    assert!(is_denied(encrypt(BOB, json!([token]))));
    for tokens in [json!(["AAAA"]), json!([token, "not base64"])] {
        assert_eq!(refusal(encrypt(ANN, tokens)).0, "InvalidGrantTokenException");
    }
    assert_eq!(refusal(encrypt(ANN, json!([""]))).0, "ValidationException");
    assert_eq!(refusal(encrypt(ANN, json!(vec!["a"; 11]))).0, "ValidationException");
    bench.call("RevokeGrant", json!({"KeyId": key, "GrantId": made["GrantId"]})).unwrap();
    assert_eq!(refusal(encrypt(ANN, json!([token]))).0, "InvalidGrantTokenException");
}

/// Law: who has an identity policy may do, where the key policy leaves it to the account, what it
/// allows, and nothing that it denies.
#[test]
fn identity_policies_count_where_the_account_is_allowed() {
    let bench = Bench::new();
    let key = bench.new_key();
    let direct = key_with(&bench, &[statement("Allow", json!({"AWS": ANN}), json!("kms:Encrypt"))]);
    let ann = |statements: Value| {
        let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        Principal::from_arn(ANN).unwrap().with_policy(IdentityPolicy::parse(&policy).unwrap())
    };
    let call = |who: &Principal, operation: &str, input: Value| {
        wire::call(&bench.kms, who, operation, &input)
    };
    let encrypt = |who, key: &str| call(who, "Encrypt", json!({"KeyId": key, "Plaintext": "AAAA"}));
    let nothing = ann(json!([]));
    let words = refusal(encrypt(&nothing, key.as_str())).1;
    assert!(words.ends_with("because no identity-based policy allows the kms:Encrypt action"));
    // The key policy names her: that is enough.
    assert!(encrypt(&nothing, &direct).is_ok());
    for operation in ["CreateKey", "ListKeys", "ListAliases"] {
        assert!(is_denied(call(&nothing, operation, json!({}))), "{operation}");
    }
    assert!(is_denied(call(&nothing, "GenerateRandom", json!({"NumberOfBytes": 1}))));

    let some = ann(json!([
        {"Effect": "Allow", "Action": ["kms:Encrypt", "kms:List*"], "Resource": "*"},
        {"Effect": "Allow", "Action": "kms:*Alias", "Resource":
            ["arn:aws:kms:*:*:alias/${aws:username}/*", key.as_str()]},
        {"Effect": "Deny", "Action": "kms:Encrypt", "Resource": "*",
            "Condition": {"StringEquals": {"kms:EncryptionContext:secret": "yes"}}},
    ]));
    assert!(encrypt(&some, key.as_str()).is_ok());
    assert!(call(&some, "ListKeys", json!({})).is_ok());
    assert!(is_denied(call(&some, "DescribeKey", json!({"KeyId": key.as_str()}))));
    let secret =
        json!({"KeyId": direct, "Plaintext": "AAAA", "EncryptionContext": {"secret": "yes"}});
    let words = refusal(call(&some, "Encrypt", secret)).1;
    assert!(words.ends_with("with an explicit deny in an identity-based policy"), "{words}");
    let alias = |name: &str| json!({"AliasName": name, "TargetKeyId": key.as_str()});
    assert!(call(&some, "CreateAlias", alias("alias/ann/x")).is_ok());
    assert!(is_denied(call(&some, "CreateAlias", alias("alias/bob/x"))));
    assert!(call(&some, "DeleteAlias", json!({"AliasName": "alias/ann/x"})).is_ok());
    // Without one: all that the account may.
    assert!(call_as(&bench, ANN, "DescribeKey", json!({"KeyId": key.as_str()})).is_ok());
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

/// Law: the policy of a service's key is the one that decides: its service uses it, the account looks.
#[test]
fn keys_of_services_are_used_through_them() {
    let bench = Bench::new();
    let described = bench.call("DescribeKey", json!({"KeyId": "alias/aws/fs"})).unwrap();
    let key = described["KeyMetadata"]["KeyId"].clone();
    let shown = bench.call("GetKeyPolicy", json!({"KeyId": key})).unwrap();
    let policy: Value = serde_json::from_str(shown["Policy"].as_str().unwrap()).unwrap();
    let through = &policy["Statement"][0]["Condition"]["StringEquals"];
    assert_eq!(through["kms:ViaService"], Principal::FILESYSTEM);
    assert_eq!(through["kms:CallerAccount"], "000000000000");
    let root = json!({"AWS": ROOT});
    assert_eq!(policy["Statement"][1]["Principal"], root);
    let filesystem = bench.kms.as_service();
    assert!(filesystem.generate_data_key(&KeyRef::new("alias/aws/fs"), &bench::none()).is_ok());
    for (operation, allowed) in
        [("GetKeyRotationStatus", true), ("ListResourceTags", true), ("DisableKey", false)]
    {
        let answer = bench.call(operation, json!({"KeyId": key}));
        assert_eq!(!is_denied(answer), allowed, "{operation}");
    }
    assert!(is_denied(encrypt(&bench, ROOT, "alias/aws/fs", json!({}))));
    // The same once the database is opened anew.
    let again =
        wire::call(&bench.open(), &bench.kms.owner(), "GetKeyPolicy", &json!({"KeyId": key}));
    assert_eq!(again.unwrap(), shown);
}
