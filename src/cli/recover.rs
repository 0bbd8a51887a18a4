//! `kmsfs recover`: a new passphrase by the recovery kit, and the drill that proves the kit.

use std::path::Path;

use crate::cli::args::{RecoverArgs, UnlockArgs};
use crate::cli::kit::read_kit;
use crate::cli::print::Printer;
use crate::cli::slot::{Place, new_secret};
use crate::cli::target::probe;
use crate::cli::unlock::open_failure;
use crate::control::report::RecoverReport;
use crate::control::{Failure, Kind, Mount};
use crate::fs;
use crate::kms::{Argon2Cost, Drill, Kms, KmsOptions, SlotKind, Unlock};

/// Runs the command.
///
/// # Errors
/// [`Kind::WrongUnlock`] if the words are no kit, or open nothing.
pub fn run(args: &RecoverArgs, printer: Printer) -> Result<(), Failure> {
    let unlock = UnlockArgs { kms: args.kms.clone(), ..UnlockArgs::default() };
    let place = Place::find(&args.target, &unlock)?;
    let kit = Unlock::RecoveryKit(read_kit(args.kit.as_deref())?);
    let report = match args.drill {
        true => drill(&place, &args.target, &kit)?,
        false => {
            let kms = Kms::open(&place.dir, &kit, KmsOptions::default())
                .map_err(|error| kit_failure(&place, error))?;
            let new = new_secret(&args.new, &place.subject)?;
            let slot = replace_lost(&kms, &kit, &new, args.keep_slots)
                .map_err(|error| open_failure(&place.dir, error))?;
            RecoverReport { slot, drill: false, volume_id: None }
        }
    };
    let subject = place.subject.display();
    printer.change(&report, |report| match (&report.volume_id, report.drill) {
        (Some(volume), true) => format!(
            "The kit opens {subject}: slot {}, volume {volume}. Nothing was changed.\n",
            report.slot
        ),
        (None, true) => {
            format!("The kit opens {subject}: slot {}. Nothing was changed.\n", report.slot)
        }
        (_, false) => {
            format!("slot {} of {subject} is new.\nnext: kmsfs slot list {subject}\n", report.slot)
        }
    })
}

/// Puts the new secret in the place of the passphrase that is lost, if there is just one.
fn replace_lost(
    kms: &Kms,
    kit: &Unlock,
    new: &Unlock,
    keep: bool,
) -> Result<String, crate::kms::OpenError> {
    let slots = kms.slots();
    let mut lost = slots.iter().filter(|entry| entry.kind == Some(SlotKind::Passphrase));
    match (lost.next(), lost.next()) {
        (Some(lost), None) if !keep => {
            kms.replace_slot(Some(&lost.slot), kit, new, Argon2Cost::STANDARD)
        }
        _ => kms.add_slot(kit, new, Argon2Cost::STANDARD),
    }
}

/// Opens the key database and the volume's configuration by the kit, and changes nothing.
fn drill(place: &Place, target: &Path, kit: &Unlock) -> Result<RecoverReport, Failure> {
    let drill = Drill::open(&place.dir, kit).map_err(|error| kit_failure(place, error))?;
    let slot = drill.slot().to_owned();
    let mounted = Mount::find(target).map(|mount| mount.hello.lower);
    let path = mounted.as_deref().unwrap_or(target);
    let volume_id = match probe(path) {
        Ok((lower, _)) => Some(fs::rehearse(&lower, &drill).map_err(Failure::from)?.to_string()),
        // A key service without a volume.
        Err(_) => None,
    };
    Ok(RecoverReport { slot, drill: true, volume_id })
}

fn kit_failure(place: &Place, error: crate::kms::OpenError) -> Failure {
    match error {
        crate::kms::OpenError::WrongUnlock => {
            let what = format!("{}: not opened by this recovery kit", place.subject.display());
            Failure::new(Kind::WrongUnlock, what)
        }
        other => open_failure(&place.dir, other),
    }
}
