//! Cuts a history at every primitive, mends every file that may be left, and holds it against the
//! laws.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use kmsfs::format::layout::{PRELUDE_LEN, SLOT_LEN, is_legal};
use kmsfs::fs::{FileNode, Trust, mend};
use kmsfs::lower::LowerFile;
use kmsfs::testing::{CrashFile, MemFile};
use kmsfs::units::PlainOffset;

use crate::world::{Step, World, usize_of};

const FIRST: usize = 2512;
const LATER: usize = 4048;

/// Checks histories and counts what it looked at.
pub struct Crashes {
    /// Most images of one cut; all if they are not more.
    limit: usize,
    /// Images looked at, with the versions that they were held against.
    seen: HashSet<u64>,
    histories: u64,
    cuts: u64,
    images: u64,
    mend_cuts: u64,
}

/// A history that was run up to a cut.
struct Run {
    world: World,
    node: FileNode,
    file: CrashFile,
    /// Content at the last sync, and after each step since, the unfinished one included.
    versions: Vec<Vec<u8>>,
    /// The last step that was begun.
    step: usize,
    /// Every step was carried out.
    finished: bool,
    /// The last rewrap was carried out whole.
    rewrapped: bool,
}

impl Crashes {
    pub fn new(limit: usize) -> Self {
        Self { limit, seen: HashSet::new(), histories: 0, cuts: 0, images: 0, mend_cuts: 0 }
    }

    pub fn report(&self, what: &str) {
        println!(
            "{what}: {} histories, {} cuts, {} images, {} cuts of a recovery",
            self.histories, self.cuts, self.images, self.mend_cuts
        );
    }

    /// Holds every file that a power cut or a kill may leave of a history against the laws.
    pub fn check(&mut self, history: &[Step]) {
        self.check_behind(0, history);
    }

    /// The same, for cuts behind the first `known` steps: those before were checked elsewhere.
    pub fn check_behind(&mut self, known: usize, history: &[Step]) {
        self.histories += 1;
        let first = match known {
            0 => 0,
            _ => run(&history[..known], None).file.primitive_count(),
        };
        let whole = run(history, None);
        assert!(whole.finished, "{history:?} fails without a cut");
        let read = whole.world.read_by(&whole.node, &whole.file, Trust::Strict);
        let read = read.unwrap_or_else(|error| panic!("{history:?}: {error}"));
        assert!(Some(&read) == whole.versions.last(), "{history:?} reads otherwise");
        for cut in first..=whole.file.primitive_count() {
            self.cuts += 1;
            let run = run(history, Some(cut));
            let mut label = format!("{history:?} cut after {cut}, in step {}", run.step);
            let images = run.file.crash_images(self.limit, cut);
            for image in &images {
                self.check_image(&run, image, &label);
            }
            label.push_str(", killed");
            let killed = run.file.kill_image();
            let content = self.check_image(&run, &killed, &label);
            // Nobody pulled a plug: everything that a step did is there.
            if let (true, Some(content)) = (run.finished, content) {
                let same = Some(&content) == run.versions.last();
                assert!(same, "{label}: {} bytes, not what was written", content.len());
            }
            // K5: whoever saw a rewrap come to its end needs retired material no more.
            if run.rewrapped {
                run.world.destroy_old_material();
                for image in &images {
                    let file = MemFile::from_bytes(image);
                    let mended = mend(&file, &run.world.data_keys);
                    assert!(mended.is_ok(), "{label}: {mended:?} without old material");
                    check_mended(&run, &file, &label);
                }
            }
        }
    }

    /// Mends one image and checks it; `None` if that was done before.
    fn check_image(&mut self, run: &Run, image: &[u8], label: &str) -> Option<Vec<u8>> {
        let mut hasher = DefaultHasher::new();
        (image, &run.versions, run.rewrapped).hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return None;
        }
        self.images += 1;
        check_read_only(run, image, label);
        let file = CrashFile::from_bytes(image);
        let mended = mend(&file, &run.world.data_keys)
            .unwrap_or_else(|error| panic!("{label}: recovery: {error}"));
        assert_eq!(mended.corrupt_blocks, 0, "{label}");
        let content = check_mended(run, &file, label);

        // Run again on its own result, it changes nothing.
        let before = file.kill_image();
        let again = mend(&file, &run.world.data_keys).unwrap();
        assert!(!again.is_changed(), "{label}: {mended:?}, then {again:?}");
        assert!(file.kill_image() == before, "{label}: recovery of a mended file wrote");

        self.cut_recovery(run, image, file.primitive_count(), label);
        if self.images.is_multiple_of(16) {
            live_on(run, &before, label);
        }
        Some(content)
    }

    /// Recovery itself may lose power, anywhere.
    fn cut_recovery(&mut self, run: &Run, image: &[u8], primitives: u64, label: &str) {
        for cut in 0..primitives {
            self.mend_cuts += 1;
            let file = CrashFile::from_bytes(image);
            file.cut_after(cut);
            assert!(mend(&file, &run.world.data_keys).is_err());
            for image in file.crash_images(16, cut) {
                let label = format!("{label}; recovery cut after {cut}");
                let file = MemFile::from_bytes(&image);
                mend(&file, &run.world.data_keys)
                    .unwrap_or_else(|error| panic!("{label}: {error}"));
                check_mended(run, &file, &label);
            }
        }
    }
}

/// Law: one slot at most is not as it is on disk: a sector that is torn takes one envelope with it, and not
/// the only one.
pub fn check_slots(history: &[Step]) {
    for cut in 0..=run(history, None).file.primitive_count() {
        let run = run(history, Some(cut));
        let (durable, live) = (run.file.durable_image(), run.file.kill_image());
        let slots = |image: &[u8]| {
            let slot =
                |no| image.get(PRELUDE_LEN + no * SLOT_LEN..PRELUDE_LEN + (no + 1) * SLOT_LEN);
            Some([slot(0)?.to_vec(), slot(1)?.to_vec()])
        };
        // A file that was emptied has another prelude.
        let is_same = durable.get(..PRELUDE_LEN) == live.get(..PRELUDE_LEN);
        if let (true, Some(before), Some(now)) = (is_same, slots(&durable), slots(&live)) {
            let changed = before.iter().zip(&now).filter(|(before, now)| before != now).count();
            assert!(changed < 2, "{history:?}, cut after {cut}: no slot is as it is on disk");
        }
    }
}

/// Runs a history, with power for so many primitives.
fn run(history: &[Step], cut: Option<u64>) -> Run {
    let world = World::new();
    let file = CrashFile::new();
    if let Some(cut) = cut {
        file.cut_after(cut);
    }
    let node = FileNode::default();
    node.set_new();
    let versions = vec![vec![]];
    let mut run = Run { world, node, file, versions, step: 0, finished: false, rewrapped: false };
    for (no, step) in history.iter().enumerate() {
        run.step = no;
        let mut content = run.versions.last().unwrap().clone();
        step.apply(no, &mut content);
        run.versions.push(content);
        if matches!(step, Step::Rewrap) {
            run.rewrapped = false;
        }
        if let Err(error) = run.world.run(*step, no, &run.node, &run.file) {
            assert!(cut.is_some(), "{history:?}, step {no}: {error}");
            return run;
        }
        match step {
            Step::Sync => run.versions.drain(..run.versions.len() - 1).for_each(drop),
            // An empty file has no envelope; what it was before may come back with its old one.
            Step::Rewrap => run.rewrapped = run.file.len().is_ok_and(|len| len.0 > 0),
            _ => {}
        }
    }
    run.finished = true;
    run
}

/// Holds a mended file against the laws.
fn check_mended(run: &Run, file: &dyn LowerFile, label: &str) -> Vec<u8> {
    let lower = file.len().unwrap();
    assert!(is_legal(lower), "{label}: length {lower}");
    let content = run
        .world
        .read_all(file, Trust::Strict)
        .unwrap_or_else(|error| panic!("{label}: reading a mended file: {error}"));
    let lens = run.versions.iter().map(Vec::len);
    let (shortest, longest) = (lens.clone().min().unwrap(), lens.max().unwrap());
    // K1, K6: nothing is lost that is in every version. K4: nothing is longer than it ever was.
    assert!(content.len() >= shortest, "{label}: {} of {shortest} bytes left", content.len());
    assert!(content.len() <= longest, "{label}: {} bytes, never over {longest}", content.len());
    assert!(is_explained(&content, &run.versions), "{label}: a block is no version of it");
    content
}

/// Whether each block is that of one of the versions (K2, K3), or zeros where a version has none.
pub fn is_explained(content: &[u8], versions: &[Vec<u8>]) -> bool {
    blocks(content).enumerate().all(|(no, block)| {
        let start = if no == 0 { 0 } else { FIRST + (no - 1) * LATER };
        let is_known = versions.iter().any(|version| {
            version.get(start..).is_some_and(|held| {
                let common = held.len().min(block.len());
                held[..common] == block[..common] && block[common..].iter().all(|b| *b == 0)
            })
        });
        // A page that was new and never reached the disk.
        let was_absent = versions.iter().any(|version| version.len() <= start);
        is_known || was_absent && block.iter().all(|byte| *byte == 0)
    })
}

/// A read-only mount does not mend: it serves what verifies, and zeros for what is missing.
fn check_read_only(run: &Run, image: &[u8], label: &str) {
    let is_gone = image.len() < 4096 || image[..4096].iter().all(|byte| *byte == 0);
    let file = MemFile::from_bytes(image);
    let content = run.world.read_all(&file, Trust::Lenient);
    let content = content.unwrap_or_else(|error| panic!("{label}: read-only: {error}"));
    assert!(!is_gone || content.iter().all(|byte| *byte == 0), "{label}: read-only");
    assert!(file.bytes() == image, "{label}: a read-only mount wrote");
    // K1: what no step touched is served as it was, as far as the length shows it: a power cut in the
    // middle of a shrink may leave one that shows nothing of the new last block.
    let (synced, others) = run.versions.split_first().unwrap();
    let mut start = 0;
    for block in blocks(synced) {
        let range = start..start + block.len();
        if others.iter().all(|version| version.get(range.clone()) == Some(block)) {
            let shown = content.get(start..).unwrap_or_default();
            let common = shown.len().min(block.len());
            assert!(shown[..common] == block[..common], "{label}: read-only, block at {start}");
        }
        start += block.len();
    }
}

/// A mended file can be used on.
fn live_on(run: &Run, image: &[u8], label: &str) {
    let file = MemFile::from_bytes(image);
    let mut expected = run.world.read_all(&file, Trust::Strict).unwrap();
    let node = FileNode::default();
    let env = run.world.env(&file, Trust::Strict);
    let size = expected.len();
    let behind = u64::try_from(size).unwrap();
    for (at, len) in [(behind, 10), (behind + 5000, 4100), (behind / 2, 5)] {
        let data = vec![0xaa; len];
        node.write(&env, PlainOffset(at), &data).unwrap_or_else(|e| panic!("{label}: {e}"));
        let at = usize_of(at);
        expected.resize(expected.len().max(at + len), 0);
        expected[at..at + len].copy_from_slice(&data);
    }
    node.tell_holes(&env).unwrap();
    assert!(run.world.read_all(&file, Trust::Strict).unwrap() == expected, "{label}: living on");
}

/// The blocks of a content.
fn blocks(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (first, rest) = content.split_at(content.len().min(FIRST));
    std::iter::once(first).chain(rest.chunks(LATER)).filter(|block| !block.is_empty())
}
