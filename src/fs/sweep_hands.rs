//! What the threads of a sweep share, and the threads: one walks the tree, several rewrap what it comes by.
//!
//! A rewrap waits for the disk twice. Those of several threads wait together.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::fs::nodes::Node;
use crate::fs::sweep::{RewrapOptions, RewrapReport};
use crate::fs::{FsError, Volume};
use crate::sync::LeafMutex;

/// Threads that rewrap.
const HANDS: usize = 4;

/// Files that one is given at once: to wake a thread for each would cost half as much as the rewrap.
const HANDFUL: usize = 16;

/// Handfuls that wait for them.
const WAITING_MAX: usize = 16;

/// How long a thread may take to see that a sweep is over.
const PATIENCE: Duration = Duration::from_millis(100);

/// How often the threads are looked after by who waits for them.
const TICK: Duration = Duration::from_millis(1);

/// Lowest priority: whoever reads and writes meanwhile comes first.
const NICE: i32 = 19;

/// Is told how far a sweep is, and whether it goes on.
pub(super) type Progress<'a> = &'a mut dyn FnMut(&RewrapReport) -> ControlFlow<()>;

/// One sweep over the tree.
#[derive(Debug)]
pub(super) struct Sweep<'a> {
    pub(super) options: &'a RewrapOptions,
    report: LeafMutex<RewrapReport>,
    started: Instant,
    /// Somebody ended it, or its time is over.
    over: AtomicBool,
    /// Files whose turn has come or is waited for.
    turns: AtomicU64,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(options: &'a RewrapOptions) -> Self {
        Self {
            options,
            report: LeafMutex::new(RewrapReport::default()),
            started: Instant::now(),
            over: AtomicBool::new(false),
            turns: AtomicU64::new(0),
        }
    }

    pub(super) fn so_far(&self) -> RewrapReport {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut RewrapReport)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells how far it is, and ends if that is the answer.
    pub(super) fn tell(&self, progress: Progress<'_>) {
        if progress(&self.so_far()).is_break() {
            self.over.store(true, Ordering::Relaxed);
        }
    }

    fn wait_a_tick(&self, progress: Progress<'_>) {
        self.tell(progress);
        std::thread::sleep(TICK);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Waits so long that the rate is kept. Whether the file may be rewrapped then.
    pub(super) fn wait_for_turn(&self) -> bool {
        let turn = u32::try_from(self.turns.fetch_add(1, Ordering::Relaxed)).unwrap_or(u32::MAX);
        let rate = self.options.rate_per_sec.filter(|rate| *rate > 0.0);
        let due = rate.and_then(|rate| Duration::try_from_secs_f64(f64::from(turn) / rate).ok());
        loop {
            let past = self.started.elapsed();
            if seconds(self.options.max_secs).is_some_and(|limit| past >= limit) {
                self.over.store(true, Ordering::Relaxed);
            }
            let left = due.unwrap_or_default().saturating_sub(past);
            if self.is_over() || left.is_zero() {
                return !self.is_over();
            }
            std::thread::sleep(left.min(PATIENCE));
        }
    }
}

fn seconds(secs: Option<f64>) -> Option<Duration> {
    secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok())
}

/// The threads that rewrap, and the way to them.
#[derive(Debug)]
pub(super) struct Hands<'scope, 'a> {
    volume: &'a Volume,
    sweep: &'a Sweep<'a>,
    given: SyncSender<Vec<Arc<Node>>>,
    next: Vec<Arc<Node>>,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope, 'a> Hands<'scope, 'a> {
    /// Starts the threads.
    ///
    /// # Errors
    /// EAGAIN if the system has no thread left.
    pub(super) fn start(
        scope: &'scope Scope<'scope, 'a>,
        volume: &'a Volume,
        sweep: &'a Sweep<'a>,
    ) -> Result<Self, FsError> {
        let (given, taken) = sync_channel(WAITING_MAX);
        // Theirs alone: once all have ended, nothing can be given.
        let taken = Arc::new(LeafMutex::new(taken));
        let start = |_| {
            let taken = Arc::clone(&taken);
            let work = move || work(volume, sweep, &taken);
            let thread = Builder::new().name("sweep".to_owned()).spawn_scoped(scope, work);
            thread.map_err(|_| FsError::Errno(libc::EAGAIN))
        };
        let threads = (0..HANDS).map(start).collect::<Result<_, _>>()?;
        Ok(Self { volume, sweep, given, next: Vec::new(), threads })
    }

    /// Hands over a file, which somebody counts a lookup of.
    pub(super) fn give(&mut self, node: &Arc<Node>, progress: Progress<'_>) {
        self.volume.nodes.hold(node);
        self.next.push(Arc::clone(node));
        if self.next.len() >= HANDFUL {
            self.hand_over(progress);
        }
    }

    fn hand_over(&mut self, progress: Progress<'_>) {
        let mut files = std::mem::take(&mut self.next);
        loop {
            match self.given.try_send(files) {
                Ok(()) => return,
                Err(TrySendError::Full(back)) => files = back,
                Err(TrySendError::Disconnected(back)) => {
                    return back.iter().for_each(|node| self.volume.let_go(node));
                }
            }
            self.sweep.wait_a_tick(progress);
        }
    }

    /// Waits until all that was handed over is done.
    pub(super) fn finish(mut self, progress: Progress<'_>) {
        self.hand_over(progress);
        let Self { sweep, given, threads, .. } = self;
        drop(given);
        while !threads.iter().all(ScopedJoinHandle::is_finished) {
            sweep.wait_a_tick(progress);
        }
    }
}

fn work(volume: &Volume, sweep: &Sweep<'_>, taken: &LeafMutex<Receiver<Vec<Arc<Node>>>>) {
    // Where that is refused, others wait a little longer.
    let _ = rustix::process::setpriority_process(None, NICE);
    loop {
        let files = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(files) = files else { return };
        for node in files {
            if !sweep.is_over() {
                volume.sweep_file(sweep, &node);
            }
            volume.let_go(&node);
        }
    }
}
