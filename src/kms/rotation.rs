//! EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, RotateKeyOnDemand, ListKeyRotations,
//! and rotation on schedule.

use serde_json::json;

use crate::kms::access::as_map;
use crate::kms::audit::{Params, UseParams};
use crate::kms::check::Check;
use crate::kms::deletion::not_due;
use crate::kms::key::{KmsKey, Rotation};
use crate::kms::key_ops::{key_params, number_json};
use crate::kms::page::PageSize;
use crate::kms::ring::NamedBy;
use crate::kms::spec::{IncludeKeyMaterial, KeySpec, Origin, RotationType};
use crate::kms::state::Op;
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
}

/// Whether a material wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaterialState {
    /// It wraps and unwraps.
    Current,
    /// It only unwraps.
    NonCurrent,
}

impl MaterialState {
    /// AWS' spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "CURRENT",
            Self::NonCurrent => "NON_CURRENT",
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
        self.change(Op::EnableKeyRotation, params, |draft| {
            let days = period_days.unwrap_or(PERIOD_DAYS);
            Check::default()
                .key("keyId", key.as_str())
                .number("rotationPeriodInDays", days, PERIOD_DAYS_MIN, PERIOD_DAYS_MAX)
                .finish()?;
            let next = draft.now.plus_days(days);
            let key = draft.admit(key)?;
            check_can_rotate(key)?;
            let is_same = key.rotation.is_some_and(|rotation| {
                period_days.is_none_or(|days| days == rotation.period_days)
            });
            if !is_same {
                key.rotation = Some(Rotation { period_days: days, next });
            }
            Ok(())
        })
    }

    /// `DisableKeyRotation`.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] for keys that cannot, and [`KmsError`] by key and state.
    pub fn disable_key_rotation(&self, key: &KeyRef) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": key.as_str()}));
        self.change(Op::DisableKeyRotation, params, |draft| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let key = draft.admit(key)?;
            check_can_rotate(key)?;
            key.rotation = None;
            Ok(())
        })
    }

    /// `GetKeyRotationStatus`.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] for keys that cannot, and [`KmsError`] by key and state.
    pub fn get_key_rotation_status(&self, key: &KeyRef) -> Result<KeyRotationStatus, KmsError> {
        self.using(Op::GetKeyRotationStatus, key_params(key), |view| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let key = view.admit(key.as_str(), NamedBy::IdOrArn, &EncryptionContext::new())?;
            check_has_rotations(key)?;
            let is_pending = key.state == KeyState::PendingDeletion;
            let rotation = key.rotation.filter(|_| !is_pending);
            Ok(KeyRotationStatus { key: key.arn.clone(), rotation })
        })
    }

    /// `RotateKeyOnDemand`: gives a key new current material now. Id, ARN, policy, aliases and
    /// schedule stay; older material still unwraps.
    ///
    /// # Errors
    /// [`KmsError::LimitExceeded`] after 25 of them, and [`KmsError`] by key and state.
    pub fn rotate_key_on_demand(&self, key: &KeyRef) -> Result<KeyArn, KmsError> {
        let params = as_map(json!({"keyId": key.as_str()}));
        self.change(Op::RotateKeyOnDemand, params, |draft| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let key = draft.admit(key)?;
            check_can_rotate(key)?;
            let (id, arn) = (key.id.clone(), key.arn.clone());
            if key.on_demand_count >= KmsKey::ON_DEMAND_ROTATIONS_MAX {
                return Err(KmsError::LimitExceeded {
                    message: format!(
                        "The on-demand rotations limit has been reached for the given keyId. \
                         No more on-demand rotations can be performed for this key: {arn}"
                    ),
                });
            }
            let material = draft.new_material(&id, Some(RotationType::OnDemand))?;
            let key = draft.admit_id(&id)?;
            key.on_demand_count = key.on_demand_count.saturating_add(1);
            key.push_material(material);
            Ok(arn)
        })
    }

    /// `ListKeyRotations`: rotations so far, oldest first, with the first material if asked.
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
            key: Some(key.as_str().to_owned()),
            detail: Some(("includeKeyMaterial", include.as_str())),
            ..UseParams::default()
        };
        self.using(Op::ListKeyRotations, Params::Use(params), |view| {
            Check::default().key("keyId", key.as_str()).finish()?;
            page.check()?;
            let key = view.admit(key.as_str(), NamedBy::IdOrArn, &EncryptionContext::new())?;
            check_has_rotations(key)?;
            let current = key.current_material().map(|material| material.id);
            let all = key.materials.iter().enumerate().map(|(no, material)| {
                let is_current = Some(material.id) == current;
                let entry = RotationEntry {
                    key: key.arn.clone(),
                    material: material.id,
                    state: match is_current {
                        true => MaterialState::Current,
                        false => MaterialState::NonCurrent,
                    },
                    date: material.rotation.map(|_| material.since),
                    rotation: material.rotation,
                };
                (format!("{no:010}"), entry)
            });
            let has_all = include == IncludeKeyMaterial::AllKeyMaterial;
            page.cut(ROTATIONS_PAGE, all.filter(|(_, e)| has_all || e.rotation.is_some()))
        })
    }

    /// Carries out a rotation on schedule, if it is still due.
    pub(crate) fn rotate_if_due(&self, id: &KeyId) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": id.as_str()}));
        self.as_itself().change(Op::RotateKey, params, |draft| {
            let now = draft.now;
            let material = draft.new_material(id, Some(RotationType::Automatic))?;
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
            key.push_material(material);
            Ok(())
        })
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
