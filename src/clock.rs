//! Time as a parameter.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the time comes from.
pub trait Clock: Send + Sync + Debug {
    /// The time now.
    fn now(&self) -> SystemTime;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The system's clock, ahead by as much as it was moved: for tests of what takes years.
#[derive(Debug, Default)]
pub struct AheadClock {
    /// Milliseconds.
    ahead: AtomicU64,
}

impl AheadClock {
    /// How far it is ahead.
    pub fn ahead(&self) -> Duration {
        Duration::from_millis(self.ahead.load(Ordering::SeqCst))
    }

    /// Puts it ahead by this, to the millisecond.
    pub fn set_ahead(&self, ahead: Duration) {
        let millis = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
        self.ahead.store(millis, Ordering::SeqCst);
    }
}

impl Clock for AheadClock {
    fn now(&self) -> SystemTime {
        let now = SystemClock.now();
        now.checked_add(self.ahead()).unwrap_or(now)
    }
}

/// A clock that stands still until it is moved: deletion windows in microseconds.
#[derive(Debug)]
pub struct ManualClock {
    /// Nanoseconds since the epoch.
    nanos: AtomicU64,
}

impl ManualClock {
    /// Starts at a time in seconds since the epoch.
    pub fn at(secs: u64) -> Self {
        Self { nanos: AtomicU64::new(secs.saturating_mul(1_000_000_000)) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_put_ahead_goes_on() {
        let clock = AheadClock::default();
        let year = Duration::from_secs(365 * 86_400);
        clock.set_ahead(year);
        let ahead = clock.now().duration_since(SystemClock.now()).unwrap();
        assert!(year - ahead < Duration::from_secs(60), "{ahead:?}");
        assert_eq!(clock.ahead(), year);
    }
}
