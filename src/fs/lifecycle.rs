//! A volume from init to its clean end: configuration, lock, clean marker, checkpoints.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::Clock;
use crate::crypto::kdf::VolumeKeys;
use crate::crypto::suite::Suite;
use crate::format::home::DirHome;
use crate::format::ids::{DirId, VolumeId};
use crate::format::marker::DirMarker;
use crate::format::name::{MARKER_NAME, TEMPORARY_PREFIX, VOLUME_DIR};
use crate::format::state::VolumeState;
use crate::format::volume::{
    self, KeyPolicyEntry, KmsPlace, NameBinding, VolumeConfig, WrappedVolumeKey,
};
use crate::fs::ahead::Ahead;
use crate::fs::content::Trust;
use crate::fs::data_keys::{DEFAULT_POLICY, DataKeys, volume_context};
use crate::fs::descriptors::OpenNodes;
use crate::fs::leaving::Leaving;
use crate::fs::names::OWN_FILE_MODE;
use crate::fs::nodes::NodeTable;
use crate::fs::rewrap_queue::RewrapQueue;
use crate::fs::traces::{LastCheckpoint, OldMoves};
use crate::fs::volume::{Checkpoints, MARKER_LEN_MAX, lock_slot, own_name};
use crate::fs::{CorruptPart, FsError, Volume};
use crate::kms::{CiphertextBlob, KeyRef, KeyService, KeyTrouble};
use crate::lower::{
    Access, LockedFile, LowerDir, LowerError, LowerFile, LowerTime, SyncScope,
    raise_descriptor_limit,
};
use crate::name::LowerName;
use crate::random::{Random, random_array};
use crate::sync::{LeafMutex, Mutex, Rank, RwLock};
use crate::units::LowerOffset;

/// Names in `.kmsfs`.
pub(super) const CONFIG_NAME: &str = "volume.toml";
const STATE_NAME: &str = "state";
const LOCK_NAME: &str = "lock";

/// Mode of `.kmsfs`.
const OWN_DIR_MODE: u32 = 0o700;

/// Bytes; far above what a table of key policies needs.
const CONFIG_LEN_MAX: usize = 1024 * 1024;
const STATE_LEN_MAX: usize = 256;

/// What a new volume is made of.
#[derive(Debug)]
pub struct NewVolume<'a> {
    /// Where its KMS lives.
    pub kms: KmsPlace,
    /// What its key policy 0 names: an alias.
    pub alias: &'a str,
    /// The key service.
    pub service: &'a dyn KeyService,
    /// Where random bytes come from.
    pub random: &'a dyn Random,
    /// Where the time comes from.
    pub clock: &'a dyn Clock,
}

/// What can be said of a volume without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSummary {
    /// Its identity.
    pub volume: VolumeId,
    /// Where its KMS lives.
    pub kms: KmsPlace,
    /// The KMS key that wraps the volume key.
    pub key_arn: String,
    /// The algorithms of its files.
    pub suite: Suite,
}

/// How to open a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Nothing is changed, not even the clean marker.
    pub read_only: bool,
}

/// Makes a volume of an empty directory, with names that are bound. The embedded key database may lie
/// there already.
///
/// # Errors
/// ENOTEMPTY, EEXIST; `FsError::Key`, `FsError::Lower`.
pub fn init(lower: &Path, new: &NewVolume<'_>) -> Result<VolumeId, FsError> {
    init_with(lower, new, NameBinding::Bound)
}

/// As [`init`], with names that are bound or free, and stay so.
///
/// # Errors
/// As [`init`].
pub fn init_with(
    lower: &Path,
    new: &NewVolume<'_>,
    names: NameBinding,
) -> Result<VolumeId, FsError> {
    let root = LowerDir::open_root(lower)?;
    check_unused(&root)?;
    let own_dir_name = own_name(VOLUME_DIR)?;
    make_dir(&root, &own_dir_name)?;
    let own = root.open_dir(&own_dir_name)?;
    let volume = VolumeId(random_array(new.random));
    let generated =
        new.service.generate_data_key(&KeyRef::new(new.alias), &volume_context(volume)?)?;
    let keys = VolumeKeys::derive(&generated.plain.0, &volume.0);

    let dir = DirId(random_array(new.random));
    let marker = DirMarker { dir, policy: DEFAULT_POLICY, home: DirHome::default() };
    let bytes = marker.encode(volume, &keys.markers);
    store(&root, MARKER_NAME, &bytes, new.random)?;
    let (secs, nanos) = since_epoch(new.clock.now());
    let state = VolumeState { checkpoint_secs: secs, checkpoint_nanos: nanos, ..CLOSED };
    store(&own, STATE_NAME, &state.encode(&keys.checkpoint), new.random)?;
    let config = VolumeConfig {
        volume,
        suite: Suite::Xaes256Gcm,
        created: timestamp(secs),
        policies: vec![KeyPolicyEntry { number: DEFAULT_POLICY, alias: new.alias.to_owned() }],
        kms: new.kms.clone(),
        names,
        volume_key: WrappedVolumeKey {
            key_arn: generated.wrapped.key_arn.as_str().to_owned(),
            material: generated.wrapped.material.map(|material| material.0),
            wrapped: generated.wrapped.blob.0,
        },
    };
    // Last: a directory with a configuration is a volume.
    store(&own, CONFIG_NAME, config.encode(&keys.config).as_bytes(), new.random)?;
    root.sync()?;
    root.sync_fs()?;
    Ok(volume)
}

/// Reads what can be said without a key. Nothing of it is authenticated.
///
/// # Errors
/// `FsError::VolumeMissing`, `FsError::VolumeConfig`, `FsError::Lower`.
pub fn probe(lower: &Path) -> Result<VolumeSummary, FsError> {
    let (_, _, config) = load_config(lower)?;
    Ok(VolumeSummary {
        volume: config.volume(),
        kms: config.kms().clone(),
        key_arn: config.volume_key().key_arn.clone(),
        suite: config.suite(),
    })
}

/// Proves that a key service opens a volume, and changes nothing: the volume key is unwrapped, and
/// verifies the configuration and the root's marker.
///
/// # Errors
/// As [`Volume::open`], but for a lock: a mounted volume is proved as well.
pub fn rehearse(lower: &Path, service: &dyn KeyService) -> Result<VolumeId, FsError> {
    let (root, config, keys) = open_unlocked(lower, service)?;
    let volume = config.volume;
    let marker = root.read_small(&own_name(MARKER_NAME)?, MARKER_LEN_MAX)?;
    DirMarker::parse(&marker, volume, &keys.markers)
        .map_err(|_| FsError::Corrupt(CorruptPart::Marker))?;
    Ok(volume)
}

/// Root, verified configuration and keys of a volume that is not opened.
pub(super) fn open_unlocked(
    lower: &Path,
    service: &dyn KeyService,
) -> Result<(LowerDir, VolumeConfig, VolumeKeys), FsError> {
    let (root, _, unverified) = load_config(lower)?;
    let keys = open_volume_key(service, unverified.volume_key(), unverified.volume())?;
    let config = unverified.verify(&keys.config).map_err(FsError::VolumeConfig)?;
    Ok((root, config, keys))
}

/// Keeps everybody else out of a volume, as long as the answer is held.
pub(super) fn lock_for_writing(root: &LowerDir) -> Result<Option<LockedFile>, FsError> {
    let own = root.open_dir(&own_name(VOLUME_DIR)?)?;
    take_lock(&own, OpenOptions { read_only: false })
}

/// Unwraps the volume key.
pub(super) fn open_volume_key(
    service: &dyn KeyService,
    wrapped: &WrappedVolumeKey,
    volume: VolumeId,
) -> Result<VolumeKeys, FsError> {
    let blob = CiphertextBlob(wrapped.wrapped.clone());
    let key = KeyRef::new(&wrapped.key_arn);
    let plain = service.decrypt(&key, &blob, &volume_context(volume)?).map_err(|error| {
        match error.trouble() {
            // The database knows the key, but the wrapped volume key is not its own.
            KeyTrouble::Rejected => FsError::VolumeConfig(crate::format::FormatError::BadTag),
            _ => FsError::Key(error),
        }
    })?;
    Ok(VolumeKeys::derive(&plain.0, &volume.0))
}

impl Volume {
    /// Opens a volume; after an unclean stop, mends what was not synced (read-write only).
    ///
    /// # Errors
    /// `FsError::VolumeBusy` if it is open elsewhere; `FsError::StateUnknown` if nothing tells
    /// whether it was closed (read-write only); `FsError::VolumeMissing`, `FsError::VolumeConfig`,
    /// `FsError::Key`, `FsError::Lower`.
    pub fn open(
        lower: &Path,
        service: Arc<dyn KeyService>,
        random: Arc<dyn Random>,
        clock: Arc<dyn Clock>,
        options: OpenOptions,
    ) -> Result<Self, FsError> {
        let (root, own, unverified) = load_config(lower)?;
        let lock = take_lock(&own, options)?;
        let volume = unverified.volume();
        let keys = open_volume_key(&*service, unverified.volume_key(), volume)?;
        let config = unverified.verify(&keys.config).map_err(FsError::VolumeConfig)?;

        let known = load_state(&own, &keys);
        if known.is_none() && !options.read_only {
            return Err(FsError::StateUnknown);
        }
        let state_is_known = known.is_some();
        // Not to be taken for a crash, which would excuse what somebody cut off.
        let state = known.unwrap_or(CLOSED);
        let trust = match (options.read_only, state.clean) {
            (true, false) => Trust::Lenient,
            (_, _) => Trust::Strict,
        };
        let data_keys = DataKeys::new(service, random, volume, &config.policies);
        let root_pin = root.pin_self()?;
        let binding = config.names;
        let mut opened = Self {
            nodes: NodeTable::new(&root_pin.stat()?),
            root: Arc::new(root),
            root_pin,
            own: Arc::new(own),
            config: RwLock::new(Rank::Cache, config),
            keys,
            data_keys,
            open_nodes: OpenNodes::new(raise_descriptor_limit()),
            leaving: Leaving::default(),
            ahead: Ahead::default(),
            rewraps: RewrapQueue::default(),
            clock,
            trust,
            binding,
            read_only: options.read_only,
            dirty: AtomicBool::new(false),
            lower_path: lower.to_path_buf(),
            recovery: None,
            state_is_known,
            checkpoints: Mutex::new(
                Rank::Cache,
                Checkpoints {
                    last: (state.checkpoint_secs, state.checkpoint_nanos),
                    unmended_since: None,
                    moves: OldMoves::default(),
                },
            ),
            last_checkpoint: LastCheckpoint::none(),
            storing: LeafMutex::new(()),
            lock: lock_slot(lock),
        };
        if !options.read_only {
            if !state.clean {
                let since = (state.checkpoint_secs, state.checkpoint_nanos);
                let report = opened.recover(&state)?;
                if report.files_postponed > 0 {
                    let mut checkpoints = opened.checkpoints.lock();
                    checkpoints.unmended_since = Some(since);
                    if state.old_moves {
                        checkpoints.moves.keep();
                    }
                }
                opened.recovery = Some(report);
                opened.root.sync_fs()?;
            }
            let now = since_epoch(opened.clock.now());
            opened.begin_checkpoint(now);
            opened.store_state_at(false, now)?;
        }
        Ok(opened)
    }

    /// Writes a new state that says that the volume is closed, if the one that is there cannot be read.
    /// What does not fit in a file is then corrupt, and not the trace of a crash. Whether it was
    /// needed.
    ///
    /// # Errors
    /// As [`Volume::open`].
    pub fn renew_state(
        lower: &Path,
        service: Arc<dyn KeyService>,
        random: Arc<dyn Random>,
        clock: Arc<dyn Clock>,
    ) -> Result<bool, FsError> {
        let options = OpenOptions { read_only: true };
        let volume = Self::open(lower, service, random, clock, options)?;
        if !volume.state_is_known {
            volume.store_state_at(true, since_epoch(volume.clock.now()))?;
        }
        Ok(!volume.state_is_known)
    }

    /// Identity of the volume.
    pub fn id(&self) -> VolumeId {
        self.data_keys.volume()
    }

    /// Makes everything so far durable and notes the moment: a recovery looks only at what changed
    /// since. Does nothing if nothing was written.
    ///
    /// # Errors
    /// `FsError::Lower`.
    pub fn checkpoint(&self) -> Result<(), FsError> {
        if self.read_only || !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.store_checkpoint(false).inspect_err(|_| self.dirty.store(true, Ordering::Release))
    }

    /// The clean end: everything durable, the volume marked clean, its lock let go.
    ///
    /// # Errors
    /// `FsError::Lower`; the volume counts as unclean then.
    pub fn shutdown(&self) -> Result<(), FsError> {
        self.rewraps.stop();
        if self.lock.lock().is_none() || self.read_only {
            *self.lock.lock() = None;
            return Ok(());
        }
        let stored = self.store_checkpoint(true);
        *self.lock.lock() = None;
        stored
    }

    fn store_checkpoint(&self, clean: bool) -> Result<(), FsError> {
        // First: a hole that is made while others are told of must lie behind the checkpoint.
        let now = since_epoch(self.clock.now());
        self.begin_checkpoint(now);
        for node in self.open_nodes.with_keys() {
            if node.file.has_untold_holes() {
                self.with_file(&node, |env| node.file.tell_holes(env))?;
            }
        }
        let durable = self.nodes.take_undurable();
        match self.root.sync_fs() {
            Ok(()) => self.store_state_at(clean, now),
            Err(error) => {
                self.nodes.put_undurable(durable);
                // The next sync will succeed, although pages are lost.
                let mut checkpoints = self.checkpoints.lock();
                let last = checkpoints.last;
                checkpoints.unmended_since.get_or_insert(last);
                checkpoints.moves.keep();
                drop(checkpoints);
                Err(error.into())
            }
        }
    }

    fn begin_checkpoint(&self, (secs, nanos): (i64, u32)) {
        self.last_checkpoint.begin(LowerTime { secs, nanos });
        self.checkpoints.lock().moves.checkpoint();
    }

    fn store_state_at(&self, clean: bool, at: (i64, u32)) -> Result<(), FsError> {
        let _one = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        self.store_state(clean, at)
    }

    /// Writes the state of an open volume anew, with the last checkpoint: for what it has to tell.
    pub(super) fn store_state_again(&self) -> Result<(), FsError> {
        let _one = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.checkpoints.lock().last;
        self.store_state(false, last)
    }

    fn store_state(&self, clean: bool, at: (i64, u32)) -> Result<(), FsError> {
        let (unmended_since, old_moves) = {
            let mut checkpoints = self.checkpoints.lock();
            (checkpoints.unmended_since, checkpoints.moves.write())
        };
        // What could not be mended must be looked at again.
        let (checkpoint_secs, checkpoint_nanos) = unmended_since.unwrap_or(at);
        let clean = clean && unmended_since.is_none();
        let state = VolumeState { clean, checkpoint_secs, checkpoint_nanos, old_moves };
        let bytes = state.encode(&self.keys.checkpoint);
        match store(&self.own, STATE_NAME, &bytes, self.data_keys.random()) {
            // Whoever wants to make room must be able to mount. The state is less than a sector.
            Err(FsError::Lower(LowerError { errno: libc::ENOSPC | libc::EDQUOT, .. })) => {
                let state = self.own.open_file(&own_name(STATE_NAME)?, Access::ReadWrite)?;
                state.write_at(LowerOffset(0), &bytes)?;
                state.sync(SyncScope::All)?;
            }
            stored => stored?,
        }
        let mut checkpoints = self.checkpoints.lock();
        checkpoints.last = (checkpoint_secs, checkpoint_nanos);
        if old_moves {
            checkpoints.moves.was_told();
        }
        Ok(())
    }

    /// Writes a changed configuration.
    pub(super) fn store_config(&self, config: &VolumeConfig) -> Result<(), FsError> {
        let text = config.encode(&self.keys.config);
        store(&self.own, CONFIG_NAME, text.as_bytes(), self.data_keys.random())
    }
}

/// Root, `.kmsfs` and the configuration that lies there.
fn load_config(lower: &Path) -> Result<(LowerDir, LowerDir, volume::UnverifiedConfig), FsError> {
    let missing = |error: LowerError| match error.errno {
        libc::ENOENT | libc::ENOTDIR => FsError::VolumeMissing,
        _ => FsError::Lower(error),
    };
    let root = LowerDir::open_root(lower).map_err(missing)?;
    let own = root.open_dir(&own_name(VOLUME_DIR)?).map_err(missing)?;
    let bytes = own.read_small(&own_name(CONFIG_NAME)?, CONFIG_LEN_MAX).map_err(missing)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| FsError::VolumeConfig(crate::format::FormatError::BadText { line: 0 }))?;
    let config = volume::parse(&text).map_err(FsError::VolumeConfig)?;
    Ok((root, own, config))
}

fn take_lock(own: &LowerDir, options: OpenOptions) -> Result<Option<LockedFile>, FsError> {
    match own.lock_exclusive(&own_name(LOCK_NAME)?) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(FsError::VolumeBusy),
        // On read-only media nobody can write, so nobody has to be kept out.
        Err(error) if options.read_only && matches!(error.errno, libc::EROFS | libc::EACCES) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What is taken for true where the state is unknown.
const CLOSED: VolumeState =
    VolumeState { clean: true, checkpoint_secs: i64::MIN, checkpoint_nanos: 0, old_moves: false };

/// The clean marker; `None` if it is missing or wrong. No crash leaves it so.
fn load_state(own: &LowerDir, keys: &VolumeKeys) -> Option<VolumeState> {
    let name = own_name(STATE_NAME).ok()?;
    let bytes = own.read_small(&name, STATE_LEN_MAX).ok()?;
    VolumeState::parse(&bytes, &keys.checkpoint).ok()
}

/// Refuses a directory that is in use.
fn check_unused(root: &LowerDir) -> Result<(), FsError> {
    let mut buffer = Vec::with_capacity(4096);
    for entry in root.entries(0, &mut buffer)? {
        let is_ours = entry.name == VOLUME_DIR.as_bytes() || entry.name == MARKER_NAME.as_bytes();
        if !is_ours && !matches!(entry.name, b"." | b".." | b"lost+found") {
            return Err(FsError::Errno(libc::ENOTEMPTY));
        }
    }
    match root.open_dir(&own_name(VOLUME_DIR)?) {
        Ok(own) => match own.stat(&own_name(CONFIG_NAME)?) {
            Ok(_) => Err(FsError::Errno(libc::EEXIST)),
            Err(_) => Ok(()),
        },
        Err(_) => Ok(()),
    }
}

fn make_dir(root: &LowerDir, name: &LowerName) -> Result<(), FsError> {
    match root.mkdir(name, OWN_DIR_MODE) {
        Err(error) if error.errno != libc::EEXIST => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Replaces one of the volume's own files, durably.
pub(super) fn store(
    dir: &LowerDir,
    name: &str,
    bytes: &[u8],
    random: &dyn Random,
) -> Result<(), FsError> {
    let id: [u8; 8] = random_array(random);
    let temporary = own_name(&format!("{TEMPORARY_PREFIX}{}", crate::codec::hex(&id)))?;
    Ok(dir.replace_file(&own_name(name)?, &temporary, bytes, OWN_FILE_MODE)?)
}

/// Seconds and nanoseconds since 1970, as stat counts them.
fn since_epoch(time: SystemTime) -> (i64, u32) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

/// RFC 3339 in UTC, from the days-to-date algorithm of the proleptic Gregorian calendar.
fn timestamp(secs: i64) -> String {
    let (days, rest) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn timestamps_are_rfc_3339() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_826_154), "2000-02-29T12:09:14Z");
        assert_eq!(timestamp(-1), "1969-12-31T23:59:59Z");
    }
}
