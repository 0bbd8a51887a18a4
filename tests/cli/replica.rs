//! `kmsfs replica`: a key goes from one home to another in files, and a volume opens with either.

use std::path::Path;

use serde_json::Value;

use crate::sandbox::Sandbox;

/// Two homes, the first with a multi-Region key `alias/shared`; tells its id.
fn two_homes() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.write("key2", &"another key file of the second home".repeat(2));
    sandbox.ok("init first --keyfile key --kms here");
    let made = sandbox.json("kms --kms here --keyfile key create-key --multi-region");
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    sandbox.ok(&format!(
        "kms --kms here --keyfile key create-alias --alias-name alias/shared --target-key-id {id}"
    ));
    (sandbox, id)
}

fn text<'a>(report: &'a Value, field: &str) -> &'a str {
    report[field].as_str().unwrap_or_else(|| panic!("{field} of {report}"))
}

/// Carries the key over; answers the report of the import.
fn carry(sandbox: &Sandbox, no: u32) -> Value {
    let line = format!("replica request there ask{no} --keyfile key2 --create --region eu-west-1");
    let asked = sandbox.json(&format!("{line} --json"));
    assert_eq!((text(&asked, "change"), text(&asked, "region")), ("requested", "eu-west-1"));
    let line = format!("replica export here ask{no} bundle{no} --key alias/shared --keyfile key");
    let fingerprint = text(&asked, "fingerprint");
    let sealed = sandbox.json(&format!("{line} --fingerprint {fingerprint} --json"));
    assert_eq!(text(&sealed, "change"), "exported");
    let fingerprint = text(&sealed, "fingerprint");
    let line =
        format!("replica import there bundle{no} --keyfile key2 --fingerprint {fingerprint}");
    sandbox.json(&format!("{line} --json"))
}

fn encrypt(sandbox: &Sandbox, home: &str, id: &str) -> String {
    let line = format!("kms --kms {home} encrypt --key-id {id} --plaintext aGVsbG8=");
    text(&sandbox.json(&line), "CiphertextBlob").to_owned()
}

fn decrypts(sandbox: &Sandbox, home: &str, blob: &str) -> bool {
    let answer = sandbox.line(&format!("kms --kms {home} decrypt --ciphertext-blob {blob}"));
    answer.code == 0 && answer.stdout.contains("aGVsbG8=")
}

const HERE: &str = "here --keyfile key";
const THERE: &str = "there --keyfile key2";

/// Law: what one home encrypts the other decrypts; after a rotation once it has the next bundle.
#[test]
fn a_key_goes_from_one_home_to_another() {
    let (sandbox, id) = two_homes();
    let made = carry(&sandbox, 1);
    assert_eq!((text(&made, "change"), &made["materials"]), ("made", &Value::from(1)));
    assert!(text(&made, "key_arn").ends_with(&format!("eu-west-1:000000000000:key/{id}")));
    let blob = encrypt(&sandbox, HERE, &id);
    assert!(decrypts(&sandbox, THERE, &blob));
    assert!(decrypts(&sandbox, HERE, &encrypt(&sandbox, THERE, &id)));
    sandbox
        .line(&format!("kms --kms {THERE} rotate-key-on-demand --key-id {id}"))
        .assert_refused(1, "in us-east-1, in another installation");

    sandbox.ok(&format!("rotate {id} --kms {HERE}"));
    let blob = encrypt(&sandbox, HERE, &id);
    assert!(!decrypts(&sandbox, THERE, &blob));
    let updated = carry(&sandbox, 2);
    assert_eq!((text(&updated, "change"), &updated["materials"]), ("updated", &Value::from(2)));
    assert!(decrypts(&sandbox, THERE, &blob));
    // The first bundle once more.
    let first = std::fs::read(sandbox.path("bundle1")).unwrap();
    let fingerprint = kmsfs::kms::Fingerprint::of(&first).to_string();
    let line = format!("replica import there bundle1 --keyfile key2 --fingerprint {fingerprint}");
    assert!(sandbox.ok(&line).contains("nothing was changed"));
}

/// Law: no file is taken without the fingerprint that the other side shows, and none is written over.
#[test]
fn nothing_is_taken_without_its_fingerprint() {
    let (sandbox, _) = two_homes();
    sandbox.ok("replica request there ask --keyfile key2 --create --region eu-west-1");
    let export = "replica export here ask bundle --key alias/shared --keyfile key";
    sandbox.line(export).assert_refused(2, "which fingerprint the other side shows");
    let wrong = format!("{export} --fingerprint {}", "0".repeat(32));
    sandbox.line(&wrong).assert_refused(2, "its fingerprint is");
    assert!(!sandbox.path("bundle").exists());
    sandbox
        .line("replica export here key bundle --key x --keyfile key --fingerprint x")
        .assert_refused(2, "no request");
    sandbox
        .line("replica import there key --keyfile key2 --fingerprint x")
        .assert_refused(2, "no bundle");
    let ask = std::fs::read(sandbox.path("ask")).unwrap();
    let export = format!("{export} --fingerprint {}", kmsfs::kms::Fingerprint::of(&ask));
    sandbox.write("bundle", "mine");
    sandbox.line(&export).assert_refused(2, "is there already");
    assert_eq!(sandbox.read("bundle").unwrap(), "mine");
    // The record of an export tells for whom.
    let log = sandbox.read("here/audit.log").unwrap();
    assert!(!log.contains("ExportReplica"));
    std::fs::remove_file(sandbox.path("bundle")).unwrap();
    sandbox.ok(&export);
    let log = sandbox.read("here/audit.log").unwrap();
    assert!(log.contains("ExportReplica") && log.contains("requestFingerprint"), "{log}");
}

/// Law: a volume whose key is carried over opens with either home, and neither rewraps for the other.
#[test]
fn a_volume_opens_with_either_home() {
    let (sandbox, id) = two_homes();
    sandbox.ok("init lower --kms here --keyfile key --key alias/shared");
    carry(&sandbox, 1);
    sandbox.ok(&format!(
        "kms --kms {THERE} create-alias --alias-name alias/shared --target-key-id {id}"
    ));
    if !crate::sandbox::can_mount() {
        return;
    }
    let with = |home: &str, work: &dyn Fn(&Path)| {
        sandbox.ok(&format!("mount lower mnt --create --kms {home}"));
        work(&sandbox.path("mnt"));
        sandbox.ok("umount mnt");
    };
    with(HERE, &|at| std::fs::write(at.join("one"), "by the first").unwrap());
    with(THERE, &|at| {
        assert_eq!(std::fs::read_to_string(at.join("one")).unwrap(), "by the first");
        std::fs::write(at.join("two"), "by the second").unwrap();
        let status = sandbox.json("status mnt/one --json");
        assert_eq!(status["stale"], false, "{status}");
        assert!(text(&status, "key_arn").contains(":us-east-1:"), "{status}");
    });
    with(HERE, &|at| {
        assert_eq!(std::fs::read_to_string(at.join("two")).unwrap(), "by the second");
        let status = sandbox.json("status mnt/two --json");
        assert_eq!(status["stale"], false, "{status}");
        assert!(text(&status, "key_arn").contains(":eu-west-1:"), "{status}");
    });
    // Files hold the key in both homes, by whatever ARN their headers name it.
    for home in [HERE, THERE] {
        sandbox
            .line(&format!("kms --kms {home} schedule-key-deletion --key-id {id}"))
            .assert_refused(31, "need");
    }
}
