//! What can go wrong in the KMS: one variant per AWS exception.

use std::fmt;

use crate::kms::{KeyState, LOSS_TAG, MaterialId, Need};

#[allow(missing_docs, reason = "the fields are the words of the message")]
/// One variant per AWS exception, by AWS' names less `Exception`. `message` is what AWS' clients show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KmsError {
    /// The caller may not do this with this key.
    AccessDenied { message: String },
    /// Such a thing exists.
    AlreadyExists { message: String },
    /// Another change is under way.
    Conflict { message: String },
    /// The service, or what it depends on, did not answer in time.
    DependencyTimeout { message: String },
    /// The key is disabled.
    Disabled { key: String },
    /// It would have succeeded, but `DryRun` was set.
    DryRunOperation,
    /// The token is more than 24 hours old. `ExpiredImportTokenException`.
    ExpiredImportToken { message: String },
    /// Not the material that was imported before, or not of the key's spec.
    IncorrectKeyMaterial { message: String },
    /// Not a token for this key.
    InvalidImportToken { message: String },
    /// The blob was made under another key than the one named.
    IncorrectKey { message: String },
    /// Not an alias name that may be used here.
    InvalidAliasName { message: String },
    /// Not an ARN.
    InvalidArn { message: String },
    /// Not a grant of this key.
    InvalidGrantId { message: String },
    /// Not a token of a grant.
    InvalidGrantToken { message: String },
    /// The blob does not open. AWS sends no message with it, and neither do we: it would be an oracle.
    InvalidCiphertext,
    /// Not the code of this message. No message, as AWS has it. `KMSInvalidMacException`.
    InvalidMac,
    /// Not a signature of this message. No message, as AWS has it. `KMSInvalidSignatureException`.
    InvalidSignature,
    /// The key's usage or spec does not fit the operation.
    InvalidKeyUsage { message: String },
    /// Not a marker that a listing gave.
    InvalidMarker { message: String },
    /// A fault of ours: the database, the audit log, a broken invariant.
    Internal { message: String },
    /// The key's store is out of reach.
    KeyUnavailable { message: String },
    /// The key's state does not allow this.
    InvalidState { key: String, state: KeyState },
    /// Over a limit.
    LimitExceeded { message: String },
    /// Not a key policy.
    MalformedPolicyDocument { message: String },
    /// `CancelKeyDeletion` of a key that is not pending deletion. `KMSInvalidStateException`.
    NotPendingDeletion { key: String },
    /// The materials of a key do not allow this. `KMSInvalidStateException`.
    InvalidMaterialState { message: String },
    /// An alias of a service's name. No message, as AWS has it.
    NotAuthorized,
    /// No such key, alias or material.
    NotFound { message: String },
    /// The input is not of the shape of the operation: a string where a number belongs.
    Serialization { message: String },
    /// The material that made the blob is revoked. `DisabledException`.
    MaterialRevoked { key: String, material: MaterialId },
    /// Files of known volumes need the key, or the material. `KMSInvalidStateException`.
    StillNeeded { key: String, need: Need },
    /// Not tags that may be set.
    Tag { message: String },
    /// An exception of CloudTrail, by its name: of LookupEvents alone.
    Trail { exception: &'static str, message: String },
    /// No such operation.
    UnknownOperation { name: String },
    /// This key cannot do that.
    UnsupportedOperation { message: String },
    /// A field is missing, too long, or not of its form.
    Validation { message: String },
}

/// What a KMS error means to someone who wants to read a file: decides errno and exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTrouble {
    /// Policy or grants say no.
    Denied,
    /// The key is disabled.
    Disabled,
    /// Something broke inside the service.
    Internal,
    /// No such key, or no material in it.
    Missing,
    /// The blob does not open under this key: the file was changed, or is another volume's.
    Rejected,
    /// The key is pending deletion, or deleted.
    Revoked,
    /// The service does not answer.
    Unreachable,
}

impl KmsError {
    /// What this means to someone who wants to read a file.
    pub fn trouble(&self) -> KeyTrouble {
        match self {
            Self::AccessDenied { .. } | Self::NotAuthorized => KeyTrouble::Denied,
            Self::Disabled { .. } | Self::MaterialRevoked { .. } => KeyTrouble::Disabled,
            Self::InvalidState { state, .. } => match state {
                KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => KeyTrouble::Revoked,
                KeyState::Disabled => KeyTrouble::Disabled,
                KeyState::PendingImport => KeyTrouble::Missing,
                KeyState::Creating
                | KeyState::Enabled
                | KeyState::Unavailable
                | KeyState::Updating => KeyTrouble::Unreachable,
            },
            Self::NotFound { .. } | Self::InvalidArn { .. } | Self::InvalidAliasName { .. } => {
                KeyTrouble::Missing
            }
            Self::IncorrectKey { .. } | Self::InvalidCiphertext | Self::InvalidKeyUsage { .. } => {
                KeyTrouble::Rejected
            }
            Self::DependencyTimeout { .. } | Self::KeyUnavailable { .. } => KeyTrouble::Unreachable,
            Self::AlreadyExists { .. }
            | Self::Conflict { .. }
            | Self::DryRunOperation
            | Self::ExpiredImportToken { .. }
            | Self::IncorrectKeyMaterial { .. }
            | Self::InvalidGrantId { .. }
            | Self::InvalidImportToken { .. }
            | Self::InvalidGrantToken { .. }
            | Self::InvalidMac
            | Self::InvalidMarker { .. }
            | Self::InvalidMaterialState { .. }
            | Self::InvalidSignature
            | Self::Internal { .. }
            | Self::LimitExceeded { .. }
            | Self::MalformedPolicyDocument { .. }
            | Self::NotPendingDeletion { .. }
            | Self::Serialization { .. }
            | Self::StillNeeded { .. }
            | Self::Tag { .. }
            | Self::Trail { .. }
            | Self::UnknownOperation { .. }
            | Self::UnsupportedOperation { .. }
            | Self::Validation { .. } => KeyTrouble::Internal,
        }
    }

    /// AWS' name of the exception, as in `__type`.
    pub fn exception(&self) -> &'static str {
        match self {
            Self::AccessDenied { .. } => "AccessDeniedException",
            Self::AlreadyExists { .. } => "AlreadyExistsException",
            Self::Conflict { .. } => "ConflictException",
            Self::DependencyTimeout { .. } => "DependencyTimeoutException",
            Self::Disabled { .. } | Self::MaterialRevoked { .. } => "DisabledException",
            Self::DryRunOperation => "DryRunOperationException",
            Self::IncorrectKey { .. } => "IncorrectKeyException",
            Self::InvalidAliasName { .. } => "InvalidAliasNameException",
            Self::InvalidArn { .. } => "InvalidArnException",
            Self::InvalidCiphertext => "InvalidCiphertextException",
            Self::InvalidGrantId { .. } => "InvalidGrantIdException",
            Self::InvalidGrantToken { .. } => "InvalidGrantTokenException",
            Self::ExpiredImportToken { .. } => "ExpiredImportTokenException",
            Self::IncorrectKeyMaterial { .. } => "IncorrectKeyMaterialException",
            Self::InvalidImportToken { .. } => "InvalidImportTokenException",
            Self::InvalidMac => "KMSInvalidMacException",
            Self::InvalidSignature => "KMSInvalidSignatureException",
            Self::InvalidKeyUsage { .. } => "InvalidKeyUsageException",
            Self::InvalidMarker { .. } => "InvalidMarkerException",
            Self::Internal { .. } => "KMSInternalException",
            Self::KeyUnavailable { .. } => "KeyUnavailableException",
            Self::InvalidMaterialState { .. }
            | Self::InvalidState { .. }
            | Self::NotPendingDeletion { .. }
            | Self::StillNeeded { .. } => "KMSInvalidStateException",
            Self::LimitExceeded { .. } => "LimitExceededException",
            Self::MalformedPolicyDocument { .. } => "MalformedPolicyDocumentException",
            Self::NotAuthorized => "NotAuthorizedException",
            Self::NotFound { .. } => "NotFoundException",
            Self::Serialization { .. } => "SerializationException",
            Self::Tag { .. } => "TagException",
            Self::Trail { exception, .. } => exception,
            Self::UnknownOperation { .. } => "UnknownOperationException",
            Self::UnsupportedOperation { .. } => "UnsupportedOperationException",
            Self::Validation { .. } => "ValidationException",
        }
    }
}

impl fmt::Display for KmsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessDenied { message }
            | Self::AlreadyExists { message }
            | Self::Conflict { message }
            | Self::DependencyTimeout { message }
            | Self::IncorrectKey { message }
            | Self::InvalidAliasName { message }
            | Self::InvalidArn { message }
            | Self::ExpiredImportToken { message }
            | Self::IncorrectKeyMaterial { message }
            | Self::InvalidImportToken { message }
            | Self::InvalidGrantId { message }
            | Self::InvalidGrantToken { message }
            | Self::InvalidKeyUsage { message }
            | Self::InvalidMarker { message }
            | Self::InvalidMaterialState { message }
            | Self::Internal { message }
            | Self::KeyUnavailable { message }
            | Self::LimitExceeded { message }
            | Self::MalformedPolicyDocument { message }
            | Self::NotFound { message }
            | Self::Serialization { message }
            | Self::Tag { message }
            | Self::Trail { message, .. }
            | Self::UnsupportedOperation { message }
            | Self::Validation { message } => f.write_str(message),
            Self::Disabled { key } => write!(f, "{key} is disabled."),
            Self::DryRunOperation => {
                f.write_str("The request would have succeeded, but the DryRun option is set.")
            }
            Self::InvalidCiphertext
            | Self::InvalidMac
            | Self::InvalidSignature
            | Self::NotAuthorized => Ok(()),
            Self::MaterialRevoked { key, material } => {
                write!(f, "key material {material} of {key} is revoked.")
            }
            Self::StillNeeded { key, need } => {
                let Need { files, volumes } = need;
                write!(
                    f,
                    "{key} is still needed by {files} files of {volumes} known volumes, as far as \
                     they are counted. Rewrap them under another key, or set the tag {LOSS_TAG}, its \
                     value the reason, to lose their content."
                )
            }
            Self::NotPendingDeletion { key } => write!(f, "{key} is not pending deletion."),
            Self::UnknownOperation { name } => write!(f, "unknown operation {name}"),
            Self::InvalidState { key, state } => write!(f, "{key} is {}.", state_words(*state)),
        }
    }
}

impl std::error::Error for KmsError {}

/// AWS' words for a state in `KMSInvalidStateException`.
fn state_words(state: KeyState) -> &'static str {
    match state {
        KeyState::Creating => "creating",
        KeyState::Enabled => "enabled",
        KeyState::Disabled => "disabled",
        KeyState::PendingImport => "pending import",
        KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => "pending deletion",
        KeyState::Unavailable => "unavailable",
        KeyState::Updating => "updating",
    }
}
