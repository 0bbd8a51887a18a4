//! The decision: a call in, yes or no out.

use crate::kms::access::GrantConstraints;
use crate::kms::access::document::{KeyPolicy, Principals, Statement};
use crate::kms::access::facts::{Asked, Call};
use crate::kms::key::KmsKey;
use crate::kms::principal::PrincipalKind;
use crate::kms::spec::KeyManager;
use crate::kms::state::Op;
use crate::kms::{GrantOperation, KmsError, Principal};

/// A grant that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granting<'a> {
    /// What it allows.
    pub(crate) operations: &'a [GrantOperation],
    /// With which contexts.
    pub(crate) constraints: &'a GrantConstraints,
    /// To whom.
    pub(crate) grantee: &'a str,
}

/// Whether this may be done with this key. The one place that decides.
///
/// # Errors
/// [`KmsError::AccessDenied`].
pub(crate) fn authorize(asked: &Asked<'_>, key: &KmsKey) -> Result<(), KmsError> {
    let (caller, arn) = (asked.principal, key.arn.as_str());
    // A service rotates the keys that it manages, and sees to their materials: its own business.
    let is_own = key.manager == KeyManager::Aws
        && (asked.op == Op::RotateKey && caller.kind() == PrincipalKind::Service
            || asked.op.is_of_materials() && caller.name() == Principal::FILESYSTEM);
    if caller.name() == Principal::KMS || is_own {
        return Ok(());
    }
    let call = Call { asked, key: Some(key) };
    let (said, own) = (of_key(&call, key, &key.policy), of_identity(&call, arn));
    // To another account's principal, both must say yes.
    let said = match (said, caller.account() == key.arn.account()) {
        (Said::Yes, false) => Said::IfIdentity,
        (said, _) => said,
    };
    let why = match (said, own) {
        (Said::No, _) => "with an explicit deny in a resource-based policy",
        (_, Said::No) => "with an explicit deny in an identity-based policy",
        (Said::Yes, _) | (Said::IfIdentity, Said::Yes) => return Ok(()),
        _ if key.grants.iter().any(|grant| grant.allows(asked)) => return Ok(()),
        (Said::IfIdentity, _) => return Err(unsaid(asked, arn, "identity")),
        (Said::Nothing, _) => return Err(unsaid(asked, arn, "resource")),
    };
    Err(denied(asked, arn, why))
}

/// Whether the caller's own policy lets him do this with what is no key: an alias, or all keys. A
/// principal without one may.
///
/// # Errors
/// [`KmsError::AccessDenied`].
pub(crate) fn authorize_identity(asked: &Asked<'_>, resource: &str) -> Result<(), KmsError> {
    match of_identity(&Call { asked, key: None }, resource) {
        Said::Yes => Ok(()),
        Said::No => {
            Err(denied(asked, resource, "with an explicit deny in an identity-based policy"))
        }
        Said::IfIdentity | Said::Nothing => Err(unsaid(asked, resource, "identity")),
    }
}

/// Whether a policy forbids this, whatever else allows it.
pub(crate) fn is_forbidden(asked: &Asked<'_>, key: &KmsKey) -> bool {
    let call = Call { asked, key: Some(key) };
    of_key(&call, key, &key.policy) == Said::No || of_identity(&call, key.arn.as_str()) == Said::No
}

/// Whether the caller could put another policy in the place of this one.
pub(crate) fn keeps_control(asked: &Asked<'_>, key: &KmsKey, policy: &KeyPolicy) -> bool {
    let call = Call { asked, key: Some(key) };
    let said = of_key(&call, key, policy);
    asked.principal.name() == Principal::KMS
        || said == Said::Yes
        || said == Said::IfIdentity && of_identity(&call, key.arn.as_str()) == Said::Yes
}

fn denied(asked: &Asked<'_>, resource: &str, why: &str) -> KmsError {
    let (who, action) = (asked.principal.name(), asked.action.in_full());
    KmsError::AccessDenied {
        message: format!(
            "User: {who} is not authorized to perform: {action} on resource: {resource} {why}"
        ),
    }
}

/// The error where no policy of a kind says anything.
fn unsaid(asked: &Asked<'_>, resource: &str, kind: &str) -> KmsError {
    let action = asked.action.in_full();
    let why = format!("because no {kind}-based policy allows the {action} action");
    denied(asked, resource, &why)
}

/// What policies say to a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    No,
    Yes,
    /// Yes, to whom the account lets: to a principal whose own policy says yes.
    IfIdentity,
    Nothing,
}

/// What a key policy says.
fn of_key(call: &Call<'_>, key: &KmsKey, policy: &KeyPolicy) -> Said {
    let (asked, arn) = (call.asked, key.arn.as_str());
    let mut said = Said::Nothing;
    for statement in policy.statements.iter() {
        let then = match naming(statement, asked.principal) {
            Naming::Not => continue,
            Naming::Caller => Said::Yes,
            Naming::Account => Said::IfIdentity,
        };
        let adds = statement.is_deny || said == Said::Nothing || then == Said::Yes;
        if adds && statement.applies(asked.action, arn, call) {
            if statement.is_deny {
                return Said::No;
            }
            said = then;
        }
    }
    said
}

/// What the caller's own policy says; without one he may do whatever his account may.
fn of_identity(call: &Call<'_>, resource: &str) -> Said {
    let Some(policy) = call.asked.principal.policy() else { return Said::Yes };
    let applies = |statement: &&Statement| statement.applies(call.asked.action, resource, call);
    let mut applying = policy.statements.iter().filter(applies).peekable();
    match (applying.peek().is_some(), applying.any(|statement| statement.is_deny)) {
        (_, true) => Said::No,
        (true, false) => Said::Yes,
        (false, false) => Said::Nothing,
    }
}

/// How a statement names the caller.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Naming {
    Not,
    /// As one of an account: by the account's number or its root's ARN.
    Account,
    Caller,
}

/// The account stands for all its principals, as far as their own policies let them. Not so where a
/// Deny spares it: there it stands for the root alone, or the usual "everybody but ann and the root"
/// would deny nobody.
fn naming(statement: &Statement, caller: &Principal) -> Naming {
    let found = found_in(&statement.principals, caller);
    match (statement.other_principals, found) {
        (false, found) => found,
        (true, Naming::Not) => Naming::Caller,
        (true, Naming::Account) if statement.is_deny => Naming::Caller,
        (true, _) => Naming::Not,
    }
}

fn found_in(principals: &Principals, caller: &Principal) -> Naming {
    let is_service = caller.kind() == PrincipalKind::Service;
    let is_caller = |name: &String| caller.is_named(name);
    let is_account = |name: &String| {
        name == caller.account()
            || name.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root"))
                == Some(caller.account())
    };
    if principals.everyone
        || principals.aws.iter().any(is_caller)
        || is_service && principals.services.iter().any(|name| name == caller.name())
    {
        return Naming::Caller;
    }
    match (principals.aws.iter().any(is_account), caller.kind()) {
        (true, PrincipalKind::Root) => Naming::Caller,
        (true, _) => Naming::Account,
        (false, _) => Naming::Not,
    }
}
