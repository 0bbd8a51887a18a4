//! A lower file in memory: as a real one, but fast, and gone with the test.

use std::ops::DerefMut;
use std::sync::PoisonError;

use crate::lower::{LowerError, LowerFile, SyncScope};
use crate::sync::LeafMutex;
use crate::units::{LowerLen, LowerOffset};

use super::pages::{Pages, check_range, pieces, widen};

/// A lower file in memory. Sparse: a length of terabytes costs nothing. Under the scheduler of
/// tests/shuttle.rs each call is a place where others may come in between.
#[derive(Debug, Default)]
pub struct MemFile(LeafMutex<Pages>);

impl MemFile {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file with this content.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(LeafMutex::new(Pages::from_bytes(bytes)))
    }

    /// The whole content.
    pub fn bytes(&self) -> Vec<u8> {
        self.pages().to_vec()
    }

    fn pages(&self) -> impl DerefMut<Target = Pages> + '_ {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LowerFile for MemFile {
    fn len(&self) -> Result<LowerLen, LowerError> {
        Ok(LowerLen(self.pages().len()))
    }

    fn read_at(&self, at: LowerOffset, out: &mut [u8]) -> Result<usize, LowerError> {
        Ok(self.pages().read_at(at.0, out))
    }

    fn write_at(&self, at: LowerOffset, data: &[u8]) -> Result<(), LowerError> {
        check_range("pwrite", at.0, widen(data.len()))?;
        let mut pages = self.pages();
        for piece in pieces(at.0, data.len()) {
            let bytes = data.get(piece.done..piece.done + piece.len).unwrap_or_default();
            let page = pages.patched(&piece, bytes);
            pages.put(piece.page, page);
            pages.grow(piece.end());
        }
        Ok(())
    }

    fn set_len(&self, len: LowerLen) -> Result<(), LowerError> {
        check_range("ftruncate", 0, len.0)?;
        self.pages().set_len(len.0);
        Ok(())
    }

    fn reserve(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError> {
        check_range("fallocate", at.0, len.0)
    }

    fn punch(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError> {
        check_range("fallocate", at.0, len.0)?;
        let mut pages = self.pages();
        for piece in pages.pieces_below_len(at.0, len.0) {
            let page = pages.patched(&piece, &vec![0; piece.len]);
            pages.put(piece.page, page);
        }
        Ok(())
    }

    fn next_data(&self, at: LowerOffset) -> Result<Option<LowerOffset>, LowerError> {
        Ok(self.pages().next_data(at.0).map(LowerOffset))
    }

    fn sync(&self, _: SyncScope) -> Result<(), LowerError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::OsFile;
    use crate::random::{Random, SeededRandom};

    #[test]
    fn huge_and_sparse_costs_nothing() {
        let file = MemFile::new();
        file.write_at(LowerOffset(1 << 40), b"end").unwrap();
        assert_eq!(file.len(), Ok(LowerLen((1 << 40) + 3)));
        let mut out = [9; 5];
        assert_eq!(file.read_at(LowerOffset((1 << 40) - 2), &mut out), Ok(5));
        assert_eq!(&out, b"\0\0end");
        assert_eq!(file.next_data(LowerOffset(0)), Ok(Some(LowerOffset(1 << 40))));
        let far = file.write_at(LowerOffset(u64::MAX), b"x").unwrap_err();
        assert_eq!(far.errno, libc::EFBIG);
    }

    #[test]
    fn pages_of_zeros_are_holes() {
        let file = MemFile::from_bytes(&[[0; 4096], [1; 4096], [2; 4096]].concat());
        assert_eq!(file.next_data(LowerOffset(0)), Ok(Some(LowerOffset(4096))));
        assert_eq!(file.next_data(LowerOffset(5000)), Ok(Some(LowerOffset(5000))));
        file.punch(LowerOffset(4096), LowerLen(4096)).unwrap();
        assert_eq!(file.next_data(LowerOffset(5000)), Ok(Some(LowerOffset(8192))));
        file.punch(LowerOffset(8192), LowerLen(1 << 30)).unwrap();
        assert_eq!(file.next_data(LowerOffset(0)), Ok(None));
        assert_eq!(file.bytes(), [0; 12_288]);
    }

    /// Law: a sequence of calls leaves the same content in memory as in a real file.
    #[test]
    fn memory_behaves_as_a_real_file() {
        for seed in 0..50 {
            let random = SeededRandom::new(seed);
            let draw = |count: u64| {
                let mut bytes = [0; 4];
                random.fill(&mut bytes);
                u64::from(u32::from_le_bytes(bytes)) % count
            };
            let real = OsFile::from_fd(tempfile::tempfile().unwrap().into());
            let memory = MemFile::new();
            let both: [&dyn LowerFile; 2] = [&real, &memory];
            for _ in 0..30 {
                let (at, len) = (LowerOffset(draw(30_000)), draw(10_000));
                let data = vec![u8::try_from(draw(255)).unwrap(); usize::try_from(len).unwrap()];
                let what = draw(5);
                for file in both {
                    match what {
                        0 => file.set_len(LowerLen(at.0)).unwrap(),
                        1 => file.punch(at, LowerLen(len)).unwrap(),
                        2 => file.reserve(at, LowerLen(len)).unwrap(),
                        _ => file.write_at(at, &data).unwrap(),
                    }
                }
                assert_eq!(real.len(), memory.len(), "seed {seed}");
                let [from_real, from_memory] = both.map(|file| {
                    let mut out = vec![0; 50_000];
                    let read = file.read_at(LowerOffset(at.0 / 2), &mut out).unwrap();
                    out.truncate(read);
                    out
                });
                assert!(from_real == from_memory, "seed {seed}");
            }
        }
    }
}
