//! `kmsfs backup headers`: saves what a volume's content cannot be read without, and puts it back.

use std::fs::{self as std_fs, DirBuilder, File, OpenOptions};
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::args::{BackupCommand, HeadersArgs};
use crate::cli::place::KeysPlace;
use crate::cli::print::Printer;
use crate::cli::target::probe;
use crate::cli::unlock::{Asking, has_kms, open_failure, secret};
use crate::cli::values::{count, unix_secs};
use crate::clock::{Clock as _, SystemClock};
use crate::codec::hex;
use crate::control::report::{BackupReport, RestoreReport};
use crate::control::{Failure, Kind, Mount, real_path};
use crate::format::KmsPlace;
use crate::fs::{
    self, ArchiveEntryKind, ArchiveError, ArchiveReader, FsError, RestoreOptions, archived_place,
};
use crate::kms::{Drill, Kms, KmsOptions, OpenError, Unlock};
use crate::random::{OsRandom, Random, random_array};

/// Paths that the text form shows.
const PATHS_SHOWN: usize = 20;
const CONFIG_NAME: &str = "volume.toml";
const DATABASE_NAME: &str = "keys.db";

/// Runs the command.
///
/// # Errors
/// [`Kind::WrongUnlock`], [`Kind::ConfigUnreadable`] for an archive that was changed or is of another
/// volume, [`Kind::AlreadyRunning`] for a restore of a mounted volume, [`Kind::FsckFindings`] if
/// something could not be put back.
pub fn run(command: &BackupCommand, printer: Printer) -> Result<(), Failure> {
    let BackupCommand::Headers(args) = command;
    match args.restore {
        true => restore(args, printer),
        false => save(args, printer),
    }
}

fn save(args: &HeadersArgs, printer: Printer) -> Result<(), Failure> {
    let mounted = Mount::find(&args.target).map(|mount| mount.hello.lower);
    let (lower, summary) = probe(mounted.as_deref().unwrap_or(&args.target))?;
    let out = &args.archive;
    if real_path(out).starts_with(&lower) {
        let what = format!("{}: inside the volume it is lost with it", out.display());
        return Err(Failure::new(Kind::Usage, what).hint("keep the archive elsewhere"));
    }
    let dir = KeysPlace::of(&lower, &summary.kms, &args.unlock).into_dir()?;
    let unlock = secret(&args.unlock, Asking::Existing, &lower)?;
    let drill = Drill::open(&dir, &unlock).map_err(|error| open_failure(&dir, error))?;
    let own = match summary.kms {
        KmsPlace::Embedded => vec![(DATABASE_NAME.to_owned(), drill.database().to_vec())],
        KmsPlace::Directory(_) | KmsPlace::Endpoint(_) => Vec::new(),
    };
    let failed = |error: std::io::Error| Failure::io(out.display(), &error);
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(out).map_err(failed)?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    let created = unix_secs(SystemClock.now());
    let saved = fs::save_headers(&lower, &drill, own, created, &mut writer, &mut |_| {})
        .and_then(|saved| {
            writer.flush()?;
            writer.get_ref().sync_all()?;
            Ok(saved)
        })
        .map_err(|error| {
            // Half an archive is none.
            let _none = std_fs::remove_file(out);
            archive_failure(out, error)
        })?;
    let report = BackupReport {
        archive: out.clone(),
        headers: saved.headers,
        markers: saved.markers,
        sidecars: saved.sidecars,
        skipped: saved.skipped,
    };
    printer.change(&report, |report| {
        let damaged = match report.skipped {
            0 => String::new(),
            skipped => format!("   {} are damaged and not in it.", count(skipped)),
        };
        let (headers, markers) = (count(report.headers), count(report.markers));
        let (out, lower) = (report.archive.display(), lower.display());
        format!(
            "{headers} headers and {markers} markers are in {out}.{damaged}\n\
             next: kmsfs backup headers {lower} {out} --restore --dry-run\n"
        )
    })
}

fn restore(args: &HeadersArgs, printer: Printer) -> Result<(), Failure> {
    if Mount::find(&args.target).is_some() {
        let what = format!("{} is mounted", args.target.display());
        return Err(Failure::new(Kind::AlreadyRunning, what)
            .hint(format!("kmsfs umount {}", args.target.display())));
    }
    let lower = std_fs::canonicalize(&args.target)
        .map_err(|error| Failure::io(args.target.display(), &error))?;
    let archive = &args.archive;
    let open = || -> Result<ArchiveReader<BufReader<File>>, Failure> {
        let file = File::open(archive).map_err(|error| Failure::io(archive.display(), &error))?;
        ArchiveReader::new(BufReader::with_capacity(1 << 20, file))
            .map_err(|error| archive_failure(archive, error))
    };
    let own = Own::read(open()?).map_err(|error| archive_failure(archive, error))?;
    let place = match fs::probe(&lower) {
        Ok(summary) => summary.kms,
        Err(_) => archived_place(&own.config).map_err(|error| archive_failure(archive, error))?,
    };
    let dir = KeysPlace::of(&lower, &place, &args.unlock).into_dir()?;
    let unlock = secret(&args.unlock, Asking::Existing, &lower)?;
    let keys = OpenedKeys::find(&dir, &unlock, own.database.as_deref())?;
    let options = RestoreOptions { overwrite: args.overwrite, dry_run: args.dry_run };
    let mut report = RestoreReport { dry_run: args.dry_run, ..RestoreReport::default() };
    let restored = {
        // All of the archive is verified before any of it is used.
        let checked =
            fs::check_archive(&lower, &keys.drill, open()?, &own.config, options, &OsRandom);
        report.configuration = checked.map_err(|error| archive_failure(archive, error))?;
        report.key_database = keys.is_archived();
        if args.dry_run && (report.configuration || report.key_database) {
            // The rest can be told only once these are back.
            None
        } else {
            keys.keep(&dir)?;
            let kms = Kms::open(&dir, &unlock, KmsOptions::default())
                .map_err(|error| open_failure(&dir, error))?;
            let random: Arc<dyn Random> = Arc::new(OsRandom);
            let service = Arc::new(kms.clone());
            let done = fs::restore_headers(&lower, service, open()?, options, &random, &mut |_| {});
            let done = done.map_err(|error| archive_failure(archive, error))?;
            kms.flush_audit()?;
            Some(done)
        }
    };
    if let Some(restored) = restored {
        report.good = restored.good;
        report.restored = restored.restored;
        report.missing = restored.missing;
        report.other_content = restored.other_content;
        report.refused = restored.refused;
    }
    printer.change(&report, |report| restore_text(report, &lower))?;
    let left = report.other_content.len() + report.refused.len();
    if left == 0 {
        return Ok(());
    }
    let what = format!("{left} files are still damaged");
    Err(Failure::new(Kind::FsckFindings, what).hint(format!("kmsfs fsck {}", lower.display())))
}

/// What an archive has of `.kmsfs`. Not verified yet: it may be needed to verify.
struct Own {
    config: Vec<u8>,
    database: Option<Vec<u8>>,
}

impl Own {
    fn read(mut archive: ArchiveReader<BufReader<File>>) -> Result<Self, ArchiveError> {
        let mut own = Self { config: Vec::new(), database: None };
        loop {
            // They come first.
            let unverified = archive.next_entry()?;
            let entry = unverified.entry();
            match (entry.kind, entry.path.as_slice()) {
                (ArchiveEntryKind::Own, path) if path == CONFIG_NAME.as_bytes() => {
                    own.config.clone_from(&entry.data);
                }
                (ArchiveEntryKind::Own, path) if path == DATABASE_NAME.as_bytes() => {
                    own.database = Some(entry.data.clone());
                }
                (ArchiveEntryKind::Own, _) => {}
                _ => return Ok(own),
            }
        }
    }
}

/// The key database: the volume's own, or the archive's in a place aside.
struct OpenedKeys {
    drill: Drill,
    aside: Option<PathBuf>,
}

impl Drop for OpenedKeys {
    fn drop(&mut self) {
        if let Some(aside) = &self.aside {
            let _none = std_fs::remove_dir_all(aside);
        }
    }
}

impl OpenedKeys {
    /// The archive's database is used only if the volume's own is gone or broken.
    fn find(dir: &Path, unlock: &Unlock, archived: Option<&[u8]>) -> Result<Self, Failure> {
        let own = match Drill::open(dir, unlock) {
            Ok(drill) => return Ok(Self { drill, aside: None }),
            Err(error) => error,
        };
        let is_broken = matches!(own, OpenError::Corrupt { .. } | OpenError::Missing { .. });
        let Some(bytes) = archived.filter(|_| is_broken) else {
            return Err(open_failure(dir, own));
        };
        let aside = dir.join(format!("restore.{}", hex(&random_array::<8>(&OsRandom))));
        let failed = |error: std::io::Error| Failure::io(aside.display(), &error);
        DirBuilder::new().recursive(true).mode(0o700).create(&aside).map_err(failed)?;
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(aside.join(DATABASE_NAME))
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .map_err(failed);
        let drill = made.and_then(|()| {
            Drill::open(&aside, unlock).map_err(|error| open_failure(&aside, error))
        });
        match drill {
            Ok(drill) => Ok(Self { drill, aside: Some(aside) }),
            Err(failure) => {
                let _none = std_fs::remove_dir_all(&aside);
                Err(failure)
            }
        }
    }

    fn is_archived(&self) -> bool {
        self.aside.is_some()
    }

    /// Puts the archive's database in the place of the broken one, which is kept under another name.
    fn keep(&self, dir: &Path) -> Result<(), Failure> {
        let Some(aside) = &self.aside else { return Ok(()) };
        let failed = |error: std::io::Error| Failure::io(dir.display(), &error);
        let path = dir.join(DATABASE_NAME);
        if has_kms(dir) {
            let broken = format!("{DATABASE_NAME}.broken.{}", unix_secs(SystemClock.now()));
            std_fs::rename(&path, dir.join(broken)).map_err(failed)?;
        }
        // The journal of another database would be rolled back into this one.
        match std_fs::remove_file(dir.join(format!("{DATABASE_NAME}-journal"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        std_fs::rename(aside.join(DATABASE_NAME), &path).map_err(failed)?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }
}

fn restore_text(report: &RestoreReport, lower: &Path) -> String {
    let mut text = String::new();
    let done = if report.dry_run { "would be put back" } else { "put back" };
    if report.key_database {
        text.push_str(&format!("key database: {done}\n"));
    }
    if report.configuration {
        text.push_str(&format!("configuration: {done}\n"));
    }
    for (what, paths) in [
        (done, &report.restored),
        ("gone, or cut", &report.missing),
        ("damaged, and not of this content", &report.other_content),
        ("its key is refused", &report.refused),
    ] {
        for path in paths.iter().take(PATHS_SHOWN) {
            text.push_str(&format!("{path}: {what}\n"));
        }
        if paths.len() > PATHS_SHOWN {
            text.push_str(&format!("and {} more: {what}\n", paths.len() - PATHS_SHOWN));
        }
    }
    let restored = count(u64::try_from(report.restored.len()).unwrap_or(u64::MAX));
    let (good, lower) = (count(report.good), lower.display());
    text + &format!("{restored} {done}, {good} are good.\nnext: kmsfs fsck {lower}\n")
}

fn archive_failure(archive: &Path, error: ArchiveError) -> Failure {
    let shown = archive.display();
    match error {
        ArchiveError::Io(error) => Failure::io(shown, &error),
        ArchiveError::Volume(FsError::VolumeConfig(error)) => {
            Failure::new(Kind::ConfigUnreadable, format!("{shown}: {error}"))
        }
        ArchiveError::Volume(error) => error.into(),
        other => Failure::new(Kind::ConfigUnreadable, format!("{shown}: {other}")),
    }
}
