//! `kmsfs kms`, and what becomes of files whose key is gone.

use crate::sandbox::{Sandbox, can_mount, wait_for};

#[test]
fn operations_answer_as_aws_kms_does() {
    let sandbox = Sandbox::new();
    sandbox.ok("init lower --keyfile key --kms kms");
    let made = sandbox.json("kms --kms kms --keyfile key create-key --description spare");
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    assert_eq!(made["KeyMetadata"]["KeyState"], "Enabled");
    // Our own options may stand behind the verb, too; an empty answer prints nothing.
    let line = format!("create-alias --alias-name alias/spare --target-key-id {id}");
    assert_eq!(sandbox.ok(&format!("kms {line} --kms kms --keyfile=key")), "");
    let alias = sandbox.json("kms --kms kms --keyfile key describe-key --key-id alias/spare");
    assert_eq!(alias["KeyMetadata"]["KeyId"], id.as_str());
    // An id argument also takes an alias, or a unique prefix.
    sandbox.ok("kms --kms kms --keyfile key disable-key --key-id alias/spare");
    let prefix = id.split('-').next().unwrap();
    sandbox.ok(&format!("kms --kms kms --keyfile key enable-key --key-id {prefix}"));
    let text = sandbox.ok(&format!("rotate {prefix} --kms kms --keyfile key"));
    assert!(text.contains("new material"), "{text}");
    sandbox.ok("rotate alias/spare --kms kms --keyfile key");
    sandbox.line("rotate alias/spare").assert_refused(2, "in which key service");
}

#[test]
fn refusals_of_the_key_service_have_their_codes() {
    let sandbox = Sandbox::new();
    sandbox.ok("init lower --keyfile key --key alias/home");
    let on = "kms --on lower --keyfile key";
    sandbox
        .line(&format!("{on} describe-key --key-id alias/none"))
        .assert_refused(43, "NotFoundException: ");
    sandbox.line(&format!("{on} frob")).assert_refused(2, "unknown verb frob");
    sandbox.line(&format!("{on} describe-key --frob x")).assert_refused(2, "frob");
    sandbox.line("kms list-keys --kms absent --keyfile key").assert_refused(23, "no key database");
    sandbox.line("init two --kms lower/.kmsfs --keyfile key --key alias/x").assert_refused(43, "");

    sandbox.ok(&format!("{on} disable-key --key-id alias/home"));
    sandbox.line("usage lower --keyfile key").assert_refused(41, "DisabledException: ");
    sandbox.line("rotate lower --keyfile key").assert_refused(41, "DisabledException: ");
    // The way out works although the volume cannot be opened.
    sandbox.ok(&format!("{on} enable-key --key-id alias/home"));
    sandbox.ok("usage lower --keyfile key");
}

/// Law: a key that files, or the volume, still need is not given up without a reason, and `--yes`
/// alone does not silence that.
#[test]
fn a_key_in_use_is_not_deleted() {
    let sandbox = Sandbox::new();
    sandbox.ok("init lower --keyfile key --key alias/home");
    let line = "kms --on lower --keyfile key schedule-key-deletion --key-id alias/home";
    sandbox.line(line).assert_refused(31, "still needed");
    sandbox.line(&format!("{line} --yes")).assert_refused(31, "still needed");
    let force = format!("{line} --force-data-loss=retired");
    sandbox.line(&force).assert_refused(30, "alias/home");
    let done = sandbox.json(&format!("{force} --yes"));
    assert_eq!(done["KeyState"], "PendingDeletion");
    let audit = sandbox.read("lower/.kmsfs/audit.log").unwrap();
    assert!(audit.contains("retired"), "the reason is not in the audit log");
    sandbox.line("usage lower --keyfile key").assert_refused(42, "pending deletion");
    sandbox.ok("kms --on lower --keyfile key cancel-key-deletion --key-id alias/home");
    sandbox.ok("kms --on lower --keyfile key enable-key --key-id alias/home");
    sandbox.ok("usage lower --keyfile key");
}

/// Law: `stat`, `ls`, `rm`, `mv` work in every state of the key; reading does not, at once.
#[test]
fn files_of_a_disabled_key_are_closed_at_once() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    let made = sandbox.json("kms --on mnt create-key");
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    sandbox.ok(&format!("kms create-alias --on mnt --alias-name alias/sub --target-key-id {id}"));
    std::fs::create_dir(sandbox.path("mnt/sub")).unwrap();
    sandbox.ok("policy set mnt/sub --key alias/sub");
    sandbox.write("mnt/sub/file", "under another key");
    sandbox.write("mnt/file", "under the volume's key");
    let status = sandbox.json("status mnt/sub/file --json");
    assert_eq!(status["policy"], "alias/sub");
    assert!(status["key_arn"].as_str().unwrap().ends_with(id));

    sandbox.ok("kms --on mnt disable-key --key-id alias/sub");
    let error = sandbox.read("mnt/sub/file").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOKEY.raw_os_error()));
    assert_eq!(sandbox.read("mnt/file").unwrap(), "under the volume's key");
    assert_eq!(std::fs::metadata(sandbox.path("mnt/sub/file")).unwrap().len(), 17);
    std::fs::rename(sandbox.path("mnt/sub/file"), sandbox.path("mnt/sub/moved")).unwrap();

    sandbox.ok("kms --on mnt enable-key --key-id alias/sub");
    assert_eq!(sandbox.read("mnt/sub/moved").unwrap(), "under another key");
    sandbox
        .line("kms --on mnt schedule-key-deletion --key-id alias/sub")
        .assert_refused(31, "still needed by 1 files");
}

/// Law: two mounts at once are told apart; one is meant without being named.
#[test]
fn the_only_mount_is_meant_without_being_named() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    // Root sees everybody's mounts, so only the named form is sure to work.
    let keys = sandbox.json("kms --on mnt list-keys");
    assert_eq!(keys["Keys"].as_array().unwrap().len(), 1);
    sandbox.ok("mount --create lower2 mnt2 --keyfile key");
    let answer = sandbox.line("kms list-keys");
    answer.assert_refused(2, "more than one volume is mounted");
}

/// Law: a change by another process reaches a mount within a second or two.
#[test]
fn a_key_that_another_process_disables_closes_its_files() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.ok("init lower --keyfile key --kms kms");
    std::fs::create_dir(sandbox.path("mnt")).unwrap();
    sandbox.ok("mount lower mnt --keyfile key");
    let made = sandbox.json("kms --kms kms --keyfile key create-key");
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    let line = format!("create-alias --alias-name alias/dir --target-key-id {id}");
    sandbox.ok(&format!("kms --kms kms --keyfile key {line}"));
    std::fs::create_dir(sandbox.path("mnt/dir")).unwrap();
    sandbox.ok("policy set mnt/dir --key alias/dir");
    sandbox.write("mnt/dir/file", "content");
    assert_eq!(sandbox.read("mnt/dir/file").unwrap(), "content");
    sandbox.ok(&format!("kms --kms kms --keyfile key disable-key --key-id {id}"));
    wait_for("refusal", || sandbox.read("mnt/dir/file").is_err());
    sandbox.ok(&format!("kms --kms kms --keyfile key enable-key --key-id {id}"));
    wait_for("content", || sandbox.read("mnt/dir/file").is_ok_and(|text| text == "content"));
}

/// Law: a key policy that keeps the filesystem out closes its files at once, cached pages included.
#[test]
fn files_of_a_key_that_denies_the_filesystem_are_closed_at_once() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    let made = sandbox.json("kms --on mnt create-key");
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    sandbox.ok(&format!("kms create-alias --on mnt --alias-name alias/sub --target-key-id {id}"));
    std::fs::create_dir(sandbox.path("mnt/sub")).unwrap();
    sandbox.ok("policy set mnt/sub --key alias/sub");
    sandbox.write("mnt/sub/file", "content");
    let open = sandbox.json(&format!("kms --on mnt get-key-policy --key-id {id}"));
    let put = |name: &str, policy: &str| {
        std::fs::write(sandbox.path(name), policy).unwrap();
        let path = sandbox.path(name);
        sandbox.ok(&format!(
            "kms --on mnt put-key-policy --key-id {id} --policy file://{}",
            path.display()
        ));
    };
    put(
        "closed",
        r#"{"Statement":[
            {"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"},
            {"Effect":"Deny","Principal":{"Service":"fs.kmsfs.internal"},"Action":"kms:*","Resource":"*"}
        ]}"#,
    );
    let error = sandbox.read("mnt/sub/file").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::ACCESS.raw_os_error()));
    put("open", open["Policy"].as_str().unwrap());
    assert_eq!(sandbox.read("mnt/sub/file").unwrap(), "content");
}

/// Law: a mount that is told to asks the key service for a data key again; one that is not holds it.
#[test]
fn a_data_key_is_asked_for_again_where_a_mount_is_told_to() {
    if !can_mount() {
        return;
    }
    for (option, is_asked) in [("--data-key-messages 1", true), ("--idle 1h", false)] {
        let sandbox = Sandbox::new();
        sandbox.ok(&format!("mount --create lower mnt --keyfile key --no-writeback {option}"));
        for _ in 0..5 {
            let mut how = std::fs::OpenOptions::new();
            let mut file = how.create(true).append(true).open(sandbox.path("mnt/file")).unwrap();
            std::io::Write::write_all(&mut file, b"a line\n").unwrap();
        }
        assert_eq!(sandbox.read("mnt/file").unwrap(), "a line\n".repeat(5));
        sandbox.ok("umount mnt");
        let audit = sandbox.read("lower/.kmsfs/audit.log").unwrap();
        let asked = audit.lines().filter(|line| {
            line.contains("\"eventName\":\"Decrypt\"") && line.contains("kmsfs:file")
        });
        let asked = asked.count();
        assert!(if is_asked { asked >= 4 } else { asked == 0 }, "{option}: {asked}");
    }
    let sandbox = Sandbox::new();
    let refused = sandbox.line("mount --create lower mnt --keyfile key --data-key-bytes 0");
    assert_eq!(refused.code, 2, "{}", refused.stderr);
}
