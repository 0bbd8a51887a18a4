//! Names inside one directory: plaintext to lower and back, with long names and their sidecars.

use crate::crypto::kdf::VolumeKeys;
use crate::format::ids::DirId;
use crate::format::name::{LowerEntry, LowerForm, check_sidecar, classify, lower_form};
use crate::fs::{CorruptPart, FsError};
use crate::lower::{LowerDir, LowerError};
use crate::name::{LowerName, NameError, PlainName};

/// Mode of the volume's own files.
pub const OWN_FILE_MODE: u32 = 0o600;

/// Longest sidecar in bytes: a name of 255 bytes and its synthetic IV, with room.
pub(super) const SIDECAR_LEN_MAX: usize = 512;

/// The names of one directory.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    keys: &'a VolumeKeys,
    dir: DirId,
}

impl<'a> Names<'a> {
    /// For the directory with this id.
    pub fn new(keys: &'a VolumeKeys, dir: DirId) -> Self {
        Self { keys, dir }
    }

    /// The lower form of a plaintext name.
    pub fn seal(&self, name: &PlainName) -> LowerForm {
        lower_form(&self.keys.names.seal(&self.dir.0, name.as_bytes()))
    }

    /// The plaintext of a lower name; `None` for the volume's own files.
    ///
    /// # Errors
    /// `FsError::Corrupt` for a name that does not open in this directory, or lost its sidecar.
    pub fn open(&self, dir: &LowerDir, lower: &[u8]) -> Result<Option<PlainName>, FsError> {
        let corrupt = FsError::Corrupt(CorruptPart::Name);
        let sealed = match classify(lower) {
            LowerEntry::Own => return Ok(None),
            LowerEntry::Foreign => return Err(corrupt),
            LowerEntry::Short(sealed) => sealed,
            LowerEntry::Long { sidecar } => {
                let content =
                    dir.read_small(&sidecar, SIDECAR_LEN_MAX).map_err(|_| corrupt.clone())?;
                let object = LowerName::from_bytes(lower).map_err(|_| corrupt.clone())?;
                check_sidecar(&object, &content).map_err(|_| corrupt.clone())?;
                content
            }
        };
        let plain = self.keys.names.open(&self.dir.0, &sealed).map_err(|_| corrupt.clone())?;
        PlainName::from_bytes(&plain).map(Some).map_err(|_| corrupt)
    }
}

/// The name of the object itself.
pub fn object(form: &LowerForm) -> &LowerName {
    match form {
        LowerForm::Short(name) | LowerForm::Long { object: name, .. } => name,
    }
}

/// Writes the sidecar of a long name, before its object. One that is there already is the same.
///
/// # Errors
/// `LowerError` of the write.
pub fn store_sidecar(dir: &LowerDir, form: &LowerForm) -> Result<(), LowerError> {
    let LowerForm::Long { object, sidecar, sealed } = form else {
        return Ok(());
    };
    match dir.write_new(sidecar, sealed, OWN_FILE_MODE) {
        Ok(_) => Ok(()),
        Err(error) if error.errno == libc::EEXIST => match dir.read_small(sidecar, SIDECAR_LEN_MAX)
        {
            Ok(content) if content == *sealed => Ok(()),
            // Left by a power cut before its content reached the disk.
            _ => dir.replace_file(sidecar, &temporary_name(object), sealed, OWN_FILE_MODE),
        },
        Err(error) => Err(error),
    }
}

/// A name for a sidecar that is being replaced.
fn temporary_name(object: &LowerName) -> LowerName {
    let digest = crate::codec::hex(&crate::crypto::kdf::sha256(&[object.as_bytes()])[..8]);
    let name = format!("{}{digest}", crate::format::name::TEMPORARY_PREFIX);
    LowerName::from_bytes(name.as_bytes()).unwrap_or_else(|_| object.clone())
}

/// Removes the sidecar of a long name, behind its object. An orphan that stays is found by fsck.
pub fn drop_sidecar(dir: &LowerDir, form: &LowerForm) {
    if let LowerForm::Long { sidecar, .. } = form
        && let Err(error) = dir.unlink(sidecar)
    {
        tracing::warn!(%error, %sidecar, "removing a sidecar");
    }
}

impl From<NameError> for FsError {
    fn from(error: NameError) -> Self {
        match error {
            NameError::Malformed => Self::BadName,
            NameError::TooLong => Self::NameTooLong,
        }
    }
}
