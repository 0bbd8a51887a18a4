//! [`Guard`]: runs one request on the volume; counts it, logs what nobody else does, stops a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fuser::Errno;

use crate::fs::{FsError, Volume};
use crate::fuse::errno::errno;
use crate::fuse::patience::Patience;
use crate::fuse::{Counters, Op};

/// The volume, behind counters and a net.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    volume: Arc<Volume>,
    counters: Arc<Counters>,
    patience: Patience,
}

impl Guard {
    pub(crate) fn new(volume: Arc<Volume>, counters: Arc<Counters>, threads: usize) -> Self {
        Self { volume, counters, patience: Patience::new(threads) }
    }

    /// For what is no request.
    pub(crate) fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Counts a request.
    pub(crate) fn count(&self, op: Op) {
        self.counters.count(op);
    }

    /// Counts a request that the kernel shall not send again.
    pub(crate) fn not_served(&self, op: Op) -> Errno {
        self.count(op);
        Errno::ENOSYS
    }

    /// Counts and runs one request, again if it met a full disk that is about to have room. A panic becomes EIO: a handler that unwinds would take its
    /// thread along, and the mount would run out of them.
    pub(crate) fn run<T>(
        &self,
        op: Op,
        mut work: impl FnMut(&Volume) -> Result<T, FsError>,
    ) -> Result<T, Errno> {
        self.count(op);
        self.patience.with(&self.volume, || self.attempt(op, &mut work))
    }

    /// Does something that nobody waits for.
    pub(crate) fn aside(&self, work: impl FnOnce(&Volume)) {
        let _ = self.attempt(Op::Read, |volume| {
            work(volume);
            Ok(())
        });
    }

    fn attempt<T>(
        &self,
        op: Op,
        work: impl FnOnce(&Volume) -> Result<T, FsError>,
    ) -> Result<T, Errno> {
        match catch_unwind(AssertUnwindSafe(|| work(&self.volume))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(refused(op, &error)),
            Err(_) => {
                self.counters.count_panic();
                tracing::error!(op = op.name(), "internal error: the request panicked");
                Err(Errno::EIO)
            }
        }
    }
}

/// The volume logs what is corrupt, where it knows which file; here goes what nobody logs.
fn refused(op: Op, error: &FsError) -> Errno {
    if let FsError::Bug(_) = error {
        tracing::error!(op = op.name(), "{error}");
    } else {
        tracing::trace!(op = op.name(), "{error}");
    }
    errno(error)
}
