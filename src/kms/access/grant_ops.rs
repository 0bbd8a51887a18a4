//! CreateGrant, ListGrants, ListRetirableGrants, RetireGrant, RevokeGrant.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use crate::codec::hex;
use crate::kms::access::{Grant, GrantConstraints, GrantOperation, Granting, as_map, is_forbidden};
use crate::kms::audit::UseParams;
use crate::kms::check::{Check, Form};
use crate::kms::key::KmsKey;
use crate::kms::page::PageSize;
use crate::kms::ring::{KeyRing, NamedBy};
use crate::kms::spec::KeySpec;
use crate::kms::state::Op;
use crate::kms::view::Draft;
use crate::kms::{
    EncryptionContext, KeyArn, KeyId, KeyRef, Kms, KmsError, Page, PageRequest, Principal,
    Timestamp,
};
use crate::random::random_array;

/// Grants of one key. AWS allows 50 000; ours lie in the key's row.
const GRANTS_MAX: usize = 1000;
/// Longest name of a principal and of a grant, in characters.
const NAME_LEN_MAX: usize = 256;
/// Longest grant id that a caller may send, in characters.
const GRANT_ID_LEN_MAX: usize = 128;
/// Longest grant token that a caller may send, in characters.
const TOKEN_LEN_MAX: usize = 8192;
/// Pairs of a constraint on the encryption context.
const CONSTRAINT_PAIRS_MAX: usize = 8;
/// Longest key, and longest value, of such a pair, in characters.
const CONSTRAINT_LEN_MAX: usize = 384;
/// Grant tokens of one request.
const TOKENS_MAX: usize = 10;
const GRANTS_PAGE: PageSize = PageSize { usual: 50, max: 100 };

/// Request of `CreateGrant`.
#[derive(Clone, Debug)]
pub struct CreateGrant {
    /// The key, by id or ARN.
    pub key: KeyRef,
    /// Who may: an ARN, or the name of a service.
    pub grantee: String,
    /// Who may retire it, besides the grantee.
    pub retiring: Option<String>,
    /// What, at least one.
    pub operations: Vec<GrantOperation>,
    /// The encryption context must be exactly this.
    pub context_equals: Option<EncryptionContext>,
    /// The encryption context must hold at least this.
    pub context_subset: Option<EncryptionContext>,
    /// The same request with the same name gives the same grant.
    pub name: Option<String>,
    /// Check everything and do nothing.
    pub dry_run: bool,
}

/// Answer of `CreateGrant`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedGrant {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Stands for the grant in `RetireGrant`.
    pub token: String,
}

/// Which grants to list.
#[derive(Clone, Debug)]
pub struct ListGrants {
    /// The key, by id or ARN.
    pub key: KeyRef,
    /// Only this one.
    pub id: Option<String>,
    /// Only those of this grantee.
    pub grantee: Option<String>,
}

/// Entry of `ListGrants` and `ListRetirableGrants`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantEntry {
    /// The key.
    pub key: KeyArn,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Name.
    pub name: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Who may.
    pub grantee: String,
    /// Who may retire it.
    pub retiring: Option<String>,
    /// Who has granted.
    pub issuer: String,
    /// What.
    pub operations: Vec<GrantOperation>,
    /// The encryption context must be exactly this.
    pub context_equals: Option<EncryptionContext>,
    /// The encryption context must hold at least this.
    pub context_subset: Option<EncryptionContext>,
}

/// Which grant to retire.
#[derive(Clone, Debug)]
pub enum RetireGrant {
    /// By its token.
    Token(String),
    /// By the key's ARN and its id.
    Id(KeyRef, String),
}

impl GrantEntry {
    fn of(key: &KmsKey, grant: &Grant) -> Self {
        Self {
            key: key.arn.clone(),
            id: grant.id.clone(),
            name: grant.name.clone(),
            created: grant.created,
            grantee: grant.grantee.clone(),
            retiring: grant.retiring.clone(),
            issuer: grant.issuer.clone(),
            operations: grant.operations.clone(),
            context_equals: grant.constraints.equals.clone(),
            context_subset: grant.constraints.subset.clone(),
        }
    }
}

impl Kms {
    /// `CreateGrant`: allows a principal some operations. In force at once.
    ///
    /// # Errors
    /// [`KmsError`], by request, key and state.
    pub fn create_grant(&self, request: &CreateGrant) -> Result<CreatedGrant, KmsError> {
        let names = |all: &[GrantOperation]| all.iter().map(|o| o.as_str()).collect::<Vec<_>>();
        let params = as_map(json!({
            "keyId": request.key.as_str(),
            "granteePrincipal": request.grantee,
            "retiringPrincipal": request.retiring,
            "operations": names(&request.operations),
            "name": request.name,
        }));
        self.change(Op::CreateGrant, params, |draft| {
            check_request(request)?;
            let operations = sorted(&request.operations);
            let (principal, now) = (draft.principal.clone(), draft.now);
            let random = Arc::clone(&draft.kms.options.random);
            let constraints = GrantConstraints {
                equals: request.context_equals.clone(),
                subset: request.context_subset.clone(),
            };
            let grantee = request.grantee.as_str();
            let granting = Granting { operations: &operations, constraints: &constraints, grantee };
            let key = draft.admit_granting(&request.key, granting)?;
            check_operations(key, request)?;
            if request.dry_run {
                return Err(KmsError::DryRunOperation);
            }
            let grant = Grant {
                id: hex(&random_array::<32>(&*random)),
                token: STANDARD.encode(random_array::<48>(&*random)),
                name: request.name.clone(),
                grantee: request.grantee.clone(),
                retiring: request.retiring.clone(),
                operations,
                constraints,
                issuer: Principal::root(principal.account()).name().to_owned(),
                created: now,
            };
            let known =
                key.grants.iter().find(|known| known.name.is_some() && is_same(known, &grant));
            let grant = match known {
                Some(known) => Arc::clone(known),
                None => {
                    if key.grants.len() >= GRANTS_MAX {
                        let message = format!("A key has at most {GRANTS_MAX} grants.");
                        return Err(KmsError::LimitExceeded { message });
                    }
                    let grant = Arc::new(grant);
                    key.grants.push(Arc::clone(&grant));
                    grant
                }
            };
            Ok(CreatedGrant { id: grant.id.clone(), token: grant.token.clone() })
        })
    }

    /// The check of `GrantTokens` that come with any request: each must be that of a grant there is.
    ///
    /// # Errors
    /// [`KmsError::InvalidGrantToken`]; [`KmsError::Validation`] for too many, or too long ones.
    pub fn check_grant_tokens(&self, tokens: &[String]) -> Result<(), KmsError> {
        if tokens.is_empty() {
            return Ok(());
        }
        if tokens.len() > TOKENS_MAX {
            let message = format!(
                "1 validation error detected: Value at 'grantTokens' failed to satisfy constraint: \
                 Member must have length less than or equal to {TOKENS_MAX}"
            );
            return Err(KmsError::Validation { message });
        }
        let mut check = Check::default();
        for token in tokens {
            check = check.text("grantTokens", token, 1, TOKEN_LEN_MAX);
        }
        check.finish()?;
        let are_known = || {
            let ring = self.core.ring();
            tokens.iter().all(|token| find_token(&ring, token).is_some())
        };
        match are_known() || self.refresh()? && are_known() {
            true => Ok(()),
            false => Err(invalid_token()),
        }
    }

    /// `ListGrants`: the grants of a key, sorted by id.
    ///
    /// # Errors
    /// [`KmsError::InvalidGrantId`] for an id that the key has not, and [`KmsError`] by key.
    pub fn list_grants(
        &self,
        request: &ListGrants,
        page: &PageRequest,
    ) -> Result<Page<GrantEntry>, KmsError> {
        self.using(Op::ListGrants, UseParams::of_key(request.key.as_str()), |view| {
            Check::default().key("keyId", request.key.as_str()).finish()?;
            page.check()?;
            let none = EncryptionContext::new();
            let key = view.admit(request.key.as_str(), NamedBy::IdOrArn, &none)?;
            if let Some(id) = &request.id
                && !key.grants.iter().any(|grant| grant.id == *id)
            {
                return Err(no_grant(id));
            }
            let wanted = |grant: &&Arc<Grant>| {
                request.id.as_ref().is_none_or(|id| grant.id == *id)
                    && request.grantee.as_ref().is_none_or(|grantee| grant.grantee == *grantee)
            };
            let found = key.grants.iter().filter(wanted);
            cut(page, found.map(|grant| GrantEntry::of(key, grant)))
        })
    }

    /// `ListRetirableGrants`: the grants that a principal may retire as their retiring principal.
    ///
    /// # Errors
    /// [`KmsError::AccessDenied`] if the caller is neither that principal nor the account root.
    pub fn list_retirable_grants(
        &self,
        retiring: &str,
        page: &PageRequest,
    ) -> Result<Page<GrantEntry>, KmsError> {
        self.using(Op::ListRetirableGrants, UseParams::default(), |view| {
            Check::default().text("retiringPrincipal", retiring, 1, NAME_LEN_MAX).finish()?;
            page.check()?;
            view.allow_everywhere()?;
            let caller = view.principal();
            if !caller.is_named(retiring) && !is_root(caller, &view.ring.account) {
                return Err(denied(caller, Op::ListRetirableGrants));
            }
            let entries = view.ring.keys.values().flat_map(|key| {
                let own = key.grants.iter().filter(|g| g.retiring.as_deref() == Some(retiring));
                own.map(|grant| GrantEntry::of(key, grant))
            });
            cut(page, entries)
        })
    }

    /// `RetireGrant`: gives a grant up, by who has it or was named to retire it.
    ///
    /// # Errors
    /// [`KmsError::InvalidGrantToken`], [`KmsError::InvalidGrantId`], [`KmsError::AccessDenied`].
    pub fn retire_grant(&self, which: &RetireGrant, dry_run: bool) -> Result<(), KmsError> {
        let params = match which {
            RetireGrant::Token(_) => json!({}),
            RetireGrant::Id(key, id) => json!({"keyId": key.as_str(), "grantId": id}),
        };
        self.change(Op::RetireGrant, as_map(params), |draft| {
            let (key, grant) = find_grant(draft, which)?;
            let caller = draft.principal;
            let may = grant.retiring.as_deref().is_some_and(|name| caller.is_named(name))
                || caller.is_named(&grant.grantee)
                    && grant.operations.contains(&GrantOperation::RetireGrant)
                || is_root(caller, &draft.ring.account);
            let is_denied = draft.ring.keys.get(&key);
            let is_denied = is_denied.is_some_and(|key| is_forbidden(&draft.asked(None), key));
            if !may || is_denied {
                return Err(denied(caller, Op::RetireGrant));
            }
            if dry_run {
                return Err(KmsError::DryRunOperation);
            }
            remove(draft, &key, &grant.id);
            Ok(())
        })
    }

    /// `RevokeGrant`: takes a grant back.
    ///
    /// # Errors
    /// [`KmsError::InvalidGrantId`], and [`KmsError`] by key.
    pub fn revoke_grant(&self, key: &KeyRef, id: &str, dry_run: bool) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": key.as_str(), "grantId": id}));
        self.change(Op::RevokeGrant, params, |draft| {
            Check::default()
                .key("keyId", key.as_str())
                .text("grantId", id, 1, GRANT_ID_LEN_MAX)
                .finish()?;
            let key = draft.admit(key)?;
            if !key.grants.iter().any(|grant| grant.id == id) {
                return Err(no_grant(id));
            }
            if dry_run {
                return Err(KmsError::DryRunOperation);
            }
            key.grants.retain(|grant| grant.id != id);
            Ok(())
        })
    }
}

fn cut(
    page: &PageRequest,
    entries: impl Iterator<Item = GrantEntry>,
) -> Result<Page<GrantEntry>, KmsError> {
    let mut sorted: Vec<(String, GrantEntry)> =
        entries.map(|entry| (entry.id.clone(), entry)).collect();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    page.cut(GRANTS_PAGE, sorted.into_iter())
}

fn check_request(request: &CreateGrant) -> Result<(), KmsError> {
    Check::default()
        .key("keyId", request.key.as_str())
        .text("granteePrincipal", &request.grantee, 1, NAME_LEN_MAX)
        .text("retiringPrincipal", request.retiring.as_deref().unwrap_or("-"), 1, NAME_LEN_MAX)
        .text("name", request.name.as_deref().unwrap_or("-"), 1, NAME_LEN_MAX)
        .form("granteePrincipal", &request.grantee, Form::PRINCIPAL)
        .form("retiringPrincipal", request.retiring.as_deref().unwrap_or("-"), Form::PRINCIPAL)
        .form("name", request.name.as_deref().unwrap_or("-"), Form::NAME)
        .finish()?;
    for name in std::iter::once(&request.grantee).chain(&request.retiring) {
        // A service is named by itself, all others by their ARNs.
        if !is_service(name) && Principal::from_arn(name).is_none() {
            return Err(KmsError::InvalidArn { message: format!("Invalid ARN {name}") });
        }
    }
    if request.operations.is_empty() {
        let message = "1 validation error detected: Value at 'operations' failed to satisfy \
                       constraint: Member must not be empty"
            .to_owned();
        return Err(KmsError::Validation { message });
    }
    Ok(())
}

/// Three labels or more with dots between them, such as `fs.kmsfs.internal`.
fn is_service(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').count() >= 3 && name.split('.').all(is_label)
}

/// Whether the key can do what is granted, under the constraints.
fn check_operations(key: &KmsKey, request: &CreateGrant) -> Result<(), KmsError> {
    let is_symmetric = key.spec == KeySpec::SymmetricDefault;
    match request.operations.iter().find(|operation| !operation.fits(key.usage, is_symmetric)) {
        Some(operation) => Err(KmsError::Validation {
            message: format!(
                "Operation {} is not valid for key {} of usage {} and spec {}.",
                operation.as_str(),
                key.arn,
                key.usage.as_str(),
                key.spec.as_str()
            ),
        }),
        None => check_constraints(key, request),
    }
}

/// Nothing but a symmetric key has contexts that could be constrained.
fn check_constraints(key: &KmsKey, request: &CreateGrant) -> Result<(), KmsError> {
    let refuse = |message: String| Err(KmsError::Validation { message });
    for context in [&request.context_equals, &request.context_subset].into_iter().flatten() {
        if key.spec != KeySpec::SymmetricDefault {
            return refuse(format!(
                "An encryption context cannot constrain a grant of key {} of spec {}.",
                key.arn,
                key.spec.as_str()
            ));
        }
        let is_long = |(key, value): (&str, &str)| {
            key.chars().count().max(value.chars().count()) > CONSTRAINT_LEN_MAX
        };
        if context.pairs().count() > CONSTRAINT_PAIRS_MAX || context.pairs().any(is_long) {
            return refuse(format!(
                "A constraint has at most {CONSTRAINT_PAIRS_MAX} pairs, each key and value of at \
                 most {CONSTRAINT_LEN_MAX} characters."
            ));
        }
    }
    Ok(())
}

fn sorted(operations: &[GrantOperation]) -> Vec<GrantOperation> {
    let mut sorted = operations.to_vec();
    sorted.sort();
    sorted.dedup();
    sorted
}

/// Whether a request asks for a grant that is there.
fn is_same(known: &Grant, wanted: &Grant) -> bool {
    known.name == wanted.name
        && known.grantee == wanted.grantee
        && known.retiring == wanted.retiring
        && known.operations == wanted.operations
        && known.constraints == wanted.constraints
}

fn find_grant(draft: &mut Draft<'_>, which: &RetireGrant) -> Result<(KeyId, Arc<Grant>), KmsError> {
    let (key, grant) = match which {
        RetireGrant::Token(token) => {
            Check::default().text("grantToken", token, 1, TOKEN_LEN_MAX).finish()?;
            let (key, grant) = find_token(&draft.ring, token).ok_or_else(invalid_token)?;
            (Arc::clone(key), Arc::clone(grant))
        }
        RetireGrant::Id(key, id) => {
            Check::default()
                .key("keyId", key.as_str())
                .text("grantId", id, 1, GRANT_ID_LEN_MAX)
                .finish()?;
            let key = Arc::clone(draft.ring.resolve(key.as_str(), NamedBy::IdOrArn)?);
            let grant = key.grants.iter().find(|grant| grant.id == *id).cloned();
            (key, grant.ok_or_else(|| no_grant(id))?)
        }
    };
    draft.touch(key.arn.clone());
    Ok((key.id.clone(), grant))
}

/// The grant that a token stands for, and its key.
fn find_token<'a>(ring: &'a KeyRing, token: &str) -> Option<(&'a Arc<KmsKey>, &'a Arc<Grant>)> {
    let mut all = ring.keys.values().flat_map(|key| key.grants.iter().map(move |g| (key, g)));
    all.find(|(_, grant)| bool::from(grant.token.as_bytes().ct_eq(token.as_bytes())))
}

fn invalid_token() -> KmsError {
    KmsError::InvalidGrantToken { message: "Invalid grant token.".to_owned() }
}

fn remove(draft: &mut Draft<'_>, key: &KeyId, id: &str) {
    if let Some(key) = draft.ring.key_mut(key) {
        key.grants.retain(|grant| grant.id != id);
    }
}

fn is_root(principal: &Principal, account: &str) -> bool {
    principal.name() == Principal::root(account).name()
}

fn denied(principal: &Principal, op: Op) -> KmsError {
    KmsError::AccessDenied {
        message: format!(
            "User: {} is not authorized to perform: kms:{}",
            principal.name(),
            op.name()
        ),
    }
}

fn no_grant(id: &str) -> KmsError {
    KmsError::InvalidGrantId { message: format!("Grant ID {id} not found") }
}
