//! The documents say what the program does: docs/CLI.md, and the sessions of the README.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use kmsfs::cli::args::Args;
use kmsfs::cli::exit::EXIT_CODES;
use kmsfs::control::report::{self, Report};

use crate::sandbox::{KMSFS, Sandbox, can_mount};

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The part of docs/CLI.md under a heading.
fn section(heading: &str) -> String {
    let text = document("docs/CLI.md");
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let level = heading.split(' ').next().unwrap();
    let body = &text[start + heading.len() + 2..];
    let end = body.find(&format!("\n{level} ")).unwrap_or(body.len());
    body[..end].to_owned()
}

#[test]
fn every_exit_code_is_in_the_table_and_no_other() {
    let table = section("## Exit codes");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert_eq!(rows.len(), EXIT_CODES.len(), "{table}");
    for ((kind, code), row) in EXIT_CODES.iter().zip(rows) {
        let kind = serde_json::to_value(kind).unwrap();
        let begin = format!("| {code} | `{}` |", kind.as_str().unwrap());
        assert!(row.starts_with(&begin), "{begin} is not how {row} begins");
    }
}

/// Law: no command and no option without a row, so that none is shipped unpromised.
#[test]
fn every_command_and_option_is_in_a_table() {
    let commands = section("## Commands");
    let options = section("## Options") + &section("## Unlocking");
    for command in Args::command().get_subcommands() {
        let name = command.get_name();
        assert!(commands.contains(&format!("`kmsfs {name}")), "kmsfs {name}");
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let Some(long) = arg.get_long().filter(|long| !["help", "version"].contains(long))
            else {
                continue;
            };
            assert!(options.contains(&format!("`--{long}`")), "kmsfs {name} --{long}");
        }
    }
}

#[test]
fn every_report_has_its_fields_in_a_table() {
    fn check<R: Report + Default>() {
        let table = section(&format!("### {}", R::SCHEMA));
        let value = R::default().to_value();
        for field in value.as_object().unwrap().keys().filter(|field| *field != "schema") {
            assert!(table.contains(&format!("`{field}`")), "{}: {field}", R::SCHEMA);
        }
    }
    check::<report::AuditQueryReport>();
    check::<report::AuditVerifyReport>();
    check::<report::BackupReport>();
    check::<report::BenchReport>();
    check::<report::ClockReport>();
    check::<report::FileReport>();
    check::<report::FsckReport>();
    check::<report::InitReport>();
    check::<report::KeysReport>();
    check::<report::LsReport>();
    check::<report::MaterialReport>();
    check::<report::MountReport>();
    check::<report::MountsReport>();
    check::<report::PolicyReport>();
    check::<report::RecoverReport>();
    check::<report::ReplicaReport>();
    check::<report::RestoreReport>();
    check::<report::RewrapReport>();
    check::<report::RewrapStatusReport>();
    check::<report::RotateReport>();
    check::<report::ServeReport>();
    check::<report::SlotReport>();
    check::<report::SlotsReport>();
    check::<report::StatusReport>();
    check::<report::UmountReport>();
    check::<report::UsageReport>();
    let headings = document("docs/CLI.md").matches("\n### kmsfs.").count();
    assert_eq!(headings, report::SCHEMAS.len());
}

/// Law: every finding that fsck can have is explained.
#[test]
fn every_finding_is_in_the_table() {
    let source = document("src/fs/findings.rs");
    let table = section("## fsck findings");
    let words = source.split('"').skip(1).step_by(2);
    let is_code = |word: &&str| {
        word.contains('-') && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
    };
    for code in words.filter(is_code) {
        assert!(table.contains(&format!("| `{code}` |")), "{code}");
    }
}

/// The README's sessions, command by command, with the output they really have.
#[test]
fn the_sessions_of_the_readme_are_real() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let bin = sandbox.path("bin");
    std::fs::create_dir(&bin).unwrap();
    // In place of the person who types the passphrase.
    let wrapper = format!(
        "#!/bin/sh\ncase $1 in init|mount) exec {KMSFS} \"$@\" --passfile '{}';; esac\nexec {KMSFS} \"$@\"\n",
        sandbox.path("pass").display()
    );
    let program = bin.join("kmsfs");
    std::fs::write(&program, wrapper).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(sandbox.path("you")).unwrap();

    let mut commands = 0;
    for block in document("README.md").split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for step in block.split("$ ").skip(1) {
            let (command, expected) = step.split_once('\n').unwrap();
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("exec 2>&1; {command}")]);
            sandbox.settle_in(&mut shell);
            let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
            shell.env("PATH", path).env("LC_ALL", "C").current_dir(sandbox.path("you"));
            let output = String::from_utf8(shell.output().unwrap().stdout).unwrap();
            let home = sandbox.path("you").display().to_string();
            let output = output.replace(&home, "/home/you");
            assert_eq!(plain(&output), plain(expected), "$ {command}");
            commands += 1;
        }
    }
    assert!(commands > 15, "{commands} commands");
}

/// Text without what differs from run to run: ids, and sealed names.
fn plain(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let (before, tail) = rest.split_at(start);
        let end = tail.find(|c| !is_word(c)).unwrap_or(tail.len());
        let (word, tail) = tail.split_at(end);
        let is_hex = word.len() >= 8 && word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        let is_name = word.len() >= 22;
        out.push_str(before);
        out.push_str(if is_hex || is_name { "ID" } else { word });
        rest = tail;
    }
    out + rest
}
