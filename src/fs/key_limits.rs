//! How long, and for how much, a file's data key is used before the key service is asked for it again:
//! its policy then decides anew, and its audit log has a record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::clock::Clock;

/// Limits of a data key that is held; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Time since it came from the key service.
    pub age: Option<Duration>,
    /// Plaintext that it sealed and opened.
    pub bytes: Option<u64>,
    /// Reads and writes that it served.
    pub messages: Option<u64>,
}

/// What a data key was used for since it came from the key service.
#[derive(Debug, Default)]
pub(super) struct KeyUse {
    /// When it was first looked at.
    since: OnceLock<SystemTime>,
    bytes: AtomicU64,
    messages: AtomicU64,
}

/// Limits, and the clock that they go by. Without limits nothing is counted and no clock is asked.
#[derive(Debug, Default)]
pub(super) struct KeyLimiter(OnceLock<(KeyLimits, Arc<dyn Clock>)>);

impl KeyLimiter {
    /// Sets the limits, once.
    pub(super) fn set(&self, limits: KeyLimits, clock: Arc<dyn Clock>) {
        if limits != KeyLimits::default() {
            let _set_before = self.0.set((limits, clock));
        }
    }

    /// Whether there are any.
    pub(super) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether a key has passed one.
    pub(super) fn is_spent(&self, used: &KeyUse) -> bool {
        let Some((limits, clock)) = self.0.get() else { return false };
        let is_old = limits.age.is_some_and(|age| {
            let now = clock.now();
            let since = *used.since.get_or_init(|| now);
            // A clock that was set back prolongs nothing.
            now.duration_since(since).is_ok_and(|held| held >= age) || now < since
        });
        let has_reached = |count: &AtomicU64, limit: Option<u64>| {
            limit.is_some_and(|limit| count.load(Ordering::Relaxed) >= limit)
        };
        is_old
            || has_reached(&used.bytes, limits.bytes)
            || has_reached(&used.messages, limits.messages)
    }

    /// Counts one read or write.
    pub(super) fn count(&self, used: &KeyUse, bytes: u64) {
        if self.is_set() {
            used.bytes.fetch_add(bytes, Ordering::Relaxed);
            used.messages.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn limiter(limits: KeyLimits) -> (KeyLimiter, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(1000));
        let limiter = KeyLimiter::default();
        limiter.set(limits, Arc::<ManualClock>::clone(&clock));
        (limiter, clock)
    }

    #[test]
    fn each_limit_ends_a_key_when_it_is_reached() {
        let age = Some(Duration::from_secs(60));
        let (limiter_of_age, clock) = limiter(KeyLimits { age, ..KeyLimits::default() });
        let used = KeyUse::default();
        assert!(!limiter_of_age.is_spent(&used));
        clock.advance(Duration::from_secs(59));
        assert!(!limiter_of_age.is_spent(&used));
        clock.advance(Duration::from_secs(1));
        assert!(limiter_of_age.is_spent(&used) && !limiter_of_age.is_spent(&KeyUse::default()));

        let (of_bytes, _) = limiter(KeyLimits { bytes: Some(100), ..KeyLimits::default() });
        let used = KeyUse::default();
        of_bytes.count(&used, 99);
        assert!(!of_bytes.is_spent(&used));
        of_bytes.count(&used, 1);
        assert!(of_bytes.is_spent(&used));

        let (of_messages, _) = limiter(KeyLimits { messages: Some(2), ..KeyLimits::default() });
        let used = KeyUse::default();
        of_messages.count(&used, u64::MAX);
        assert!(!of_messages.is_spent(&used));
        of_messages.count(&used, 0);
        assert!(of_messages.is_spent(&used));
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let (none, clock) = limiter(KeyLimits::default());
        let used = KeyUse::default();
        none.count(&used, 5);
        clock.advance(Duration::from_secs(1 << 30));
        assert!(!none.is_spent(&used) && !none.is_set());
        assert_eq!(used.messages.load(Ordering::Relaxed), 0);
        assert!(used.since.get().is_none());
    }
}
