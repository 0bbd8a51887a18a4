//! What happens on a terminal: prompts, by way of script(1).

use std::io::Write;
use std::process::{Command, Stdio};

use crate::sandbox::{Answer, KMSFS, Sandbox, can_mount};

/// Runs a line on a terminal of its own and types `typed`; `None` without script(1).
fn on_terminal(sandbox: &Sandbox, line: &str, typed: &str) -> Option<Answer> {
    let mut script = Command::new("script");
    script.args(["-qec", &format!("{KMSFS} {line}"), "/dev/null"]);
    sandbox.settle_in(&mut script);
    let child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: no script(1)");
        return None;
    };
    // What is typed before the question is asked is read all the same.
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap().into())
}

/// Law: a new passphrase is asked twice, an old one once, and it is never shown.
#[test]
fn passphrases_are_asked_on_a_terminal() {
    let sandbox = Sandbox::new();
    let Some(answer) = on_terminal(&sandbox, "init lower", "secret\nsecret\n") else { return };
    assert_eq!(answer.code, 0, "{}", answer.stdout);
    assert!(answer.stdout.contains("New passphrase for ") && answer.stdout.contains("Again: "));
    let answer = on_terminal(&sandbox, "usage lower", "secret\n").unwrap();
    assert_eq!(answer.code, 0, "{}", answer.stdout);
    assert!(answer.stdout.contains("Passphrase for ") && !answer.stdout.contains("Again: "));
    assert_eq!(on_terminal(&sandbox, "usage lower", "other\n").unwrap().code, 12);
    assert_eq!(on_terminal(&sandbox, "init two", "one\nanother\n").unwrap().code, 12);
    assert_eq!(on_terminal(&sandbox, "init two", "\n").unwrap().code, 22);
}

/// The first command of the README: nothing but a terminal.
#[test]
fn the_first_mount_needs_nothing_but_a_terminal() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let line = "mount --create vault.enc vault";
    let Some(answer) = on_terminal(&sandbox, line, "secret\nsecret\n") else { return };
    assert_eq!(answer.code, 0, "{}", answer.stdout);
    // The terminal is gone by now, the mount is not.
    sandbox.write("vault/file", "content");
    assert_eq!(sandbox.read("vault/file").unwrap(), "content");
    sandbox.ok("umount vault");
}
