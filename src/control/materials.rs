//! Requests about one material of a key: revoke it, take that back, destroy it.

use crate::control::known::{files_left, find_material};
use crate::control::report::MaterialReport;
use crate::control::session::OnProgress;
use crate::control::{Failure, Kind, RevokeRequest, Session};
use crate::fs::RewrapOptions;
use crate::kms::{KeyRef, Kms, KmsError, MaterialEntry};

/// Paths of files that a report names at most.
const PATHS_MAX: usize = 1000;

impl Session {
    fn own_kms(&self) -> Result<&Kms, Failure> {
        self.kms.here().ok_or_else(|| {
            Failure::new(Kind::Usage, "single materials are out of reach of an endpoint's clients")
                .hint("--kms DIR, where the key service of the endpoint runs")
        })
    }

    /// Rewraps the files under a material as far as that goes, revokes it, and tells what is left.
    pub(super) fn revoke(
        &self,
        request: &RevokeRequest,
        progress: OnProgress<'_>,
    ) -> Result<MaterialReport, Failure> {
        let kms = self.own_kms()?;
        let entry = find(kms, &request.material)?;
        if request.undo {
            let report = restore(kms, &entry)?;
            self.settle();
            return Ok(report);
        }
        check_older(&entry)?;
        let rewrapped = match request.keep_files || self.volume.status().read_only {
            true => None,
            false => Some(self.move_files(&entry, progress)?),
        };
        let report = revoke(kms, &entry)?;
        self.settle();
        self.count(progress)?;
        let files = self.volume.files_under(entry.material.0, PATHS_MAX)?;
        let files_left = files_left(kms, &entry.material);
        Ok(MaterialReport { rewrapped, files, files_left, ..report })
    }

    /// Rewraps the files under a material; tells how many.
    fn move_files(&self, entry: &MaterialEntry, progress: OnProgress<'_>) -> Result<u64, Failure> {
        let options = RewrapOptions {
            key_arn: Some(entry.key.to_string()),
            material: Some(entry.material.0),
            ..RewrapOptions::default()
        };
        let (moved, interrupted) = self.rewrap_files(&[], &options, progress)?;
        match interrupted {
            true => Err(Failure::new(Kind::Interrupted, "interrupted, and nothing is revoked")
                .hint("run the same command again")),
            false => Ok(moved.rewrapped),
        }
    }

    /// Counts, and destroys a revoked material that no file needs.
    pub(super) fn destroy(
        &self,
        material: &str,
        force: Option<&str>,
        progress: OnProgress<'_>,
    ) -> Result<MaterialReport, Failure> {
        let kms = self.own_kms()?;
        let entry = find(kms, material)?;
        self.count(progress)?;
        let report = destroy(kms, &entry, force)?;
        self.settle();
        Ok(report)
    }
}

/// The material of that name.
///
/// # Errors
/// [`Kind::MaterialMissing`], [`Kind::Usage`] if the prefix is not unique.
pub(crate) fn find(kms: &Kms, material: &str) -> Result<MaterialEntry, Failure> {
    find_material(kms, material).map_err(|error| match error {
        KmsError::Validation { message } => {
            Failure::new(Kind::Usage, message).hint("more digits of its id")
        }
        other => Failure::from(other).hint("kmsfs usage shows materials"),
    })
}

fn check_older(entry: &MaterialEntry) -> Result<(), Failure> {
    if !entry.is_current {
        return Ok(());
    }
    let what = format!("material {} is the current one of its key", entry.material);
    Err(Failure::new(Kind::InUse, what).hint("kmsfs rotate VOLUME   (gives the key another)"))
}

/// Revokes a material.
///
/// # Errors
/// [`Kind::InUse`] for the current one; what the key service answers.
pub(crate) fn revoke(kms: &Kms, entry: &MaterialEntry) -> Result<MaterialReport, Failure> {
    check_older(entry)?;
    kms.revoke_material(&KeyRef::from(&entry.key), &entry.material)?;
    Ok(MaterialReport { files_left: files_left(kms, &entry.material), ..report(entry, "revoked") })
}

/// Takes a revocation back.
///
/// # Errors
/// What the key service answers.
pub(crate) fn restore(kms: &Kms, entry: &MaterialEntry) -> Result<MaterialReport, Failure> {
    kms.restore_material(&KeyRef::from(&entry.key), &entry.material)?;
    Ok(report(entry, "older"))
}

/// Destroys a revoked material.
///
/// # Errors
/// [`Kind::InUse`] if files need it, or it is not revoked; what the key service answers.
pub(crate) fn destroy(
    kms: &Kms,
    entry: &MaterialEntry,
    force: Option<&str>,
) -> Result<MaterialReport, Failure> {
    if entry.revoked.is_none() {
        let what = format!("material {} is not revoked", entry.material);
        return Err(Failure::new(Kind::InUse, what)
            .hint(format!("kmsfs revoke VOLUME --material {}", entry.material)));
    }
    kms.destroy_material(&KeyRef::from(&entry.key), &entry.material, force).map_err(|error| {
        match &error {
            KmsError::StillNeeded { .. } => Failure::from(error).hint(
                "kmsfs usage VOLUME counts anew, kmsfs revoke --undo lets them be rewrapped   \
                 (or --force-data-loss=REASON to lose their content)",
            ),
            _ => error.into(),
        }
    })?;
    Ok(report(entry, "destroyed"))
}

fn report(entry: &MaterialEntry, state: &str) -> MaterialReport {
    MaterialReport {
        key_arn: entry.key.to_string(),
        material: entry.material.to_string(),
        state: state.to_owned(),
        ..MaterialReport::default()
    }
}
