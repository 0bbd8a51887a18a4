//! A disk that remembers every write and flush, and what it may hold after the power went.
//!
//! The same model as that of a single file (`crash_images`): a page of 4096 bytes is written whole or
//! not at all; what was written before a flush is there; of what came later, any part.

use crate::random::{Random, random_array};

use super::pages::{PAGE, Page, Pages, pieces};

/// A disk in memory and its history since it was made.
#[derive(Debug)]
pub struct DiskLog {
    base: Pages,
    live: Pages,
    entries: Vec<Entry>,
}

#[derive(Debug)]
enum Entry {
    Write { page: u64, content: Page },
    Flush,
}

/// How much of what was not flushed survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survival {
    /// Of 256 pages that were written since the last flush, about so many are there.
    pub of_256: u16,
}

impl DiskLog {
    /// A disk of so many bytes, all zero, with an empty history.
    pub fn new(len: u64) -> Self {
        let mut base = Pages::default();
        base.grow(len);
        Self { live: base.clone(), base, entries: Vec::new() }
    }

    /// Forgets the history: the disk began as it is now, and all of it is durable.
    pub fn begin(&mut self) {
        self.base = self.live.clone();
        self.entries.clear();
    }

    /// Bytes of the disk.
    pub fn len(&self) -> u64 {
        self.live.len()
    }

    /// Whether the disk has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many things have happened: the name of this moment.
    pub fn moment(&self) -> usize {
        self.entries.len()
    }

    /// Reads up to the end of the disk; how many bytes.
    pub fn read_at(&self, at: u64, out: &mut [u8]) -> usize {
        self.live.read_at(at, out)
    }

    /// Writes. What lies behind the end is dropped.
    pub fn write_at(&mut self, at: u64, data: &[u8]) {
        let room = usize::try_from(self.len().saturating_sub(at)).unwrap_or(usize::MAX);
        for piece in pieces(at, data.len().min(room)) {
            let bytes = data.get(piece.done..piece.done + piece.len).unwrap_or_default();
            let content = self.live.patched(&piece, bytes);
            self.live.put(piece.page, content.clone());
            self.entries.push(Entry::Write { page: piece.page, content });
        }
    }

    /// Makes everything before it durable.
    pub fn flush(&mut self) {
        self.entries.push(Entry::Flush);
    }

    /// The pages that the disk holds if power goes at a moment, each with where it lies: all that was
    /// flushed, and what survives of the rest.
    pub fn after_cut(
        &self,
        moment: usize,
        survival: Survival,
        random: &dyn Random,
    ) -> impl Iterator<Item = (u64, Page)> + use<> {
        let past = self.entries.get(..moment).unwrap_or(&self.entries);
        let flush = past.iter().rposition(|entry| matches!(entry, Entry::Flush)).unwrap_or(0);
        let mut disk = self.base.clone();
        for (no, entry) in past.iter().enumerate() {
            if let Entry::Write { page, content } = entry {
                let lot = u16::from(u8::from_le_bytes(random_array(random)));
                if no < flush || lot < survival.of_256 {
                    disk.put(*page, content.clone());
                }
            }
        }
        disk.into_pages().map(|(page, content)| (page * PAGE, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    fn after(disk: &DiskLog, moment: usize, of_256: u16, seed: u64) -> Vec<(u64, u8)> {
        let pages = disk.after_cut(moment, Survival { of_256 }, &SeededRandom::new(seed));
        pages.map(|(at, content)| (at, content[0])).collect()
    }

    #[test]
    fn flushed_pages_are_there_and_later_ones_by_lot() {
        let mut disk = DiskLog::new(4096 * 100);
        disk.write_at(0, &[1; 8192]);
        disk.begin();
        disk.write_at(4096, &[2; 4096]);
        disk.flush();
        disk.write_at(4096, &[3; 4096]);
        for page in 10..90 {
            disk.write_at(page * 4096 + 7, &[4; 4096 - 7]);
        }
        assert_eq!(after(&disk, 0, 256, 0), [(0, 1), (4096, 1)]);
        assert_eq!(after(&disk, 1, 0, 0), [(0, 1), (4096, 1)]);
        assert_eq!(after(&disk, 2, 0, 0), [(0, 1), (4096, 2)]);
        assert_eq!(after(&disk, disk.moment(), 0, 0), [(0, 1), (4096, 2)]);
        assert_eq!(after(&disk, disk.moment(), 256, 0).len(), 82);
        let some = after(&disk, disk.moment(), 128, 5);
        assert!((20..70).contains(&some.len()), "{}", some.len());
        assert!(some != after(&disk, disk.moment(), 128, 6));
        let mut out = [9; 10];
        assert_eq!(disk.read_at(4096 * 10 + 3, &mut out), 10);
        assert_eq!(out, [0, 0, 0, 0, 4, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn disk_does_not_grow() {
        let mut disk = DiskLog::new(4096);
        disk.write_at(4000, &[1; 200]);
        disk.write_at(9000, &[1; 200]);
        assert_eq!((disk.len(), disk.moment(), disk.is_empty()), (4096, 1, false));
        assert_eq!(disk.read_at(4000, &mut [0; 200]), 96);
    }
}
