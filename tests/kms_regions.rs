//! Multi-Region keys: one id and material in several databases, one primary, and what a crash leaves
//! between two of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;
#[path = "common/counterpart.rs"]
mod counterpart;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bench::Bench;
use counterpart::counterpart;
use kmsfs::kms::{KeyRef, Kms, KmsError, Regions};
use kmsfs::wire;
use serde_json::{Value, json};

const HOME: &str = "us-east-1";
const EU: &str = "eu-central-1";
const AP: &str = "ap-southeast-1";

/// A key service with all its Regions.
struct World {
    bench: Bench,
    regions: Regions,
}

impl World {
    fn new() -> Self {
        let bench = Bench::new();
        let regions = Regions::open(bench.kms.clone(), bench.dir.path()).unwrap();
        Self { bench, regions }
    }

    fn kms(&self, region: &str) -> Kms {
        self.regions.kms("000000000000", region).unwrap()
    }

    fn call(&self, region: &str, operation: &str, input: Value) -> Result<Value, KmsError> {
        let kms = self.kms(region);
        wire::call(&kms, &kms.owner(), operation, &input)
    }

    fn ok(&self, region: &str, operation: &str, input: Value) -> Value {
        self.call(region, operation, input).unwrap_or_else(|e| panic!("{operation}: {e:?}"))
    }

    fn new_primary(&self, mut input: Value) -> String {
        input["MultiRegion"] = json!(true);
        let made = self.ok(HOME, "CreateKey", input)["KeyMetadata"].clone();
        made["KeyId"].as_str().unwrap().to_owned()
    }

    fn replicate(&self, key: &str, region: &str) -> Value {
        self.ok(HOME, "ReplicateKey", json!({"KeyId": key, "ReplicaRegion": region}))
    }

    fn described(&self, region: &str, key: &str) -> Value {
        self.ok(region, "DescribeKey", json!({"KeyId": key}))["KeyMetadata"].clone()
    }

    fn state(&self, region: &str, key: &str) -> String {
        self.described(region, key)["KeyState"].as_str().unwrap().to_owned()
    }

    fn encrypt(&self, region: &str, key: &str) -> Value {
        self.ok(region, "Encrypt", json!({"KeyId": key, "Plaintext": "AAAA"}))["CiphertextBlob"]
            .clone()
    }

    fn opens(&self, region: &str, blob: &Value) -> bool {
        let answer = self.call(region, "Decrypt", json!({"CiphertextBlob": blob}));
        answer.is_ok_and(|answer| answer["Plaintext"] == "AAAA")
    }

    fn tick(&self) {
        for kms in self.regions.opened() {
            kms.tick().unwrap();
        }
    }

    /// What is due, seen twice so that the time is believed and deletions are confirmed.
    fn tick_twice(&self) {
        self.tick();
        self.bench.clock.advance(std::time::Duration::from_secs(60));
        self.tick();
    }
}

fn refusal(answer: Result<Value, KmsError>) -> &'static str {
    answer.unwrap_err().exception()
}

/// Law: replicas share id and material, so that what one Region seals another opens; everything else
/// is their own.
#[test]
fn what_one_region_seals_another_opens() {
    let world = World::new();
    let key = world.new_primary(json!({"Description": "primary"}));
    assert!(key.starts_with("mrk-") && key.len() == 36);
    let blob = world.encrypt(HOME, &key);
    let replicated = world.replicate(&key, EU);
    let replica = &replicated["ReplicaKeyMetadata"];
    assert_eq!(replica["KeyId"], json!(key));
    assert_eq!(replica["KeyState"], "Creating");
    assert!(replicated["ReplicaPolicy"].as_str().unwrap().contains("kms:*"));
    assert!(world.opens(EU, &blob) && !world.opens(AP, &blob));
    assert!(world.opens(HOME, &world.encrypt(EU, &key)));

    let arn = |region: &str| format!("arn:aws:kms:{region}:000000000000:key/{key}");
    let related = |region| world.described(region, &key)["MultiRegionConfiguration"].clone();
    let primary = json!({"Arn": arn(HOME), "Region": HOME});
    let replicas = json!([{"Arn": arn(EU), "Region": EU}]);
    for (region, kind) in [(HOME, "PRIMARY"), (EU, "REPLICA")] {
        assert_eq!(
            related(region),
            json!({"MultiRegionKeyType": kind, "PrimaryKey": primary, "ReplicaKeys": replicas})
        );
    }
    assert_eq!(world.described(EU, &key)["Description"], "");
    world.ok(EU, "DisableKey", json!({"KeyId": key}));
    assert_eq!(world.state(HOME, &key), "Enabled");
    assert!(world.opens(HOME, &blob) && !world.opens(EU, &blob));

    let again = json!({"KeyId": key, "ReplicaRegion": EU});
    assert_eq!(refusal(world.call(HOME, "ReplicateKey", again)), "AlreadyExistsException");
    // On record where it was asked as well, with what came of it.
    world.bench.kms.flush_audit().unwrap();
    let log = std::fs::read_to_string(world.bench.log()).unwrap();
    let records: Vec<&str> =
        log.lines().filter(|line| line.contains("\"eventName\":\"ReplicateKey\"")).collect();
    let is_refused = |line: &&str| line.contains("\"errorCode\":\"AlreadyExistsException\"");
    assert_eq!(records.iter().map(is_refused).collect::<Vec<_>>(), [false, true]);
    let refused = world.call(EU, "ReplicateKey", json!({"KeyId": key, "ReplicaRegion": AP}));
    // Disabled, and no primary either.
    assert_eq!(refusal(refused), "DisabledException");
    world.ok(EU, "EnableKey", json!({"KeyId": key}));
    let refused = world.call(EU, "ReplicateKey", json!({"KeyId": key, "ReplicaRegion": AP}));
    assert_eq!(
        refused.unwrap_err().to_string(),
        format!("{} is not a multi-region primary key.", arn(EU))
    );
    for region in [HOME, "nowhere", ""] {
        let input = json!({"KeyId": key, "ReplicaRegion": region});
        assert_eq!(refusal(world.call(HOME, "ReplicateKey", input)), "ValidationException");
    }
    let single = world.ok(HOME, "CreateKey", json!({}))["KeyMetadata"]["KeyId"].clone();
    let refused = world.call(HOME, "ReplicateKey", json!({"KeyId": single, "ReplicaRegion": AP}));
    assert_eq!(refusal(refused), "UnsupportedOperationException");
}

/// Law: asymmetric and HMAC keys replicate too.
#[test]
fn every_kind_of_key_replicates() {
    let world = World::new();
    let key = world.new_primary(json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}));
    world.replicate(&key, EU);
    let message = json!({"KeyId": key, "Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256"});
    let mut signed = message.clone();
    signed["Signature"] = world.ok(EU, "Sign", message)["Signature"].clone();
    assert_eq!(world.ok(HOME, "Verify", signed)["SignatureValid"], true);
    let key = world.new_primary(json!({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}));
    world.replicate(&key, EU);
    let input = json!({"KeyId": key, "Message": "AAAA", "MacAlgorithm": "HMAC_SHA_256"});
    let mac = |region| world.ok(region, "GenerateMac", input.clone())["Mac"].clone();
    assert_eq!(mac(HOME), mac(EU));
}

/// Law: the primary alone rotates, and all Regions with it; what any of them sealed, before or after,
/// every other opens.
#[test]
fn rotation_is_shared() {
    let world = World::new();
    let key = world.new_primary(json!({}));
    world.replicate(&key, EU);
    world.ok(HOME, "EnableKeyRotation", json!({"KeyId": key, "RotationPeriodInDays": 90}));
    world.replicate(&key, AP);
    let status = |region| world.ok(region, "GetKeyRotationStatus", json!({"KeyId": key}));
    for region in [EU, AP] {
        assert_eq!(status(region)["RotationPeriodInDays"], 90);
        assert_eq!(status(region)["NextRotationDate"], status(HOME)["NextRotationDate"]);
        for operation in ["EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"] {
            let refused = world.call(region, operation, json!({"KeyId": key}));
            assert_eq!(refusal(refused), "UnsupportedOperationException", "{operation}");
        }
    }
    let current = |region| world.described(region, &key)["CurrentKeyMaterialId"].clone();
    let mut blobs = vec![world.encrypt(EU, &key)];
    let mut seen = vec![current(HOME)];
    world.ok(HOME, "RotateKeyOnDemand", json!({"KeyId": key}));
    for _ in 0..2 {
        assert!(!seen.contains(&current(HOME)));
        seen.push(current(HOME));
        for region in [HOME, EU, AP] {
            assert_eq!(current(region), current(HOME));
            blobs.push(world.encrypt(region, &key));
        }
        world.bench.days(90);
        world.tick_twice();
    }
    for region in [HOME, EU, AP] {
        assert!(blobs.iter().all(|blob| world.opens(region, blob)), "{region}");
        let listed = world.ok(region, "ListKeyRotations", json!({"KeyId": key}));
        assert_eq!(listed["Rotations"].as_array().unwrap().len(), 3, "{region}");
    }
    world.ok(HOME, "DisableKeyRotation", json!({"KeyId": key}));
    assert_eq!(status(AP)["KeyRotationEnabled"], false);
}

/// Law: a replica becomes the primary and the primary a replica, and the new one does what the old one
/// did.
#[test]
fn the_primary_moves() {
    let world = World::new();
    let key = world.new_primary(json!({}));
    world.replicate(&key, EU);
    world.replicate(&key, AP);
    let to = |region: &str| json!({"KeyId": key, "PrimaryRegion": region});
    assert_eq!(refusal(world.call(HOME, "UpdatePrimaryRegion", to(HOME))), "ValidationException");
    let refused = world.call(HOME, "UpdatePrimaryRegion", to("eu-west-1"));
    assert_eq!(refusal(refused), "NotFoundException");
    let refused = world.call(EU, "UpdatePrimaryRegion", to(AP));
    assert_eq!(refusal(refused), "UnsupportedOperationException");
    world.ok(EU, "DisableKey", json!({"KeyId": key}));
    assert_eq!(refusal(world.call(HOME, "UpdatePrimaryRegion", to(EU))), "DisabledException");
    world.ok(EU, "EnableKey", json!({"KeyId": key}));
    world.ok(HOME, "UpdatePrimaryRegion", to(EU));
    for (region, kind) in [(HOME, "REPLICA"), (EU, "PRIMARY"), (AP, "REPLICA")] {
        let related = world.described(region, &key)["MultiRegionConfiguration"].clone();
        assert_eq!(related["MultiRegionKeyType"], kind, "{region}");
        assert_eq!(related["PrimaryKey"]["Region"], EU);
        let replicas = related["ReplicaKeys"].as_array().unwrap();
        let replicas: Vec<_> = replicas.iter().map(|r| r["Region"].as_str().unwrap()).collect();
        assert_eq!(replicas, [AP, HOME]);
    }
    world.ok(EU, "RotateKeyOnDemand", json!({"KeyId": key}));
    assert!(world.opens(AP, &world.encrypt(EU, &key)));
}

/// Law: a primary goes last. Its window begins when its last replica is gone.
#[test]
fn a_primary_waits_for_its_replicas() {
    let world = World::new();
    let key = world.new_primary(json!({}));
    world.replicate(&key, EU);
    let input = json!({"KeyId": key, "PendingWindowInDays": 7});
    let scheduled = world.ok(HOME, "ScheduleKeyDeletion", input.clone());
    assert_eq!(scheduled["KeyState"], "PendingReplicaDeletion");
    assert!(scheduled.get("DeletionDate").is_none());
    let described = world.described(HOME, &key);
    assert_eq!(described["PendingDeletionWindowInDays"], 7);
    assert!(described.get("DeletionDate").is_none());
    let refused = world.call(HOME, "Encrypt", json!({"KeyId": key, "Plaintext": "AAAA"}));
    assert_eq!(refusal(refused), "KMSInvalidStateException");
    world.bench.days(30);
    world.tick_twice();
    assert_eq!(world.state(HOME, &key), "PendingReplicaDeletion");

    world.ok(EU, "ScheduleKeyDeletion", input);
    assert_eq!(world.state(EU, &key), "PendingDeletion");
    world.bench.days(7);
    world.tick_twice();
    world.tick();
    assert_eq!(refusal(world.call(EU, "DescribeKey", json!({"KeyId": key}))), "NotFoundException");
    assert_eq!(world.state(HOME, &key), "PendingDeletion");
    world.bench.days(6);
    world.tick_twice();
    assert_eq!(world.state(HOME, &key), "PendingDeletion");
    world.bench.days(1);
    world.tick_twice();
    assert_eq!(
        refusal(world.call(HOME, "DescribeKey", json!({"KeyId": key}))),
        "NotFoundException"
    );
}

/// Law: a deletion that waits for replicas can be cancelled, and a replica made anew.
#[test]
fn a_waiting_primary_can_be_kept() {
    let world = World::new();
    let key = world.new_primary(json!({}));
    world.replicate(&key, EU);
    world.ok(HOME, "ScheduleKeyDeletion", json!({"KeyId": key}));
    world.ok(HOME, "CancelKeyDeletion", json!({"KeyId": key}));
    assert_eq!(world.state(HOME, &key), "Disabled");
    world.ok(HOME, "EnableKey", json!({"KeyId": key}));
    world.ok(EU, "ScheduleKeyDeletion", json!({"KeyId": key, "PendingWindowInDays": 7}));
    let again = json!({"KeyId": key, "ReplicaRegion": EU});
    assert_eq!(refusal(world.call(HOME, "ReplicateKey", again)), "AlreadyExistsException");
    world.bench.days(7);
    world.tick_twice();
    world.replicate(&key, EU);
    assert!(world.opens(EU, &world.encrypt(HOME, &key)));
}

/// Law: what a crash leaves between two Regions is finished at the next tick: a primary that has handed
/// over, a rotation that its replicas have not seen.
#[test]
fn half_a_change_is_finished_later() {
    let world = World::new();
    let key = world.new_primary(json!({}));
    world.replicate(&key, EU);
    world.replicate(&key, AP);
    let name = KeyRef::new(&key);
    world.kms(HOME).hand_over_and_crash(&name, EU).unwrap();
    let kind = |region| {
        world.described(region, &key)["MultiRegionConfiguration"]["MultiRegionKeyType"].clone()
    };
    assert_eq!([kind(HOME), kind(EU), kind(AP)], ["REPLICA"; 3]);
    world.tick();
    world.tick();
    assert_eq!([kind(HOME), kind(EU), kind(AP)], ["REPLICA", "PRIMARY", "REPLICA"]);
    let primary = |region| {
        world.described(region, &key)["MultiRegionConfiguration"]["PrimaryKey"]["Region"].clone()
    };
    assert_eq!([primary(HOME), primary(EU), primary(AP)], [EU; 3]);

    world.kms(EU).rotate_and_crash(&name).unwrap();
    let current = |region| world.described(region, &key)["CurrentKeyMaterialId"].clone();
    assert_ne!(current(EU), current(HOME));
    world.tick();
    assert_eq!([current(HOME), current(AP)], [current(EU), current(EU)]);
}

fn wrapped(world: &World, region: &str, key: &str, kind: &str, secret: u8) -> Option<Value> {
    let parameters = world.ok(
        region,
        "GetParametersForImport",
        json!({"KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
            "WrappingKeySpec": "RSA_2048"}),
    );
    let task = json!({"do": "wrap", "public": parameters["PublicKey"],
        "algorithm": "RSAES_OAEP_SHA_256", "material": STANDARD.encode([secret; 32])});
    let answer = counterpart(&[task])?;
    Some(json!({"KeyId": key, "ImportToken": parameters["ImportToken"], "ImportType": kind,
        "EncryptedKeyMaterial": answer[0]["wrapped"],
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}))
}

/// Law: imported material is imported into each Region, the same everywhere, and a second one rotates
/// when every Region has it.
#[test]
fn imported_material_comes_into_each_region() {
    let world = World::new();
    let key = world.new_primary(json!({"Origin": "EXTERNAL"}));
    let (new, existing) = ("NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL");
    let Some(request) = wrapped(&world, HOME, &key, new, 1) else { return };
    world.ok(HOME, "ImportKeyMaterial", request);
    world.replicate(&key, EU);
    assert_eq!(world.state(EU, &key), "PendingImport");
    let blob = world.encrypt(HOME, &key);
    for kind in [new, existing] {
        let other = wrapped(&world, EU, &key, kind, 2).unwrap();
        let refused = world.call(EU, "ImportKeyMaterial", other);
        assert_eq!(refusal(refused), "IncorrectKeyMaterialException", "{kind}");
    }
    world.ok(EU, "ImportKeyMaterial", wrapped(&world, EU, &key, existing, 1).unwrap());
    assert!(world.opens(EU, &blob));

    world.ok(HOME, "ImportKeyMaterial", wrapped(&world, HOME, &key, new, 2).unwrap());
    let waiting = |region| {
        let input = json!({"KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"});
        let listed = world.ok(region, "ListKeyRotations", input)["Rotations"].clone();
        let last = listed.as_array().unwrap().last().unwrap().clone();
        (last["KeyMaterialState"].clone(), last["ImportState"].clone())
    };
    let lagging = json!("PENDING_MULTI_REGION_IMPORT_AND_ROTATION");
    assert_eq!(waiting(HOME), (lagging.clone(), json!("IMPORTED")));
    assert_eq!(waiting(EU), (lagging, json!("PENDING_IMPORT")));
    let rotate = || world.call(HOME, "RotateKeyOnDemand", json!({"KeyId": key}));
    assert_eq!(refusal(rotate()), "KMSInvalidStateException");
    world.ok(EU, "ImportKeyMaterial", wrapped(&world, EU, &key, existing, 2).unwrap());
    let ready = (json!("PENDING_ROTATION"), json!("IMPORTED"));
    assert_eq!((waiting(HOME), waiting(EU)), (ready.clone(), ready));
    rotate().unwrap();
    let current = |region| world.described(region, &key)["CurrentKeyMaterialId"].clone();
    assert_eq!(current(HOME), current(EU));
    assert!(world.opens(HOME, &world.encrypt(EU, &key)) && world.opens(EU, &blob));
}

/// Law: all of it outlives the process, and a process that has only the home open still rotates for
/// all.
#[test]
fn related_keys_outlive_the_process() {
    let world = World::new();
    let key = world.new_primary(json!({}));
    world.replicate(&key, EU);
    let before = [world.described(HOME, &key), world.described(EU, &key)];
    let World { bench, regions } = world;
    drop(regions);
    let alone = bench.open();
    let call = |operation: &str, input| wire::call(&alone, &alone.owner(), operation, &input);
    assert_eq!(call("DescribeKey", json!({"KeyId": key})).unwrap()["KeyMetadata"], before[0]);
    call("RotateKeyOnDemand", json!({"KeyId": key})).unwrap();
    let regions = Regions::open(alone.clone(), bench.dir.path()).unwrap();
    let world = World { bench, regions };
    assert_ne!(
        world.described(EU, &key)["CurrentKeyMaterialId"],
        before[1]["CurrentKeyMaterialId"]
    );
    assert!(world.opens(EU, &world.encrypt(HOME, &key)));
}

/// Law: what is revoked where the primary is opens nothing in any Region, and comes back in all; a
/// replica's Region revokes nothing by itself, and no material of such a key is destroyed alone.
#[test]
fn a_revocation_reaches_every_region() {
    let world = World::new();
    let key = world.new_primary(json!({}));
    world.replicate(&key, EU);
    let blob = world.encrypt(EU, &key);
    let materials = world.kms(HOME).materials();
    let first = materials.iter().find(|m| m.key.key_id().as_str() == key).unwrap().material;
    world.ok(HOME, "RotateKeyOnDemand", json!({"KeyId": key}));
    let name = KeyRef::new(&key);
    let refused = world.kms(EU).revoke_material(&name, &first).unwrap_err();
    assert_eq!(refused.exception(), "UnsupportedOperationException");
    world.kms(HOME).revoke_material(&name, &first).unwrap();
    assert!(!world.opens(EU, &blob) && !world.opens(HOME, &blob));
    let refused = world.kms(HOME).destroy_material(&name, &first, None).unwrap_err();
    assert_eq!(refused.exception(), "UnsupportedOperationException");
    world.kms(HOME).restore_material(&name, &first).unwrap();
    assert!(world.opens(EU, &blob) && world.opens(HOME, &blob));
}

/// Law: a rotation that another Region keeps from being made changes nothing, and is on record.
#[test]
fn a_rotation_that_another_region_prevents_is_recorded() {
    let World { bench, regions } = World::new();
    let created = bench.call("CreateKey", json!({"MultiRegion": true})).unwrap();
    let key = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    bench.call("ReplicateKey", json!({"KeyId": key, "ReplicaRegion": EU})).unwrap();
    bench.call("EnableKeyRotation", json!({"KeyId": key, "RotationPeriodInDays": 90})).unwrap();
    let materials = || {
        let all = json!({"KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"});
        bench.call("ListKeyRotations", all).unwrap()["Rotations"].as_array().unwrap().len()
    };
    assert_eq!(materials(), 1);
    // No other Region is in reach from here on.
    drop(regions);
    let refused = bench.call("RotateKeyOnDemand", json!({"KeyId": key}));
    assert_eq!(refusal(refused), "KMSInternalException");
    bench.days(91);
    // The first look does not believe the time yet.
    bench.kms.tick().unwrap();
    bench.clock.advance(std::time::Duration::from_secs(60));
    bench.kms.tick().unwrap_err();
    assert_eq!(materials(), 1);
    bench.kms.flush_audit().unwrap();
    let log = std::fs::read_to_string(bench.log()).unwrap();
    let records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let failed: Vec<Value> =
        records.filter(|record| record["errorCode"] == "KMSInternalException").collect();
    for name in ["RotateKeyOnDemand", "RotateKey"] {
        let record = failed.iter().find(|record| record["eventName"] == name);
        let record = record.unwrap_or_else(|| panic!("no record of {name}"));
        assert!(record["resources"][0]["ARN"].as_str().unwrap().ends_with(&key));
    }
}
