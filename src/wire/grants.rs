//! Grants.

use serde_json::{Value, json};

use crate::kms::{
    CreateGrant, EncryptionContext, GrantEntry, GrantOperation, Kms, ListGrants, RetireGrant,
};
use crate::wire::Answer;
use crate::wire::input::{Input, InputError, required};
use crate::wire::output::{empty, output, page, time};

pub(super) fn create_grant(kms: &Kms, input: &Input<'_>) -> Answer {
    let constraints = match input.member("Constraints") {
        Some(value) => Some(Input::new(constraints_of(value)?)?),
        None => None,
    };
    let context = |name: &str| match &constraints {
        Some(constraints) if constraints.has(name) => constraints.context(name).map(Some),
        _ => Ok(None),
    };
    let grantee = either(input, "GranteePrincipal", "GranteeServicePrincipal")?;
    let operations = input.texts("Operations")?.ok_or_else(|| required("Operations"))?;
    let made = kms.create_grant(&CreateGrant {
        key: input.key("KeyId")?,
        grantee: grantee.ok_or_else(|| required("GranteePrincipal"))?,
        retiring: either(input, "RetiringPrincipal", "RetiringServicePrincipal")?,
        operations: operations.iter().map(|name| operation(name)).collect::<Result<_, _>>()?,
        context_equals: context("EncryptionContextEquals")?,
        context_subset: context("EncryptionContextSubset")?,
        name: input.text("Name")?.map(str::to_owned),
        dry_run: input.flag("DryRun")?,
    })?;
    Ok(json!({"GrantToken": made.token, "GrantId": made.id}))
}

/// What is not understood must not be left out: the grant would allow more than was meant.
fn constraints_of(value: &Value) -> Result<&Value, InputError> {
    const KNOWN: [&str; 2] = ["EncryptionContextEquals", "EncryptionContextSubset"];
    let unknown = |map: &serde_json::Map<String, Value>| {
        map.keys().find(|name| !KNOWN.contains(&name.as_str())).cloned()
    };
    match value.as_object().and_then(unknown) {
        Some(name) => {
            Err(InputError::unsupported(&format!("Constraint {name} is not offered yet.")))
        }
        None => Ok(value),
    }
}

/// One of two members that exclude each other.
fn either(input: &Input<'_>, name: &str, other: &str) -> Result<Option<String>, InputError> {
    match (input.text(name)?, input.text(other)?) {
        (Some(_), Some(_)) => {
            Err(InputError::validation(format!("{name} and {other} cannot both be given.")))
        }
        (one, two) => Ok(one.or(two).map(str::to_owned)),
    }
}

fn operation(name: &str) -> Result<GrantOperation, InputError> {
    GrantOperation::parse(name).ok_or_else(|| {
        let all: Vec<&str> = GrantOperation::ALL.iter().map(|o| o.as_str()).collect();
        InputError::not_among("Operations", name, &all)
    })
}

pub(super) fn list_grants(kms: &Kms, input: &Input<'_>) -> Answer {
    let request = ListGrants {
        key: input.key("KeyId")?,
        id: input.text("GrantId")?.map(str::to_owned),
        grantee: either(input, "GranteePrincipal", "GranteeServicePrincipal")?,
    };
    Ok(page("Grants", &kms.list_grants(&request, &input.page()?)?, entry))
}

pub(super) fn list_retirable_grants(kms: &Kms, input: &Input<'_>) -> Answer {
    let retiring = either(input, "RetiringPrincipal", "RetiringServicePrincipal")?;
    let retiring = retiring.ok_or_else(|| required("RetiringPrincipal"))?;
    Ok(page("Grants", &kms.list_retirable_grants(&retiring, &input.page()?)?, entry))
}

pub(super) fn retire_grant(kms: &Kms, input: &Input<'_>) -> Answer {
    let which = match (input.text("GrantToken")?, input.text("GrantId")?) {
        (Some(token), None) => RetireGrant::Token(token.to_owned()),
        (None, Some(id)) => RetireGrant::Id(input.key("KeyId")?, id.to_owned()),
        (Some(_), Some(_)) | (None, None) => {
            let message = "Either GrantToken, or KeyId and GrantId must be given.";
            return Err(InputError::validation(message.to_owned()).into());
        }
    };
    kms.retire_grant(&which, input.flag("DryRun")?)?;
    Ok(empty())
}

pub(super) fn revoke_grant(kms: &Kms, input: &Input<'_>) -> Answer {
    let id = input.required_text("GrantId")?;
    kms.revoke_grant(&input.key("KeyId")?, id, input.flag("DryRun")?)?;
    Ok(empty())
}

fn entry(grant: &GrantEntry) -> Value {
    let context = |context: &EncryptionContext| {
        Value::Object(
            context.pairs().map(|(key, value)| (key.to_owned(), Value::from(value))).collect(),
        )
    };
    let constraints = output(json!({
        "EncryptionContextEquals": grant.context_equals.as_ref().map(context),
        "EncryptionContextSubset": grant.context_subset.as_ref().map(context),
    }));
    let operations: Vec<&str> = grant.operations.iter().map(|o| o.as_str()).collect();
    output(json!({
        "KeyId": grant.key.as_str(),
        "GrantId": grant.id,
        "Name": grant.name.as_deref().unwrap_or_default(),
        "CreationDate": time(grant.created),
        "GranteePrincipal": grant.grantee,
        "RetiringPrincipal": grant.retiring,
        "IssuingAccount": grant.issuer,
        "Operations": operations,
        "Constraints": constraints.as_object().filter(|map| !map.is_empty()),
    }))
}
