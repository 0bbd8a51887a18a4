//! `kmsfs fsck`: checks and lists findings; changes nothing.

use crate::cli::args::FsckArgs;
use crate::cli::print::Printer;
use crate::cli::progress::Watch;
use crate::cli::status::reading;
use crate::cli::values::{count, size};
use crate::control::report::FsckReport;
use crate::control::{Failure, FsckDepth, Kind, Verb};

/// Runs the command.
///
/// # Errors
/// [`Kind::FsckFindings`] if there are findings.
pub fn run(args: &FsckArgs, printer: Printer) -> Result<(), Failure> {
    let target = reading(&args.target, &args.unlock)?;
    let depth = if args.quick { FsckDepth::Quick } else { FsckDepth::Full };
    let paths = target.scope(&args.target, &args.paths);
    let mut watch = Watch::new(printer)?;
    let report: FsckReport = target.call(Verb::Fsck { depth, paths }, &mut watch)?;
    printer.data(&report, text)?;
    match report.findings.len() {
        0 => Ok(()),
        findings => {
            let what = format!("{findings} findings in {}", args.target.display());
            Err(Failure::new(Kind::FsckFindings, what)
                .hint("restore the files above from a backup; docs/CLI.md tells what each means"))
        }
    }
}

fn text(report: &FsckReport) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        text.push_str(&format!(
            "{}  {}\n    {}\n    {}\n",
            finding.code, finding.lower_path, finding.cause, finding.mend
        ));
    }
    let (files, dirs) = (count(report.files), count(report.directories));
    let bytes = size(report.bytes);
    let findings = report.findings.len();
    text + &format!("{files} files, {dirs} directories, {bytes} read: {findings} findings\n")
}
