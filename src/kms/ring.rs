//! The key ring: all keys and aliases of one Region as plain data. No locks, no I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kms::key::KmsKey;
use crate::kms::time::Timestamp;
use crate::kms::{AliasName, KeyArn, KeyId, KeyState, KmsError, KnownVolume, MaterialId};

/// All keys and aliases. A clone shares the keys with its original.
#[derive(Clone, Debug)]
pub struct KeyRing {
    /// The Region.
    pub region: String,
    /// The account, 12 digits.
    pub account: String,
    /// The keys.
    pub keys: BTreeMap<KeyId, Arc<KmsKey>>,
    /// The aliases.
    pub aliases: BTreeMap<AliasName, Alias>,
    /// A time that was believed: the clock does not count below it.
    pub noted: Timestamp,
    /// Slots of the root key, by id; sealed.
    pub slots: BTreeMap<String, Vec<u8>>,
    /// Volumes that use the keys, by id.
    pub volumes: BTreeMap<String, Arc<KnownVolume>>,
}

/// Where an alias points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The key.
    pub target: KeyId,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last moved.
    pub updated: Timestamp,
}

/// What a caller may name a key by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// Id, ARN, alias name, alias ARN: uses of keys and `DescribeKey`.
    Anything,
    /// Id and ARN only: management.
    IdOrArn,
}

/// A committed change of one key, for [`crate::kms::Kms::on_change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The key.
    pub arn: KeyArn,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was made.
    Created,
    /// It was destroyed.
    Deleted,
    /// Its state changed: enabled, disabled, deletion scheduled or cancelled.
    State {
        /// The state before.
        from: KeyState,
        /// The state now.
        to: KeyState,
    },
    /// Its current material changed.
    Rotated {
        /// The material that wraps now.
        material: MaterialId,
    },
    /// Its policy or its grants changed.
    Access,
    /// A material was revoked, taken back, or destroyed.
    Materials,
    /// An alias points to it that did not before.
    AliasMoved {
        /// The alias.
        alias: AliasName,
    },
    /// An alias no longer points to it, nor to any other key.
    AliasDeleted {
        /// The alias.
        alias: AliasName,
    },
}

impl KeyRing {
    /// A ring without keys.
    pub fn new(region: &str, account: &str) -> Self {
        Self {
            region: region.to_owned(),
            account: account.to_owned(),
            keys: BTreeMap::new(),
            aliases: BTreeMap::new(),
            noted: Timestamp(0),
            slots: BTreeMap::new(),
            volumes: BTreeMap::new(),
        }
    }

    /// ARN of a key of this ring.
    pub fn arn_of(&self, id: &KeyId) -> KeyArn {
        KeyArn::new(&self.region, &self.account, id)
    }

    /// ARN of an alias of this ring.
    pub fn alias_arn(&self, alias: &str) -> String {
        format!("arn:aws:kms:{}:{}:{alias}", self.region, self.account)
    }

    /// The key that a caller names.
    ///
    /// # Errors
    /// [`KmsError::NotFound`] and [`KmsError::InvalidArn`], in AWS' words.
    pub fn resolve(&self, name: &str, by: NamedBy) -> Result<&Arc<KmsKey>, KmsError> {
        let resource = match name.strip_prefix("arn:") {
            Some(rest) => self.own_resource(name, rest)?,
            None => name,
        };
        if resource.starts_with("alias/") && by == NamedBy::Anything {
            return self.resolve_alias(resource);
        }
        let id = if resource.len() == name.len() {
            resource
        } else {
            resource.strip_prefix("key/").ok_or_else(|| invalid_arn(name))?
        };
        if let Some(key) = self.keys.get(id) {
            return Ok(key);
        }
        let message = match KeyId::parse(id) {
            Some(id) => format!("Key '{}' does not exist", self.arn_of(&id)),
            None => format!("Invalid keyId '{id}'"),
        };
        Err(KmsError::NotFound { message })
    }

    /// The key that an alias points to.
    fn resolve_alias(&self, alias: &str) -> Result<&Arc<KmsKey>, KmsError> {
        let target = self.aliases.get(alias).and_then(|alias| self.keys.get(&alias.target));
        target.ok_or_else(|| self.no_alias(alias))
    }

    /// The error for an alias that does not exist.
    pub fn no_alias(&self, alias: &str) -> KmsError {
        KmsError::NotFound { message: format!("Alias {} is not found.", self.alias_arn(alias)) }
    }

    /// `key/...` or `alias/...` of an ARN of this Region and account.
    fn own_resource<'a>(&self, arn: &str, rest: &'a str) -> Result<&'a str, KmsError> {
        let own = rest.strip_prefix("aws:kms:").and_then(|rest| {
            let rest = rest.strip_prefix(self.region.as_str())?.strip_prefix(':')?;
            rest.strip_prefix(self.account.as_str())?.strip_prefix(':')
        });
        if let Some(resource) = own {
            return Ok(resource);
        }
        let mut parts = rest.splitn(5, ':');
        let (Some(partition), Some(service), Some(region), Some(account), Some(resource)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid_arn(arn));
        };
        if !partition.starts_with("aws") || service != "kms" {
            return Err(invalid_arn(arn));
        }
        if region != self.region {
            return Err(KmsError::NotFound { message: format!("Invalid arn {region}") });
        }
        if account != self.account {
            return Err(KmsError::NotFound { message: format!("Invalid arn {arn}") });
        }
        Ok(resource)
    }

    /// A key to edit; what other rings share stays as it is.
    pub fn key_mut(&mut self, id: &KeyId) -> Option<&mut KmsKey> {
        self.keys.get_mut(id).map(Arc::make_mut)
    }

    /// Destroys a key: its materials and aliases go with it.
    pub fn remove_key(&mut self, id: &KeyId) {
        self.keys.remove(id);
        self.aliases.retain(|_, alias| alias.target != *id);
    }

    /// What happened from `before` to `self`.
    pub fn changes_since(&self, before: &Self) -> Vec<KeyChange> {
        let mut changes = Vec::new();
        for (id, key) in &self.keys {
            let mut push = |kind| changes.push(KeyChange { arn: key.arn.clone(), kind });
            let Some(old) = before.keys.get(id) else {
                push(ChangeKind::Created);
                continue;
            };
            if Arc::ptr_eq(old, key) {
                continue;
            }
            if old.state != key.state {
                push(ChangeKind::State { from: old.state, to: key.state });
            }
            if old.policy.text != key.policy.text || old.grants != key.grants {
                push(ChangeKind::Access);
            }
            let refused_from = |key: &KmsKey, other: &KmsKey| {
                key.materials.iter().any(|material| {
                    let found = other.find_material(&material.id);
                    found.is_none_or(|found| found.revoked != material.revoked)
                })
            };
            if refused_from(old, key) {
                push(ChangeKind::Materials);
            }
            let current = key.current_material().map(|material| material.id);
            if let Some(material) = current
                && old.current_material().map(|material| material.id) != current
            {
                push(ChangeKind::Rotated { material });
            }
        }
        for (id, key) in &before.keys {
            if !self.keys.contains_key(id) {
                changes.push(KeyChange { arn: key.arn.clone(), kind: ChangeKind::Deleted });
            }
        }
        self.alias_changes_since(before, &mut changes);
        changes
    }

    fn alias_changes_since(&self, before: &Self, changes: &mut Vec<KeyChange>) {
        for (name, alias) in &self.aliases {
            let moved = before.aliases.get(name).is_none_or(|old| old.target != alias.target);
            if let Some(key) = self.keys.get(&alias.target).filter(|_| moved) {
                let kind = ChangeKind::AliasMoved { alias: name.clone() };
                changes.push(KeyChange { arn: key.arn.clone(), kind });
            }
        }
        for (name, alias) in &before.aliases {
            if let Some(key) = before.keys.get(&alias.target)
                && !self.aliases.contains_key(name)
            {
                let kind = ChangeKind::AliasDeleted { alias: name.clone() };
                changes.push(KeyChange { arn: key.arn.clone(), kind });
            }
        }
    }
}

fn invalid_arn(arn: &str) -> KmsError {
    KmsError::InvalidArn { message: format!("Invalid arn {arn}") }
}
