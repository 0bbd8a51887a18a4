//! `kmsfs status`: all mounts, a volume, or one file.

use std::path::Path;

use serde_json::Value;

use crate::cli::args::{StatusArgs, UnlockArgs};
use crate::cli::print::{Printer, table};
use crate::cli::progress::Watch;
use crate::cli::target::{Purpose, Target, probe, summary_report};
use crate::cli::values::{count, size, utc};
use crate::control::keys::short;
use crate::control::report::{FileReport, MountsReport, SandboxReport, StatusReport};
use crate::control::{Failure, Mount, Verb, list_mounts};

/// Runs the command.
///
/// # Errors
/// If the argument is neither a volume nor a file in one.
pub fn run(args: &StatusArgs, printer: Printer) -> Result<(), Failure> {
    let Some(path) = &args.target else {
        let mounts = list_mounts().into_iter().map(|mount| mount.hello).collect();
        return printer.data(&MountsReport { mounts }, mounts_text);
    };
    let Some(mount) = Mount::find(path) else {
        // Without a mount only what needs no passphrase is told.
        let (lower, summary) = probe(path)?;
        return printer.data(&summary_report(&summary, &lower), volume_text);
    };
    let inner = mount.inner_path(path);
    let target = Target::Mounted(mount);
    let mut watch = Watch::new(printer)?;
    if inner.as_os_str().is_empty() {
        let report: StatusReport = target.call(Verb::Status, &mut watch)?;
        printer.data(&report, volume_text)
    } else {
        let report: FileReport = target.call(Verb::FileStatus { path: inner }, &mut watch)?;
        printer.data(&report, file_text)
    }
}

/// Opens or finds what `path` means for a command that only reads.
pub(super) fn reading(path: &Path, unlock: &UnlockArgs) -> Result<Target, Failure> {
    Target::find(path, unlock, Purpose::Read)
}

fn mounts_text(report: &MountsReport) -> String {
    if report.mounts.is_empty() {
        return "no volume is mounted\n".to_owned();
    }
    let line = |mount: &crate::control::report::HelloReport| {
        let mode = if mount.read_only { "  read-only" } else { "" };
        let (at, lower) = (mount.mount_point.display(), mount.lower.display());
        format!("{at}  <-  {lower}  pid {}{mode}\n", mount.pid)
    };
    report.mounts.iter().map(line).collect()
}

fn volume_text(report: &StatusReport) -> String {
    let mut rows = vec![
        ("volume", report.volume_id.clone()),
        ("lower directory", report.lower.display().to_string()),
        ("key service", report.kms.clone()),
        ("key", report.key_arn.clone()),
    ];
    rows.extend(report.alias.clone().map(|alias| ("alias", alias)));
    rows.extend(report.key_state.clone().map(|state| ("key state", state)));
    rows.extend(report.material.clone().map(|material| ("current material", short(&material))));
    match &report.mount {
        None => rows.push(("mounted", "no".to_owned())),
        Some(mount) => {
            let mode = if mount.read_only { ", read-only" } else { "" };
            let at = mount.mount_point.display();
            rows.push(("mounted", format!("{at}, pid {}{mode}", mount.pid)));
            rows.push(("since", utc(mount.since)));
            rows.push(("sandbox", sandbox_text(&mount.sandbox)));
            rows.push(("requests", requests_text(&mount.requests)));
        }
    }
    rows.extend(core_rows(&report.core));
    let mut text = table(&rows);
    let recent = report.mount.iter().flat_map(|mount| &mount.recent);
    text.extend(recent.map(|line| format!("log  {line}\n")));
    text
}

fn sandbox_text(sandbox: &SandboxReport) -> String {
    if !sandbox.on {
        return "off".to_owned();
    }
    let parts = [(sandbox.files, "files"), (sandbox.system_calls, "system calls")];
    let mut words: Vec<String> =
        parts.iter().filter(|(on, _)| *on).map(|(_, word)| (*word).to_owned()).collect();
    words.extend(sandbox.memory_locked.then(|| "memory out of swap".to_owned()));
    words.extend(sandbox.capabilities.map(|left| format!("{left} capabilities left")));
    words.join(", ")
}

fn requests_text(requests: &serde_json::Map<String, Value>) -> String {
    let shown: Vec<String> = requests
        .iter()
        .map(|(name, number)| format!("{name} {}", count(number.as_u64().unwrap_or(0))))
        .collect();
    shown.join(", ")
}

/// What the core says and the report has not said yet.
fn core_rows(core: &Value) -> Vec<(&'static str, String)> {
    let number = |name: &str| core.get(name).and_then(Value::as_u64).map(count);
    let mut rows = Vec::new();
    if let (Some(waiting), Some(done), Some(failed)) =
        (number("rewraps_waiting"), number("rewraps_done"), number("rewraps_failed"))
    {
        let text = format!("{waiting} waiting, {done} rewrapped, {failed} failed");
        rows.push(("opened stale", text));
    }
    if let (Some(nodes), Some(descriptors), Some(keys)) =
        (number("nodes"), number("descriptors"), number("data_keys"))
    {
        let text = format!("{nodes} nodes, {descriptors} descriptors, {keys} data keys");
        rows.push(("caches", text));
    }
    if let Some(recovery) = core.get("recovery").filter(|recovery| !recovery.is_null()) {
        rows.extend(recovery_rows(recovery));
    }
    rows
}

/// What the recovery at mounting did.
fn recovery_rows(recovery: &Value) -> Vec<(&'static str, String)> {
    let number = |name: &str| recovery.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut rows = vec![(
        "recovery",
        format!(
            "{} files checked, {} mended, {} failed, {} names lost, {} leftovers removed",
            count(number("files_checked")),
            count(number("files_mended")),
            count(number("files_failed")),
            count(number("names_lost")),
            count(number("leftovers_removed")),
        ),
    )];
    let repairs = recovery.get("repairs").and_then(Value::as_array).into_iter().flatten();
    let shown = repairs.filter_map(Value::as_str).take(REPAIRS_SHOWN_MAX);
    rows.extend(shown.map(|repair| ("", repair.to_owned())));
    rows
}

/// Repairs that the text form shows; `--json` has more.
const REPAIRS_SHOWN_MAX: usize = 20;

fn file_text(report: &FileReport) -> String {
    let mut rows = vec![
        ("file", report.path.display().to_string()),
        ("size", format!("{} ({} bytes)", size(report.size), count(report.size))),
    ];
    let optional = [
        ("lower name", report.lower_name.clone()),
        ("file id", report.file_id.clone()),
        ("key", report.key_arn.clone()),
        ("material", report.material.clone()),
        ("slot", report.slot.clone()),
        ("sequence", report.sequence.map(|sequence| sequence.to_string())),
        ("policy", report.policy.clone()),
        ("stale", report.stale.map(|stale| if stale { "yes" } else { "no" }.to_owned())),
    ];
    rows.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    table(&rows)
}
