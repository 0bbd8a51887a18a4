//! What a check finds: codes that do not change, causes, and the command that mends each.

use serde::{Deserialize, Serialize};

use crate::fs::{CorruptPart, FsError};

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FsckDepth {
    /// Names, markers, sidecars, headers, lengths.
    Quick,
    /// Every record as well.
    Full,
}

/// What a check does about what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Repair {
    /// Nothing.
    Nothing,
    /// Tells what it would do.
    DryRun(Rebind),
    /// Mends what can be mended without inventing data.
    Mend(Rebind),
}

/// What a repair does with what lies in a place where it does not belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rebind {
    /// Leaves it: somebody may have put it there.
    Refuse,
    /// Takes it as it lies, as its owner says.
    Accept,
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name of the kind of finding.
    pub code: String,
    /// Where it lies in the lower directory.
    pub lower_path: String,
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub mend: String,
    /// What a repair did, or would do; `None` if it can do nothing, or was not asked.
    pub mended: Option<String>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsckReport {
    /// Everything that does not fit, by path.
    pub findings: Vec<Finding>,
    /// Regular files looked at.
    pub files: u64,
    /// Directories looked at.
    pub directories: u64,
    /// Plaintext bytes that were read.
    pub bytes: u64,
}

const REPAIR: &str = "kmsfs fsck --repair LOWER";
const REBIND: &str = "move it back where it was, or accept it: kmsfs fsck --repair --rebind LOWER";

/// Every code with what mends it. docs/OPERATIONS.md tells more.
pub const CODES: &[(&str, &str)] = &[
    ("bad-length", REPAIR),
    ("bad-state", REPAIR),
    ("corrupt-block", "restore it from a backup, or keep what opens: kmsfs fsck --repair LOWER"),
    ("corrupt-header", "restore it from a backup, or set it aside: kmsfs fsck --repair LOWER"),
    ("corrupt-marker", REPAIR),
    ("corrupt-name", "kmsfs fsck --repair LOWER; with --rebind if it came from elsewhere"),
    ("corrupt-symlink", "make the link anew, or set it aside: kmsfs fsck --repair LOWER"),
    ("corrupt-xattr", "set the attribute anew, or set it aside: kmsfs fsck --repair LOWER"),
    ("key-refused", "kmsfs kms --on LOWER describe-key --key-id KEY"),
    ("leftover", REPAIR),
    ("misplaced", REBIND),
    ("orphan-sidecar", REPAIR),
    ("unexpected", "report this"),
    ("unreadable", "check the lower filesystem"),
];

impl Finding {
    /// A finding of a code in [`CODES`].
    pub(super) fn new(code: &str, path: &str, cause: impl Into<String>) -> Self {
        let mend = CODES.iter().find(|(known, _)| *known == code).map_or("", |(_, mend)| mend);
        Self {
            code: code.to_owned(),
            lower_path: path.trim_start_matches('/').to_owned(),
            cause: cause.into(),
            mend: mend.to_owned(),
            mended: None,
        }
    }

    /// That nothing tells whether the volume was closed.
    pub fn of_state() -> Self {
        Self::new("bad-state", ".kmsfs/state", "missing, or not written by this volume")
    }

    /// The same after [`crate::fs::Volume::renew_state`].
    #[must_use]
    pub fn renewed(self) -> Self {
        Self { mended: Some("written again, as that of a closed volume".to_owned()), ..self }
    }

    /// The finding that an error is.
    pub(super) fn of(path: &str, error: &FsError) -> Self {
        let code = match error {
            FsError::Corrupt(part) => match part {
                CorruptPart::Block(_) => "corrupt-block",
                CorruptPart::Header => "corrupt-header",
                CorruptPart::Home => "misplaced",
                CorruptPart::Length => "bad-length",
                CorruptPart::Marker => "corrupt-marker",
                CorruptPart::Name => "corrupt-name",
                CorruptPart::SymlinkTarget => "corrupt-symlink",
                CorruptPart::Xattr => "corrupt-xattr",
            },
            FsError::Key(_) => "key-refused",
            FsError::Lower(_) => "unreadable",
            _ => "unexpected",
        };
        Self::new(code, path, error.to_string())
    }
}
