//! A multi-Region key from one installation to another: the replica opens what the primary sealed, and
//! never makes material of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;
#[path = "common/counterpart.rs"]
mod counterpart;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bench::{Bench, options, unlock};
use kmsfs::clock::ManualClock;
use kmsfs::kms::*;
use kmsfs::wire;
use serde_json::{Value, json};
use tempfile::TempDir;

const HERE: &str = "us-east-1";
const THERE: &str = "eu-west-1";

/// An installation of its own.
struct Site {
    dir: TempDir,
    clock: Arc<ManualClock>,
    kms: Kms,
}

impl Site {
    fn new(region: &str) -> Self {
        let Bench { dir, clock, .. } = Bench::new();
        std::fs::remove_dir_all(dir.path()).unwrap();
        let options = KmsOptions { region: region.to_owned(), ..options(&clock) };
        let kms = Kms::create(dir.path(), &unlock(), Argon2Cost::TEST, options).unwrap();
        Self { dir, clock, kms }
    }

    fn regions(&self) -> Regions {
        Regions::open(self.kms.clone(), self.dir.path()).unwrap()
    }

    fn open(&self) -> Kms {
        Kms::open(self.dir.path(), &unlock(), options(&self.clock)).unwrap()
    }

    fn call(&self, operation: &str, input: Value) -> Result<Value, KmsError> {
        call(&self.kms, operation, input)
    }

    fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, input).unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }

    fn new_primary(&self, mut input: Value) -> KeyRef {
        input["MultiRegion"] = json!(true);
        let made = self.ok("CreateKey", input);
        KeyRef::new(made["KeyMetadata"]["KeyId"].as_str().unwrap())
    }

    fn encrypt(&self, key: &KeyRef) -> Value {
        let input = json!({"KeyId": key.as_str(), "Plaintext": "AAAA"});
        self.ok("Encrypt", input)["CiphertextBlob"].clone()
    }

    fn opens(&self, blob: &Value) -> bool {
        let answer = self.call("Decrypt", json!({"CiphertextBlob": blob}));
        answer.is_ok_and(|answer| answer["Plaintext"] == "AAAA")
    }

    fn rotate(&self, key: &KeyRef) {
        self.ok("RotateKeyOnDemand", json!({"KeyId": key.as_str()}));
    }

    fn current(&self, key: &KeyRef) -> Value {
        let described = self.ok("DescribeKey", json!({"KeyId": key.as_str()}));
        described["KeyMetadata"]["CurrentKeyMaterialId"].clone()
    }

    fn log(&self) -> String {
        self.kms.flush_audit().unwrap();
        std::fs::read_to_string(self.dir.path().join("audit.log")).unwrap()
    }
}

fn call(kms: &Kms, operation: &str, input: Value) -> Result<Value, KmsError> {
    wire::call(kms, &kms.owner(), operation, &input)
}

/// A site's key in a bundle for the other, under a request made now.
fn bundle(from: &Site, to: &Site, key: &KeyRef) -> (Vec<u8>, ReplicaRequest) {
    let request = to.kms.request_replica().unwrap();
    let sent = ReplicaRequest::parse(&request.encode().unwrap()).unwrap();
    assert_eq!(sent, request);
    (from.kms.export_replica(key, &sent).unwrap().bundle, request)
}

fn carry(from: &Site, to: &Site, key: &KeyRef) -> ReplicaChange {
    to.kms.import_replica(&bundle(from, to, key).0).unwrap().change
}

fn exception<T>(answer: Result<T, KmsError>) -> (&'static str, String) {
    let Err(error) = answer else { panic!("not refused") };
    (error.exception(), error.to_string())
}

/// Law: what the primary sealed the replica opens, and the other way; state, policy, aliases, tags and
/// description are the receiver's own.
#[test]
fn what_the_primary_sealed_the_other_installation_opens() {
    let (here, there) = (Site::new(HERE), Site::new(THERE));
    let key = here.new_primary(json!({"Description": "primary"}));
    here.rotate(&key);
    let blob = here.encrypt(&key);
    assert!(!there.opens(&blob));
    let (bytes, request) = bundle(&here, &there, &key);
    let imported = there.kms.import_replica(&bytes).unwrap();
    assert_eq!((imported.change, imported.materials), (ReplicaChange::Made, 2));
    assert!(there.opens(&blob) && here.opens(&there.encrypt(&key)));
    assert_eq!(there.current(&key), here.current(&key));

    let described = there.ok("DescribeKey", json!({"KeyId": key.as_str()}))["KeyMetadata"].clone();
    assert_eq!(described["Description"], "");
    let related = &described["MultiRegionConfiguration"];
    assert_eq!(related["MultiRegionKeyType"], "REPLICA");
    assert_eq!(related["PrimaryKey"]["Region"], HERE);
    there.ok("DisableKey", json!({"KeyId": key.as_str()}));
    assert!(!there.opens(&blob) && here.opens(&blob));
    there.ok("EnableKey", json!({"KeyId": key.as_str()}));
    // It is still what it is when the database is opened anew.
    assert!(call(&there.open(), "RotateKeyOnDemand", json!({"KeyId": key.as_str()})).is_err());

    // Both ends have it on record, by the same request.
    let fingerprint = request.fingerprint().to_string();
    for (log, events) in [(here.log(), 1), (there.log(), 2)] {
        let named = log.lines().filter(|line| line.contains(&fingerprint)).count();
        assert_eq!(named, events, "{log}");
    }
    assert!(here.log().contains("\"eventName\":\"ExportReplica\""));
    assert!(there.log().contains(&Fingerprint::of(&bytes).to_string()));
    for site in [&here, &there] {
        audit::verify(&site.dir.path().join("audit.log"), Some(&site.kms.audit_key())).unwrap();
    }
}

/// Law: request, bundle and the replica's row are what docs/KMS.md says: another program opens them.
#[test]
fn another_program_opens_a_bundle() {
    let (here, there) = (Site::new(HERE), Site::new(THERE));
    let key = here.new_primary(json!({}));
    here.rotate(&key);
    let (bytes, request) = bundle(&here, &there, &key);
    there.kms.import_replica(&bytes).unwrap();
    there.kms.flush_audit().unwrap();
    let encode = |bytes: &[u8]| STANDARD.encode(bytes);
    let task = json!({"do": "replica_bundle", "dir": there.dir.path(), "passphrase": "passphrase",
        "request": encode(&request.encode().unwrap()), "bundle": encode(&bytes)});
    let Some(answer) = counterpart::counterpart(&[task]) else { return };
    let found = &answer[0];
    let described = here.ok("DescribeKey", json!({"KeyId": key.as_str()}))["KeyMetadata"].clone();
    assert_eq!(found["primary"], described["Arn"]);
    assert_eq!(
        (&found["spec"], &found["origin"]),
        (&json!("SYMMETRIC_DEFAULT"), &json!("AWS_KMS"))
    );
    assert_eq!(found["made"], 1_700_000_000_000_u64);
    assert_eq!(found["materials"][1]["id"], here.current(&key));
    assert_eq!(found["materials"][1]["rotation"], "ON_DEMAND");
    assert_eq!((found["materials"].as_array().unwrap().len(), &found["imports"]), (2, &json!(0)));
    assert_eq!(found["keys"], json!([key.as_str()]));
}

/// Law: every kind of key goes, and no bare material stands in request, bundle or log.
#[test]
fn every_kind_of_key_goes_and_none_goes_bare() {
    let (here, there) = (Site::new(HERE), Site::new(THERE));
    let ecc = here.new_primary(json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}));
    let mac = here.new_primary(json!({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}));
    let imported = here.new_primary(json!({"Origin": "EXTERNAL"}));
    let material = [0x5a; 32];
    let is_skipped = bring(&here, &imported, &material).is_none();
    if is_skipped {
        return;
    }
    let mut carried = Vec::new();
    for key in [&ecc, &mac, &imported] {
        let (bytes, request) = bundle(&here, &there, key);
        assert_eq!(there.kms.import_replica(&bytes).unwrap().change, ReplicaChange::Made);
        carried.extend([bytes, request.encode().unwrap()]);
    }
    let message =
        json!({"KeyId": ecc.as_str(), "Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256"});
    let mut signed = message.clone();
    signed["Signature"] = there.ok("Sign", message)["Signature"].clone();
    assert_eq!(here.ok("Verify", signed)["SignatureValid"], true);
    let input = json!({"KeyId": mac.as_str(), "Message": "AAAA", "MacAlgorithm": "HMAC_SHA_256"});
    assert_eq!(here.ok("GenerateMac", input.clone())["Mac"], there.ok("GenerateMac", input)["Mac"]);
    assert!(there.opens(&here.encrypt(&imported)));
    let listed = there.ok(
        "ListKeyRotations",
        json!({"KeyId": imported.as_str(), "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}),
    );
    assert_eq!(listed["Rotations"][0]["ImportState"], "IMPORTED", "{listed}");
    assert!(listed["Rotations"][0]["ValidTo"].as_f64().is_some(), "{listed}");
    // Material that expires there does so by the date that came with it.
    there.clock.advance(Duration::from_secs(31 * 86_400));
    there.kms.tick().unwrap();
    there.clock.advance(Duration::from_secs(60));
    there.kms.tick().unwrap();
    let described = there.ok("DescribeKey", json!({"KeyId": imported.as_str()}));
    assert_eq!(described["KeyMetadata"]["KeyState"], "PendingImport");
    carried.extend([here.log().into_bytes(), there.log().into_bytes()]);
    assert!(carried.iter().all(|bytes| !bytes.windows(16).any(|part| *part == material[..16])));
}

/// Brings material in that expires in 30 days.
fn bring(site: &Site, key: &KeyRef, material: &[u8; 32]) -> Option<()> {
    let parameters = site.ok(
        "GetParametersForImport",
        json!({"KeyId": key.as_str(), "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
            "WrappingKeySpec": "RSA_2048"}),
    );
    let wrapped =
        counterpart::counterpart(&[json!({"do": "wrap", "algorithm": "RSAES_OAEP_SHA_256",
        "public": parameters["PublicKey"], "material": STANDARD.encode(material)})])?;
    site.ok(
        "ImportKeyMaterial",
        json!({"KeyId": key.as_str(), "ImportToken": parameters["ImportToken"],
            "EncryptedKeyMaterial": wrapped[0]["wrapped"], "ValidTo": 1_700_000_000 + 30 * 86_400,
            "ExpirationModel": "KEY_MATERIAL_EXPIRES"}),
    );
    Some(())
}

/// Law: the replica gets new material by a later bundle alone; an older bundle, or the same one again,
/// changes nothing; a revocation comes along.
#[test]
fn new_material_comes_by_a_later_bundle_alone() {
    let (here, there) = (Site::new(HERE), Site::new(THERE));
    let key = here.new_primary(json!({}));
    let (first, _) = bundle(&here, &there, &key);
    let (second, _) = bundle(&here, &there, &key);
    assert_eq!(there.kms.import_replica(&first).unwrap().change, ReplicaChange::Made);
    assert_eq!(there.kms.import_replica(&first).unwrap().change, ReplicaChange::Unchanged);
    let old_material = MaterialId::parse(here.current(&key).as_str().unwrap()).unwrap();
    here.rotate(&key);
    here.clock.advance(Duration::from_secs(1));
    let blob = here.encrypt(&key);
    assert!(!there.opens(&blob));
    assert_eq!(carry(&here, &there, &key), ReplicaChange::Updated);
    assert!(there.opens(&blob) && here.opens(&there.encrypt(&key)));
    assert_eq!(there.current(&key), here.current(&key));
    for old in [&first, &second] {
        assert_eq!(there.kms.import_replica(old).unwrap().change, ReplicaChange::Unchanged);
        assert_eq!(there.current(&key), here.current(&key));
    }
    let blob = there.encrypt(&key);
    // A revocation of the older material, and that it is taken back.
    for is_revoked in [true, false] {
        match is_revoked {
            true => here.kms.revoke_material(&key, &old_material).unwrap(),
            false => here.kms.restore_material(&key, &old_material).unwrap(),
        }
        here.clock.advance(Duration::from_secs(1));
        assert_eq!(carry(&here, &there, &key), ReplicaChange::Updated);
        let entry = there.kms.materials().into_iter().find(|entry| entry.material == old_material);
        assert_eq!(entry.unwrap().revoked.is_some(), is_revoked);
    }
    assert!(there.opens(&blob));
}

/// Law: a replica from elsewhere never rotates, is never the primary, and is neither replicated nor
/// sealed for a third.
#[test]
fn of_two_installations_one_alone_makes_material() {
    let (here, there) = (Site::new(HERE), Site::new(THERE));
    let key = here.new_primary(json!({}));
    here.ok("EnableKeyRotation", json!({"KeyId": key.as_str(), "RotationPeriodInDays": 90}));
    assert_eq!(carry(&here, &there, &key), ReplicaChange::Made);
    let before = there.current(&key);
    let id = json!({"KeyId": key.as_str()});
    let with = |name: &str, value: &str| json!({"KeyId": key.as_str(), name: value});
    for (operation, input) in [
        ("RotateKeyOnDemand", id.clone()),
        ("EnableKeyRotation", id.clone()),
        ("DisableKeyRotation", id),
        ("ReplicateKey", with("ReplicaRegion", "ap-south-1")),
    ] {
        let (name, message) = exception(there.call(operation, input));
        assert_eq!(name, "UnsupportedOperationException", "{operation}");
        assert!(message.contains("in us-east-1, in another installation."), "{message}");
    }
    // Neither where nothing else is, nor with a sibling that holds the same key.
    let regions = there.regions();
    let second = regions.kms("000000000000", "ap-south-1").unwrap();
    let request = second.request_replica().unwrap();
    let exported = here.kms.export_replica(&key, &request).unwrap();
    second.import_replica(&exported.bundle).unwrap();
    let refused = there.call("UpdatePrimaryRegion", with("PrimaryRegion", "ap-south-1"));
    let (name, message) = exception(refused);
    assert_eq!(name, "UnsupportedOperationException");
    assert!(message.contains("another installation"), "{message}");
    let third = Site::new("sa-east-1");
    let refused = there.kms.export_replica(&key, &third.kms.request_replica().unwrap());
    assert_eq!(exception(refused).0, "UnsupportedOperationException");
    for _ in 0..3 {
        there.clock.advance(Duration::from_secs(400 * 86_400));
        for kms in regions.opened() {
            kms.tick().unwrap();
        }
    }
    assert_eq!(there.current(&key), before);
    // It goes like any replica.
    there.ok("ScheduleKeyDeletion", json!({"KeyId": key.as_str()}));
}

/// Law: where the primary has moved within its installation is believed, but never makes a replica from
/// elsewhere the primary.
#[test]
fn a_primary_that_moves_takes_no_replica_along() {
    let (here, there) = (Site::new(HERE), Site::new(THERE));
    let own = here.regions();
    let moved = own.kms("000000000000", "eu-central-1").unwrap();
    let key = here.new_primary(json!({}));
    assert_eq!(carry(&here, &there, &key), ReplicaChange::Made);
    here.ok("ReplicateKey", json!({"KeyId": key.as_str(), "ReplicaRegion": "eu-central-1"}));
    here.ok("UpdatePrimaryRegion", json!({"KeyId": key.as_str(), "PrimaryRegion": "eu-central-1"}));
    // The receiver has a second replica, of which this is news.
    let regions = there.regions();
    let second = regions.kms("000000000000", "ap-south-1").unwrap();
    let request = second.request_replica().unwrap();
    let exported = moved.export_replica(&key, &request).unwrap();
    second.import_replica(&exported.bundle).unwrap();
    for kms in regions.opened() {
        kms.tick().unwrap();
    }
    let primary = |kms: &Kms| kms.describe_key(&key).unwrap().multi_region.unwrap().primary;
    assert_eq!(primary(&second), "eu-central-1");
    assert_eq!(primary(&there.kms), HERE);
    // Where the primary is, or a replica of its installation, none can be from elsewhere.
    let clash = Site::new("eu-central-1");
    let request = clash.kms.request_replica().unwrap();
    assert_eq!(exception(moved.export_replica(&key, &request)).0, "ValidationException");
    let clash = Site::new(HERE);
    let request = clash.kms.request_replica().unwrap();
    assert_eq!(exception(moved.export_replica(&key, &request)).0, "AlreadyExistsException");
}

/// Law: only a primary leaves, only for a request that is good, of the same account and another Region,
/// by who may replicate it; each refusal is on record.
#[test]
fn what_must_not_leave_does_not() {
    let (here, there) = (Site::new(HERE), Site::new(THERE));
    let request = there.kms.request_replica().unwrap();
    let single = KeyRef::from(&here.kms.create_key(CreateKey::default()).unwrap().arn);
    let export = |key: &KeyRef, request| exception(here.kms.export_replica(key, request)).0;
    assert_eq!(export(&single, &request), "UnsupportedOperationException");
    let key = here.new_primary(json!({}));
    let same = ReplicaRequest { region: HERE.to_owned(), ..request.clone() };
    let nowhere = ReplicaRequest { region: "x".to_owned(), ..request.clone() };
    let other = ReplicaRequest { account: "111122223333".to_owned(), ..request.clone() };
    let unwrapped = ReplicaRequest { public_key: vec![1; 422], ..request.clone() };
    for request in [&same, &nowhere, &other, &unwrapped] {
        assert_eq!(export(&key, request), "ValidationException");
    }
    here.ok("DisableKey", json!({"KeyId": key.as_str()}));
    assert_eq!(export(&key, &request), "DisabledException");
    here.ok("EnableKey", json!({"KeyId": key.as_str()}));
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
            "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Principal": "*", "Action": "kms:ReplicateKey", "Resource": "*",
            "Condition": {"StringEquals": {"kms:ReplicaRegion": THERE}}}]});
    here.ok("PutKeyPolicy", json!({"KeyId": key.as_str(), "Policy": policy.to_string()}));
    assert_eq!(export(&key, &request), "AccessDeniedException");
    let refusals = here
        .log()
        .lines()
        .filter(|l| l.contains("ExportReplica") && l.contains("errorCode"))
        .count();
    assert_eq!(refusals, 7);
    here.clock.advance(Duration::from_secs(86_400));
    let key = here.new_primary(json!({}));
    assert_eq!(export(&key, &request), "ExpiredImportTokenException");
}

/// Law: who may not make keys, or not replicate this one, takes none in.
#[test]
fn what_must_not_come_in_does_not() {
    let (here, there) = (Site::new(HERE), Site::new(THERE));
    let key = here.new_primary(json!({}));
    let (bytes, _) = bundle(&here, &there, &key);
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "kms:CreateKey", "Resource": "*"}]});
    let policy = IdentityPolicy::parse(&policy.to_string()).unwrap();
    let ann = Principal::from_arn("arn:aws:iam::000000000000:user/ann").unwrap();
    let by_ann = there.kms.caller(ann.with_policy(policy));
    assert_eq!(exception(by_ann.request_replica()).0, "AccessDeniedException");
    assert_eq!(exception(by_ann.import_replica(&bytes)).0, "AccessDeniedException");
    there.kms.import_replica(&bytes).unwrap();
    let deny = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
            "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Principal": "*", "Action": "kms:ReplicateKey", "Resource": "*"}]});
    there.ok("PutKeyPolicy", json!({"KeyId": key.as_str(), "Policy": deny.to_string()}));
    here.rotate(&key);
    let (second, _) = bundle(&here, &there, &key);
    assert_eq!(exception(there.kms.import_replica(&second)).0, "AccessDeniedException");
    // A key of this installation is replicated, not carried.
    let own = here.regions();
    let eu = own.kms("000000000000", THERE).unwrap();
    let request = eu.request_replica().unwrap();
    let exported = here.kms.export_replica(&key, &request).unwrap();
    assert_eq!(exception(eu.import_replica(&exported.bundle)).0, "AlreadyExistsException");
}

/// A key in a bundle that was made once, and its two sites.
fn carried() -> &'static (Site, Site, KeyRef, Vec<u8>) {
    static CARRIED: OnceLock<(Site, Site, KeyRef, Vec<u8>)> = OnceLock::new();
    CARRIED.get_or_init(|| {
        let (here, there) = (Site::new(HERE), Site::new(THERE));
        let key = here.new_primary(json!({}));
        let (bytes, _) = bundle(&here, &there, &key);
        (here, there, key, bytes)
    })
}

/// Law: a bundle opens at the installation, in the Region and within the 24 hours of its request alone;
/// no byte of it can be changed, none cut off or added.
#[test]
fn a_bundle_opens_where_it_was_asked_for_and_whole() {
    let (here, there, _, bytes) = carried();
    let refused = |kms: &Kms, bytes: &[u8]| exception(kms.import_replica(bytes)).0;
    let stranger = Site::new(THERE);
    assert_eq!(refused(&stranger.kms, bytes), "InvalidImportTokenException");
    assert_eq!(refused(&here.kms, bytes), "InvalidImportTokenException");
    let regions = there.regions();
    let sibling = regions.kms("000000000000", "ap-south-1").unwrap();
    assert_eq!(refused(&sibling, bytes), "InvalidImportTokenException");
    for at in 0..bytes.len() {
        // The middle of what is long is as any of its bytes.
        if at % 64 > 3 && (100..bytes.len() - 100).contains(&at) && at % 17 != 0 {
            continue;
        }
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let name = refused(&there.kms, &changed);
        let known =
            ["ValidationException", "InvalidImportTokenException", "InvalidCiphertextException"];
        assert!(known.contains(&name), "byte {at}: {name}");
    }
    for len in [0, 7, 10, 42, 200, bytes.len() - 1] {
        there.kms.import_replica(&bytes[..len]).unwrap_err();
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert_eq!(refused(&there.kms, &longer), "InvalidCiphertextException");
    let again = Kms::open(
        there.dir.path(),
        &unlock(),
        options(&Arc::new(ManualClock::at(1_700_000_000 + 86_400))),
    )
    .unwrap();
    assert_eq!(refused(&again, bytes), "ExpiredImportTokenException");
    assert!(there.kms.list_keys(&PageRequest::default()).unwrap().entries.is_empty());
    assert_eq!(there.kms.import_replica(bytes).unwrap().change, ReplicaChange::Made);
}

/// Law: a request that was changed on its way has another fingerprint, and what is sealed for it is
/// refused where the true one was made.
#[test]
fn a_changed_request_is_another() {
    let (here, there, key, _) = carried();
    let request = there.kms.request_replica().unwrap();
    let bytes = request.encode().unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let Some(parsed) = ReplicaRequest::parse(&changed) else { continue };
        assert_ne!(parsed.fingerprint(), request.fingerprint(), "byte {at}");
        assert_eq!(parsed.fingerprint(), Fingerprint::of(&changed));
    }
    assert_eq!(request.fingerprint(), Fingerprint::of(&bytes));
    let longer = ReplicaRequest { valid_to: request.valid_to + 1, ..request.clone() };
    let exported = here.kms.export_replica(key, &longer).unwrap();
    let refused = exception(there.kms.import_replica(&exported.bundle)).0;
    assert_eq!(refused, "InvalidImportTokenException");
    let (digits, grouped) = (request.fingerprint().to_string(), "AB: ab");
    assert!(request.fingerprint().is_written(&digits.to_uppercase()));
    assert!(!request.fingerprint().is_written(grouped) && !request.fingerprint().is_written(""));
}

/// Law: a bundle of other materials under the same id is refused, whoever sealed it: it would give the
/// replica a key that its primary does not have.
#[test]
fn a_bundle_of_another_line_is_refused() {
    let (here, there) = (Site::new(HERE), Site::new(THERE));
    let key = here.new_primary(json!({}));
    assert_eq!(carry(&here, &there, &key), ReplicaChange::Made);
    // The same database, copied before a rotation: two that could both rotate.
    let copy = tempfile::tempdir().unwrap();
    here.kms.flush_audit().unwrap();
    for name in ["keys.db", "audit.log"] {
        std::fs::copy(here.dir.path().join(name), copy.path().join(name)).unwrap();
    }
    here.rotate(&key);
    here.clock.advance(Duration::from_secs(1));
    assert_eq!(carry(&here, &there, &key), ReplicaChange::Updated);
    let twin = Kms::open(copy.path(), &unlock(), options(&here.clock)).unwrap();
    call(&twin, "RotateKeyOnDemand", json!({"KeyId": key.as_str()})).unwrap();
    let request = there.kms.request_replica().unwrap();
    let exported = twin.export_replica(&key, &request).unwrap();
    let before = there.current(&key);
    let refused = exception(there.kms.import_replica(&exported.bundle)).0;
    assert_eq!(refused, "IncorrectKeyMaterialException");
    assert_eq!(there.current(&key), before);
}
