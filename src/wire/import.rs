//! Imported material.

use serde_json::{Value, json};

use crate::kms::{
    ExpirationModel, ImportKeyMaterial, ImportType, KeySpec, Kms, MaterialId, WrappingAlgorithm,
};
use crate::wire::Answer;
use crate::wire::input::{Input, InputError, required};
use crate::wire::output::{blob, output, time};

/// The specs of a wrapping key, in the order of AWS' model.
const WRAPPING_SPECS: &[KeySpec] =
    &[KeySpec::Rsa2048, KeySpec::Rsa3072, KeySpec::Rsa4096, KeySpec::Sm2];

pub(super) fn get_parameters_for_import(kms: &Kms, input: &Input<'_>) -> Answer {
    let algorithm =
        input.choice("WrappingAlgorithm", WrappingAlgorithm::ALL, WrappingAlgorithm::as_str)?;
    let spec = input.choice("WrappingKeySpec", WRAPPING_SPECS, KeySpec::as_str)?;
    let answer = kms.get_parameters_for_import(
        &input.key("KeyId")?,
        algorithm.ok_or_else(|| required("WrappingAlgorithm"))?,
        spec.ok_or_else(|| required("WrappingKeySpec"))?,
    )?;
    Ok(json!({
        "KeyId": answer.key.as_str(),
        "ImportToken": blob(&answer.token),
        "PublicKey": blob(&answer.public_key),
        "ParametersValidTo": time(answer.valid_to),
    }))
}

pub(super) fn import_key_material(kms: &Kms, input: &Input<'_>) -> Answer {
    let (key, material) = kms.import_key_material(&ImportKeyMaterial {
        key: input.key("KeyId")?,
        token: input.required_blob("ImportToken")?,
        wrapped: input.required_blob("EncryptedKeyMaterial")?,
        valid_to: input.time("ValidTo")?,
        model: input.choice("ExpirationModel", ExpirationModel::ALL, ExpirationModel::as_str)?,
        import_type: input.choice("ImportType", ImportType::ALL, ImportType::as_str)?,
        description: input.text("KeyMaterialDescription")?.map(str::to_owned),
        material: material(input)?,
    })?;
    Ok(json!({"KeyId": key.as_str(), "KeyMaterialId": material.to_string()}))
}

pub(super) fn delete_imported_key_material(kms: &Kms, input: &Input<'_>) -> Answer {
    let (key, material) =
        kms.delete_imported_key_material(&input.key("KeyId")?, material(input)?)?;
    let material = material.map_or(Value::Null, |material| Value::from(material.to_string()));
    Ok(output(json!({"KeyId": key.as_str(), "KeyMaterialId": material})))
}

/// `KeyMaterialId`: 64 hexadecimal digits.
fn material(input: &Input<'_>) -> Result<Option<MaterialId>, InputError> {
    let Some(text) = input.text("KeyMaterialId")? else { return Ok(None) };
    MaterialId::parse(text).map(Some).ok_or_else(|| {
        InputError::validation(format!(
            "1 validation error detected: Value '{text}' at 'keyMaterialId' failed to satisfy \
             constraint: Member must satisfy regular expression pattern: ^[a-f0-9]+$"
        ))
    })
}
