//! Several accounts and Regions in one installation: a database of its own for each, all opened with
//! the first.
//!
//! The directory of the first, the *home*, holds the others in `regions/ACCOUNT/REGION`. They have no
//! slots: their root keys are derived from the home's, so that one passphrase opens all. docs/KMS.md,
//! "Regions".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use crate::kms::open::{DATABASE_NAME, KmsOptions, OpenError, create_region_database};
use crate::kms::{Kms, KmsError};
use crate::sync::{Mutex, Rank};

/// Databases besides the home's: each holds descriptors and a thread.
const REGIONS_MAX: usize = 64;

/// All accounts and Regions of an installation, open for as long as a clone of this lives.
#[derive(Clone, Debug)]
pub struct Regions(Arc<Opened>);

/// What does not keep the Regions open.
#[derive(Clone, Debug)]
pub(super) struct WeakRegions(Weak<Opened>);

impl WeakRegions {
    /// The Regions, while they are open.
    pub(super) fn upgrade(&self) -> Option<Regions> {
        self.0.upgrade().map(Regions)
    }
}

#[derive(Debug)]
struct Opened {
    home: Kms,
    dir: PathBuf,
    /// By account and Region.
    others: Mutex<BTreeMap<(String, String), Kms>>,
}

impl Regions {
    /// The installation whose home lies in a directory. Opens what is there.
    ///
    /// # Errors
    /// [`OpenError`], of any of its databases.
    pub fn open(home: Kms, dir: &Path) -> Result<Self, OpenError> {
        let regions = Self::look(&home, dir)?;
        home.join_regions(regions.downgrade());
        Ok(regions)
    }

    /// The same for one look: the home does not know of it.
    pub(super) fn look(home: &Kms, dir: &Path) -> Result<Self, OpenError> {
        let others = Mutex::new(Rank::Regions, BTreeMap::new());
        let opened = Opened { home: home.clone(), dir: dir.join("regions"), others };
        let regions = Self(Arc::new(opened));
        for account in names_in(&regions.0.dir)? {
            for region in names_in(&regions.0.dir.join(&account))? {
                let place = regions.place(&account, &region);
                if place.join(DATABASE_NAME).try_exists()? {
                    let kms = regions.open_region(&place, &account, &region)?;
                    regions.0.others.lock().insert((account.clone(), region), kms);
                }
            }
        }
        Ok(regions)
    }

    /// The home.
    pub fn home(&self) -> &Kms {
        &self.0.home
    }

    fn downgrade(&self) -> WeakRegions {
        WeakRegions(Arc::downgrade(&self.0))
    }

    fn open_region(&self, place: &Path, account: &str, region: &str) -> Result<Kms, OpenError> {
        let kms = self.0.home.open_region(place, account, region)?;
        kms.join_regions(self.downgrade());
        Ok(kms)
    }

    /// The key management service of an account in a Region; made at first use.
    ///
    /// # Errors
    /// [`KmsError::Validation`] if Region or account are not of AWS' form, [`KmsError::LimitExceeded`]
    /// if there are too many, [`KmsError::Internal`] if the database cannot be opened.
    pub fn kms(&self, account: &str, region: &str) -> Result<Kms, KmsError> {
        if account == self.0.home.account() && region == self.0.home.region() {
            return Ok(self.0.home.clone());
        }
        let mut opened = self.0.others.lock();
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

    /// The same account in the other Regions that there are.
    pub(super) fn besides(&self, account: &str, region: &str) -> Vec<Kms> {
        let mut all = self.opened();
        all.retain(|kms| kms.account() == account && kms.region() != region);
        all
    }

    /// The key management service of an account in a Region, if there is one.
    pub fn find(&self, account: &str, region: &str) -> Option<Kms> {
        let all = self.opened();
        all.into_iter().find(|kms| kms.account() == account && kms.region() == region)
    }

    /// All that are open, the home first.
    pub fn opened(&self) -> Vec<Kms> {
        let opened = self.0.others.lock();
        std::iter::once(&self.0.home).chain(opened.values()).cloned().collect()
    }

    fn make(&self, account: &str, region: &str) -> Result<Kms, OpenError> {
        let options = KmsOptions {
            account: account.to_owned(),
            region: region.to_owned(),
            ..self.0.home.core.options.clone()
        };
        options.check()?;
        let place = self.place(account, region);
        if !place.join(DATABASE_NAME).try_exists()? {
            let root = self.0.home.region_root(account, region);
            match create_region_database(&place, &root, &options) {
                // Another process was faster.
                Err(OpenError::Exists { .. }) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        self.open_region(&place, account, region)
    }

    fn place(&self, account: &str, region: &str) -> PathBuf {
        self.0.dir.join(account).join(region)
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
