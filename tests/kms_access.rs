//! Who may do what: key policies and grants, as several principals meet them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;

use bench::Bench;
use kmsfs::kms::{KeyRef, KmsError, Principal};
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
