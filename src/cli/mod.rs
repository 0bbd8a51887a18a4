//! The command line. Names, exit codes and JSON fields are a promise: docs/CLI.md.
//!
//! [`args`] is the tree; each command has a file of its own. A command on a mounted volume talks to
//! the mount, on an unmounted one it opens the volume ([`target`]); both run the same code of
//! [`control`](crate::control). Exit codes are decided in [`exit`] alone.

pub mod args;
mod args_recovery;
mod args_replica;
mod audit;
pub mod audit_args;
mod audit_form;
mod backup;
mod cat;
mod clock;
mod config;
mod credentials_file;
mod endpoint;
pub mod exit;
mod fsck;
mod init;
mod interrupt;
mod kit;
pub mod kms;
mod kms_answer;
mod kms_call;
pub mod kms_table;
mod kms_value;
mod logging;
mod ls;
mod man;
mod place;
mod policy;
mod print;
mod progress;
mod recover;
mod remote;
mod replica;
mod revoke;
mod rewrap;
mod rotate;
mod sandbox;
mod serve;
mod slot;
mod status;
mod target;
mod unlock;
mod usage;
mod values;
mod watch;

#[cfg(feature = "fuse")]
mod bench;
#[cfg(feature = "fuse")]
mod daemon;
#[cfg(feature = "fuse")]
mod keeper;
#[cfg(feature = "fuse")]
mod mount;
#[cfg(feature = "fuse")]
mod mount_point;
#[cfg(feature = "fuse")]
mod mount_words;
#[cfg(feature = "fuse")]
mod mounted;
#[cfg(feature = "fuse")]
mod mounter;
#[cfg(feature = "fuse")]
mod notify;
#[cfg(feature = "fuse")]
mod umount;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::args::{Args, Command};
use crate::cli::print::Printer;
use crate::control::Failure;

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    #[cfg(feature = "fuse")]
    if mounter::is_meant(&words) {
        return mounter::run();
    }
    #[cfg(feature = "fuse")]
    let Some(words) = mount_words::from_mount_helper(words) else {
        // mount(8) asked for a rehearsal.
        return ExitCode::SUCCESS;
    };
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => {
            let _closed = error.print();
            return match error.use_stderr() {
                true => ExitCode::from(exit::code(crate::control::Kind::Usage)),
                false => ExitCode::SUCCESS,
            };
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => exit::report(&failure),
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let printer = Printer::new(&args.global);
    #[cfg(feature = "fuse")]
    if let Command::Mount(mount) = &args.command {
        return mount::run(mount, &args.global, printer);
    }
    logging::start(&args.global, logging::Destination::Stderr)?;
    match &args.command {
        Command::Init(args) => init::run(args, printer),
        #[cfg(feature = "fuse")]
        Command::Mount(_) => Ok(()),
        #[cfg(feature = "fuse")]
        Command::Umount(args) => umount::run(args, printer),
        Command::Status(args) => status::run(args, printer),
        Command::Rotate(args) => rotate::run(args, printer),
        Command::Rewrap(args) => rewrap::run(args, printer),
        Command::Backup(command) => backup::run(command, printer),
        Command::Passwd(args) => slot::passwd(args, printer),
        Command::Slot(command) => slot::run(command, printer),
        Command::Recover(args) => recover::run(args, printer),
        Command::Replica(command) => replica::run(command, printer),
        Command::Revoke(args) => revoke::revoke(args, printer),
        Command::Destroy(destroy) => revoke::destroy(destroy, &args.global, printer),
        Command::Usage(usage) => usage::run(usage, &args.global, printer),
        Command::Policy(args) => policy::run(args, printer),
        Command::Fsck(args) => fsck::run(args, printer),
        Command::Cat(args) => cat::run(args),
        Command::Ls(args) => ls::run(args, printer),
        #[cfg(feature = "fuse")]
        Command::Bench(args) => bench::run(args, printer),
        Command::Kms(call) => kms_call::run(call, &args.global, printer),
        Command::Serve(args) => serve::run(args, printer),
        Command::Audit(command) => audit::run(command, args.global.json, printer),
        Command::Clock(command) => clock::run(command, printer),
        Command::Completions(args) => man::completions(args, printer),
        Command::Man(args) => man::pages(args, printer),
    }
}
