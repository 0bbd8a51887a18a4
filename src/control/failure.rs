//! What stops a command: a kind, what is wrong, and what to type next.
//!
//! The numbers of the kinds stand in `cli/exit.rs` alone.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fs::FsError;
use crate::kms::{KeyTrouble, KmsError};

/// Kinds of failure that a script can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The same volume is mounted, or the same service runs.
    AlreadyRunning,
    /// Configuration of the volume, or key database, does not read.
    ConfigUnreadable,
    /// Configuration of the volume, or key database, cannot be written.
    ConfigUnwritable,
    /// Nobody is there to confirm, and `--yes` was not given.
    ConfirmationNeeded,
    /// The key's policy or a grant says no.
    Denied,
    /// The passphrase is empty.
    EmptyPassphrase,
    /// fsck has findings.
    FsckFindings,
    /// The directory for a new volume is not empty.
    InitNotEmpty,
    /// Ended by the user; running it again goes on.
    Interrupted,
    /// Refused because files, or processes, still need it.
    InUse,
    /// The key is disabled.
    KeyDisabled,
    /// The key is pending deletion, or deleted.
    KeyPendingDeletion,
    /// The key service does not answer.
    KmsUnreachable,
    /// No key, or no material in it.
    MaterialMissing,
    /// The mount point cannot be used.
    MountPoint,
    /// Anything else.
    Other,
    /// A rewrap finished, but not for every file.
    RewrapFailures,
    /// The command line makes no sense.
    Usage,
    /// Warnings only.
    Warnings,
    /// Wrong passphrase, or wrong key file.
    WrongUnlock,
}

/// Why a command did not do what it should: the two lines that a person reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: Kind,
    /// What is wrong, with the value in it.
    pub what: String,
    /// What to type next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None }
    }

    /// The same with what to type next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error of the system about one thing, such as a path.
    pub fn io(subject: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(Kind::Other, format!("{subject}: {}", io_words(error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

impl From<KmsError> for Failure {
    fn from(error: KmsError) -> Self {
        let text = error.to_string();
        let what = if text.is_empty() {
            error.exception().to_owned()
        } else {
            format!("{}: {text}", error.exception())
        };
        let failure = Self::new(kind_of_kms(&error), what);
        let key = match &error {
            KmsError::Disabled { key } | KmsError::InvalidState { key, .. } => key,
            _ => "KEY",
        };
        if let KmsError::MaterialRevoked { material, .. } = &error {
            return failure.hint(format!("kmsfs revoke VOLUME --material {material} --undo"));
        }
        match error.trouble() {
            KeyTrouble::Disabled => failure.hint(format!("kmsfs kms enable-key --key-id {key}")),
            KeyTrouble::Revoked => {
                failure.hint(format!("kmsfs kms cancel-key-deletion --key-id {key}"))
            }
            KeyTrouble::Denied
            | KeyTrouble::Internal
            | KeyTrouble::Missing
            | KeyTrouble::Rejected
            | KeyTrouble::Unreachable => failure,
        }
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Key(error) => error.into(),
            FsError::VolumeBusy => {
                Self::new(Kind::AlreadyRunning, error.to_string()).hint("kmsfs status")
            }
            FsError::StateUnknown => Self::new(Kind::ConfigUnreadable, error.to_string())
                .hint("look first: kmsfs fsck LOWER; then: kmsfs fsck --repair LOWER"),
            FsError::VolumeConfig(_) | FsError::VolumeMissing => {
                Self::new(Kind::ConfigUnreadable, error.to_string())
            }
            other => Self::new(Kind::Other, other.to_string()),
        }
    }
}

/// The kind of a refusal of the key service.
fn kind_of_kms(error: &KmsError) -> Kind {
    if matches!(error, KmsError::StillNeeded { .. }) {
        return Kind::InUse;
    }
    match error.trouble() {
        KeyTrouble::Denied => Kind::Denied,
        KeyTrouble::Disabled => Kind::KeyDisabled,
        KeyTrouble::Missing => Kind::MaterialMissing,
        KeyTrouble::Revoked => Kind::KeyPendingDeletion,
        KeyTrouble::Unreachable => Kind::KmsUnreachable,
        KeyTrouble::Internal | KeyTrouble::Rejected => Kind::Other,
    }
}

/// The system's words for an error, in lower case and without its number.
pub(crate) fn io_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::KeyState;

    #[test]
    fn a_refusal_of_the_key_service_keeps_its_name_and_kind() {
        let pending = KmsError::InvalidState { key: "k".into(), state: KeyState::PendingDeletion };
        let failure = Failure::from(FsError::Key(pending));
        assert_eq!(failure.kind, Kind::KeyPendingDeletion);
        assert_eq!(failure.what, "KMSInvalidStateException: k is pending deletion.");
        assert_eq!(failure.hint.unwrap(), "kmsfs kms cancel-key-deletion --key-id k");
        assert_eq!(Failure::from(KmsError::InvalidCiphertext).what, "InvalidCiphertextException");
    }

    #[test]
    fn words_of_the_system_are_in_house_style() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(Failure::io("x", &error).what, "x: no such file or directory");
    }
}
