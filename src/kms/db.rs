//! The key database: rows in SQLite behind a small trait. It knows bytes, not keys.
//! docs/KMS.md, "Key database".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

/// Where rows are kept. One writer at a time, in this process or another.
pub(crate) trait KeyDb: Send + Debug {
    /// Number of the last committed change.
    fn revision(&self) -> Result<u64, DbError>;

    /// Everything, as of one revision.
    fn load(&self) -> Result<Snapshot, DbError>;

    /// Begins a change: no other process can change anything until [`Self::commit`] or
    /// [`Self::rollback`]. Tells the revision that the change starts from.
    fn begin(&self) -> Result<u64, DbError>;

    /// Writes and ends a change; durable on return.
    fn commit(&self, change: &RowChange, revision: u64, mac: &[u8; 32]) -> Result<(), DbError>;

    /// Ends a change without effect.
    fn rollback(&self);
}

/// A table. The order is that of the authentication code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    /// The root key, sealed.
    Slots,
    /// Facts about the database itself.
    Meta,
    /// Keys but for their materials.
    Keys,
    /// Materials.
    Materials,
    /// Aliases.
    Aliases,
}

impl Table {
    const ALL: [Self; 5] = [Self::Slots, Self::Meta, Self::Keys, Self::Materials, Self::Aliases];

    /// Number in the authentication code and in additional data.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Slots => 1,
            Self::Meta => 2,
            Self::Keys => 3,
            Self::Materials => 4,
            Self::Aliases => 5,
        }
    }

    /// Name in SQL.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Slots => "slots",
            Self::Meta => "meta",
            Self::Keys => "keys",
            Self::Materials => "materials",
            Self::Aliases => "aliases",
        }
    }
}

/// Identity of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RowId {
    /// The table.
    pub(crate) table: Table,
    /// Its id there.
    pub(crate) id: String,
}

impl RowId {
    /// A row of a table.
    pub(crate) fn new(table: Table, id: &str) -> Self {
        Self { table, id: id.to_owned() }
    }

    /// What is bound to a sealed column, so that it opens nowhere else: a label, the table, the id
    /// behind its length, and what else is said in the clear.
    pub(crate) fn additional_data(&self, clear: &[u8]) -> Vec<u8> {
        let mut out = b"kmsfs v1 kms row".to_vec();
        out.push(self.table.number());
        out.extend_from_slice(&u32::try_from(self.id.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(clear);
        out
    }
}

/// Bodies of rows.
pub(crate) type Rows = BTreeMap<RowId, Vec<u8>>;

/// Everything, as of one revision.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Number of the last committed change.
    pub(crate) revision: u64,
    /// The code over rows and revision.
    pub(crate) mac: Vec<u8>,
    /// The rows.
    pub(crate) rows: Rows,
}

/// Rows to write and to delete.
#[derive(Debug, Default)]
pub(crate) struct RowChange {
    puts: Rows,
    deletes: BTreeSet<RowId>,
}

impl RowChange {
    /// Writes a row.
    pub(crate) fn put(&mut self, row: RowId, body: Vec<u8>) {
        self.puts.insert(row, body);
    }

    /// Deletes a row.
    pub(crate) fn delete(&mut self, row: RowId) {
        self.deletes.insert(row);
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    /// Whether secrets may be gone after it that were there before.
    fn destroys(&self) -> bool {
        let replaces = |row: &RowId| matches!(row.table, Table::Materials | Table::Slots);
        !self.deletes.is_empty() || self.puts.keys().any(replaces)
    }

    /// Does the same to rows in memory.
    pub(crate) fn apply_to(&self, rows: &mut Rows) {
        rows.retain(|row, _| !self.deletes.contains(row));
        rows.extend(self.puts.iter().map(|(row, body)| (row.clone(), body.clone())));
    }
}

/// What can go wrong with the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DbError {
    /// Another process held it for longer than [`BUSY_SECS_MAX`].
    Busy,
    /// It is no key database, or a broken one.
    Corrupt { what: String },
    /// The medium refused.
    Io { what: String },
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => write!(f, "key database is held by another process"),
            Self::Corrupt { what } => write!(f, "key database is corrupt: {what}"),
            Self::Io { what } => write!(f, "key database: {what}"),
        }
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        let what = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(
                ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::TypeMismatch,
            ) => Self::Corrupt { what },
            Some(_) => Self::Io { what },
            None => Self::Corrupt { what },
        }
    }
}

/// Seconds to wait for another process.
const BUSY_SECS_MAX: u64 = 10;
/// `application_id` of a key database: "kmsK".
const APPLICATION_ID: i32 = 0x6b6d_734b;
/// `user_version`: version of the tables.
const SCHEMA_VERSION: i32 = 1;

/// A key database in a SQLite file with a rollback journal.
///
/// The journal stays when a change is done, and is only marked as ended: a file that is unlinked could
/// come back after a power cut, and undo the change. Its bytes are wiped after a change that
/// destroys something, since they are what was there before.
#[derive(Debug)]
pub(crate) struct SqliteDb {
    connection: Connection,
    journal: PathBuf,
}

impl SqliteDb {
    /// Makes the tables in an empty file, and the first revision.
    pub(crate) fn create(path: &Path, rows: Rows, mac: &[u8; 32]) -> Result<(), DbError> {
        let db = Self { connection: Self::connect(path)?, journal: journal_of(path) };
        let mut sql = String::from("BEGIN IMMEDIATE;");
        for table in Table::ALL {
            sql.push_str(&format!(
                "CREATE TABLE {} (id TEXT PRIMARY KEY NOT NULL, body BLOB NOT NULL) \
                 WITHOUT ROWID, STRICT;",
                table.name()
            ));
        }
        sql.push_str(
            "CREATE TABLE ring (one INTEGER PRIMARY KEY NOT NULL CHECK (one = 1), \
             revision INTEGER NOT NULL, mac BLOB NOT NULL) STRICT;\
             INSERT INTO ring VALUES (1, 0, zeroblob(32));",
        );
        sql.push_str(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
        ));
        db.connection.execute_batch(&sql)?;
        let change = RowChange { puts: rows, deletes: BTreeSet::new() };
        let made = db.commit(&change, 1, mac);
        let journal = journal_of(path);
        drop(db);
        // The draft gets another name, and its journal nothing to do with that.
        let _none = std::fs::remove_file(journal);
        made
    }

    /// Opens a database.
    pub(crate) fn open(path: &Path) -> Result<Self, DbError> {
        let db = Self::check(Self::connect(path)?, path)?;
        // What a crash has kept from being wiped.
        db.wipe_journal();
        Ok(db)
    }

    /// Opens a database that is only read, or that lies on a medium that cannot be written. One that a
    /// power cut left in the middle of a change needs a medium that can.
    pub(crate) fn open_read_only(path: &Path) -> Result<Self, DbError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(BUSY_SECS_MAX))?;
        connection.execute_batch(
            "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
        )?;
        Self::check(connection, path)
    }

    /// Refuses what is no key database of a known version.
    fn check(connection: Connection, path: &Path) -> Result<Self, DbError> {
        let pragma = |name: &str| -> Result<i32, DbError> {
            Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
        };
        if pragma("application_id")? != APPLICATION_ID {
            return Err(DbError::Corrupt { what: "not a key database".to_owned() });
        }
        let version = pragma("user_version")?;
        if version != SCHEMA_VERSION {
            return Err(DbError::Corrupt { what: format!("unknown version {version}") });
        }
        Ok(Self { connection, journal: journal_of(path) })
    }

    fn connect(path: &Path) -> Result<Connection, DbError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(BUSY_SECS_MAX))?;
        let mode: String =
            connection
                .pragma_update_and_check(None, "journal_mode", "PERSIST", |row| row.get(0))?;
        if mode != "persist" {
            return Err(DbError::Corrupt { what: format!("journal mode is {mode}") });
        }
        // EXTRA syncs the directory too after a journal is removed, as it is where another program
        // has it so: with FULL, a power cut could bring it back, and it takes back a change that was
        // acknowledged.
        connection.execute_batch(
            "PRAGMA synchronous = EXTRA; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; \
             PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
        )?;
        Ok(connection)
    }

    /// Overwrites what an ended change has left in the journal. Not being able to undoes nothing: it
    /// is tried again when the database is next opened.
    fn wipe_journal(&self) {
        let wiped = self.try_wipe();
        self.rollback();
        if let Err(error) = wiped {
            tracing::warn!(%error, "key database: journal is not wiped");
        }
    }

    fn try_wipe(&self) -> Result<(), DbError> {
        let io = |error: io::Error| DbError::Io { what: error.to_string() };
        let mut journal = match OpenOptions::new().read(true).write(true).open(&self.journal) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(io)?,
        };
        let mut bytes = Vec::new();
        journal.read_to_end(&mut bytes).map_err(io)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        // No other process writes its journal now, and none that is needed is left: this has rolled
        // back what a crash had left.
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let len = journal.seek(SeekFrom::End(0)).map_err(io)?;
        let zeros = vec![0; usize::try_from(len).unwrap_or(0)];
        journal.write_all_at(&zeros, 0).and_then(|()| journal.sync_data()).map_err(io)
    }

    /// Everything, and the bytes of the file that hold it: nobody writes them meanwhile.
    pub(crate) fn load_with_file(&self, path: &Path) -> Result<(Snapshot, Vec<u8>), DbError> {
        self.connection.execute_batch("BEGIN DEFERRED")?;
        let loaded = self.load_now().and_then(|snapshot| {
            // Closing this descriptor lets go of the lock that SQLite holds in this process: last.
            let bytes = std::fs::read(path);
            Ok((snapshot, bytes.map_err(|error| DbError::Io { what: error.to_string() })?))
        });
        self.rollback();
        loaded
    }

    fn load_now(&self) -> Result<Snapshot, DbError> {
        let (revision, mac): (i64, Vec<u8>) = self
            .connection
            .prepare_cached("SELECT revision, mac FROM ring WHERE one = 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut rows = Rows::new();
        for table in Table::ALL {
            let sql = format!("SELECT id, body FROM {}", table.name());
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                rows.insert(RowId { table, id: row.get(0)? }, row.get(1)?);
            }
        }
        Ok(Snapshot { revision: from_sql(revision)?, mac, rows })
    }

    fn write(&self, change: &RowChange, revision: u64, mac: &[u8; 32]) -> Result<(), DbError> {
        for row in &change.deletes {
            let sql = format!("DELETE FROM {} WHERE id = ?1", row.table.name());
            self.connection.prepare_cached(&sql)?.execute([&row.id])?;
        }
        for (row, body) in &change.puts {
            let sql = format!("INSERT OR REPLACE INTO {} VALUES (?1, ?2)", row.table.name());
            self.connection.prepare_cached(&sql)?.execute(params![row.id, body])?;
        }
        self.connection
            .prepare_cached("UPDATE ring SET revision = ?1, mac = ?2 WHERE one = 1")?
            .execute(params![to_sql(revision)?, mac.as_slice()])?;
        Ok(self.connection.execute_batch("COMMIT")?)
    }
}

/// Where SQLite keeps the journal of a database.
fn journal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    name.into()
}

/// SQLite's integers are signed.
fn to_sql(revision: u64) -> Result<i64, DbError> {
    i64::try_from(revision).map_err(|_| DbError::Corrupt { what: "revision".to_owned() })
}

fn from_sql(revision: i64) -> Result<u64, DbError> {
    u64::try_from(revision).map_err(|_| DbError::Corrupt { what: "revision".to_owned() })
}

impl KeyDb for SqliteDb {
    fn revision(&self) -> Result<u64, DbError> {
        let mut statement =
            self.connection.prepare_cached("SELECT revision FROM ring WHERE one = 1")?;
        from_sql(statement.query_row([], |row| row.get(0))?)
    }

    fn load(&self) -> Result<Snapshot, DbError> {
        if !self.connection.is_autocommit() {
            return self.load_now();
        }
        self.connection.execute_batch("BEGIN DEFERRED")?;
        let snapshot = self.load_now();
        self.rollback();
        snapshot
    }

    fn begin(&self) -> Result<u64, DbError> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        self.revision().inspect_err(|_| self.rollback())
    }

    fn commit(&self, change: &RowChange, revision: u64, mac: &[u8; 32]) -> Result<(), DbError> {
        self.write(change, revision, mac).inspect_err(|_| self.rollback())?;
        if change.destroys() {
            self.wipe_journal();
        }
        Ok(())
    }

    fn rollback(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "key database: rollback");
        }
    }
}
