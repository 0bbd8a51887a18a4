//! The service: the two choreographies that every operation goes through.
//!
//! `change` is for management: re-read, check, edit a copy, audit record, commit, swap. `using` is
//! for everything that leaves the ring as it is: look, work without a lock, audit record. Nothing
//! else locks, checks, commits or audits. What the operations do lies in a file per family.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::kms::audit::{AuditConfig, AuditHead, AuditLog, Params, Record, UseParams, VerifyKey};
use crate::kms::db::{DbError, KeyDb, RowId, Rows, Snapshot, SqliteDb, Table};
use crate::kms::high_water::HighWater;
use crate::kms::open::{AUDIT_NAME, DATABASE_NAME, check_time, create_database, is_read_only};
use crate::kms::regions::WeakRegions;
use crate::kms::ring::{KeyChange, KeyRing};
use crate::kms::root::{RootKey, RootKeys};
use crate::kms::rows::{META_AUDIT, META_DATABASE, decode_ring, difference, ring_mac};
use crate::kms::slot::open_slots;
use crate::kms::store::RowKey;
use crate::kms::view::{Draft, View};
use crate::kms::{
    Argon2Cost, Client, KeyArn, KeyRef, KeyService, KmsError, KmsOptions, Op, OpenError, Principal,
    Process, Regions, Timestamp, Unlock, Via,
};
use crate::sync::{Mutex, Rank, RwLock};

/// The key management service, asked by one principal. Clones are cheap and share one service.
#[derive(Clone)]
pub struct Kms {
    pub(crate) core: Arc<Core>,
    principal: Arc<Principal>,
    /// For which client on the wire.
    client: Option<Arc<Client>>,
    via: Via,
}

/// What all handles share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: KmsOptions,
    /// The medium cannot be written: nothing can be changed.
    pub(crate) is_read_only: bool,
    pub(crate) high_water: HighWater,
    keys: RootKeys,
    /// Where the database lies.
    dir: PathBuf,
    /// The other Regions of the installation, while somebody has them open.
    regions: OnceLock<WeakRegions>,
    /// Guards the database and the rows as last seen; held through a whole change.
    store: Mutex<Store>,
    /// The ring as last committed or seen; held for a clone or a swap of the pointer.
    ring: RwLock<Arc<KeyRing>>,
    audit: AuditLog,
    hooks: Mutex<Vec<Hook>>,
    root: Arc<Principal>,
    filesystem: Arc<Principal>,
    itself: Arc<Principal>,
}

#[derive(Debug)]
struct Store {
    db: Box<dyn KeyDb>,
    rows: Rows,
    revision: u64,
    /// A commit failed, so that it is not known what the database holds.
    is_unsure: bool,
}

#[derive(Clone)]
struct Hook(Arc<dyn Fn(&KeyChange) + Send + Sync>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

impl std::fmt::Debug for Kms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kms")
            .field("region", &self.region())
            .field("account", &self.account())
            .field("principal", &self.principal)
            .finish()
    }
}

impl Kms {
    /// Makes a KMS in a directory, which gets `keys.db` and `audit.log`, and opens it.
    ///
    /// # Errors
    /// [`OpenError::Exists`] if there is one, and those of [`Self::open`].
    pub fn create(
        dir: &Path,
        unlock: &Unlock,
        cost: Argon2Cost,
        options: KmsOptions,
    ) -> Result<Self, OpenError> {
        let root = create_database(dir, unlock, cost, &options)?;
        Self::open_with(dir, options, |_| Ok(root))
    }

    /// Opens the KMS in a directory, as the account root.
    ///
    /// # Errors
    /// [`OpenError`]; a wrong passphrase is told apart from a broken file.
    pub fn open(dir: &Path, unlock: &Unlock, options: KmsOptions) -> Result<Self, OpenError> {
        Self::open_with(dir, options, |rows| {
            let slots = rows.iter().filter(|(row, _)| row.table == Table::Slots);
            let slots = slots.map(|(row, body)| (row.id.as_str(), body.as_slice()));
            open_slots(slots, unlock).map(|(_, root)| root)
        })
    }

    fn open_with(
        dir: &Path,
        options: KmsOptions,
        root_key: impl FnOnce(&Rows) -> Result<RootKey, OpenError>,
    ) -> Result<Self, OpenError> {
        let path = dir.join(DATABASE_NAME);
        if !path.try_exists()? {
            return Err(OpenError::Missing { path });
        }
        let is_read_only = is_read_only(dir)?;
        let db = match is_read_only {
            true => SqliteDb::open_read_only(&path)?,
            false => SqliteDb::open(&path)?,
        };
        let snapshot = db.load()?;
        let root = root_key(&snapshot.rows)?;
        let corrupt = |what: &str| OpenError::Corrupt { what: what.to_owned() };
        let meta = |name: &str| snapshot.rows.get(&RowId::new(Table::Meta, name));
        let database = meta(META_DATABASE).ok_or_else(|| corrupt("no id"))?;
        let keys = RootKeys::derive(&root, database);
        let head = meta(META_AUDIT).and_then(|bytes| AuditHead::parse(bytes));
        let expected = head.ok_or_else(|| corrupt("no head of the audit log"))?;
        let ring = verify_ring(&snapshot, &keys, None)?;
        let own_log = dir.join(AUDIT_NAME);
        let (path, goes_on_from) = match is_read_only {
            true => (options.read_only_audit.path(database)?, Some(own_log)),
            false => (own_log, None),
        };
        check_time(&snapshot.rows, options.time)?;
        let audit = AuditLog::open(AuditConfig {
            path,
            goes_on_from,
            region: ring.region.clone(),
            account: ring.account.clone(),
            key: Arc::clone(&keys.audit),
            random: Arc::clone(&options.random),
            expected,
            limits: options.audit,
            clock: Arc::clone(&options.clock),
            watch: options.watch.clone(),
        })?;
        let account = ring.account.clone();
        let Snapshot { revision, rows, .. } = snapshot;
        let store = Store { db: Box::new(db), rows, revision, is_unsure: false };
        let root = Arc::new(Principal::root(&account));
        let high_water = HighWater::default();
        high_water.raise(ring.noted);
        let core = Core {
            options,
            is_read_only,
            high_water,
            keys,
            dir: dir.to_owned(),
            regions: OnceLock::new(),
            store: Mutex::new(Rank::Database, store),
            ring: RwLock::new(Rank::Ring, Arc::new(ring)),
            audit,
            hooks: Mutex::new(Rank::Ring, Vec::new()),
            root: Arc::clone(&root),
            filesystem: Arc::new(Principal::service(Principal::FILESYSTEM, &account)),
            itself: Arc::new(Principal::service(Principal::KMS, &account)),
        };
        Ok(Self { core: Arc::new(core), principal: root, client: None, via: Via::Process })
    }

    /// Lets it find the other Regions of its installation.
    pub(super) fn join_regions(&self, regions: WeakRegions) {
        let _joined_before = self.core.regions.set(regions);
    }

    /// All Regions of its installation. They are opened for this call if nobody has them open.
    pub(super) fn regions(&self) -> Result<Regions, KmsError> {
        match self.core.regions.get() {
            Some(regions) => regions.upgrade().ok_or_else(|| internal("Regions are closed")),
            None => Regions::look(&self.as_root(), &self.core.dir).map_err(internal),
        }
    }

    /// Whether somebody has the other Regions open.
    pub(super) fn has_regions(&self) -> bool {
        self.core.regions.get().is_some_and(|regions| regions.upgrade().is_some())
    }

    /// The root key of an account in a Region of this installation.
    pub(crate) fn region_root(&self, account: &str, region: &str) -> RootKey {
        self.core.keys.region_root(account, region)
    }

    /// Opens the key database of an account in a Region of this installation.
    pub(crate) fn open_region(
        &self,
        dir: &Path,
        account: &str,
        region: &str,
    ) -> Result<Self, OpenError> {
        let root = self.region_root(account, region);
        let kms = Self::open_with(dir, self.core.options.clone(), |_| Ok(root))?;
        match kms.account() == account && kms.region() == region {
            true => Ok(kms),
            false => Err(OpenError::Corrupt { what: format!("not of {account} in {region}") }),
        }
    }

    /// The time by the service's clock.
    pub fn time(&self) -> SystemTime {
        self.core.options.clock.now()
    }

    /// The same service, asked by another principal.
    pub fn caller(&self, principal: Principal) -> Self {
        Self { principal: Arc::new(principal), ..self.clone() }
    }

    /// The same service, asked on another way.
    #[must_use]
    pub fn reached(&self, via: Via) -> Self {
        Self { via, ..self.clone() }
    }

    /// The account root: the owner of the key database.
    pub fn owner(&self) -> Principal {
        Principal::clone(&self.core.root)
    }

    /// The four questions of the filesystem.
    pub fn as_service(&self) -> Arc<dyn KeyService> {
        Arc::new(self.as_filesystem())
    }

    /// The same service, asked by the account root.
    pub fn as_root(&self) -> Self {
        self.own(&self.core.root)
    }

    /// The same service, asked by the filesystem.
    pub(crate) fn as_filesystem(&self) -> Self {
        self.own(&self.core.filesystem)
    }

    /// The same service, asked by the filesystem, or by the client on the wire who speaks for one.
    pub(crate) fn as_teller(&self) -> Self {
        if self.client.is_some() { self.clone() } else { self.as_filesystem() }
    }

    /// The same service, acting by itself.
    pub(crate) fn as_itself(&self) -> Self {
        self.own(&self.core.itself)
    }

    fn own(&self, principal: &Arc<Principal>) -> Self {
        let (core, principal) = (Arc::clone(&self.core), Arc::clone(principal));
        Self { core, principal, client: None, via: Via::Process }
    }

    /// The same service, asked for a client on the wire: audit records tell which.
    #[must_use]
    pub fn from_client(&self, client: Client) -> Self {
        Self { client: Some(Arc::new(client)), ..self.clone() }
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The Region.
    pub fn region(&self) -> String {
        self.core.ring().region.clone()
    }

    /// The account.
    pub fn account(&self) -> String {
        self.core.ring().account.clone()
    }

    /// Calls `hook` after every committed change, of this process or another, with no lock held.
    pub fn on_change(&self, hook: Box<dyn Fn(&KeyChange) + Send + Sync>) {
        self.core.hooks.lock().push(Hook(Arc::from(hook)));
    }

    /// Picks up changes of another process; tells whether there were any.
    ///
    /// # Errors
    /// [`KmsError::Internal`] if the key database cannot be read or is corrupt.
    pub fn refresh(&self) -> Result<bool, KmsError> {
        let changes = {
            let mut store = self.core.store.lock();
            if store.db.revision().map_err(internal)? == store.revision && !store.is_unsure {
                return Ok(false);
            }
            self.core.reload(&mut store)?
        };
        self.core.announce(&changes);
        Ok(true)
    }

    /// Waits until every audit record so far is durable.
    ///
    /// # Errors
    /// [`KmsError::Internal`] if the audit log cannot be written.
    pub fn flush_audit(&self) -> Result<(), KmsError> {
        self.core.audit.flush().map(|_| ())
    }

    /// Where the audit log lies.
    pub fn audit_log(&self) -> &Path {
        self.core.audit.path()
    }

    /// What [`crate::kms::audit::verify`] needs to find a log that someone without the root key has
    /// written or cut.
    pub fn audit_key(&self) -> VerifyKey {
        let store = self.core.store.lock();
        let head = store.rows.get(&RowId::new(Table::Meta, META_AUDIT));
        let head = head.and_then(|bytes| AuditHead::parse(bytes)).unwrap_or_default();
        VerifyKey { seal: Arc::clone(&self.core.keys.audit), head }
    }

    /// Records a call that was refused before it was a request: its input did not parse. Tells the
    /// error to answer.
    pub fn record_refusal(&self, op: Op, error: KmsError) -> KmsError {
        match self.using::<()>(op, UseParams::default(), |_| Err(error.clone())) {
            Ok(()) => error,
            Err(recorded) => recorded,
        }
    }

    /// A management operation: changes the ring.
    ///
    /// Re-reads what other processes changed, lets `edit` check and edit a copy, writes the audit
    /// record, commits, and swaps. No effect without a record; refusals leave one too.
    pub(crate) fn change<T>(
        &self,
        op: Op,
        params: Map<String, Value>,
        edit: impl FnOnce(&mut Draft<'_>) -> Result<T, KmsError>,
    ) -> Result<T, KmsError> {
        let mut changes = Vec::new();
        let outcome = {
            let mut store = self.core.store.lock();
            self.change_locked(&mut store, op, params, edit, &mut changes)
        };
        self.core.announce(&changes);
        outcome
    }

    fn change_locked<T>(
        &self,
        store: &mut Store,
        op: Op,
        params: Map<String, Value>,
        edit: impl FnOnce(&mut Draft<'_>) -> Result<T, KmsError>,
        changes: &mut Vec<KeyChange>,
    ) -> Result<T, KmsError> {
        let core = &*self.core;
        let revision = store.db.begin().map_err(internal)?;
        if revision != store.revision || store.is_unsure {
            *changes = core.reload(store).inspect_err(|_| store.db.rollback())?;
        }
        let before = core.ring();
        let mut draft = self.draft(op, Params::Json(&params));
        let outcome = edit(&mut draft);
        let Draft { ring, now, touched, .. } = draft;
        let record = Record {
            time: now,
            op,
            principal: &self.principal,
            params: Params::Json(&params),
            keys: touched.each_ref().map(Option::as_ref),
            error: outcome.as_ref().err(),
            client: self.client.as_deref(),
            process: Process::current(),
        };
        let mut change = difference(&before, &ring, &core.keys, &*core.options.random);
        if outcome.is_err() || change.is_empty() {
            store.db.rollback();
            core.audit.later(&record)?;
            return outcome;
        }

        let head = core.audit.now(&record).inspect_err(|_| store.db.rollback())?;
        change.put(RowId::new(Table::Meta, META_AUDIT), head.encode());
        let mut rows = store.rows.clone();
        change.apply_to(&mut rows);
        let revision = revision.saturating_add(1);
        if let Err(error) =
            store.db.commit(&change, revision, &ring_mac(&rows, revision, &core.keys))
        {
            store.is_unsure = true;
            let error = internal(error);
            core.audit.later(&Record { error: Some(&error), ..record })?;
            return Err(error);
        }
        (store.rows, store.revision) = (rows, revision);
        changes.extend(core.swap(ring));
        outcome
    }

    /// Whether a change of a key would be admitted now: nothing is changed, and nothing recorded.
    pub(super) fn would_admit(&self, op: Op, key: &KeyRef) -> Result<(), KmsError> {
        let params = Map::new();
        self.draft(op, Params::Json(&params)).admit(key).map(|_| ())
    }

    fn draft<'a>(&'a self, op: Op, params: Params<'a>) -> Draft<'a> {
        let core = &*self.core;
        let ring = KeyRing::clone(&core.ring());
        let (principal, touched) = (&*self.principal, [None, None]);
        let via = self.via;
        Draft { ring, now: core.now(), kms: core, op, principal, via, params, touched }
    }

    /// Anything that leaves the ring as it is: a use of a key, or a look.
    ///
    /// `work` runs without a lock, on the ring as it is now. If it fails and another process has
    /// changed the ring meanwhile, it runs again.
    pub(crate) fn using<'p, T>(
        &self,
        op: Op,
        params: impl Into<Params<'p>>,
        work: impl Fn(&mut View<'_>) -> Result<T, KmsError>,
    ) -> Result<T, KmsError> {
        let (core, params) = (&*self.core, params.into());
        let (ring, newer);
        ring = core.ring();
        let (mut outcome, mut keys) = self.attempt(op, params, &ring, &work);
        let may_be_old = matches!(&outcome, Err(error) if *error != KmsError::DryRunOperation);
        if may_be_old && self.refresh().unwrap_or(false) {
            newer = core.ring();
            (outcome, keys) = self.attempt(op, params, &newer, &work);
        }
        core.audit.later(&Record {
            time: core.now(),
            op,
            principal: &self.principal,
            params,
            keys,
            error: outcome.as_ref().err(),
            client: self.client.as_deref(),
            process: Process::current(),
        })?;
        outcome
    }

    /// The outcome of a use on a ring, and the keys that it touched.
    fn attempt<'a, T>(
        &'a self,
        op: Op,
        params: Params<'a>,
        ring: &'a Arc<KeyRing>,
        work: &impl Fn(&mut View<'_>) -> Result<T, KmsError>,
    ) -> (Result<T, KmsError>, [Option<&'a KeyArn>; 2]) {
        let mut view = View {
            ring,
            kms: &self.core,
            op,
            principal: &self.principal,
            via: self.via,
            params,
            on_same_key: None,
            touched: [None, None],
        };
        let outcome = work(&mut view);
        (outcome, view.touched)
    }
}

impl Core {
    /// The ring as it is now.
    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.read())
    }

    /// The time now.
    pub(crate) fn now(&self) -> Timestamp {
        self.high_water.now(self.clock())
    }

    /// What the clock shows, believed or not.
    pub(crate) fn clock(&self) -> Timestamp {
        Timestamp::from_system(self.options.clock.now())
    }

    /// The key of secret columns, and of import tokens.
    pub(crate) fn row_key(&self) -> &RowKey {
        &self.keys.rows
    }

    /// Puts another ring in place and tells what changed.
    fn swap(&self, ring: KeyRing) -> Vec<KeyChange> {
        let ring = Arc::new(ring);
        let before = std::mem::replace(&mut *self.ring.write(), Arc::clone(&ring));
        ring.changes_since(&before)
    }

    /// Reads the database anew.
    fn reload(&self, store: &mut Store) -> Result<Vec<KeyChange>, KmsError> {
        let snapshot = store.db.load().map_err(internal)?;
        if snapshot.revision < store.revision {
            return Err(internal(DbError::Corrupt {
                what: format!("revision {} after {}", snapshot.revision, store.revision),
            }));
        }
        let known = self.ring();
        let ring = verify_ring(&snapshot, &self.keys, Some((&store.rows, &known)))
            .map_err(|error| KmsError::Internal { message: error.to_string() })?;
        store.rows = snapshot.rows;
        store.revision = snapshot.revision;
        store.is_unsure = false;
        self.high_water.raise(ring.noted);
        Ok(self.swap(ring))
    }

    /// Calls the hooks. No lock is held.
    fn announce(&self, changes: &[KeyChange]) {
        if changes.is_empty() {
            return;
        }
        let hooks = self.hooks.lock().clone();
        for change in changes {
            for hook in &hooks {
                (hook.0)(change);
            }
        }
    }
}

/// Checks the code over all rows, and reads them.
pub(crate) fn verify_ring(
    snapshot: &Snapshot,
    keys: &RootKeys,
    known: Option<(&Rows, &KeyRing)>,
) -> Result<KeyRing, OpenError> {
    let right = ring_mac(&snapshot.rows, snapshot.revision, keys);
    if !bool::from(subtle::ConstantTimeEq::ct_eq(right.as_slice(), snapshot.mac.as_slice())) {
        return Err(OpenError::Corrupt { what: "its rows are not those last written".to_owned() });
    }
    decode_ring(&snapshot.rows, keys, known).map_err(|bad| OpenError::Corrupt { what: bad.0 })
}

pub(crate) fn internal(error: impl std::fmt::Display) -> KmsError {
    KmsError::Internal { message: error.to_string() }
}
