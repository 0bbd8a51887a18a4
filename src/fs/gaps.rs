//! Runs of blocks that are holes although the envelope does not say SPARSE yet.
//!
//! The kernel writes dirty pages back in any order, so that most growing files have a hole for a
//! moment. Only a hole that is still there when the file is synced costs a new envelope.

use std::ops::Range;

use crate::units::BlockNo;

/// Disjoint runs in rising order.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    runs: Vec<Range<u64>>,
}

impl Gaps {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Number of runs.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// Whether a block lies in a run.
    pub fn contains(&self, block: BlockNo) -> bool {
        self.runs.iter().any(|run| run.contains(&block.0))
    }

    /// Adds `from..to`.
    pub fn add(&mut self, from: BlockNo, to: BlockNo) {
        if from >= to {
            return;
        }
        self.remove(from, to);
        let at = self.runs.partition_point(|run| run.start < from.0);
        self.runs.insert(at, from.0..to.0);
    }

    /// Takes `from..to` away: these blocks are written now.
    pub fn remove(&mut self, from: BlockNo, to: BlockNo) {
        if self.runs.is_empty() || from >= to {
            return;
        }
        let mut left = Vec::with_capacity(self.runs.len() + 1);
        for run in self.runs.drain(..) {
            let before = run.start..run.end.min(from.0);
            let behind = run.start.max(to.0)..run.end;
            left.extend([before, behind].into_iter().filter(|r| r.start < r.end));
        }
        self.runs = left;
    }

    /// Drops everything: the file is marked SPARSE, or empty.
    pub fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_split_and_dropped_as_blocks_are_written() {
        let mut gaps = Gaps::default();
        gaps.add(BlockNo(2), BlockNo(10));
        gaps.remove(BlockNo(4), BlockNo(6));
        assert!(gaps.contains(BlockNo(3)) && !gaps.contains(BlockNo(4)));
        assert!(!gaps.contains(BlockNo(5)) && gaps.contains(BlockNo(6)));
        assert_eq!(gaps.run_count(), 2);
        gaps.add(BlockNo(0), BlockNo(20));
        assert_eq!(gaps.run_count(), 1);
        gaps.remove(BlockNo(0), BlockNo(u64::MAX));
        assert!(gaps.is_empty());
    }
}
