//! CreateAlias, UpdateAlias, DeleteAlias, ListAliases.

use serde_json::json;

use crate::kms::access::as_map;
use crate::kms::audit::UseParams;
use crate::kms::check::{Check, Form};
use crate::kms::page::PageSize;
use crate::kms::ring::{Alias, KeyRing, NamedBy};
use crate::kms::state::Op;
use crate::kms::view::Draft;
use crate::kms::{
    AliasName, EncryptionContext, KeyId, KeyRef, Kms, KmsError, Page, PageRequest, Timestamp,
};

/// Longest alias with its prefix, in characters.
const ALIAS_LEN_MAX: usize = 256;
/// Aliases of one key. AWS' quota.
const ALIASES_PER_KEY_MAX: usize = 50;
const ALIASES_PAGE: PageSize = PageSize { usual: 50, max: 100 };

/// Request of `ListAliases`.
#[derive(Clone, Debug, Default)]
pub struct ListAliases {
    /// Only those of this key, by id or ARN.
    pub key: Option<KeyRef>,
    /// Which part.
    pub page: PageRequest,
}

/// Entry of `ListAliases`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasEntry {
    /// The alias.
    pub name: AliasName,
    /// Its ARN.
    pub arn: String,
    /// The key it points to.
    pub target: KeyId,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last moved.
    pub updated: Timestamp,
}

impl Kms {
    /// `CreateAlias`.
    ///
    /// # Errors
    /// [`KmsError::AlreadyExists`], and [`KmsError`] by name, key and state.
    pub fn create_alias(&self, alias: &str, target: &KeyRef) -> Result<(), KmsError> {
        let params = alias_params(alias, Some(target));
        self.change(Op::CreateAlias, params, |draft| {
            check_fields(alias, Some(target))?;
            let name = parse_alias(alias)?;
            if name.is_reserved() {
                return Err(KmsError::NotAuthorized);
            }
            draft.allow_alias(alias)?;
            let id = draft.admit(target)?.id.clone();
            if draft.ring.aliases.contains_key(&name) {
                let arn = draft.ring.alias_arn(alias);
                return Err(KmsError::AlreadyExists {
                    message: format!("An alias with the name {arn} already exists"),
                });
            }
            draft.put_alias(name, id)
        })
    }

    /// `UpdateAlias`: points an alias to another key. The old key's state does not matter.
    ///
    /// # Errors
    /// [`KmsError::NotFound`], and [`KmsError`] by key and state.
    pub fn update_alias(&self, alias: &str, target: &KeyRef) -> Result<(), KmsError> {
        let params = alias_params(alias, Some(target));
        self.change(Op::UpdateAlias, params, |draft| {
            check_fields(alias, Some(target))?;
            let name = parse_alias(alias)?;
            draft.check_alias_is_free_to_move(&name)?;
            draft.allow_alias(alias)?;
            let key = draft.admit(target)?;
            let (id, spec, usage) = (key.id.clone(), key.spec, key.usage);
            let old = draft.ring.aliases.get(&name).map(|alias| alias.target.clone());
            if let Some(old) = &old {
                draft.allow(old)?;
            }
            let old = old.and_then(|id| draft.ring.keys.get(&id).map(|key| (key.spec, key.usage)));
            if old.is_some_and(|old| old != (spec, usage)) {
                return Err(KmsError::Validation {
                    message: format!("Alias {alias} cannot be moved to a key of another type."),
                });
            }
            draft.put_alias(name, id)
        })
    }

    /// `DeleteAlias`: the key stays as it is.
    ///
    /// # Errors
    /// [`KmsError::NotFound`].
    pub fn delete_alias(&self, alias: &str) -> Result<(), KmsError> {
        self.change(Op::DeleteAlias, alias_params(alias, None), |draft| {
            check_fields(alias, None)?;
            let name = parse_alias(alias)?;
            draft.check_alias_is_free_to_move(&name)?;
            if let Some(target) = draft.ring.aliases.get(&name).map(|alias| alias.target.clone()) {
                draft.touch(draft.ring.arn_of(&target));
                draft.allow_alias(alias)?;
                draft.allow(&target)?;
                draft.ring.aliases.remove(&name);
            }
            Ok(())
        })
    }

    /// `ListAliases`: all, or those of one key, sorted by name.
    ///
    /// # Errors
    /// [`KmsError::InvalidMarker`], and [`KmsError`] by key.
    pub fn list_aliases(&self, request: &ListAliases) -> Result<Page<AliasEntry>, KmsError> {
        let key = request.key.as_ref().map(KeyRef::as_str);
        let params = UseParams { key, ..UseParams::default() };
        self.using(Op::ListAliases, params, |view| {
            let named = request.key.as_ref().map_or("-", KeyRef::as_str);
            Check::default().key("keyId", named).finish()?;
            request.page.check()?;
            let only = match &request.key {
                Some(key) => {
                    let none = EncryptionContext::new();
                    Some(&view.admit(key.as_str(), NamedBy::IdOrArn, &none)?.id)
                }
                None => {
                    view.allow_everywhere()?;
                    None
                }
            };
            let ring: &KeyRing = view.ring;
            let chosen = ring.aliases.iter().filter(|(_, a)| only.is_none_or(|id| a.target == *id));
            let all = chosen.map(|(name, alias)| {
                let entry = AliasEntry {
                    name: name.clone(),
                    arn: ring.alias_arn(name.as_str()),
                    target: alias.target.clone(),
                    created: alias.created,
                    updated: alias.updated,
                };
                (name.as_str().to_owned(), entry)
            });
            request.page.cut(ALIASES_PAGE, all)
        })
    }
}

impl Draft<'_> {
    /// Points an alias to a key.
    pub(crate) fn put_alias(&mut self, name: AliasName, target: KeyId) -> Result<(), KmsError> {
        let aliases = &mut self.ring.aliases;
        let count = aliases.iter().filter(|(n, a)| a.target == target && **n != name).count();
        if count >= ALIASES_PER_KEY_MAX {
            return Err(KmsError::LimitExceeded {
                message: format!("Key {target} has {ALIASES_PER_KEY_MAX} aliases already."),
            });
        }
        let now = self.now;
        let alias = aliases.entry(name).or_insert_with(|| Alias {
            target: target.clone(),
            created: now,
            updated: now,
        });
        if alias.target != target {
            (alias.target, alias.updated) = (target, now);
        }
        Ok(())
    }

    /// The alias exists, and no service owns it.
    fn check_alias_is_free_to_move(&self, name: &AliasName) -> Result<(), KmsError> {
        if name.is_reserved() {
            return Err(KmsError::AccessDenied {
                message: format!("{name} belongs to a service and cannot be moved or deleted"),
            });
        }
        match self.ring.aliases.contains_key(name) {
            true => Ok(()),
            false => Err(self.ring.no_alias(name.as_str())),
        }
    }
}

fn alias_params(
    alias: &str,
    target: Option<&KeyRef>,
) -> serde_json::Map<String, serde_json::Value> {
    as_map(json!({"aliasName": alias, "targetKeyId": target.map(KeyRef::as_str)}))
}

fn check_fields(alias: &str, target: Option<&KeyRef>) -> Result<(), KmsError> {
    Check::default()
        .text("aliasName", alias, 1, ALIAS_LEN_MAX)
        .form("aliasName", alias, Form::NAME)
        .key("targetKeyId", target.map_or("-", KeyRef::as_str))
        .finish()
}

fn parse_alias(alias: &str) -> Result<AliasName, KmsError> {
    if !alias.starts_with("alias/") {
        return Err(KmsError::Validation {
            message: "Alias must start with the prefix \"alias/\". Please see \
                      https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
                .to_owned(),
        });
    }
    AliasName::parse(alias).ok_or_else(|| KmsError::InvalidAliasName {
        message: format!("{alias} is no name of an alias"),
    })
}
