//! CreateKey, DescribeKey, ListKeys, UpdateKeyDescription, EnableKey, DisableKey.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::kms::access::{KeyPolicy, as_map, check_policy, default_policy, read_policy};
use crate::kms::algorithms::Family;
use crate::kms::audit::UseParams;
use crate::kms::check::Check;
use crate::kms::key::{KeyMetadata, KmsKey, Material, MultiRegion};
use crate::kms::page::PageSize;
use crate::kms::ring::NamedBy;
use crate::kms::spec::{KeyManager, KeySpec, KeyUsage, Origin, RotationType};
use crate::kms::state::Op;
use crate::kms::store::{HeldMaterial, generate};
use crate::kms::tags::{TagParams, check_tags};
use crate::kms::view::Draft;
use crate::kms::{
    EncryptionContext, KeyArn, KeyId, KeyRef, KeyState, Kms, KmsError, Page, PageRequest, Tag,
};
use crate::random::random_array;

/// Longest description, in characters.
pub(crate) const DESCRIPTION_LEN_MAX: usize = 8192;
/// Keys of a ring. AWS' default quota.
const KEYS_MAX: usize = 100_000;
const KEYS_PAGE: PageSize = PageSize { usual: 100, max: 1000 };

/// Request of `CreateKey`. The default makes a symmetric key.
#[derive(Clone, Debug, Default)]
pub struct CreateKey {
    /// Free text.
    pub description: String,
    /// Tags.
    pub tags: Vec<Tag>,
    /// Key policy; the account root may do everything if there is none.
    pub policy: Option<String>,
    /// Make it even if the caller could not change the policy again.
    pub bypass_lockout_check: bool,
    /// Kind of material; `SYMMETRIC_DEFAULT` if there is none.
    pub spec: Option<KeySpec>,
    /// What it is for; needed for all but symmetric keys.
    pub usage: Option<KeyUsage>,
    /// Where its material comes from; `AWS_KMS` if there is none.
    pub origin: Option<Origin>,
    /// Whether it may have replicas in other Regions.
    pub multi_region: bool,
}

/// Entry of `ListKeys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Full name; holds the id.
    pub arn: KeyArn,
}

impl Kms {
    /// `CreateKey`: makes a key, enabled at once.
    ///
    /// # Errors
    /// [`KmsError::UnsupportedOperation`] for what is not offered yet, and [`KmsError`] by request.
    pub fn create_key(&self, request: CreateKey) -> Result<KeyMetadata, KmsError> {
        let params = as_map(json!({
            "description": request.description,
            "keySpec": request.spec.map(KeySpec::as_str),
            "keyUsage": request.usage.map(KeyUsage::as_str),
            "origin": request.origin.map(Origin::as_str),
            "multiRegion": request.multi_region,
            "policy": request.policy,
            "bypassPolicyLockoutSafetyCheck": request.bypass_lockout_check.then_some(true),
            "tags": TagParams(&request.tags).to_json(),
        }));
        // Checked and made before anything is locked: an RSA key takes a while.
        let made = self.prepare(&request);
        self.change(Op::CreateKey, params, |draft| {
            let Prepared { spec, usage, material, policy, tags } = made?;
            draft.allow_everywhere()?;
            let random = &*draft.kms.options.random;
            let id = match request.multi_region {
                true => KeyId::multi_region(&random_array(random)),
                false => KeyId::from_random(random_array(random)),
            };
            if !tags.is_empty() {
                draft.allow_tags(&draft.ring.arn_of(&id))?;
            }
            let region = draft.ring.region.clone();
            let key = draft.new_key(KeyManager::Customer, id, spec, usage, material)?;
            key.description.clone_from(&request.description);
            let related = MultiRegion { primary: region, term: 0, bundle: None };
            key.multi_region = request.multi_region.then_some(related);
            key.tags = tags;
            let id = key.id.clone();
            let key = draft.set_policy(&id, policy, request.bypass_lockout_check)?;
            Ok(key.metadata())
        })
    }

    /// Checks a request as far as it needs no ring, then makes the material.
    fn prepare(&self, request: &CreateKey) -> Result<Prepared, KmsError> {
        Check::default()
            .text("description", &request.description, 0, DESCRIPTION_LEN_MAX)
            .finish()?;
        request.policy.as_deref().map(check_policy).transpose()?;
        let (spec, usage) = check_kind(request)?;
        let policy = request.policy.as_deref().map(read_policy).transpose()?;
        let tags = check_tags(&request.tags, &BTreeMap::new())?;
        let material = match request.origin {
            Some(Origin::External) => None,
            _ => Some(generate(spec, usage, &*self.core.options.random)?),
        };
        Ok(Prepared { spec, usage, material, policy, tags })
    }

    /// `DescribeKey`. The first look at a service's alias (`alias/aws/...`) makes its key.
    ///
    /// # Errors
    /// [`KmsError::NotFound`] if there is no such key.
    pub fn describe_key(&self, key: &KeyRef) -> Result<KeyMetadata, KmsError> {
        self.ensure_service_key_named(key)?;
        let metadata = self.using(Op::DescribeKey, UseParams::of_key(key.as_str()), |view| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let none = EncryptionContext::new();
            Ok(view.admit(key.as_str(), NamedBy::Anything, &none)?.metadata())
        })?;
        self.related(metadata)
    }

    /// `ListKeys`: all keys, sorted by id.
    ///
    /// # Errors
    /// [`KmsError::InvalidMarker`], [`KmsError::Validation`].
    pub fn list_keys(&self, page: &PageRequest) -> Result<Page<KeyEntry>, KmsError> {
        self.using(Op::ListKeys, UseParams::default(), |view| {
            page.check()?;
            view.allow_everywhere()?;
            let entry = |key: &Arc<KmsKey>| KeyEntry { arn: key.arn.clone() };
            let all = view.ring.keys.iter().map(|(id, key)| (id.as_str().to_owned(), entry(key)));
            page.cut(KEYS_PAGE, all)
        })
    }

    /// `UpdateKeyDescription`.
    ///
    /// # Errors
    /// [`KmsError`], by key and state.
    pub fn update_key_description(&self, key: &KeyRef, text: &str) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": key.as_str(), "description": text}));
        self.change(Op::UpdateKeyDescription, params, |draft| {
            Check::default()
                .key("keyId", key.as_str())
                .text("description", text, 0, DESCRIPTION_LEN_MAX)
                .finish()?;
            text.clone_into(&mut draft.admit(key)?.description);
            Ok(())
        })
    }

    /// `EnableKey`: makes a disabled key usable again. A rotation that fell due meanwhile is carried
    /// out at the next [`Kms::tick`].
    ///
    /// # Errors
    /// [`KmsError`], by key and state.
    pub fn enable_key(&self, key: &KeyRef) -> Result<(), KmsError> {
        self.set_state(Op::EnableKey, key, KeyState::Enabled)
    }

    /// `DisableKey`: makes a key unusable until it is enabled.
    ///
    /// # Errors
    /// [`KmsError`], by key and state.
    pub fn disable_key(&self, key: &KeyRef) -> Result<(), KmsError> {
        self.set_state(Op::DisableKey, key, KeyState::Disabled)
    }

    fn set_state(&self, op: Op, key: &KeyRef, state: KeyState) -> Result<(), KmsError> {
        self.change(op, as_map(json!({"keyId": key.as_str()})), |draft| {
            Check::default().key("keyId", key.as_str()).finish()?;
            draft.admit(key)?.state = state;
            Ok(())
        })
    }
}

/// A key that is about to be made.
struct Prepared {
    spec: KeySpec,
    usage: KeyUsage,
    material: Option<Arc<dyn HeldMaterial>>,
    policy: Option<KeyPolicy>,
    tags: BTreeMap<String, String>,
}

/// The spec and usage of a key to be made. Refuses what cannot be, and by name what is not offered.
fn check_kind(request: &CreateKey) -> Result<(KeySpec, KeyUsage), KmsError> {
    let spec = request.spec.unwrap_or(KeySpec::SymmetricDefault);
    let unsupported = |what: String| {
        Err(KmsError::UnsupportedOperation { message: format!("{what} is not offered yet.") })
    };
    let usage = match (request.usage, spec.usages()) {
        (Some(usage), _) => usage,
        (None, [usage]) if spec == KeySpec::SymmetricDefault => *usage,
        (None, _) => {
            return Err(KmsError::Validation {
                message: "You must specify a KeyUsage value for all KMS keys except for symmetric \
                          encryption keys."
                    .to_owned(),
            });
        }
    };
    if spec.family() == Family::Sm2 {
        return unsupported(format!("KeySpec {}", spec.as_str()));
    }
    if !spec.usages().contains(&usage) {
        if usage == KeyUsage::KeyAgreement {
            let (usage, spec) = (usage.as_str(), spec.as_str());
            let message = format!("KeyUsage {usage} is not compatible with KeySpec {spec}");
            return Err(KmsError::Validation { message });
        }
        return Err(KmsError::Validation {
            message: format!(
                "The operation failed because the KeyUsage value of the KMS key is {} which is \
                 not compatible with key spec {}.",
                usage.as_str(),
                spec.as_str()
            ),
        });
    }
    let origin = request.origin.unwrap_or(Origin::AwsKms);
    let can_come_in = !matches!(spec.family(), Family::MlDsa | Family::MlKem);
    if origin != Origin::AwsKms && (origin != Origin::External || !can_come_in) {
        return unsupported(format!("Origin {}", origin.as_str()));
    }
    Ok((spec, usage))
}

impl Draft<'_> {
    /// Makes a symmetric key with its first material.
    pub(crate) fn new_symmetric_key(
        &mut self,
        manager: KeyManager,
    ) -> Result<&mut KmsKey, KmsError> {
        let (spec, usage) = (KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt);
        let material = generate(spec, usage, &*self.kms.options.random)?;
        let id = KeyId::from_random(random_array(&*self.kms.options.random));
        self.new_key(manager, id, spec, usage, Some(material))
    }

    /// Makes a key with its first material, or one that waits for it.
    fn new_key(
        &mut self,
        manager: KeyManager,
        id: KeyId,
        spec: KeySpec,
        usage: KeyUsage,
        held: Option<Arc<dyn HeldMaterial>>,
    ) -> Result<&mut KmsKey, KmsError> {
        let arn = self.ring.arn_of(&id);
        self.touch(arn.clone());
        let policy = KeyPolicy::of_accepted(default_policy(&self.ring.account));
        let mut key = KmsKey::waiting(arn, manager, (spec, usage), policy, self.now);
        if let Some(held) = held {
            (key.origin, key.state) = (Origin::AwsKms, KeyState::Enabled);
            key.push_material(Material {
                id: held.id(&id),
                since: self.now,
                rotation: None,
                revoked: None,
                held,
            });
        }
        self.insert_key(key)
    }

    /// Puts a new key into the ring.
    pub(crate) fn insert_key(&mut self, key: KmsKey) -> Result<&mut KmsKey, KmsError> {
        if self.ring.keys.len() >= KEYS_MAX {
            return Err(KmsError::LimitExceeded {
                message: format!("You have reached the limit of {KEYS_MAX} keys."),
            });
        }
        let id = key.id.clone();
        Ok(Arc::make_mut(self.ring.keys.entry(id).or_insert(Arc::new(key))))
    }

    /// Fresh material for a symmetric key.
    pub(crate) fn new_material(
        &self,
        key: &KeyId,
        rotation: Option<RotationType>,
    ) -> Result<Material, KmsError> {
        let (spec, usage) = (KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt);
        let held = generate(spec, usage, &*self.kms.options.random)?;
        Ok(Material { id: held.id(key), since: self.now, rotation, revoked: None, held })
    }
}

/// JSON of an optional number, for parameters.
pub(crate) fn number_json(number: Option<u32>) -> Value {
    number.map_or(Value::Null, Value::from)
}
