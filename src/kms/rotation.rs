//! EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, RotateKeyOnDemand, ListKeyRotations,
//! and rotation on schedule.

use std::sync::Arc;

use serde_json::json;

use crate::kms::access::as_map;
use crate::kms::audit::UseParams;
use crate::kms::check::Check;
use crate::kms::deletion::not_due;
use crate::kms::key::{Imported, KmsKey, Material, Rotation};
use crate::kms::key_ops::number_json;
use crate::kms::page::PageSize;
use crate::kms::replica::check_primary;
use crate::kms::ring::NamedBy;
use crate::kms::spec::{IncludeKeyMaterial, KeySpec, Origin, RotationType};
use crate::kms::state::Op;
use crate::kms::store::generate;
use crate::kms::view::Draft;
use crate::kms::{
    EncryptionContext, KeyArn, KeyId, KeyRef, KeyState, Kms, KmsError, MaterialId, Page,
    PageRequest, Timestamp,
};

/// Days from one automatic rotation to the next at least.
const PERIOD_DAYS_MIN: u32 = 90;
/// Days from one automatic rotation to the next at most.
const PERIOD_DAYS_MAX: u32 = 2560;
/// Days from one automatic rotation to the next, unless asked otherwise.
pub(crate) const PERIOD_DAYS: u32 = 365;
const ROTATIONS_PAGE: PageSize = PageSize { usual: 100, max: 1000 };

/// Answer of `GetKeyRotationStatus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRotationStatus {
    /// The key.
    pub key: KeyArn,
    /// Automatic rotation, where it is on and not suspended for good: `None` while the key is
    /// pending deletion.
    pub rotation: Option<Rotation>,
}

/// Entry of `ListKeyRotations`: one material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationEntry {
    /// The key.
    pub key: KeyArn,
    /// The material.
    pub material: MaterialId,
    /// Whether it wraps.
    pub state: MaterialState,
    /// When it became the current one; `None` for the first.
    pub date: Option<Timestamp>,
    /// What made it; `None` for the first.
    pub rotation: Option<RotationType>,
    /// Set for imported material.
    pub import: Option<ImportedEntry>,
}

/// What `ListKeyRotations` tells of imported material besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedEntry {
    /// Whether the material is here, or only remembered.
    pub is_here: bool,
    /// Free text.
    pub description: Option<String>,
    /// When it is destroyed, if ever.
    pub expires: Option<Timestamp>,
}

/// Whether a material wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaterialState {
    /// It wraps and unwraps.
    Current,
    /// It only unwraps.
    NonCurrent,
    /// It waits for a rotation.
    Pending,
    /// It waits to be imported into every Region of its key, and then for a rotation.
    PendingInRegions,
}

impl MaterialState {
    /// AWS' spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "CURRENT",
            Self::NonCurrent => "NON_CURRENT",
            Self::Pending => "PENDING_ROTATION",
            Self::PendingInRegions => "PENDING_MULTI_REGION_IMPORT_AND_ROTATION",
        }
    }
}

impl Kms {
    /// `EnableKeyRotation`: rotates every 90 to 2560 days from now on.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] for keys that cannot, and [`KmsError`] by key and state.
    pub fn enable_key_rotation(
        &self,
        key: &KeyRef,
        period_days: Option<u32>,
    ) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": key.as_str(),
            "rotationPeriodInDays": number_json(period_days)}));
        let id = self.change(Op::EnableKeyRotation, params, |draft| {
            let days = period_days.unwrap_or(PERIOD_DAYS);
            Check::default()
                .key("keyId", key.as_str())
                .number("rotationPeriodInDays", days, PERIOD_DAYS_MIN, PERIOD_DAYS_MAX)
                .finish()?;
            let next = draft.now.plus_days(days);
            let key = draft.admit(key)?;
            check_can_rotate(key)?;
            check_is_no_replica(key)?;
            let is_same = key.rotation.is_some_and(|rotation| {
                period_days.is_none_or(|days| days == rotation.period_days)
            });
            if !is_same {
                key.rotation = Some(Rotation { period_days: days, next });
            }
            Ok(key.id.clone())
        })?;
        self.share(&id)
    }

    /// `DisableKeyRotation`.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] for keys that cannot, and [`KmsError`] by key and state.
    pub fn disable_key_rotation(&self, key: &KeyRef) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": key.as_str()}));
        let id = self.change(Op::DisableKeyRotation, params, |draft| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let key = draft.admit(key)?;
            check_can_rotate(key)?;
            check_is_no_replica(key)?;
            key.rotation = None;
            Ok(key.id.clone())
        })?;
        self.share(&id)
    }

    /// `GetKeyRotationStatus`.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] for keys that cannot, and [`KmsError`] by key and state.
    pub fn get_key_rotation_status(&self, key: &KeyRef) -> Result<KeyRotationStatus, KmsError> {
        self.using(Op::GetKeyRotationStatus, UseParams::of_key(key.as_str()), |view| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let key = view.admit(key.as_str(), NamedBy::IdOrArn, &EncryptionContext::new())?;
            check_has_rotations(key)?;
            let is_pending =
                matches!(key.state, KeyState::PendingDeletion | KeyState::PendingReplicaDeletion);
            let rotation = key.rotation.filter(|_| !is_pending);
            Ok(KeyRotationStatus { key: key.arn.clone(), rotation })
        })
    }

    /// `RotateKeyOnDemand`: gives a key new current material now: fresh material, or what was imported
    /// for it. Id, ARN, policy, aliases and schedule stay; older material still unwraps.
    ///
    /// # Errors
    /// [`KmsError::LimitExceeded`] after 25 of them, [`KmsError::InvalidMaterialState`] if nothing was
    /// imported for it, and [`KmsError`] by key and state.
    pub fn rotate_key_on_demand(&self, key: &KeyRef) -> Result<KeyArn, KmsError> {
        let params = as_map(json!({"keyId": key.as_str()}));
        // What goes wrong there is told, and recorded, where nothing else is wrong.
        let staged = self.stage_rotation(Op::RotateKeyOnDemand, key, RotationType::OnDemand);
        let (id, arn) = self.change(Op::RotateKeyOnDemand, params, |draft| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let key = draft.admit(key)?;
            if key.spec != KeySpec::SymmetricDefault {
                return Err(KmsError::UnsupportedOperation { message: String::new() });
            }
            check_has_rotations(key)?;
            check_is_no_replica(key)?;
            let (id, arn) = (key.id.clone(), key.arn.clone());
            if key.on_demand_count >= KmsKey::ON_DEMAND_ROTATIONS_MAX {
                return Err(KmsError::LimitExceeded {
                    message: format!(
                        "The on-demand rotations limit has been reached for the given keyId. \
                         No more on-demand rotations can be performed for this key: {arn}"
                    ),
                });
            }
            let (origin, staged) = (key.origin, staged?);
            match origin {
                Origin::External => draft.rotate_to_pending(&id, &staged)?,
                _ => draft.rotate_to_fresh(&id, &staged, RotationType::OnDemand)?,
            }
            let key = draft.admit_id(&id)?;
            key.on_demand_count = key.on_demand_count.saturating_add(1);
            Ok((id, arn))
        })?;
        self.share(&id)?;
        Ok(arn)
    }

    /// What a rotation needs from other Regions, before it is carried out in this one.
    fn stage_rotation(
        &self,
        op: Op,
        key: &KeyRef,
        rotation: RotationType,
    ) -> Result<Staged, KmsError> {
        let ring = self.core.ring();
        let found = ring.resolve(key.as_str(), NamedBy::IdOrArn).ok();
        let Some(key) = found.filter(|found| found.is_primary()) else {
            return Ok(Staged::Alone);
        };
        // What is refused below is not brought anywhere.
        if self.would_admit(op, &KeyRef::from(&key.id)).is_err() {
            return Ok(Staged::Alone);
        }
        if key.origin == Origin::External {
            return match &key.pending {
                Some(pending) if !self.is_everywhere(key, pending)? => Ok(Staged::NotEverywhere),
                _ => Ok(Staged::Alone),
            };
        }
        if !key.can_rotate() {
            return Ok(Staged::Alone);
        }
        let (spec, usage) = (key.spec, key.usage);
        let held = generate(spec, usage, &*self.core.options.random)?;
        let since = self.core.now();
        let rotation = Some(rotation);
        let material = Material { id: held.id(&key.id), since, rotation, revoked: None, held };
        let material = Arc::new(material);
        self.stage(&key.id, &material)?;
        Ok(Staged::Everywhere(material))
    }

    /// `ListKeyRotations`: rotations so far, oldest first; the first material and one that waits for
    /// its rotation as well, if asked.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] for keys that cannot, and [`KmsError`] by key and state.
    pub fn list_key_rotations(
        &self,
        key: &KeyRef,
        include: IncludeKeyMaterial,
        page: &PageRequest,
    ) -> Result<Page<RotationEntry>, KmsError> {
        let params = UseParams {
            details: [Some(("includeKeyMaterial", include.as_str())), None],
            ..UseParams::of_key(key.as_str())
        };
        self.using(Op::ListKeyRotations, params, |view| {
            Check::default().key("keyId", key.as_str()).finish()?;
            page.check()?;
            let key = view.admit(key.as_str(), NamedBy::IdOrArn, &EncryptionContext::new())?;
            check_has_rotations(key)?;
            let all = match key.origin {
                Origin::External => self.imported_entries(key)?,
                _ => made_entries(key),
            };
            let has_all = include == IncludeKeyMaterial::AllKeyMaterial;
            let all = all.into_iter().enumerate().map(|(no, entry)| (format!("{no:010}"), entry));
            page.cut(ROTATIONS_PAGE, all.filter(|(_, e)| has_all || e.rotation.is_some()))
        })
    }

    fn imported_entries(&self, key: &KmsKey) -> Result<Vec<RotationEntry>, KmsError> {
        let current = key.current_id();
        let entry = |imported: &Imported| {
            let here = key.find_material(&imported.material);
            let state = if imported.is_pending {
                match here {
                    Some(material) if self.is_everywhere(key, material)? => MaterialState::Pending,
                    None if key.multi_region.is_none() => MaterialState::Pending,
                    _ => MaterialState::PendingInRegions,
                }
            } else if Some(imported.material) == current {
                MaterialState::Current
            } else {
                MaterialState::NonCurrent
            };
            Ok(RotationEntry {
                key: key.arn.clone(),
                material: imported.material,
                state,
                date: imported.rotation.map(|_| imported.since),
                rotation: imported.rotation,
                import: Some(ImportedEntry {
                    is_here: here.is_some(),
                    description: imported.description.clone(),
                    expires: imported.expires,
                }),
            })
        };
        key.imports.iter().map(entry).collect()
    }

    /// Carries out a rotation on schedule, if it is still due.
    pub(crate) fn rotate_if_due(&self, id: &KeyId) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": id.as_str()}));
        let itself = self.as_itself();
        let staged =
            itself.stage_rotation(Op::RotateKey, &KeyRef::from(id), RotationType::Automatic);
        itself.change(Op::RotateKey, params, |draft| {
            let now = draft.now;
            let key = draft.admit_id(id)?;
            let Some(rotation) = key.rotation.as_mut().filter(|r| r.next <= now) else {
                return Err(not_due(id));
            };
            // A rotation that is late, because the key was disabled or nothing ran, moves the next.
            let on_time = rotation.next.plus_days(rotation.period_days);
            rotation.next = match on_time > now {
                true => on_time,
                false => now.plus_days(rotation.period_days),
            };
            draft.rotate_to_fresh(id, &staged?, RotationType::Automatic)
        })?;
        self.share(id)
    }

    /// Gives a key new current material, whatever asked for it.
    pub(crate) fn rotate_as_service(&self, id: &KeyId) -> Result<MaterialId, KmsError> {
        let params = as_map(json!({"keyId": id.as_str()}));
        self.as_filesystem().change(Op::RotateKey, params, |draft| {
            let material = draft.new_material(id, Some(RotationType::OnDemand))?;
            let material_id = material.id;
            draft.admit_id(id)?.push_material(material);
            Ok(material_id)
        })
    }
}

/// What a rotation found, or brought, in other Regions.
enum Staged {
    /// It concerns this Region alone.
    Alone,
    /// This material is in every Region, to be the current one.
    Everywhere(Arc<Material>),
    /// Some Region lacks the material that was imported for it.
    NotEverywhere,
}

impl Draft<'_> {
    /// Makes fresh material the current one.
    fn rotate_to_fresh(
        &mut self,
        id: &KeyId,
        staged: &Staged,
        rotation: RotationType,
    ) -> Result<(), KmsError> {
        let material = match staged {
            Staged::Everywhere(material) => Arc::clone(material),
            Staged::Alone | Staged::NotEverywhere => {
                Arc::new(self.new_material(id, Some(rotation))?)
            }
        };
        self.admit_id(id)?.materials.push(material);
        Ok(())
    }

    /// Makes the material that was imported for it the current one.
    fn rotate_to_pending(&mut self, id: &KeyId, staged: &Staged) -> Result<(), KmsError> {
        let now = self.now;
        let key = self.admit_id(id)?;
        let noted = key.imports.iter_mut().find(|imported| imported.is_pending);
        let (Some(noted), Some(_), false) =
            (noted, &key.pending, matches!(staged, Staged::NotEverywhere))
        else {
            return Err(KmsError::InvalidMaterialState {
                message: format!(
                    "No available key material pending rotation for the key: {}.",
                    key.arn
                ),
            });
        };
        noted.is_pending = false;
        noted.since = now;
        noted.rotation = Some(RotationType::OnDemand);
        let here: Vec<_> = key.all_materials().cloned().collect();
        key.place_imported(&here);
        Ok(())
    }
}

/// The materials of a key that are made here: none is ever missing.
fn made_entries(key: &KmsKey) -> Vec<RotationEntry> {
    let current = key.current_material().map(|material| material.id);
    let entry = |material: &Arc<Material>| RotationEntry {
        key: key.arn.clone(),
        material: material.id,
        state: match Some(material.id) == current {
            true => MaterialState::Current,
            false => MaterialState::NonCurrent,
        },
        date: material.rotation.map(|_| material.since),
        rotation: material.rotation,
        import: None,
    };
    key.materials.iter().map(entry).collect()
}

/// A replica's rotation is that of its primary.
fn check_is_no_replica(key: &KmsKey) -> Result<(), KmsError> {
    if key.is_replica() { check_primary(key) } else { Ok(()) }
}

fn check_can_rotate(key: &KmsKey) -> Result<(), KmsError> {
    if key.can_rotate() { Ok(()) } else { Err(no_rotation(key)) }
}

/// A key of imported material does not rotate, but can be asked.
fn check_has_rotations(key: &KmsKey) -> Result<(), KmsError> {
    let is_imported = key.spec == KeySpec::SymmetricDefault && key.origin == Origin::External;
    if is_imported { Ok(()) } else { check_can_rotate(key) }
}

fn no_rotation(key: &KmsKey) -> KmsError {
    KmsError::UnsupportedOperation {
        message: format!(
            "{} key spec is {} and origin is {}, which do not support rotation.",
            key.arn,
            key.spec.as_str(),
            key.origin.as_str()
        ),
    }
}
