//! Rotation.

use serde_json::json;

use crate::kms::{ExpirationModel, ImportedEntry, IncludeKeyMaterial, Kms};
use crate::wire::Answer;
use crate::wire::input::Input;
use crate::wire::output::{empty, output, page, time};

pub(super) fn enable_key_rotation(kms: &Kms, input: &Input<'_>) -> Answer {
    let period = input.number("RotationPeriodInDays")?;
    kms.enable_key_rotation(&input.key("KeyId")?, period)?;
    Ok(empty())
}

pub(super) fn disable_key_rotation(kms: &Kms, input: &Input<'_>) -> Answer {
    kms.disable_key_rotation(&input.key("KeyId")?)?;
    Ok(empty())
}

pub(super) fn get_key_rotation_status(kms: &Kms, input: &Input<'_>) -> Answer {
    let status = kms.get_key_rotation_status(&input.key("KeyId")?)?;
    Ok(output(json!({
        "KeyRotationEnabled": status.rotation.is_some(),
        "KeyId": status.key.as_str(),
        "RotationPeriodInDays": status.rotation.map(|rotation| rotation.period_days),
        "NextRotationDate": status.rotation.map(|rotation| time(rotation.next)),
    })))
}

pub(super) fn rotate_key_on_demand(kms: &Kms, input: &Input<'_>) -> Answer {
    let key = kms.rotate_key_on_demand(&input.key("KeyId")?)?;
    Ok(json!({"KeyId": key.as_str()}))
}

pub(super) fn list_key_rotations(kms: &Kms, input: &Input<'_>) -> Answer {
    let include =
        input.choice("IncludeKeyMaterial", IncludeKeyMaterial::ALL, IncludeKeyMaterial::as_str)?;
    let include = include.unwrap_or(IncludeKeyMaterial::RotationsOnly);
    let rotations = kms.list_key_rotations(&input.key("KeyId")?, include, &input.page()?)?;
    Ok(page("Rotations", &rotations, |entry| {
        let import = entry.import.as_ref();
        output(json!({
            "KeyId": entry.key.as_str(),
            "KeyMaterialId": entry.material.to_string(),
            "KeyMaterialDescription": import.and_then(|import| import.description.as_deref()),
            "ImportState": import.map(|import| match import.is_here {
                true => "IMPORTED",
                false => "PENDING_IMPORT",
            }),
            "KeyMaterialState": entry.state.as_str(),
            "ExpirationModel": import.filter(|import| import.is_here).map(expiration_model),
            "ValidTo": import.and_then(|import| import.expires).map(time),
            "RotationDate": entry.date.map(time),
            "RotationType": entry.rotation.map(|rotation| rotation.as_str()),
        }))
    }))
}

fn expiration_model(import: &ImportedEntry) -> &'static str {
    match import.expires {
        Some(_) => ExpirationModel::Expires.as_str(),
        None => ExpirationModel::DoesNotExpire.as_str(),
    }
}
