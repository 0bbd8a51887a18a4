//! `kmsfs rotate`: new material for a volume's key, or for a key by name.

use std::path::Path;

use crate::cli::args::{RotateArgs, UnlockArgs};
use crate::cli::print::Printer;
use crate::cli::progress::Watch;
use crate::cli::rewrap;
use crate::cli::target::{Purpose, Target};
use crate::cli::unlock::open_kms;
use crate::cli::values::{count, size};
use crate::control::keys::{resolve_prefix, rotate_key, short};
use crate::control::report::RotateReport;
use crate::control::{Failure, Kind, Mount, Verb};
use crate::kms::{KeyArn, KeyId, KeyRef};

/// Bytes that one rewrap writes: a slot, twice (the second time over the old one).
const REWRAP_BYTES: u64 = 1024;

/// Runs the command.
///
/// # Errors
/// [`Kind::KeyDisabled`] and the other states of a key; [`Kind::RewrapFailures`] with `--rewrap`.
pub fn run(args: &RotateArgs, printer: Printer) -> Result<(), Failure> {
    let path = &args.target;
    if is_key_name(path) {
        return run_key(path, &args.unlock, printer);
    }
    let purpose = if args.rewrap { Purpose::Write } else { Purpose::Read };
    let target = Target::find(path, &args.unlock, purpose)?;
    let mut watch = Watch::new(printer)?;
    let report: RotateReport = target.call(Verb::Rotate { rewrap: args.rewrap }, &mut watch)?;
    printer.change(&report, |report| text(report, path))?;
    report.rewrap.as_ref().map_or(Ok(()), |rewrapped| rewrap::outcome(rewrapped, path))
}

/// A key in a key service that is named by `--kms`, or of the only mount.
fn run_key(name: &Path, unlock: &UnlockArgs, printer: Printer) -> Result<(), Failure> {
    let name = name.to_string_lossy();
    let Some(dir) = &unlock.kms else {
        return Err(Failure::new(Kind::Usage, format!("{name}: in which key service"))
            .hint(format!("kmsfs rotate {name} --kms DIR, or kmsfs rotate MNT")));
    };
    let kms = open_kms(dir, unlock, dir)?;
    let report = rotate_key(&kms, &KeyRef::new(&resolve_prefix(&kms, &name)?))?;
    printer.change(&report, |report| {
        format!("{}next: kmsfs rewrap MNT   (each volume that uses the key)\n", head(report))
    })
}

/// Whether an argument names a key: it looks like one and nothing lies at that path.
fn is_key_name(path: &Path) -> bool {
    let Some(text) = path.to_str() else { return false };
    let looks_like_key = text.starts_with("alias/")
        || text.starts_with("arn:")
        || KeyId::parse(text).is_some()
        || (text.len() >= 4 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'));
    looks_like_key && !path.exists() && Mount::find(path).is_none()
}

fn head(report: &RotateReport) -> String {
    let id = KeyArn::parse(&report.key_arn).map(|arn| arn.key_id().to_string());
    let key = format!("key {}", short(&id.unwrap_or_else(|| report.key_arn.clone())));
    let subject = match &report.alias {
        Some(alias) => format!("{alias} -> {key}"),
        None => key,
    };
    match &report.material {
        Some(material) => {
            let material = short(material);
            format!("{subject}: new material {material} is current.   New files use it now.\n")
        }
        None => format!("{subject}: rotated.   New files use the new material now.\n"),
    }
}

fn text(report: &RotateReport, path: &Path) -> String {
    let head = head(report);
    if let Some(rewrapped) = &report.rewrap {
        return head + &rewrap::text(rewrapped, path);
    }
    let path = path.display();
    match report.files_left {
        Some(0) => format!("{head}No file carries older material.\nnext: kmsfs usage {path}\n"),
        Some(files) => {
            let writes = size(files.saturating_mul(REWRAP_BYTES));
            format!(
                "{head}{} files still carry older material; each is rewrapped when it is next \
                 opened.\nnext: kmsfs rewrap {path}          (headers only, about {writes} of writes)\n",
                count(files)
            )
        }
        None => format!(
            "{head}Files that carry older material are rewrapped when they are next opened.\n\
             next: kmsfs rewrap {path}          (headers only)\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::report::Report;

    /// The session of design and README.
    #[test]
    fn the_answer_names_what_changed_and_the_next_command() {
        let report = RotateReport {
            key_arn: "arn:aws:kms:us-east-1:000000000000:key/7f3c0000-0000-4000-8000-000000000000"
                .into(),
            alias: Some("alias/home".into()),
            material: Some(format!("9a41{}", "0".repeat(60))),
            files_left: Some(12_481),
            ..RotateReport::default()
        };
        assert_eq!(
            text(&report, Path::new("/home/u/Private")),
            "alias/home -> key 7f3c0000...: new material 9a410000... is current.   New files use \
             it now.\n12 481 files still carry older material; each is rewrapped when it is next \
             opened.\nnext: kmsfs rewrap /home/u/Private          (headers only, about 12.1 MiB of \
             writes)\n"
        );
        assert!(report.to_value().get("schema").is_some());
    }

    #[test]
    fn what_is_a_file_is_no_key() {
        assert!(is_key_name(Path::new("alias/home")));
        assert!(is_key_name(Path::new("7f3c0000")));
        assert!(!is_key_name(Path::new("/tmp")));
        assert!(!is_key_name(Path::new("vault")));
    }
}
