//! `kmsfs slot` and `kmsfs passwd`: the ways to unlock a key service.

use std::path::{Path, PathBuf};

use crate::cli::args::{NewSecretArgs, PasswdArgs, SlotCommand, UnlockArgs};
use crate::cli::kit::PreparedKit;
use crate::cli::place::KeysPlace;
use crate::cli::print::Printer;
use crate::cli::target::{probe, service_dir};
use crate::cli::unlock::{Asking, Unlocked, open_failure, open_kms_with, secret};
use crate::control::report::{SlotReport, SlotRow, SlotsReport};
use crate::control::{Failure, Kind, Mount};
use crate::kms::{Argon2Cost, KmsOptions, SlotKind, Unlock};

/// Runs `kmsfs slot`.
///
/// # Errors
/// [`Kind::WrongUnlock`], [`Kind::InUse`] for the last slot, [`Kind::Usage`] for one that is not
/// there.
pub fn run(command: &SlotCommand, printer: Printer) -> Result<(), Failure> {
    match command {
        SlotCommand::List { target, unlock } => {
            let place = Place::find(target, unlock)?;
            let unlocked = place.unlock(unlock)?;
            let opened = unlocked.kms.slot_of(&unlocked.unlock);
            let opened = opened.map_err(|error| open_failure(&place.dir, error))?;
            let slots = unlocked.kms.slots().into_iter().map(|entry| SlotRow {
                opened: entry.slot == opened,
                kind: entry.kind.map_or("unknown", |kind| kind.as_str()).to_owned(),
                slot: entry.slot,
            });
            printer.data(&SlotsReport { slots: slots.collect() }, list_text)
        }
        SlotCommand::Add { target, new, recovery_kit, unlock } => {
            check_stdin(new, unlock)?;
            let place = Place::find(target, unlock)?;
            let unlocked = place.unlock(unlock)?;
            let (slot, kind) = match recovery_kit {
                Some(path) => {
                    let kit = PreparedKit::write(path, &place.subject)?;
                    (kit.add_to(&unlocked, &place.dir)?, SlotKind::RecoveryKit)
                }
                None => {
                    let new = new_secret(new, &place.subject)?;
                    let added = unlocked.kms.add_slot(&unlocked.unlock, &new, Argon2Cost::STANDARD);
                    let slot = added.map_err(|error| open_failure(&place.dir, error))?;
                    (slot, new.kind())
                }
            };
            let kind = kind.as_str().to_owned();
            place.done(SlotReport { slot, kind, change: "added".to_owned() }, printer)
        }
        SlotCommand::Remove { target, slot, unlock } => {
            let place = Place::find(target, unlock)?;
            let unlocked = place.unlock(unlock)?;
            let entries = unlocked.kms.slots();
            let Some(entry) = entries.iter().find(|entry| entry.slot == *slot) else {
                return Err(Failure::new(Kind::Usage, format!("no slot {slot}"))
                    .hint(format!("kmsfs slot list {}", place.subject.display())));
            };
            if entries.len() == 1 {
                let what = format!("slot {slot} is the last: without it nothing opens");
                return Err(Failure::new(Kind::InUse, what)
                    .hint(format!("kmsfs slot add {}", place.subject.display())));
            }
            let kind = entry.kind.map_or("unknown", |kind| kind.as_str()).to_owned();
            let removed = unlocked.kms.remove_slot(slot);
            removed.map_err(|error| open_failure(&place.dir, error))?;
            let slot = slot.clone();
            place.done(SlotReport { slot, kind, change: "removed".to_owned() }, printer)
        }
    }
}

/// Runs `kmsfs passwd`: the slot that opened gets another secret.
///
/// # Errors
/// [`Kind::WrongUnlock`], [`Kind::EmptyPassphrase`].
pub fn passwd(args: &PasswdArgs, printer: Printer) -> Result<(), Failure> {
    check_stdin(&args.new, &args.unlock)?;
    let place = Place::find(&args.target, &args.unlock)?;
    let unlocked = place.unlock(&args.unlock)?;
    let new = new_secret(&args.new, &place.subject)?;
    let kind = new.kind().as_str().to_owned();
    let cost = Argon2Cost::STANDARD;
    let replaced = unlocked.kms.replace_slot(None, &unlocked.unlock, &new, cost);
    let slot = replaced.map_err(|error| open_failure(&place.dir, error))?;
    place.done(SlotReport { slot, kind, change: "replaced".to_owned() }, printer)
}

/// A key service that a command names by its volume, or by its directory.
pub(super) struct Place {
    /// Its directory.
    pub(super) dir: PathBuf,
    /// What the user named.
    pub(super) subject: PathBuf,
}

impl Place {
    /// # Errors
    /// [`Kind::ConfigUnreadable`] if there is no volume.
    pub(super) fn find(target: &Path, unlock: &UnlockArgs) -> Result<Self, Failure> {
        let subject = target.to_path_buf();
        if let Some(dir) = service_dir(Some(target), unlock) {
            return Ok(Self { dir: dir.to_path_buf(), subject });
        }
        let mounted = Mount::find(target).map(|mount| mount.hello.lower);
        let (lower, summary) = probe(mounted.as_deref().unwrap_or(target))?;
        let dir = KeysPlace::of(&lower, &summary.kms, unlock).into_dir()?;
        Ok(Self { dir, subject })
    }

    fn unlock(&self, unlock: &UnlockArgs) -> Result<Unlocked, Failure> {
        open_kms_with(&self.dir, unlock, &self.subject, KmsOptions::default(), &|| Ok(()))
    }

    fn done(&self, report: SlotReport, printer: Printer) -> Result<(), Failure> {
        let subject = self.subject.display();
        printer.change(&report, |report| {
            let SlotReport { slot, kind, change } = report;
            format!(
                "slot {slot} ({kind}) of {subject} is {change}.\nnext: kmsfs slot list {subject}\n"
            )
        })
    }
}

/// Refuses to take two passphrases from one stdin, before any is asked for.
fn check_stdin(new: &NewSecretArgs, old: &UnlockArgs) -> Result<(), Failure> {
    let is_stdin = |path: &Option<PathBuf>| path.as_ref().is_some_and(|p| p.as_os_str() == "-");
    if is_stdin(&new.new_passfile) && is_stdin(&old.passfile) {
        return Err(Failure::new(Kind::Usage, "stdin holds one passphrase, not two")
            .hint("--passfile FILE --new-passfile -"));
    }
    Ok(())
}

/// The secret that takes the place of another, or stands beside it.
///
/// # Errors
/// Those of asking.
pub(super) fn new_secret(new: &NewSecretArgs, subject: &Path) -> Result<Unlock, Failure> {
    let args = UnlockArgs {
        passfile: new.new_passfile.clone(),
        extpass: new.new_extpass.clone(),
        keyfile: new.new_keyfile.clone(),
        ..UnlockArgs::default()
    };
    secret(&args, Asking::New, subject)
}

fn list_text(report: &SlotsReport) -> String {
    let row = |row: &SlotRow| {
        let opened = if row.opened { "  opened now" } else { "" };
        format!("{:>4}  {}{opened}\n", row.slot, row.kind)
    };
    report.slots.iter().map(row).collect()
}
