//! Multi-Region keys: ReplicateKey, UpdatePrimaryRegion, and what replicas share with their primary.
//!
//! Each Region has a database of its own, and no change spans two. The primary is what counts: a
//! replica takes over from it, at once and again at every tick, so that whatever a crash left undone is
//! done later. Which keys are related is not written down anywhere: they have the same id.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::kms::access::{KeyPolicy, as_map, check_policy, default_policy, read_policy};
use crate::kms::audit::Params;
use crate::kms::check::{Check, Form};
use crate::kms::deletion::not_due;
use crate::kms::key::{Imported, KmsKey, Material, MultiRegion, RelatedKeys};
use crate::kms::key_ops::DESCRIPTION_LEN_MAX;
use crate::kms::ring::NamedBy;
use crate::kms::spec::Origin;
use crate::kms::state::Op;
use crate::kms::tags::{TagParams, check_tags};
use crate::kms::view::Draft;
use crate::kms::{EncryptionContext, KeyId, KeyMetadata, KeyRef, KeyState, Kms, KmsError, Tag};

/// Longest name of a Region, in characters.
const REGION_LEN_MAX: usize = 32;

/// Request of `ReplicateKey`.
#[derive(Clone, Debug)]
pub struct ReplicateKey {
    /// The primary, by id or ARN.
    pub key: KeyRef,
    /// Where to.
    pub region: String,
    /// Key policy of the replica; the account root may do everything if there is none.
    pub policy: Option<String>,
    /// Make it even if the caller could not change the policy again.
    pub bypass_lockout_check: bool,
    /// Free text.
    pub description: String,
    /// Tags of the replica.
    pub tags: Vec<Tag>,
}

/// Answer of `ReplicateKey`.
#[derive(Clone, Debug)]
pub struct Replicated {
    /// The replica.
    pub key: KeyMetadata,
    /// Its policy.
    pub policy: String,
    /// Its tags.
    pub tags: Vec<Tag>,
}

impl Kms {
    /// `ReplicateKey`: makes the same key in another Region: its id and material, but a state, policy,
    /// aliases, tags and grants of its own. Imported material has to be imported there once more.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] unless the key is a primary, [`KmsError::AlreadyExists`], and
    /// [`KmsError`] by request, key and state.
    pub fn replicate_key(&self, request: &ReplicateKey) -> Result<Replicated, KmsError> {
        let params = as_map(json!({
            "keyId": request.key.as_str(),
            "replicaRegion": request.region,
            "policy": request.policy,
            "description": request.description,
            "tags": TagParams(&request.tags).to_json(),
        }));
        // The replica is made before this is recorded: the record tells what came of it.
        let (there, id, metadata, policy) =
            self.using(Op::ReplicateKey, Params::Json(&params), |view| {
                Check::default()
                    .key("keyId", request.key.as_str())
                    .text("replicaRegion", &request.region, 1, REGION_LEN_MAX)
                    .form("replicaRegion", &request.region, Form::REGION)
                    .text("description", &request.description, 0, DESCRIPTION_LEN_MAX)
                    .finish()?;
                request.policy.as_deref().map(check_policy).transpose()?;
                let none = EncryptionContext::new();
                let key = view.admit(request.key.as_str(), NamedBy::IdOrArn, &none)?;
                check_primary(key)?;
                if request.region == key.region() {
                    let message = format!("{} is in {} already.", key.arn, request.region);
                    return Err(KmsError::Validation { message });
                }
                let policy = request.policy.as_deref().map(read_policy).transpose()?;
                let tags = check_tags(&request.tags, &BTreeMap::new())?;
                let there = self.regions()?.kms(&self.account(), &request.region)?;
                let replica = there.caller(self.principal().clone());
                let (metadata, policy) = replica.make_replica(request, key, policy, tags)?;
                Ok((there, key.id.clone(), metadata, policy))
            })?;
        self.flush_audit()?;
        // A rotation of the primary may have come between.
        self.share(&id)?;
        // AWS answers before the replica can be used. Ours can already.
        let metadata =
            KeyMetadata { state: KeyState::Creating, current_material: None, ..metadata };
        Ok(Replicated { key: there.related(metadata)?, policy, tags: request.tags.clone() })
    }

    /// The other half of ReplicateKey, in the Region of the replica; tells its policy as well.
    fn make_replica(
        &self,
        request: &ReplicateKey,
        primary: &KmsKey,
        policy: Option<KeyPolicy>,
        tags: BTreeMap<String, String>,
    ) -> Result<(KeyMetadata, String), KmsError> {
        let params = as_map(json!({
            "keyId": primary.id.as_str(),
            "multiRegion": true,
            "primaryRegion": primary.region(),
            "policy": request.policy,
            "description": request.description,
            "tags": TagParams(&request.tags).to_json(),
        }));
        self.change(Op::CreateKey, params, |draft| {
            draft.allow_everywhere()?;
            if !tags.is_empty() {
                draft.allow_tags(&draft.ring.arn_of(&primary.id))?;
            }
            let key = draft.new_replica(primary)?;
            key.description.clone_from(&request.description);
            key.tags = tags;
            let key = draft.set_policy(&primary.id, policy, request.bypass_lockout_check)?;
            Ok((key.metadata(), key.policy.text.clone()))
        })
    }

    /// `UpdatePrimaryRegion`: makes a replica the primary, and the primary a replica.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] unless the key is a primary, [`KmsError::NotFound`] if the
    /// Region has no replica, and [`KmsError`] by request, keys and states.
    pub fn update_primary_region(&self, key: &KeyRef, region: &str) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": key.as_str(), "primaryRegion": region}));
        let there = self.replica_in(key, region);
        let id = self.change(Op::UpdatePrimaryRegion, params, |draft| {
            Check::default()
                .key("keyId", key.as_str())
                .text("primaryRegion", region, 1, REGION_LEN_MAX)
                .form("primaryRegion", region, Form::REGION)
                .finish()?;
            let key = draft.admit(key)?;
            check_primary(key)?;
            if region == key.region() {
                let message = format!("{} is in {region} already.", key.arn);
                return Err(KmsError::Validation { message });
            }
            there.as_ref().map_err(Clone::clone)?;
            if let Some(related) = &mut key.multi_region {
                related.hand_over(region);
            }
            Ok(key.id.clone())
        })?;
        // From here on the new primary is found by the old one pointing to it; see `follow`.
        let there = there?;
        there.follow(&id)?;
        there.share(&id)
    }

    /// The Region of a replica that is to become the primary, asked by the same principal.
    fn replica_in(&self, key: &KeyRef, region: &str) -> Result<Self, KmsError> {
        let id = self.core.ring().resolve(key.as_str(), NamedBy::IdOrArn)?.id.clone();
        let others = self.siblings()?;
        let there = others.into_iter().find(|kms| kms.region() == region);
        let message = format!("No replica of {id} is in {region}");
        let there = there.ok_or(KmsError::NotFound { message })?;
        let there = there.caller(self.principal().clone());
        there.would_admit(Op::UpdatePrimaryRegion, &KeyRef::from(&id))?;
        Ok(there)
    }

    /// The same account in the other Regions.
    pub(super) fn siblings(&self) -> Result<Vec<Self>, KmsError> {
        Ok(self.regions()?.besides(&self.account(), &self.region()))
    }

    /// The other Regions that have a key.
    fn relatives(&self, id: &KeyId) -> Result<Vec<(Self, Arc<KmsKey>)>, KmsError> {
        let key_of = |kms: Self| {
            let key = kms.core.ring().keys.get(id).cloned();
            key.map(|key| (kms, key))
        };
        Ok(self.siblings()?.into_iter().filter_map(key_of).collect())
    }

    /// Whether a key of this Region is a primary with replicas.
    pub(super) fn has_replicas(&self, key: &KmsKey) -> Result<bool, KmsError> {
        Ok(key.is_primary() && !self.relatives(&key.id)?.is_empty())
    }

    /// Whether every Region of a key has a material.
    pub(super) fn is_everywhere(
        &self,
        key: &KmsKey,
        material: &Material,
    ) -> Result<bool, KmsError> {
        if key.multi_region.is_none() {
            return Ok(true);
        }
        let has = |key: &KmsKey| key.find_material(&material.id).is_some();
        Ok(self.relatives(&key.id)?.iter().all(|(_, key)| has(key)))
    }

    /// Metadata with the Regions of all related keys.
    pub(super) fn related(&self, mut metadata: KeyMetadata) -> Result<KeyMetadata, KmsError> {
        if let Some(RelatedKeys { primary, replicas }) = &mut metadata.multi_region {
            let relatives = self.relatives(&metadata.arn.key_id())?;
            let others = relatives.iter().map(|(kms, _)| kms.region());
            replicas.extend(others.filter(|region| region != primary));
            replicas.sort();
        }
        Ok(metadata)
    }

    /// Brings fresh material of a primary to its replicas, before it is the current one anywhere: what
    /// any Region wraps from now on, every Region unwraps.
    pub(super) fn stage(&self, id: &KeyId, material: &Arc<Material>) -> Result<(), KmsError> {
        for (kms, _) in self.relatives(id)? {
            kms.synchronize(id, |replica| replica.pending = Some(Arc::clone(material)))?;
        }
        Ok(())
    }

    /// Brings all replicas of a primary up to it.
    pub(super) fn share(&self, id: &KeyId) -> Result<(), KmsError> {
        let ring = self.core.ring();
        let Some(primary) = ring.keys.get(id).filter(|key| key.is_primary()) else {
            return Ok(());
        };
        for (kms, replica) in self.relatives(id)? {
            if !replica.agrees_with(primary) {
                kms.synchronize(id, |replica| replica.take_over(primary))?;
            }
        }
        Ok(())
    }

    fn synchronize(&self, id: &KeyId, edit: impl FnOnce(&mut KmsKey)) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": id.as_str()}));
        self.as_itself().change(Op::SynchronizeMultiRegionKey, params, |draft| {
            edit(draft.admit_id(id)?);
            Ok(())
        })
    }

    /// Finishes what a crash, or a Region out of reach, has left undone.
    pub(super) fn tend_related_keys(&self) -> Result<(), KmsError> {
        // Without the other Regions at hand nothing is missed: who has them open sees to it.
        if !self.has_regions() {
            return Ok(());
        }
        let ring = self.core.ring();
        let mut outcome = Ok(());
        for key in ring.keys.values().filter(|key| key.multi_region.is_some()) {
            let done = match key.is_primary() {
                true => self.share(&key.id).and_then(|()| self.start_window(key)),
                false => self.follow(&key.id),
            };
            outcome = outcome.and(done);
        }
        outcome
    }

    /// Believes whoever knows of the latest move of the primary, be it to this Region.
    fn follow(&self, id: &KeyId) -> Result<(), KmsError> {
        let relatives = self.relatives(id)?;
        let known = relatives.into_iter().filter_map(|(_, key)| key.multi_region.clone());
        let Some(latest) = known.max_by_key(|related| related.term) else { return Ok(()) };
        let ring = self.core.ring();
        let own = ring.keys.get(id).and_then(|key| key.multi_region.as_ref());
        // The primary of one that came by a bundle moves where nobody here sees it.
        if own.is_none_or(|own| own.term >= latest.term || own.bundle.is_some()) {
            return Ok(());
        }
        let params = as_map(json!({"keyId": id.as_str(), "primaryRegion": latest.primary}));
        self.as_itself().change(Op::UpdatePrimaryRegion, params, |draft| {
            draft.admit_id(id)?.multi_region = Some(latest);
            Ok(())
        })
    }

    /// The window of a primary begins when its last replica is gone.
    fn start_window(&self, primary: &KmsKey) -> Result<(), KmsError> {
        if primary.state != KeyState::PendingReplicaDeletion || self.has_replicas(primary)? {
            return Ok(());
        }
        let params = as_map(json!({"keyId": primary.id.as_str()}));
        self.as_itself().change(Op::DeletionDue, params, |draft| {
            let now = draft.now;
            let key = draft.admit_id(&primary.id)?;
            if key.state != KeyState::PendingReplicaDeletion {
                return Err(not_due(&key.id));
            }
            key.state = KeyState::PendingDeletion;
            if let Some(deletion) = &mut key.deletion {
                deletion.at = now.plus_days(deletion.window_days);
            }
            Ok(())
        })
    }
}

/// Only a primary is replicated, rotated and promoted from.
pub(super) fn check_primary(key: &KmsKey) -> Result<(), KmsError> {
    if key.is_primary() {
        return Ok(());
    }
    let place = match &key.multi_region {
        Some(related) if key.is_from_elsewhere() => {
            format!(" Its primary is in {}, in another installation.", related.primary)
        }
        _ => String::new(),
    };
    let message = format!("{} is not a multi-region primary key.{place}", key.arn);
    Err(KmsError::UnsupportedOperation { message })
}

impl MultiRegion {
    /// Another Region has the primary from now on.
    pub(super) fn hand_over(&mut self, region: &str) {
        region.clone_into(&mut self.primary);
        self.term = self.term.saturating_add(1);
    }
}

impl KmsKey {
    /// Whether a replica has all that its primary shares.
    fn agrees_with(&self, primary: &Self) -> bool {
        let mut other = self.clone();
        other.take_over(primary);
        let ids = |key: &Self| {
            key.all_materials().map(|m| (m.id, m.since, m.revoked)).collect::<Vec<_>>()
        };
        self.multi_region == other.multi_region
            && self.rotation == other.rotation
            && self.on_demand_count == other.on_demand_count
            && self.imports == other.imports
            && self.pending.is_some() == other.pending.is_some()
            && ids(self) == ids(&other)
    }

    /// Makes a replica what its primary says: who the primary is, rotation and material. Imported
    /// material is not handed on, but what is known of it.
    fn take_over(&mut self, primary: &Self) {
        self.multi_region.clone_from(&primary.multi_region);
        self.rotation = primary.rotation;
        self.on_demand_count = primary.on_demand_count;
        if primary.origin == Origin::External {
            let here: Vec<_> = self.all_materials().cloned().collect();
            let imports = primary.imports.iter().map(|shared| {
                let own = self.imports.iter().find(|own| own.material == shared.material);
                Imported {
                    expires: own.and_then(|own| own.expires),
                    description: own.unwrap_or(shared).description.clone(),
                    ..shared.clone()
                }
            });
            self.imports = imports.collect();
            self.place_imported(&here);
        } else {
            self.materials.clone_from(&primary.materials);
            self.pending = None;
        }
    }
}

impl Draft<'_> {
    /// Makes a key's replica.
    fn new_replica(&mut self, primary: &KmsKey) -> Result<&mut KmsKey, KmsError> {
        let arn = self.ring.arn_of(&primary.id);
        self.touch(arn.clone());
        if self.ring.keys.contains_key(&primary.id) {
            let region = &self.ring.region;
            let message = format!("{} exists in {region} already.", primary.id);
            return Err(KmsError::AlreadyExists { message });
        }
        let is_imported = primary.origin == Origin::External;
        let mut replica = KmsKey {
            arn,
            description: String::new(),
            created: self.now,
            state: if is_imported { KeyState::PendingImport } else { KeyState::Enabled },
            deletion: None,
            policy: KeyPolicy::of_accepted(default_policy(&self.ring.account)),
            grants: Vec::new(),
            tags: BTreeMap::new(),
            imports: Vec::new(),
            materials: Vec::new(),
            pending: None,
            ..primary.clone()
        };
        replica.take_over(primary);
        self.insert_key(replica)
    }
}
