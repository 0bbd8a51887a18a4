//! The file of access keys while `kmsfs serve` runs: read again when it changes, or on SIGHUP.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGHUP;

use crate::control::{Failure, Kind};
use crate::http::Credentials;
use crate::random::OsRandom;

/// A file of access keys, and its state when it was last read.
#[derive(Debug)]
pub struct CredentialsFile {
    path: PathBuf,
    seen: Option<Stamp>,
    asked: Arc<AtomicBool>,
}

/// What tells one state of a file from another: device and inode, length, times of change and of
/// attributes in nanoseconds.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl CredentialsFile {
    /// The file at a path and the access keys in it; made, with one for the account root, if it is
    /// not there.
    ///
    /// # Errors
    /// [`Kind::ConfigUnreadable`].
    pub fn open(path: PathBuf, account: &str) -> Result<(Self, Credentials), Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, Arc::clone(&asked))
            .map_err(|error| Failure::io("signal handler", &error))?;
        // In this order: a change behind the look is seen by the next one.
        let seen = stamp(&path);
        let credentials = match path.exists() {
            true => Credentials::load(&path),
            false => Credentials::create(&path, account, &OsRandom),
        };
        let credentials =
            credentials.map_err(|error| Failure::new(Kind::ConfigUnreadable, error.to_string()))?;
        Ok((Self { path, seen, asked }, credentials))
    }

    /// The access keys, if the file is another than it was, or SIGHUP asked for them. A file that
    /// does not read changes nothing: who was let in still is.
    pub fn changed(&mut self) -> Option<Credentials> {
        let now = stamp(&self.path);
        let is_asked = self.asked.swap(false, Ordering::AcqRel);
        if now == self.seen && !is_asked {
            return None;
        }
        self.seen = now;
        match Credentials::load(&self.path) {
            Ok(credentials) => {
                tracing::info!("{}: read again", self.path.display());
                Some(credentials)
            }
            Err(error) => {
                tracing::warn!("{error}; the access keys are those that were read before");
                None
            }
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    let times = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
    Some((meta.dev(), meta.ino(), meta.len(), times.0, times.1))
}
