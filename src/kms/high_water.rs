//! The high-water mark of the clock. docs/KMS.md, "Time".
//!
//! A clock set back must not prolong anything, and one that jumps ahead for a moment must not end
//! anything. So the service keeps the latest time that it believes: one that follows on the last, or
//! that a second look finds to have stayed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::kms::access::as_map;
use crate::kms::state::Op;
use crate::kms::{Kms, KmsError, Timestamp};

/// How far the mark may run ahead of what is on disk: by so much a clock set back between two
/// processes can prolong something.
const NOTE_EVERY: Duration = Duration::from_secs(3600);

/// Milliseconds since 1970.
#[derive(Debug, Default)]
pub(crate) struct HighWater {
    /// The latest time that is believed.
    mark: AtomicU64,
    /// A time far ahead of it, as it was first seen; 0 if there is none.
    jump: AtomicU64,
}

impl HighWater {
    /// Believes a time: it was on disk.
    pub(crate) fn raise(&self, to: Timestamp) {
        self.mark.fetch_max(to.0, Ordering::AcqRel);
    }

    /// The time now: never before the mark.
    pub(crate) fn now(&self, clock: Timestamp) -> Timestamp {
        clock.max(self.mark())
    }

    /// The latest time that is believed.
    pub(crate) fn mark(&self) -> Timestamp {
        Timestamp(self.mark.load(Ordering::Acquire))
    }

    /// A look at the clock. What is at most `confirm` ahead of the mark is believed at once, all else
    /// when a look at least `confirm` later finds that the clock has gone on from there.
    pub(crate) fn look(&self, clock: Timestamp, confirm: Duration) {
        let mark = self.mark();
        if clock <= mark {
            self.jump.store(0, Ordering::Release);
            return;
        }
        let jump = Timestamp(self.jump.load(Ordering::Acquire));
        let has_stayed = jump.0 != 0 && jump.plus(confirm) <= clock;
        if clock <= mark.plus(confirm) || has_stayed || confirm.is_zero() {
            self.jump.store(0, Ordering::Release);
            self.raise(clock);
        } else if jump.0 == 0 || clock < jump {
            self.jump.store(clock.0, Ordering::Release);
        }
    }
}

impl Kms {
    /// Looks at the clock, and keeps what is believed of it now and then.
    pub(crate) fn look_at_clock(&self) -> Result<(), KmsError> {
        let core = &*self.core;
        core.high_water.look(core.clock(), core.options.deletion_confirm);
        let mark = core.high_water.mark();
        if mark < core.ring().noted.plus(NOTE_EVERY) {
            return Ok(());
        }
        let params = as_map(json!({"time": mark.to_iso()}));
        self.as_itself().change(Op::NoteTime, params, |draft| {
            draft.ring.noted = draft.ring.noted.max(mark);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIRM: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Timestamp {
        Timestamp(secs * 1000)
    }

    fn looked(water: &HighWater, secs: u64) -> Timestamp {
        water.look(at(secs), CONFIRM);
        water.mark()
    }

    #[test]
    fn a_clock_that_goes_on_is_followed_and_one_set_back_is_not() {
        let water = HighWater::default();
        water.raise(at(1000));
        assert_eq!(looked(&water, 1001), at(1001));
        assert_eq!(looked(&water, 1060), at(1060));
        assert_eq!(looked(&water, 400), at(1060));
        assert_eq!(water.now(at(400)), at(1060));
        assert_eq!(water.now(at(1061)), at(1061));
    }

    #[test]
    fn a_jump_is_believed_when_it_has_stayed() {
        let water = HighWater::default();
        water.raise(at(1000));
        assert_eq!(looked(&water, 90_000), at(1000));
        assert_eq!(looked(&water, 90_059), at(1000));
        // Back again: what was seen is forgotten.
        assert_eq!(looked(&water, 1002), at(1002));
        assert_eq!(looked(&water, 90_061), at(1002));
        assert_eq!(looked(&water, 90_120), at(1002));
        assert_eq!(looked(&water, 90_121), at(90_121));
    }
}
