//! Clients of AWS KMS, which know nothing of us, against `kmsfs serve`: `tests/clients/run.py`.
//!
//! They are installed by `tests/clients/install`. Without them this test says so and passes, but fails
//! if the variable CI is set.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A server on a free port, with a key service of its own.
struct Server {
    child: Child,
    endpoint: String,
    dir: TempDir,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), [7; 32]).unwrap();
        let mut child = Self::command(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let report: Value = serde_json::from_str(&line).unwrap();
        let endpoint = report["endpoint"].as_str().unwrap().to_owned();
        Self { child, endpoint, dir }
    }

    fn command(dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmsfs"));
        command.current_dir(dir).args(["serve", "--create", "--kms", "kms", "--keyfile", "key"]);
        command.args(["--listen", "127.0.0.1:0", "--events", "events", "--json"]);
        command.stdin(Stdio::null());
        command
    }

    /// A field of the one access key.
    fn credential(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("kms/credentials.toml")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} = \"")));
        line.unwrap().trim_end_matches('"').to_owned()
    }

    /// Ends the server as a user does, and tells its exit code.
    fn end(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[test]
fn clients_of_aws_work_unchanged() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/clients/bin/python");
    if !python.exists() {
        let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!is_ci, "tests/clients/install has not been run");
        eprintln!("skipped: the clients are not installed (tests/clients/install)");
        return;
    }
    let mut server = Server::start();
    let output = Command::new(python)
        .arg(root.join("tests/clients/run.py"))
        .env("AWS_ENDPOINT_URL_KMS", &server.endpoint)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", server.credential("access_key_id"))
        .env("AWS_SECRET_ACCESS_KEY", server.credential("secret_access_key"))
        .env("HOME", server.dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.end(), Some(0));
    // What the clients did was told, and that one of them used a key that is pending deletion.
    let events = std::fs::read_to_string(server.dir.path().join("events")).unwrap();
    let events: Vec<Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has = |kind: &str, pointer: &str, value: &str| {
        let mut of_kind = events.iter().filter(|event| event["detail-type"] == kind);
        of_kind.any(|event| event.pointer(pointer).is_some_and(|found| found == value))
    };
    assert!(has("AWS API Call via CloudTrail", "/detail/eventName", "ScheduleKeyDeletion"));
    assert!(has("KMS CMK Rotation", "/detail/rotation-type", "ON_DEMAND"));
    let alarm = "key-pending-deletion-used";
    assert!(has("CloudWatch Alarm State Change", "/detail/alarmName", alarm));
}

/// Law: what was acknowledged is there after the server was killed.
#[test]
fn keys_outlive_a_killed_server() {
    let mut server = Server::start();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let mut again = Server::command(server.dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(again.stdout.take().unwrap()).read_line(&mut line).unwrap();
    again.kill().unwrap();
    again.wait().unwrap();
    assert!(line.contains("\"endpoint\":\"http://127.0.0.1:"), "{line}");
}
