//! Slots, the recovery kit and header archives: what opens a volume when something is lost.

use std::os::unix::fs::PermissionsExt;

use crate::sandbox::Sandbox;

fn with_passphrase(extra: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("init lower --passfile pass {extra}"));
    sandbox
}

/// Everything below a directory: paths, bytes and modification times.
fn everything(dir: &std::path::Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
    let mut all = Vec::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let stat = std::fs::metadata(&path).unwrap();
            let bytes = if stat.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
            all.push((path.display().to_string(), bytes, stat.modified().unwrap()));
            if stat.is_dir() {
                waiting.push(path);
            }
        }
    }
    all.sort();
    all
}

/// Law: the passphrase is changed, the old one opens nothing, and nothing of its slot is left on disk.
#[test]
fn a_changed_passphrase_leaves_nothing_behind() {
    let sandbox = with_passphrase("");
    sandbox.write("new", "battery staple\n");
    let slot = || -> Vec<u8> {
        let db = rusqlite::Connection::open(sandbox.path("lower/.kmsfs/keys.db")).unwrap();
        db.query_row("SELECT body FROM slots", [], |row| row.get(0)).unwrap()
    };
    let old = slot();
    sandbox.line("passwd lower --passfile new --new-passfile pass").assert_refused(12, "wrong");
    sandbox.ok("passwd lower --passfile pass --new-passfile new");
    sandbox.line("usage lower --passfile pass").assert_refused(12, "wrong passphrase");
    sandbox.ok("usage lower --passfile new");
    assert_ne!(slot(), old);
    for (path, bytes, _) in everything(&sandbox.path("lower")) {
        // Salt and sealed key, in pieces: a page may cut them.
        for part in old[14..].chunks(24) {
            assert!(!bytes.windows(part.len()).any(|found| found == part), "{path}");
        }
    }
    sandbox.write("empty", "\n");
    sandbox.line("passwd lower --passfile new --new-passfile empty").assert_refused(22, "empty");
    sandbox.line("passwd lower --passfile - --new-passfile -").assert_refused(2, "one passphrase");
}

/// Law: any slot opens, a removed one does not, the last one stays.
#[test]
fn any_slot_opens_and_the_last_one_stays() {
    let sandbox = with_passphrase("");
    sandbox.line("slot remove lower 1 --passfile pass").assert_refused(31, "last");
    sandbox.ok("slot add lower --passfile pass --new-keyfile key");
    sandbox.ok("slot add lower --keyfile key --recovery-kit kit");
    sandbox.line("slot add lower --keyfile key --recovery-kit kit").assert_refused(1, "exists");
    let slots = sandbox.json("slot list lower --keyfile key --json");
    let kinds: Vec<&str> =
        slots["slots"].as_array().unwrap().iter().map(|s| s["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["passphrase", "key-file", "recovery-kit"]);
    assert_eq!(slots["slots"][1]["opened"], true);
    sandbox.ok("usage lower --passfile pass");
    sandbox.ok("slot remove lower 1 --keyfile key");
    sandbox.line("usage lower --passfile pass").assert_refused(12, "wrong");
    sandbox.line("slot remove lower 1 --keyfile key").assert_refused(2, "no slot 1");
    sandbox.ok("usage lower --keyfile key");
    assert!(sandbox.read("lower/.kmsfs/audit.log").unwrap().contains("ChangeSlots"));
}

/// Law: the kit of `init` opens; a drill proves it and changes not a byte, also of a mounted volume;
/// recovery sets a new passphrase in the place of the lost one.
#[test]
fn the_recovery_kit_opens_when_the_passphrase_is_lost() {
    let sandbox = with_passphrase("--recovery-kit kit");
    let mode = std::fs::metadata(sandbox.path("kit")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = sandbox.read("kit").unwrap();
    let words: Vec<&str> =
        text.lines().filter(|l| !l.starts_with('#')).flat_map(str::split_whitespace).collect();
    assert_eq!(words.len(), 24);

    let before = everything(&sandbox.path("lower"));
    let drill = sandbox.json("recover lower --kit kit --drill --json");
    assert!(before == everything(&sandbox.path("lower")), "a drill changed something");
    assert_eq!((&drill["slot"], &drill["drill"]), (&"2".into(), &true.into()));
    assert!(drill["volume_id"].is_string());

    let mut wrong = words.clone();
    wrong.swap(0, 1);
    sandbox.write("wrong", &wrong.join(" "));
    let answer = sandbox.line("recover lower --kit wrong --drill");
    assert_eq!(answer.code, 12, "{}", answer.stderr);
    assert!(!answer.stderr.contains(words[0]), "words in an error");
    sandbox.write("short", &words[1..].join(" "));
    sandbox.line("recover lower --kit short --drill").assert_refused(12, "24 words, not 23");
    sandbox.write("zeros", &format!("{}art", "abandon ".repeat(23)));
    sandbox.line("recover lower --kit zeros --drill").assert_refused(12, "not opened by this");

    sandbox.write("new", "battery staple\n");
    sandbox.ok("recover lower --kit kit --new-passfile new");
    sandbox.ok("usage lower --passfile new");
    sandbox.line("usage lower --passfile pass").assert_refused(12, "wrong");
    sandbox.ok("recover lower --kit kit --drill");

    // Behind the fence of a mount that makes its volume.
    if crate::sandbox::can_mount() {
        sandbox.ok("mount --create three mnt --passfile pass --recovery-kit kit3");
        sandbox.ok("recover mnt --kit kit3 --drill");
        sandbox.ok("umount mnt");
        sandbox.line("recover three --kit kit --drill").assert_refused(12, "not opened by this");
    }
    // Where a kit must not go.
    sandbox.line("init two --passfile pass --recovery-kit kit").assert_refused(2, "there already");
    sandbox.line("init two --passfile pass --recovery-kit two/kit").assert_refused(2, "inside");
    assert!(!sandbox.path("two").exists());
}

/// Law: what is damaged in headers, markers, sidecars, configuration and key database comes back from
/// an archive, with the content; what is good is left alone.
#[test]
fn damaged_headers_come_back_with_their_content() {
    if !crate::sandbox::can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.ok("mount --create lower mnt --keyfile key");
    std::fs::create_dir_all(sandbox.path("mnt/dir/deeper")).unwrap();
    let long = "n".repeat(200);
    let names = ["one".to_owned(), "dir/two".to_owned(), format!("dir/deeper/{long}")];
    for name in &names {
        sandbox.write(&format!("mnt/{name}"), &format!("content of {name}").repeat(700));
    }
    let lower_name = |name: &str| {
        let status = sandbox.json(&format!("status mnt/{name} --json"));
        status["lower_name"].as_str().unwrap().to_owned()
    };
    let one = lower_name("one");
    // While it is mounted.
    let saved = sandbox.json("backup headers mnt archive --keyfile key --json");
    assert_eq!((&saved["headers"], &saved["markers"]), (&3.into(), &3.into()));
    assert_eq!((&saved["sidecars"], &saved["skipped"]), (&1.into(), &0.into()));
    sandbox.line("backup headers mnt archive --keyfile key").assert_refused(1, "exists");
    sandbox.line("backup headers mnt lower/a --keyfile key").assert_refused(2, "inside");
    sandbox
        .line("backup headers mnt archive --restore --keyfile key")
        .assert_refused(51, "mounted");
    sandbox.ok("umount mnt");

    let restore = "backup headers lower archive --restore --keyfile key";
    let report = sandbox.json(&format!("{restore} --json"));
    assert_eq!((&report["good"], &report["restored"]), (&7.into(), &serde_json::json!([])));

    // Every file's header, every marker and sidecar.
    for (path, bytes, _) in everything(&sandbox.path("lower")) {
        let is_own = path.contains("/.kmsfs/") || path.ends_with("/.kmsfs");
        if is_own || std::fs::metadata(&path).unwrap().is_dir() {
            continue;
        }
        let mut bytes = bytes;
        let end = bytes.len().min(1536);
        bytes[..end].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
    }
    let dry = sandbox.json(&format!("{restore} --dry-run --json"));
    assert_eq!(dry["restored"].as_array().unwrap().len(), 7);
    assert_ne!(sandbox.line("fsck lower --keyfile key").code, 0);
    sandbox.ok(restore);
    sandbox.ok("fsck lower --keyfile key");
    for name in &names {
        let text = sandbox.ok(&format!("cat lower {name} --keyfile key"));
        assert_eq!(text, format!("content of {name}").repeat(700));
    }

    // Configuration and key database too.
    std::fs::write(sandbox.path("lower/.kmsfs/volume.toml"), "garbage").unwrap();
    std::fs::write(sandbox.path("lower/.kmsfs/keys.db"), vec![1; 9000]).unwrap();
    let report = sandbox.json(&format!("{restore} --json"));
    assert_eq!((&report["key_database"], &report["configuration"]), (&true.into(), &true.into()));
    assert_eq!(sandbox.ok("cat lower one --keyfile key"), "content of one".repeat(700));
    std::fs::remove_dir_all(sandbox.path("lower/.kmsfs")).unwrap();
    sandbox.ok(restore);
    assert_eq!(sandbox.ok("cat lower one --keyfile key"), "content of one".repeat(700));

    // A file that was written anew under the same name keeps its header, damaged or not. The state of
    // the volume is in no archive: without one, no mount before a look at everything.
    assert_eq!(sandbox.line("mount lower mnt --keyfile key").code, 23);
    sandbox.ok("fsck --repair lower --keyfile key --yes");
    sandbox.ok("mount lower mnt --keyfile key");
    std::fs::remove_file(sandbox.path("mnt/one")).unwrap();
    sandbox.write("mnt/one", &"newer".repeat(900));
    sandbox.ok("umount mnt");
    let report = sandbox.line(&format!("{restore} --overwrite --dry-run --json"));
    assert_eq!(report.code, 26);
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(report["other_content"], serde_json::json!([one]));
    let path = sandbox.path("lower").join(&one);
    let good = std::fs::read(&path).unwrap();
    let mut damaged = good.clone();
    damaged[..1536].fill(0);
    std::fs::write(&path, &damaged).unwrap();
    let answer = sandbox.line(restore);
    assert_eq!(answer.code, 26, "{}{}", answer.stdout, answer.stderr);
    assert_eq!(std::fs::read(&path).unwrap(), damaged, "a header of other content was put back");
    std::fs::write(&path, &good).unwrap();
}

/// Law: an archive that was changed anywhere, cut, or is of another volume changes nothing.
#[test]
fn a_changed_archive_is_refused_whole() {
    let sandbox = Sandbox::new();
    sandbox.ok("init lower --keyfile key");
    sandbox.ok("init other --keyfile key");
    sandbox.ok("backup headers lower archive --keyfile key");
    let good = std::fs::read(sandbox.path("archive")).unwrap();
    std::fs::write(sandbox.path("lower/.kmsfs.dir"), "damaged").unwrap();
    let before = everything(&sandbox.path("lower"));
    let mut tried = 0;
    let mut changed: Vec<Vec<u8>> =
        [0, 64, good.len() - 1, good.len() - 41].iter().map(|len| good[..*len].to_vec()).collect();
    changed.push([good.as_slice(), b"x"].concat());
    for at in (0..good.len()).step_by(good.len() / 60) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        changed.push(flipped);
    }
    for bytes in changed {
        std::fs::write(sandbox.path("changed"), bytes).unwrap();
        let answer = sandbox.line("backup headers lower changed --restore --keyfile key");
        assert_eq!(answer.code, 23, "{}{}", answer.stdout, answer.stderr);
        assert_eq!(everything(&sandbox.path("lower")), before);
        tried += 1;
    }
    assert!(tried > 50);
    sandbox
        .line("backup headers other archive --restore --keyfile key")
        .assert_refused(23, "another volume");
    sandbox.line("backup headers lower archive --restore --passfile pass").assert_refused(12, "");
    sandbox.ok("backup headers lower archive --restore --keyfile key");
    sandbox.ok("usage lower --keyfile key");
}
