//! Keys of every spec: what they do is checked by another implementation (`testdata/counterpart.py`),
//! and what they refuse has AWS' words.
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

const MESSAGE: &[u8] = b"a message of some length";

fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn new_key(bench: &Bench, spec: &str, usage: &str) -> String {
    let made = bench.call("CreateKey", json!({"KeySpec": spec, "KeyUsage": usage})).unwrap();
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

fn public_key(bench: &Bench, key: &str) -> Value {
    bench.call("GetPublicKey", json!({"KeyId": key})).unwrap()["PublicKey"].clone()
}

fn refusal(answer: Result<Value, KmsError>) -> (&'static str, String) {
    let error = answer.unwrap_err();
    (error.exception(), error.to_string())
}

const SIGNING: &[(&str, &[&str])] = &[
    (
        "RSA_2048",
        &[
            "RSASSA_PSS_SHA_256",
            "RSASSA_PSS_SHA_384",
            "RSASSA_PSS_SHA_512",
            "RSASSA_PKCS1_V1_5_SHA_256",
            "RSASSA_PKCS1_V1_5_SHA_384",
            "RSASSA_PKCS1_V1_5_SHA_512",
        ],
    ),
    ("RSA_3072", &["RSASSA_PSS_SHA_384"]),
    ("ECC_NIST_P256", &["ECDSA_SHA_256"]),
    ("ECC_NIST_P384", &["ECDSA_SHA_384"]),
    ("ECC_NIST_P521", &["ECDSA_SHA_512"]),
    ("ECC_SECG_P256K1", &["ECDSA_SHA_256"]),
];

/// Law: what we sign, another library verifies, message and digest; and we verify it too.
#[test]
fn signatures_verify_elsewhere() {
    let bench = Bench::new();
    let mut tasks = Vec::new();
    for (spec, algorithms) in SIGNING {
        let key = new_key(&bench, spec, "SIGN_VERIFY");
        let public = public_key(&bench, &key);
        for algorithm in *algorithms {
            let bits = algorithm.rsplit('_').next().unwrap();
            let digest =
                counterpart(&[json!({"do": "digest", "bits": bits, "message": b64(MESSAGE)})]);
            let Some(digest) = digest else { return };
            for (kind, message) in
                [("RAW", json!(b64(MESSAGE))), ("DIGEST", digest[0]["digest"].clone())]
            {
                let mut request = json!({"KeyId": key, "Message": message, "MessageType": kind,
                    "SigningAlgorithm": algorithm});
                let signed = bench.call("Sign", request.clone()).unwrap();
                request["Signature"] = signed["Signature"].clone();
                assert_eq!(bench.call("Verify", request).unwrap()["SignatureValid"], true);
                tasks.push(json!({"do": "verify", "spec": spec, "public": public,
                    "algorithm": algorithm, "message": message, "digest": kind == "DIGEST",
                    "signature": signed["Signature"]}));
            }
        }
    }
    let key = new_key(&bench, "ECC_NIST_EDWARDS25519", "SIGN_VERIFY");
    let signed = bench.call(
        "Sign",
        json!({"KeyId": key, "Message": b64(MESSAGE),
        "SigningAlgorithm": "ED25519_SHA_512"}),
    );
    tasks.push(json!({"do": "verify", "public": public_key(&bench, &key), "algorithm": "",
        "message": b64(MESSAGE), "digest": false, "signature": signed.unwrap()["Signature"]}));
    counterpart(&tasks);
}

/// Law: FIPS 204: a signature over mu is one over the message that mu stands for, and the other way
/// round.
#[test]
fn mu_of_ml_dsa_stands_for_its_message() {
    let bench = Bench::new();
    for spec in ["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"] {
        let key = new_key(&bench, spec, "SIGN_VERIFY");
        let public = public_key(&bench, &key);
        let mu = json!({"do": "mu", "public": public, "message": b64(MESSAGE)});
        let Some(answers) = counterpart(&[mu]) else { return };
        let request = |kind: &str| {
            let message =
                if kind == "RAW" { json!(b64(MESSAGE)) } else { answers[0]["mu"].clone() };
            json!({"KeyId": key, "Message": message, "MessageType": kind,
                "SigningAlgorithm": "ML_DSA_SHAKE_256"})
        };
        for (signing, verifying) in [("EXTERNAL_MU", "RAW"), ("RAW", "EXTERNAL_MU")] {
            let signed = bench.call("Sign", request(signing)).unwrap();
            counterpart(&[json!({"do": "verify", "public": public, "algorithm": "",
                "message": b64(MESSAGE), "digest": false, "signature": signed["Signature"]})]);
            for kind in [signing, verifying] {
                let mut verify = request(kind);
                verify["Signature"] = signed["Signature"].clone();
                assert_eq!(bench.call("Verify", verify).unwrap()["SignatureValid"], true);
            }
        }
        for len in [63, 65] {
            let mut wrong = request("EXTERNAL_MU");
            wrong["Message"] = json!(b64(&vec![0; len]));
            assert_eq!(refusal(bench.call("Sign", wrong)).0, "ValidationException");
        }
    }
    let key = new_key(&bench, "ECC_NIST_EDWARDS25519", "SIGN_VERIFY");
    let refused = bench.call(
        "Sign",
        json!({"KeyId": key, "Message": b64(&[0; 64]), "MessageType": "EXTERNAL_MU",
            "SigningAlgorithm": "ED25519_SHA_512"}),
    );
    assert_eq!(refusal(refused).0, "ValidationException");
}

/// Law: a signature of another message, another key, or changed in a bit is none, and no word says why.
#[test]
fn what_is_no_signature_is_refused_without_a_word() {
    let bench = Bench::new();
    let kinds = [
        ("RSA_2048", "RSASSA_PSS_SHA_256", "RAW"),
        ("ECC_NIST_P256", "ECDSA_SHA_256", "RAW"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "RAW"),
        ("ECC_NIST_EDWARDS25519", "ED25519_PH_SHA_512", "DIGEST"),
        ("ML_DSA_44", "ML_DSA_SHAKE_256", "RAW"),
        ("ML_DSA_65", "ML_DSA_SHAKE_256", "RAW"),
        ("ML_DSA_87", "ML_DSA_SHAKE_256", "RAW"),
        ("ML_DSA_44", "ML_DSA_SHAKE_256", "EXTERNAL_MU"),
        ("ML_DSA_65", "ML_DSA_SHAKE_256", "EXTERNAL_MU"),
        ("ML_DSA_87", "ML_DSA_SHAKE_256", "EXTERNAL_MU"),
    ];
    for (spec, algorithm, kind) in kinds {
        let (key, other) =
            (new_key(&bench, spec, "SIGN_VERIFY"), new_key(&bench, spec, "SIGN_VERIFY"));
        let request = |key: &str, message: &[u8]| {
            json!({"KeyId": key, "Message": b64(message), "MessageType": kind,
                "SigningAlgorithm": algorithm})
        };
        let signed = bench.call("Sign", request(&key, &[7; 64])).unwrap();
        let bytes = STANDARD.decode(signed["Signature"].as_str().unwrap()).unwrap();
        let verify = |key: &str, message: &[u8], signature: &[u8]| {
            let mut request = request(key, message);
            request["Signature"] = json!(b64(signature));
            bench.call("Verify", request)
        };
        assert_eq!(verify(&key, &[7; 64], &bytes).unwrap()["SignatureValid"], true);
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        for refused in [
            verify(&key, &[8; 64], &bytes),
            verify(&other, &[7; 64], &bytes),
            verify(&key, &[7; 64], &changed),
            verify(&key, &[7; 64], &bytes[1..]),
        ] {
            let expected = ("KMSInvalidSignatureException", String::new());
            assert_eq!(refusal(refused), expected, "{spec} {algorithm}");
        }
    }
}

/// Law: what another library encrypts to our public key, we decrypt; and what we encrypt too.
#[test]
fn rsa_ciphertexts_open() {
    let bench = Bench::new();
    let (mut tasks, mut keys) = (Vec::new(), Vec::new());
    for (spec, algorithm, max) in [
        ("RSA_2048", "RSAES_OAEP_SHA_1", 214),
        ("RSA_2048", "RSAES_OAEP_SHA_256", 190),
        ("RSA_3072", "RSAES_OAEP_SHA_256", 318),
    ] {
        let key = new_key(&bench, spec, "ENCRYPT_DECRYPT");
        let plain = |len| b64(&vec![9; len]);
        let request = json!({"KeyId": key, "EncryptionAlgorithm": algorithm});
        let encrypt = |len| {
            let mut request = request.clone();
            request["Plaintext"] = json!(plain(len));
            bench.call("Encrypt", request)
        };
        let words = format!(
            "Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {max} bytes."
        );
        assert_eq!(refusal(encrypt(max + 1)), ("ValidationException", words));
        let sealed = encrypt(max).unwrap();
        assert_eq!(sealed["EncryptionAlgorithm"], algorithm);
        let mut open = request.clone();
        open["CiphertextBlob"] = sealed["CiphertextBlob"].clone();
        assert_eq!(bench.call("Decrypt", open.clone()).unwrap()["Plaintext"], plain(max));
        open["EncryptionContext"] = json!({"a": "b"});
        assert_eq!(refusal(bench.call("Decrypt", open)).0, "ValidationException");
        tasks.push(json!({"do": "encrypt", "public": public_key(&bench, &key),
            "algorithm": algorithm, "plaintext": plain(max)}));
        keys.push((request, plain(max)));
    }
    let Some(answers) = counterpart(&tasks) else { return };
    for ((mut request, plain), answer) in keys.into_iter().zip(answers) {
        request["CiphertextBlob"] = answer["ciphertext"].clone();
        assert_eq!(bench.call("Decrypt", request.clone()).unwrap()["Plaintext"], plain);
        request["CiphertextBlob"] = json!(b64(&[1; 256]));
        let expected = ("InvalidCiphertextException", String::new());
        assert_eq!(refusal(bench.call("Decrypt", request.clone())), expected);
        request.as_object_mut().unwrap().remove("KeyId");
        assert_eq!(refusal(bench.call("Decrypt", request)).0, "ValidationException");
    }
}

/// Law: ReEncrypt goes between kinds of keys, both ways.
#[test]
fn re_encrypt_goes_between_symmetric_and_rsa() {
    let bench = Bench::new();
    let symmetric = new_key(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let rsa = new_key(&bench, "RSA_2048", "ENCRYPT_DECRYPT");
    let plain = b64(b"secret");
    let sealed = bench.call("Encrypt", json!({"KeyId": symmetric, "Plaintext": plain})).unwrap();
    let there = bench.call(
        "ReEncrypt",
        json!({"CiphertextBlob": sealed["CiphertextBlob"],
        "DestinationKeyId": rsa, "DestinationEncryptionAlgorithm": "RSAES_OAEP_SHA_256"}),
    );
    let there = there.unwrap();
    assert_eq!(there["SourceEncryptionAlgorithm"], "SYMMETRIC_DEFAULT");
    assert_eq!(there["DestinationEncryptionAlgorithm"], "RSAES_OAEP_SHA_256");
    let back = bench.call(
        "ReEncrypt",
        json!({"CiphertextBlob": there["CiphertextBlob"],
        "SourceKeyId": rsa, "SourceEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
        "DestinationKeyId": symmetric}),
    );
    let blob = back.unwrap()["CiphertextBlob"].clone();
    let opened = bench.call("Decrypt", json!({"CiphertextBlob": blob})).unwrap();
    assert_eq!(opened["Plaintext"], plain);
}

/// Law: both sides of a key agreement hold the same secret.
#[test]
fn agreed_secrets_are_those_of_the_other_side() {
    let bench = Bench::new();
    let (mut tasks, mut keys) = (Vec::new(), Vec::new());
    for spec in ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"] {
        let key = new_key(&bench, spec, "KEY_AGREEMENT");
        tasks.push(json!({"do": "agree", "public": public_key(&bench, &key)}));
        keys.push(key);
    }
    let Some(answers) = counterpart(&tasks) else { return };
    let derive = |key: &str, public: &Value| {
        bench.call(
            "DeriveSharedSecret",
            json!({"KeyId": key, "KeyAgreementAlgorithm": "ECDH",
            "PublicKey": public}),
        )
    };
    for (key, answer) in keys.iter().zip(&answers) {
        let got = derive(key, &answer["public"]).unwrap();
        assert_eq!(got["SharedSecret"], answer["secret"]);
        assert_eq!(got["KeyOrigin"], "AWS_KMS");
    }
    let wrong_curve = derive(&keys[0], &answers[1]["public"]);
    assert_eq!(refusal(wrong_curve).0, "ValidationException");
}

/// Law: the bytes of a data key pair load elsewhere, and the sealed half opens to the bare one.
#[test]
fn data_key_pairs_load_elsewhere() {
    let bench = Bench::new();
    let key = new_key(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let mut tasks = Vec::new();
    for spec in [
        "RSA_2048",
        "ECC_NIST_P256",
        "ECC_NIST_P384",
        "ECC_NIST_P521",
        "ECC_SECG_P256K1",
        "ECC_NIST_EDWARDS25519",
        "ML_KEM_768",
        "ML_KEM_1024",
    ] {
        let request =
            json!({"KeyId": key, "KeyPairSpec": spec, "EncryptionContext": {"for": "tests"}});
        let made = bench.call("GenerateDataKeyPair", request.clone()).unwrap();
        let opened = bench.call(
            "Decrypt",
            json!({"EncryptionContext": {"for": "tests"},
            "CiphertextBlob": made["PrivateKeyCiphertextBlob"]}),
        );
        assert_eq!(opened.unwrap()["Plaintext"], made["PrivateKeyPlaintext"]);
        tasks.push(json!({"do": "pair", "spec": spec, "private": made["PrivateKeyPlaintext"],
            "public": made["PublicKey"]}));
        let sealed = bench.call("GenerateDataKeyPairWithoutPlaintext", request).unwrap();
        assert!(sealed.get("PrivateKeyPlaintext").is_none());
    }
    counterpart(&tasks);
    let hmac = new_key(&bench, "HMAC_256", "GENERATE_VERIFY_MAC");
    let refused =
        bench.call("GenerateDataKeyPair", json!({"KeyId": hmac, "KeyPairSpec": "RSA_2048"}));
    assert_eq!(refusal(refused).0, "InvalidKeyUsageException");
}

#[test]
fn codes_verify_and_only_the_right_ones() {
    let bench = Bench::new();
    for bits in ["224", "256", "384", "512"] {
        let key = new_key(&bench, &format!("HMAC_{bits}"), "GENERATE_VERIFY_MAC");
        let algorithm = format!("HMAC_SHA_{bits}");
        let request = |message: &[u8]| json!({"KeyId": key, "Message": b64(message), "MacAlgorithm": algorithm});
        let made = bench.call("GenerateMac", request(MESSAGE)).unwrap();
        let mac = STANDARD.decode(made["Mac"].as_str().unwrap()).unwrap();
        assert_eq!(mac.len() * 8, bits.parse::<usize>().unwrap());
        let verify = |message: &[u8], mac: &[u8]| {
            let mut request = request(message);
            request["Mac"] = json!(b64(mac));
            bench.call("VerifyMac", request)
        };
        assert_eq!(verify(MESSAGE, &mac).unwrap()["MacValid"], true);
        for refused in
            [verify(b"other", &mac), verify(MESSAGE, &mac[1..]), verify(MESSAGE, &[0; 32])]
        {
            assert_eq!(refusal(refused), ("KMSInvalidMacException", String::new()));
        }
        let mut wrong = request(MESSAGE);
        wrong["MacAlgorithm"] = json!(if bits == "512" { "HMAC_SHA_256" } else { "HMAC_SHA_512" });
        let (exception, words) = refusal(bench.call("GenerateMac", wrong));
        assert_eq!(exception, "InvalidKeyUsageException");
        assert!(words.ends_with(&format!("is incompatible with key spec HMAC_{bits}.")), "{words}");
    }
}

/// Law: FIPS 203: the secret comes back, changed bytes give another one, another length none.
#[test]
fn encapsulated_secrets_come_back() {
    let bench = Bench::new();
    for (spec, len) in [("ML_KEM_512", 768), ("ML_KEM_768", 1088), ("ML_KEM_1024", 1568)] {
        let key = new_key(&bench, spec, "ENCAPSULATE_DECAPSULATE");
        let with = json!({"KeyId": key, "EncapsulationAlgorithm": "ML_KEM"});
        let made = bench.call("Encapsulate", with.clone()).unwrap();
        let sealed = STANDARD.decode(made["SharedSecretCiphertextBlob"].as_str().unwrap()).unwrap();
        assert_eq!(sealed.len(), len);
        let open = |sealed: &[u8]| {
            let mut request = with.clone();
            request["SharedSecretCiphertextBlob"] = json!(b64(sealed));
            bench.call("Decapsulate", request)
        };
        assert_eq!(open(&sealed).unwrap()["SharedSecret"], made["SharedSecret"]);
        let mut changed = sealed.clone();
        changed[0] ^= 1;
        let other = open(&changed).unwrap();
        assert_ne!(other["SharedSecret"], made["SharedSecret"]);
        assert_eq!(open(&changed).unwrap(), other, "implicit rejection is deterministic");
        assert_eq!(refusal(open(&sealed[1..])), ("InvalidCiphertextException", String::new()));
        // 22 bytes of SubjectPublicKeyInfo before the encapsulation key (RFC 9935).
        let public = public_key(&bench, &key);
        let public = STANDARD.decode(public.as_str().unwrap()).unwrap();
        assert_eq!(public.len(), len_of_encapsulation_key(spec) + 22);
        // The other implementation has no ML-KEM-512.
        if spec != "ML_KEM_512" {
            let public = b64(&public);
            let made = counterpart(&[json!({"do": "encapsulate", "public": public})]);
            let Some(made) = made else { return };
            let sealed = STANDARD.decode(made[0]["sealed"].as_str().unwrap()).unwrap();
            assert_eq!(open(&sealed).unwrap()["SharedSecret"], made[0]["secret"]);
        }
    }
}

/// FIPS 203, table 3.
fn len_of_encapsulation_key(spec: &str) -> usize {
    match spec {
        "ML_KEM_512" => 800,
        "ML_KEM_768" => 1184,
        _ => 1568,
    }
}

/// Law: keys are as they were after the database is opened anew.
#[test]
fn keys_outlive_the_process() {
    let bench = Bench::new();
    let key = new_key(&bench, "ECC_NIST_P384", "SIGN_VERIFY");
    let public = public_key(&bench, &key);
    let request =
        json!({"KeyId": key, "Message": b64(MESSAGE), "SigningAlgorithm": "ECDSA_SHA_384"});
    let signature = bench.call("Sign", request.clone()).unwrap()["Signature"].clone();
    let again = bench.open();
    let call =
        |operation, input| kmsfs::wire::call(&again, &again.owner(), operation, &input).unwrap();
    assert_eq!(call("GetPublicKey", json!({"KeyId": key}))["PublicKey"], public);
    let mut verify = request;
    verify["Signature"] = signature;
    assert_eq!(call("Verify", verify)["SignatureValid"], true);
}

#[test]
fn metadata_tells_what_a_key_can() {
    let bench = Bench::new();
    let describe = |spec, usage| {
        let key = new_key(&bench, spec, usage);
        bench.call("DescribeKey", json!({"KeyId": key})).unwrap()["KeyMetadata"].clone()
    };
    let p256 = describe("ECC_NIST_P256", "SIGN_VERIFY");
    assert_eq!(p256["SigningAlgorithms"], json!(["ECDSA_SHA_256"]));
    assert!(p256.get("EncryptionAlgorithms").is_none());
    assert!(p256.get("CurrentKeyMaterialId").is_none());
    let agreement = describe("ECC_NIST_P256", "KEY_AGREEMENT");
    assert_eq!(agreement["KeyAgreementAlgorithms"], json!(["ECDH"]));
    let hmac = describe("HMAC_512", "GENERATE_VERIFY_MAC");
    assert_eq!(hmac["MacAlgorithms"], json!(["HMAC_SHA_512"]));
}

#[test]
fn what_a_key_is_not_made_for_is_refused() {
    let bench = Bench::new();
    let create = |spec: &str, usage: Value| {
        refusal(bench.call("CreateKey", json!({"KeySpec": spec, "KeyUsage": usage})))
    };
    let needs_usage = "You must specify a KeyUsage value for all KMS keys except for symmetric \
                       encryption keys.";
    assert_eq!(create("RSA_2048", Value::Null), ("ValidationException", needs_usage.to_owned()));
    assert_eq!(create("HMAC_256", json!("SIGN_VERIFY")).0, "ValidationException");
    assert_eq!(create("ECC_SECG_P256K1", json!("KEY_AGREEMENT")).0, "ValidationException");
    assert_eq!(create("SM2", json!("SIGN_VERIFY")).0, "UnsupportedOperationException");

    let key = new_key(&bench, "ECC_NIST_P256", "SIGN_VERIFY");
    let sign = |extra: Value| {
        let mut request =
            json!({"KeyId": key, "Message": b64(MESSAGE), "SigningAlgorithm": "ECDSA_SHA_256"});
        request.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        refusal(bench.call("Sign", request))
    };
    let words = "Digest is invalid length for algorithm ECDSA_SHA_256.".to_owned();
    assert_eq!(sign(json!({"MessageType": "DIGEST"})), ("ValidationException", words));
    let words = "Algorithm ECDSA_SHA_384 is incompatible with key spec ECC_NIST_P256.".to_owned();
    let other = sign(json!({"SigningAlgorithm": "ECDSA_SHA_384"}));
    assert_eq!(other, ("InvalidKeyUsageException", words));
    assert_eq!(sign(json!({"DryRun": true})).0, "DryRunOperationException");
    assert_eq!(sign(json!({"Message": b64(&[0; 4097])})).0, "ValidationException");
    for (operation, input) in [
        ("Encrypt", json!({"KeyId": key, "Plaintext": "AAAA"})),
        ("GenerateDataKey", json!({"KeyId": key, "KeySpec": "AES_256"})),
        ("GenerateMac", json!({"KeyId": key, "Message": "AAAA", "MacAlgorithm": "HMAC_SHA_256"})),
        ("Encapsulate", json!({"KeyId": key, "EncapsulationAlgorithm": "ML_KEM"})),
    ] {
        assert_eq!(
            refusal(bench.call(operation, input)).0,
            "InvalidKeyUsageException",
            "{operation}"
        );
    }
    let symmetric = new_key(&bench, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let refused = bench.call("GetPublicKey", json!({"KeyId": symmetric}));
    assert_eq!(refusal(refused).0, "UnsupportedOperationException");
    for operation in ["EnableKeyRotation", "RotateKeyOnDemand"] {
        let refused = bench.call(operation, json!({"KeyId": key}));
        assert_eq!(refusal(refused).0, "UnsupportedOperationException");
    }
}
