//! `kmsfs fsck`: checks and lists findings; mends them if it is told to.

use crate::cli::args::FsckArgs;
use crate::cli::print::Printer;
use crate::cli::progress::Watch;
use crate::cli::target::{Purpose, Target};
use crate::cli::values::{count, size};
use crate::control::report::FsckReport;
use crate::control::{Failure, FsckDepth, Kind, RepairRequest, Verb};
use crate::fs::Finding;

/// Runs the command.
///
/// # Errors
/// [`Kind::FsckFindings`] if there are findings that are not mended.
pub fn run(args: &FsckArgs, printer: Printer) -> Result<(), Failure> {
    let repairs = args.repair && !args.dry_run;
    let (target, state_is_renewed) = match repairs {
        true => Target::find_for_repair(&args.target, &args.unlock)?,
        false => (Target::find(&args.target, &args.unlock, Purpose::Read)?, false),
    };
    let depth = if args.quick { FsckDepth::Quick } else { FsckDepth::Full };
    let paths = target.scope(&args.target, &args.paths);
    let repair =
        args.repair.then_some(RepairRequest { dry_run: args.dry_run, rebind: args.rebind });
    let mut watch = Watch::new(printer)?;
    let mut report: FsckReport = target.call(Verb::Fsck { depth, paths, repair }, &mut watch)?;
    target.close()?;
    if state_is_renewed {
        report.findings.insert(0, Finding::of_state().renewed().into());
    }
    printer.data(&report, text)?;
    let is_left = |mended: &Option<String>| !repairs || mended.is_none();
    match report.findings.iter().filter(|finding| is_left(&finding.mended)).count() {
        0 => Ok(()),
        findings => {
            let what = format!("{findings} findings in {}", args.target.display());
            Err(Failure::new(Kind::FsckFindings, what)
                .hint("each says what mends it; docs/OPERATIONS.md tells more"))
        }
    }
}

fn text(report: &FsckReport) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let last = match &finding.mended {
            Some(mended) => format!("-> {mended}"),
            None => finding.mend.clone(),
        };
        text.push_str(&format!(
            "{}  {}\n    {}\n    {last}\n",
            finding.code, finding.lower_path, finding.cause
        ));
    }
    let (files, dirs) = (count(report.files), count(report.directories));
    let bytes = size(report.bytes);
    let findings = report.findings.len();
    text + &format!("{files} files, {dirs} directories, {bytes} read: {findings} findings\n")
}
