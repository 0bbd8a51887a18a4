//! `kmsfs init`: a new volume, on request only.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::args::{InitArgs, UnlockArgs};
use crate::cli::kit::{KitWish, prepare_kit};
use crate::cli::place::{KeysPlace, own_dir, remote_kms};
use crate::cli::print::Printer;
use crate::cli::target::place_text;
use crate::cli::unlock::{Before, create_kms_with, has_kms, open_kms_with};
use crate::clock::SystemClock;
use crate::control::keys::look;
use crate::control::report::InitReport;
use crate::control::{Failure, Keys, Kind};
use crate::format::volume::{KmsPlace, NameBinding};
use crate::fs::{self as core, NewVolume};
use crate::kms::{
    AliasName, CreateKey, Extent, KeyRef, KeyUse, Kms, KmsError, KmsOptions, VolumeReport,
};
use crate::random::OsRandom;

/// Runs the command.
///
/// # Errors
/// [`Kind::InitNotEmpty`], and what making the key service or the volume answers.
pub fn run(args: &InitArgs, printer: Printer) -> Result<(), Failure> {
    let wish = KitWish::of(&args.kit, &args.lower)?;
    let (report, _kms) = make_volume(
        &args.lower,
        &Made::of(args),
        &args.unlock,
        &wish,
        KmsOptions::default(),
        &|| Ok(()),
    )?;
    printer.change(&report, text)
}

fn text(report: &InitReport) -> String {
    let lower = report.lower.display();
    let kms = match report.kms.as_str() {
        "embedded" => "kept in the volume".to_owned(),
        dir => format!("kept in {dir}"),
    };
    format!(
        "{lower} is a new volume.   Its key is {} -> {}, {kms}.\n\
         next: kmsfs mount {lower} MNT\n",
        report.alias, report.key_arn
    )
}

/// What kind of volume is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    key: Option<&'a str>,
    names: NameBinding,
}

impl Default for Made<'_> {
    fn default() -> Self {
        Self { key: None, names: NameBinding::Bound }
    }
}

impl<'a> Made<'a> {
    fn of(args: &'a InitArgs) -> Self {
        let names = if args.no_name_binding { NameBinding::Free } else { NameBinding::Bound };
        Self { key: args.key.as_deref(), names }
    }
}

/// Makes a volume; answers what was made, and its key service, open. `before` is done once the
/// secret is there, and the lower directory.
///
/// # Errors
/// As [`run`].
pub fn make_volume(
    lower: &Path,
    made_as: &Made<'_>,
    unlock: &UnlockArgs,
    wish: &KitWish,
    options: KmsOptions,
    before: Before<'_>,
) -> Result<(InitReport, Arc<dyn Keys>), Failure> {
    let alias_text = made_as.key.unwrap_or(AliasName::FILESYSTEM);
    let alias = AliasName::parse(alias_text).ok_or_else(|| {
        Failure::new(Kind::Usage, format!("not an alias: {alias_text}"))
            .hint("an alias is alias/NAME, with letters, digits, / _ and -")
    })?;
    let (lower, is_made) = empty_dir(lower)?;
    let made = fill(&lower, &alias, made_as.names, unlock, wish, options, before);
    if made.is_err() {
        // A half of a volume would make the next attempt fail: the directory was empty before.
        let _none = fs::remove_dir_all(own_dir(&lower));
        if is_made {
            let _not_empty = fs::remove_dir(&lower);
        }
    }
    made
}

/// Makes key service, key and volume.
fn fill(
    lower: &Path,
    alias: &AliasName,
    names: NameBinding,
    unlock: &UnlockArgs,
    wish: &KitWish,
    options: KmsOptions,
    before: Before<'_>,
) -> Result<(InitReport, Arc<dyn Keys>), Failure> {
    let place = match (&unlock.kms, &unlock.kms_url) {
        (Some(dir), _) => KmsPlace::Directory(absolute(dir)?),
        (None, Some(url)) => KmsPlace::Endpoint(url.clone()),
        (None, None) => KmsPlace::Embedded,
    };
    let (kms, key_arn): (Arc<dyn Keys>, String) =
        match KeysPlace::of(lower, &place, &UnlockArgs::default()) {
            KeysPlace::Url(url) => {
                let kms = remote_kms(&url, None, before)?;
                let key_arn = remote_key(&kms, alias, &url)?;
                (Arc::new(kms), key_arn)
            }
            KeysPlace::Dir(dir) => {
                let is_new = !has_kms(&dir);
                let kms = own_kms(&dir, lower, unlock, wish, options, before)?;
                let key_arn = volume_key(&kms, alias, is_new)?;
                (Arc::new(kms), key_arn)
            }
        };
    let new = NewVolume {
        kms: place.clone(),
        alias: alias.as_str(),
        service: &*kms,
        random: &OsRandom,
        clock: &SystemClock,
    };
    let volume = core::init_with(lower, &new, names)?;
    report_new(&*kms, lower, &volume.to_string(), &key_arn);
    let report = InitReport {
        volume_id: volume.to_string(),
        lower: lower.to_path_buf(),
        kms: place_text(&place),
        key_arn,
        alias: alias.to_string(),
    };
    Ok((report, kms))
}

/// Makes or opens a key service in a directory, with a recovery kit if there is to be one.
fn own_kms(
    dir: &Path,
    lower: &Path,
    unlock: &UnlockArgs,
    wish: &KitWish,
    options: KmsOptions,
    before: Before<'_>,
) -> Result<Kms, Failure> {
    let is_new = !has_kms(dir);
    // A key service that is there has had its kit, unless one is asked for. It goes to where a fence
    // lets nobody later.
    let wanted = is_new || matches!(wish, KitWish::File(_));
    let kit = RefCell::new(None);
    let before = || {
        if wanted {
            *kit.borrow_mut() = prepare_kit(wish, lower)?;
        }
        before()
    };
    let unlocked = match is_new {
        true => create_kms_with(dir, unlock, lower, options, &before)?,
        false => open_kms_with(dir, unlock, dir, options, &before)?,
    };
    if let Some(kit) = kit.take() {
        kit.add_to(&unlocked, lower)?;
    }
    Ok(unlocked.kms)
}

/// Tells the key service of the volume: its key must not go.
fn report_new(kms: &dyn Keys, lower: &Path, volume: &str, key_arn: &str) {
    let wraps_volume = KeyUse {
        key_arn: key_arn.to_owned(),
        material: look(kms, &KeyRef::new(key_arn)).ok().and_then(|key| key.current_material),
        files: 0,
        bytes: 0,
        is_volume_key: true,
        is_growing: false,
    };
    let report = VolumeReport {
        volume: volume.to_owned(),
        path: lower.display().to_string(),
        uses: vec![wraps_volume],
        extent: Extent::Whole,
    };
    if let Err(error) = kms.note_volume(&report) {
        tracing::warn!("the key service was not told of the volume: {error}");
    }
}

/// The ARN of the key behind an alias. A new key service gets the key; an existing one must have
/// it, since a typo must not make a key.
fn volume_key(kms: &Kms, alias: &AliasName, is_new: bool) -> Result<String, Failure> {
    if alias.as_str() == AliasName::FILESYSTEM {
        return Ok(kms.filesystem_key()?.arn.to_string());
    }
    match look(kms, &KeyRef::from(alias)) {
        Ok(key) => return Ok(key.arn.to_string()),
        Err(KmsError::NotFound { .. }) if is_new => {}
        Err(error) => {
            return Err(Failure::from(error).hint(format!(
                "kmsfs kms --kms DIR create-alias --alias-name {alias} --target-key-id KEY"
            )));
        }
    }
    let description = "data keys of a kmsfs volume".to_owned();
    let made = kms.create_key(CreateKey { description, ..CreateKey::default() })?;
    kms.create_alias(alias.as_str(), &KeyRef::from(&made.arn))?;
    Ok(made.arn.to_string())
}

/// The ARN of the key behind an alias at an endpoint. It is the service's own business to make it.
fn remote_key(kms: &dyn Keys, alias: &AliasName, url: &str) -> Result<String, Failure> {
    let key = look(kms, &KeyRef::from(alias)).map_err(|error| match &error {
        KmsError::NotFound { .. } => Failure::from(error).hint(format!(
            "kmsfs kms create-alias --alias-name {alias} --target-key-id KEY --endpoint-url {url}"
        )),
        _ => Failure::from(error),
    })?;
    Ok(key.arn.to_string())
}

/// Makes the directory if it is not there, and tells whether; refuses one with anything in it.
fn empty_dir(path: &Path) -> Result<(PathBuf, bool), Failure> {
    let shown = path.display().to_string();
    let is_made = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir(path).map_err(|error| Failure::io(&shown, &error))?;
            true
        }
        Err(error) => return Err(Failure::io(&shown, &error)),
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(|error| Failure::io(&shown, &error))?;
                // Every new ext4 has it.
                if entry.file_name() == "lost+found" {
                    continue;
                }
                let what = format!("{shown} is not empty: it has {}", entry.path().display());
                return Err(Failure::new(Kind::InitNotEmpty, what)
                    .hint("choose an empty directory, or one that is not there yet"));
            }
            false
        }
    };
    let real = fs::canonicalize(path).map_err(|error| Failure::io(&shown, &error))?;
    Ok((real, is_made))
}

/// As the volume's configuration keeps it: absolute, and text.
fn absolute(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path).map_err(|error| Failure::io(path.display(), &error))?;
    path.into_os_string().into_string().map_err(|path| {
        let what = format!("{}: not UTF-8", path.to_string_lossy());
        Failure::new(Kind::Usage, what).hint("give the key service a directory with a plain name")
    })
}
