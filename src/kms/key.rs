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
    /// What is remembered of imported material, oldest first, also when it is gone. The last one
    /// that is not pending is the current one.
    pub imports: Vec<Imported>,
    /// Materials that are here, oldest first. While none is missing, the last is the current one.
    pub materials: Vec<Arc<Material>>,
    /// Material that the next rotation makes the current one. It unwraps already: in another Region
    /// it may be the current one by now.
    pub pending: Option<Arc<Material>>,
    /// Set for multi-Region keys.
    pub multi_region: Option<MultiRegion>,
}

/// What is remembered of imported material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its identity; only the same material can be imported again.
    pub material: MaterialId,
    /// When the material is destroyed; `None` if it does not expire, or is gone.
    pub expires: Option<Timestamp>,
    /// Free text of whoever imported it.
    pub description: Option<String>,
    /// Whether it waits for a rotation.
    pub is_pending: bool,
    /// When it became the current one, or came in first.
    pub since: Timestamp,
    /// What made it the current one; `None` for the first.
    pub rotation: Option<RotationType>,
}

/// A key that has, or may have, replicas in other Regions: the same id and material in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiRegion {
    /// Region of the primary, which alone rotates and is replicated.
    pub primary: String,
    /// How often the primary has moved: of two that disagree, the higher one is right.
    pub term: u32,
    /// Of a replica whose primary is in another installation: when its last bundle was made there.
    pub bundle: Option<Timestamp>,
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
    /// Since when it is refused; `None` while it is not revoked.
    pub revoked: Option<Timestamp>,
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

    /// A key that waits for material to be imported.
    pub(crate) fn waiting(
        arn: KeyArn,
        manager: KeyManager,
        (spec, usage): (KeySpec, KeyUsage),
        policy: KeyPolicy,
        created: Timestamp,
    ) -> Self {
        Self {
            id: arn.key_id(),
            arn,
            description: String::new(),
            spec,
            usage,
            origin: Origin::External,
            manager,
            created,
            state: KeyState::PendingImport,
            rotation: None,
            on_demand_count: 0,
            deletion: None,
            policy,
            grants: Vec::new(),
            tags: BTreeMap::new(),
            imports: Vec::new(),
            materials: Vec::new(),
            pending: None,
            multi_region: None,
        }
    }

    /// The material that wraps; all others only unwrap.
    pub fn current_material(&self) -> Option<&Material> {
        self.materials.last().map(Arc::as_ref)
    }

    /// The material of that identity, of those that are here.
    pub fn find_material(&self, id: &MaterialId) -> Option<&Material> {
        self.all_materials().find(|material| material.id == *id).map(Arc::as_ref)
    }

    /// Every material that is here, the pending one last.
    pub(crate) fn all_materials(&self) -> impl Iterator<Item = &Arc<Material>> {
        self.materials.iter().chain(&self.pending)
    }

    /// Identity of the material that wraps, or would if it were here.
    pub(crate) fn current_id(&self) -> Option<MaterialId> {
        match self.imports.iter().rfind(|imported| !imported.is_pending) {
            Some(imported) => Some(imported.material),
            None => self.current_material().map(|material| material.id),
        }
    }

    /// Whether it waits for material: for its first, or for one that is gone.
    pub(crate) fn lacks_material(&self) -> bool {
        let is_missing = |i: &Imported| !i.is_pending && self.find_material(&i.material).is_none();
        self.materials.is_empty() || self.imports.iter().any(is_missing)
    }

    /// Revokes a material, or takes that back. What other rings share stays as it is.
    pub(crate) fn set_revoked(&mut self, id: &MaterialId, revoked: Option<Timestamp>) {
        if let Some(material) = self.materials.iter_mut().find(|material| material.id == *id) {
            *material = Arc::new(Material { revoked, ..Material::clone(material) });
        }
    }

    /// Makes a material the current one.
    pub fn push_material(&mut self, material: Material) {
        self.materials.push(Arc::new(material));
    }

    /// Imported material that is here and should be gone.
    pub(crate) fn expired(&self, now: Timestamp) -> impl Iterator<Item = MaterialId> {
        let is_due = move |i: &&Imported| {
            i.expires.is_some_and(|at| at <= now) && self.find_material(&i.material).is_some()
        };
        self.imports.iter().filter(is_due).map(|imported| imported.material)
    }

    /// Its Region.
    pub fn region(&self) -> &str {
        self.arn.region()
    }

    /// Whether it is a multi-Region key and another Region has its primary.
    pub fn is_replica(&self) -> bool {
        let is_elsewhere = |related: &MultiRegion| related.primary != self.region();
        self.multi_region.as_ref().is_some_and(is_elsewhere) || self.is_from_elsewhere()
    }

    /// Whether it is a replica whose primary is in another installation: new material comes by a bundle
    /// alone, and nothing here makes it the primary.
    pub fn is_from_elsewhere(&self) -> bool {
        self.multi_region.as_ref().is_some_and(|related| related.bundle.is_some())
    }

    /// Whether it is the primary of a multi-Region key.
    pub fn is_primary(&self) -> bool {
        self.multi_region.is_some() && !self.is_replica()
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
            deletion_date: self
                .deletion
                .filter(|_| self.state != KeyState::PendingReplicaDeletion)
                .map(|deletion| deletion.at),
            deletion_window: self
                .deletion
                .filter(|_| self.state == KeyState::PendingReplicaDeletion)
                .map(|deletion| deletion.window_days),
            expiration: self.expiration(),
            current_material: self.current_id().filter(|_| self.spec == KeySpec::SymmetricDefault),
            multi_region: self.multi_region.as_ref().map(|related| RelatedKeys {
                primary: related.primary.clone(),
                replicas: Vec::from_iter(self.is_replica().then(|| self.region().to_owned())),
            }),
        }
    }

    /// When the current material expires: never is `Some(None)`; `None` if it is not imported, or not
    /// all of it is here.
    fn expiration(&self) -> Option<Option<Timestamp>> {
        let current = self.imports.iter().rfind(|imported| !imported.is_pending)?;
        (!self.lacks_material()).then_some(current.expires)
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
    /// Days from the end of its last replica to its own, in state `PendingReplicaDeletion`.
    pub deletion_window: Option<u32>,
    /// When imported material expires, if it ever does; `None` if there is none.
    pub expiration: Option<Option<Timestamp>>,
    /// The material that wraps, of a symmetric key.
    pub current_material: Option<MaterialId>,
    /// Set for multi-Region keys.
    pub multi_region: Option<RelatedKeys>,
}

/// The Regions of a multi-Region key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelatedKeys {
    /// Region of the primary.
    pub primary: String,
    /// Regions of the replicas, sorted.
    pub replicas: Vec<String>,
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
