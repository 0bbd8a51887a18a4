//! `kmsfs revoke` and `kmsfs destroy`: one material of a key, without the rest of it.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use crate::cli::args::{DestroyArgs, Global, RevokeArgs, UnlockArgs};
use crate::cli::place::{KeysPlace, open_keys};
use crate::cli::print::Printer;
use crate::cli::progress::Watch;
use crate::cli::target::{Purpose, Target, open_session, probe, service_dir};
use crate::cli::unlock::open_kms;
use crate::cli::values::count;
use crate::control::keys::short;
use crate::control::materials;
use crate::control::report::MaterialReport;
use crate::control::{Failure, Kind, Mount, RevokeRequest, Verb};
use crate::kms::Kms;

/// Paths that the text form shows.
const PATHS_SHOWN: usize = 20;

/// A volume at hand, or its key service alone.
enum Place {
    Volume(Target),
    Service(Box<Kms>),
}

impl Place {
    /// `needs_volume`: without it, a volume that is not mounted is not opened. What would let it open
    /// again may be just what is asked for.
    fn find(
        target: Option<&Path>,
        unlock: &UnlockArgs,
        needs_volume: bool,
    ) -> Result<Self, Failure> {
        let service = |dir: &Path| Ok(Self::Service(Box::new(open_kms(dir, unlock, dir)?)));
        if let Some(dir) = service_dir(target, unlock) {
            return service(dir);
        }
        let path = target.unwrap_or(Path::new(""));
        if let Some(mount) = Mount::find(path) {
            return Ok(Self::Volume(Target::Mounted(mount)));
        }
        let (lower, summary) = probe(path)?;
        if !needs_volume {
            let dir = KeysPlace::of(&lower, &summary.kms, unlock).into_dir()?;
            return Ok(Self::Service(Box::new(open_kms(&dir, unlock, &lower)?)));
        }
        let kms = open_keys(&lower, &summary, unlock)?;
        let session = open_session(&lower, &summary, kms, Purpose::Write)?;
        Ok(Self::Volume(Target::Direct(Box::new(session))))
    }
}

/// Runs `kmsfs revoke`.
///
/// # Errors
/// [`Kind::InUse`] for the current material, [`Kind::MaterialMissing`], and what opening answers.
pub fn revoke(args: &RevokeArgs, printer: Printer) -> Result<(), Failure> {
    let report = match Place::find(args.target.as_deref(), &args.unlock, !args.undo)? {
        Place::Volume(target) => {
            let request = RevokeRequest {
                material: args.material.clone(),
                undo: args.undo,
                keep_files: args.keep_files,
            };
            target.call(Verb::Revoke(request), &mut Watch::new(printer)?)?
        }
        Place::Service(kms) => {
            let entry = materials::find(&kms, &args.material)?;
            match args.undo {
                true => materials::restore(&kms, &entry)?,
                false => materials::revoke(&kms, &entry)?,
            }
        }
    };
    printer.change(&report, text)
}

/// Runs `kmsfs destroy`.
///
/// # Errors
/// [`Kind::InUse`] if files need it or it is not revoked, [`Kind::ConfirmationNeeded`], and what
/// opening answers.
pub fn destroy(args: &DestroyArgs, global: &Global, printer: Printer) -> Result<(), Failure> {
    let force = args.force_data_loss.as_deref();
    if force == Some("") {
        return Err(Failure::new(Kind::Usage, "--force-data-loss needs a reason"));
    }
    if !global.yes {
        confirm(&args.material)?;
    }
    // A material that is given up in spite of its files may be the one that the volume needs.
    let report = match Place::find(args.target.as_deref(), &args.unlock, force.is_none())? {
        Place::Volume(target) => {
            let verb = Verb::Destroy {
                material: args.material.clone(),
                force_data_loss: args.force_data_loss.clone(),
            };
            target.call(verb, &mut Watch::new(printer)?)?
        }
        Place::Service(kms) => {
            materials::destroy(&kms, &materials::find(&kms, &args.material)?, force)?
        }
    };
    printer.change(&report, text)
}

/// Destroying is confirmed by typing the material once more.
fn confirm(material: &str) -> Result<(), Failure> {
    let refused = Failure::new(
        Kind::ConfirmationNeeded,
        format!("material {material} would be gone for good"),
    )
    .hint("--yes confirms it");
    if !io::stdin().is_terminal() {
        return Err(refused);
    }
    let _closed = write!(io::stderr(), "Type {material} to destroy it: ");
    let mut typed = String::new();
    io::stdin().read_line(&mut typed).map_err(|error| Failure::io("stdin", &error))?;
    if typed.trim_end() == material { Ok(()) } else { Err(refused) }
}

fn text(report: &MaterialReport) -> String {
    let material = short(&report.material);
    let rewrapped = match report.rewrapped {
        Some(files) => format!("{} files were rewrapped first.   ", count(files)),
        None => String::new(),
    };
    let done = match report.state.as_str() {
        "revoked" => format!("material {material} is revoked: nothing under it opens."),
        "destroyed" => format!("material {material} is destroyed."),
        _ => format!("material {material} is accepted again."),
    };
    let mut text = format!("{rewrapped}{done}\n");
    for path in report.files.iter().take(PATHS_SHOWN) {
        text.push_str(&format!("closed: {}\n", path.display()));
    }
    if report.files.len() > PATHS_SHOWN {
        text.push_str(&format!("and {} more\n", count_of(report.files.len() - PATHS_SHOWN)));
    }
    if report.state == "revoked" {
        let next = match report.files_left {
            0 => format!("next: kmsfs destroy VOLUME --material {}\n", report.material),
            left => format!(
                "{} files of known volumes are still under it.\n\
                 next: kmsfs revoke VOLUME --material {} --undo   (to rewrap them)\n",
                count(left),
                report.material
            ),
        };
        text.push_str(&next);
    }
    text
}

fn count_of(number: usize) -> String {
    count(u64::try_from(number).unwrap_or(u64::MAX))
}
