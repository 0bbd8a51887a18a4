//! `kmsfs policy`: which key new files below a directory use.

use std::path::{Path, PathBuf};

use crate::cli::args::{PolicyCommand, UnlockArgs};
use crate::cli::print::Printer;
use crate::cli::progress::Watch;
use crate::cli::target::{Purpose, Target, from_root};
use crate::control::report::PolicyReport;
use crate::control::{Failure, Mount, Verb};

/// Runs the command.
///
/// # Errors
/// If the alias is none, or leads to no key; what finding and opening the volume answers.
pub fn run(command: &PolicyCommand, printer: Printer) -> Result<(), Failure> {
    let mut watch = Watch::new(printer)?;
    match command {
        PolicyCommand::Set { dir, key, path, unlock } => {
            let (target, path) = find(dir, path.as_deref(), unlock, Purpose::Write)?;
            let verb = Verb::PolicySet { path, alias: key.clone() };
            let report: PolicyReport = target.call(verb, &mut watch)?;
            printer.change(&report, |report| {
                let (dir, alias) = (dir.display(), &report.alias);
                format!(
                    "new files below {dir} use {alias}.   Existing files keep their key.\n\
                     next: kmsfs usage {dir}\n"
                )
            })
        }
        PolicyCommand::Show { dir, path, unlock } => {
            let (target, path) = find(dir, path.as_deref(), unlock, Purpose::Read)?;
            let report: PolicyReport = target.call(Verb::PolicyShow { path }, &mut watch)?;
            printer.data(&report, |report| {
                let key = report.key_arn.as_deref().unwrap_or("no key");
                format!("{}  {} -> {key}\n", dir.display(), report.alias)
            })
        }
    }
}

/// The volume, and the directory inside it.
fn find(
    dir: &Path,
    path: Option<&Path>,
    unlock: &UnlockArgs,
    purpose: Purpose,
) -> Result<(Target, PathBuf), Failure> {
    if let (Some(mount), None) = (Mount::find(dir), path) {
        let inner = mount.inner_path(dir);
        return Ok((Target::Mounted(mount), inner));
    }
    let target = Target::find(dir, unlock, purpose)?;
    Ok((target, from_root(path.unwrap_or(Path::new("")))))
}
