//! Who may do what: key policies, identity policies and grants, as several principals meet them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;
#[path = "kms_access/conditions.rs"]
mod conditions;
#[path = "kms_access/grants.rs"]
mod grants;

use bench::Bench;
use kmsfs::kms::{IdentityPolicy, KeyRef, KmsError, Principal};
use kmsfs::wire;
use serde_json::{Value, json};

const ROOT: &str = "arn:aws:iam::000000000000:root";
const ANN: &str = "arn:aws:iam::000000000000:user/ann";
const BOB: &str = "arn:aws:iam::000000000000:user/bob";
const SESSION: &str = "arn:aws:sts::000000000000:assumed-role/Admin/ann";

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
    // To make a key with tags is to tag it, too.
    let tagged = json!({"Tags": [{"TagKey": "a", "TagValue": "b"}]});
    let create = |actions: Value| {
        let who = ann(json!([{"Effect": "Allow", "Action": actions, "Resource": "*"}]));
        call(&who, "CreateKey", tagged.clone())
    };
    assert!(is_denied(create(json!("kms:CreateKey"))));
    assert!(create(json!(["kms:CreateKey", "kms:TagResource"])).is_ok());
    // Without one: all that the account may.
    assert!(call_as(&bench, ANN, "DescribeKey", json!({"KeyId": key.as_str()})).is_ok());
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

/// Law: a policy is at most as long as AWS' quota says, by whatever door it comes.
#[test]
fn policies_have_a_quota() {
    let bench = Bench::new();
    let key = bench.new_key();
    let mut policy = json!({"Id": "", "Statement": statement("Allow", json!("*"), json!("kms:*"))});
    policy["Id"] = "x".repeat(32_768 - policy.to_string().len()).into();
    let put = |policy: &Value| {
        bench.call("PutKeyPolicy", json!({"KeyId": key.as_str(), "Policy": policy.to_string()}))
    };
    put(&policy).unwrap();
    policy["Id"] = format!("{}x", policy["Id"].as_str().unwrap()).into();
    assert_eq!(refusal(put(&policy)).0, "LimitExceededException");
    let create = bench.call("CreateKey", json!({"Policy": policy.to_string()}));
    assert_eq!(refusal(create).0, "LimitExceededException");
    let replicate = json!({"KeyId": key.as_str(), "ReplicaRegion": "eu-west-1",
        "Policy": "x".repeat(131_073)});
    assert_eq!(refusal(bench.call("ReplicateKey", replicate)).0, "ValidationException");
}
