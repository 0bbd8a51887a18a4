//! Material from outside: wrapped by another implementation, imported, expired, deleted, imported again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;
#[path = "common/counterpart.rs"]
mod counterpart;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bench::Bench;
use counterpart::counterpart;
use kmsfs::kms::KmsError;
use serde_json::{Value, json};

const SECRET: [u8; 32] = [0x5a; 32];

fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn new_external(bench: &Bench, spec: &str, usage: &str) -> String {
    let input = json!({"Origin": "EXTERNAL", "KeySpec": spec, "KeyUsage": usage});
    let made = bench.call("CreateKey", input).unwrap()["KeyMetadata"].clone();
    assert_eq!((&made["KeyState"], &made["Enabled"]), (&json!("PendingImport"), &json!(false)));
    made["KeyId"].as_str().unwrap().to_owned()
}

fn refusal(answer: Result<Value, KmsError>) -> &'static str {
    answer.unwrap_err().exception()
}

/// A request of ImportKeyMaterial without a date; `None` where the other implementation is missing.
fn wrapped(bench: &Bench, key: &str, how: &str, spec: &str, material: &[u8]) -> Option<Value> {
    let parameters = bench
        .call(
            "GetParametersForImport",
            json!({"KeyId": key, "WrappingAlgorithm": how, "WrappingKeySpec": spec}),
        )
        .unwrap();
    let task = json!({"do": "wrap", "public": parameters["PublicKey"], "algorithm": how,
        "material": b64(material)});
    let answer = counterpart(&[task])?;
    Some(json!({"KeyId": key, "ImportToken": parameters["ImportToken"],
        "EncryptedKeyMaterial": answer[0]["wrapped"],
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}))
}

fn state(bench: &Bench, key: &str) -> String {
    let described = bench.call("DescribeKey", json!({"KeyId": key})).unwrap();
    described["KeyMetadata"]["KeyState"].as_str().unwrap().to_owned()
}

fn encrypt(bench: &Bench, key: &str) -> Result<Value, KmsError> {
    bench.call("Encrypt", json!({"KeyId": key, "Plaintext": "AAAA"}))
}

/// Law: every way of wrapping brings in the same material.
#[test]
fn material_wrapped_elsewhere_comes_in() {
    let bench = Bench::new();
    let mut ids = Vec::new();
    let key = new_external(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    assert_eq!(refusal(encrypt(&bench, &key)), "KMSInvalidStateException");
    for (how, spec) in [
        ("RSAES_OAEP_SHA_1", "RSA_2048"),
        ("RSAES_OAEP_SHA_256", "RSA_2048"),
        ("RSA_AES_KEY_WRAP_SHA_1", "RSA_3072"),
        ("RSA_AES_KEY_WRAP_SHA_256", "RSA_2048"),
    ] {
        let Some(request) = wrapped(&bench, &key, how, spec, &SECRET) else { return };
        let answer = bench.call("ImportKeyMaterial", request).unwrap();
        ids.push(answer["KeyMaterialId"].clone());
        assert_eq!(state(&bench, &key), "Enabled");
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "one material, one id");
    assert!(encrypt(&bench, &key).is_ok());
    let metadata = bench.call("DescribeKey", json!({"KeyId": key})).unwrap()["KeyMetadata"].clone();
    assert_eq!(metadata["Origin"], "EXTERNAL");
    assert_eq!(metadata["ExpirationModel"], "KEY_MATERIAL_DOES_NOT_EXPIRE");
    assert_eq!(metadata["CurrentKeyMaterialId"], ids[0]);
    let refused = |operation| refusal(bench.call(operation, json!({"KeyId": key})));
    assert_eq!(refused("EnableKeyRotation"), "UnsupportedOperationException");
    assert_eq!(refused("RotateKeyOnDemand"), "KMSInvalidStateException");
}

/// Law: deleted material makes blobs unreadable, the same material makes them readable again, and no
/// other material is taken.
#[test]
fn only_the_same_material_comes_back() {
    let bench = Bench::new();
    let key = new_external(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let import = |material: &[u8]| {
        let request = wrapped(&bench, &key, "RSAES_OAEP_SHA_256", "RSA_2048", material)?;
        Some(bench.call("ImportKeyMaterial", request))
    };
    let Some(imported) = import(&SECRET) else { return };
    imported.unwrap();
    let blob = encrypt(&bench, &key).unwrap()["CiphertextBlob"].clone();
    let decrypt = || bench.call("Decrypt", json!({"CiphertextBlob": blob}));
    bench.call("DeleteImportedKeyMaterial", json!({"KeyId": key})).unwrap();
    assert_eq!(state(&bench, &key), "PendingImport");
    assert_eq!(refusal(decrypt()), "KMSInvalidStateException");
    // Without effect the second time.
    bench.call("DeleteImportedKeyMaterial", json!({"KeyId": key})).unwrap();
    assert_eq!(refusal(import(&[0x5b; 32]).unwrap()), "IncorrectKeyMaterialException");
    assert_eq!(refusal(import(&[0x5a; 31]).unwrap()), "IncorrectKeyMaterialException");
    import(&SECRET).unwrap().unwrap();
    assert_eq!(decrypt().unwrap()["Plaintext"], "AAAA");
    // The same bytes in another key open nothing of the first.
    let other = new_external(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let request = wrapped(&bench, &other, "RSAES_OAEP_SHA_256", "RSA_2048", &SECRET).unwrap();
    bench.call("ImportKeyMaterial", request).unwrap();
    let refused = bench.call("Decrypt", json!({"CiphertextBlob": blob, "KeyId": other}));
    assert_eq!(refusal(refused), "IncorrectKeyException");
}

/// Law: expired material is destroyed, and can be imported again.
#[test]
fn material_expires_on_the_clock() {
    let bench = Bench::new();
    let key = new_external(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let import = |valid_to: u64| {
        let mut request = wrapped(&bench, &key, "RSAES_OAEP_SHA_256", "RSA_2048", &SECRET)?;
        request["ExpirationModel"] = json!("KEY_MATERIAL_EXPIRES");
        request["ValidTo"] = json!(valid_to);
        Some(bench.call("ImportKeyMaterial", request))
    };
    const START: u64 = 1_700_000_000;
    let day = 86_400;
    let Some(past) = import(START) else { return };
    assert_eq!(refusal(past), "ValidationException");
    assert_eq!(refusal(import(START + 366 * day).unwrap()), "ValidationException");
    import(START + 10 * day).unwrap().unwrap();
    let described =
        || bench.call("DescribeKey", json!({"KeyId": key})).unwrap()["KeyMetadata"].clone();
    assert_eq!(described()["ValidTo"], START + 10 * day);
    assert_eq!(described()["ExpirationModel"], "KEY_MATERIAL_EXPIRES");
    bench.days(9);
    bench.tick();
    assert_eq!(state(&bench, &key), "Enabled");
    bench.days(1);
    bench.tick();
    assert_eq!(state(&bench, &key), "PendingImport");
    assert!(described().get("ValidTo").is_none());
    import(START + 20 * day).unwrap().unwrap();
    assert_eq!(state(&bench, &key), "Enabled");
}

#[test]
fn what_is_no_import_is_refused() {
    let bench = Bench::new();
    let ours = bench.new_key();
    let parameters = |key: &str, how: &str| {
        bench.call(
            "GetParametersForImport",
            json!({"KeyId": key, "WrappingAlgorithm": how, "WrappingKeySpec": "RSA_2048"}),
        )
    };
    assert_eq!(
        refusal(parameters(ours.as_str(), "RSAES_OAEP_SHA_256")),
        "UnsupportedOperationException"
    );
    let key = new_external(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    assert_eq!(refusal(parameters(&key, "RSAES_PKCS1_V1_5")), "UnsupportedOperationException");
    let other = new_external(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let Some(request) = wrapped(&bench, &key, "RSAES_OAEP_SHA_256", "RSA_2048", &SECRET) else {
        return;
    };
    let with = |name: &str, value: Value| {
        let mut request = request.clone();
        request[name] = value;
        refusal(bench.call("ImportKeyMaterial", request))
    };
    assert_eq!(with("KeyId", json!(other)), "InvalidImportTokenException");
    assert_eq!(with("ImportToken", json!(b64(b"token"))), "InvalidImportTokenException");
    assert_eq!(with("EncryptedKeyMaterial", json!(b64(&[1; 256]))), "InvalidCiphertextException");
    assert_eq!(with("ExpirationModel", json!("KEY_MATERIAL_EXPIRES")), "ValidationException");
    assert_eq!(with("ValidTo", json!(1_700_000_001)), "ValidationException");
    assert_eq!(with("ImportType", json!("SOME_KEY_MATERIAL")), "ValidationException");
    assert_eq!(with("KeyMaterialId", json!("xyz")), "ValidationException");
    assert_eq!(with("KeyMaterialId", json!("0".repeat(64))), "IncorrectKeyMaterialException");
    bench.days(1);
    assert_eq!(refusal(bench.call("ImportKeyMaterial", request)), "ExpiredImportTokenException");
}

/// A request of ImportKeyMaterial for material that is new to its key.
fn wrapped_new(bench: &Bench, key: &str, material: &[u8]) -> Option<Value> {
    let mut request = wrapped(bench, key, "RSAES_OAEP_SHA_256", "RSA_2048", material)?;
    request["ImportType"] = json!("NEW_KEY_MATERIAL");
    Some(request)
}

fn rotations(bench: &Bench, key: &str) -> Vec<(String, String, String)> {
    let input = json!({"KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"});
    let listed = bench.call("ListKeyRotations", input).unwrap()["Rotations"].clone();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let entry = |e| (text(e, "KeyMaterialId"), text(e, "KeyMaterialState"), text(e, "ImportState"));
    listed.as_array().unwrap().iter().map(entry).collect()
}

/// Law: a second material waits until a rotation on demand makes it the current one, and what the
/// first has sealed still opens.
#[test]
fn a_second_material_waits_for_its_rotation() {
    let bench = Bench::new();
    let key = new_external(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let import = |material: &[u8]| {
        let request = wrapped_new(&bench, &key, material)?;
        Some(bench.call("ImportKeyMaterial", request))
    };
    let Some(first) = import(&SECRET) else { return };
    let id = |answer: Value| answer["KeyMaterialId"].as_str().unwrap().to_owned();
    let first = id(first.unwrap());
    let old = encrypt(&bench, &key).unwrap()["CiphertextBlob"].clone();
    let second = id(import(&[0x5b; 32]).unwrap().unwrap());
    assert_ne!(first, second);
    let state =
        |id: &str, state: &str, import: &str| (id.to_owned(), state.to_owned(), import.to_owned());
    assert_eq!(
        rotations(&bench, &key),
        [state(&first, "CURRENT", "IMPORTED"), state(&second, "PENDING_ROTATION", "IMPORTED")]
    );
    let message = import(&[0x5c; 32]).unwrap().unwrap_err();
    assert_eq!(message.exception(), "KMSInvalidStateException");
    assert!(message.to_string().contains(&format!("(id: {second}) is pending rotation.")));
    let current = || {
        let described = bench.call("DescribeKey", json!({"KeyId": key})).unwrap();
        described["KeyMetadata"]["CurrentKeyMaterialId"].as_str().unwrap().to_owned()
    };
    assert_eq!(current(), first);
    bench.call("RotateKeyOnDemand", json!({"KeyId": key})).unwrap();
    assert_eq!(current(), second);
    let refused = bench.call("RotateKeyOnDemand", json!({"KeyId": key})).unwrap_err();
    assert!(refused.to_string().starts_with("No available key material pending rotation"));
    let new = encrypt(&bench, &key).unwrap()["CiphertextBlob"].clone();
    let decrypt = |blob: &Value| bench.call("Decrypt", json!({"CiphertextBlob": blob}));
    assert_eq!(decrypt(&old).unwrap()["KeyMaterialId"], json!(first));
    assert_eq!(decrypt(&new).unwrap()["KeyMaterialId"], json!(second));

    // Both must be there, whichever is missing.
    for gone in [&first, &second] {
        let input = json!({"KeyId": key, "KeyMaterialId": gone});
        assert_eq!(
            bench.call("DeleteImportedKeyMaterial", input).unwrap()["KeyMaterialId"],
            **gone
        );
        assert_eq!(refusal(decrypt(&new)), "KMSInvalidStateException");
        let material = if gone == &first { &SECRET } else { &[0x5b; 32] };
        let request = wrapped(&bench, &key, "RSAES_OAEP_SHA_256", "RSA_2048", material).unwrap();
        bench.call("ImportKeyMaterial", request).unwrap();
        assert_eq!(
            (
                decrypt(&old).unwrap()["Plaintext"].clone(),
                decrypt(&new).unwrap()["Plaintext"].clone()
            ),
            (json!("AAAA"), json!("AAAA"))
        );
    }
    assert_eq!(
        rotations(&bench, &key),
        [state(&first, "NON_CURRENT", "IMPORTED"), state(&second, "CURRENT", "IMPORTED")]
    );
    // All of it outlives the process.
    let again = bench.open();
    let input = json!({"KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"});
    let listed = |kms: &kmsfs::kms::Kms| {
        kmsfs::wire::call(kms, &kms.owner(), "ListKeyRotations", &input).unwrap()
    };
    assert_eq!(listed(&again), listed(&bench.kms));
}

/// Law: material that waits for its rotation and is deleted is forgotten.
#[test]
fn a_pending_material_can_be_taken_back() {
    let bench = Bench::new();
    let key = new_external(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let Some(request) = wrapped_new(&bench, &key, &SECRET) else { return };
    bench.call("ImportKeyMaterial", request).unwrap();
    let mut request = wrapped_new(&bench, &key, &[1; 32]).unwrap();
    request["KeyMaterialDescription"] = json!("of the vault");
    let pending = bench.call("ImportKeyMaterial", request).unwrap()["KeyMaterialId"].clone();
    assert_eq!(rotations(&bench, &key).len(), 2);
    bench
        .call("DeleteImportedKeyMaterial", json!({"KeyId": key, "KeyMaterialId": pending}))
        .unwrap();
    assert_eq!(state(&bench, &key), "Enabled");
    assert_eq!(rotations(&bench, &key).len(), 1);
    let request = wrapped_new(&bench, &key, &[2; 32]).unwrap();
    bench.call("ImportKeyMaterial", request).unwrap();
    let input = json!({"KeyId": key, "KeyMaterialId": "0".repeat(64)});
    assert_eq!(refusal(bench.call("DeleteImportedKeyMaterial", input)), "NotFoundException");
}

/// Law: only symmetric keys have a second material.
#[test]
fn other_keys_have_one_material() {
    let bench = Bench::new();
    let key = new_external(&bench, "HMAC_256", "GENERATE_VERIFY_MAC");
    let Some(request) = wrapped_new(&bench, &key, &[1; 32]) else { return };
    bench.call("ImportKeyMaterial", request).unwrap();
    let request = wrapped_new(&bench, &key, &[2; 32]).unwrap();
    assert_eq!(refusal(bench.call("ImportKeyMaterial", request)), "UnsupportedOperationException");
    let refused = bench.call("RotateKeyOnDemand", json!({"KeyId": key}));
    assert_eq!(refusal(refused), "UnsupportedOperationException");
}

/// Law: a cancelled deletion of a key without material leaves it waiting for material.
#[test]
fn deletion_and_cancel_know_of_missing_material() {
    let bench = Bench::new();
    let key = new_external(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    bench.call("ScheduleKeyDeletion", json!({"KeyId": key})).unwrap();
    bench.call("CancelKeyDeletion", json!({"KeyId": key})).unwrap();
    assert_eq!(state(&bench, &key), "PendingImport");
    assert_eq!(refusal(bench.call("EnableKey", json!({"KeyId": key}))), "KMSInvalidStateException");
}

/// Law: private keys and HMAC keys come in too, and do what they did elsewhere.
#[test]
fn other_kinds_of_material_come_in() {
    let bench = Bench::new();
    let message = b64(b"message");
    for (spec, algorithm) in
        [("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256"), ("ECC_NIST_P256", "ECDSA_SHA_256")]
    {
        let Some(made) =
            counterpart(&[json!({"do": "private_key", "spec": spec, "message": message})])
        else {
            return;
        };
        let private = STANDARD.decode(made[0]["private"].as_str().unwrap()).unwrap();
        let key = new_external(&bench, spec, "SIGN_VERIFY");
        let request =
            wrapped(&bench, &key, "RSA_AES_KEY_WRAP_SHA_256", "RSA_4096", &private).unwrap();
        bench.call("ImportKeyMaterial", request).unwrap();
        let verified = bench.call(
            "Verify",
            json!({"KeyId": key, "Message": message,
            "SigningAlgorithm": algorithm, "Signature": made[0]["signature"]}),
        );
        assert_eq!(verified.unwrap()["SignatureValid"], true, "{spec}");
    }
    // RFC 4231, test case 2.
    let key = new_external(&bench, "HMAC_256", "GENERATE_VERIFY_MAC");
    let material = [&b"Jefe"[..], &[0; 28]].concat();
    let request = wrapped(&bench, &key, "RSAES_OAEP_SHA_256", "RSA_2048", &material).unwrap();
    bench.call("ImportKeyMaterial", request).unwrap();
    let made = bench.call(
        "GenerateMac",
        json!({"KeyId": key, "MacAlgorithm": "HMAC_SHA_256",
        "Message": b64(b"what do ya want for nothing?")}),
    );
    let mac = STANDARD.decode(made.unwrap()["Mac"].as_str().unwrap()).unwrap();
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(kmsfs::codec::hex(&mac), expected);
}

/// Law: destroyed material is gone from the database file, also in its sealed form.
#[test]
fn destroyed_material_is_overwritten() {
    let bench = Bench::new();
    let key = new_external(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let Some(request) = wrapped(&bench, &key, "RSAES_OAEP_SHA_256", "RSA_2048", &SECRET) else {
        return;
    };
    let before = std::fs::read(bench.database()).unwrap();
    bench.call("ImportKeyMaterial", request).unwrap();
    // The row's name stands next to its sealed bytes.
    let row = format!("{key}/");
    let held = std::fs::read(bench.database()).unwrap();
    let at = held.windows(row.len()).rposition(|part| part == row.as_bytes()).unwrap();
    let sealed = held[at + row.len() + 64..][..120].to_vec();
    assert!(!before.windows(sealed.len()).any(|part| part == sealed));
    bench.call("DeleteImportedKeyMaterial", json!({"KeyId": key})).unwrap();
    let after = std::fs::read(bench.database()).unwrap();
    assert!(!after.windows(40).any(|part| part == &sealed[40..80]), "sealed bytes are left");
    assert!(!after.windows(row.len()).any(|part| part == row.as_bytes()));
}

/// Law: fingerprint and expiry outlive the process.
#[test]
fn an_import_outlives_the_process() {
    let bench = Bench::new();
    let key = new_external(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let Some(request) = wrapped(&bench, &key, "RSAES_OAEP_SHA_256", "RSA_2048", &SECRET) else {
        return;
    };
    bench.call("ImportKeyMaterial", request).unwrap();
    let described = bench.call("DescribeKey", json!({"KeyId": key})).unwrap();
    let again = bench.open();
    let call = |operation, input| kmsfs::wire::call(&again, &again.owner(), operation, &input);
    assert_eq!(call("DescribeKey", json!({"KeyId": key})).unwrap(), described);
    call("DeleteImportedKeyMaterial", json!({"KeyId": key})).unwrap();
    let other = wrapped(&bench, &key, "RSAES_OAEP_SHA_256", "RSA_2048", &[1; 32]).unwrap();
    let refused = call("ImportKeyMaterial", other);
    assert_eq!(refusal(refused), "IncorrectKeyMaterialException");
}
