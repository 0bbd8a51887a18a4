//! Keys and materials that files need, seen from a volume and from its key service.

use crate::sandbox::Sandbox;

const SERVICE: &str = "--kms kms --keyfile key";

/// A volume with a key service of its own directory, one file in it.
fn volume_with_a_file() -> Option<Sandbox> {
    if !crate::sandbox::can_mount() {
        return None;
    }
    let sandbox = Sandbox::new();
    sandbox.ok("init lower --keyfile key --kms kms --key alias/home");
    std::fs::create_dir(sandbox.path("mnt")).unwrap();
    sandbox.ok("mount lower mnt --keyfile key");
    sandbox.write("mnt/file", "content");
    Some(sandbox)
}

/// Law: without the volume at hand, its key service knows what its files need: while it is mounted,
/// afterwards, and until it is forgotten.
#[test]
fn the_key_service_alone_refuses_what_files_need() {
    let Some(sandbox) = volume_with_a_file() else { return };
    let line = format!("kms {SERVICE} schedule-key-deletion --key-id alias/home");
    sandbox.line(&line).assert_refused(31, "still needed");
    sandbox.ok("umount mnt");
    sandbox.line(&line).assert_refused(31, "still needed by 1 files of 1 known volumes");
    let report = sandbox.json(&format!("usage {SERVICE} --json"));
    assert_eq!(report["rows"][0]["files"], 1);
    assert_eq!(
        (&report["volumes"][0]["files"], &report["volumes"][0]["growing"]),
        (&1.into(), &false.into())
    );
    let text = sandbox.ok("usage kms --keyfile key");
    assert!(text.contains("current") && text.contains("lower"), "{text}");
    let volume = report["volumes"][0]["volume_id"].as_str().unwrap();
    let forget = format!("usage {SERVICE} --forget {volume}");
    sandbox.line(&forget).assert_refused(30, "would hold no key any more");
    sandbox.ok(&format!("{forget} --yes"));
    sandbox.ok(&line);
}

/// Law: revoking rewraps first, closes what is left, is taken back, and ends in a destruction that
/// leaves every file readable.
#[test]
fn a_material_is_revoked_and_destroyed_and_no_file_is_lost() {
    let Some(sandbox) = volume_with_a_file() else { return };
    // Files that are in use would be rewrapped by themselves.
    sandbox.ok("umount mnt");
    sandbox.ok("mount lower mnt --keyfile key");
    let status = sandbox.json("status mnt/file --json");
    let old = status["material"].as_str().unwrap().to_owned();
    sandbox.line(&format!("revoke mnt --material {old}")).assert_refused(31, "current");
    sandbox.line("revoke mnt --material zzzz").assert_refused(43, "no key material");
    sandbox.ok("rotate mnt");
    sandbox.write("mnt/newer", "newer");
    sandbox.line(&format!("destroy mnt --material {old} --yes")).assert_refused(31, "not revoked");

    // With its files left as they are: they are closed, and named.
    let report = sandbox.json(&format!("revoke mnt --material {} --keep-files --json", &old[..12]));
    assert_eq!(report["state"], "revoked");
    assert_eq!(report["files"], serde_json::json!(["file"]));
    let closed = sandbox.read("mnt/file").unwrap_err();
    assert_eq!(closed.raw_os_error(), Some(rustix::io::Errno::NOKEY.raw_os_error()));
    assert_eq!(sandbox.read("mnt/newer").unwrap(), "newer");
    assert!(sandbox.ok("usage mnt").contains("revoked"));
    sandbox
        .line(&format!("destroy mnt --material {old} --yes"))
        .assert_refused(31, "still needed by 1 files");
    sandbox.ok(&format!("revoke mnt --material {old} --undo"));
    assert_eq!(sandbox.read("mnt/file").unwrap(), "content");

    let report = sandbox.json(&format!("revoke mnt --material {old} --json"));
    assert_eq!((&report["files_left"], &report["files"]), (&0.into(), &serde_json::json!([])));
    assert_eq!(sandbox.read("mnt/file").unwrap(), "content");
    let destroy = format!("destroy mnt --material {old}");
    sandbox.line(&destroy).assert_refused(30, "gone for good");
    sandbox.ok(&format!("{destroy} --yes"));
    assert_eq!(sandbox.read("mnt/file").unwrap(), "content");
    sandbox.ok("umount mnt");
    assert_eq!(sandbox.ok("cat lower file --keyfile key"), "content");
    assert!(!sandbox.ok(&format!("usage {SERVICE} --json")).contains(&old));
    let audit = sandbox.read("kms/audit.log").unwrap();
    assert!(audit.contains("RevokeMaterial") && audit.contains("DestroyMaterial"));
}

/// Law: a volume whose own key is under a revoked material says so, and the way back needs no open
/// volume.
#[test]
fn a_volume_closed_by_a_revocation_opens_again() {
    let sandbox = Sandbox::new();
    sandbox.ok("init lower --keyfile key");
    let usage = sandbox.json("usage lower --keyfile key --json");
    let old = usage["rows"][0]["material"].as_str().unwrap().to_owned();
    sandbox.ok("rotate lower --keyfile key");
    sandbox.ok(&format!("revoke lower/.kmsfs --keyfile key --material {old}"));
    sandbox.line("usage lower --keyfile key").assert_refused(41, "is revoked");
    sandbox
        .line(&format!("destroy lower/.kmsfs --keyfile key --material {old} --yes"))
        .assert_refused(31, "still needed");
    sandbox.ok(&format!("revoke lower --keyfile key --material {old} --undo"));
    sandbox.ok(&format!("revoke lower --keyfile key --material {old}"));
    sandbox.ok(&format!("destroy lower --keyfile key --material {old} --yes"));
    sandbox.ok("usage lower --keyfile key");
}
