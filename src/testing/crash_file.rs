//! A lower file that can lose power, and every content it may have afterwards.
//!
//! The model of what survives stands in `crash_images`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lower::{LowerError, LowerFile, SyncScope};
use crate::units::{LowerLen, LowerOffset};

use super::crash_images::{Change, History};
use super::pages::{PAGE, Page, Pages, check_range, pieces, widen, zero_tail};

/// A lower file that remembers what is durable and what is only written.
#[derive(Debug, Default)]
pub struct CrashFile(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What a running process sees.
    live: Pages,
    /// What the last sync left.
    durable: Pages,
    /// What happened since, in order.
    changes: Vec<Change>,
    /// Primitives so far, those that power allowed.
    done: u64,
    /// How many power allows.
    allowed: Option<u64>,
    /// A primitive was refused: nothing works any more.
    dark: bool,
}

impl CrashFile {
    /// An empty, durable file.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file with this content, all of it durable.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let live = Pages::from_bytes(bytes);
        Self(Mutex::new(State { durable: live.clone(), live, ..State::default() }))
    }

    /// Takes the power away after `count` primitives, counted since the file was made: the next one,
    /// and every call from then on, fails with EIO.
    ///
    /// A primitive is the part of a write that lies on one page, a set_len, a punch, or a sync.
    pub fn cut_after(&self, count: u64) {
        self.state().allowed = Some(count);
    }

    /// Primitives that took effect so far. A test runs its scenario once without a cut to learn this
    /// number, and then once for each `cut_after` below it.
    pub fn primitive_count(&self) -> u64 {
        self.state().done
    }

    /// What a new process finds after this one was killed: everything that was written.
    pub fn kill_image(&self) -> Vec<u8> {
        self.state().live.to_vec()
    }

    /// What is on disk for certain.
    pub fn durable_image(&self) -> Vec<u8> {
        self.state().durable.to_vec()
    }

    /// What the file may be after power returns, without duplicates.
    ///
    /// All possibilities if they are at most `limit`; otherwise at most `limit` of them: the extremes
    /// (all pages old, all new, each single page old or new), then a sample that `seed` determines.
    pub fn crash_images(&self, limit: usize, seed: u64) -> Vec<Vec<u8>> {
        let state = self.state();
        History::new(&state.durable, &state.changes).images(limit, seed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless power is gone.
    fn lit(&self, op: &'static str) -> Result<MutexGuard<'_, State>, LowerError> {
        let state = self.state();
        if state.dark { Err(LowerError { op, errno: libc::EIO }) } else { Ok(state) }
    }
}

impl LowerFile for CrashFile {
    fn len(&self) -> Result<LowerLen, LowerError> {
        Ok(LowerLen(self.lit("fstat")?.live.len()))
    }

    fn read_at(&self, at: LowerOffset, out: &mut [u8]) -> Result<usize, LowerError> {
        Ok(self.lit("pread")?.live.read_at(at.0, out))
    }

    fn write_at(&self, at: LowerOffset, data: &[u8]) -> Result<(), LowerError> {
        check_range("pwrite", at.0, widen(data.len()))?;
        let mut state = self.lit("pwrite")?;
        for piece in pieces(at.0, data.len()) {
            state.primitive("pwrite")?;
            let bytes = data.get(piece.done..piece.done + piece.len).unwrap_or_default();
            let content = state.live.patched(&piece, bytes);
            state.put(piece.page, content);
            if piece.end() > state.live.len() {
                state.live.grow(piece.end());
                state.changes.push(Change::Len(piece.end()));
            }
        }
        Ok(())
    }

    fn set_len(&self, len: LowerLen) -> Result<(), LowerError> {
        check_range("ftruncate", 0, len.0)?;
        let mut state = self.lit("ftruncate")?;
        state.primitive("ftruncate")?;
        if len.0 < state.live.len() {
            let page = len.0 / PAGE;
            if !len.0.is_multiple_of(PAGE)
                && let Some(content) = state.live.page(page)
            {
                let mut content = Arc::clone(content);
                zero_tail(Arc::make_mut(&mut content), len.0);
                state.put(page, content);
            }
        }
        if len.0 != state.live.len() {
            state.live.set_len(len.0);
            state.changes.push(Change::Len(len.0));
        }
        Ok(())
    }

    fn reserve(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError> {
        check_range("fallocate", at.0, len.0)?;
        self.lit("fallocate").map(drop)
    }

    fn punch(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError> {
        check_range("fallocate", at.0, len.0)?;
        let mut state = self.lit("fallocate")?;
        state.primitive("fallocate")?;
        for piece in state.live.pieces_below_len(at.0, len.0) {
            let content = state.live.patched(&piece, &vec![0; piece.len]);
            state.put(piece.page, content);
        }
        Ok(())
    }

    fn next_data(&self, at: LowerOffset) -> Result<Option<LowerOffset>, LowerError> {
        Ok(self.lit("lseek")?.live.next_data(at.0).map(LowerOffset))
    }

    fn sync(&self, _: SyncScope) -> Result<(), LowerError> {
        let mut state = self.lit("fsync")?;
        state.primitive("fsync")?;
        state.durable = state.live.clone();
        state.changes.clear();
        Ok(())
    }
}

impl State {
    /// Counts a primitive that is about to take effect, or takes the power away.
    fn primitive(&mut self, op: &'static str) -> Result<(), LowerError> {
        if self.allowed.is_some_and(|allowed| self.done >= allowed) {
            self.dark = true;
            return Err(LowerError { op, errno: libc::EIO });
        }
        self.done += 1;
        Ok(())
    }

    fn put(&mut self, page: u64, content: Page) {
        self.live.put(page, Arc::clone(&content));
        self.changes.push(Change::Page { page, content });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &CrashFile, at: u64, data: &[u8]) {
        file.write_at(LowerOffset(at), data).unwrap();
    }

    #[test]
    fn running_process_sees_all_and_sync_makes_it_durable() {
        let file = CrashFile::from_bytes(b"old");
        write(&file, 1, b"xyz");
        assert_eq!(file.kill_image(), b"oxyz");
        assert_eq!(file.len(), Ok(LowerLen(4)));
        file.sync(SyncScope::Data).unwrap();
        assert_eq!(file.crash_images(10, 0), [b"oxyz".to_vec()]);
    }

    #[test]
    fn power_goes_at_the_page_of_a_write_and_stays_away() {
        let file = CrashFile::new();
        file.cut_after(2);
        let error = file.write_at(LowerOffset(4000), &[1; 9000]).unwrap_err();
        assert_eq!(error, LowerError { op: "pwrite", errno: libc::EIO });
        assert_eq!(file.primitive_count(), 2);
        assert_eq!(file.kill_image().len(), 8192);
        assert!(file.len().is_err());
        assert!(file.read_at(LowerOffset(0), &mut [0]).is_err());
        assert!(file.set_len(LowerLen(0)).is_err());
        assert!(file.sync(SyncScope::All).is_err());
        assert!(file.next_data(LowerOffset(0)).is_err());
        assert!(file.reserve(LowerOffset(0), LowerLen(1)).is_err());
        assert!(file.punch(LowerOffset(0), LowerLen(1)).is_err());
    }

    #[test]
    fn power_may_go_before_a_sync() {
        let file = CrashFile::new();
        file.cut_after(1);
        write(&file, 0, b"a");
        assert!(file.sync(SyncScope::All).is_err());
        assert_eq!(file.crash_images(10, 0), [b"".to_vec(), b"\0".to_vec(), b"a".to_vec()]);
    }

    #[test]
    fn every_primitive_is_a_cut_point() {
        let scenario = |file: &CrashFile| -> Result<(), LowerError> {
            file.set_len(LowerLen(20_000))?;
            file.write_at(LowerOffset(0), &[1; 8192])?;
            file.punch(LowerOffset(4096), LowerLen(4096))?;
            file.sync(SyncScope::All)?;
            file.set_len(LowerLen(5))
        };
        let whole = CrashFile::new();
        scenario(&whole).unwrap();
        assert_eq!(whole.primitive_count(), 6);
        for count in 0..6 {
            let file = CrashFile::new();
            file.cut_after(count);
            assert_eq!(scenario(&file).unwrap_err().errno, libc::EIO);
            assert_eq!(file.primitive_count(), count);
            assert!(file.crash_images(1000, 0).contains(&file.kill_image()));
        }
    }

    #[test]
    fn calls_that_are_no_files_business_are_refused() {
        let file = CrashFile::new();
        assert!(file.write_at(LowerOffset(u64::MAX), b"x").is_err());
        assert!(file.set_len(LowerLen(u64::MAX)).is_err());
        assert_eq!(file.primitive_count(), 0);
    }
}
