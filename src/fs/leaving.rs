//! [`Leaving`]: whether a file that lost its last name may still be on its way out.
//!
//! The kernel knows a removed file until it forgets its node, and so long its blocks are not free. It says so
//! in a request of its own, behind unlink(2).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::fs::Volume;

/// How long a removal counts as one that just happened.
const LATELY: Duration = Duration::from_secs(1);

/// When the last file was removed that the kernel knew.
#[derive(Debug)]
pub(super) struct Leaving {
    since: Instant,
    /// Milliseconds behind `since`, plus one; 0 if there was none.
    last: AtomicU64,
}

impl Default for Leaving {
    fn default() -> Self {
        Self { since: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Leaving {
    /// A file that the kernel knows lost its name.
    pub(super) fn begins(&self) {
        self.last.store(self.now().saturating_add(1), Ordering::Relaxed);
    }

    /// Whether one did within the last second.
    pub(super) fn is_going_on(&self) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last > 0 && u128::from(self.now().saturating_sub(last)) < LATELY.as_millis()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Volume {
    /// Whether the lower filesystem may have more room in a moment, when the kernel forgets a file that was
    /// just removed.
    pub fn is_making_room(&self) -> bool {
        self.leaving.is_going_on()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_counts_for_a_second() {
        let mut leaving = Leaving::default();
        assert!(!leaving.is_going_on());
        leaving.begins();
        assert!(leaving.is_going_on());
        leaving.since -= 2 * LATELY;
        assert!(!leaving.is_going_on());
    }
}
