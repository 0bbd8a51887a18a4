//! What was written to a lower file and is not known to be durable, across fsyncs that fail.
//!
//! Linux reports a write that failed to one fsync only, and takes the pages for clean: the next fsync
//! succeeds although the bytes are lost. So a file remembers the range that a failed sync covered, and
//! its syncs fail until that range was written anew, or cut off.

use std::ops::Range;
use std::sync::PoisonError;

use crate::lower::{LowerError, LowerFile, Marks, Stamps, SyncScope};
use crate::sync::{LeafMutex, Mutex, Rank};
use crate::units::{LowerLen, LowerOffset};

/// The memory of one file.
#[derive(Debug)]
pub struct Written {
    /// Rank CACHE: held for no call.
    ranges: Mutex<Ranges>,
    /// One sync at a time: the lower filesystem tells only one of two that something is lost. A leaf
    /// without a rank, held across that sync.
    syncing: LeafMutex<()>,
}

#[derive(Debug, Default)]
struct Ranges {
    /// Everything that was written since the last sync began lies in here.
    unsynced: Range<u64>,
    /// What a failed sync may have lost lies in here.
    lost: Range<u64>,
}

impl Default for Written {
    fn default() -> Self {
        let ranges = Mutex::new(Rank::Cache, Ranges::default());
        Self { ranges, syncing: LeafMutex::new(()) }
    }
}

impl Ranges {
    fn wrote(&mut self, range: Range<u64>) {
        if range.start <= self.lost.start && range.end > self.lost.start {
            self.lost.start = range.end.min(self.lost.end);
        }
        if range.end >= self.lost.end && range.start < self.lost.end {
            self.lost.end = range.start.max(self.lost.start);
        }
        self.unsynced = hull(&self.unsynced, &range);
    }

    /// The file ends here now.
    fn ends_at(&mut self, len: u64) {
        for range in [&mut self.unsynced, &mut self.lost] {
            *range = range.start.min(len)..range.end.min(len);
        }
    }
}

/// The smallest range that holds both.
fn hull(a: &Range<u64>, b: &Range<u64>) -> Range<u64> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.clone(),
        (_, true) => a.clone(),
        _ => a.start.min(b.start)..a.end.max(b.end),
    }
}

/// A lower file with the memory of what was written to it.
#[derive(Clone, Copy, Debug)]
pub struct Remembering<'a> {
    /// The file.
    pub file: &'a dyn LowerFile,
    /// What is remembered.
    pub written: &'a Written,
}

impl LowerFile for Remembering<'_> {
    fn len(&self) -> Result<LowerLen, LowerError> {
        self.file.len()
    }

    fn read_at(&self, at: LowerOffset, out: &mut [u8]) -> Result<usize, LowerError> {
        self.file.read_at(at, out)
    }

    fn write_at(&self, at: LowerOffset, data: &[u8]) -> Result<(), LowerError> {
        // A write that fails half-way has written, too; it makes nothing good.
        let end = at.0.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        let done = self.file.write_at(at, data);
        let mut ranges = self.written.ranges.lock();
        match done {
            Ok(()) => ranges.wrote(at.0..end),
            Err(_) => ranges.unsynced = hull(&ranges.unsynced, &(at.0..end)),
        }
        done
    }

    fn set_len(&self, len: LowerLen) -> Result<(), LowerError> {
        self.file.set_len(len)?;
        self.written.ranges.lock().ends_at(len.0);
        Ok(())
    }

    fn reserve(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError> {
        self.file.reserve(at, len)
    }

    fn punch(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError> {
        self.file.punch(at, len)?;
        self.written.ranges.lock().wrote(at.0..at.0.saturating_add(len.0));
        Ok(())
    }

    fn next_data(&self, at: LowerOffset) -> Result<Option<LowerOffset>, LowerError> {
        self.file.next_data(at)
    }

    fn next_hole(&self, at: LowerOffset) -> Result<LowerOffset, LowerError> {
        self.file.next_hole(at)
    }

    fn marks(&self) -> Result<Option<Marks>, LowerError> {
        self.file.marks()
    }

    fn put_back(&self, marks: &Marks) -> Result<(), LowerError> {
        self.file.put_back(marks)
    }

    fn stamps(&self) -> Result<Option<Stamps>, LowerError> {
        self.file.stamps()
    }

    fn sync(&self, scope: SyncScope) -> Result<(), LowerError> {
        let _one = self.written.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let covered = std::mem::take(&mut self.written.ranges.lock().unsynced);
        let done = self.file.sync(scope);
        let mut ranges = self.written.ranges.lock();
        if done.is_err() {
            // With nothing of ours in it, it is about what was written before the file was known.
            ranges.lost = hull(&ranges.lost, &covered);
        }
        done?;
        if ranges.lost.is_empty() {
            return Ok(());
        }
        Err(LowerError { op: "fsync", errno: libc::EIO })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(range: Range<u64>) -> Ranges {
        Ranges { unsynced: 0..0, lost: range }
    }

    #[test]
    fn only_what_is_written_anew_is_good_again() {
        for (written, left) in [
            (0..50, 100..200),
            (0..150, 150..200),
            (100..101, 101..200),
            (120..150, 100..200),
            (150..200, 100..150),
            (150..300, 100..150),
        ] {
            let mut ranges = lost(100..200);
            ranges.wrote(written.clone());
            assert_eq!((ranges.lost, ranges.unsynced), (left, written));
        }
        for written in [100..200, 0..300] {
            let mut ranges = lost(100..200);
            ranges.wrote(written);
            assert!(ranges.lost.is_empty());
        }
    }

    #[test]
    fn what_is_cut_off_needs_no_sync() {
        let mut ranges = Ranges { unsynced: 10..30, lost: 20..40 };
        ranges.ends_at(25);
        assert_eq!((ranges.unsynced.clone(), ranges.lost.clone()), (10..25, 20..25));
        ranges.ends_at(5);
        assert!(ranges.unsynced.is_empty() && ranges.lost.is_empty());
    }
}
