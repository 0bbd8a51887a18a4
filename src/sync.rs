//! Locks with a rank. A thread takes locks in rising rank only; debug builds check it.
//!
//! The table of ranks stands in docs/ARCHITECTURE.md. A poisoned lock is taken all the same: a
//! panic is caught at the edge and must not stop the mount.

use std::ops::{Deref, DerefMut};
#[cfg(not(feature = "shuttle"))]
use std::sync as locks;

/// Locks under which a scheduler chooses who goes on: tests/shuttle.rs.
#[cfg(feature = "shuttle")]
use shuttle::sync as locks;

/// A lock without a rank, of a leaf: nobody who holds it takes one that has an owner.
pub use locks::Mutex as LeafMutex;

/// Lets others go on for a moment; for a longer one if that has not helped `turn` times.
pub fn pause(turn: u32) {
    #[cfg(feature = "shuttle")]
    {
        let _ = turn;
        shuttle::thread::yield_now();
    }
    #[cfg(not(feature = "shuttle"))]
    std::thread::sleep(std::time::Duration::from_micros(if turn < 40 { 50 } else { 10_000 }));
}

/// Order in which locks may be taken. No KMS call is made under a rank of [`Rank::Header`] or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The process that mounts and unmounts for this one; held for a question and its answer.
    Mounter,
    /// One directory.
    Dir,
    /// One file's content.
    Content,
    /// One file's header.
    Header,
    /// Table of nodes; held for a map operation only.
    Nodes,
    /// Bounded caches: data keys, lower descriptors, queues.
    Cache,
    /// The KMS' Regions; held while one is made.
    Regions,
    /// The KMS' database; held through a whole change.
    Database,
    /// The pointer to the KMS' ring of keys; held for a clone or a swap.
    Ring,
    /// The records that wait for the audit log; held for one record's text or a swap.
    Audit,
}

#[cfg(debug_assertions)]
mod held {
    use super::Rank;
    /// So that the scheduler's threads have theirs too.
    #[cfg(feature = "shuttle")]
    use shuttle::thread_local;
    use std::cell::RefCell;

    thread_local! {
        static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn take(rank: Rank) {
        HELD.with(|held| {
            let mut held = held.borrow_mut();
            if let Some(top) = held.iter().max() {
                // Two directories are taken in a stated order (ancestor first), hence `<=`.
                let in_order =
                    *top < rank || (*top == rank && matches!(rank, Rank::Dir | Rank::Content));
                assert!(in_order, "lock order: {rank:?} taken while {top:?} is held");
            }
            held.push(rank);
        });
    }

    pub(super) fn give_back(rank: Rank) {
        HELD.with(|held| {
            let mut held = held.borrow_mut();
            if let Some(at) = held.iter().rposition(|r| *r == rank) {
                held.remove(at);
            }
        });
    }
}

#[cfg(not(debug_assertions))]
mod held {
    use super::Rank;
    pub(super) fn take(_: Rank) {}
    pub(super) fn give_back(_: Rank) {}
}

/// Pauses of random length around every lock, so that a test meets interleavings that a machine at ease
/// never has. Off unless a test turns it on.
#[cfg(feature = "testing")]
pub mod jitter {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// 0: off. Else the seed from which the next thread's numbers come.
    static SEED: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }

    /// Turns it on for the whole process; a seed of 0 turns it off.
    pub fn set(seed: u64) {
        SEED.store(seed, Ordering::Relaxed);
    }

    pub(super) fn pause() {
        if SEED.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = STATE.get();
        if state == 0 {
            state = SEED.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) | 1;
        }
        // Xorshift: Marsaglia, "Xorshift RNGs".
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        STATE.set(state);
        match state % 64 {
            0 => std::thread::sleep(std::time::Duration::from_micros(state % 300)),
            1..16 => std::thread::yield_now(),
            _ => {}
        }
    }
}

#[cfg(not(feature = "testing"))]
mod jitter {
    pub(super) fn pause() {}
}

/// A mutual exclusion lock with a rank.
#[derive(Debug)]
pub struct Mutex<T> {
    rank: Rank,
    inner: locks::Mutex<T>,
}

/// What [`Mutex::lock`] and the two calls of [`RwLock`] return: unlocks on drop.
#[derive(Debug)]
pub struct Guard<G> {
    inner: G,
    rank: Rank,
}

impl<G: Deref> Deref for Guard<G> {
    type Target = G::Target;
    fn deref(&self) -> &G::Target {
        &self.inner
    }
}

impl<G: DerefMut> DerefMut for Guard<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.inner
    }
}

impl<G> Drop for Guard<G> {
    fn drop(&mut self) {
        held::give_back(self.rank);
        jitter::pause();
    }
}

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self { rank, inner: locks::Mutex::new(value) }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> Guard<locks::MutexGuard<'_, T>> {
        held::take(self.rank);
        jitter::pause();
        let inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Guard { inner, rank: self.rank }
    }
}

/// A lock that many may read and one may write, with a rank.
#[derive(Debug)]
pub struct RwLock<T> {
    rank: Rank,
    inner: locks::RwLock<T>,
}

impl<T> RwLock<T> {
    /// A lock around `value`.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self { rank, inner: locks::RwLock::new(value) }
    }

    /// Waits for shared access.
    pub fn read(&self) -> Guard<locks::RwLockReadGuard<'_, T>> {
        held::take(self.rank);
        jitter::pause();
        let inner = self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Guard { inner, rank: self.rank }
    }

    /// Waits for exclusive access.
    pub fn write(&self) -> Guard<locks::RwLockWriteGuard<'_, T>> {
        held::take(self.rank);
        jitter::pause();
        let inner = self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        Guard { inner, rank: self.rank }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn rising_ranks_are_fine_and_falling_ones_panic() {
        let low = Mutex::new(Rank::Nodes, ());
        let high = Mutex::new(Rank::Ring, ());
        {
            let _a = low.lock();
            let _b = high.lock();
        }
        let wrong = std::panic::catch_unwind(|| {
            let _b = high.lock();
            let _a = low.lock();
        });
        assert!(wrong.is_err());
    }
}
