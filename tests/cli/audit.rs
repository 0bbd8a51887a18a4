//! `kmsfs audit`: what was done is found, and what was changed is noticed.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::sandbox::Sandbox;

const KMS: &str = "kms --kms kms --keyfile key";

/// A key service in `kms` that has made three keys and was refused once.
fn used() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.ok("init lower --keyfile key --kms kms");
    let mut id = String::new();
    for name in ["one", "two", "three"] {
        let made = sandbox.json(&format!("{KMS} create-key --description {name}"));
        id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    }
    sandbox.ok(&format!("{KMS} disable-key --key-id {id}"));
    let refused = sandbox.line(&format!("{KMS} encrypt --key-id {id} --plaintext aGk="));
    assert_eq!(refused.code, 41);
    (sandbox, id)
}

#[test]
fn records_are_found() {
    let (sandbox, id) = used();
    let names = |line: &str| -> Vec<String> {
        let report = sandbox.json(line);
        assert_eq!(report["schema"], "kmsfs.audit-query/1");
        let records = report["records"].as_array().unwrap().iter();
        records.map(|record| record["eventName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("audit query kms --json --event createkey --text three"), ["CreateKey"]);
    let of_key = names(&format!("audit query kms --json --key {id} --limit 2"));
    assert_eq!(of_key, ["DisableKey", "Encrypt"]);
    assert_eq!(names("audit query kms --json --error *is?disabled."), ["Encrypt"]);
    assert_eq!(names("audit query kms --json --user nobody"), Vec::<String>::new());
    assert_eq!(names("audit query kms --json --until 1h"), Vec::<String>::new());
    assert!(!names("audit query kms --json --since 1h --user *:root").is_empty());
    // A volume leads to its key service, and a file is itself.
    let all = names("audit query kms --json");
    assert_eq!(names("audit query lower --json"), all);
    assert_eq!(names("audit query kms/audit.log --json"), all);
    let shown = sandbox.ok("audit query kms --error *");
    assert!(shown.contains("Encrypt") && shown.contains("DisabledException"), "{shown}");
    assert_eq!(shown.lines().count(), 1);
    sandbox.line("audit query nowhere").assert_refused(1, "nowhere");
    let refused = sandbox.line("audit query kms --since yesterday");
    assert!(refused.code == 2 && refused.stderr.contains("not a time: yesterday"));
}

#[test]
fn exports_are_read_by_others() {
    let (sandbox, _) = used();
    let all = sandbox.json("audit export kms");
    let lines = sandbox.read("kms/audit.log").unwrap();
    assert_eq!(all.as_array().unwrap().len(), lines.lines().count());
    let trail = sandbox.json("audit export kms --format cloudtrail --event DisableKey");
    let record = &trail["Records"][0];
    assert_eq!(record["eventName"], "DisableKey");
    assert!(record.get("seal").is_none() && trail["Records"].get(1).is_none());
    let table = sandbox.ok("audit export kms --format csv");
    assert_eq!(table.lines().count(), lines.lines().count() + 1);
    assert!(table.starts_with("sequence,eventTime,eventName,"), "{table}");
}

#[test]
fn a_log_that_holds_is_told_from_one_that_does_not() {
    let (sandbox, _) = used();
    let report = sandbox.json("audit verify kms --keyfile key --json");
    assert_eq!(report["schema"], "kmsfs.audit-verify/1");
    assert!(report["sealed"] == true && report["finding"].is_null());
    let lines = report["lines"].as_u64().unwrap();
    assert_eq!(report["last_sequence"], lines);
    let told = sandbox.ok("audit verify lower");
    assert!(told.contains("seals not checked"), "{told}");
    assert!(sandbox.ok("audit verify lower --keyfile key").contains("seals are right"));
    // A bare file, with the key of a key service.
    sandbox.ok("audit verify kms/audit.log");
    sandbox.ok("audit verify kms/audit.log --kms kms --keyfile key");
    sandbox.line("audit verify pass --json").assert_broken("not a line");

    let text = sandbox.read("kms/audit.log").unwrap();
    let whole: Vec<&str> = text.lines().collect();
    let write = |lines: &[&str]| sandbox.write("kms/audit.log", &(lines.join("\n") + "\n"));
    let mut swapped = whole.clone();
    swapped.swap(1, 2);
    write(&swapped);
    sandbox.line("audit verify kms --json").assert_broken("line 2");
    let changed = text.replace("three", "four");
    sandbox.write("kms/audit.log", &changed);
    sandbox.line("audit verify kms --keyfile key --json").assert_broken("does not follow");
    // Without a key nobody can say that the end is missing.
    write(&whole[..2]);
    sandbox.ok("audit verify kms");
    sandbox.line("audit verify kms --keyfile key --json").assert_broken("log ends at line 2");
    std::fs::remove_file(sandbox.path("kms/audit.log")).unwrap();
    sandbox.line("audit verify kms").assert_refused(23, "no audit log");
}

impl crate::sandbox::Answer {
    /// Exit code 26, an error line, and a report that says the same.
    fn assert_broken(&self, what: &str) {
        assert_eq!(self.code, 26, "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.lines().any(|line| line.starts_with("error: ")), "{}", self.stderr);
        let report: Value = serde_json::from_str(&self.stdout).unwrap();
        let finding = report["finding"].as_str().unwrap();
        assert!(finding.contains(what), "{finding}");
    }
}

#[test]
fn the_tail_goes_on_as_records_come() {
    let (sandbox, id) = used();
    let last = sandbox.ok("audit tail kms -n 1");
    assert!(last.contains("Encrypt") && last.lines().count() == 1, "{last}");
    let mut command = sandbox.command(&["audit", "tail", "kms", "-f", "-n", "0", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let (line, first) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let _gone = line.send(BufReader::new(stdout).lines().next().unwrap().unwrap());
    });
    // It has begun once it shows something; until then something is done again and again.
    let line = loop {
        sandbox.ok(&format!("{KMS} enable-key --key-id {id}"));
        if let Ok(line) = first.try_recv() {
            break line;
        }
    };
    reader.join().unwrap();
    let record: Value = serde_json::from_str(&line).unwrap();
    assert!(["EnableKey", "ListKeys"].contains(&record["eventName"].as_str().unwrap()));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A mount is asked at its control socket: it writes what it holds back, and has the key.
#[test]
fn a_mount_tells_what_it_has_done() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    sandbox.write("mnt/file", "content");
    let status = sandbox.json("status mnt/file --json");
    let file = status["file_id"].as_str().unwrap();
    let report = sandbox.json(&format!("audit query mnt --json --file {file}"));
    let record = &report["records"][0];
    assert_eq!(record["eventName"], "GenerateDataKey");
    assert_eq!(record["userIdentity"]["invokedBy"], "fs.kmsfs.internal");
    let report = sandbox.json("audit verify mnt --json");
    assert!(report["sealed"] == true && report["finding"].is_null(), "{report}");
    let log = sandbox.path("lower/.kmsfs/audit.log");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replace("GenerateDataKey", "generateDataKey")).unwrap();
    sandbox.line("audit verify mnt --json").assert_broken("does not follow");
    std::fs::write(&log, text).unwrap();
}

/// Records tell which process asked for which file.
#[test]
fn the_process_behind_a_request_is_recorded() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    let path = sandbox.path("mnt/file");
    let mut writer = std::process::Command::new("dd");
    writer.args(["if=/dev/zero", "bs=1", "count=10", "conv=fsync"]);
    writer.arg(format!("of={}", path.display())).stderr(Stdio::null());
    assert!(writer.status().unwrap().success());
    // The key is asked for anew, by a process that can be told apart.
    sandbox.ok("umount mnt");
    sandbox.ok("mount lower mnt --keyfile key");
    let mut reader = std::process::Command::new("cat");
    let child = reader.arg(&path).stdout(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    assert!(child.wait_with_output().unwrap().status.success());
    let file = sandbox.json("status mnt/file --json")["file_id"].as_str().unwrap().to_owned();
    let report = sandbox.json(&format!("audit query mnt --json --event Decrypt --file {file}"));
    let records = report["records"].as_array().unwrap();
    let asked = &records.last().unwrap()["additionalEventData"];
    assert_eq!((&asked["fileId"], &asked["pid"]), (&file.into(), &pid.into()), "{report}");
    assert_eq!(asked["uid"], rustix::process::getuid().as_raw());
}

/// The key service of a mount tells what happens in it, and raises the alarm that is always there.
#[test]
fn a_mount_tells_events_and_raises_alarms() {
    if !crate::sandbox::can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write(
        "config.toml",
        "[audit]\nsegment = \"16KiB\"\n[[events]]\nfile = \"events\"\n[[alarm]]\n\
         name = \"disabled\"\nerror = \"Disabled*\"\ncommand = \"cat >> alarms\"\n",
    );
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(sandbox.path("config.toml"), mode(0o666)).unwrap();
    let open = "mount -f --create lower mnt --keyfile key --config config.toml";
    sandbox.line(open).assert_refused(2, "mode 0666 lets others write");
    std::fs::set_permissions(sandbox.path("config.toml"), mode(0o644)).unwrap();
    sandbox.write("wrong.toml", "[[events]]\nfile = \"a\"\nsocket = \"b\"\n");
    let wrong = "mount -f --create lower mnt --keyfile key --config wrong.toml";
    std::fs::set_permissions(sandbox.path("wrong.toml"), mode(0o600)).unwrap();
    sandbox.line(wrong).assert_refused(2, "one place");
    // In the foreground: the command writes where it was started.
    let words = ["mount", "-f", "--create", "lower", "mnt", "--keyfile", "key"];
    let mut command = sandbox.command(&[&words[..], &["--config", "config.toml"]].concat());
    let said = std::fs::File::create(sandbox.path("said")).unwrap();
    let mut mount = command.stdout(Stdio::null()).stderr(said).spawn().unwrap();
    crate::sandbox::wait_for("mount", || sandbox.line("status mnt").code == 0);
    let made = sandbox.json("kms --on mnt create-key");
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let arn = made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    sandbox.ok(&format!("kms --on mnt rotate-key-on-demand --key-id {id}"));
    sandbox.ok(&format!("kms --on mnt disable-key --key-id {id}"));
    let encrypt = format!("kms --on mnt encrypt --key-id {id} --plaintext aGk=");
    assert_eq!(sandbox.line(&encrypt).code, 41);
    sandbox.ok(&format!("kms --on mnt schedule-key-deletion --key-id {id}"));
    assert_eq!(sandbox.line(&encrypt).code, 42);
    sandbox.ok("umount mnt");
    let ended = mount.wait().unwrap();
    assert!(ended.success(), "{ended}: {}", sandbox.read("said").unwrap());

    let events: Vec<Value> = sandbox
        .read("events")
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_kind = |kind: &str| -> Vec<&Value> {
        let of_key = |event: &&Value| event.to_string().contains(&id);
        events.iter().filter(|e| e["detail-type"] == kind).filter(of_key).collect()
    };
    let rotation = of_kind("KMS CMK Rotation");
    assert_eq!(rotation.len(), 1);
    assert_eq!(rotation[0]["resources"][0], arn.as_str());
    assert_eq!(rotation[0]["detail"]["rotation-type"], "ON_DEMAND");
    let calls = of_kind("AWS API Call via CloudTrail");
    let names: Vec<&str> =
        calls.iter().map(|call| call["detail"]["eventName"].as_str().unwrap()).collect();
    let all = ["CreateKey", "RotateKeyOnDemand", "DisableKey", "ScheduleKeyDeletion"];
    assert_eq!(names, all);
    let alarms = of_kind("CloudWatch Alarm State Change");
    assert_eq!(alarms.len(), 1, "{events:?}");
    assert_eq!(alarms[0]["detail"]["alarmName"], "key-pending-deletion-used");
    assert_eq!(alarms[0]["detail"]["record"]["errorCode"], "KMSInvalidStateException");
    // The other rule has a place of its own.
    let own: Value = serde_json::from_str(&sandbox.read("alarms").unwrap()).unwrap();
    assert_eq!(own["detail"]["alarmName"], "disabled");
}
