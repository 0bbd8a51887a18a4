//! Making and opening a KMS: its directory, its files, its options.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::codec::hex;
use crate::kms::KmsError;
use crate::kms::audit::{AuditHead, AuditLimits, Watch};
use crate::kms::db::{DbError, RowId, Rows, SqliteDb, Table};
use crate::kms::root::{RootKey, RootKeys};
use crate::kms::rows::{
    META_ACCOUNT, META_AUDIT, META_DATABASE, META_REGION, META_TEST_CLOCK, ring_mac,
};
use crate::kms::slot::{Argon2Cost, Unlock, seal_slot};
use crate::random::{OsRandom, Random, random_array};
use crate::secret::Secret;

/// Name of the key database in a KMS' directory.
pub(crate) const DATABASE_NAME: &str = "keys.db";
/// Name of the audit log in a KMS' directory.
pub(crate) const AUDIT_NAME: &str = "audit.log";

/// What a KMS is run with.
#[derive(Clone, Debug)]
pub struct KmsOptions {
    /// Region of a new KMS; an existing one keeps its own.
    pub region: String,
    /// Account of a new KMS, 12 digits; an existing one keeps its own.
    pub account: String,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where random bytes come from.
    pub random: Arc<dyn Random>,
    /// How long a deletion that is due must have been seen to be due before it is carried out: a
    /// clock that jumps ahead for a moment destroys nothing.
    pub deletion_confirm: Duration,
    /// Where uses are recorded if the KMS' own directory lies on a read-only medium.
    pub read_only_audit: ReadOnlyAudit,
    /// When a segment of the audit log ends, and how many are kept.
    pub audit: AuditLimits,
    /// Who is told of audit records once they are written.
    pub watch: Option<Arc<dyn Watch>>,
    /// Whether the clock is a true one.
    pub time: TimeKind,
}

/// The audit log of a KMS on a read-only medium. No key is used without a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReadOnlyAudit {
    /// There is none: such a KMS is not opened.
    #[default]
    Refuse,
    /// This file, which goes on where the log on the medium ends.
    File(PathBuf),
    /// A file of this directory, named after the key database.
    Directory(PathBuf),
}

/// Whether a clock may be believed. A key database is of one kind for good: a year that a test has
/// skipped must not destroy what somebody keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeKind {
    /// The time is what it is.
    Real,
    /// The clock is moved at will.
    Test,
}

impl Default for KmsOptions {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            deletion_confirm: Duration::from_secs(60),
            read_only_audit: ReadOnlyAudit::Refuse,
            audit: AuditLimits::default(),
            watch: None,
            time: TimeKind::Real,
        }
    }
}

/// Why a KMS could not be made or opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process holds the database.
    Busy,
    /// Something in the database is not as it was written.
    Corrupt {
        /// What.
        what: String,
    },
    /// The passphrase has no characters.
    EmptyPassphrase,
    /// There is a key database already.
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The medium refused.
    Io(io::Error),
    /// There is no key database.
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// The KMS lies on a read-only medium, and there is no other place for its audit records.
    NoAudit,
    /// Region or account are not of AWS' form.
    Options {
        /// Which.
        what: String,
    },
    /// The database belongs to the other kind of clock.
    OtherTime {
        /// Its kind.
        found: TimeKind,
    },
    /// The key file has fewer than [`crate::kms::KEY_FILE_LEN_MIN`] bytes.
    ShortKeyFile {
        /// Its length.
        len: usize,
    },
    /// The service refused.
    Refused(KmsError),
    /// No slot opens with this passphrase, key file or recovery kit.
    WrongUnlock,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("key database is held by another process"),
            Self::Corrupt { what } => write!(f, "key database is corrupt: {what}"),
            Self::EmptyPassphrase => f.write_str("passphrase is empty"),
            Self::Exists { path } => write!(f, "{} exists", path.display()),
            Self::Io(error) => error.fmt(f),
            Self::Missing { path } => write!(f, "no key database at {}", path.display()),
            Self::NoAudit => f.write_str("read-only medium: no place for audit records"),
            Self::Options { what } => f.write_str(what),
            Self::OtherTime { found: TimeKind::Test } => {
                f.write_str("key database was made for a test clock")
            }
            Self::OtherTime { found: TimeKind::Real } => {
                f.write_str("key database was made for the real time, not for a test clock")
            }
            Self::ShortKeyFile { len } => write!(f, "key file has only {len} bytes"),
            Self::Refused(error) => error.fmt(f),
            Self::WrongUnlock => f.write_str("wrong passphrase or key file"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<KmsError> for OpenError {
    fn from(error: KmsError) -> Self {
        Self::Refused(error)
    }
}

impl From<DbError> for OpenError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Busy => Self::Busy,
            DbError::Corrupt { what } => Self::Corrupt { what },
            DbError::Io { what } => Self::Io(io::Error::other(what)),
        }
    }
}

/// Makes an empty key database. It appears under its name at once and whole, or not at all.
pub(crate) fn create_database(
    dir: &Path,
    unlock: &Unlock,
    cost: Argon2Cost,
    options: &KmsOptions,
) -> Result<RootKey, OpenError> {
    let random = &*options.random;
    let root = RootKey(Secret::random(random));
    // A passphrase that is none is refused before anything is made.
    let slot = seal_slot(&root, unlock, cost, random)?;
    write_database(dir, &root, Some(slot), options)?;
    Ok(root)
}

/// Makes an empty key database without a slot, for a root key that comes from elsewhere.
pub(crate) fn create_region_database(
    dir: &Path,
    root: &RootKey,
    options: &KmsOptions,
) -> Result<(), OpenError> {
    write_database(dir, root, None, options)
}

fn write_database(
    dir: &Path,
    root: &RootKey,
    slot: Option<Vec<u8>>,
    options: &KmsOptions,
) -> Result<(), OpenError> {
    options.check()?;
    let path = dir.join(DATABASE_NAME);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if path.try_exists()? {
        return Err(OpenError::Exists { path });
    }
    let random = &*options.random;
    let database: [u8; 16] = random_array(random);
    let keys = RootKeys::derive(root, &database);
    let meta = |name: &str| RowId::new(Table::Meta, name);
    let mut rows = Rows::from([
        (meta(META_DATABASE), database.to_vec()),
        (meta(META_REGION), options.region.clone().into_bytes()),
        (meta(META_ACCOUNT), options.account.clone().into_bytes()),
        (meta(META_AUDIT), AuditHead::default().encode()),
    ]);
    rows.extend(slot.map(|slot| (RowId::new(Table::Slots, "1"), slot)));
    if options.time == TimeKind::Test {
        rows.insert(meta(META_TEST_CLOCK), Vec::new());
    }
    let mac = ring_mac(&rows, 1, &keys);

    let draft = dir.join(format!(".{DATABASE_NAME}.{}", hex(&random_array::<8>(random))));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let made = SqliteDb::create(&draft, rows, &mac).map_err(OpenError::from);
    let linked = made.and_then(|()| match std::fs::hard_link(&draft, &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(OpenError::Exists { path: path.clone() })
        }
        other => other.map_err(OpenError::Io),
    });
    std::fs::remove_file(&draft)?;
    linked?;
    File::open(dir)?.sync_all()?;
    Ok(())
}

/// Whether these rows may be used with that kind of clock.
///
/// # Errors
/// [`OpenError::OtherTime`].
pub(crate) fn check_time(rows: &Rows, time: TimeKind) -> Result<(), OpenError> {
    let is_test = rows.contains_key(&RowId::new(Table::Meta, META_TEST_CLOCK));
    let found = if is_test { TimeKind::Test } else { TimeKind::Real };
    if found == time { Ok(()) } else { Err(OpenError::OtherTime { found }) }
}

impl KmsOptions {
    /// Whether Region and account are of AWS' form.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        check_place(&self.region, &self.account)
    }
}

/// Whether nothing can be written where a KMS lies.
pub(crate) fn is_read_only(dir: &Path) -> io::Result<bool> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

impl ReadOnlyAudit {
    /// The file for a key database with this id; its directory is made.
    pub(crate) fn path(&self, database: &[u8]) -> Result<PathBuf, OpenError> {
        match self {
            Self::Refuse => Err(OpenError::NoAudit),
            Self::File(path) => Ok(path.clone()),
            Self::Directory(dir) => {
                DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
                Ok(dir.join(format!("audit-{}.log", hex(database))))
            }
        }
    }
}

fn check_place(region: &str, account: &str) -> Result<(), OpenError> {
    let parts: Vec<&str> = region.split('-').collect();
    let is_region = matches!(parts.as_slice(), [words @ .., number]
        if (2..=3).contains(&words.len())
            && words.iter().all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase()))
            && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        && region.len() <= 32;
    if !is_region {
        return Err(OpenError::Options { what: format!("region {region} is not of AWS' form") });
    }
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        return Err(OpenError::Options { what: format!("account {account} is not 12 digits") });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_the_form_of_aws() {
        let check = |region: &str, account: &str| check_place(region, account).is_ok();
        assert!(check("us-east-1", "000000000000") && check("us-gov-west-1", "123456789012"));
        for region in ["", "local", "local-1", "us-east-", "US-east-1", "a-b-c-d-1"] {
            assert!(!check(region, "000000000000"), "{region}");
        }
        assert!(!check("us-east-1", "12") && !check("us-east-1", "00000000000x"));
    }
}
