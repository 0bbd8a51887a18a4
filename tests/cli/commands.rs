//! Commands without a mount: exit codes, errors, JSON.

use crate::sandbox::{Answer, Sandbox};

/// Law: a command line that makes no sense is 2, with nothing on stdout.
#[test]
fn wrong_command_lines_are_usage_errors() {
    let sandbox = Sandbox::new();
    for line in [
        "",
        "frobnicate",
        "init",
        "mount lower",
        "rewrap lower --rate fast",
        "rewrap lower --max-time soon",
        "rewrap lower --status --dry-run",
        "fsck lower --quick --full",
        "init lower --passfile a --keyfile b",
        "mount lower mnt --idle never",
        "policy set lower",
        "completions cobol",
    ] {
        let answer = sandbox.line(line);
        assert_eq!(answer.code, 2, "kmsfs {line}: {}", answer.stderr);
        assert!(answer.stdout.is_empty(), "kmsfs {line}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    let sandbox = Sandbox::new();
    for line in ["--help", "-h", "help rotate", "kms --help", "kms help", "kms create-key help"] {
        assert!(!sandbox.ok(line).is_empty(), "kmsfs {line}");
    }
    assert_eq!(sandbox.ok("--version"), concat!("kmsfs ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn init_makes_a_volume_and_says_what_comes_next() {
    let sandbox = Sandbox::new();
    let text = sandbox.ok("init lower --keyfile key");
    assert!(text.contains("is a new volume.   Its key is alias/aws/fs -> arn:aws:kms:"), "{text}");
    assert!(text.contains("\nnext: kmsfs mount "), "{text}");
    sandbox.line("init lower --keyfile key").assert_refused(6, "is not empty");
}

/// Law: names are bound unless init is told not to bind them, and both kinds of volume are whole.
#[test]
fn init_binds_names_unless_told_not_to() {
    let sandbox = Sandbox::new();
    for (line, bound) in
        [("init lower --keyfile key", true), ("init free --no-name-binding --keyfile key", false)]
    {
        sandbox.ok(line);
        let lower = line.split(' ').nth(1).unwrap();
        let config = sandbox.path(lower).join(".kmsfs/volume.toml");
        let text = std::fs::read_to_string(config).unwrap();
        assert_eq!(text.contains("\nnames = \"bound\"\n"), bound, "{line}:\n{text}");
        sandbox.ok(&format!("fsck {lower} --keyfile key"));
    }
}

/// Law: a typo must not make a volume, nor a key.
#[test]
fn init_refuses_what_is_not_meant() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("full")).unwrap();
    sandbox.write("full/file", "x");
    sandbox.line("init full --keyfile key").assert_refused(6, "is not empty");
    sandbox.line("init lower --keyfile key --key backup").assert_refused(2, "not an alias");
    sandbox.line("init no/such/dir --keyfile key").assert_refused(1, "no such file or directory");
    sandbox.ok("init one --keyfile key --kms kms");
    let refused = sandbox.line("init two --keyfile key --kms kms --key alias/none");
    refused.assert_refused(43, "NotFoundException");
    assert!(!sandbox.path("two").exists() && !sandbox.path("lower").exists());
    // What failed leaves nothing that would make the next attempt fail.
    sandbox.ok("init two --keyfile key --kms kms");
    assert_eq!(sandbox.json("status two --json")["kms"], sandbox.path("kms").to_str().unwrap());
}

#[test]
fn what_is_no_volume_is_said_to_be_none() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("plain")).unwrap();
    for verb in ["status", "usage", "rotate", "rewrap", "fsck", "cat", "ls"] {
        let answer = sandbox.line(&format!("{verb} plain --keyfile key"));
        let answer = if verb == "status" { sandbox.line("status plain") } else { answer };
        answer.assert_refused(23, "neither a volume nor a mount");
        let absent: Answer = sandbox.line(&format!("{verb} absent"));
        absent.assert_refused(1, "absent: no such file or directory");
    }
}

/// Law: gocryptfs' numbers, so that wrappers port over.
#[test]
fn each_way_to_fail_to_unlock_has_its_code() {
    let sandbox = Sandbox::new();
    sandbox.ok("init lower --passfile pass");
    sandbox.write("wrong", "incorrect horse\n");
    sandbox.write("empty", "\nsecond line\n");
    sandbox.write("short", "0123456789");
    sandbox.line("usage lower --passfile wrong").assert_refused(12, "wrong passphrase");
    sandbox.line("usage lower --keyfile key").assert_refused(12, "wrong passphrase or key file");
    sandbox.line("usage lower --keyfile short").assert_refused(12, "10 bytes");
    sandbox.line("usage lower --passfile empty").assert_refused(22, "passphrase is empty");
    sandbox.line("usage lower --extpass false").assert_refused(12, "--extpass");
    sandbox.line("usage lower").assert_refused(12, "no terminal");
    sandbox.line("usage lower --passfile absent").assert_refused(1, "absent: no such file");
    let by_command = sandbox.run(&["usage", "lower", "--extpass", "cat pass"]);
    assert_eq!(by_command.code, 0, "{}", by_command.stderr);
    let mut by_stdin = sandbox.command(&["usage", "lower", "--passfile", "-"]);
    by_stdin.stdin(std::fs::File::open(sandbox.path("pass")).unwrap());
    assert!(by_stdin.output().unwrap().status.success());
}

#[test]
fn a_volume_that_does_not_read_has_its_code() {
    let sandbox = Sandbox::with_volume();
    let config = sandbox.path("lower/.kmsfs/volume.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replacen("alias/aws/fs", "alias/aws/ebs", 1)).unwrap();
    sandbox.line("usage lower --keyfile key").assert_refused(23, "volume configuration");
    std::fs::write(&config, "nonsense").unwrap();
    sandbox.line("status lower").assert_refused(23, "volume configuration");
    std::fs::write(&config, text).unwrap();
    sandbox.ok("usage lower --keyfile key");
    std::fs::write(sandbox.path("lower/.kmsfs/keys.db"), "nonsense").unwrap();
    sandbox.line("usage lower --keyfile key").assert_refused(23, ".kmsfs: ");
    std::fs::remove_file(sandbox.path("lower/.kmsfs/keys.db")).unwrap();
    sandbox.line("usage lower --keyfile key").assert_refused(23, "no key database");
}

/// Law: field names do not change once shipped.
#[test]
fn reports_have_their_fields() {
    let sandbox = Sandbox::with_volume();
    for (line, schema, fields) in [
        ("status --json", "kmsfs.mounts/1", &["mounts"][..]),
        (
            "status lower --json",
            "kmsfs.status/1",
            &[
                "volume_id",
                "lower",
                "kms",
                "key_arn",
                "alias",
                "key_state",
                "material",
                "suite",
                "mount",
                "core",
            ],
        ),
        (
            "rotate lower --keyfile key --json",
            "kmsfs.rotate/1",
            &["key_arn", "alias", "previous_material", "material", "files_left", "rewrap"],
        ),
        (
            "rewrap lower --keyfile key --json",
            "kmsfs.rewrap/1",
            &["seen", "stale", "rewrapped", "failed", "left", "dry_run", "interrupted"],
        ),
        (
            "rewrap lower --status --keyfile key --json",
            "kmsfs.rewrap-status/1",
            &["running", "done", "total", "failed", "lazy_waiting", "lazy_done", "lazy_failed"],
        ),
        (
            "usage lower --keyfile key --json",
            "kmsfs.usage/1",
            &["rows", "empty_files", "unreadable_files", "directories"],
        ),
        (
            "fsck lower --keyfile key --json",
            "kmsfs.fsck/1",
            &["findings", "files", "directories", "bytes"],
        ),
        ("ls lower --keyfile key --json", "kmsfs.ls/1", &["path", "entries"]),
        (
            "policy show lower --keyfile key --json",
            "kmsfs.policy/1",
            &["path", "alias", "key_arn", "directories"],
        ),
        (
            "init other --keyfile key --json",
            "kmsfs.init/1",
            &["volume_id", "lower", "kms", "key_arn", "alias"],
        ),
    ] {
        let report = sandbox.json(line);
        let found: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
        let expected: Vec<&str> = ["schema"].into_iter().chain(fields.iter().copied()).collect();
        assert_eq!(found, expected, "kmsfs {line}");
        assert_eq!(report["schema"], schema, "kmsfs {line}");
    }
}

/// Law: an unmounted volume is rotated and rewrapped directly.
#[test]
fn a_volume_is_rotated_without_a_mount() {
    let sandbox = Sandbox::with_volume();
    let before = sandbox.json("rotate lower --keyfile key --json");
    assert_ne!(before["previous_material"], before["material"]);
    let after = sandbox.json("rotate lower --keyfile key --json");
    assert_eq!(after["previous_material"], before["material"]);
    assert_eq!(after["key_arn"], before["key_arn"]);
    sandbox.ok("rewrap lower --keyfile key");
    let rows = sandbox.json("usage lower --keyfile key --json")["rows"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert_eq!(rows[0]["material"], after["material"]);
    assert_eq!(rows[0]["volume_key"], true);
}

#[test]
fn two_commands_do_not_work_on_one_volume_at_once() {
    let sandbox = Sandbox::with_volume();
    sandbox.ok("usage lower --keyfile key");
    let lock = std::fs::File::open(sandbox.path("lower/.kmsfs/lock")).unwrap();
    lock.lock().unwrap();
    sandbox.line("usage lower --keyfile key").assert_refused(51, "open elsewhere");
    drop(lock);
    sandbox.ok("usage lower --keyfile key");
}

#[test]
fn manual_pages_and_completions_come_out() {
    let sandbox = Sandbox::new();
    sandbox.ok("man pages");
    let page = sandbox.read("pages/kmsfs-rotate.1").unwrap();
    assert!(page.contains("kmsfs") && page.contains("EXIT STATUS"), "{page}");
    for shell in ["bash", "zsh", "fish", "elvish"] {
        assert!(sandbox.ok(&format!("completions {shell}")).contains("rewrap"), "{shell}");
    }
}
