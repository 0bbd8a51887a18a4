//! Exceptions as AWS sends them, in both directions.

use serde_json::{Value, json};

use crate::kms::{KeyState, KmsError, Need};

/// An exception as AWS sends it: without the member if there is no message.
pub fn error_body(error: &KmsError) -> Value {
    match error.to_string() {
        message if message.is_empty() => json!({"__type": error.exception()}),
        message => json!({"__type": error.exception(), "message": message}),
    }
}

/// Name and message of the exception in a body; `None` if there is none in it.
pub fn read_error_body(body: &Value) -> Option<(String, String)> {
    let kind = body.get("__type").or_else(|| body.get("code"))?.as_str()?;
    // `com.amazonaws.kms#NotFoundException`, `NotFoundException:http://...`
    let name = kind.rsplit('#').next().unwrap_or(kind);
    let name = name.split(':').next().unwrap_or(name);
    let message = body.get("message").or_else(|| body.get("Message"));
    Some((name.to_owned(), message.and_then(Value::as_str).unwrap_or_default().to_owned()))
}

/// The error that an exception of another key service means.
pub fn error_of(exception: &str, message: &str) -> KmsError {
    let message = message.to_owned();
    match exception {
        "AccessDeniedException" => KmsError::AccessDenied { message },
        "AlreadyExistsException" => KmsError::AlreadyExists { message },
        "ConflictException" => KmsError::Conflict { message },
        "DependencyTimeoutException" => KmsError::DependencyTimeout { message },
        "DisabledException" => {
            KmsError::Disabled { key: without(&message, " is disabled.").to_owned() }
        }
        "DryRunOperationException" => KmsError::DryRunOperation,
        "ExpiredImportTokenException" => KmsError::ExpiredImportToken { message },
        "IncorrectKeyException" => KmsError::IncorrectKey { message },
        "IncorrectKeyMaterialException" => KmsError::IncorrectKeyMaterial { message },
        "InvalidAliasNameException" => KmsError::InvalidAliasName { message },
        "InvalidArnException" => KmsError::InvalidArn { message },
        "InvalidCiphertextException" => KmsError::InvalidCiphertext,
        "InvalidGrantIdException" => KmsError::InvalidGrantId { message },
        "InvalidGrantTokenException" => KmsError::InvalidGrantToken { message },
        "InvalidImportTokenException" => KmsError::InvalidImportToken { message },
        "InvalidKeyUsageException" => KmsError::InvalidKeyUsage { message },
        "InvalidMarkerException" => KmsError::InvalidMarker { message },
        "KMSInternalException" => KmsError::Internal { message },
        "KMSInvalidMacException" => KmsError::InvalidMac,
        "KMSInvalidSignatureException" => KmsError::InvalidSignature,
        "KMSInvalidStateException" => invalid_state(message),
        "KeyUnavailableException" => KmsError::KeyUnavailable { message },
        "LimitExceededException" => KmsError::LimitExceeded { message },
        "MalformedPolicyDocumentException" => KmsError::MalformedPolicyDocument { message },
        "NotFoundException" => KmsError::NotFound { message },
        "SerializationException" => KmsError::Serialization { message },
        "TagException" => KmsError::Tag { message },
        "UnknownOperationException" => KmsError::UnknownOperation { name: message },
        "UnsupportedOperationException" => KmsError::UnsupportedOperation { message },
        "ValidationException" => KmsError::Validation { message },
        // The service does not know us, or does not believe us.
        "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => {
            KmsError::AccessDenied { message: named(exception, &message) }
        }
        "RequestTimeout" | "ServiceUnavailable" | "Throttling" | "ThrottlingException" => {
            KmsError::DependencyTimeout { message: named(exception, &message) }
        }
        _ => KmsError::Internal { message: named(exception, &message) },
    }
}

fn named(exception: &str, message: &str) -> String {
    format!("{exception}: {message}")
}

/// `<arn> is pending deletion.`, as AWS and we say it.
fn invalid_state(message: String) -> KmsError {
    if let Some(key) = message.strip_suffix(" is not pending deletion.") {
        return KmsError::NotPendingDeletion { key: key.to_owned() };
    }
    if let Some(error) = still_needed(&message) {
        return error;
    }
    let states = [
        (" is creating.", KeyState::Creating),
        (" is disabled.", KeyState::Disabled),
        (" is pending deletion.", KeyState::PendingDeletion),
        (" is pending import.", KeyState::PendingImport),
        (" is unavailable.", KeyState::Unavailable),
        (" is updating.", KeyState::Updating),
    ];
    let found = states.into_iter().find(|(words, _)| message.ends_with(words));
    match found {
        Some((words, state)) => {
            KmsError::InvalidState { key: without(&message, words).to_owned(), state }
        }
        None => KmsError::InvalidMaterialState { message },
    }
}

/// `<arn> is still needed by N files of N known volumes, ...`, as only we say it.
fn still_needed(message: &str) -> Option<KmsError> {
    let (key, rest) = message.split_once(" is still needed by ")?;
    let (files, rest) = rest.split_once(" files of ")?;
    let (volumes, _) = rest.split_once(" known volumes")?;
    let need = Need { files: files.parse().ok()?, volumes: volumes.parse().ok()? };
    Some(KmsError::StillNeeded { key: key.to_owned(), need })
}

fn without<'a>(message: &'a str, end: &str) -> &'a str {
    message.strip_suffix(end).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::KeyTrouble;

    /// Law: what crosses the wire means the same on the other side.
    #[test]
    fn exceptions_lead_back() {
        let key = || "arn:aws:kms:us-east-1:000000000000:key/1".to_owned();
        let message = || "words".to_owned();
        for error in [
            KmsError::AccessDenied { message: message() },
            KmsError::AlreadyExists { message: message() },
            KmsError::Conflict { message: message() },
            KmsError::DependencyTimeout { message: message() },
            KmsError::Disabled { key: key() },
            KmsError::DryRunOperation,
            KmsError::ExpiredImportToken { message: message() },
            KmsError::IncorrectKey { message: message() },
            KmsError::IncorrectKeyMaterial { message: message() },
            KmsError::Internal { message: message() },
            KmsError::InvalidAliasName { message: message() },
            KmsError::InvalidArn { message: message() },
            KmsError::InvalidCiphertext,
            KmsError::InvalidGrantId { message: message() },
            KmsError::InvalidGrantToken { message: message() },
            KmsError::InvalidImportToken { message: message() },
            KmsError::InvalidKeyUsage { message: message() },
            KmsError::InvalidMac,
            KmsError::InvalidMarker { message: message() },
            KmsError::InvalidMaterialState { message: message() },
            KmsError::InvalidSignature,
            KmsError::InvalidState { key: key(), state: KeyState::PendingDeletion },
            KmsError::InvalidState { key: key(), state: KeyState::PendingImport },
            KmsError::KeyUnavailable { message: message() },
            KmsError::LimitExceeded { message: message() },
            KmsError::MalformedPolicyDocument { message: message() },
            KmsError::NotFound { message: message() },
            KmsError::NotPendingDeletion { key: key() },
            KmsError::Serialization { message: message() },
            KmsError::StillNeeded { key: key(), need: Need { files: 12, volumes: 3 } },
            KmsError::Tag { message: message() },
            KmsError::UnsupportedOperation { message: message() },
            KmsError::Validation { message: message() },
        ] {
            let (name, words) = read_error_body(&error_body(&error)).unwrap();
            assert_eq!(error_of(&name, &words), error);
        }
    }

    #[test]
    fn other_services_are_understood() {
        let body = json!({"__type": "com.amazonaws.kms#NotFoundException", "Message": "no"});
        assert_eq!(read_error_body(&body), Some(("NotFoundException".into(), "no".into())));
        assert_eq!(read_error_body(&json!({"ok": true})), None);
        for (exception, trouble) in [
            ("UnrecognizedClientException", KeyTrouble::Denied),
            ("ThrottlingException", KeyTrouble::Unreachable),
            ("KMSInvalidStateException", KeyTrouble::Internal),
            ("SomethingElse", KeyTrouble::Internal),
        ] {
            assert_eq!(error_of(exception, "x").trouble(), trouble, "{exception}");
        }
    }
}
