//! `kmsfs usage`: how many files each key and material still holds.

use crate::cli::args::UsageArgs;
use crate::cli::print::Printer;
use crate::cli::progress::Watch;
use crate::cli::status::reading;
use crate::cli::values::{count, size};
use crate::control::keys::short;
use crate::control::report::UsageReport;
use crate::control::{Failure, Verb};
use crate::kms::KeyArn;

/// Runs the command.
///
/// # Errors
/// What finding and opening the volume answers.
pub fn run(args: &UsageArgs, printer: Printer) -> Result<(), Failure> {
    let target = reading(&args.target, &args.unlock)?;
    let mut watch = Watch::new(printer)?;
    let verb = Verb::Usage { key: args.key.clone() };
    let report: UsageReport = target.call(verb, &mut watch)?;
    printer.data(&report, text)
}

fn text(report: &UsageReport) -> String {
    let mut text =
        format!("{:12} {:12} {:15} {:>12} {:>12}\n", "KEY", "MATERIAL", "", "FILES", "SIZE");
    for row in &report.rows {
        let id = KeyArn::parse(&row.key_arn).map(|arn| arn.key_id().to_string());
        let key = short(&id.unwrap_or_else(|| row.key_arn.clone()));
        let material = row.material.as_deref().map(short).unwrap_or_default();
        let note = match row.current {
            Some(true) => "current",
            Some(false) => "older",
            None => "",
        };
        let note = if row.volume_key { format!("{note} +volume") } else { note.to_owned() };
        let (files, bytes) = (count(row.files), size(row.bytes));
        text.push_str(&format!("{key:12} {material:12} {note:15} {files:>12} {bytes:>12}\n"));
    }
    let (empty, dirs) = (count(report.empty_files), count(report.directories));
    text + &format!("{empty} empty files and {dirs} directories need no data key of their own\n")
}
