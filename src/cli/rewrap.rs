//! `kmsfs rewrap`: moves headers to current material.

use std::path::Path;

use crate::cli::args::{RewrapArgs, UnlockArgs};
use crate::cli::print::Printer;
use crate::cli::progress::Watch;
use crate::cli::target::{Purpose, Target};
use crate::cli::values::count;
use crate::control::report::{RewrapReport, RewrapStatusReport};
use crate::control::{Failure, Kind, RewrapRequest, Verb};

/// Runs the command.
///
/// # Errors
/// [`Kind::RewrapFailures`] if some files could not be rewrapped, [`Kind::Interrupted`].
pub fn run(args: &RewrapArgs, printer: Printer) -> Result<(), Failure> {
    let path = &args.target;
    if args.status {
        return run_status(path, &args.unlock, printer);
    }
    let purpose = if args.dry_run { Purpose::Read } else { Purpose::Write };
    let target = Target::find(path, &args.unlock, purpose)?;
    let request = RewrapRequest {
        paths: target.scope(path, &args.paths),
        key: args.key.clone(),
        dry_run: args.dry_run,
        rate_per_sec: args.rate,
        max_secs: args.max_time.map(|time| time.as_secs_f64()),
        touch: args.touch,
    };
    let mut watch = Watch::new(printer)?;
    let report: RewrapReport = target.call(Verb::Rewrap(request), &mut watch)?;
    printer.change(&report, |report| text(report, path))?;
    outcome(&report, path)
}

fn run_status(path: &Path, unlock: &UnlockArgs, printer: Printer) -> Result<(), Failure> {
    let target = Target::find(path, unlock, Purpose::Read)?;
    let mut watch = Watch::new(printer)?;
    let report: RewrapStatusReport = target.call(Verb::RewrapStatus, &mut watch)?;
    printer.data(&report, |report| {
        let total = report.total.map(|total| format!(" / {}", count(total))).unwrap_or_default();
        let sweep = match report.running {
            true => format!("rewrapping  {}{total}  failed {}", count(report.done), report.failed),
            false => "no rewrap is under way".to_owned(),
        };
        let (waiting, done) = (count(report.lazy_waiting), count(report.lazy_done));
        let failed = count(report.lazy_failed);
        format!("{sweep}\nopened stale  {waiting} waiting, {done} rewrapped, {failed} failed\n")
    })
}

/// What was done, and what to do next.
pub(super) fn text(report: &RewrapReport, path: &Path) -> String {
    let path = path.display();
    let seen = count(report.seen);
    if report.dry_run {
        let stale = count(report.stale);
        return format!(
            "{stale} of {seen} files carry older material; nothing was changed.\n\
             next: kmsfs rewrap {path}\n"
        );
    }
    let done = count(report.rewrapped);
    let next = match report.left {
        0 => format!("no file carries older material.\nnext: kmsfs usage {path}"),
        left => format!("{} are left.\nnext: kmsfs rewrap {path}", count(left)),
    };
    format!("{done} of {seen} files rewrapped; {next}\n")
}

/// The exit code of a finished rewrap.
pub(super) fn outcome(report: &RewrapReport, path: &Path) -> Result<(), Failure> {
    let again = format!("kmsfs rewrap {}", path.display());
    if report.interrupted {
        let what = format!("interrupted, {} files are left", count(report.left));
        return Err(Failure::new(Kind::Interrupted, what).hint(again));
    }
    if report.failed > 0 {
        let what = format!("{} files could not be rewrapped", count(report.failed));
        let hint = format!("kmsfs fsck {}", path.display());
        return Err(Failure::new(Kind::RewrapFailures, what).hint(hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_interruptions_have_codes_of_their_own() {
        let path = Path::new("m");
        let kind = |report: &RewrapReport| outcome(report, path).map_err(|failure| failure.kind);
        let good = RewrapReport { seen: 3, rewrapped: 3, ..RewrapReport::default() };
        assert_eq!(kind(&good), Ok(()));
        let failed = RewrapReport { failed: 1, left: 1, ..good };
        assert_eq!(kind(&failed), Err(Kind::RewrapFailures));
        let ended = RewrapReport { interrupted: true, failed: 0, ..failed };
        assert_eq!(kind(&ended), Err(Kind::Interrupted));
    }
}
