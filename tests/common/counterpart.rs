//! Another implementation of the cryptography: `testdata/counterpart.py`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Carries out tasks by the other implementation; `None` where it is not installed.
pub fn counterpart(tasks: &[Value]) -> Option<Vec<Value>> {
    let import = "from cryptography.hazmat.primitives.asymmetric import mldsa, mlkem";
    let has_it = Command::new("python3").args(["-c", import]).output();
    if !has_it.is_ok_and(|output| output.status.success()) {
        let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!is_ci, "the Python package `cryptography` 48 is missing");
        eprintln!("skipped: no Python package `cryptography` 48");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/counterpart.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = serde_json::to_vec(tasks).unwrap();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "see the error above");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}
