//! A mount in a process of its own.
//!
//! The program starts itself anew, since a process with threads must not fork. The child asks for
//! the passphrase itself, on the terminal that it still has, so no secret passes between the two;
//! it leaves the terminal once the mount answers, and says so in one line on its stdout.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};

use crate::cli::args::{Global, MountArgs};
use crate::cli::print::read_report;
use crate::control::report::MountReport;
use crate::control::{Failure, Kind, Reply};

/// Longest line that the child may say, in bytes.
const LINE_LEN_MAX: u64 = 1 << 20;

/// Starts the process of a mount and waits until the mount answers.
///
/// # Errors
/// What the child says; [`Kind::Other`] if it ends without a word.
pub(super) fn start(args: &MountArgs, global: &Global) -> Result<MountReport, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::io("own program", &error))?;
    let mut child = Command::new(program)
        .args(argv(args, global))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::io("own program", &error))?;
    let mut line = Vec::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out)
            .take(LINE_LEN_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::io("process of the mount", &error))?;
    }
    match serde_json::from_slice(&line) {
        Ok(Reply::Done(report)) => read_report(report),
        Ok(Reply::Failed(failure)) => {
            let _ended = child.wait();
            Err(failure)
        }
        Ok(Reply::Progress(_)) | Err(_) => {
            let ended = child.wait().map(|status| status.to_string()).unwrap_or_default();
            let what = format!("the process of the mount ended early: {ended}");
            Err(Failure::new(Kind::Other, what).hint("mount with -f to see why"))
        }
    }
}

/// The arguments that mean the same to the child.
fn argv(args: &MountArgs, global: &Global) -> Vec<OsString> {
    let mut argv: Vec<OsString> = vec!["mount".into(), "--detached".into()];
    let mut flag = |on: bool, name: &str| argv.extend(on.then(|| OsString::from(name)));
    flag(global.quiet, "--quiet");
    flag(global.yes, "--yes");
    flag(global.no_color, "--no-color");
    flag(args.create, "--create");
    flag(args.kit.no_recovery_kit, "--no-recovery-kit");
    flag(args.ro, "--ro");
    flag(args.allow_other, "--allow-other");
    flag(args.shared, "--shared");
    flag(args.no_writeback, "--no-writeback");
    flag(args.no_sandbox, "--no-sandbox");
    for _ in 0..global.verbose {
        argv.push("--verbose".into());
    }
    let mut option = |name: &str, value: Option<OsString>| {
        if let Some(value) = value {
            let mut word = OsString::from(format!("--{name}="));
            word.push(value);
            argv.push(word);
        }
    };
    let path = |path: &Option<std::path::PathBuf>| path.clone().map(OsString::from);
    option("idle", args.idle.map(|idle| idle.as_secs().to_string().into()));
    let number = |number: Option<u64>| number.map(|number| number.to_string().into());
    option("data-key-age", number(args.data_key_age.map(|age| age.as_secs())));
    option("data-key-bytes", number(args.data_key_bytes));
    option("data-key-messages", number(args.data_key_messages));
    option("log", path(&args.log));
    option("config", path(&args.config));
    option("passfile", path(&args.unlock.passfile));
    option("extpass", args.unlock.extpass.clone().map(OsString::from));
    option("keyfile", path(&args.unlock.keyfile));
    option("recovery-kit", path(&args.kit.recovery_kit));
    option("kms", path(&args.unlock.kms));
    option("audit", path(&args.unlock.audit));
    option("kms-url", args.unlock.kms_url.clone().map(OsString::from));
    for words in &args.options {
        argv.push("-o".into());
        argv.push(words.into());
    }
    argv.push("--".into());
    argv.extend([args.lower.clone().into(), args.mount_point.clone().into()]);
    argv
}

/// Leaves the terminal's session and the working directory.
///
/// # Errors
/// What the system answers.
pub(super) fn detach() -> Result<(), Failure> {
    rustix::process::setsid().map_err(|error| Failure::io("setsid", &error.into()))?;
    rustix::process::chdir("/").map_err(|error| Failure::io("/", &error.into()))
}

/// Puts /dev/null in the place of stdin, stdout and stderr.
///
/// # Errors
/// What the system answers.
pub(super) fn leave_stdio() -> Result<(), Failure> {
    let failed = |error: rustix::io::Errno| Failure::io("/dev/null", &error.into());
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed)?;
    rustix::stdio::dup2_stdin(&null).map_err(failed)?;
    rustix::stdio::dup2_stdout(&null).map_err(failed)?;
    rustix::stdio::dup2_stderr(&null).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::cli::args::{Args, Command as Verb, KitArgs, UnlockArgs};

    /// Law: the child is told everything that the parent was told.
    #[test]
    fn every_option_reaches_the_child() {
        let args = MountArgs {
            lower: "/l".into(),
            mount_point: "-m".into(),
            create: true,
            foreground: false,
            options: vec!["ro,noatime".into()],
            ro: true,
            allow_other: true,
            idle: Some(Duration::from_secs(90)),
            data_key_age: Some(Duration::from_secs(3600)),
            data_key_bytes: Some(1 << 30),
            data_key_messages: Some(1000),
            shared: true,
            no_writeback: true,
            no_sandbox: true,
            log: Some("/log".into()),
            config: Some("/config".into()),
            unlock: UnlockArgs {
                passfile: Some("-".into()),
                kms: Some("/k".into()),
                audit: Some("/a".into()),
                ..UnlockArgs::default()
            },
            kit: KitArgs { recovery_kit: Some("/kit".into()), no_recovery_kit: false },
            detached: true,
        };
        let remote = MountArgs {
            unlock: UnlockArgs { kms_url: Some("unix:/k".into()), ..UnlockArgs::default() },
            ..args.clone()
        };
        let global = Global { quiet: true, verbose: 2, yes: true, no_color: true, json: false };
        for args in [args, remote] {
            let words = [vec!["kmsfs".into()], argv(&args, &global)].concat();
            let parsed = Args::try_parse_from(words).unwrap();
            let Verb::Mount(heard) = parsed.command else { panic!("another command") };
            assert_eq!(format!("{heard:?}"), format!("{args:?}"));
            assert_eq!(format!("{:?}", parsed.global), format!("{global:?}"));
        }
    }
}
