//! `kmsfs usage`: how many files each key and material still holds, in one volume or in all that a
//! key service knows.

use std::path::Path;

use crate::cli::args::{Global, UsageArgs};
use crate::cli::print::Printer;
use crate::cli::progress::Watch;
use crate::cli::status::reading;
use crate::cli::target::service_dir;
use crate::cli::unlock::open_kms;
use crate::cli::values::{count, size, utc};
use crate::control::keys::{look, resolve_prefix, short};
use crate::control::known::keys_report;
use crate::control::report::{KeysReport, UsageReport};
use crate::control::{Failure, Kind, Verb};
use crate::kms::{KeyArn, KeyRef, Kms};

/// Runs the command.
///
/// # Errors
/// What finding and opening the volume, or the key service, answers.
pub fn run(args: &UsageArgs, global: &Global, printer: Printer) -> Result<(), Failure> {
    let target = args.target.as_deref();
    if let Some(dir) = service_dir(target, &args.unlock) {
        let kms = open_kms(dir, &args.unlock, dir)?;
        if let Some(volume) = &args.forget {
            forget(&kms, volume, global)?;
        }
        let mut report = keys_report(&kms);
        if let Some(key) = &args.key {
            let arn = look(&kms, &KeyRef::new(&resolve_prefix(&kms, key)?))?.arn;
            report.rows.retain(|row| row.key_arn == arn.as_str());
        }
        return printer.data(&report, keys_text);
    }
    if args.forget.is_some() {
        return Err(Failure::new(Kind::Usage, "a volume is forgotten by its key service")
            .hint("kmsfs usage --kms DIR --forget VOLUME_ID"));
    }
    let target = reading(target.unwrap_or(Path::new("")), &args.unlock)?;
    let mut watch = Watch::new(printer)?;
    let verb = Verb::Usage { key: args.key.clone() };
    let report: UsageReport = target.call(verb, &mut watch)?;
    printer.data(&report, text)
}

/// Lets a volume hold no key any more.
fn forget(kms: &Kms, volume: &str, global: &Global) -> Result<(), Failure> {
    if !global.yes {
        let what = format!("the files of volume {volume} would hold no key any more");
        return Err(Failure::new(Kind::ConfirmationNeeded, what).hint("--yes confirms it"));
    }
    Ok(kms.forget_volume(volume)?)
}

fn key_text(arn: &str) -> String {
    let id = KeyArn::parse(arn).map(|arn| arn.key_id().to_string());
    short(&id.unwrap_or_else(|| arn.to_owned()))
}

fn keys_text(report: &KeysReport) -> String {
    let mut text = format!(
        "{:12} {:12} {:8} {:>8} {:>12} {:>12}\n",
        "KEY", "MATERIAL", "", "VOLUMES", "FILES", "SIZE"
    );
    for row in &report.rows {
        let (key, state) = (key_text(&row.key_arn), &row.state);
        let material = row.material.as_deref().map(short).unwrap_or_default();
        let (volumes, files, bytes) = (count(row.volumes), count(row.files), size(row.bytes));
        text.push_str(&format!(
            "{key:12} {material:12} {state:8} {volumes:>8} {files:>12} {bytes:>12}\n"
        ));
    }
    for volume in &report.volumes {
        let counted = match volume.counted {
            Some(secs) => format!("{} files at {}", count(volume.files), utc(secs)),
            None => "files never counted".to_owned(),
        };
        let growing = if volume.growing { ", in use since" } else { "" };
        text.push_str(&format!("{}  {}  {counted}{growing}\n", volume.volume_id, volume.lower));
    }
    text
}

fn text(report: &UsageReport) -> String {
    let mut text =
        format!("{:12} {:12} {:15} {:>12} {:>12}\n", "KEY", "MATERIAL", "", "FILES", "SIZE");
    for row in &report.rows {
        let key = key_text(&row.key_arn);
        let material = row.material.as_deref().map(short).unwrap_or_default();
        let note = match row.current {
            _ if row.revoked => "revoked",
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
