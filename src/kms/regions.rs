//! Several accounts and Regions in one installation: a database of its own for each, all opened with
//! the first.
//!
//! The directory of the first, the *home*, holds the others in `regions/ACCOUNT/REGION`. They have no
//! slots: their root keys are derived from the home's, so that one passphrase opens all. docs/KMS.md,
//! "Regions".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::kms::open::{DATABASE_NAME, KmsOptions, OpenError, create_region_database};
use crate::kms::{Kms, KmsError};
use crate::sync::{Mutex, Rank};

/// Databases besides the home's: each holds descriptors and a thread.
const REGIONS_MAX: usize = 64;

/// All accounts and Regions of an installation.
#[derive(Clone, Debug)]
pub struct Regions {
    home: Kms,
    dir: PathBuf,
    /// By account and Region.
    opened: Arc<Mutex<BTreeMap<(String, String), Kms>>>,
}

impl Regions {
    /// The installation whose home lies in a directory. Opens what is there.
    ///
    /// # Errors
    /// [`OpenError`], of any of its databases.
    pub fn open(home: Kms, dir: &Path) -> Result<Self, OpenError> {
        let opened = Arc::new(Mutex::new(Rank::Regions, BTreeMap::new()));
        let regions = Self { home, dir: dir.join("regions"), opened };
        for account in names_in(&regions.dir)? {
            for region in names_in(&regions.dir.join(&account))? {
                let place = regions.place(&account, &region);
                if place.join(DATABASE_NAME).try_exists()? {
                    let kms = regions.home.open_region(&place, &account, &region)?;
                    regions.opened.lock().insert((account.clone(), region), kms);
                }
            }
        }
        Ok(regions)
    }

    /// The home.
    pub fn home(&self) -> &Kms {
        &self.home
    }

    /// The key management service of an account in a Region; made at first use.
    ///
    /// # Errors
    /// [`KmsError::Validation`] if Region or account are not of AWS' form, [`KmsError::LimitExceeded`]
    /// if there are too many, [`KmsError::Internal`] if the database cannot be opened.
    pub fn kms(&self, account: &str, region: &str) -> Result<Kms, KmsError> {
        if account == self.home.account() && region == self.home.region() {
            return Ok(self.home.clone());
        }
        let mut opened = self.opened.lock();
        let name = (account.to_owned(), region.to_owned());
        if let Some(kms) = opened.get(&name) {
            return Ok(kms.clone());
        }
        if opened.len() >= REGIONS_MAX {
            let message = format!("There are {REGIONS_MAX} Regions already.");
            return Err(KmsError::LimitExceeded { message });
        }
        let kms = self.make(account, region).map_err(|error| match error {
            OpenError::Options { what } => KmsError::Validation { message: what },
            other => KmsError::Internal { message: other.to_string() },
        })?;
        opened.insert(name, kms.clone());
        Ok(kms)
    }

    /// All that are open, the home first.
    pub fn opened(&self) -> Vec<Kms> {
        let opened = self.opened.lock();
        std::iter::once(&self.home).chain(opened.values()).cloned().collect()
    }

    fn make(&self, account: &str, region: &str) -> Result<Kms, OpenError> {
        let options = KmsOptions {
            account: account.to_owned(),
            region: region.to_owned(),
            ..self.home.core.options.clone()
        };
        options.check()?;
        let place = self.place(account, region);
        if !place.join(DATABASE_NAME).try_exists()? {
            let root = self.home.region_root(account, region);
            match create_region_database(&place, &root, &options) {
                // Another process was faster.
                Err(OpenError::Exists { .. }) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        self.home.open_region(&place, account, region)
    }

    fn place(&self, account: &str, region: &str) -> PathBuf {
        self.dir.join(account).join(region)
    }
}

/// Names of the directories in a directory; none if it is not there.
fn names_in(dir: &Path) -> Result<Vec<String>, OpenError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}
