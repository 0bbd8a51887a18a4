//! A lower file whose calls fail: a full disk, or one call that is refused.

use std::sync::Mutex;

use kmsfs::format::layout::is_legal;
use kmsfs::fs::{FileNode, Trust};
use kmsfs::lower::{LowerError, LowerFile, SyncScope};
use kmsfs::testing::MemFile;
use kmsfs::units::{LowerLen, LowerOffset};

use crate::laws::is_explained;
use crate::world::{Step, World};

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    /// The changing call with this number, after half of its pages.
    Call(u64),
    /// Every write to a page that is a hole.
    Holes,
}

/// A file in memory that fails on command.
#[derive(Debug)]
struct FailingFile {
    inner: MemFile,
    /// The fault, and the changing calls so far.
    state: Mutex<(Fault, u64)>,
}

impl FailingFile {
    /// Whether this call is the one to fail.
    fn fails(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        state.0 == Fault::Call(state.1 - 1)
    }

    fn refused(op: &'static str) -> LowerError {
        LowerError { op, errno: libc::ENOSPC }
    }
}

impl LowerFile for FailingFile {
    fn len(&self) -> Result<LowerLen, LowerError> {
        self.inner.len()
    }

    fn read_at(&self, at: LowerOffset, out: &mut [u8]) -> Result<usize, LowerError> {
        self.inner.read_at(at, out)
    }

    fn write_at(&self, at: LowerOffset, data: &[u8]) -> Result<(), LowerError> {
        let fails = self.fails();
        let is_full = self.state.lock().unwrap().0 == Fault::Holes;
        let pages = data.len().div_ceil(4096);
        let mut done = 0;
        for page in 0..pages {
            let from = LowerOffset(at.0 + u64::try_from(done).unwrap());
            let start = from.0 / 4096 * 4096;
            let is_hole =
                self.inner.next_data(LowerOffset(start))?.is_none_or(|data| data.0 > start);
            if fails && page >= pages / 2 || is_full && is_hole {
                return Err(Self::refused("pwrite"));
            }
            let len = usize::try_from(start + 4096 - from.0).unwrap().min(data.len() - done);
            self.inner.write_at(from, &data[done..done + len])?;
            done += len;
        }
        match done < data.len() {
            true => {
                self.inner.write_at(LowerOffset(at.0 + u64::try_from(done).unwrap()), &data[done..])
            }
            false => Ok(()),
        }
    }

    fn set_len(&self, len: LowerLen) -> Result<(), LowerError> {
        if self.fails() { Err(Self::refused("ftruncate")) } else { self.inner.set_len(len) }
    }

    fn reserve(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError> {
        self.inner.reserve(at, len)
    }

    fn punch(&self, at: LowerOffset, len: LowerLen) -> Result<(), LowerError> {
        if self.fails() { Err(Self::refused("fallocate")) } else { self.inner.punch(at, len) }
    }

    fn next_data(&self, at: LowerOffset) -> Result<Option<LowerOffset>, LowerError> {
        self.inner.next_data(at)
    }

    fn sync(&self, scope: SyncScope) -> Result<(), LowerError> {
        if self.fails() { Err(Self::refused("fsync")) } else { self.inner.sync(scope) }
    }
}

/// Runs `beginning`, then `change` under the fault; gives the number of calls of the change.
fn check(beginning: &[Step], change: Step, fault: Fault) -> u64 {
    let label = format!("{beginning:?}, {change:?} with {fault:?}");
    let world = World::new();
    let file = FailingFile { inner: MemFile::new(), state: Mutex::new((Fault::Nothing, 0)) };
    let node = FileNode::default();
    node.set_new();
    let mut before = Vec::new();
    for (no, step) in beginning.iter().enumerate() {
        world.run(*step, no, &node, &file).unwrap();
        step.apply(no, &mut before);
    }
    *file.state.lock().unwrap() = (fault, 0);
    let no = beginning.len();
    let done = world.run(change, no, &node, &file);
    let calls = file.state.lock().unwrap().1;
    *file.state.lock().unwrap() = (Fault::Nothing, 0);
    let mut after = before.clone();
    change.apply(no, &mut after);

    let content = world
        .read_by(&node, &file, Trust::Strict)
        .unwrap_or_else(|error| panic!("{label}: reading afterwards: {error}"));
    match done {
        Ok(()) => assert!(content == after, "{label}: went well, and reads otherwise"),
        Err(_) => {
            let is_old = content.len() == before.len();
            let is_new = content.len() == after.len() && after.len() < before.len();
            assert!(is_old || is_new, "{label}: {} bytes", content.len());
            let versions = [before, after];
            assert!(is_explained(&content, &versions), "{label}: neither old nor new");
        }
    }
    // And so a new process finds it, in a clean volume.
    node.tell_holes(&world.env(&file, Trust::Strict)).unwrap();
    assert!(is_legal(file.len().unwrap()), "{label}: length {}", file.len().unwrap());
    let again = world
        .read_all(&file, Trust::Strict)
        .unwrap_or_else(|error| panic!("{label}: reading anew: {error}"));
    assert!(again == content, "{label}: a new process reads otherwise");
    calls
}

/// Law: a change that fails half-way leaves a file that opens, each block old or new; one that grows
/// leaves the old length.
#[test]
fn change_that_fails_leaves_a_file_that_opens() {
    for beginning in crate::beginnings() {
        for change in crate::changes() {
            let calls = check(&beginning, change, Fault::Nothing);
            for call in 0..calls {
                check(&beginning, change, Fault::Call(call));
            }
        }
    }
}

/// Law: so does one on a full disk, where pages that exist can be written and no others.
#[test]
fn full_disk_leaves_a_file_that_opens() {
    for beginning in crate::beginnings() {
        for change in crate::changes() {
            check(&beginning, change, Fault::Holes);
        }
    }
}
