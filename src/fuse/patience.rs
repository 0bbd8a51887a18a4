//! [`Patience`]: has a request that met a full disk wait for room that is about to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fuser::Errno;

use crate::fs::Volume;
use crate::fuse::no_room::NoRoom;

/// The first wait. Each is twice as long as the one before.
const FIRST: Duration = Duration::from_millis(1);
/// Waits of one request, 127 ms in all: a thread that was put aside gets its turn in that.
const WAITS_MAX: u32 = 7;

/// Shared by the threads that serve one mount.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    waiting: Arc<AtomicUsize>,
    /// Threads that may wait at once.
    limit: usize,
}

impl Patience {
    /// One thread is always left to hear from the kernel that a file is gone.
    pub(crate) fn new(threads: usize) -> Self {
        Self { waiting: Arc::default(), limit: threads.saturating_sub(1) }
    }

    /// Does something once, and again while it meets a full disk that is about to have room. What fails for
    /// want of room has changed nothing.
    pub(crate) fn with<T>(
        &self,
        volume: &Volume,
        mut work: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut waits = 0;
        loop {
            let done = work();
            let met_full = done.as_ref().is_err_and(|errno| NoRoom::is(*errno));
            if !met_full || waits >= WAITS_MAX || !volume.is_making_room() || !self.wait(waits) {
                return done;
            }
            waits += 1;
        }
    }

    /// Whether there was somebody left to wait for.
    fn wait(&self, waits: u32) -> bool {
        let may = self.waiting.fetch_add(1, Ordering::Relaxed) < self.limit;
        if may {
            std::thread::sleep(FIRST * 2_u32.pow(waits));
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        may
    }
}
