//! [`Linger`]: stays awake for a moment behind a reply, because the next request often follows at once.
//!
//! To wake a thread that sleeps, on another processor, costs more than most requests take. Who waits
//! gives the processor to everybody else who wants it, one thread waits at most, and only while
//! requests follow each other quickly: a mount at rest costs nothing.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long to wait. A request that follows within this is worth waiting for the one behind it.
const MOMENT: Duration = Duration::from_micros(50);

/// Shared by the threads that serve one mount.
#[derive(Debug)]
pub(crate) struct Linger {
    /// `None` until requests are served, and for ever where the only processor is the caller's too.
    device: OnceLock<OwnedFd>,
    started: Instant,
    /// When a reply was sent last, in nanoseconds since `started`.
    replied: AtomicU64,
    /// A thread waits.
    taken: AtomicBool,
}

impl Default for Linger {
    fn default() -> Self {
        Self {
            device: OnceLock::new(),
            started: Instant::now(),
            replied: AtomicU64::new(0),
            taken: AtomicBool::new(false),
        }
    }
}

impl Linger {
    /// Requests come from this device.
    pub(crate) fn start(&self, device: OwnedFd) {
        if std::thread::available_parallelism().is_ok_and(|count| count.get() > 1) {
            self.device.get_or_init(|| device);
        }
    }

    /// To be called at the beginning of a request, and kept until it is answered.
    pub(crate) fn behind(&self) -> Lingering<'_> {
        let since = self.now().saturating_sub(self.replied.load(Ordering::Relaxed));
        Lingering { linger: self, is_worth_it: since < nanos(MOMENT) }
    }

    fn now(&self) -> u64 {
        nanos(self.started.elapsed())
    }

    fn wait(&self, device: &OwnedFd) {
        let end = Instant::now() + MOMENT;
        while !has_request(device) && Instant::now() < end {
            std::thread::yield_now();
        }
    }
}

/// Whether a request waits to be read, or the mount is gone.
fn has_request(device: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut asked = [PollFd::new(device, PollFlags::IN)];
    !matches!(poll(&mut asked, Some(&at_once)), Ok(0))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A request under way. Dropping it, behind the reply, waits for the next.
#[derive(Debug)]
pub(crate) struct Lingering<'a> {
    linger: &'a Linger,
    is_worth_it: bool,
}

impl Drop for Lingering<'_> {
    fn drop(&mut self) {
        let linger = self.linger;
        let Some(device) = linger.device.get() else { return };
        linger.replied.store(linger.now(), Ordering::Relaxed);
        if self.is_worth_it && !linger.taken.swap(true, Ordering::Acquire) {
            linger.wait(device);
            linger.taken.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::PipeWriter;

    use super::*;

    /// A linger whose device is a pipe, and the end that makes a request of every byte.
    fn with_pipe() -> (Linger, PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        let linger = Linger::default();
        linger.device.get_or_init(|| reader.into());
        (linger, writer)
    }

    fn time_of(work: impl FnOnce()) -> Duration {
        let start = Instant::now();
        work();
        start.elapsed()
    }

    #[test]
    fn request_that_comes_alone_is_not_waited_behind() {
        let (linger, _writer) = with_pipe();
        std::thread::sleep(Duration::from_millis(1));
        assert!(!linger.behind().is_worth_it);
    }

    /// Law: behind a request that followed quickly a moment is waited, and no longer.
    #[test]
    fn second_of_two_quick_requests_is_waited_behind() {
        let (linger, _writer) = with_pipe();
        let quick = || {
            linger.replied.store(linger.now(), Ordering::Relaxed);
            linger.behind().is_worth_it
        };
        // A thread may be stopped between the two lines.
        assert!((0..100).any(|_| quick()));
        let waited = time_of(|| drop(Lingering { linger: &linger, is_worth_it: true }));
        assert!(waited >= MOMENT, "{waited:?}");
        assert!(!linger.taken.load(Ordering::Relaxed));
    }

    #[test]
    fn request_that_is_there_ends_the_wait() {
        let (linger, writer) = with_pipe();
        rustix::io::write(&writer, &[0]).unwrap();
        let device = linger.device.get().unwrap();
        assert!(has_request(device));
        let quickest = (0..100).map(|_| time_of(|| linger.wait(device))).min().unwrap();
        assert!(quickest < MOMENT, "{quickest:?}");
    }

    #[test]
    fn one_thread_waits_at_most() {
        let (linger, _writer) = with_pipe();
        linger.taken.store(true, Ordering::Relaxed);
        let again = || time_of(|| drop(Lingering { linger: &linger, is_worth_it: true }));
        assert!((0..100).map(|_| again()).min().unwrap() < MOMENT);
        assert!(linger.taken.load(Ordering::Relaxed));
    }
}
