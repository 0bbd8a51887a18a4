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
    let Some(answer) = on_terminal(&sandbox, "init lower", "secret\nsecret\nn\n") else { return };
    assert_eq!(answer.code, 0, "{}", answer.stdout);
    assert!(!answer.stdout.contains("Write them down"), "a kit that was not wanted");
    assert!(answer.stdout.contains("New passphrase for ") && answer.stdout.contains("Again: "));
    let answer = on_terminal(&sandbox, "usage lower", "secret\n").unwrap();
    assert_eq!(answer.code, 0, "{}", answer.stdout);
    assert!(answer.stdout.contains("Passphrase for ") && !answer.stdout.contains("Again: "));
    assert_eq!(on_terminal(&sandbox, "usage lower", "other\n").unwrap().code, 12);
    assert_eq!(on_terminal(&sandbox, "init two", "one\nanother\n").unwrap().code, 12);
    assert_eq!(on_terminal(&sandbox, "init two", "\n").unwrap().code, 22);
}

/// Law: who does not want to be asked for a recovery kit is not.
#[test]
fn no_kit_is_offered_where_it_is_declined() {
    let sandbox = Sandbox::new();
    let line = "init lower --no-recovery-kit";
    let Some(answer) = on_terminal(&sandbox, line, "secret\nsecret\n") else { return };
    assert_eq!(answer.code, 0, "{}", answer.stdout);
    assert!(!answer.stdout.contains("Recovery kit"), "{}", answer.stdout);
}

/// The first command of the README: nothing but a terminal.
#[test]
fn the_first_mount_needs_nothing_but_a_terminal() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let line = "mount --create vault.enc vault";
    // Asked for a recovery kit; Enter takes it, and Enter again when it is written down.
    let Some(answer) = on_terminal(&sandbox, line, "secret\nsecret\n\n\n") else { return };
    assert_eq!(answer.code, 0, "{}", answer.stdout);
    let words = answer.stdout.split("Show them now? [Y/n]").nth(1).unwrap();
    let words = words.split("Write them down").next().unwrap();
    sandbox.write("kit", words.trim());
    sandbox.ok("recover vault.enc --kit kit --drill");
    // The terminal is gone by now, the mount is not.
    sandbox.write("vault/file", "content");
    assert_eq!(sandbox.read("vault/file").unwrap(), "content");
    sandbox.ok("umount vault");
}
