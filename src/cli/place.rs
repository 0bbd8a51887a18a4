//! Where a volume's key service is, and opening it there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::args::{EndpointArgs, UnlockArgs};
use crate::cli::unlock::{Before, open_kms_with};
use crate::control::{Failure, Keys, Kind};
use crate::format::KmsPlace;
use crate::fs::VolumeSummary;
use crate::http::{Patience, RemoteKms};
use crate::kms::{KeyArn, KmsOptions};
use crate::lower::no_core_dumps;

/// Name of the volume's own directory in the lower root; the embedded key service lies in it.
const OWN_DIR: &str = ".kmsfs";

/// Where a key service is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysPlace {
    /// By this process, in a directory.
    Dir(PathBuf),
    /// Behind an endpoint.
    Url(String),
}

impl KeysPlace {
    /// The place of a volume's key service: `--kms` and `--kms-url` win over what the volume says.
    pub fn of(lower: &Path, place: &KmsPlace, args: &UnlockArgs) -> Self {
        match (&args.kms, &args.kms_url, place) {
            (Some(dir), _, _) => Self::Dir(dir.clone()),
            (None, Some(url), _) | (None, None, KmsPlace::Endpoint(url)) => Self::Url(url.clone()),
            (None, None, KmsPlace::Directory(dir)) => Self::Dir(PathBuf::from(dir)),
            (None, None, KmsPlace::Embedded) => Self::Dir(own_dir(lower)),
        }
    }

    /// The directory, for what is done to a key database itself.
    ///
    /// # Errors
    /// [`Kind::Usage`] if it is behind an endpoint.
    pub fn into_dir(self) -> Result<PathBuf, Failure> {
        match self {
            Self::Dir(dir) => Ok(dir),
            Self::Url(url) => Err(Failure::new(Kind::Usage, format!("the keys are kept at {url}"))
                .hint("--kms DIR, where that key service runs")),
        }
    }

    /// The directory, if it is one.
    pub fn dir(&self) -> Option<&Path> {
        match self {
            Self::Dir(dir) => Some(dir),
            Self::Url(_) => None,
        }
    }
}

/// Where an embedded key service lies.
pub fn own_dir(lower: &Path) -> PathBuf {
    lower.join(OWN_DIR)
}

/// Opens a volume's key service.
///
/// # Errors
/// Those of [`crate::cli::unlock::open_kms`] and [`remote_kms`].
pub fn open_keys(
    lower: &Path,
    summary: &VolumeSummary,
    args: &UnlockArgs,
) -> Result<Arc<dyn Keys>, Failure> {
    open_keys_with(lower, summary, args, KmsOptions::default(), &|| Ok(()))
}

/// As [`open_keys`], with other options than the usual, and something to do once the secret is there.
///
/// # Errors
/// As [`open_keys`], and those of `before`.
pub fn open_keys_with(
    lower: &Path,
    summary: &VolumeSummary,
    args: &UnlockArgs,
    options: KmsOptions,
    before: Before<'_>,
) -> Result<Arc<dyn Keys>, Failure> {
    match KeysPlace::of(lower, &summary.kms, args) {
        KeysPlace::Dir(dir) => Ok(Arc::new(open_kms_with(&dir, args, lower, options, before)?.kms)),
        KeysPlace::Url(url) => {
            let region = KeyArn::parse(&summary.key_arn).map(|arn| arn.region().to_owned());
            Ok(Arc::new(remote_kms(&url, region, before)?))
        }
    }
}

/// The key service behind an endpoint, asked by whoever environment and profile name.
///
/// # Errors
/// Those of [`EndpointArgs::client`], and those of `before`.
pub fn remote_kms(
    url: &str,
    region: Option<String>,
    before: Before<'_>,
) -> Result<RemoteKms, Failure> {
    if let Err(error) = no_core_dumps() {
        tracing::warn!("core dumps are not switched off: {error}");
    }
    let args = EndpointArgs { region, ..EndpointArgs::default() };
    Ok(RemoteKms::new(args.client_after(url, Patience::MOUNT, before)?))
}
