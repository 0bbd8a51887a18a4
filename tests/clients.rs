//! Clients of AWS KMS, which know nothing of us, against `kmsfs serve`: `tests/clients/run.py`.
//!
//! They are installed by `tests/clients/install`. Without them this test says so and passes, but fails
//! if the variable CI is set.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/serve.rs"]
mod serve;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use kmsfs::cli::kms_table::{Kind, OPERATIONS, kebab};
use serde_json::Value;
use serve::Server;

/// The Python with the clients; says so, and fails in CI, if they are not installed.
fn python() -> Option<PathBuf> {
    let clients = root().join("target/clients");
    let parts = [clients.join("bin/python"), clients.join("javascript/installed.json")];
    if parts.iter().all(|part| part.exists()) {
        return Some(clients.join("bin/python"));
    }
    let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!is_ci, "tests/clients/install has not been run");
    eprintln!("skipped: the clients are not installed (tests/clients/install)");
    None
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn clients_of_aws_work_unchanged() {
    let Some(python) = python() else { return };
    let mut server = Server::start_with(&["--events", "events"]);
    // Tests whose names have this part.
    let only = std::env::var("KMSFS_CLIENTS_ONLY").unwrap_or_default();
    let output = Command::new(python)
        .arg(root().join("tests/clients/run.py"))
        .env("ONLY", &only)
        .env("KMSFS", env!("CARGO_BIN_EXE_kmsfs"))
        .env("AWS_ENDPOINT_URL_KMS", &server.endpoint)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", server.credential("access_key_id"))
        .env("AWS_SECRET_ACCESS_KEY", server.credential("secret_access_key"))
        .env("HOME", server.dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.end(), Some(0));
    if !only.is_empty() {
        return;
    }
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

/// Law: `kmsfs kms` has every operation of `aws kms` and every option, of the same kind.
#[test]
fn verbs_are_those_of_aws() {
    let Some(python) = python() else { return };
    let output = Command::new(python).arg(root().join("tests/clients/model.py")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    type Model = BTreeMap<String, BTreeMap<String, (String, String)>>;
    let theirs: Model = serde_json::from_slice(&output.stdout).unwrap();
    let members = |members: &[(&str, Kind)]| {
        let member = |(name, kind): &(&str, Kind)| {
            ((*name).to_owned(), (format!("--{}", kebab(name)), format!("{kind:?}")))
        };
        members.iter().map(member).collect()
    };
    let ours: Model =
        OPERATIONS.iter().map(|(name, of)| ((*name).to_owned(), members(of))).collect();
    assert!(theirs.len() >= 56, "{} operations", theirs.len());
    for (operation, members) in &theirs {
        assert_eq!(ours.get(operation), Some(members), "{operation}");
    }
    assert_eq!(ours.len(), theirs.len());
}

/// Law: what was acknowledged is there after the server was killed.
#[test]
fn keys_outlive_a_killed_server() {
    let mut server = Server::start();
    server.restart_with(&[]);
    assert!(server.endpoint.starts_with("http://127.0.0.1:"), "{}", server.endpoint);
}
