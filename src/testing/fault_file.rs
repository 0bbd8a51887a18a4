//! A lower file whose calls fail on command.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::lower::{LowerError, LowerFile, SyncScope};
use crate::units::{LowerLen, LowerOffset};

use super::pages::{PAGE, PAGE_LEN, pieces, widen};

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Nothing,
    /// The changing call with this number, counted from the moment it was ordered; a write after half
    /// of its pages.
    Call {
        /// Which.
        number: u64,
        /// What it answers.
        errno: i32,
    },
    /// Every write to a page that is a hole: the disk is full.
    Holes,
    /// Every read of a page.
    Reads {
        /// Which page.
        page: u64,
    },
}

/// A lower file whose calls fail on command.
#[derive(Debug)]
pub struct FaultFile<F> {
    inner: F,
    /// The fault, and the changing calls since it was ordered.
    state: Mutex<(Fault, u64)>,
}

impl<F: LowerFile> FaultFile<F> {
    /// Over another file. Nothing fails yet.
    pub fn new(inner: F) -> Self {
        Self { inner, state: Mutex::new((Fault::Nothing, 0)) }
    }

    /// From now on this fails. Tells the changing calls since the last order.
    pub fn order(&self, fault: Fault) -> u64 {
        std::mem::replace(&mut *self.state(), (fault, 0)).1
    }

    fn state(&self) -> MutexGuard<'_, (Fault, u64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a changing call; what it answers if it is the one to fail.
    fn count(&self) -> Option<i32> {
        let mut state = self.state();
        state.1 += 1;
        match state.0 {
            Fault::Call { number, errno } if number == state.1 - 1 => Some(errno),
            _ => None,
        }
    }

    fn change(
        &self,
        op: &'static str,
        work: impl FnOnce() -> Result<(), LowerError>,
    ) -> Result<(), LowerError> {
        match self.count() {
            Some(errno) => Err(LowerError { op, errno }),
            None => work(),
        }
    }

    fn is_hole(&self, page: u64) -> Result<bool, LowerError> {
        let start = page.saturating_mul(PAGE);
        Ok(self.inner.next_data(LowerOffset(start))?.is_none_or(|data| data.0 >= start + PAGE))
    }
}

impl<F: LowerFile> LowerFile for FaultFile<F> {
    fn len(&self) -> Result<LowerLen, LowerError> {
        self.inner.len()
    }

    fn read_at(&self, at: LowerOffset, out: &mut [u8]) -> Result<usize, LowerError> {
        let fault = self.state().0;
        match fault {
            Fault::Reads { page } if pieces(at.0, out.len()).any(|piece| piece.page == page) => {
                Err(LowerError { op: "pread", errno: libc::EIO })
            }
            _ => self.inner.read_at(at, out),
        }
    }

    fn write_at(&self, at: LowerOffset, data: &[u8]) -> Result<(), LowerError> {
        let fails = self.count();
        let is_full = self.state().0 == Fault::Holes;
        let half = data.len().div_ceil(PAGE_LEN) / 2;
        for (no, piece) in pieces(at.0, data.len()).enumerate() {
            let errno = match fails.filter(|_| no >= half) {
                Some(errno) => Some(errno),
                None if is_full && self.is_hole(piece.page)? => Some(libc::ENOSPC),
                None => None,
            };
            if let Some(errno) = errno {
                return Err(LowerError { op: "pwrite", errno });
            }
            let bytes = data.get(piece.done..piece.done + piece.len).unwrap_or_default();
            self.inner.write_at(LowerOffset(piece.end() - widen(piece.len)), bytes)?;
        }
        Ok(())
    }

    fn set_len(&self, len: LowerLen) -> Result<(), LowerError> {
        self.change("ftruncate", || self.inner.set_len(len))
    }

    fn reserve(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError> {
        self.inner.reserve(at, len)
    }

    fn punch(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError> {
        self.change("fallocate", || self.inner.punch(at, len))
    }

    fn next_data(&self, at: LowerOffset) -> Result<Option<LowerOffset>, LowerError> {
        self.inner.next_data(at)
    }

    fn sync(&self, scope: SyncScope) -> Result<(), LowerError> {
        self.change("fsync", || self.inner.sync(scope))
    }
}
