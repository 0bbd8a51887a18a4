//! Grants: what they allow, to whom, and how they end.

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::{ANN, BOB, ROOT, SESSION, call_as, encrypt, is_denied, key_with, refusal, statement};

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
    let dry = |who: &str, operation: &str, input: &Value| {
        let mut input = input.clone();
        input["DryRun"] = json!(true);
        refusal(call_as(&bench, who, operation, input)).0
    };
    assert_eq!(dry(BOB, "RetireGrant", &by_token), "AccessDeniedException");
    assert_eq!(dry(ANN, "RetireGrant", &by_token), "DryRunOperationException");
    call_as(&bench, ANN, "RetireGrant", by_token.clone()).unwrap();
    assert_eq!(
        refusal(call_as(&bench, ANN, "RetireGrant", by_token)).0,
        "InvalidGrantTokenException"
    );
    let by_id = json!({"KeyId": arn, "GrantId": made[0]["GrantId"]});
    call_as(&bench, ANN, "RetireGrant", by_id).unwrap();
    let revoke = json!({"KeyId": key, "GrantId": made[2]["GrantId"]});
    assert!(is_denied(call_as(&bench, BOB, "RevokeGrant", revoke.clone())));
    assert_eq!(dry(BOB, "RevokeGrant", &revoke), "AccessDeniedException");
    assert_eq!(dry(ROOT, "RevokeGrant", &revoke), "DryRunOperationException");
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
