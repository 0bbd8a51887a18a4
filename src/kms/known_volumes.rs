//! Volumes that use keys of this service: what they told of their files, and what is refused because
//! of it. docs/KMS.md, "What files still need".
//!
//! A file is nothing here but a number that a volume reported, with the key and the material.

use std::sync::Arc;

use bincode::{Decode, Encode};
use serde_json::json;

use crate::crypto::short::{open_short, seal_short};
use crate::kms::access::as_map;
use crate::kms::db::{RowId, Table};
use crate::kms::key::{KmsKey, Material};
use crate::kms::ring::KeyRing;
use crate::kms::rows::{BadRow, bad, from_bytes, to_bytes};
use crate::kms::state::Op;
use crate::kms::store::RowKey;
use crate::kms::view::Draft;
use crate::kms::{KeyArn, KeyId, Kms, KmsError, MaterialId, Timestamp};
use crate::random::Random;

/// Tag that allows a key, or its material, to be destroyed although files need it; its value is the
/// reason.
pub const LOSS_TAG: &str = "kmsfs:allow-data-loss";

/// Volumes of one service.
const VOLUMES_MAX: usize = 10_000;
/// Keys and materials of one volume.
const USES_MAX: usize = 4096;
/// In front of a volume's id in the id of its row.
const ROW_PREFIX: &str = "volume/";
/// First byte of the row.
const VERSION: u8 = 1;

/// A volume, as it last told of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownVolume {
    /// Where its lower directory was seen.
    pub path: String,
    /// When all its files were last counted; `None` if never.
    pub counted: Option<Timestamp>,
    /// What it uses.
    pub uses: Vec<KeyUse>,
}

/// A volume's use of one key and material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub key_arn: String,
    /// The material, where it is known.
    pub material: Option<MaterialId>,
    /// Files under it when they were last counted.
    pub files: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
    /// It wraps the volume's own key.
    pub is_volume_key: bool,
    /// Files may have been made under it since they were counted.
    pub is_growing: bool,
}

/// How much of a volume a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it: what was known before is replaced.
    Whole,
    /// Some of it: adds to what is known.
    Part,
}

/// What a volume tells.
#[derive(Clone, Debug)]
pub struct VolumeReport {
    /// Identity, 32 hexadecimal digits.
    pub volume: String,
    /// Its lower directory.
    pub path: String,
    /// What it uses.
    pub uses: Vec<KeyUse>,
    /// Of how much.
    pub extent: Extent,
}

/// What known volumes need a key, or a material, for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Files, as they were last counted.
    pub files: u64,
    /// Volumes.
    pub volumes: u64,
}

/// Content of a volume's row.
#[derive(Encode, Decode)]
struct VolumeRow {
    path: String,
    counted: Option<u64>,
    uses: Vec<UseRow>,
}

#[derive(Encode, Decode)]
struct UseRow {
    key: String,
    material: Option<[u8; 32]>,
    files: u64,
    bytes: u64,
    is_volume_key: bool,
    is_growing: bool,
}

impl KeyUse {
    fn is_of(&self, key: &KeyArn) -> bool {
        key.is_related(&self.key_arn)
    }

    fn is_needed(&self) -> bool {
        self.files > 0 || self.is_volume_key || self.is_growing
    }
}

impl KnownVolume {
    /// What is known after a report.
    fn after(before: Option<&Self>, report: &VolumeReport, now: Timestamp) -> Self {
        let path = report.path.clone();
        if report.extent == Extent::Whole {
            return Self { path, counted: Some(now), uses: report.uses.clone() };
        }
        let mut uses = before.map(|before| before.uses.clone()).unwrap_or_default();
        for new in &report.uses {
            let same =
                |old: &&mut KeyUse| old.key_arn == new.key_arn && old.material == new.material;
            match uses.iter_mut().find(same) {
                Some(old) => {
                    old.files = old.files.max(new.files);
                    old.bytes = old.bytes.max(new.bytes);
                    old.is_volume_key |= new.is_volume_key;
                    old.is_growing |= new.is_growing;
                }
                None => uses.push(new.clone()),
            }
        }
        Self { path, counted: before.and_then(|before| before.counted), uses }
    }

    /// Files that need a key; `None` if nothing of the volume does.
    fn files_of_key(&self, key: &KeyArn) -> Option<u64> {
        let mut needed = self.uses.iter().filter(|used| used.is_of(key) && used.is_needed());
        let first = needed.next()?;
        Some(needed.fold(first.files, |sum, used| sum.saturating_add(used.files)))
    }

    /// The same for a revoked material: nothing new comes under it, so that a count that is younger
    /// than the revocation holds; an older one may have missed files.
    fn files_of_material(&self, key: &KeyArn, material: &Material) -> Option<u64> {
        let mut of_key = self.uses.iter().filter(|used| used.is_of(key)).peekable();
        of_key.peek()?;
        let is_settled = self.counted.is_some_and(|counted| Some(counted) >= material.revoked);
        let may_be = |used: &KeyUse| used.material.is_none_or(|id| id == material.id);
        let found: Vec<&KeyUse> =
            of_key.filter(|used| may_be(used) && (used.files > 0 || used.is_volume_key)).collect();
        match found.is_empty() && is_settled {
            true => None,
            false => Some(found.iter().fold(0, |sum, used| sum.saturating_add(used.files))),
        }
    }
}

impl KeyRing {
    /// What known volumes need a key for; `None` if for nothing.
    pub(crate) fn need_of_key(&self, key: &KeyArn) -> Option<Need> {
        self.need(|volume| volume.files_of_key(key))
    }

    /// The same for one revoked material of a key.
    pub(crate) fn need_of_material(&self, key: &KeyArn, material: &Material) -> Option<Need> {
        self.need(|volume| volume.files_of_material(key, material))
    }

    fn need(&self, files: impl Fn(&KnownVolume) -> Option<u64>) -> Option<Need> {
        let mut need = Need::default();
        for files in self.volumes.values().filter_map(|volume| files(volume)) {
            need.files = need.files.saturating_add(files);
            need.volumes += 1;
        }
        (need.volumes > 0).then_some(need)
    }
}

impl Draft<'_> {
    /// Refuses to give up a key, or one material of it, that files of a known volume need, unless a tag
    /// allows it. Material that waits for a rotation is needed by none.
    pub(crate) fn check_unneeded(
        &self,
        id: &KeyId,
        material: Option<MaterialId>,
    ) -> Result<(), KmsError> {
        let Some(key) = self.ring.keys.get(id) else { return Ok(()) };
        let is_pending = key.pending.as_ref().is_some_and(|pending| Some(pending.id) == material);
        if is_pending || allows_loss(key) {
            return Ok(());
        }
        match self.ring.need_of_key(&key.arn) {
            None => Ok(()),
            Some(need) => Err(KmsError::StillNeeded { key: key.arn.to_string(), need }),
        }
    }
}

fn allows_loss(key: &KmsKey) -> bool {
    key.tags.get(LOSS_TAG).is_some_and(|reason| !reason.is_empty())
}

impl Kms {
    /// Notes what a volume tells of its use of keys. Costs nothing if it is known already, or if the
    /// medium takes no notes.
    ///
    /// # Errors
    /// [`KmsError::LimitExceeded`] if there are too many volumes, or keys in one;
    /// [`KmsError::Internal`] if it cannot be written.
    pub fn report_volume(&self, report: &VolumeReport) -> Result<(), KmsError> {
        if report.uses.len() > USES_MAX {
            let message = format!("volume {} uses more than {USES_MAX} materials", report.volume);
            return Err(KmsError::LimitExceeded { message });
        }
        if self.core.is_read_only {
            return Ok(());
        }
        let known = self.core.ring().volumes.get(&report.volume).cloned();
        let is_known = report.extent == Extent::Part
            && known.is_some_and(|known| {
                KnownVolume::after(Some(&known), report, self.core.now()) == *known
            });
        if is_known {
            return Ok(());
        }
        let files: u64 = report.uses.iter().map(|used| used.files).sum();
        let params = as_map(json!({"volume": report.volume,
            "isWhole": report.extent == Extent::Whole, "files": files}));
        self.as_teller().change(Op::ReportUsage, params, |draft| {
            let before = draft.ring.volumes.get(&report.volume);
            if before.is_none() && draft.ring.volumes.len() >= VOLUMES_MAX {
                let message = format!("There are {VOLUMES_MAX} volumes already.");
                return Err(KmsError::LimitExceeded { message });
            }
            let after = KnownVolume::after(before.map(Arc::as_ref), report, draft.now);
            draft.ring.volumes.insert(report.volume.clone(), Arc::new(after));
            Ok(())
        })
    }

    /// Forgets a volume that is gone: its files need no key any more.
    ///
    /// # Errors
    /// [`KmsError::NotFound`].
    pub fn forget_volume(&self, volume: &str) -> Result<(), KmsError> {
        self.change(Op::ForgetVolume, as_map(json!({"volume": volume})), |draft| {
            match draft.ring.volumes.remove(volume) {
                Some(_) => Ok(()),
                None => Err(KmsError::NotFound { message: format!("no volume {volume} is known") }),
            }
        })
    }

    /// The volumes that have told of themselves, by id.
    pub fn known_volumes(&self) -> Vec<(String, Arc<KnownVolume>)> {
        let ring = self.core.ring();
        ring.volumes.iter().map(|(id, volume)| (id.clone(), Arc::clone(volume))).collect()
    }
}

/// The row of a volume.
pub(crate) fn volume_row_id(volume: &str) -> RowId {
    RowId::new(Table::Meta, &format!("{ROW_PREFIX}{volume}"))
}

/// The volume that a row is about, if it is about one.
pub(crate) fn volume_of_row(row: &RowId) -> Option<&str> {
    row.id.strip_prefix(ROW_PREFIX).filter(|_| row.table == Table::Meta)
}

/// `version 1 | sealed row`: paths and numbers are nobody's business who has only the file.
pub(crate) fn encode_volume(
    row: &RowId,
    volume: &KnownVolume,
    key: &RowKey,
    random: &dyn Random,
) -> Vec<u8> {
    let uses = volume.uses.iter().map(|used| UseRow {
        key: used.key_arn.clone(),
        material: used.material.map(|id| id.0),
        files: used.files,
        bytes: used.bytes,
        is_volume_key: used.is_volume_key,
        is_growing: used.is_growing,
    });
    let plain = to_bytes(&VolumeRow {
        path: volume.path.clone(),
        counted: volume.counted.map(|time| time.0),
        uses: uses.collect(),
    });
    let mut body = vec![VERSION];
    body.extend_from_slice(&seal_short(&key.0, &row.additional_data(&[]), &plain, random));
    body
}

pub(crate) fn decode_volume(row: &RowId, body: &[u8], key: &RowKey) -> Result<KnownVolume, BadRow> {
    let sealed = body.strip_prefix(&[VERSION]).ok_or_else(|| bad(row))?;
    let plain = open_short(&key.0, &row.additional_data(&[]), sealed).map_err(|_| bad(row))?;
    let VolumeRow { path, counted, uses } = from_bytes(&plain).ok_or_else(|| bad(row))?;
    let uses = uses.into_iter().map(|used| KeyUse {
        key_arn: used.key,
        material: used.material.map(MaterialId),
        files: used.files,
        bytes: used.bytes,
        is_volume_key: used.is_volume_key,
        is_growing: used.is_growing,
    });
    Ok(KnownVolume { path, counted: counted.map(Timestamp), uses: uses.collect() })
}
