//! One lower regular file, shared by everybody who uses it: its locks, its header, its keys.
//!
//! No lock is held while the key service is asked: an operation that finds no keys lets go, loads
//! them, and starts again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::format::header::FileHeader;
use crate::format::ids::FileId;
use crate::format::layout::{HEADER_LEN, plain_len};
use crate::fs::FsError;
use crate::fs::content::{Trust, View, check_empty, u64_of, usize_of};
use crate::fs::data_keys::{DataKeys, FreshKey};
use crate::fs::gaps::Gaps;
use crate::fs::header_io::{HeaderState, OpenKeys, keeping_marks};
use crate::fs::home::Housing;
use crate::fs::recover::is_header_missing;
use crate::fs::traces::{LastCheckpoint, NEVER};
use crate::lower::{LowerFile, SyncScope};
use crate::sync::{Mutex, Rank, RwLock};
use crate::units::{PlainLen, PlainOffset};

/// Most runs of untold holes that are kept in memory; with more the file is marked SPARSE at once.
const GAP_RUNS_MAX: usize = 64;

/// What is known of a file's content.
#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing yet, or the keys were dropped.
    Unknown,
    /// The lower file is empty: no header, no data key.
    Empty,
    /// There is a header, and its keys are at hand.
    Open(Arc<OpenKeys>),
}

/// Guarded by the content lock.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) stage: Stage,
    /// Plaintext length, unless unknown.
    pub(super) size: PlainLen,
    /// The envelope says SPARSE.
    pub(super) sparse: bool,
    pub(super) gaps: Gaps,
}

/// One lower regular file.
#[derive(Debug)]
pub struct FileNode {
    /// Guards the records. Shared: read. Exclusive: write, truncate, a changed stage.
    pub(super) content: RwLock<Content>,
    /// Guards the header. Taken behind `content`, or alone by a rewrap.
    pub(super) header: Mutex<Option<HeaderState>>,
    /// Changes of the header on disk. What was read behind the count is still there if the count is the same
    /// under the content lock.
    header_changes: AtomicU64,
    /// Keys were loaded since somebody last asked.
    freshly_loaded: AtomicBool,
    /// Counts growths, and openings: what was grown before is not known to be durable.
    growths: AtomicU64,
    /// The growths that are known to be durable.
    durable_growths: AtomicU64,
    /// The last checkpoint behind which the file has left a trace (`traces`).
    pub(super) traced: AtomicI64,
}

/// What an operation needs besides the node.
#[derive(Clone, Copy, Debug)]
pub struct FileEnv<'a> {
    /// The lower file.
    pub file: &'a dyn LowerFile,
    /// Where keys come from.
    pub data_keys: &'a DataKeys,
    /// Key policy of a header that must be made.
    pub policy: u32,
    /// How far the lower file is trusted.
    pub trust: Trust,
    /// Where the file belongs.
    pub home: &'a dyn Housing,
    /// Behind which it must leave a trace before it is changed in place.
    pub checkpoint: &'a LastCheckpoint,
}

impl Default for FileNode {
    fn default() -> Self {
        let content = Content {
            stage: Stage::Unknown,
            size: PlainLen(0),
            sparse: false,
            gaps: Gaps::default(),
        };
        Self {
            content: RwLock::new(Rank::Content, content),
            header: Mutex::new(Rank::Header, None),
            header_changes: AtomicU64::new(0),
            freshly_loaded: AtomicBool::new(false),
            growths: AtomicU64::new(1),
            durable_growths: AtomicU64::new(0),
            traced: AtomicI64::new(NEVER),
        }
    }
}

impl FileNode {
    /// The lower file has just been made: it is empty, without a header.
    pub fn set_new(&self) {
        self.content.write().reset(Stage::Empty);
    }

    /// Reads plaintext into `out`; gives how many bytes there were.
    ///
    /// # Errors
    /// `FsError::Key`, `FsError::Corrupt`, `FsError::Lower`.
    pub fn read(
        &self,
        env: &FileEnv<'_>,
        at: PlainOffset,
        out: &mut [u8],
    ) -> Result<usize, FsError> {
        self.with_content(env, |content, view| {
            let left = usize_of(content.size.0.saturating_sub(at.0).min(u64_of(out.len())))?;
            let part = out.get_mut(..left).unwrap_or_default();
            match view {
                Some(view) => {
                    env.data_keys.count(view.keys, u64_of(left));
                    view.read(at, part).map(|()| left)
                }
                None => Ok(0),
            }
        })
    }

    /// Runs `work` under the shared lock with the keys at hand (no view: the file is empty).
    pub(super) fn with_content<T>(
        &self,
        env: &FileEnv<'_>,
        work: impl FnOnce(&Content, Option<&View<'_>>) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        loop {
            {
                let content = self.content.read();
                match &content.stage {
                    Stage::Empty => return work(&content, None),
                    Stage::Open(keys) if !env.data_keys.is_spent(keys) => {
                        return work(&content, Some(&content.view(env, keys)));
                    }
                    Stage::Open(_) | Stage::Unknown => {}
                }
            }
            self.retire_spent(env)?;
            self.load(env)?;
        }
    }

    /// Runs `work` under the exclusive lock with the keys at hand. An empty file gets a fresh data
    /// key, whose header `work` has to write.
    pub(super) fn with_content_mut<T>(
        &self,
        env: &FileEnv<'_>,
        work: impl FnOnce(&mut Content, &Header, &Arc<OpenKeys>) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        let mut fresh: Option<FreshKey> = None;
        loop {
            {
                let mut content = self.content.write();
                match &content.stage {
                    Stage::Open(keys) if !env.data_keys.is_spent(keys) => {
                        let keys = Arc::clone(keys);
                        let header = Header { bytes: None };
                        return work(&mut content, &header, &keys);
                    }
                    Stage::Empty => {
                        if let Some(fresh) = fresh.take() {
                            return self.with_fresh(&mut content, fresh, env, work);
                        }
                    }
                    Stage::Open(_) | Stage::Unknown => {}
                }
            }
            self.retire_spent(env)?;
            match self.is_empty(env)? {
                true => fresh = Some(env.data_keys.generate(env.policy)?),
                false => self.load(env)?,
            }
        }
    }

    /// As `with_content_mut` for a file that gets its header now.
    fn with_fresh<T>(
        &self,
        content: &mut Content,
        fresh: FreshKey,
        env: &FileEnv<'_>,
        work: impl FnOnce(&mut Content, &Header, &Arc<OpenKeys>) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        let random = env.data_keys.random();
        // Under the content lock: a rename moves the home of a file that has one.
        let home = env.home.home_of(fresh.file)?;
        let (state, keys, bytes) =
            HeaderState::create(env.data_keys.volume(), fresh, &home, random)?;
        let header = Header { bytes: Some(bytes) };
        let done = work(content, &header, &keys);
        self.header_changed();
        let result = done?;
        *self.header.lock() = Some(state);
        content.stage = Stage::Open(keys);
        content.sparse = false;
        self.freshly_loaded.store(true, Ordering::Relaxed);
        Ok(result)
    }

    /// Whether the file has neither header nor content. Loads the stage if need be.
    pub(super) fn is_empty(&self, env: &FileEnv<'_>) -> Result<bool, FsError> {
        {
            let content = self.content.read();
            match &content.stage {
                Stage::Empty => return Ok(true),
                Stage::Open(_) => return Ok(false),
                Stage::Unknown => {}
            }
        }
        let mut content = self.content.write();
        if matches!(content.stage, Stage::Unknown) && lacks_header(env)? {
            content.reset(Stage::Empty);
        }
        Ok(matches!(content.stage, Stage::Empty))
    }

    /// Reads and opens the header. Asks the key service: no lock may be held.
    fn load(&self, env: &FileEnv<'_>) -> Result<(), FsError> {
        let Some(Peeked { state, header, changes }) = self.peek(env)? else {
            // Notes it.
            return self.is_empty(env).map(drop);
        };
        let keys = state.open(&header, env.data_keys);
        let keys = keys.map(|keys| OpenKeys::new(keys, env.data_keys.random()));
        let mut content = self.content.write();
        // A rewrap, another name, or a whole new content may have come while the key service was asked.
        // Then the caller asks again.
        if self.is_header_changed(changes) || !matches!(content.stage, Stage::Unknown) {
            return Ok(());
        }
        let keys = keys?;
        env.home.check(state.prelude.file, &header.home)?;
        let lower = env.file.len()?;
        let size = plain_len(lower);
        if size.0 == 0 && env.trust == Trust::Strict {
            check_empty(env.file, lower, &keys)?;
        }
        content.reset(Stage::Open(keys));
        content.size = size;
        content.sparse = state.envelope.sparse;
        // Nobody knows whether what was read is on disk: it may have been written just before the keys
        // were let go of.
        *self.header.lock() = Some(HeaderState { synced: false, ..state });
        self.grown();
        self.freshly_loaded.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The header as it lies on disk: nothing in it is authenticated yet. `None` if the file has none.
    ///
    /// # Errors
    /// As [`HeaderState::peek`]; `FsError::Lower`.
    pub(super) fn peek(&self, env: &FileEnv<'_>) -> Result<Option<Peeked>, FsError> {
        // Nobody empties the file between its length and its header.
        let _content = self.content.read();
        if lacks_header(env)? {
            return Ok(None);
        }
        let changes = self.header_changes.load(Ordering::Acquire);
        let (state, header) = HeaderState::peek(env.file, env.data_keys)?;
        Ok(Some(Peeked { state, header, changes }))
    }

    /// Whether keys were loaded since the last call.
    pub fn take_freshly_loaded(&self) -> bool {
        // A plain load first: the hot path must not write to a line that readers share.
        self.freshly_loaded.load(Ordering::Relaxed)
            && self.freshly_loaded.swap(false, Ordering::Relaxed)
    }

    /// Plaintext length if it is known without asking the lower file.
    pub fn known_size(&self) -> Option<PlainLen> {
        let content = self.content.read();
        match content.stage {
            Stage::Unknown => None,
            Stage::Empty | Stage::Open(_) => Some(content.size),
        }
    }

    /// Plaintext length.
    ///
    /// # Errors
    /// `FsError::Lower`.
    pub fn size(&self, env: &FileEnv<'_>) -> Result<PlainLen, FsError> {
        match self.known_size() {
            Some(size) => Ok(size),
            None => Ok(plain_len(env.file.len()?)),
        }
    }

    /// Runs `work` while nobody reads or writes content, and no header is made.
    pub fn still<T>(&self, work: impl FnOnce() -> T) -> T {
        let _content = self.content.write();
        work()
    }

    /// The header on disk was written, or it was tried: behind that, since who reads it between the count and
    /// the write must find another count. The content lock is held since before, or shared and the header lock.
    pub(super) fn header_changed(&self) {
        self.header_changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the header on disk is not what was read behind this count. The locks are held that
    /// `header_changed` asks for.
    pub(super) fn is_header_changed(&self, since: u64) -> bool {
        self.header_changes.load(Ordering::Acquire) != since
    }

    /// Runs `work` while nobody writes an envelope, which would keep the marks that it found.
    pub fn between_envelopes<T>(&self, work: impl FnOnce() -> T) -> T {
        let _header = self.header.lock();
        work()
    }

    /// The envelope, if the header was read.
    pub fn envelope(&self) -> Option<(FileId, crate::format::envelope::Envelope)> {
        let header = self.header.lock();
        header.as_ref().map(|state| (state.prelude.file, state.envelope.clone()))
    }

    /// Forgets the keys; the next access asks the key service again. Holes that the envelope does
    /// not tell of are written down first.
    ///
    /// # Errors
    /// `FsError::Lower` if that fails; the keys stay then.
    pub fn drop_keys(&self, env: &FileEnv<'_>) -> Result<(), FsError> {
        // Under one lock: a writer must not make another hole in between, for the keys to stay.
        let mut content = self.content.write();
        self.let_go(&mut content, env)
    }

    /// Forgets the keys if they have passed a limit: the next access asks the key service again.
    ///
    /// # Errors
    /// As [`FileNode::drop_keys`].
    pub(super) fn retire_spent(&self, env: &FileEnv<'_>) -> Result<(), FsError> {
        if !env.data_keys.is_limited() {
            return Ok(());
        }
        let mut content = self.content.write();
        // Somebody may have asked again meanwhile.
        if !matches!(&content.stage, Stage::Open(keys) if env.data_keys.is_spent(keys)) {
            return Ok(());
        }
        self.let_go(&mut content, env)
    }

    /// Whether the keys at hand have passed a limit.
    pub(super) fn is_spent(&self, data_keys: &DataKeys) -> bool {
        matches!(&self.content.read().stage, Stage::Open(keys) if data_keys.is_spent(keys))
    }

    fn let_go(&self, content: &mut Content, env: &FileEnv<'_>) -> Result<(), FsError> {
        if !content.gaps.is_empty() {
            self.mark_sparse(content, env)?;
        }
        self.reset_open(content);
        Ok(())
    }

    /// Forgets the keys, unless there are holes that the envelope does not tell of. Whether there
    /// are none left.
    pub fn forget_keys(&self) -> bool {
        let mut content = self.content.write();
        if !content.gaps.is_empty() {
            return false;
        }
        self.reset_open(&mut content);
        true
    }

    fn reset_open(&self, content: &mut Content) {
        if matches!(content.stage, Stage::Open(_)) {
            content.reset(Stage::Unknown);
            *self.header.lock() = None;
        }
    }

    /// Whether the file has holes that its envelope does not tell of.
    pub fn has_untold_holes(&self) -> bool {
        !self.content.read().gaps.is_empty()
    }

    /// Marks the file SPARSE if it has holes that the envelope does not tell of.
    ///
    /// # Errors
    /// `FsError::Lower`.
    pub fn tell_holes(&self, env: &FileEnv<'_>) -> Result<(), FsError> {
        if !self.has_untold_holes() {
            return Ok(());
        }
        let mut content = self.content.write();
        match content.gaps.is_empty() {
            true => Ok(()),
            false => self.mark_sparse(&mut content, env),
        }
    }

    /// Keeps the number of untold holes bounded.
    pub(super) fn bound_gaps(
        &self,
        content: &mut Content,
        env: &FileEnv<'_>,
    ) -> Result<(), FsError> {
        if content.gaps.run_count() > GAP_RUNS_MAX {
            self.mark_sparse(content, env)?;
        }
        Ok(())
    }

    /// The file has grown: where it ends now is not durable.
    pub(super) fn grown(&self) {
        self.growths.fetch_add(1, Ordering::AcqRel);
    }

    /// Makes holes possible. Before one is made in front of the last block, that block and the length
    /// must be durable: a recovery that finds a hole and no end behind it takes the hole for a growth
    /// that never reached the disk. And the envelope must tell of it.
    pub(super) fn prepare_holes(
        &self,
        content: &mut Content,
        env: &FileEnv<'_>,
    ) -> Result<(), FsError> {
        self.leave_trace(env)?;
        let growths = self.growths.load(Ordering::Acquire);
        if self.durable_growths.load(Ordering::Acquire) < growths {
            env.file.sync(SyncScope::Data)?;
            self.durable_growths.fetch_max(growths, Ordering::AcqRel);
        }
        self.mark_sparse(content, env)
    }

    fn mark_sparse(&self, content: &mut Content, env: &FileEnv<'_>) -> Result<(), FsError> {
        let Stage::Open(keys) = &content.stage else {
            return Ok(());
        };
        if !content.sparse {
            let mut header = self.header.lock();
            let state = header.as_mut().ok_or(FsError::Bug("open file without a header"))?;
            let mut envelope = state.envelope.clone();
            envelope.sparse = true;
            let replaced = state.replace(env.file, &keys.mac, envelope);
            self.header_changed();
            replaced?;
            content.sparse = true;
        }
        content.gaps.clear();
        Ok(())
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// `FsError::Lower`.
    pub fn sync(&self, env: &FileEnv<'_>, scope: SyncScope) -> Result<(), FsError> {
        self.tell_holes(env)?;
        let sequence = self.header.lock().as_ref().map(|state| state.envelope.sequence);
        let growths = self.growths.load(Ordering::Acquire);
        env.file.sync(scope)?;
        self.durable_growths.fetch_max(growths, Ordering::AcqRel);
        let mut header = self.header.lock();
        if let Some(state) = header.as_mut().filter(|s| Some(s.envelope.sequence) == sequence) {
            state.synced = true;
        }
        Ok(())
    }

    /// Makes a header for a file that has none: it is to carry sealed extended attributes.
    ///
    /// # Errors
    /// `FsError::Key`, `FsError::Lower`.
    pub fn ensure_header(&self, env: &FileEnv<'_>) -> Result<(), FsError> {
        self.with_content_mut(env, |content, header, keys| match header.bytes {
            Some(_) => keeping_marks(env.file, || content.write_empty(env, header, keys)),
            None => Ok(()),
        })
    }

    /// The file's id and keys, for its extended attributes; `None` if it has no header.
    ///
    /// # Errors
    /// `FsError::Key`, `FsError::Corrupt`, `FsError::Lower`.
    pub fn keys(&self, env: &FileEnv<'_>) -> Result<Option<(FileId, Arc<OpenKeys>)>, FsError> {
        loop {
            if self.is_empty(env)? {
                return Ok(None);
            }
            self.retire_spent(env)?;
            if let (Stage::Open(keys), Some((file, _))) =
                (&self.content.read().stage, self.envelope())
            {
                return Ok(Some((file, Arc::clone(keys))));
            }
            self.load(env)?;
        }
    }
}

/// A header that was read, and when.
#[derive(Debug)]
pub(super) struct Peeked {
    pub(super) state: HeaderState,
    pub(super) header: FileHeader,
    /// The count of changes before.
    pub(super) changes: u64,
}

/// Whether a file has no header.
fn lacks_header(env: &FileEnv<'_>) -> Result<bool, FsError> {
    match env.trust {
        Trust::Strict => Ok(env.file.len()?.0 == 0),
        // Recovery would make it so.
        Trust::Lenient => is_header_missing(env.file),
    }
}

/// A header that may still have to be written, in front of block 0.
#[derive(Debug)]
pub(super) struct Header {
    /// Bytes of a header that is not on disk yet.
    pub(super) bytes: Option<[u8; HEADER_LEN]>,
}

impl Content {
    /// What lies on disk now.
    pub(super) fn view<'a>(&'a self, env: &FileEnv<'a>, keys: &'a OpenKeys) -> View<'a> {
        View {
            file: env.file,
            keys,
            size: self.size,
            sparse: self.sparse,
            gaps: &self.gaps,
            trust: env.trust,
        }
    }

    /// Starts over at a stage.
    pub(super) fn reset(&mut self, stage: Stage) {
        *self = Self { stage, size: PlainLen(0), sparse: false, gaps: Gaps::default() };
    }
}
