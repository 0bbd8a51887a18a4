//! `kmsfs audit`: reads and checks the audit log of a key service.

use std::io::{self, BufWriter, Stdout, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::cli::args::UnlockArgs;
use crate::cli::audit_args::{AuditCommand, ExportForm, ReadArgs};
use crate::cli::audit_form::{Export, summary};
use crate::cli::interrupt::Interrupt;
use crate::cli::kms_call::only_mount;
use crate::cli::place::KeysPlace;
use crate::cli::print::{Printer, read_report};
use crate::cli::remote::not_here;
use crate::cli::target::probe;
use crate::cli::unlock::{can_ask, open_kms};
use crate::cli::values::{count, size};
use crate::control::report::{AuditQueryReport, AuditVerifyReport};
use crate::control::{Failure, Kind, Mount, Progress, Verb, verify_log};
use crate::kms::audit::{LogFiles, LogPlace, RecordPattern, VerifyKey};
use crate::kms::{Kms, OpenError, Regions};

/// How often `tail -f` looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs the command.
///
/// # Errors
/// [`Kind::FsckFindings`] if the log does not hold; what finding and unlocking it answers.
pub fn run(command: &AuditCommand, json: bool, printer: Printer) -> Result<(), Failure> {
    match command {
        AuditCommand::Tail { follow, lines, read } => {
            let log = Place::of(read)?.flushed()?;
            let form = if json { Form::Lines } else { Form::Text };
            let follow = follow.then(Interrupt::watch).transpose()?;
            tail(&log, *lines, &read.filter.pattern(), form, follow)
        }
        AuditCommand::Query { limit, read } => {
            let log = Place::of(read)?.flushed()?;
            let (records, more) = newest(&log, *limit, &read.filter.pattern())?;
            if more && !json {
                printer.talk("older records fit as well: --limit COUNT shows more");
            }
            let report = AuditQueryReport { log, records, more };
            printer.data(&report, |report| report.records.iter().map(summary).collect())
        }
        AuditCommand::Verify { target, unlock } => verify(target.as_deref(), unlock, printer),
        AuditCommand::Export { format, read } => {
            export(&Place::of(read)?.flushed()?, *format, &read.filter.pattern())
        }
    }
}

/// Where a log lies, and who writes it.
struct Place {
    log: PathBuf,
    /// Directory of its key service, where that is known.
    dir: Option<PathBuf>,
    mount: Option<Mount>,
}

impl Place {
    fn of(read: &ReadArgs) -> Result<Self, Failure> {
        Self::find(read.target.as_deref(), read.kms.as_deref())
    }

    fn find(target: Option<&Path>, kms: Option<&Path>) -> Result<Self, Failure> {
        let only;
        let path = match (target, kms) {
            (Some(path), _) | (None, Some(path)) => path,
            (None, None) => {
                only = only_mount()?;
                &only
            }
        };
        if path.is_file() {
            let dir = kms.map(Path::to_path_buf);
            return Ok(Self { log: path.to_path_buf(), dir, mount: None });
        }
        if let Some(mount) = Mount::find(path) {
            return Ok(Self { log: PathBuf::new(), dir: None, mount: Some(mount) });
        }
        let dir = match path.join("keys.db").exists() || path.join("audit.log").exists() {
            true => path.to_path_buf(),
            false => {
                let (lower, summary) = probe(path)?;
                let unlock = UnlockArgs { kms: kms.map(Path::to_path_buf), ..Default::default() };
                match KeysPlace::of(&lower, &summary.kms, &unlock) {
                    KeysPlace::Dir(dir) => dir,
                    KeysPlace::Url(url) => return Err(not_here(url)),
                }
            }
        };
        Ok(Self { log: dir.join("audit.log"), dir: Some(dir), mount: None })
    }

    /// The log; a mount writes what it holds back first.
    fn flushed(&self) -> Result<PathBuf, Failure> {
        match &self.mount {
            None => Ok(self.log.clone()),
            Some(mount) => Ok(ask(mount, false)?.log),
        }
    }
}

fn ask(mount: &Mount, verify: bool) -> Result<AuditVerifyReport, Failure> {
    let mut wait = |_: &Progress| ControlFlow::Continue(());
    read_report(mount.client()?.call(Verb::Audit { verify }, &mut wait)?)
}

fn failed(log: &Path, error: &io::Error) -> Failure {
    Failure::io(log.display(), error)
}

fn verify(target: Option<&Path>, unlock: &UnlockArgs, printer: Printer) -> Result<(), Failure> {
    let place = Place::find(target, unlock.kms.as_deref())?;
    let report = match (&place.mount, &place.dir) {
        (Some(mount), _) => ask(mount, true)?,
        (None, Some(dir)) if unlock.is_given() || can_ask() => {
            verify_log(&place.log, Some(&audit_key(dir, unlock)?))?
        }
        (None, _) => verify_log(&place.log, None)?,
    };
    printer.data(&report, verify_text)?;
    match report.finding {
        None => Ok(()),
        Some(finding) => {
            let what = format!("{}: {finding}", report.log.display());
            Err(Failure::new(Kind::FsckFindings, what)
                .hint("keep a copy of the log; docs/KMS.md, \"Checking\", tells what it means"))
        }
    }
}

/// The key of the log in a directory. That of a further Region comes with its home.
fn audit_key(dir: &Path, unlock: &UnlockArgs) -> Result<VerifyKey, Failure> {
    let real = std::fs::canonicalize(dir).map_err(|error| Failure::io(dir.display(), &error))?;
    let [account, regions] = [real.parent(), real.parent().and_then(Path::parent)];
    let home = match (account, regions.and_then(Path::file_name)) {
        (Some(_), Some(name)) if name == "regions" => regions.and_then(Path::parent),
        _ => None,
    };
    let Some(home) = home else {
        return Ok(open_kms(dir, unlock, dir)?.audit_key());
    };
    let unreadable = |error: OpenError| Failure::new(Kind::ConfigUnreadable, error.to_string());
    let kms = open_kms(home, unlock, home)?;
    let opened = Regions::open(kms, home).map_err(unreadable)?.opened();
    let own = opened.iter().find(|kms| kms.audit_log().parent() == Some(&real));
    own.map(Kms::audit_key).ok_or_else(|| {
        Failure::new(Kind::ConfigUnreadable, format!("{}: no key database", dir.display()))
    })
}

fn verify_text(report: &AuditVerifyReport) -> String {
    if report.finding.is_some() {
        return String::new();
    }
    let mut text = format!(
        "{}: {} lines in {} files hold, numbers {} to {}",
        report.log.display(),
        count(report.lines),
        count(report.segments),
        report.first_sequence,
        report.last_sequence,
    );
    if report.torn_bytes > 0 {
        text += &format!("; then {} of a line that a crash has cut", size(report.torn_bytes));
    }
    text += if report.sealed {
        "; seals are right\n"
    } else {
        "; seals not checked for want of a key: who can write the log could have made all of it\n"
    };
    text
}

/// The newest records that fit, oldest first, and whether there are more.
fn newest(
    log: &Path,
    limit: usize,
    pattern: &RecordPattern,
) -> Result<(Vec<serde_json::Value>, bool), Failure> {
    let files = LogFiles::find(log).map_err(|error| failed(log, &error))?;
    let mut reader = files.backward(None);
    let mut found = Vec::new();
    while let Some((_, line)) = reader.next_record().map_err(|error| failed(log, &error))? {
        let Some(record) = pattern.find(&line) else { continue };
        if found.len() == limit {
            found.reverse();
            return Ok((found, true));
        }
        found.push(record);
    }
    found.reverse();
    Ok((found, false))
}

/// How records are shown one by one.
#[derive(Clone, Copy)]
enum Form {
    /// Lines as they are in the log.
    Lines,
    /// For a person.
    Text,
}

fn tail(
    log: &Path,
    lines: usize,
    pattern: &RecordPattern,
    form: Form,
    follow: Option<Interrupt>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| failed(log, &error);
    let mut out = Out::new();
    // The place first: what comes meanwhile is shown in its turn.
    let files = LogFiles::find(log).map_err(failed)?;
    let mut place = files.end().map_err(failed)?;
    for record in &newest(log, lines, pattern)?.0 {
        if out.put(&form.show(record))?.is_break() {
            return Ok(());
        }
    }
    let flushed = out.flush()?;
    let Some(interrupt) = follow.filter(|_| flushed.is_continue()) else { return Ok(()) };
    while !interrupt.is_set() {
        let mut outcome = Ok(ControlFlow::Continue(()));
        let files = LogFiles::find(log).map_err(failed)?;
        place = files
            .read_from(place, &mut |line| {
                let Some(record) = pattern.find(line) else { return ControlFlow::Continue(()) };
                outcome = out.put(&form.show(&record));
                match outcome {
                    Ok(flow) => flow,
                    Err(_) => ControlFlow::Break(()),
                }
            })
            .map_err(failed)?;
        if outcome?.is_break() || out.flush()?.is_break() {
            return Ok(());
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

impl Form {
    fn show(self, record: &serde_json::Value) -> String {
        match self {
            Self::Lines => format!("{record}\n"),
            Self::Text => summary(record),
        }
    }
}

fn export(log: &Path, form: ExportForm, pattern: &RecordPattern) -> Result<(), Failure> {
    let files = LogFiles::find(log).map_err(|error| failed(log, &error))?;
    let mut export = Export::new(form);
    let mut out = Out::new();
    let mut outcome = out.put(&export.begin());
    let read = files.read_from(LogPlace::default(), &mut |line| {
        let Some(record) = pattern.find(line) else { return ControlFlow::Continue(()) };
        outcome = out.put(&export.record(record));
        if matches!(outcome, Ok(ControlFlow::Continue(()))) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    read.map_err(|error| failed(log, &error))?;
    if outcome?.is_continue() && out.put(&export.end())?.is_continue() {
        let _reader_gone = out.flush()?;
    }
    Ok(())
}

/// Buffered stdout. A reader that has gone away ends the work, and is no error.
struct Out(BufWriter<Stdout>);

impl Out {
    fn new() -> Self {
        Self(BufWriter::new(io::stdout()))
    }

    fn put(&mut self, text: &str) -> Result<ControlFlow<()>, Failure> {
        Self::outcome(self.0.write_all(text.as_bytes()))
    }

    fn flush(&mut self) -> Result<ControlFlow<()>, Failure> {
        Self::outcome(self.0.flush())
    }

    fn outcome(written: io::Result<()>) -> Result<ControlFlow<()>, Failure> {
        match written {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(Failure::io("stdout", &error)),
        }
    }
}
