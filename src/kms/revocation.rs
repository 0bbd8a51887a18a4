//! Revoking one material of a key, taking that back, and destroying it. AWS has nothing like it: there
//! a material goes only with its key.

use serde_json::json;

use crate::kms::access::as_map;
use crate::kms::key::KmsKey;
use crate::kms::spec::{KeyManager, Origin};
use crate::kms::state::Op;
use crate::kms::{KeyArn, KeyRef, Kms, KmsError, MaterialId, Timestamp};

/// One material of one key, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaterialEntry {
    /// The key.
    pub key: KeyArn,
    /// The material.
    pub material: MaterialId,
    /// It wraps.
    pub is_current: bool,
    /// Since when it is refused.
    pub revoked: Option<Timestamp>,
}

impl Kms {
    /// Refuses a material from now on: what it wrapped opens no more, until [`Self::restore_material`].
    ///
    /// # Errors
    /// [`KmsError::NotFound`], [`KmsError::Validation`] for the current material, and [`KmsError`] by
    /// key and state.
    pub fn revoke_material(&self, key: &KeyRef, material: &MaterialId) -> Result<(), KmsError> {
        self.edit_material(Op::RevokeMaterial, key, material, |key, now| {
            if key.current_id() == Some(*material) {
                let message = format!("{material} wraps now: rotate {} first.", key.arn);
                return Err(KmsError::Validation { message });
            }
            key.set_revoked(material, Some(now));
            Ok(())
        })
    }

    /// Takes a revocation back.
    ///
    /// # Errors
    /// As [`Self::revoke_material`].
    pub fn restore_material(&self, key: &KeyRef, material: &MaterialId) -> Result<(), KmsError> {
        self.edit_material(Op::RestoreMaterial, key, material, |key, _| {
            key.set_revoked(material, None);
            Ok(())
        })
    }

    fn edit_material(
        &self,
        op: Op,
        key: &KeyRef,
        material: &MaterialId,
        edit: impl FnOnce(&mut KmsKey, Timestamp) -> Result<(), KmsError>,
    ) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": key.as_str(), "keyMaterialId": material.to_string()}));
        let id = self.manager_of(key).change(op, params, |draft| {
            let now = draft.now;
            let key = draft.admit(key)?;
            if !key.materials.iter().any(|held| held.id == *material) {
                return Err(no_material(key, material));
            }
            if key.is_replica() {
                let message = format!("{} is a replica: ask its primary.", key.arn);
                return Err(KmsError::UnsupportedOperation { message });
            }
            edit(key, now)?;
            Ok(key.id.clone())
        })?;
        self.share(&id)
    }

    /// Destroys a revoked material: what it wrapped never opens again. The key and its other
    /// materials stay. `reason` allows it although files of known volumes need it.
    ///
    /// # Errors
    /// [`KmsError::StillNeeded`], [`KmsError::Validation`] if it is not revoked,
    /// [`KmsError::UnsupportedOperation`] for imported material and multi-Region keys, and those of
    /// [`Self::revoke_material`].
    pub fn destroy_material(
        &self,
        key: &KeyRef,
        material: &MaterialId,
        reason: Option<&str>,
    ) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": key.as_str(),
            "keyMaterialId": material.to_string(), "allowDataLoss": reason}));
        self.manager_of(key).change(Op::DestroyMaterial, params, |draft| {
            let id = draft.admit(key)?.id.clone();
            let key = draft.admit_id(&id)?.clone();
            let found = key.find_material(material).ok_or_else(|| no_material(&key, material))?;
            if key.multi_region.is_some() {
                let message = "Material of a multi-Region key goes with its key.".to_owned();
                return Err(KmsError::UnsupportedOperation { message });
            }
            if key.origin != Origin::AwsKms {
                let message = "Imported material goes by DeleteImportedKeyMaterial.".to_owned();
                return Err(KmsError::UnsupportedOperation { message });
            }
            if found.revoked.is_none() {
                let message = format!("{material} is not revoked.");
                return Err(KmsError::Validation { message });
            }
            let need = draft.ring.need_of_material(&key.arn, found);
            if let Some(need) = need.filter(|_| reason.is_none_or(str::is_empty)) {
                let key = format!("{} key material {material}", key.arn);
                return Err(KmsError::StillNeeded { key, need });
            }
            draft.admit_id(&id)?.materials.retain(|held| held.id != *material);
            Ok(())
        })
    }

    /// Every material of every key, keys by id, materials oldest first. A look, not an operation.
    pub fn materials(&self) -> Vec<MaterialEntry> {
        let ring = self.core.ring();
        let keys = ring.keys.values();
        let entries = keys.flat_map(|key| {
            let current = key.current_id();
            key.materials.iter().map(move |material| MaterialEntry {
                key: key.arn.clone(),
                material: material.id,
                is_current: Some(material.id) == current,
                revoked: material.revoked,
            })
        });
        entries.collect()
    }

    /// Who manages a key: the service that it belongs to, or whoever asks.
    fn manager_of(&self, key: &KeyRef) -> Self {
        let ring = self.core.ring();
        let found = ring.resolve(key.as_str(), crate::kms::ring::NamedBy::IdOrArn);
        match found.is_ok_and(|key| key.manager == KeyManager::Aws) {
            true => self.as_filesystem(),
            false => self.clone(),
        }
    }
}

fn no_material(key: &KmsKey, material: &MaterialId) -> KmsError {
    KmsError::NotFound { message: format!("Key '{}' has no material {material}", key.arn) }
}
