//! What a file may be after power returns.
//!
//! The model is what FORMAT.md, section 6, promises against: a page of 4096 bytes reaches the disk
//! at once or not at all, in any order among pages, and whether or not anybody asked; lengths reach
//! it in the order in which they were set, as a journal keeps them. In detail, since the last sync:
//!
//! * Each write leaves a *version* of each page it touches. After power returns, a page is any one of
//!   its versions, or what the last sync left.
//! * The length is that of any one moment: the first so many changes of length took effect. Writing
//!   beyond the end changes the length too, page by page.
//! * A page that a shrink cut off is gone with that shrink: if it took effect, what was written
//!   before it does not come back; if it did not, what was written there afterwards (to a newly
//!   allocated block) is not reachable.
//! * A shrink into the middle of a page zeroes the rest of the page. That is a version like any other
//!   and may be on the disk before the length; it is there for certain when the length is (ext4 in
//!   ordered mode; XFS waits for it).
//! * Punched pages are pages written with zeros.

use std::collections::{BTreeMap, BTreeSet};

use crate::random::{SeededRandom, random_array};

use super::pages::{PAGE, Page, Pages, page_count, widen, zero_page, zero_tail};

/// One thing that can reach the disk by itself.
#[derive(Debug)]
pub(super) enum Change {
    /// A page has a new version.
    Page { page: u64, content: Page },
    /// The file has a new length.
    Len(u64),
}

/// What happened to a file since its last sync, sorted by what it happened to.
#[derive(Debug)]
pub(super) struct History<'a> {
    durable: &'a Pages,
    /// Changes of length, each with its moment.
    lens: Vec<(usize, u64)>,
    /// Versions of each page, each with its moment.
    pages: BTreeMap<u64, Vec<(usize, &'a Page)>>,
}

impl<'a> History<'a> {
    /// Of a file that was `durable` at its last sync.
    pub(super) fn new(durable: &'a Pages, changes: &'a [Change]) -> Self {
        let mut history = Self { durable, lens: Vec::new(), pages: BTreeMap::new() };
        for (when, change) in changes.iter().enumerate() {
            match change {
                Change::Len(len) => history.lens.push((when, *len)),
                Change::Page { page, content } => {
                    history.pages.entry(*page).or_default().push((when, content));
                }
            }
        }
        history
    }

    /// All images if they are at most `limit`, else at most `limit` of them.
    pub(super) fn images(&self, limit: usize, seed: u64) -> Vec<Vec<u8>> {
        let images = self.all_images(limit).unwrap_or_else(|| self.sample(limit, seed));
        images.into_iter().collect()
    }

    /// All images, unless there are more than `limit`.
    fn all_images(&self, limit: usize) -> Option<BTreeSet<Vec<u8>>> {
        let (mut plans, mut left) = (Vec::new(), limit);
        for kept in 0..=self.lens.len() {
            let plan = self.plan(kept);
            left = left.checked_sub(plan.image_count())?;
            plans.push(plan);
        }
        Some(plans.iter().flat_map(Plan::all_images).collect())
    }

    /// At most `limit` images: extremes of the newest and of the oldest length, then of those
    /// between, then any.
    fn sample(&self, limit: usize, seed: u64) -> BTreeSet<Vec<u8>> {
        let random = SeededRandom::new(seed);
        let draw = |count: usize| {
            let drawn = u64::from_le_bytes(random_array(&random)) % widen(count).max(1);
            usize::try_from(drawn).unwrap_or(0)
        };
        let newest = self.lens.len();
        let mut images = BTreeSet::new();
        for kept in [newest, 0].into_iter().chain(1..newest) {
            for image in self.plan(kept).extremes() {
                if images.len() >= limit {
                    return images;
                }
                images.insert(image);
            }
        }
        // Some are drawn twice, hence more attempts than images wanted.
        for _ in 0..limit.saturating_mul(4) {
            if images.len() >= limit {
                break;
            }
            images.insert(self.plan(draw(newest + 1)).image(|_, count| draw(count)));
        }
        images
    }

    /// What each page may be if the first `kept` changes of length took effect and no other.
    fn plan(&self, kept: usize) -> Plan {
        let (kept, lost) = self.lens.split_at_checked(kept).unwrap_or((&self.lens, &[]));
        let len = kept.last().map_or(self.durable.len(), |(_, len)| *len);
        let pages = (0..page_count(len)).map(|page| self.versions(page, kept, lost, len)).collect();
        Plan { pages }
    }

    /// The versions of a page, oldest first, as far as they lie below `len`: `kept` and `lost` are
    /// the changes of length that took effect and that did not.
    fn versions(
        &self,
        page: u64,
        kept: &[(usize, u64)],
        lost: &[(usize, u64)],
        len: u64,
    ) -> Vec<Vec<u8>> {
        // A growth that ends before the page cuts nothing off, but then the page is not there
        // either, so that both questions may be asked of every change of length alike.
        let cuts = |(_, len): &&(usize, u64)| page * PAGE >= *len;
        let cut = kept.iter().rfind(cuts).map(|(when, _)| *when);
        let freed = lost.iter().find(cuts).map(|(when, _)| *when);
        let hole = zero_page();
        let oldest = match cut {
            Some(_) => &hole,
            None => self.durable.page(page).unwrap_or(&hole),
        };
        let written = self.pages.get(&page).into_iter().flatten();
        let written = written
            .filter(|(when, _)| cut.is_none_or(|cut| *when > cut))
            .filter(|(when, _)| freed.is_none_or(|freed| *when < freed))
            .map(|(when, content)| (Some(*when), *content));
        let mut versions: Vec<Vec<u8>> = Vec::new();
        for (when, content) in std::iter::once((cut, oldest)).chain(written) {
            let mut content = **content;
            for (_, len) in kept.iter().filter(|(later, _)| Some(*later) > when) {
                if len / PAGE == page {
                    zero_tail(&mut content, *len);
                }
            }
            let visible = usize::try_from(len - page * PAGE).unwrap_or(usize::MAX);
            let content = content.get(..visible).unwrap_or(&content).to_vec();
            if !versions.contains(&content) {
                versions.push(content);
            }
        }
        versions
    }
}

/// For one length: the versions of each of its pages, oldest first, at least one each.
#[derive(Debug)]
struct Plan {
    pages: Vec<Vec<Vec<u8>>>,
}

impl Plan {
    fn image_count(&self) -> usize {
        self.pages.iter().fold(1, |count, versions| count.saturating_mul(versions.len()))
    }

    /// The image for which `pick` chooses a version of each page, given the number of the page and
    /// how many versions it has.
    fn image(&self, mut pick: impl FnMut(usize, usize) -> usize) -> Vec<u8> {
        let chosen = self.pages.iter().enumerate();
        let chosen = chosen.filter_map(|(page, versions)| versions.get(pick(page, versions.len())));
        chosen.flatten().copied().collect()
    }

    /// Every image.
    fn all_images(&self) -> impl Iterator<Item = Vec<u8>> {
        (0..self.image_count()).map(|no| {
            let mut rest = no;
            self.image(|_, count| {
                let pick = rest % count;
                rest /= count;
                pick
            })
        })
    }

    /// The images with all pages alike or a single one different.
    fn extremes(&self) -> impl Iterator<Item = Vec<u8>> {
        let singles = (0..self.pages.len()).flat_map(|single| {
            [
                self.image(|page, count| if page == single { 0 } else { count - 1 }),
                self.image(|page, count| if page == single { count - 1 } else { 0 }),
            ]
        });
        [self.image(|_, count| count - 1), self.image(|_, _| 0)].into_iter().chain(singles)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::lower::{LowerFile, SyncScope};
    use crate::random::{Random, SeededRandom};
    use crate::testing::CrashFile;
    use crate::units::{LowerLen, LowerOffset};

    /// A file of whole pages, each filled with one letter; `_` stands for zeros.
    fn file_of(letters: &str) -> CrashFile {
        let bytes: Vec<u8> = letters.bytes().flat_map(page_of).collect();
        CrashFile::from_bytes(&bytes)
    }

    fn page_of(letter: u8) -> [u8; 4096] {
        if letter == b'_' { [0; 4096] } else { [letter; 4096] }
    }

    fn write(file: &CrashFile, page: u64, letters: &str) {
        let bytes: Vec<u8> = letters.bytes().flat_map(page_of).collect();
        file.write_at(LowerOffset(page * 4096), &bytes).unwrap();
    }

    fn set_len(file: &CrashFile, len: u64) {
        file.set_len(LowerLen(len)).unwrap();
    }

    /// All images as letters; a page that is not all of one letter is its runs, as in `a3_1`.
    fn letters(file: &CrashFile) -> BTreeSet<String> {
        let text = |image: &Vec<u8>| {
            let pages = image.chunks(4096).map(|page| {
                let runs = page.chunk_by(|a, b| a == b).map(|run| {
                    let letter = char::from(if run[0] == 0 { b'_' } else { run[0] });
                    match run.len() {
                        4096 => letter.to_string(),
                        len => format!("{letter}{len}"),
                    }
                });
                runs.collect::<String>()
            });
            pages.collect::<String>()
        };
        file.crash_images(1000, 0).iter().map(text).collect()
    }

    fn set<const N: usize>(expected: [&str; N]) -> BTreeSet<String> {
        expected.map(str::to_owned).into()
    }

    #[test]
    fn overwritten_pages_are_old_or_new_independently() {
        let file = file_of("ab");
        write(&file, 0, "xy");
        assert_eq!(letters(&file), set(["ab", "xb", "ay", "xy"]));
    }

    #[test]
    fn any_version_of_a_page_may_be_the_one() {
        let file = file_of("a");
        write(&file, 0, "x");
        write(&file, 0, "y");
        assert_eq!(letters(&file), set(["a", "x", "y"]));
        file.sync(SyncScope::Data).unwrap();
        assert_eq!(letters(&file), set(["y"]));
    }

    #[test]
    fn append_is_missing_or_a_hole_or_there_page_by_page() {
        let file = file_of("a");
        write(&file, 1, "xy");
        assert_eq!(letters(&file), set(["a", "a_", "ax", "a__", "ax_", "a_y", "axy"]));
    }

    #[test]
    fn lengths_take_effect_in_their_order() {
        let file = file_of("abc");
        set_len(&file, 4096);
        set_len(&file, 8192);
        assert_eq!(letters(&file), set(["abc", "a", "a_"]));
    }

    #[test]
    fn cut_off_page_does_not_come_back_with_a_growth() {
        let file = file_of("ab");
        write(&file, 1, "x");
        set_len(&file, 4096);
        set_len(&file, 8192);
        write(&file, 1, "y");
        assert_eq!(letters(&file), set(["ab", "ax", "a", "a_", "ay"]));
    }

    #[test]
    fn write_behind_a_lost_shrink_shows_only_on_pages_it_did_not_free() {
        let file = file_of("ab");
        set_len(&file, 4096);
        write(&file, 0, "x");
        write(&file, 1, "y");
        assert_eq!(letters(&file), set(["ab", "xb", "a", "x", "a_", "ay", "x_", "xy"]));
    }

    #[test]
    fn shrink_inside_a_page_zeroes_its_rest_before_or_with_the_length() {
        let file = file_of("a");
        set_len(&file, 96);
        assert_eq!(letters(&file), set(["a", "a96_4000", "a96"]));
        set_len(&file, 4096);
        assert_eq!(letters(&file), set(["a", "a96_4000", "a96"]));
        write(&file, 0, "x");
        assert_eq!(letters(&file), set(["a", "a96_4000", "x", "a96", "x96"]));
    }

    #[test]
    fn punched_page_is_old_or_zeros() {
        let file = file_of("abc");
        file.punch(LowerOffset(4096), LowerLen(1 << 20)).unwrap();
        assert_eq!(letters(&file), set(["abc", "a_c", "ab_", "a__"]));
        assert_eq!(file.next_data(LowerOffset(4096)), Ok(None));
    }

    #[test]
    fn writing_in_small_parts_makes_whole_pages() {
        let file = file_of("a");
        file.write_at(LowerOffset(0), &[b'x'; 1096]).unwrap();
        file.write_at(LowerOffset(3096), &[b'y'; 1000]).unwrap();
        assert_eq!(letters(&file), set(["a", "x1096a3000", "x1096a2000y1000"]));
    }

    #[test]
    fn emptied_file_is_old_or_empty() {
        let file = file_of("ab");
        set_len(&file, 0);
        assert_eq!(letters(&file), set(["ab", ""]));
        write(&file, 0, "x");
        assert_eq!(letters(&file), set(["ab", "", "_", "x"]));
    }

    #[test]
    fn sample_has_the_extremes_keeps_its_limit_and_repeats() {
        let file = file_of("abcdefgh");
        write(&file, 0, "ABCDEFGH");
        let all = file.crash_images(1 << 8, 0);
        assert_eq!(all.len(), 1 << 8);
        let some = file.crash_images(100, 7);
        assert_eq!(some.len(), 100);
        assert_eq!(some, file.crash_images(100, 7));
        assert_ne!(some, file.crash_images(100, 8));
        for letters in ["abcdefgh", "ABCDEFGH", "aBCDEFGH", "abcdefgH"] {
            let image: Vec<u8> = letters.bytes().flat_map(page_of).collect();
            assert!(some.contains(&image), "{letters}");
        }
        assert_eq!(file.crash_images(1, 0).len(), 1);
        assert_eq!(file.crash_images(0, 0).len(), 0);
    }

    /// Whatever happens, power may go at once after the last sync, or so late that all is on disk;
    /// and a sample is part of the whole.
    #[test]
    fn durable_and_live_content_are_always_possible() {
        for seed in 0..200 {
            let random = SeededRandom::new(seed);
            let draw = |count: u64| {
                let mut byte = [0; 2];
                random.fill(&mut byte);
                u64::from(u16::from_le_bytes(byte)) % count
            };
            let file = file_of("abc");
            let mut durable = file.kill_image();
            for step in 0..6 {
                let (at, len) = (draw(16_384), draw(6000));
                match draw(6) {
                    0 => set_len(&file, at),
                    1 => file.punch(LowerOffset(at / 4096 * 4096), LowerLen(8192)).unwrap(),
                    2 if step < 4 => {
                        file.sync(SyncScope::All).unwrap();
                        durable = file.kill_image();
                    }
                    _ => {
                        let data = vec![b'z'; usize::try_from(len).unwrap()];
                        file.write_at(LowerOffset(at), &data).unwrap();
                    }
                }
            }
            let all: BTreeSet<_> = file.crash_images(1 << 20, 0).into_iter().collect();
            assert!(all.contains(&durable), "seed {seed}");
            assert!(all.contains(&file.kill_image()), "seed {seed}");
            let some = file.crash_images(20, seed);
            assert!(some.iter().all(|image| all.contains(image)), "seed {seed}");
        }
    }
}
