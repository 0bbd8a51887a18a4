//! A lower file whose calls fail: a full disk, or one call that is refused.

use kmsfs::format::layout::is_legal;
use kmsfs::fs::{EmptyHeader, FileNode, FsError, Remembering, Trust, Written};
use kmsfs::lower::{LowerFile, SyncScope};
use kmsfs::testing::{Fault, FaultFile, MemFile};
use kmsfs::units::{PlainLen, PlainOffset};

use crate::laws::is_explained;
use crate::world::{Step, World};

/// Runs `beginning`, then `change` under the fault; gives the number of calls of the change.
fn check(beginning: &[Step], change: Step, fault: Fault) -> u64 {
    let label = format!("{beginning:?}, {change:?} with {fault:?}");
    let world = World::new();
    let file = FaultFile::new(MemFile::new());
    let node = FileNode::default();
    node.set_new();
    let mut before = Vec::new();
    for (no, step) in beginning.iter().enumerate() {
        world.run(*step, no, &node, &file).unwrap();
        step.apply(no, &mut before);
    }
    file.order(fault);
    let no = beginning.len();
    let done = world.run(change, no, &node, &file);
    let calls = file.order(Fault::Nothing);
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
            for number in 0..calls {
                for errno in [libc::ENOSPC, libc::EDQUOT, libc::EIO] {
                    check(&beginning, change, Fault::Call { number, errno });
                }
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

/// Law: a sync that failed once is not forgotten. Linux reports a lost write to one fsync and takes
/// the pages for clean; here every sync fails until what it covered is written anew, or cut off.
#[test]
fn sync_that_failed_is_reported_until_a_rewrite() {
    let fails = Fault::Call { number: 0, errno: libc::EIO };
    let world = World::new();
    let lower = FaultFile::new(MemFile::new());
    let written = Written::default();
    let file = Remembering { file: &lower, written: &written };
    let node = FileNode::default();
    node.set_new();
    let env = world.env(&file, Trust::Strict);
    let sync = || node.sync(&env, SyncScope::All);
    let write = |at, len| node.write(&env, PlainOffset(at), &vec![1; len]);
    write(0, 20_000).unwrap();
    sync().unwrap();

    write(9000, 10).unwrap();
    lower.order(fails);
    assert!(matches!(sync(), Err(FsError::Lower(error)) if error.errno == libc::EIO));
    for at in [0, 15_000] {
        assert!(sync().is_err());
        // Another block does not make it good.
        write(at, 10).unwrap();
    }
    assert!(sync().is_err());
    write(9000, 10).unwrap();
    sync().unwrap();

    write(9000, 10).unwrap();
    lower.order(fails);
    assert!(sync().is_err());
    node.set_size(&env, PlainLen(100), EmptyHeader::Drop).unwrap();
    sync().unwrap();
}

/// Law: a block that cannot be read answers the lower error; the others are read, and a change of a
/// part of it fails and leaves it as it was.
#[test]
fn unreadable_block_harms_no_other() {
    let world = World::new();
    let file = FaultFile::new(MemFile::new());
    let node = FileNode::default();
    node.set_new();
    let env = world.env(&file, Trust::Strict);
    node.write(&env, PlainOffset(0), &[1; 20_000]).unwrap();
    file.order(Fault::Reads { page: 2 });
    let read = |at| node.read(&env, PlainOffset(at), &mut [0; 10]);
    let is_io = |done: Result<(), FsError>| {
        assert!(matches!(done, Err(FsError::Lower(error)) if error.errno == libc::EIO));
    };
    is_io(read(7000).map(drop));
    assert_eq!((read(100), read(15_000)), (Ok(10), Ok(10)));
    is_io(node.write(&env, PlainOffset(7000), b"x"));
    is_io(node.set_size(&env, PlainLen(7000), EmptyHeader::Drop));
    node.write(&env, PlainOffset(15_000), b"x").unwrap();
    file.order(Fault::Nothing);
    let mut content = vec![1; 20_000];
    content[15_000] = b'x';
    assert!(world.read_all(&file, Trust::Strict).unwrap() == content);
}
