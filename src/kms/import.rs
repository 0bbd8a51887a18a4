//! GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial, and the end of material that
//! expires.

use std::sync::Arc;

use bincode::{Decode, Encode};
use serde_json::json;

use crate::crypto::short::{open_short, seal_short};
use crate::kms::access::as_map;
use crate::kms::audit::UseParams;
use crate::kms::check::{Check, Form};
use crate::kms::deletion::not_due;
use crate::kms::key::{Imported, KmsKey, Material};
use crate::kms::ring::NamedBy;
use crate::kms::spec::{KeySpec, Origin, aws_enum};
use crate::kms::state::Op;
use crate::kms::store::{HeldMaterial as _, SoftMaterial, generate_pair, unwrap_material};
use crate::kms::{
    EncryptionContext, KeyArn, KeyId, KeyRef, KeyState, Kms, KmsError, LOSS_TAG, MaterialId,
    Timestamp,
};
use crate::secret::SecretBytes;

/// Hours that an import token is good for.
const TOKEN_HOURS: u64 = 24;
/// Days ahead that material may expire at most.
const VALID_DAYS_MAX: u32 = 365;
/// Bytes of token and wrapped material that a caller may send.
const SENT_LEN_MAX: usize = 6144;
/// Bytes of a token that is read at all.
const TOKEN_LEN_MAX: usize = 8192;
/// Longest description of a material, in characters.
const DESCRIPTION_LEN_MAX: usize = 256;
/// Bound into every token.
pub(super) const TOKEN_LABEL: &[u8] = b"kmsfs v1 kms import token";

aws_enum! {
    /// How material is wrapped on its way in.
    WrappingAlgorithm {
        /// Withdrawn by AWS, and not offered.
        RsaesPkcs1V15 = "RSAES_PKCS1_V1_5",
        /// RSA-OAEP with SHA-1.
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        /// RSA-OAEP with SHA-256.
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
        /// AES-KWP under a key that is under RSA-OAEP with SHA-1.
        RsaAesKeyWrapSha1 = "RSA_AES_KEY_WRAP_SHA_1",
        /// AES-KWP under a key that is under RSA-OAEP with SHA-256.
        RsaAesKeyWrapSha256 = "RSA_AES_KEY_WRAP_SHA_256",
        /// SM2 (AWS: China Regions).
        Sm2Pke = "SM2PKE",
    }
}

aws_enum! {
    /// Whether material is new to its key.
    ImportType {
        /// It is: the next rotation on demand makes it the current one.
        New = "NEW_KEY_MATERIAL",
        /// It comes in once more.
        Existing = "EXISTING_KEY_MATERIAL",
    }
}

aws_enum! {
    /// Whether imported material expires.
    ExpirationModel {
        /// At a date.
        Expires = "KEY_MATERIAL_EXPIRES",
        /// Never.
        DoesNotExpire = "KEY_MATERIAL_DOES_NOT_EXPIRE",
    }
}

/// Answer of `GetParametersForImport`.
#[derive(Clone, Debug)]
pub struct ImportParameters {
    /// The key.
    pub key: KeyArn,
    /// To be sent along with the material.
    pub token: Vec<u8>,
    /// What the material is to be wrapped under: SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    /// Until when.
    pub valid_to: Timestamp,
}

/// Request of `ImportKeyMaterial`.
#[derive(Clone, Debug)]
pub struct ImportKeyMaterial {
    /// The key, by id or ARN.
    pub key: KeyRef,
    /// Of `GetParametersForImport`.
    pub token: Vec<u8>,
    /// The material, wrapped.
    pub wrapped: Vec<u8>,
    /// When it expires.
    pub valid_to: Option<Timestamp>,
    /// Whether it expires; it does unless this says otherwise.
    pub model: Option<ExpirationModel>,
    /// Whether it is new to the key; only the first is unless this says otherwise.
    pub import_type: Option<ImportType>,
    /// Free text.
    pub description: Option<String>,
    /// The identity that it must turn out to have.
    pub material: Option<MaterialId>,
}

/// What a token says. It goes to the client and back, sealed.
#[derive(Encode, Decode)]
struct Token {
    key: String,
    algorithm: String,
    spec: String,
    valid_to: u64,
    private: Vec<u8>,
}

impl Drop for Token {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.private);
    }
}

impl Kms {
    /// `GetParametersForImport`: a fresh RSA key to wrap material under, and a token, good for 24
    /// hours. Nothing is kept here: the private half lies sealed in the token.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] for a key whose material is made here, and [`KmsError`] by
    /// request, key and state.
    pub fn get_parameters_for_import(
        &self,
        key: &KeyRef,
        algorithm: WrappingAlgorithm,
        spec: KeySpec,
    ) -> Result<ImportParameters, KmsError> {
        let params = UseParams {
            details: [
                Some(("wrappingAlgorithm", algorithm.as_str())),
                Some(("wrappingKeySpec", spec.as_str())),
            ],
            ..UseParams::of_key(key.as_str())
        };
        self.using(Op::GetParametersForImport, params, |view| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let key = view.admit(key.as_str(), NamedBy::IdOrArn, &EncryptionContext::new())?;
            check_external(key)?;
            if matches!(algorithm, WrappingAlgorithm::RsaesPkcs1V15 | WrappingAlgorithm::Sm2Pke)
                || !matches!(spec, KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096)
            {
                let (algorithm, spec) = (algorithm.as_str(), spec.as_str());
                let message = format!("Wrapping by {algorithm} under {spec} is not offered.");
                return Err(KmsError::UnsupportedOperation { message });
            }
            let pair = generate_pair(spec)?;
            let valid_to = Timestamp(view.kms.now().0.saturating_add(TOKEN_HOURS * 3_600_000));
            let token = Token {
                key: key.arn.as_str().to_owned(),
                algorithm: algorithm.as_str().to_owned(),
                spec: spec.as_str().to_owned(),
                valid_to: valid_to.0,
                private: pair.private.expose().to_vec(),
            };
            let plain = bincode::encode_to_vec(&token, bincode::config::standard());
            let plain = SecretBytes::new(plain.unwrap_or_default());
            let random = &*view.kms.options.random;
            let token = seal_short(&view.kms.row_key().0, TOKEN_LABEL, plain.expose(), random);
            Ok(ImportParameters { key: key.arn.clone(), token, public_key: pair.public, valid_to })
        })
    }

    /// `ImportKeyMaterial`: brings material in, for the first time or again.
    ///
    /// # Errors
    /// [`KmsError::InvalidImportToken`], [`KmsError::ExpiredImportToken`],
    /// [`KmsError::InvalidCiphertext`] for what does not open, [`KmsError::IncorrectKeyMaterial`] for
    /// other material than before or of the wrong kind, and [`KmsError`] by request, key and state.
    pub fn import_key_material(
        &self,
        request: &ImportKeyMaterial,
    ) -> Result<(KeyArn, MaterialId), KmsError> {
        let params = as_map(json!({
            "keyId": request.key.as_str(),
            "validTo": request.valid_to.map(Timestamp::to_iso),
            "expirationModel": request.model.map(ExpirationModel::as_str),
            "importType": request.import_type.map(ImportType::as_str),
            "keyMaterialDescription": request.description,
            "keyMaterialId": request.material.map(|material| material.to_string()),
        }));
        let (arn, material) = self.change(Op::ImportKeyMaterial, params, |draft| {
            let description = request.description.as_deref().unwrap_or_default();
            Check::default()
                .key("keyId", request.key.as_str())
                .text("keyMaterialDescription", description, 0, DESCRIPTION_LEN_MAX)
                .form("keyMaterialDescription", description, Form::MATERIAL_DESCRIPTION)
                .bytes("importToken", request.token.len(), 1, SENT_LEN_MAX)
                .bytes("encryptedKeyMaterial", request.wrapped.len(), 1, SENT_LEN_MAX)
                .finish()?;
            let now = draft.now;
            let token = open_short(&draft.kms.row_key().0, TOKEN_LABEL, &request.token);
            let key = draft.admit(&request.key)?;
            check_external(key)?;
            let expires = check_expiry(request, now)?;
            let invalid = || KmsError::InvalidImportToken { message: String::new() };
            let token = SecretBytes::new(token.map_err(|_| invalid())?);
            let config = bincode::config::standard().with_limit::<TOKEN_LEN_MAX>();
            let (token, _): (Token, usize) =
                bincode::decode_from_slice(token.expose(), config).map_err(|_| invalid())?;
            if token.key != key.arn.as_str() {
                return Err(invalid());
            }
            if token.valid_to <= now.0 {
                return Err(KmsError::ExpiredImportToken { message: String::new() });
            }
            let algorithm = WrappingAlgorithm::parse(&token.algorithm).ok_or_else(invalid)?;
            let spec = KeySpec::parse(&token.spec).ok_or_else(invalid)?;
            let bytes = unwrap_material(algorithm, spec, &token.private, &request.wrapped);
            let bytes = bytes.ok_or(KmsError::InvalidCiphertext)?;
            let id = take_in(key, bytes, request, expires, now)?;
            Ok((key.arn.clone(), id))
        })?;
        self.share(&arn.key_id())?;
        Ok((arn, material))
    }

    /// `DeleteImportedKeyMaterial`: destroys a material, the current one unless another is named, and
    /// keeps all else, so that the same material can be imported again.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] for a key whose material is made here,
    /// [`KmsError::NotFound`] for a material that is not the key's, and [`KmsError`] by key and state.
    pub fn delete_imported_key_material(
        &self,
        key: &KeyRef,
        material: Option<MaterialId>,
    ) -> Result<(KeyArn, Option<MaterialId>), KmsError> {
        let named = material.map(|material| material.to_string());
        let params = as_map(json!({"keyId": key.as_str(), "keyMaterialId": named}));
        let (arn, material) = self.change(Op::DeleteImportedKeyMaterial, params, |draft| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let id = draft.admit(key)?.id.clone();
            check_external(draft.admit_id(&id)?)?;
            draft.check_unneeded(&id, material)?;
            let key = draft.admit_id(&id)?;
            let is_known = |id: MaterialId| key.imports.iter().any(|known| known.material == id);
            if let Some(id) = material.filter(|id| !is_known(*id)) {
                let message = format!("Key material '{id}' does not exist in {}", key.arn);
                return Err(KmsError::NotFound { message });
            }
            let material = material.or(key.current_id());
            if let Some(id) = material {
                drop_material(key, id);
            }
            // It was for this one deletion.
            key.tags.remove(LOSS_TAG);
            Ok((key.arn.clone(), material))
        })?;
        self.share(&arn.key_id())?;
        Ok((arn, material))
    }

    /// Destroys material that has expired.
    pub(crate) fn expire_material(&self, id: &KeyId) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": id.as_str()}));
        self.as_itself().change(Op::DeleteImportedKeyMaterial, params, |draft| {
            let now = draft.now;
            let key = draft.admit_id(id)?;
            let expired: Vec<_> = key.expired(now).collect();
            if expired.is_empty() {
                return Err(not_due(id));
            }
            for material in expired {
                drop_material(key, material);
            }
            Ok(())
        })?;
        self.share(id)
    }
}

/// Makes bytes a material of a key.
fn take_in(
    key: &mut KmsKey,
    bytes: SecretBytes,
    request: &ImportKeyMaterial,
    expires: Option<Timestamp>,
    now: Timestamp,
) -> Result<MaterialId, KmsError> {
    let wrong = |message: &str| KmsError::IncorrectKeyMaterial { message: message.to_owned() };
    let held = SoftMaterial::from_bytes(key.spec, key.usage, bytes)
        .ok_or_else(|| wrong("The key material is not of the key spec of this KMS key."))?;
    let id = held.id(&key.id);
    if request.material.is_some_and(|named| named != id) {
        return Err(wrong("The key material in the request is not the one of the KeyMaterialId."));
    }
    if !key.imports.iter().any(|known| known.material == id) {
        let is_pending = check_may_be_new(key, id, request.import_type)?;
        let description = None;
        let (since, rotation) = (now, None);
        let material = id;
        key.imports.push(Imported { material, expires, description, is_pending, since, rotation });
    }
    for known in key.imports.iter_mut().filter(|known| known.material == id) {
        known.expires = expires;
        if request.description.is_some() {
            known.description.clone_from(&request.description);
        }
    }
    let mut here: Vec<_> = key.all_materials().cloned().collect();
    if key.find_material(&id).is_none() {
        let held = Arc::new(held);
        here.push(Arc::new(Material { id, since: now, rotation: None, revoked: None, held }));
    }
    key.place_imported(&here);
    Ok(id)
}

/// Whether material that a key has not seen may come in; tells whether it then waits for a rotation.
fn check_may_be_new(
    key: &KmsKey,
    id: MaterialId,
    import_type: Option<ImportType>,
) -> Result<bool, KmsError> {
    if key.is_replica() || !key.imports.is_empty() && import_type != Some(ImportType::New) {
        let message = "The key material in the request is not identical to the key material that \
                       was previously imported into this KMS key.";
        return Err(KmsError::IncorrectKeyMaterial { message: message.to_owned() });
    }
    if key.imports.is_empty() {
        return Ok(false);
    }
    if key.spec != KeySpec::SymmetricDefault {
        let message = format!("{} can only have one key material.", key.arn);
        return Err(KmsError::UnsupportedOperation { message });
    }
    if let Some(pending) = key.imports.iter().find(|known| known.is_pending) {
        let (arn, pending) = (&key.arn, pending.material);
        let message = format!(
            "New key material (id: {id}) cannot be imported into KMS key {arn}, because another \
             key material (id: {pending}) is pending rotation."
        );
        return Err(KmsError::InvalidMaterialState { message });
    }
    Ok(true)
}

fn drop_material(key: &mut KmsKey, id: MaterialId) {
    let here: Vec<_> = key.all_materials().filter(|material| material.id != id).cloned().collect();
    // What waits for a rotation and goes was never used: nothing is remembered of it. A replica
    // remembers what its primary does.
    let is_replica = key.is_replica();
    key.imports.retain(|known| known.material != id || !known.is_pending || is_replica);
    for known in key.imports.iter_mut().filter(|known| known.material == id) {
        known.expires = None;
    }
    key.place_imported(&here);
}

impl KmsKey {
    /// Puts imported materials in their places: those of `here`, in the order in which they are
    /// remembered, and the state that goes with it.
    pub(super) fn place_imported(&mut self, here: &[Arc<Material>]) {
        let place = |known: &Imported| {
            let found = here.iter().find(|material| material.id == known.material)?;
            let is_as_noted = found.since == known.since && found.rotation == known.rotation;
            Some(match is_as_noted {
                true => Arc::clone(found),
                false => Arc::new(Material {
                    since: known.since,
                    rotation: known.rotation,
                    ..Material::clone(found)
                }),
            })
        };
        let (pending, settled): (Vec<_>, Vec<_>) =
            self.imports.iter().partition(|known| known.is_pending);
        let materials = settled.into_iter().filter_map(place).collect();
        let pending = pending.into_iter().find_map(place);
        (self.materials, self.pending) = (materials, pending);
        match (self.lacks_material(), self.state) {
            (true, KeyState::Enabled | KeyState::Disabled) => self.state = KeyState::PendingImport,
            (false, KeyState::PendingImport) => self.state = KeyState::Enabled,
            _ => {}
        }
    }
}

fn check_external(key: &KmsKey) -> Result<(), KmsError> {
    if key.origin == Origin::External {
        return Ok(());
    }
    let (arn, origin) = (&key.arn, key.origin.as_str());
    Err(KmsError::UnsupportedOperation {
        message: format!("{arn} origin is {origin} which is not valid for this operation."),
    })
}

fn check_expiry(
    request: &ImportKeyMaterial,
    now: Timestamp,
) -> Result<Option<Timestamp>, KmsError> {
    let refuse = |message: &str| Err(KmsError::Validation { message: message.to_owned() });
    match (request.model.unwrap_or(ExpirationModel::Expires), request.valid_to) {
        (ExpirationModel::DoesNotExpire, None) => Ok(None),
        (ExpirationModel::DoesNotExpire, Some(_)) => refuse(
            "A validTo date must not be set if the ExpirationModel is \
             KEY_MATERIAL_DOES_NOT_EXPIRE",
        ),
        (ExpirationModel::Expires, None) => {
            refuse("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
        }
        (ExpirationModel::Expires, Some(date)) if date <= now => {
            refuse("The validTo date must be in the future.")
        }
        (ExpirationModel::Expires, Some(date)) if date > now.plus_days(VALID_DAYS_MAX) => {
            refuse("The validTo date must be at most 365 days ahead.")
        }
        (ExpirationModel::Expires, Some(date)) => Ok(Some(date)),
    }
}
