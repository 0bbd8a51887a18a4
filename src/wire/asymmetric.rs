//! Uses of asymmetric and HMAC keys, and data key pairs.

use serde_json::{Value, json};

use crate::kms::{
    DATA_KEY_PAIR_SPECS, Decapsulate, DeriveSharedSecret, Encapsulate, EncapsulationAlgorithm,
    GenerateDataKeyPair, GenerateMac, GeneratedDataKeyPair, KeyAgreementAlgorithm, KeySpec, Kms,
    MacAlgorithm, MessageType, Sign, SigningAlgorithm, Verify, VerifyMac,
};
use crate::wire::Answer;
use crate::wire::crypto::refuse_recipient;
use crate::wire::input::{Input, InputError, required};
use crate::wire::output::{algorithms, blob, output, secret};

pub(super) fn get_public_key(kms: &Kms, input: &Input<'_>) -> Answer {
    let answer = kms.get_public_key(&input.key("KeyId")?)?;
    let mut value = json!({
        "KeyId": answer.key.arn.as_str(),
        "PublicKey": blob(&answer.der),
        "CustomerMasterKeySpec": answer.key.spec.as_str(),
        "KeySpec": answer.key.spec.as_str(),
        "KeyUsage": answer.key.usage.as_str(),
    });
    if let Value::Object(map) = &mut value {
        map.extend(algorithms(&answer.key));
    }
    Ok(value)
}

pub(super) fn sign(kms: &Kms, input: &Input<'_>) -> Answer {
    let request = sign_request(input)?;
    let answer = kms.sign(&request)?;
    Ok(json!({
        "KeyId": answer.key.as_str(),
        "Signature": blob(&answer.signature),
        "SigningAlgorithm": request.algorithm.as_str(),
    }))
}

pub(super) fn verify(kms: &Kms, input: &Input<'_>) -> Answer {
    let request =
        Verify { signed: sign_request(input)?, signature: input.required_blob("Signature")? };
    let key = kms.verify(&request)?;
    Ok(json!({
        "KeyId": key.as_str(),
        "SignatureValid": true,
        "SigningAlgorithm": request.signed.algorithm.as_str(),
    }))
}

fn sign_request(input: &Input<'_>) -> Result<Sign, InputError> {
    let algorithm =
        input.choice("SigningAlgorithm", SigningAlgorithm::ALL, SigningAlgorithm::as_str)?;
    let kind = input.choice("MessageType", MessageType::ALL, MessageType::as_str)?;
    Ok(Sign {
        key: input.key("KeyId")?,
        message: input.required_blob("Message")?,
        kind: kind.unwrap_or(MessageType::Raw),
        algorithm: algorithm.ok_or_else(|| required("SigningAlgorithm"))?,
        dry_run: input.flag("DryRun")?,
    })
}

pub(super) fn generate_mac(kms: &Kms, input: &Input<'_>) -> Answer {
    let request = mac_request(input)?;
    let answer = kms.generate_mac(&request)?;
    Ok(json!({
        "Mac": blob(&answer.mac),
        "MacAlgorithm": request.algorithm.as_str(),
        "KeyId": answer.key.as_str(),
    }))
}

pub(super) fn verify_mac(kms: &Kms, input: &Input<'_>) -> Answer {
    let request = VerifyMac { made: mac_request(input)?, mac: input.required_blob("Mac")? };
    let key = kms.verify_mac(&request)?;
    Ok(json!({
        "KeyId": key.as_str(),
        "MacValid": true,
        "MacAlgorithm": request.made.algorithm.as_str(),
    }))
}

fn mac_request(input: &Input<'_>) -> Result<GenerateMac, InputError> {
    let algorithm = input.choice("MacAlgorithm", MacAlgorithm::ALL, MacAlgorithm::as_str)?;
    Ok(GenerateMac {
        key: input.key("KeyId")?,
        message: input.required_blob("Message")?,
        algorithm: algorithm.ok_or_else(|| required("MacAlgorithm"))?,
        dry_run: input.flag("DryRun")?,
    })
}

pub(super) fn derive_shared_secret(kms: &Kms, input: &Input<'_>) -> Answer {
    refuse_recipient(input)?;
    let known = KeyAgreementAlgorithm::ALL;
    let algorithm = input.choice("KeyAgreementAlgorithm", known, KeyAgreementAlgorithm::as_str)?;
    let request = DeriveSharedSecret {
        key: input.key("KeyId")?,
        algorithm: algorithm.ok_or_else(|| required("KeyAgreementAlgorithm"))?,
        public_key: input.required_blob("PublicKey")?,
        dry_run: input.flag("DryRun")?,
    };
    let answer = kms.derive_shared_secret(&request)?;
    Ok(json!({
        "KeyId": answer.key.as_str(),
        "SharedSecret": secret(&answer.secret),
        "KeyAgreementAlgorithm": request.algorithm.as_str(),
        "KeyOrigin": answer.origin.as_str(),
    }))
}

pub(super) fn encapsulate(kms: &Kms, input: &Input<'_>) -> Answer {
    let request = encapsulate_request(input)?;
    let answer = kms.encapsulate(&request)?;
    Ok(json!({
        "KeyId": answer.key.as_str(),
        "SharedSecret": secret(&answer.secret),
        "SharedSecretCiphertextBlob": blob(&answer.sealed),
        "EncapsulationAlgorithm": request.algorithm.as_str(),
    }))
}

pub(super) fn decapsulate(kms: &Kms, input: &Input<'_>) -> Answer {
    let request = Decapsulate {
        with: encapsulate_request(input)?,
        sealed: input.required_blob("SharedSecretCiphertextBlob")?,
    };
    let answer = kms.decapsulate(&request)?;
    Ok(json!({
        "KeyId": answer.key.as_str(),
        "SharedSecret": secret(&answer.secret),
        "EncapsulationAlgorithm": request.with.algorithm.as_str(),
    }))
}

fn encapsulate_request(input: &Input<'_>) -> Result<Encapsulate, InputError> {
    let known = EncapsulationAlgorithm::ALL;
    let algorithm =
        input.choice("EncapsulationAlgorithm", known, EncapsulationAlgorithm::as_str)?;
    Ok(Encapsulate {
        key: input.key("KeyId")?,
        algorithm: algorithm.ok_or_else(|| required("EncapsulationAlgorithm"))?,
        dry_run: input.flag("DryRun")?,
    })
}

pub(super) fn generate_data_key_pair(kms: &Kms, input: &Input<'_>) -> Answer {
    refuse_recipient(input)?;
    let request = pair_request(input)?;
    Ok(pair(&kms.generate_data_key_pair(&request)?, request.spec))
}

pub(super) fn generate_data_key_pair_sealed(kms: &Kms, input: &Input<'_>) -> Answer {
    let request = pair_request(input)?;
    Ok(pair(&kms.generate_data_key_pair_without_plaintext(&request)?, request.spec))
}

fn pair_request(input: &Input<'_>) -> Result<GenerateDataKeyPair, InputError> {
    let spec = input.choice("KeyPairSpec", DATA_KEY_PAIR_SPECS, KeySpec::as_str)?;
    Ok(GenerateDataKeyPair {
        key: input.key("KeyId")?,
        spec: spec.ok_or_else(|| required("KeyPairSpec"))?,
        context: input.context("EncryptionContext")?,
        dry_run: input.flag("DryRun")?,
    })
}

fn pair(answer: &GeneratedDataKeyPair, spec: KeySpec) -> Value {
    output(json!({
        "PrivateKeyCiphertextBlob": blob(&answer.sealed.0),
        "PrivateKeyPlaintext": answer.private_key.as_ref().map(secret),
        "PublicKey": blob(&answer.public_key),
        "KeyId": answer.key.as_str(),
        "KeyPairSpec": spec.as_str(),
        "KeyMaterialId": answer.material.to_string(),
    }))
}
