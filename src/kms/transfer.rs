//! A multi-Region key from one installation to another: who is to have it makes a request, who has the
//! primary seals a bundle for it, and the first takes the bundle in. docs/KMS.md, "From one
//! installation to another".
//!
//! What comes of it is a replica whose primary is elsewhere. It never rotates and never becomes the
//! primary, so that of two installations that see nothing of each other one alone makes material.

use std::sync::Arc;

use bincode::{Decode, Encode};
use serde_json::{Map, Value, json};

use crate::crypto::short::{open_short, seal_short};
use crate::kms::access::{KeyPolicy, as_map, default_policy};
use crate::kms::audit::Params;
use crate::kms::bundle::{
    BundleContent, BundleHead, BundledMaterial, Fingerprint, REPLICA_BUNDLE_LEN_MAX, ReplicaRequest,
};
use crate::kms::check::Form;
use crate::kms::key::{Imported, KmsKey, Material, MultiRegion};
use crate::kms::replica::check_primary;
use crate::kms::rows::{decode_import, decode_rotation, from_bytes, import_row, to_bytes};
use crate::kms::service::internal;
use crate::kms::spec::{KeyManager, KeySpec, KeyUsage, Origin};
use crate::kms::state::Op;
use crate::kms::store::{
    RowKey, SoftMaterial, generate_pair, public_half, unwrap_material, wrap_key,
};
use crate::kms::view::Draft;
use crate::kms::{KeyArn, KeyRef, Kms, KmsError, MaterialId, Timestamp, WrappingAlgorithm};
use crate::random::Random;
use crate::secret::{Secret, SecretBytes};

/// Hours that a request is good for, as import tokens are.
const REQUEST_HOURS: u64 = 24;
/// The key pair of a request: 128 bits of strength (NIST SP 800-57), and made in less than a second.
const WRAPPING_SPEC: KeySpec = KeySpec::Rsa3072;
/// Bound into every token of a request.
const TOKEN_LABEL: &[u8] = b"kmsfs v1 kms replica token";
/// Bound into every material of a bundle, before the ids of key and material.
const MATERIAL_LABEL: &[u8] = b"kmsfs v1 kms replica material";

/// A bundle, as [`Kms::export_replica`] makes it.
#[derive(Clone, Debug)]
pub struct ExportedReplica {
    /// The bytes.
    pub bundle: Vec<u8>,
    /// The key.
    pub key: KeyArn,
    /// Its current material.
    pub material: Option<MaterialId>,
    /// Materials in the bundle.
    pub materials: usize,
}

/// What [`Kms::import_replica`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedReplica {
    /// The replica.
    pub key: KeyArn,
    /// Its current material.
    pub material: Option<MaterialId>,
    /// Its materials.
    pub materials: usize,
    /// What became of it.
    pub change: ReplicaChange,
}

/// What became of a replica whose bundle was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaChange {
    /// It is new.
    Made,
    /// It has what the bundle brought.
    Updated,
    /// Nothing: the replica has all of it, or something newer.
    Unchanged,
}

/// What a request's token says; sealed under the row key of who made it.
#[derive(Encode, Decode)]
struct Token {
    account: String,
    region: String,
    valid_to: u64,
    private: Vec<u8>,
}

impl Drop for Token {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.private);
    }
}

impl Kms {
    /// Makes a request for a replica in this Region, good for 24 hours. Nothing is kept here: the
    /// private half of its key lies sealed in its token.
    ///
    /// # Errors
    /// [`KmsError::AccessDenied`] to who may not make keys, [`KmsError::Internal`] without a record.
    pub fn request_replica(&self) -> Result<ReplicaRequest, KmsError> {
        let core = &*self.core;
        let (account, region) = (self.account(), self.region());
        let pair = generate_pair(WRAPPING_SPEC)?;
        let valid_to = core.now().0.saturating_add(REQUEST_HOURS * 3_600_000);
        let token = Token {
            account: account.clone(),
            region: region.clone(),
            valid_to,
            private: pair.private.expose().to_vec(),
        };
        let plain = SecretBytes::new(to_bytes(&token));
        let random = &*core.options.random;
        let token = seal_short(&core.row_key().0, TOKEN_LABEL, plain.expose(), random);
        let request = ReplicaRequest { valid_to, account, region, public_key: pair.public, token };
        let params = as_map(json!({
            "requestFingerprint": request.fingerprint().to_string(),
            "validTo": Timestamp(valid_to).to_iso(),
        }));
        self.using(Op::RequestReplica, Params::Json(&params), |view| view.allow_everywhere())?;
        self.flush_audit()?;
        Ok(request)
    }

    /// Seals a multi-Region primary for who made a request, whose fingerprint both sides have compared.
    /// Policies know it as `kms:ReplicateKey`. The record is durable before the bundle is handed out.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] unless the key is a primary, [`KmsError::ExpiredImportToken`],
    /// [`KmsError::Validation`] for a request of another account or of the primary's own Region,
    /// [`KmsError::AlreadyExists`] if this installation has a replica there, and [`KmsError`] by key
    /// and state.
    pub fn export_replica(
        &self,
        key: &KeyRef,
        request: &ReplicaRequest,
    ) -> Result<ExportedReplica, KmsError> {
        let params = as_map(json!({
            "keyId": key.as_str(),
            "replicaRegion": request.region,
            "requestFingerprint": request.fingerprint().to_string(),
        }));
        let siblings = self.siblings();
        let exported = self.change(Op::ExportReplica, params, |draft| {
            let (now, account) = (draft.now, draft.ring.account.clone());
            let random = &*draft.kms.options.random;
            let key = draft.admit(key)?;
            check_primary(key)?;
            check_request(request, key, &account, now)?;
            let is_there = |kms: &Self| {
                kms.region() == request.region && kms.core.ring().keys.contains_key(&key.id)
            };
            if siblings?.iter().any(is_there) {
                let message = format!("{} exists in {} already.", key.id, request.region);
                return Err(KmsError::AlreadyExists { message });
            }
            Ok(ExportedReplica {
                bundle: seal_bundle(key, request, now, random)?,
                key: key.arn.clone(),
                material: key.current_id(),
                materials: key.all_materials().count(),
            })
        })?;
        self.flush_audit()?;
        Ok(exported)
    }

    /// Takes a bundle in: makes the replica, or brings it what is new. One that is not newer than what
    /// is here changes nothing. Policies know it as `kms:ReplicateKey`; a new key needs
    /// `kms:CreateKey`.
    ///
    /// # Errors
    /// [`KmsError::InvalidImportToken`] for a bundle that answers no request of this Region,
    /// [`KmsError::ExpiredImportToken`], [`KmsError::InvalidCiphertext`] for one that does not open,
    /// [`KmsError::AlreadyExists`] if the key is here and did not come by a bundle,
    /// [`KmsError::IncorrectKeyMaterial`] for one that lacks materials of the replica, and [`KmsError`]
    /// by key and state.
    pub fn import_replica(&self, bundle: &[u8]) -> Result<ImportedReplica, KmsError> {
        let opened = self.open_bundle(bundle);
        let mut params = as_map(json!({
            "multiRegion": true,
            "bundleFingerprint": Fingerprint::of(bundle).to_string(),
        }));
        if let Ok(opened) = &opened {
            opened.describe(&mut params);
        }
        let siblings = self.siblings();
        self.change(Op::ImportReplica, params, |draft| {
            let opened = opened?;
            let id = opened.primary.key_id();
            let is_own = |kms: &Self| {
                let ring = kms.core.ring();
                ring.keys.get(&id).is_some_and(|key| !key.is_from_elsewhere())
            };
            if siblings?.iter().any(is_own) {
                let message = format!("{id} is a key of this installation: replicate it.");
                return Err(KmsError::AlreadyExists { message });
            }
            let (key, change) = draft.take_in_replica(opened)?;
            Ok(ImportedReplica {
                key: key.arn.clone(),
                material: key.current_id(),
                materials: key.all_materials().count(),
                change,
            })
        })
    }

    /// What a bundle carries, if it answers a request of this Region that is still good.
    fn open_bundle(&self, bundle: &[u8]) -> Result<Opened, KmsError> {
        let invalid = || KmsError::InvalidImportToken { message: String::new() };
        let (head, sealed) = BundleHead::parse(bundle).ok_or_else(|| {
            let message = "This is no bundle of a replica.".to_owned();
            KmsError::Validation { message }
        })?;
        let token = open_short(&self.core.row_key().0, TOKEN_LABEL, &head.token);
        let token = SecretBytes::new(token.map_err(|_| invalid())?);
        let token: Token = from_bytes(token.expose()).ok_or_else(invalid)?;
        // The request as it was made, from what the token says: one that was changed on its way to the
        // other side is another.
        let request = ReplicaRequest {
            valid_to: token.valid_to,
            account: token.account.clone(),
            region: token.region.clone(),
            public_key: public_half(WRAPPING_SPEC, &token.private).ok_or_else(invalid)?,
            token: head.token.clone(),
        };
        let names_it = request.hash() == head.request
            && (&request.account, &request.region) == (&head.account, &head.region);
        if !names_it || request.account != self.account() || request.region != self.region() {
            return Err(invalid());
        }
        if token.valid_to <= self.core.now().0 {
            return Err(KmsError::ExpiredImportToken { message: String::new() });
        }
        let how = WrappingAlgorithm::RsaesOaepSha256;
        let key = unwrap_material(how, WRAPPING_SPEC, &token.private, &head.wrapped_key);
        let key = key.ok_or(KmsError::InvalidCiphertext)?;
        let key = <&[u8; 32]>::try_from(key.expose()).map_err(|_| KmsError::InvalidCiphertext)?;
        let key = RowKey(Secret::fill_with(|out| out.copy_from_slice(key)));
        let before = bundle.get(..bundle.len().saturating_sub(sealed.len())).unwrap_or_default();
        let content =
            open_short(&key.0, before, sealed).map_err(|_| KmsError::InvalidCiphertext)?;
        let content: BundleContent = from_bytes(&content).ok_or(KmsError::InvalidCiphertext)?;
        let opened = Opened::read(content, &key, request.fingerprint())?;
        check_primary_of_bundle(&opened.primary, &request)?;
        Ok(opened)
    }
}

/// Whether a key may be sealed for a request.
fn check_request(
    request: &ReplicaRequest,
    key: &KmsKey,
    account: &str,
    now: Timestamp,
) -> Result<(), KmsError> {
    let refuse = |message: String| Err(KmsError::Validation { message });
    if request.valid_to <= now.0 {
        return Err(KmsError::ExpiredImportToken { message: String::new() });
    }
    if request.account != account {
        return refuse(format!("The request is of account {}, not {account}.", request.account));
    }
    if !Form::REGION.fits(&request.region) {
        return refuse(format!("'{}' is no Region.", request.region));
    }
    if request.region == key.region() {
        return refuse(format!("{} is in {} already.", key.arn, request.region));
    }
    Ok(())
}

/// The same on the other side: a replica's ARN differs from its primary's by the Region alone.
fn check_primary_of_bundle(primary: &KeyArn, request: &ReplicaRequest) -> Result<(), KmsError> {
    let is_fine = primary.key_id().is_multi_region()
        && primary.account() == request.account
        && Form::REGION.fits(primary.region())
        && primary.region() != request.region;
    if is_fine {
        return Ok(());
    }
    let message = format!("{primary} cannot have a replica in {}.", request.region);
    Err(KmsError::Validation { message })
}

fn seal_bundle(
    key: &KmsKey,
    request: &ReplicaRequest,
    now: Timestamp,
    random: &dyn Random,
) -> Result<Vec<u8>, KmsError> {
    let bundle_key = RowKey(Secret::random(random));
    let bundled = |material: &Arc<Material>| {
        let sealed =
            material.held.to_row(&bundle_key, &material_aad(key.arn.key_id(), material.id), random);
        Some(BundledMaterial {
            id: material.id.0,
            since: material.since.0,
            rotation: material.rotation.map(|rotation| rotation.as_str().to_owned()),
            revoked: material.revoked.map(|time| time.0),
            sealed: sealed?,
        })
    };
    let materials = key.all_materials().map(bundled).collect::<Option<_>>();
    let materials = materials.ok_or_else(|| KmsError::UnsupportedOperation {
        message: format!("The material of {} does not leave its store.", key.arn),
    })?;
    let content = to_bytes(&BundleContent {
        primary: key.arn.as_str().to_owned(),
        term: key.multi_region.as_ref().map_or(0, |related| related.term),
        made: now.0,
        spec: key.spec.as_str().to_owned(),
        usage: key.usage.as_str().to_owned(),
        origin: key.origin.as_str().to_owned(),
        materials,
        imports: key.imports.iter().map(import_row).collect(),
    });
    let not_wrapping = || KmsError::Validation {
        message: "The request's public key is no RSA key of 3072 bits.".to_owned(),
    };
    let head = BundleHead {
        request: request.hash(),
        account: request.account.clone(),
        region: request.region.clone(),
        token: request.token.clone(),
        wrapped_key: wrap_key(WRAPPING_SPEC, &request.public_key, &bundle_key)
            .ok_or_else(not_wrapping)?,
    };
    let mut bundle = head.encode().ok_or_else(|| internal("the request is too long"))?;
    let sealed = seal_short(&bundle_key.0, &bundle, &content, random);
    bundle.extend_from_slice(&sealed);
    match bundle.len() <= REPLICA_BUNDLE_LEN_MAX {
        true => Ok(bundle),
        false => Err(KmsError::LimitExceeded {
            message: format!("The bundle has more than {REPLICA_BUNDLE_LEN_MAX} bytes."),
        }),
    }
}

pub(super) fn material_aad(key: crate::kms::KeyId, material: MaterialId) -> Vec<u8> {
    [MATERIAL_LABEL, &key.to_bytes(), &material.0].concat()
}

/// A bundle that is open: authentic, and all of its material in the store's hands.
pub(super) struct Opened {
    request: Fingerprint,
    primary: KeyArn,
    term: u32,
    made: Timestamp,
    kind: (KeySpec, KeyUsage),
    origin: Origin,
    materials: Vec<Arc<Material>>,
    imports: Vec<Imported>,
}

impl Opened {
    pub(super) fn read(
        content: BundleContent,
        key: &RowKey,
        request: Fingerprint,
    ) -> Result<Self, KmsError> {
        let wrong = || KmsError::IncorrectKeyMaterial {
            message: "The bundle does not hold together.".to_owned(),
        };
        let primary = KeyArn::parse(&content.primary).ok_or_else(wrong)?;
        let id = primary.key_id();
        let spec = KeySpec::parse(&content.spec).ok_or_else(wrong)?;
        let usage = KeyUsage::parse(&content.usage).ok_or_else(wrong)?;
        let origin = Origin::parse(&content.origin).ok_or_else(wrong)?;
        let take = |bundled: BundledMaterial| {
            let aad = material_aad(id.clone(), MaterialId(bundled.id));
            let held = SoftMaterial::from_row(spec, usage, key, &aad, &bundled.sealed)?;
            // The id is a code under the material: nobody gives a material another's.
            let material = Material {
                id: MaterialId(bundled.id),
                since: Timestamp(bundled.since),
                rotation: decode_rotation(bundled.rotation)?,
                revoked: bundled.revoked.map(Timestamp),
                held: Arc::new(held),
            };
            (material.held.id(&id) == material.id).then(|| Arc::new(material))
        };
        let materials: Option<Vec<_>> = content.materials.into_iter().map(take).collect();
        let imports: Option<Vec<_>> = content.imports.into_iter().map(decode_import).collect();
        let opened = Self {
            request,
            primary,
            term: content.term,
            made: Timestamp(content.made),
            kind: (spec, usage),
            origin,
            materials: materials.ok_or_else(wrong)?,
            imports: imports.ok_or_else(wrong)?,
        };
        if opened.is_sound() { Ok(opened) } else { Err(wrong()) }
    }

    /// Whether it could be a key: a material or more, none of them twice, and of imported material
    /// just what is remembered.
    fn is_sound(&self) -> bool {
        let ids = |ids: &mut dyn Iterator<Item = MaterialId>| {
            let mut ids: Vec<_> = ids.map(|id| id.0).collect();
            let all = ids.len();
            ids.sort_unstable();
            ids.dedup();
            (ids.len() == all && all > 0).then_some(ids)
        };
        let here = ids(&mut self.materials.iter().map(|material| material.id));
        let remembered = ids(&mut self.imports.iter().map(|imported| imported.material));
        let is_whole = match self.origin {
            Origin::AwsKms => self.imports.is_empty() && here.is_some(),
            Origin::External => here.is_some() && self.is_settled_first() && here == remembered,
            _ => false,
        };
        is_whole && self.kind.0.usages().contains(&self.kind.1)
    }

    /// Whether at most one imported material waits for a rotation, and comes last.
    fn is_settled_first(&self) -> bool {
        let waits = self.imports.iter().position(|imported| imported.is_pending);
        waits.is_none_or(|at| at > 0 && at + 1 == self.imports.len())
    }

    /// Materials that are, or have been, the current ones; oldest first.
    pub(super) fn lineage(&self) -> Vec<MaterialId> {
        match self.origin {
            Origin::External => settled(&self.imports),
            _ => self.materials.iter().map(|material| material.id).collect(),
        }
    }

    /// For the audit record.
    fn describe(&self, params: &mut Map<String, Value>) {
        params.insert("keyId".to_owned(), self.primary.key_id().as_str().into());
        params.insert("primaryRegion".to_owned(), self.primary.region().into());
        params.insert("requestFingerprint".to_owned(), self.request.to_string().into());
    }

    /// Gives a key what came.
    fn give_to(self, key: &mut KmsKey) {
        key.imports = self.imports;
        match self.origin {
            Origin::External => key.place_imported(&self.materials),
            _ => key.materials = self.materials,
        }
    }
}

fn settled(imports: &[Imported]) -> Vec<MaterialId> {
    imports.iter().filter(|known| !known.is_pending).map(|known| known.material).collect()
}

impl Draft<'_> {
    /// Makes the replica that a bundle carries, or brings it up to the bundle.
    fn take_in_replica(
        &mut self,
        opened: Opened,
    ) -> Result<(&mut KmsKey, ReplicaChange), KmsError> {
        let id = opened.primary.key_id();
        if self.ring.keys.contains_key(&id) {
            let key = self.admit(&KeyRef::from(&id))?;
            return opened.update(key).map(|change| (key, change));
        }
        self.allow_creation()?;
        let arn = self.ring.arn_of(&id);
        self.touch(arn.clone());
        let policy = KeyPolicy::of_accepted(default_policy(&self.ring.account));
        let kind = opened.kind;
        let mut key = KmsKey::waiting(arn, KeyManager::Customer, kind, policy, self.now);
        key.origin = opened.origin;
        key.multi_region = Some(MultiRegion {
            primary: opened.primary.region().to_owned(),
            term: opened.term,
            bundle: Some(opened.made),
        });
        opened.give_to(&mut key);
        key.state = crate::kms::KeyState::Enabled;
        self.insert_key(key).map(|key| (key, ReplicaChange::Made))
    }
}

impl Opened {
    /// Brings a replica up to the bundle. Its materials must be those of the replica, with more behind
    /// them: that also proves that whoever made the bundle has the key.
    fn update(self, key: &mut KmsKey) -> Result<ReplicaChange, KmsError> {
        let came = key.multi_region.as_ref().and_then(|related| related.bundle);
        let (Some(came), true) = (came, key.is_from_elsewhere()) else {
            let message = format!("{} exists already, and did not come by a bundle.", key.arn);
            return Err(KmsError::AlreadyExists { message });
        };
        let own = match key.origin {
            Origin::External => settled(&key.imports),
            _ => key.materials.iter().map(|material| material.id).collect(),
        };
        let new = self.lineage();
        let is_same_kind = (key.spec, key.usage) == self.kind && key.origin == self.origin;
        if !is_same_kind || !(new.starts_with(&own) || own.starts_with(&new)) {
            let message = format!("The bundle's materials are not those of {}.", key.arn);
            return Err(KmsError::IncorrectKeyMaterial { message });
        }
        let is_newer = new.len() > own.len() || new.len() == own.len() && self.made > came;
        if !is_newer {
            return Ok(ReplicaChange::Unchanged);
        }
        let (primary, term) = (self.primary.region().to_owned(), self.term);
        let bundle = Some(self.made.max(came));
        key.multi_region = Some(MultiRegion { primary, term, bundle });
        self.give_to(key);
        Ok(ReplicaChange::Updated)
    }
}
