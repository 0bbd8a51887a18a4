//! Aliases.

use serde_json::json;

use crate::kms::{Kms, ListAliases};
use crate::wire::Answer;
use crate::wire::input::Input;
use crate::wire::output::{empty, page, time};

pub(super) fn create_alias(kms: &Kms, input: &Input<'_>) -> Answer {
    kms.create_alias(input.required_text("AliasName")?, &input.key("TargetKeyId")?)?;
    Ok(empty())
}

pub(super) fn update_alias(kms: &Kms, input: &Input<'_>) -> Answer {
    kms.update_alias(input.required_text("AliasName")?, &input.key("TargetKeyId")?)?;
    Ok(empty())
}

pub(super) fn delete_alias(kms: &Kms, input: &Input<'_>) -> Answer {
    kms.delete_alias(input.required_text("AliasName")?)?;
    Ok(empty())
}

pub(super) fn list_aliases(kms: &Kms, input: &Input<'_>) -> Answer {
    let request = ListAliases { key: input.optional_key("KeyId")?, page: input.page()? };
    let aliases = kms.list_aliases(&request)?;
    Ok(page("Aliases", &aliases, |alias| {
        json!({
            "AliasName": alias.name.as_str(),
            "AliasArn": alias.arn,
            "TargetKeyId": alias.target.as_str(),
            "CreationDate": time(alias.created),
            "LastUpdatedDate": time(alias.updated),
        })
    }))
}
