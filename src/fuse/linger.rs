//! [`Linger`]: stays awake for a moment behind a reply, because the next request often follows at once.
//!
//! To wake a thread that sleeps, on another processor, costs more than most requests take. Who waits
//! gives the processor to everybody else who wants it, one thread waits at most, and only while
//! requests follow each other quickly: a mount at rest costs nothing. The others are parked (`duty`).

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::fuse::duty::Duty;

/// How long to wait. A request that follows within this is worth waiting for the one behind it.
const MOMENT: Duration = Duration::from_micros(50);

/// If requests take longer on the average, as with a disk below that is asked for each, no request waits for
/// the one before it.
const LONG: Duration = Duration::from_micros(50);

/// Bytes; nor does one for a READ or WRITE of more.
const LONG_LEN: usize = 32 * 1024;

/// The average follows the last so many requests.
const AVERAGED: u64 = 16;

/// While no thread is parked, one of so many requests is looked behind.
const LOOKED_AT: u64 = 8;

/// Looks in a row, none of them behind a long request, that found no other waiting: then one thread is enough.
const CALM: u64 = 32;

thread_local! {
    /// When this thread answered last, more requests were there.
    static PRESSED: Cell<bool> = const { Cell::new(false) };

    /// Requests that this thread has answered.
    static ANSWERED: Cell<u64> = const { Cell::new(0) };
}

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
    /// What a request takes, in nanoseconds, on the average.
    average: AtomicU64,
    /// How many were calm last, in a row.
    calm: AtomicU64,
    duty: Arc<Duty>,
}

impl Default for Linger {
    fn default() -> Self {
        Self {
            device: OnceLock::new(),
            started: Instant::now(),
            replied: AtomicU64::new(0),
            taken: AtomicBool::new(false),
            average: AtomicU64::new(0),
            calm: AtomicU64::new(0),
            duty: Arc::default(),
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
        self.begin(Length::Short, Behind::Parks)
    }

    /// The same for a READ or WRITE of so many bytes.
    pub(crate) fn behind_bytes(&self, len: usize) -> Lingering<'_> {
        let length = if len > LONG_LEN { Length::Long } else { Length::Short };
        self.begin(length, Behind::Parks)
    }

    /// The same for the first part of a request that fuser hands over in parts, behind each of which the
    /// thread must go on.
    pub(crate) fn behind_part(&self) -> Lingering<'_> {
        self.begin(Length::Short, Behind::GoesOn)
    }

    fn begin(&self, length: Length, behind: Behind) -> Lingering<'_> {
        let began = self.now();
        let since = began.saturating_sub(self.replied.load(Ordering::Relaxed));
        let is_long = length == Length::Long || self.average.load(Ordering::Relaxed) > nanos(LONG);
        if let Some(device) = self.device.get() {
            self.duty.take();
            if is_long || (PRESSED.take() && has_request(device)) {
                self.duty.hand_over();
            }
        }
        Lingering { linger: self, began, is_long, is_worth_it: since < nanos(MOMENT), behind }
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

/// What is known of a request when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Short,
    Long,
}

/// What a thread may do behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Parks,
    GoesOn,
}

/// A request under way. Dropping it, behind the reply, waits for the next.
#[derive(Debug)]
pub(crate) struct Lingering<'a> {
    linger: &'a Linger,
    began: u64,
    is_long: bool,
    is_worth_it: bool,
    behind: Behind,
}

impl Drop for Lingering<'_> {
    fn drop(&mut self) {
        let linger = self.linger;
        let Some(device) = linger.device.get() else { return };
        let now = linger.now();
        linger.replied.store(now, Ordering::Relaxed);
        let before = linger.average.load(Ordering::Relaxed);
        let average = before - before / AVERAGED + now.saturating_sub(self.began) / AVERAGED;
        linger.average.store(average, Ordering::Relaxed);
        let mut goes_on = true;
        if self.behind == Behind::Parks {
            let answered = ANSWERED.replace(ANSWERED.get().wrapping_add(1));
            let mut calm = linger.calm.load(Ordering::Relaxed);
            if linger.duty.has_parked() || answered.is_multiple_of(LOOKED_AT) {
                let is_more = has_request(device);
                PRESSED.set(is_more);
                calm = if is_more || self.is_long { 0 } else { calm.saturating_add(1) };
                linger.calm.store(calm, Ordering::Relaxed);
                goes_on = !is_more;
            }
            goes_on &= linger.duty.resume(calm < CALM);
        }
        if goes_on && self.is_worth_it && !linger.taken.swap(true, Ordering::Acquire) {
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

    fn lingering(linger: &Linger) -> Lingering<'_> {
        Lingering {
            linger,
            began: linger.now(),
            is_long: false,
            is_worth_it: true,
            behind: Behind::GoesOn,
        }
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
        let waited = time_of(|| drop(lingering(&linger)));
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
        let again = || time_of(|| drop(lingering(&linger)));
        assert!((0..100).map(|_| again()).min().unwrap() < MOMENT);
        assert!(linger.taken.load(Ordering::Relaxed));
    }
}
