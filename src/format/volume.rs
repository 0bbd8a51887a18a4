//! `.kmsfs/volume.toml`: what a volume is, readable by people, authenticated by its last line.
//! docs/FORMAT.md, section 5.

#![deny(clippy::indexing_slicing)]

use crate::crypto::{MacKey, Suite};
use crate::format::{FormatError, VolumeId, volume_text};

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeConfig {
    /// Its identity.
    pub volume: VolumeId,
    /// The algorithms of new files.
    pub suite: Suite,
    /// When it was made; for people only.
    pub created: String,
    /// The key policies that files and directories name by number.
    pub policies: Vec<KeyPolicyEntry>,
    /// Where its key service is.
    pub kms: KmsPlace,
    /// Whether files and directories are bound to their names.
    pub names: NameBinding,
    /// The key of names, markers and configuration.
    pub volume_key: WrappedVolumeKey,
}

/// Whether a volume's files and directories open under their own names only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameBinding {
    /// As volumes were made first: they open wherever they lie.
    Free,
    /// Headers and markers have homes.
    Bound,
}

/// One key policy: a number that never changes its meaning, and the alias of the KMS key to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPolicyEntry {
    /// The number in envelopes and directory markers.
    pub number: u32,
    /// The alias (or ARN) of the KMS key.
    pub alias: String,
}

/// Where a volume's key service keeps its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KmsPlace {
    /// In the volume's own directory.
    Embedded,
    /// In this directory, shared with other volumes.
    Directory(String),
    /// Behind this endpoint, wherever that keeps it.
    Endpoint(String),
}

/// The volume key, wrapped like any data key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedVolumeKey {
    /// The KMS key that wraps it.
    pub key_arn: String,
    /// The key material that wraps it; `None` if the key service does not tell.
    pub material: Option<[u8; 32]>,
    /// The wrapped key, as the key service gave it.
    pub wrapped: Vec<u8>,
}

impl VolumeConfig {
    /// The alias behind a key policy number.
    pub fn policy(&self, number: u32) -> Option<&str> {
        self.policies.iter().find(|entry| entry.number == number).map(|entry| entry.alias.as_str())
    }

    /// The text of the file. `key` is `VolumeKeys::config`.
    pub fn encode(&self, key: &MacKey) -> String {
        volume_text::encode(self, key)
    }
}

/// A configuration that was read but not authenticated: enough to fetch the volume key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedConfig {
    pub(super) config: VolumeConfig,
    /// Every byte before the last line.
    pub(super) covered: String,
    pub(super) mac: [u8; 32],
}

/// Reads the text of the file.
///
/// # Errors
/// [`FormatError::TooLong`], [`FormatError::Truncated`] if the last line is missing,
/// [`FormatError::UnknownVersion`], [`FormatError::UnknownSuite`] or [`FormatError::BadText`].
pub fn parse(text: &str) -> Result<UnverifiedConfig, FormatError> {
    volume_text::parse(text)
}

impl UnverifiedConfig {
    /// The volume's identity, as claimed.
    pub fn volume(&self) -> VolumeId {
        self.config.volume
    }

    /// The suite's name in the encryption context, as claimed.
    pub fn suite(&self) -> Suite {
        self.config.suite
    }

    /// Where the key service is, as claimed.
    pub fn kms(&self) -> &KmsPlace {
        &self.config.kms
    }

    /// The wrapped volume key, as claimed.
    pub fn volume_key(&self) -> &WrappedVolumeKey {
        &self.config.volume_key
    }

    /// Checks the last line. `key` is `VolumeKeys::config`.
    ///
    /// # Errors
    /// [`FormatError::BadTag`] if the text is not what was written under this key.
    pub fn verify(self, key: &MacKey) -> Result<VolumeConfig, FormatError> {
        key.verify(&[self.covered.as_bytes()], &self.mac)?;
        Ok(self.config)
    }
}
