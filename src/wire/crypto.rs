//! Uses of keys.

use serde_json::{Value, json};

use crate::kms::{
    CiphertextBlob, DataKeyLen, DataKeySpec, Decrypt, DryRun, Encrypt, EncryptionAlgorithm,
    GenerateDataKey, GeneratedDataKey, Kms, ReEncrypt,
};
use crate::secret::SecretBytes;
use crate::wire::Answer;
use crate::wire::input::{Input, InputError};
use crate::wire::output::{blob, output, secret};

pub(super) fn encrypt(kms: &Kms, input: &Input<'_>) -> Answer {
    let answer = kms.encrypt(&Encrypt {
        key: input.key("KeyId")?,
        plaintext: SecretBytes::new(input.required_blob("Plaintext")?),
        context: input.context("EncryptionContext")?,
        algorithm: algorithm(input, "EncryptionAlgorithm")?,
        dry_run: input.flag("DryRun")?,
    })?;
    Ok(json!({
        "CiphertextBlob": blob(&answer.blob.0),
        "KeyId": answer.key.as_str(),
        "EncryptionAlgorithm": answer.algorithm.as_str(),
    }))
}

pub(super) fn decrypt(kms: &Kms, input: &Input<'_>) -> Answer {
    refuse_recipient(input)?;
    let dry_run = dry_run(input)?;
    let answer = kms.decrypt(&Decrypt {
        blob: ciphertext(input, dry_run)?,
        key: input.optional_key("KeyId")?,
        context: input.context("EncryptionContext")?,
        algorithm: algorithm(input, "EncryptionAlgorithm")?,
        dry_run,
    })?;
    Ok(output(json!({
        "KeyId": answer.key.as_str(),
        "Plaintext": secret(&answer.plaintext),
        "EncryptionAlgorithm": answer.algorithm.as_str(),
        "KeyMaterialId": answer.material.map(|material| material.to_string()),
    })))
}

pub(super) fn re_encrypt(kms: &Kms, input: &Input<'_>) -> Answer {
    let dry_run = dry_run(input)?;
    let answer = kms.re_encrypt(&ReEncrypt {
        blob: ciphertext(input, dry_run)?,
        source_key: input.optional_key("SourceKeyId")?,
        source_context: input.context("SourceEncryptionContext")?,
        source_algorithm: algorithm(input, "SourceEncryptionAlgorithm")?,
        destination_key: input.key("DestinationKeyId")?,
        destination_context: input.context("DestinationEncryptionContext")?,
        destination_algorithm: algorithm(input, "DestinationEncryptionAlgorithm")?,
        dry_run,
    })?;
    Ok(output(json!({
        "CiphertextBlob": blob(&answer.blob.0),
        "SourceKeyId": answer.source_key.as_str(),
        "KeyId": answer.key.as_str(),
        "SourceEncryptionAlgorithm": answer.source_algorithm.as_str(),
        "DestinationEncryptionAlgorithm": answer.algorithm.as_str(),
        "SourceKeyMaterialId": answer.source_material.map(|material| material.to_string()),
        "DestinationKeyMaterialId": answer.material.map(|material| material.to_string()),
    })))
}

/// `DryRun`, and `DryRunModifiers`, which count only with it.
fn dry_run(input: &Input<'_>) -> Result<DryRun, InputError> {
    const IGNORE_CIPHERTEXT: &str = "IGNORE_CIPHERTEXT";
    let modifiers = input.texts("DryRunModifiers")?.unwrap_or_default();
    if let Some(other) = modifiers.iter().find(|modifier| *modifier != IGNORE_CIPHERTEXT) {
        return Err(InputError::not_among("DryRunModifiers", other, &[IGNORE_CIPHERTEXT]));
    }
    Ok(match (input.flag("DryRun")?, modifiers.is_empty()) {
        (false, _) => DryRun::Off,
        (true, true) => DryRun::On,
        (true, false) => DryRun::IgnoreCiphertext,
    })
}

fn ciphertext(input: &Input<'_>, dry_run: DryRun) -> Result<CiphertextBlob, InputError> {
    match dry_run {
        DryRun::IgnoreCiphertext => Ok(CiphertextBlob(Vec::new())),
        DryRun::Off | DryRun::On => input.required_blob("CiphertextBlob").map(CiphertextBlob),
    }
}

pub(super) fn generate_data_key(kms: &Kms, input: &Input<'_>) -> Answer {
    refuse_recipient(input)?;
    Ok(data_key(&kms.generate_data_key(&data_key_request(input)?)?))
}

pub(super) fn generate_data_key_sealed(kms: &Kms, input: &Input<'_>) -> Answer {
    Ok(data_key(&kms.generate_data_key_without_plaintext(&data_key_request(input)?)?))
}

pub(super) fn generate_random(kms: &Kms, input: &Input<'_>) -> Answer {
    refuse_recipient(input)?;
    if input.text("CustomKeyStoreId")?.is_some() {
        return Err(InputError::unsupported("Custom key stores are not offered yet.").into());
    }
    let number = input
        .number("NumberOfBytes")?
        .ok_or_else(|| InputError::validation("NumberOfBytes is required.".to_owned()))?;
    Ok(json!({"Plaintext": secret(&kms.generate_random(number)?)}))
}

fn data_key_request(input: &Input<'_>) -> Result<GenerateDataKey, InputError> {
    let key = input.key("KeyId")?;
    let spec = input.choice("KeySpec", DataKeySpec::ALL, DataKeySpec::as_str)?;
    let len = match (spec, input.number("NumberOfBytes")?) {
        (Some(spec), None) => DataKeyLen::Spec(spec),
        (None, Some(number)) => DataKeyLen::Bytes(number),
        (Some(_), Some(_)) | (None, None) => {
            let message = "Please specify either number of bytes or key spec.";
            return Err(InputError::validation(message.to_owned()));
        }
    };
    let context = input.context("EncryptionContext")?;
    Ok(GenerateDataKey { key, len, context, dry_run: input.flag("DryRun")? })
}

fn data_key(answer: &GeneratedDataKey) -> Value {
    output(json!({
        "CiphertextBlob": blob(&answer.blob.0),
        "Plaintext": answer.plaintext.as_ref().map(secret),
        "KeyId": answer.key.as_str(),
        "KeyMaterialId": answer.material.to_string(),
    }))
}

fn algorithm(input: &Input<'_>, name: &str) -> Result<Option<EncryptionAlgorithm>, InputError> {
    input.choice(name, EncryptionAlgorithm::ALL, EncryptionAlgorithm::as_str)
}

/// `Recipient` asks for an answer sealed to an enclave: to ignore it would show the plaintext.
pub(super) fn refuse_recipient(input: &Input<'_>) -> Result<(), InputError> {
    match input.has("Recipient") {
        false => Ok(()),
        true => Err(InputError::unsupported("Recipient is not offered.")),
    }
}
