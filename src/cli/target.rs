//! What a command works on: a mount that is asked, or a volume that is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::cli::args::UnlockArgs;
use crate::cli::place::open_keys;
use crate::cli::print::read_report;
use crate::cli::progress::Watch;
use crate::cli::unlock::has_kms;
use crate::clock::SystemClock;
use crate::control::report::StatusReport;
use crate::control::{Failure, Keys, Kind, Mount, Session, Verb};
use crate::format::volume::KmsPlace;
use crate::fs::{self, FsError, OpenOptions, Volume, VolumeSummary};
use crate::random::OsRandom;

/// What a command does to an unmounted volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Changes nothing.
    Read,
    /// Changes headers or settings.
    Write,
}

/// A mount that is asked, or a volume that is opened.
pub enum Target {
    /// Answers at its control socket.
    Mounted(Mount),
    /// Opened and locked by this process.
    Direct(Box<Session>),
}

impl Target {
    /// The volume that `path` means.
    ///
    /// # Errors
    /// [`Kind::ConfigUnreadable`] if there is none; what unlocking and opening answer.
    pub fn find(path: &Path, unlock: &UnlockArgs, purpose: Purpose) -> Result<Self, Failure> {
        if let Some(mount) = Mount::find(path) {
            return Ok(Self::Mounted(mount));
        }
        let (lower, summary) = probe(path)?;
        let kms = open_keys(&lower, &summary, unlock)?;
        let session = open_session(&lower, &summary, kms, purpose)?;
        Ok(Self::Direct(Box::new(session)))
    }

    /// The unmounted volume at a path, open for repair also if nothing tells whether it was closed; and
    /// whether its state had to be written again for that.
    ///
    /// # Errors
    /// [`Kind::InUse`] if it is mounted; as [`Target::find`].
    pub fn find_for_repair(path: &Path, unlock: &UnlockArgs) -> Result<(Self, bool), Failure> {
        if Mount::find(path).is_some() {
            let what = format!("{} is mounted; a repair needs it for itself", path.display());
            let hint = format!("kmsfs umount {}", path.display());
            return Err(Failure::new(Kind::InUse, what).hint(hint));
        }
        let (lower, summary) = probe(path)?;
        let kms = open_keys(&lower, &summary, unlock)?;
        let service = Arc::clone(&kms);
        let is_renewed =
            Volume::renew_state(&lower, service, Arc::new(OsRandom), Arc::new(SystemClock))?;
        let session = open_session(&lower, &summary, kms, Purpose::Write)?;
        Ok((Self::Direct(Box::new(session)), is_renewed))
    }

    /// Closes a volume that this process opened.
    ///
    /// # Errors
    /// What making everything durable answers.
    pub fn close(&self) -> Result<(), Failure> {
        match self {
            Self::Mounted(_) => Ok(()),
            Self::Direct(session) => Ok(session.volume().shutdown()?),
        }
    }

    /// Carries out a request with progress on the terminal.
    ///
    /// # Errors
    /// What the mount or the volume answers.
    pub fn call<R: DeserializeOwned>(&self, verb: Verb, watch: &mut Watch) -> Result<R, Failure> {
        let mut step = |now: &_| watch.step(now);
        let value = match self {
            Self::Mounted(mount) => mount.client()?.call(verb, &mut step),
            Self::Direct(session) => session.handle(&verb, &mut step),
        };
        watch.finish();
        read_report(value?)
    }

    /// Where in the volume a command works: the paths that the user typed, and what the target
    /// itself names below a mount point. Empty means everywhere.
    pub fn scope(&self, target: &Path, paths: &[PathBuf]) -> Vec<PathBuf> {
        let mut scope: Vec<PathBuf> = paths.iter().map(|path| self.inner_path(path)).collect();
        if let Self::Mounted(mount) = self {
            scope.extend(Some(mount.inner_path(target)).filter(|p| !p.as_os_str().is_empty()));
        }
        scope
    }

    /// A path inside the volume, from what the user typed: below the mount point, or from the
    /// volume's root.
    pub fn inner_path(&self, path: &Path) -> PathBuf {
        match self {
            Self::Mounted(mount) if path.is_absolute() || path.exists() => {
                let inner = mount.inner_path(path);
                if inner.as_os_str().is_empty() { from_root(path) } else { inner }
            }
            Self::Mounted(_) | Self::Direct(_) => from_root(path),
        }
    }
}

/// A key service that is meant without a volume: by `--kms` alone, or by its directory.
pub fn service_dir<'a>(target: Option<&'a Path>, unlock: &'a UnlockArgs) -> Option<&'a Path> {
    match target {
        None => unlock.kms.as_deref(),
        Some(path) => {
            let is_volume = Mount::find(path).is_some() || probe(path).is_ok();
            Some(path).filter(|path| !is_volume && has_kms(path))
        }
    }
}

/// A path from the volume's root, without a leading slash.
pub fn from_root(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_path_buf()
}

/// The unmounted volume at a path: its real path, and what can be told without a key.
///
/// # Errors
/// [`Kind::ConfigUnreadable`] if there is none, or it does not read; [`Kind::Other`] for a mount whose
/// process does not answer.
pub fn probe(path: &Path) -> Result<(PathBuf, VolumeSummary), Failure> {
    let shown = path.display().to_string();
    let lower = std::fs::canonicalize(path).map_err(|error| Failure::io(&shown, &error))?;
    match fs::probe(&lower) {
        Ok(summary) => Ok((lower, summary)),
        Err(FsError::VolumeMissing) if is_mount(&lower) => {
            let what = format!("{shown}: the process behind the mount does not answer");
            Err(Failure::new(Kind::Other, what).hint("the same command again, if it is busy"))
        }
        Err(FsError::VolumeMissing) => {
            let what = format!("{shown}: neither a volume nor a mount");
            Err(Failure::new(Kind::ConfigUnreadable, what)
                .hint(format!("kmsfs init {shown}   (makes a volume), or kmsfs status")))
        }
        Err(error) => Err(Failure::new(Kind::ConfigUnreadable, format!("{shown}: {error}"))),
    }
}

/// Whether a volume is mounted at a path, whoever answers for it.
fn is_mount(path: &Path) -> bool {
    #[cfg(feature = "fuse")]
    return crate::fuse::is_mounted(path);
    #[cfg(not(feature = "fuse"))]
    {
        let _ = path;
        false
    }
}

/// Opens and locks a volume for one command.
///
/// # Errors
/// [`Kind::AlreadyRunning`] if it is mounted, or another command works on it.
pub fn open_session(
    lower: &Path,
    summary: &VolumeSummary,
    kms: Arc<dyn Keys>,
    purpose: Purpose,
) -> Result<Session, Failure> {
    let options = OpenOptions { read_only: purpose == Purpose::Read };
    let volume = open_volume(lower, &kms, options)?;
    let base = summary_report(summary, lower);
    Ok(Session::new(Arc::new(volume), kms, base))
}

/// Opens a volume.
///
/// # Errors
/// [`Kind::AlreadyRunning`] if it is locked, [`Kind::ConfigUnreadable`] if its configuration does
/// not read.
pub fn open_volume(
    lower: &Path,
    kms: &Arc<dyn Keys>,
    options: OpenOptions,
) -> Result<Volume, Failure> {
    let service = Arc::clone(kms);
    Volume::open(lower, service, Arc::new(OsRandom), Arc::new(SystemClock), options).map_err(
        |error| {
            let mut failure = Failure::from(error);
            if let Some(hint) = &mut failure.hint {
                // Without a mount the key service has to be named.
                *hint = hint.replace("kmsfs kms ", &format!("kmsfs kms --on {} ", lower.display()));
            }
            Failure { what: format!("{}: {}", lower.display(), failure.what), ..failure }
        },
    )
}

/// The part of a status that needs no key.
pub fn summary_report(summary: &VolumeSummary, lower: &Path) -> StatusReport {
    StatusReport {
        volume_id: summary.volume.to_string(),
        lower: lower.to_path_buf(),
        kms: place_text(&summary.kms),
        key_arn: summary.key_arn.clone(),
        suite: Some(summary.suite.name().to_owned()),
        ..StatusReport::default()
    }
}

/// A place of a key service as reports show it.
pub fn place_text(place: &KmsPlace) -> String {
    match place {
        KmsPlace::Embedded => "embedded".to_owned(),
        KmsPlace::Directory(dir) => dir.clone(),
        KmsPlace::Endpoint(url) => url.clone(),
    }
}
