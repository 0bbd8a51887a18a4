//! Keys that services manage: made on first use, viewable, rotated every year, not manageable by the
//! account.

use std::sync::Arc;

use serde_json::json;

use crate::kms::access::{KeyPolicy, as_map, service_policy};
use crate::kms::key::{KmsKey, Rotation};
use crate::kms::ring::{KeyRing, NamedBy};
use crate::kms::rotation::PERIOD_DAYS;
use crate::kms::spec::KeyManager;
use crate::kms::state::Op;
use crate::kms::{AliasName, KeyDescription, KeyId, KeyRef, KeyService, Kms, KmsError, MaterialId};

/// Services whose key the first `DescribeKey` of its alias makes: our own, then AWS'.
pub const SERVICE_ALIASES: &[&str] = &[
    AliasName::FILESYSTEM,
    "alias/aws/backup",
    "alias/aws/dynamodb",
    "alias/aws/ebs",
    "alias/aws/elasticfilesystem",
    "alias/aws/fsx",
    "alias/aws/glue",
    "alias/aws/kinesis",
    "alias/aws/lambda",
    "alias/aws/rds",
    "alias/aws/redshift",
    "alias/aws/s3",
    "alias/aws/secretsmanager",
    "alias/aws/sns",
    "alias/aws/sqs",
    "alias/aws/ssm",
];

impl KeyRing {
    /// The policy of the key behind a service's alias.
    fn policy_of_service(&self, alias: &AliasName) -> KeyPolicy {
        let service = alias.as_str().trim_start_matches("alias/aws/");
        KeyPolicy::of_accepted(service_policy(&self.account, &self.region, service))
    }

    /// Gives keys that services manage the policy that they have, whatever their rows say: rows of
    /// earlier versions hold an account's.
    pub(crate) fn set_service_policies(&mut self) {
        let reserved: Vec<(AliasName, KeyId)> = self
            .aliases
            .iter()
            .filter(|(name, _)| name.is_reserved())
            .map(|(name, alias)| (name.clone(), alias.target.clone()))
            .collect();
        for (name, id) in reserved {
            let policy = self.policy_of_service(&name);
            let is_to_set = |key: &Arc<KmsKey>| {
                key.manager == KeyManager::Aws && key.policy.text != policy.text
            };
            if self.keys.get(&id).is_some_and(is_to_set)
                && let Some(key) = self.key_mut(&id)
            {
                key.policy = policy;
            }
        }
    }
}

impl Kms {
    /// The filesystem's own service-managed key, made on first use.
    ///
    /// # Errors
    /// [`KmsError::Internal`] if it cannot be made.
    pub fn filesystem_key(&self) -> Result<KeyDescription, KmsError> {
        let key = KeyRef::new(AliasName::FILESYSTEM);
        self.ensure_service_key_named(&key)?;
        KeyService::describe_key(self, &key)
    }

    /// Rotates a service-managed key: the service's own right. Tells the new current material.
    ///
    /// # Errors
    /// [`KmsError::AccessDenied`] if no service manages the key, and [`KmsError`] by key and state.
    pub fn rotate_service_key(&self, alias: &AliasName) -> Result<MaterialId, KmsError> {
        self.ensure_service_key_named(&KeyRef::from(alias))?;
        let Some(id) = self.find_service_key(alias.as_str())? else {
            self.core.ring().resolve(alias.as_str(), NamedBy::Anything)?;
            let message = format!("{alias} is not managed by a service");
            return Err(KmsError::AccessDenied { message });
        };
        self.rotate_as_service(&id)
    }

    /// Makes the filesystem's own key if `key` is its alias and there is none.
    pub(crate) fn ensure_filesystem_key(&self, key: &KeyRef) -> Result<(), KmsError> {
        match key.as_str() == AliasName::FILESYSTEM {
            true => self.ensure_service_key_named(key),
            false => Ok(()),
        }
    }

    /// Makes the key of a service's alias unless there is one. Any other name is left alone.
    pub(crate) fn ensure_service_key_named(&self, key: &KeyRef) -> Result<(), KmsError> {
        let name = key.as_str();
        let alias = match name.split_once(":alias/") {
            Some((_, alias)) => format!("alias/{alias}"),
            None => name.to_owned(),
        };
        if !SERVICE_ALIASES.contains(&alias.as_str()) {
            return Ok(());
        }
        if name != alias && self.core.ring().alias_arn(&alias) != name {
            return Ok(());
        }
        if self.find_service_key(&alias)?.is_some() {
            return Ok(());
        }
        let params = as_map(json!({"aliasName": alias}));
        self.as_itself().change(Op::CreateKey, params, |draft| {
            let Some(name) = AliasName::parse(&alias) else { return Ok(()) };
            if draft.ring.aliases.contains_key(&name) {
                return Ok(());
            }
            let service = alias.trim_start_matches("alias/aws/");
            let next = draft.now.plus_days(PERIOD_DAYS);
            let policy = draft.ring.policy_of_service(&name);
            let key = draft.new_symmetric_key(KeyManager::Aws)?;
            key.policy = policy;
            key.description =
                format!("Default key that protects my {service} data when no other key is defined");
            key.rotation = Some(Rotation { period_days: PERIOD_DAYS, next });
            let id = key.id.clone();
            draft.put_alias(name, id)
        })
    }

    /// The service-managed key behind an alias.
    fn find_service_key(&self, alias: &str) -> Result<Option<KeyId>, KmsError> {
        let find = || {
            let ring = self.core.ring();
            let key = ring.resolve(alias, NamedBy::Anything).ok().cloned();
            key.filter(|key| key.manager == KeyManager::Aws).map(|key| key.id.clone())
        };
        match find() {
            None if self.refresh()? => Ok(find()),
            found => Ok(found),
        }
    }
}
