//! A KMS key as plain data: metadata and materials. No locks, no I/O.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::kms::access::{Grant, KeyPolicy};
use crate::kms::spec::{KeyManager, KeySpec, KeyUsage, Origin, RotationType};
use crate::kms::store::HeldMaterial;
use crate::kms::time::Timestamp;
use crate::kms::{KeyArn, KeyId, KeyState, MaterialId};

/// A key with its state, its policy and one or more materials; it wraps data keys.
#[derive(Clone, Debug)]
pub struct KmsKey {
    /// Id; never changes.
    pub id: KeyId,
    /// Full name; never changes.
    pub arn: KeyArn,
    /// Free text.
    pub description: String,
    /// Kind of material.
    pub spec: KeySpec,
    /// What it is for.
    pub usage: KeyUsage,
    /// Where its material comes from.
    pub origin: Origin,
    /// Who manages it.
    pub manager: KeyManager,
    /// When it was made.
    pub created: Timestamp,
    /// Its state.
    pub state: KeyState,
    /// Automatic rotation; `None` if it is off.
    pub rotation: Option<Rotation>,
    /// Rotations on demand so far.
    pub on_demand_count: u32,
    /// Set in state `PendingDeletion`.
    pub deletion: Option<Deletion>,
    /// Who may do what.
    pub(crate) policy: KeyPolicy,
    /// What is allowed besides, to whom.
    pub(crate) grants: Vec<Arc<Grant>>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// What is remembered of imported material, also when it is gone.
    pub imported: Option<Imported>,
    /// Materials, oldest first. The last is the current one.
    pub materials: Vec<Arc<Material>>,
}

/// Imported material.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Only the same material can be imported again.
    pub fingerprint: MaterialId,
    /// When the material is destroyed; `None` if it does not expire, or is gone.
    pub expires: Option<Timestamp>,
}

/// Automatic rotation of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Days from one rotation to the next.
    pub period_days: u32,
    /// When the next one is due.
    pub next: Timestamp,
}

/// A key's deletion window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When the key is destroyed.
    pub at: Timestamp,
    /// Length of the window.
    pub window_days: u32,
    /// When the end of the window was first seen to have passed.
    pub seen_due: Option<Timestamp>,
}

/// One material of a key.
#[derive(Clone)]
pub struct Material {
    /// Identity.
    pub id: MaterialId,
    /// When it became the current one.
    pub since: Timestamp,
    /// What made it; `None` for the first.
    pub rotation: Option<RotationType>,
    /// The material in its store.
    pub held: Arc<dyn HeldMaterial>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("id", &self.id).field("since", &self.since).finish()
    }
}

impl KmsKey {
    /// Rotations on demand in a key's life (AWS: 25).
    pub const ON_DEMAND_ROTATIONS_MAX: u32 = 25;

    /// The material that wraps; all others only unwrap.
    pub fn current_material(&self) -> Option<&Material> {
        self.materials.last().map(Arc::as_ref)
    }

    /// The material of that identity.
    pub fn find_material(&self, id: &MaterialId) -> Option<&Material> {
        self.materials.iter().find(|material| material.id == *id).map(Arc::as_ref)
    }

    /// Makes a material the current one.
    pub fn push_material(&mut self, material: Material) {
        self.materials.push(Arc::new(material));
    }

    /// Whether imported material is there that should be gone.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        let expires = self.imported.and_then(|imported| imported.expires);
        !self.materials.is_empty() && expires.is_some_and(|expires| expires <= now)
    }

    /// Whether it can rotate by itself: symmetric material, made here.
    pub fn can_rotate(&self) -> bool {
        self.spec == KeySpec::SymmetricDefault && self.origin == Origin::AwsKms
    }

    /// Its metadata, as `DescribeKey` tells it.
    pub fn metadata(&self) -> KeyMetadata {
        KeyMetadata {
            arn: self.arn.clone(),
            description: self.description.clone(),
            spec: self.spec,
            usage: self.usage,
            origin: self.origin,
            manager: self.manager,
            created: self.created,
            state: self.state,
            deletion_date: self.deletion.map(|deletion| deletion.at),
            imported: self.imported.filter(|_| !self.materials.is_empty()),
            current_material: self
                .current_material()
                .filter(|_| self.spec == KeySpec::SymmetricDefault)
                .map(|material| material.id),
        }
    }
}

/// What `DescribeKey` and `CreateKey` answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMetadata {
    /// Full name; holds account, Region and id.
    pub arn: KeyArn,
    /// Free text.
    pub description: String,
    /// Kind of material.
    pub spec: KeySpec,
    /// What it is for.
    pub usage: KeyUsage,
    /// Where its material comes from.
    pub origin: Origin,
    /// Who manages it.
    pub manager: KeyManager,
    /// When it was made.
    pub created: Timestamp,
    /// Its state.
    pub state: KeyState,
    /// When it is destroyed, in state `PendingDeletion`.
    pub deletion_date: Option<Timestamp>,
    /// Imported material, while it is there.
    pub imported: Option<Imported>,
    /// The material that wraps, of a symmetric key.
    pub current_material: Option<MaterialId>,
}

impl KeyMetadata {
    /// The key's id.
    pub fn key_id(&self) -> KeyId {
        self.arn.key_id()
    }

    /// What the key can do, by the names of AWS' lists.
    pub fn algorithms(&self) -> [(&'static str, Vec<&'static str>); 5] {
        let (spec, usage) = (self.spec, self.usage);
        let encryption = spec.encryption_algorithms(usage).iter().map(|how| how.as_str());
        let signing = spec.signing_algorithms(usage).iter().map(|how| how.as_str());
        let agreement = KeySpec::agreement_algorithms(usage).iter().map(|how| how.as_str());
        let mac = spec.mac_algorithms().iter().map(|how| how.as_str());
        let encapsulation = KeySpec::encapsulation_algorithms(usage).iter();
        let encapsulation = encapsulation.map(|how| how.as_str());
        [
            ("EncryptionAlgorithms", encryption.collect()),
            ("SigningAlgorithms", signing.collect()),
            ("KeyAgreementAlgorithms", agreement.collect()),
            ("MacAlgorithms", mac.collect()),
            ("EncapsulationAlgorithms", encapsulation.collect()),
        ]
    }

    /// Whether the key may be used.
    pub fn is_enabled(&self) -> bool {
        self.state == KeyState::Enabled
    }
}
