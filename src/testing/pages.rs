//! The content of a sparse file in memory, page by page.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::lower::LowerError;

/// One page. Shared between versions of a file, so that keeping history is cheap.
pub(super) type Page = Arc<[u8; PAGE_LEN]>;

/// A length and the pages that are no holes. Nothing but zeros stands behind the length.
#[derive(Clone, Default)]
pub(super) struct Pages {
    len: u64,
    pages: BTreeMap<u64, Page>,
}

impl Pages {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut pages = Self::default();
        for piece in pieces(0, bytes.len()) {
            let data = bytes.get(piece.done..piece.done + piece.len).unwrap_or_default();
            let page = pages.patched(&piece, data);
            pages.put(piece.page, page);
        }
        pages.len = widen(bytes.len());
        pages
    }

    /// The whole content.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(0)];
        self.read_at(0, &mut bytes);
        bytes
    }

    /// Bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Reads up to the length; how many bytes.
    pub(super) fn read_at(&self, at: u64, out: &mut [u8]) -> usize {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let len = out.len().min(left);
        for piece in pieces(at, len) {
            let Some(out) = out.get_mut(piece.done..piece.done + piece.len) else { break };
            match self.pages.get(&piece.page).and_then(|page| page.get(piece.within())) {
                Some(bytes) => out.copy_from_slice(bytes),
                None => out.fill(0),
            }
        }
        len
    }

    /// A page; `None` for a hole.
    pub(super) fn page(&self, page: u64) -> Option<&Page> {
        self.pages.get(&page)
    }

    /// What the page of `piece` is with `data` written into it.
    pub(super) fn patched(&self, piece: &Piece, data: &[u8]) -> Page {
        let mut page = self.pages.get(&piece.page).cloned().unwrap_or_else(zero_page);
        if let Some(place) = Arc::make_mut(&mut page).get_mut(piece.within()) {
            place.copy_from_slice(data);
        }
        page
    }

    /// Puts a page, whatever the length.
    pub(super) fn put(&mut self, page: u64, content: Page) {
        self.pages.insert(page, content);
    }

    /// The pages that are no holes, by number.
    pub(super) fn into_pages(self) -> impl Iterator<Item = (u64, Page)> {
        self.pages.into_iter()
    }

    /// Makes the file at least so long.
    pub(super) fn grow(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// Sets the length. Pages behind it go, and the rest of the page it lies in becomes zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        self.len = len;
        self.pages.split_off(&page_count(len));
        if let Some(page) = self.pages.get_mut(&(len / PAGE)) {
            zero_tail(Arc::make_mut(page), len);
        }
    }

    /// The pages of which a part or all lies in the range and below the length, as pieces.
    pub(super) fn pieces_below_len(&self, at: u64, len: u64) -> Vec<Piece> {
        let end = at.saturating_add(len).min(self.len);
        let len = usize::try_from(end.saturating_sub(at)).unwrap_or(0);
        pieces(at, len).collect()
    }

    /// Start of the next byte at or behind `at` on a page that is not all zeros.
    pub(super) fn next_data(&self, at: u64) -> Option<u64> {
        let (page, _) = self
            .pages
            .range(at / PAGE..page_count(self.len))
            .find(|(_, page)| page.iter().any(|byte| *byte != 0))?;
        Some(at.max(page.saturating_mul(PAGE))).filter(|found| *found < self.len)
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({} bytes, {} pages)", self.len, self.pages.len())
    }
}

/// The part of a range that lies on one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which page.
    pub(super) page: u64,
    /// Where on the page it begins.
    pub(super) from: usize,
    /// Bytes.
    pub(super) len: usize,
    /// Bytes of the range before it.
    pub(super) done: usize,
}

impl Piece {
    /// Its place on its page.
    fn within(&self) -> std::ops::Range<usize> {
        self.from..self.from + self.len
    }

    /// Its end in the file.
    pub(super) fn end(&self) -> u64 {
        self.page * PAGE + widen(self.from + self.len)
    }
}

/// Splits a range at page boundaries.
pub(super) fn pieces(at: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let here = at + widen(done);
        let from = usize::try_from(here % PAGE).unwrap_or(0);
        let piece = Piece { page: here / PAGE, from, len: (PAGE_LEN - from).min(len - done), done };
        done += piece.len;
        (piece.len > 0).then_some(piece)
    })
}

/// Refuses ranges that no file of Linux has.
pub(super) fn check_range(op: &'static str, at: u64, len: u64) -> Result<(), LowerError> {
    match at.checked_add(len) {
        Some(end) if end <= FILE_LEN_MAX => Ok(()),
        _ => Err(LowerError { op, errno: libc::EFBIG }),
    }
}

/// Number of pages that a file of this length has.
pub(super) fn page_count(len: u64) -> u64 {
    len.div_ceil(PAGE)
}

/// Zeroes a page from where `len` lies on it.
pub(super) fn zero_tail(page: &mut [u8; PAGE_LEN], len: u64) {
    let from = usize::try_from(len % PAGE).unwrap_or(0);
    if let Some(tail) = page.get_mut(from..) {
        tail.fill(0);
    }
}

/// A page of zeros.
pub(super) fn zero_page() -> Page {
    Arc::new([0; PAGE_LEN])
}

/// A length in memory as a length in a file.
pub(super) fn widen(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Bytes of a page; what reaches the disk at once or not at all.
pub(super) const PAGE_LEN: usize = 4096;

/// [`PAGE_LEN`] among positions in a file.
pub(super) const PAGE: u64 = 4096;

/// Bytes; ext4 with 4096-byte blocks ends here, and nothing of ours needs more.
const FILE_LEN_MAX: u64 = 1 << 44;
