//! What a volume tells its key service of its files, and what the service knows of all volumes.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::keys::{Keys, look};
use crate::control::report::{KeysReport, KeysRow, VolumeRow};
use crate::fs::{Usage, Volume};
use crate::kms::{
    Extent, KeyRef, KeyUse, Kms, KmsError, KnownVolume, MaterialEntry, MaterialId, VolumeReport,
};

/// Whether files may come while nobody counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// Mounted for writing.
    Going,
    /// Nobody else writes.
    Ended,
}

/// Tells the key service how many files each key and material has. A service that does not take it
/// is warned of and stops nothing.
pub(crate) fn report_counted(kms: &dyn Keys, volume: &Volume, usage: &Usage, growth: Growth) {
    let uses = usage.rows.iter().map(|row| KeyUse {
        key_arn: row.key_arn.clone(),
        material: row.material.as_deref().and_then(MaterialId::parse),
        files: row.files,
        bytes: row.bytes,
        is_volume_key: row.volume_key,
        is_growing: false,
    });
    // What was not reached is not gone.
    let extent = if usage.skipped == 0 { Extent::Whole } else { Extent::Part };
    report(kms, volume, uses.collect(), extent);
    if growth == Growth::Going {
        report_opened(kms, volume);
    }
}

/// Tells the key service that new files may come, and under which keys: those of the volume's
/// policies.
pub(crate) fn report_opened(kms: &dyn Keys, volume: &Volume) {
    let status = volume.status();
    let mut uses: Vec<KeyUse> = status
        .policies
        .iter()
        .filter_map(|(_, alias)| look(kms, &KeyRef::new(alias)).ok())
        .map(|key| KeyUse {
            key_arn: key.arn.to_string(),
            material: key.current_material,
            files: 0,
            bytes: 0,
            is_volume_key: false,
            is_growing: true,
        })
        .collect();
    uses.push(KeyUse {
        key_arn: status.volume_key_arn,
        material: status.volume_key_material.as_deref().and_then(MaterialId::parse),
        files: 0,
        bytes: 0,
        is_volume_key: true,
        is_growing: false,
    });
    report(kms, volume, uses, Extent::Part);
}

fn report(kms: &dyn Keys, volume: &Volume, uses: Vec<KeyUse>, extent: Extent) {
    let lower = volume.lower_path();
    let report = VolumeReport {
        volume: volume.status().volume,
        path: std::fs::canonicalize(lower).as_deref().unwrap_or(lower).display().to_string(),
        uses,
        extent,
    };
    if let Err(error) = kms.note_volume(&report) {
        tracing::warn!("the key service was not told of the volume's files: {error}");
    }
}

/// Materials that are revoked, in hexadecimal; none if the service does not tell.
pub(crate) fn revoked_materials(kms: &dyn Keys) -> BTreeSet<String> {
    let revoked =
        kms.here().into_iter().flat_map(Kms::materials).filter(|entry| entry.revoked.is_some());
    revoked.map(|entry| entry.material.to_string()).collect()
}

/// All keys and materials of a service, and the volumes that use them.
pub(crate) fn keys_report(kms: &Kms) -> KeysReport {
    let volumes = kms.known_volumes();
    let mut rows: BTreeMap<(String, Option<MaterialId>), KeysRow> = BTreeMap::new();
    let mut order = Vec::new();
    let entries = kms.materials();
    let own: Vec<_> = entries.iter().map(|entry| entry.key.clone()).collect();
    for entry in entries {
        let place = (entry.key.to_string(), Some(entry.material));
        let state = state_of(&entry).to_owned();
        let (key_arn, material) = (place.0.clone(), place.1.map(|id| id.to_string()));
        rows.insert(place.clone(), KeysRow { key_arn, material, state, ..KeysRow::default() });
        order.push(place);
    }
    for used in volumes.iter().flat_map(|(_, volume)| &volume.uses) {
        // A header may name a multi-Region key in another Region.
        let key = own.iter().find(|key| key.is_related(&used.key_arn));
        let key_arn = key.map_or_else(|| used.key_arn.clone(), ToString::to_string);
        let place = (key_arn.clone(), used.material);
        let row = rows.entry(place.clone()).or_insert_with(|| {
            order.push(place);
            let (key_arn, material) = (key_arn, used.material.map(|m| m.to_string()));
            KeysRow { key_arn, material, state: "gone".to_owned(), ..KeysRow::default() }
        });
        row.files = row.files.saturating_add(used.files);
        row.bytes = row.bytes.saturating_add(used.bytes);
        row.volumes += 1;
    }
    KeysReport {
        rows: order.iter().filter_map(|place| rows.remove(place)).collect(),
        volumes: volumes.iter().map(|(id, volume)| volume_row(id, volume)).collect(),
    }
}

fn state_of(entry: &MaterialEntry) -> &'static str {
    match (entry.is_current, entry.revoked) {
        (_, Some(_)) => "revoked",
        (true, None) => "current",
        (false, None) => "older",
    }
}

fn volume_row(id: &str, volume: &KnownVolume) -> VolumeRow {
    VolumeRow {
        volume_id: id.to_owned(),
        lower: volume.path.clone(),
        files: volume.uses.iter().map(|used| used.files).sum(),
        counted: volume.counted.map(|time| time.secs()),
        growing: volume.uses.iter().any(|used| used.is_growing),
    }
}

/// Files of known volumes under a material.
pub(crate) fn files_left(kms: &Kms, material: &MaterialId) -> u64 {
    let volumes = kms.known_volumes();
    let uses = volumes.iter().flat_map(|(_, volume)| &volume.uses);
    uses.filter(|used| used.material == Some(*material)).map(|used| used.files).sum()
}

/// The material that a unique prefix of its id names.
///
/// # Errors
/// [`KmsError::NotFound`], [`KmsError::Validation`] if there is more than one.
pub(crate) fn find_material(kms: &Kms, prefix: &str) -> Result<MaterialEntry, KmsError> {
    let all = kms.materials();
    let mut found = all.into_iter().filter(|entry| entry.material.to_string().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(entry), None) if prefix.len() >= 4 => Ok(entry),
        (None, _) => {
            Err(KmsError::NotFound { message: format!("no key material begins with {prefix}") })
        }
        (Some(_), _) => {
            let message = format!("{prefix} does not say which key material");
            Err(KmsError::Validation { message })
        }
    }
}
