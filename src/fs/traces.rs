//! Whether a recovery would find a file by its times.
//!
//! A recovery looks at what changed since the last checkpoint, by ctime. But a page that is written over
//! in place may reach the disk before the times of its file do: what was cut off then looks old, and has
//! a last record, or a home, that does not fit. So before one of these is written over, the file must
//! have left a trace: a ctime on disk that no recovery passes by. A file that was made, or had one, since
//! the last checkpoint has; of another the times are made durable first, once between two checkpoints.
//! A rename does not wait for that: the state of the volume tells, for all renames at once, that the homes
//! of old files have to be looked at too.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::fs::file::{FileEnv, FileNode};
use crate::fs::nodes::Node;
use crate::fs::recover_tree::SLACK_SECS;
use crate::fs::{FsError, Volume};
use crate::lower::{LowerFile, LowerTime, SyncScope};

const NANOS: i64 = 1_000_000_000;
/// Before any time, and never one of a checkpoint.
pub(super) const NEVER: i64 = i64::MIN;
/// Behind any time: no file left a trace then.
const NONE: i64 = i64::MAX;

/// When the last checkpoint began, in nanoseconds since 1970: what is on disk of before that is durable.
/// A file that belongs to no volume has none, and needs no trace.
#[derive(Debug)]
pub struct LastCheckpoint {
    began: AtomicI64,
    /// The one before it.
    previous: AtomicI64,
}

impl LastCheckpoint {
    /// None yet.
    pub(super) const fn none() -> Self {
        Self { began: AtomicI64::new(NEVER), previous: AtomicI64::new(NONE) }
    }

    /// That of files outside of volumes.
    pub fn of_no_volume() -> &'static Self {
        static NONE: LastCheckpoint = LastCheckpoint::none();
        &NONE
    }

    /// One begins, with a sync of everything behind it.
    pub(super) fn begin(&self, at: LowerTime) {
        let before = match self.began() {
            NEVER => NONE,
            began => began,
        };
        self.previous.store(before, Ordering::Release);
        self.began.store(nanos(at), Ordering::Release);
    }

    fn began(&self) -> i64 {
        self.began.load(Ordering::Acquire)
    }
}

fn nanos(at: LowerTime) -> i64 {
    at.secs.saturating_mul(NANOS).saturating_add(at.nanos.into())
}

impl FileNode {
    /// The lower file has just been made.
    pub(super) fn made_since(&self, checkpoint: &LastCheckpoint) {
        self.traced.store(checkpoint.began(), Ordering::Release);
    }

    /// Whether a recovery would look at the file, whatever more of it reached the disk.
    fn is_traced(
        &self,
        file: &dyn LowerFile,
        checkpoint: &LastCheckpoint,
    ) -> Result<bool, FsError> {
        let began = checkpoint.began();
        let traced = self.traced.load(Ordering::Acquire);
        if traced == began {
            return Ok(true);
        }
        let Some(stamps) = file.stamps()? else { return Ok(true) };
        let since = began.saturating_sub(SLACK_SECS * NANOS);
        let is_new = stamps.born.is_some_and(|born| nanos(born) >= since);
        // The checkpoint took that time to the disk; and until it had, the trace before served.
        let was_kept = traced == checkpoint.previous.load(Ordering::Acquire)
            && (since..began).contains(&nanos(stamps.changed));
        if is_new || was_kept {
            self.traced.store(began, Ordering::Release);
        }
        Ok(is_new || was_kept)
    }

    /// Makes sure that a recovery would look at the file. The content lock is held.
    pub(super) fn leave_trace(&self, env: &FileEnv<'_>) -> Result<(), FsError> {
        let began = env.checkpoint.began();
        if self.is_traced(env.file, env.checkpoint)? {
            return Ok(());
        }
        // Times that stay as they are, or the same length again: ctime is now.
        let is_touched = env.file.marks()?.is_some_and(|marks| env.file.put_back(&marks).is_ok());
        if !is_touched {
            env.file.set_len(env.file.len()?)?;
        }
        env.file.sync(SyncScope::All)?;
        self.traced.store(began, Ordering::Release);
        Ok(())
    }
}

/// Renames of files that left no trace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OldMoves {
    under_way: u32,
    /// One was under way since the last checkpoint began.
    seen: bool,
    /// The state on disk tells of them.
    told: bool,
    /// It tells to the end: something is not mended.
    kept: bool,
}

impl OldMoves {
    /// A checkpoint begins: what is over by now will be durable.
    pub(super) fn checkpoint(&mut self) {
        self.seen = self.kept || self.under_way > 0;
    }

    /// The checkpoint failed, or a recovery is not at its end.
    pub(super) fn keep(&mut self) {
        self.kept = true;
        self.seen = true;
    }

    /// A state is about to be written; whether it has to tell. If not, none does from here on.
    pub(super) fn write(&mut self) -> bool {
        self.told &= self.seen;
        self.seen
    }

    /// A state is on disk that tells.
    pub(super) fn was_told(&mut self) {
        self.told = true;
    }

    /// One begins; whether the state on disk tells.
    fn begin(&mut self) -> bool {
        self.under_way = self.under_way.saturating_add(1);
        self.seen = true;
        self.told
    }

    fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }
}

impl Volume {
    /// Runs `work`, which writes another home of a file in place and then changes its names. Nobody reads
    /// or writes the file meanwhile.
    pub(super) fn telling<T>(
        &self,
        node: &Arc<Node>,
        work: impl FnOnce() -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        let file = self.file_of(node)?;
        if node.file.is_traced(&*file, &self.last_checkpoint)? {
            return work();
        }
        let is_told = self.checkpoints.lock().moves.begin();
        let told = if is_told { Ok(()) } else { self.store_state_again() };
        let done = told.and_then(|()| work());
        self.checkpoints.lock().moves.end();
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law: as long as a rename may be on disk in part, the state tells; and none begins that it does not
    /// tell of.
    #[test]
    fn a_state_tells_of_every_rename_that_is_not_durable() {
        let mut moves = OldMoves::default();
        assert!(!moves.write());
        assert!(!moves.begin(), "nothing tells yet");
        assert!(moves.write());
        moves.was_told();
        assert!(moves.begin());
        moves.end();
        moves.checkpoint();
        assert!(moves.write(), "one is under way since before");
        moves.end();
        moves.checkpoint();
        assert!(!moves.write());
        assert!(!moves.begin(), "a state is being written that tells of none");
        moves.end();
        moves.checkpoint();
        moves.keep();
        moves.checkpoint();
        assert!(moves.write(), "a checkpoint failed");
    }
}
