//! The housekeeping thread of a mount: what is due in the key service, what changed there, and
//! leaving when nobody is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::control::known::report_opened;
use crate::control::{Failure, Keys};
use crate::fs::Volume;
use crate::fuse::{Counters, Invalidator, UnmountHow, Unmounter};
use crate::kms::{ChangeKind, KeyArn, KeyChange, KmsError};
use crate::sync::{Mutex, Rank};

/// How often the key service is looked at: changes by another process are seen within this time.
const TICK: Duration = Duration::from_secs(1);

/// Longest time that a command waits for its change to reach the kernel.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(10);

/// Messages that wait at most; a command that finds the channel full waits.
const MESSAGES_MAX: usize = 16;

/// What the thread is told.
enum Message {
    /// Keys have changed: see [`Changes`].
    Changed,
    /// Answer once all changes so far are carried out.
    Settle(SyncSender<()>),
    /// End.
    Stop,
}

/// What has changed and is not looked at yet. At most as much as there are keys; any thread adds.
#[derive(Debug)]
struct Changes(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    /// Keys whose state has changed: what was unwrapped under them must not be used any more.
    revoked: BTreeSet<KeyArn>,
    /// Some key has other material now, or an alias another key: headers may be stale.
    is_stale: bool,
}

/// What the thread looks after.
pub(super) struct Keeping {
    /// The volume.
    pub(super) volume: Arc<Volume>,
    /// Its key service.
    pub(super) kms: Arc<dyn Keys>,
    /// Drops pages in the kernel.
    pub(super) invalidator: Option<Invalidator>,
    /// Requests so far: no new ones means nobody is there.
    pub(super) counters: Arc<Counters>,
    /// Ends the mount.
    pub(super) unmounter: Unmounter,
    /// Unmount after this time without a request.
    pub(super) idle: Option<Duration>,
}

/// The thread; ends on drop.
#[derive(Debug)]
pub(super) struct Keeper {
    sender: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread, and lets the key service report changes to it.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn start(keeping: Keeping) -> Result<Self, Failure> {
        let (sender, receiver) = sync_channel(MESSAGES_MAX);
        let changes = Arc::new(Changes(Mutex::new(Rank::Cache, Pending::default())));
        keeping.kms.watch(change_hook(sender.clone(), Arc::clone(&changes)));
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || keep(&keeping, &changes, &receiver))
            .map_err(|error| Failure::io("keeper thread", &error))?;
        Ok(Self { sender, thread: Some(thread) })
    }

    /// A handle to wait for changes.
    pub(super) fn settler(&self) -> Settler {
        Settler(self.sender.clone())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ended = self.sender.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Waits until changes are carried out.
#[derive(Clone, Debug)]
pub(super) struct Settler(SyncSender<Message>);

impl Settler {
    /// Returns once every change so far has reached volume and kernel, or after a while.
    pub(super) fn settle(&self) {
        let (done, wait) = sync_channel(1);
        if self.0.send(Message::Settle(done)).is_ok() && wait.recv_timeout(SETTLE_TIME_MAX).is_err()
        {
            tracing::warn!("a change of keys has not reached the kernel yet");
        }
    }
}

/// Called by the key service from any thread, this one's included: it must not wait.
fn change_hook(
    sender: SyncSender<Message>,
    changes: Arc<Changes>,
) -> Box<dyn Fn(&KeyChange) + Send + Sync> {
    Box::new(move |change| {
        {
            let mut pending = changes.0.lock();
            match &change.kind {
                // The filesystem may not be let in any more: it asks anew.
                ChangeKind::Access
                | ChangeKind::Materials
                | ChangeKind::State { .. }
                | ChangeKind::Deleted => {
                    pending.revoked.insert(change.arn.clone());
                }
                ChangeKind::AliasDeleted { .. }
                | ChangeKind::AliasMoved { .. }
                | ChangeKind::Rotated { .. } => {
                    pending.is_stale = true;
                }
                ChangeKind::Created => {}
            }
        }
        match sender.try_send(Message::Changed) {
            // Whatever is in the channel makes the thread look at the changes.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    })
}

fn keep(keeping: &Keeping, changes: &Changes, receiver: &Receiver<Message>) {
    let mut idle = Idle::new(keeping);
    let mut trouble = None;
    let mut next_tick = Instant::now() + TICK;
    loop {
        let wait = next_tick.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(wait) {
            Ok(Message::Changed) => carry_out(keeping, changes),
            Ok(Message::Settle(done)) => {
                carry_out(keeping, changes);
                let _gone = done.try_send(());
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                next_tick = Instant::now() + TICK;
                tick(keeping, &mut trouble);
                carry_out(keeping, changes);
                keeping.volume.retire_data_keys();
                idle.look(keeping);
            }
        }
    }
}

/// Picks up what another process changed, and carries out what is due. The same trouble is logged
/// once, not every second.
fn tick(keeping: &Keeping, trouble: &mut Option<KmsError>) {
    let now = keeping.kms.look_after().err();
    if let Some(error) = now.as_ref().filter(|error| trouble.as_ref() != Some(*error)) {
        tracing::warn!("key service: {}: {error}", error.exception());
    }
    *trouble = now;
}

/// Carries changes of keys to the kernel and the volume. In this order: dirty pages are written
/// while the data keys are still there, and what was read in between goes with the second round.
fn carry_out(keeping: &Keeping, changes: &Changes) {
    let pending = std::mem::take(&mut *changes.0.lock());
    for arn in pending.revoked {
        drop_pages(keeping, &arn);
        keeping.volume.drop_keys(&arn);
        drop_pages(keeping, &arn);
    }
    if pending.is_stale {
        if keeping.volume.is_writable() {
            report_opened(&*keeping.kms, &keeping.volume);
        }
        keeping.volume.queue_stale();
    }
}

/// Makes the kernel drop its pages of the files under a key.
fn drop_pages(keeping: &Keeping, arn: &KeyArn) {
    let Some(invalidator) = &keeping.invalidator else { return };
    for node in keeping.volume.nodes_of_key(arn) {
        if let Err(error) = invalidator.invalidate_file(node) {
            tracing::warn!(node = node.0, "cached pages are not dropped: {error}");
        }
    }
}

/// Since when nobody asked anything.
struct Idle {
    requests: u64,
    since: Instant,
}

impl Idle {
    fn new(keeping: &Keeping) -> Self {
        Self { requests: requests(keeping), since: Instant::now() }
    }

    fn look(&mut self, keeping: &Keeping) {
        let Some(limit) = keeping.idle else { return };
        let now = requests(keeping);
        if now != self.requests {
            *self = Self { requests: now, since: Instant::now() };
        } else if self.since.elapsed() >= limit {
            self.since = Instant::now();
            match keeping.unmounter.unmount(UnmountHow::Clean) {
                Ok(()) => tracing::info!("unmounted, since nobody used it"),
                Err(error) => tracing::debug!("idle, but {error}"),
            }
        }
    }
}

fn requests(keeping: &Keeping) -> u64 {
    keeping.counters.snapshot().iter().map(|(_, count)| count).sum()
}
