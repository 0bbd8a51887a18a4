//! `kmsfs replica`: a multi-Region key from one installation to another, in files that people carry.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::cli::args::{ReplicaCommand, UnlockArgs};
use crate::cli::print::Printer;
use crate::cli::slot::Place;
use crate::cli::unlock::{create_kms_with, has_kms, open_failure, open_kms_with};
use crate::control::keys::{look, resolve_prefix};
use crate::control::report::ReplicaReport;
use crate::control::{Failure, Kind};
use crate::kms::{
    BundleHead, Fingerprint, KeyArn, KeyRef, Kms, KmsError, KmsOptions, MaterialId,
    REPLICA_BUNDLE_LEN_MAX, REPLICA_REQUEST_LEN_MAX, Regions, ReplicaChange, ReplicaRequest,
    Timestamp,
};

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`] without the fingerprint that the other side shows, or with another; what the key
/// service answers.
pub fn run(command: &ReplicaCommand, printer: Printer) -> Result<(), Failure> {
    match command {
        ReplicaCommand::Request { target, request, region, create, unlock } => {
            let region = region.as_deref();
            let regions = match *create && !has_kms(target) {
                true => make(target, unlock, region)?,
                false => open(target, unlock)?,
            };
            let report = ask(&regions, region, request)?;
            printer.change(&report, |report| {
                let (file, region) = (report.file.display(), &report.region);
                format!(
                    "{file} asks for a replica in {region}, until {}.\n\
                     fingerprint  {}\n\
                     next, on the other side: kmsfs replica export DIR {file} BUNDLE --key KEY\n",
                    until(report),
                    report.fingerprint
                )
            })
        }
        ReplicaCommand::Export { target, request, bundle, key, fingerprint, unlock } => {
            let bytes = read(request, REPLICA_REQUEST_LEN_MAX)?;
            let parsed =
                ReplicaRequest::parse(&bytes).ok_or_else(|| no_such(request, "request"))?;
            check(request, &bytes, fingerprint.as_deref())?;
            let regions = open(target, unlock)?;
            let report = export(&regions, key, &parsed, bundle)?;
            printer.change(&report, |report| {
                let (file, region) = (report.file.display(), &report.region);
                format!(
                    "{file} carries {} to {region} (materials: {}).\n\
                     fingerprint  {}\n\
                     next, on the other side: kmsfs replica import DIR {file}\n",
                    report.key_arn.as_deref().unwrap_or_default(),
                    report.materials.unwrap_or_default(),
                    report.fingerprint
                )
            })
        }
        ReplicaCommand::Import { target, bundle, fingerprint, unlock } => {
            let bytes = read(bundle, REPLICA_BUNDLE_LEN_MAX)?;
            let (head, _) = BundleHead::parse(&bytes).ok_or_else(|| no_such(bundle, "bundle"))?;
            check(bundle, &bytes, fingerprint.as_deref())?;
            let regions = open(target, unlock)?;
            let report = import(&regions, &head, &bytes, bundle)?;
            printer.change(&report, |report| {
                let key = report.key_arn.as_deref().unwrap_or_default();
                match report.change.as_str() {
                    "unchanged" => format!("{key} has all of it already: nothing was changed.\n"),
                    change => format!(
                        "{key} is {change} (materials: {}).\n\
                         next: kmsfs kms --kms DIR create-alias --alias-name ALIAS --target-key-id {key}\n",
                        report.materials.unwrap_or_default()
                    ),
                }
            })
        }
    }
}

/// Opens a key service with all its Regions.
fn open(target: &Path, unlock: &UnlockArgs) -> Result<Regions, Failure> {
    let place = Place::find(target, unlock)?;
    let options = KmsOptions::default();
    let kms = open_kms_with(&place.dir, unlock, &place.subject, options, &|| Ok(()))?.kms;
    Regions::open(kms, &place.dir).map_err(|error| open_failure(&place.dir, error))
}

/// Makes a key service.
fn make(dir: &Path, unlock: &UnlockArgs, region: Option<&str>) -> Result<Regions, Failure> {
    let mut options = KmsOptions::default();
    if let Some(region) = region {
        region.clone_into(&mut options.region);
    }
    let kms = create_kms_with(dir, unlock, dir, options, &|| Ok(()))?.kms;
    Regions::open(kms, dir).map_err(|error| open_failure(dir, error))
}

fn ask(regions: &Regions, region: Option<&str>, file: &Path) -> Result<ReplicaReport, Failure> {
    let home = regions.home();
    let kms = match region {
        Some(region) => regions.kms(&home.account(), region)?,
        None => home.clone(),
    };
    let request = kms.request_replica()?;
    let bytes = request.encode().ok_or_else(|| Failure::new(Kind::Other, "request is too long"))?;
    write(file, &bytes)?;
    Ok(ReplicaReport {
        change: "requested".to_owned(),
        file: file.to_path_buf(),
        fingerprint: request.fingerprint().to_string(),
        account: request.account,
        region: request.region,
        valid_to: Some(Timestamp(request.valid_to).secs()),
        ..ReplicaReport::default()
    })
}

fn export(
    regions: &Regions,
    key: &str,
    request: &ReplicaRequest,
    file: &Path,
) -> Result<ReplicaReport, Failure> {
    let (kms, key) = find(regions, key)?;
    if std::fs::symlink_metadata(file).is_ok() {
        let what = format!("{} is there already", file.display());
        return Err(Failure::new(Kind::Usage, what).hint("the bundle is a new file"));
    }
    let exported = kms.export_replica(&KeyRef::from(&key), request)?;
    write(file, &exported.bundle)?;
    Ok(ReplicaReport {
        change: "exported".to_owned(),
        file: file.to_path_buf(),
        fingerprint: Fingerprint::of(&exported.bundle).to_string(),
        account: request.account.clone(),
        region: request.region.clone(),
        valid_to: Some(Timestamp(request.valid_to).secs()),
        key_arn: Some(exported.key.to_string()),
        material: exported.material.map(|id: MaterialId| id.to_string()),
        materials: Some(exported.materials),
    })
}

fn import(
    regions: &Regions,
    head: &BundleHead,
    bytes: &[u8],
    file: &Path,
) -> Result<ReplicaReport, Failure> {
    // What the head says is not authentic: it only names who finds out.
    let kms = regions.find(&head.account, &head.region).ok_or_else(|| {
        let (account, region) = (&head.account, &head.region);
        let what = format!("{}: for {region} of account {account}, not here", file.display());
        Failure::new(Kind::Usage, what).hint("kmsfs replica import DIR, where the request was made")
    })?;
    let imported = kms.import_replica(bytes)?;
    kms.flush_audit()?;
    Ok(ReplicaReport {
        change: match imported.change {
            ReplicaChange::Made => "made",
            ReplicaChange::Updated => "updated",
            ReplicaChange::Unchanged => "unchanged",
        }
        .to_owned(),
        file: file.to_path_buf(),
        fingerprint: Fingerprint::of(bytes).to_string(),
        account: head.account.clone(),
        region: head.region.clone(),
        valid_to: None,
        key_arn: Some(imported.key.to_string()),
        material: imported.material.map(|id| id.to_string()),
        materials: Some(imported.materials),
    })
}

/// The Region and the key that a name means: the Region of an ARN; else the one with the primary; else
/// the home, which then says why not.
fn find(regions: &Regions, name: &str) -> Result<(Kms, KeyArn), Failure> {
    let mut refused = None;
    let mut found = None;
    for kms in regions.opened() {
        let key = resolve_prefix(&kms, name).and_then(|name| Ok(look(&kms, &KeyRef::new(&name))?));
        match key {
            Ok(key) => {
                let related = kms.describe_key(&KeyRef::from(&key.arn))?.multi_region;
                let is_primary = related.is_some_and(|related| related.primary == kms.region());
                if is_primary {
                    return Ok((kms, key.arn));
                }
                found.get_or_insert((kms, key.arn));
            }
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    match (found, refused) {
        (Some(found), _) => Ok(found),
        (None, Some(error)) => Err(error),
        (None, None) => Err(KmsError::NotFound { message: format!("no key {name}") }.into()),
    }
}

/// Compares what the other side shows with what is here. Whoever changes a request on its way gets the
/// key; whoever changes a bundle gives us his.
fn check(file: &Path, bytes: &[u8], given: Option<&str>) -> Result<(), Failure> {
    let given = match given {
        Some(text) => text.to_owned(),
        None => typed(file)?,
    };
    let own = Fingerprint::of(bytes);
    if own.is_written(given.trim()) {
        return Ok(());
    }
    let what = format!("{}: its fingerprint is {own}, not {}", file.display(), given.trim());
    Err(Failure::new(Kind::Usage, what).hint("go on with no file that the other side did not make"))
}

fn typed(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    if !io::stdin().is_terminal() {
        let what = format!("{shown}: which fingerprint the other side shows is not known");
        return Err(Failure::new(Kind::Usage, what).hint("--fingerprint DIGITS"));
    }
    let _closed = write!(io::stderr(), "Fingerprint of {shown}, as the other side shows it: ");
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|error| Failure::io("stdin", &error))?;
    Ok(line)
}

fn read(path: &Path, len_max: usize) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::io(path.display(), &error);
    let mut bytes = Vec::new();
    // One more: what is longer is no such file.
    let limit = u64::try_from(len_max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Writes a new file, durably; half a file is none.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io(path.display(), &error);
    let mut made = OpenOptions::new();
    let mut file = made.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        let _none = std::fs::remove_file(path);
        failed(error)
    })
}

fn no_such(path: &Path, what: &str) -> Failure {
    Failure::new(Kind::Usage, format!("{} is no {what} of a replica", path.display()))
}

fn until(report: &ReplicaReport) -> String {
    report.valid_to.map(crate::cli::values::utc).unwrap_or_default()
}
