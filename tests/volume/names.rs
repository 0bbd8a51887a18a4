//! Files and directories are bound to their names: whatever moves them through the volume keeps them
//! at home, whatever moves them below it does not, and a crash in between is mended.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kmsfs::clock::AheadClock;
use kmsfs::fs::{
    Caller, CorruptPart, FsError, RenameHow, SetAttr, SetTime, Volume, WriteHow, XattrHow,
};
use kmsfs::lower::LowerTime;

use crate::bench::{Bench, at, content, findings, make_dir, plain, read, split, unlink, write};

const ELSEWHERE: FsError = FsError::Corrupt(CorruptPart::Home);

fn rename(volume: &Volume, old: &str, new: &str, how: RenameHow) -> Result<(), FsError> {
    let ((old_dir, old_name), (new_dir, new_name)) = (split(old), split(new));
    at(volume, old_dir, |from| {
        at(volume, new_dir, |to| volume.rename(from, &old_name, to, &new_name, how))
    })
}

fn link(volume: &Volume, old: &str, new: &str) {
    let (dir, name) = split(new);
    at(volume, old, |node| at(volume, dir, |dir| volume.link(node, dir, &name))).unwrap();
    at(volume, old, |node| {
        volume.forget(node, 1);
        Ok(())
    })
    .unwrap();
}

/// Kind of a lower file's home: 1 under one name, 2 released.
fn kind(lower: &Path) -> u8 {
    let mut byte = [0];
    File::open(lower).unwrap().read_exact_at(&mut byte, 64).unwrap();
    byte[0]
}

/// Opens the volume anew: nothing is remembered, and everything is clean.
fn anew(bench: &Bench, volume: Volume) -> Volume {
    volume.shutdown().unwrap();
    drop(volume);
    let volume = bench.open();
    assert!(volume.status().recovery.is_none());
    assert_eq!(findings(&volume), Vec::<String>::new());
    volume
}

#[test]
fn what_is_renamed_is_at_home_under_its_new_name() {
    let bench = Bench::new();
    let volume = bench.open();
    make_dir(&volume, "d");
    make_dir(&volume, "e");
    write(&volume, "d/inner", b"inner").unwrap();
    let long = "n".repeat(255);
    let names = ["a", "b", "d/c", &long, "e/z", "a"];
    write(&volume, "a", &content(1, 5000)).unwrap();
    let mut volume = volume;
    for pair in names.windows(2) {
        rename(&volume, pair[0], pair[1], RenameHow::NoReplace).unwrap();
        assert!(read(&volume, pair[1]).unwrap() == content(1, 5000));
        volume = anew(&bench, volume);
        assert!(read(&volume, pair[1]).unwrap() == content(1, 5000), "{}", pair[1]);
        assert_eq!(kind(&bench.lower_of(&volume, pair[1])), 1);
    }
    rename(&volume, "d", "e/d", RenameHow::NoReplace).unwrap();
    let volume = anew(&bench, volume);
    assert_eq!(read(&volume, "e/d/inner").unwrap(), b"inner");
}

#[test]
fn replacing_and_exchanging_keep_both_at_home() {
    let bench = Bench::new();
    let mut volume = bench.open();
    make_dir(&volume, "d");
    make_dir(&volume, "d/empty");
    make_dir(&volume, "full");
    write(&volume, "full/x", b"x").unwrap();
    for (path, seed) in [("a", 1), ("b", 2), ("d/c", 3)] {
        write(&volume, path, &content(seed, 5000)).unwrap();
    }
    rename(&volume, "a", "b", RenameHow::Exchange).unwrap();
    rename(&volume, "b", "d/c", RenameHow::Exchange).unwrap();
    rename(&volume, "full", "a", RenameHow::Exchange).unwrap();
    volume = anew(&bench, volume);
    assert!(read(&volume, "full").unwrap() == content(2, 5000));
    assert!(read(&volume, "d/c").unwrap() == content(1, 5000));
    assert!(read(&volume, "b").unwrap() == content(3, 5000));
    assert_eq!(read(&volume, "a/x").unwrap(), b"x");
    rename(&volume, "full", "b", RenameHow::Replace).unwrap();
    rename(&volume, "a", "d/empty", RenameHow::Replace).unwrap();
    volume = anew(&bench, volume);
    assert!(read(&volume, "b").unwrap() == content(2, 5000));
    assert_eq!(read(&volume, "d/empty/x").unwrap(), b"x");
}

/// Law: a refused rename leaves everything at home.
#[test]
fn a_refused_rename_changes_nothing() {
    let bench = Bench::new();
    let volume = bench.open();
    make_dir(&volume, "d");
    make_dir(&volume, "full");
    write(&volume, "full/x", b"x").unwrap();
    write(&volume, "a", b"a").unwrap();
    write(&volume, "b", b"b").unwrap();
    let refused = [
        ("a", "b", RenameHow::NoReplace, libc::EEXIST),
        ("a", "d", RenameHow::Replace, libc::EISDIR),
        ("d", "a", RenameHow::Replace, libc::ENOTDIR),
        ("d", "full", RenameHow::Replace, libc::ENOTEMPTY),
    ];
    for (old, new, how, errno) in refused {
        assert_eq!(rename(&volume, old, new, how), Err(FsError::Errno(errno)), "{old} {new}");
    }
    let volume = anew(&bench, volume);
    assert_eq!(read(&volume, "a").unwrap(), b"a");
}

/// Law: a file with several names opens under each, and is bound again when one is left.
#[test]
fn hard_links_release_a_file_and_the_last_name_binds_it() {
    let bench = Bench::new();
    let mut volume = bench.open();
    make_dir(&volume, "d");
    write(&volume, "a", b"content").unwrap();
    link(&volume, "a", "d/b");
    let lower = bench.lower_of(&volume, "a");
    assert_eq!(kind(&lower), 2);
    volume = anew(&bench, volume);
    assert_eq!(read(&volume, "a").unwrap(), b"content");
    assert_eq!(read(&volume, "d/b").unwrap(), b"content");
    rename(&volume, "d/b", "d/c", RenameHow::Replace).unwrap();
    assert_eq!(kind(&lower), 2);
    // The name that is left is known: the node was last found under it.
    at(&volume, "d/c", |_| unlink(&volume, "a")).unwrap();
    let left = bench.lower_of(&volume, "d/c");
    assert_eq!(kind(&left), 1);
    volume = anew(&bench, volume);
    assert_eq!(read(&volume, "d/c").unwrap(), b"content");
    // As git makes an object: linked to its name, then the first name goes.
    write(&volume, "tmp", b"object").unwrap();
    at(&volume, "tmp", |node| {
        let (dir, name) = split("d/object");
        at(&volume, dir, |dir| volume.link(node, dir, &name))?;
        unlink(&volume, "tmp")?;
        volume.forget(node, 1);
        Ok(())
    })
    .unwrap();
    assert_eq!(kind(&bench.lower_of(&volume, "d/object")), 1);
    // A released file whose other name went unseen is bound by its next rename.
    write(&volume, "p", b"p").unwrap();
    link(&volume, "p", "q");
    at(&volume, "p", |_| unlink(&volume, "p")).unwrap();
    let q = bench.lower_of(&volume, "q");
    assert_eq!(kind(&q), 2);
    rename(&volume, "q", "r", RenameHow::Replace).unwrap();
    assert_eq!(kind(&bench.lower_of(&volume, "r")), 1);
    volume = anew(&bench, volume);
    assert_eq!(read(&volume, "r").unwrap(), b"p");
    assert_eq!(read(&volume, "d/object").unwrap(), b"object");
}

/// Law: a header is bound to the name that the file has when it gets it.
#[test]
fn empty_files_get_their_home_with_their_header() {
    let bench = Bench::new();
    let mut volume = bench.open();
    write(&volume, "empty", b"").unwrap();
    write(&volume, "linked", b"").unwrap();
    write(&volume, "attributes", b"").unwrap();
    link(&volume, "linked", "other name");
    rename(&volume, "empty", "moved", RenameHow::Replace).unwrap();
    write(&volume, "moved", b"now").unwrap();
    write(&volume, "linked", b"both").unwrap();
    let set = |node| volume.set_xattr(node, b"user.a", b"value", XattrHow::Set);
    at(&volume, "attributes", set).unwrap();
    rename(&volume, "attributes", "with them", RenameHow::Replace).unwrap();
    volume = anew(&bench, volume);
    assert_eq!(read(&volume, "moved").unwrap(), b"now");
    assert_eq!(read(&volume, "other name").unwrap(), b"both");
    assert_eq!(kind(&bench.lower_of(&volume, "linked")), 2);
    let find = |node| volume.find_xattr(node, b"user.a");
    assert_eq!(at(&volume, "with them", find).unwrap(), b"value");
}

/// Law: who has a file open keeps it, without a name too.
#[test]
fn files_without_a_name_can_be_used_and_named_again() {
    let bench = Bench::new();
    let volume = bench.open();
    write(&volume, "gone", b"content").unwrap();
    write(&volume, "other", b"other").unwrap();
    let node = volume.resolve(Path::new("gone")).unwrap();
    rename(&volume, "other", "gone", RenameHow::Replace).unwrap();
    let mut out = Vec::new();
    assert_eq!(volume.read(node, 0, 100, &mut out), Ok(7));
    volume.write(node, 0, b"C", WriteHow::Keep).unwrap();
    // A file that is read for the first time when it has lost its name.
    volume.forget(node, 1);
    write(&volume, "unread", b"content").unwrap();
    let volume = anew(&bench, volume);
    let node = volume.resolve(Path::new("unread")).unwrap();
    unlink(&volume, "unread").unwrap();
    assert_eq!(volume.read(node, 0, 100, &mut out), Ok(7));
    let (dir, name) = split("named again");
    let named = at(&volume, dir, |dir| volume.link(node, dir, &name));
    // Not every lower filesystem gives a file without a name one again.
    if let Ok(attr) = named {
        volume.forget(attr.node, 1);
        volume.forget(node, 1);
        let volume = anew(&bench, volume);
        assert_eq!(read(&volume, "named again").unwrap(), b"content");
    }
}

/// Law: a file that lies elsewhere is refused also when it has lost its name before it is read.
#[test]
fn a_misplaced_file_is_not_served_by_losing_its_name() {
    let bench = Bench::new();
    let volume = bench.open();
    write(&volume, "a", b"a").unwrap();
    write(&volume, "b", b"b").unwrap();
    let (a, b) = (bench.lower_of(&volume, "a"), bench.lower_of(&volume, "b"));
    volume.shutdown().unwrap();
    drop(volume);
    std::fs::remove_file(&b).unwrap();
    std::fs::rename(&a, &b).unwrap();
    let volume = bench.open();
    let node = volume.resolve(Path::new("b")).unwrap();
    unlink(&volume, "b").unwrap();
    assert_eq!(volume.read(node, 0, 10, &mut Vec::new()), Err(ELSEWHERE));
}

/// Law: a second name that somebody made below is not one of the file.
#[test]
fn a_name_made_below_is_refused_beside_the_own_one() {
    let bench = Bench::new();
    let volume = bench.open();
    write(&volume, "own", b"own").unwrap();
    write(&volume, "foreign", b"foreign").unwrap();
    let (own, foreign) = (bench.lower_of(&volume, "own"), bench.lower_of(&volume, "foreign"));
    volume.shutdown().unwrap();
    drop(volume);
    std::fs::remove_file(&foreign).unwrap();
    std::fs::hard_link(&own, &foreign).unwrap();
    let volume = bench.open();
    for _ in 0..2 {
        assert_eq!(read(&volume, "own").unwrap(), b"own");
        assert_eq!(read(&volume, "foreign"), Err(ELSEWHERE));
    }
    // Also while the keys are at hand from the other name.
    let node = volume.resolve(Path::new("own")).unwrap();
    assert_eq!(volume.read(node, 0, 10, &mut Vec::new()), Ok(3));
    assert_eq!(read(&volume, "foreign"), Err(ELSEWHERE));
    volume.forget(node, 1);
}

/// The first 512 bytes of a lower file, or a whole marker.
fn head(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    bytes[..bytes.len().min(512)].to_vec()
}

/// What a power cut leaves of a rename, at every step: the home moved and the entry not, or the
/// entry and not the home. `anything` is a file or a directory, and where its home lies.
fn cut_rename(old: &str, new: &str, home_of: fn(PathBuf) -> PathBuf, probe: &str) {
    for home_reached_the_disk in [true, false] {
        let bench = Bench::new();
        let volume = bench.open();
        make_dir(&volume, "dir");
        make_dir(&volume, "target");
        write(&volume, "dir/file", b"content").unwrap();
        write(&volume, "file", b"content").unwrap();
        let from = bench.lower_of(&volume, old);
        let before = head(&home_of(from.clone()));
        rename(&volume, old, new, RenameHow::Replace).unwrap();
        let to = bench.lower_of(&volume, new);
        // The process dies here.
        drop(volume);
        if home_reached_the_disk {
            std::fs::rename(&to, &from).unwrap();
        } else {
            let file = File::options().write(true).open(home_of(to)).unwrap();
            file.write_all_at(&before, 0).unwrap();
        }
        let now = if home_reached_the_disk { old } else { new };
        let read_only = bench.try_open(true).unwrap();
        assert_eq!(read(&read_only, &format!("{now}{probe}")).unwrap(), b"content");
        drop(read_only);
        let volume = bench.open();
        let recovery = volume.status().recovery.unwrap();
        assert_eq!((recovery.files_mended, recovery.files_failed), (1, 0), "{recovery:?}");
        assert_eq!(read(&volume, &format!("{now}{probe}")).unwrap(), b"content");
        let volume = anew(&bench, volume);
        assert_eq!(read(&volume, &format!("{now}{probe}")).unwrap(), b"content");
    }
}

/// Law: a rename that a crash cut off is mended, whatever reached the disk of it.
#[test]
fn a_rename_that_was_cut_off_is_mended() {
    cut_rename("file", "renamed", |lower| lower, "");
    cut_rename("file", "target/renamed", |lower| lower, "");
    cut_rename("dir", "renamed", |lower| lower.join(".kmsfs.dir"), "/file");
    cut_rename("dir", "target/renamed", |lower| lower.join(".kmsfs.dir"), "/file");
}

/// Law: a rename needs no data key, and asks the key service nothing.
#[test]
fn a_rename_asks_for_no_key() {
    let bench = Bench::new();
    let volume = bench.open();
    write(&volume, "a", b"content").unwrap();
    let volume = anew(&bench, volume);
    let arn = bench.kms.arn_of(crate::bench::ALIAS);
    bench.kms.set_state(&arn, kmsfs::kms::KeyState::Disabled);
    rename(&volume, "a", "b", RenameHow::Replace).unwrap();
    bench.kms.set_state(&arn, kmsfs::kms::KeyState::Enabled);
    let volume = anew(&bench, volume);
    assert_eq!(read(&volume, "b").unwrap(), b"content");
}

/// Law: two files change places under readers and writers, again and again.
#[test]
fn renames_and_first_writes_at_once_leave_everything_at_home() {
    let bench = Bench::new();
    let volume = bench.open();
    make_dir(&volume, "d");
    let caller = Caller { uid: 0, gid: 0, pid: 0 };
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let volume = &volume;
            scope.spawn(move || {
                for round in 0..50 {
                    let name = plain(&format!("{worker}-{round}"));
                    let root = kmsfs::fs::NodeId::ROOT;
                    let made = volume.mknod(root, &name, 0o100_644, 0, 0, caller).unwrap();
                    let dir = volume.resolve(Path::new("d")).unwrap();
                    std::thread::scope(|inner| {
                        inner.spawn(|| {
                            volume.write(made.node, 0, b"content", WriteHow::Keep).unwrap();
                        });
                        volume.rename(root, &name, dir, &name, RenameHow::Replace).unwrap();
                    });
                    volume.forget(dir, 1);
                    volume.forget(made.node, 1);
                }
            });
        }
    });
    let volume = anew(&bench, volume);
    assert_eq!(crate::bench::names(&volume, "d").len(), 200);
}

/// The same for something older than all that a recovery looks at by its times: they are on disk as they
/// were, and the page with the new home came there before them.
fn cut_old_rename(old: &str, new: &str, home_of: fn(PathBuf) -> PathBuf, probe: &str) {
    let bench = Bench::new();
    let volume = bench.open();
    make_dir(&volume, "dir");
    write(&volume, "dir/file", b"content").unwrap();
    write(&volume, "file", b"content").unwrap();
    let lower = home_of(bench.lower_of(&volume, old));
    volume.shutdown().unwrap();
    drop(volume);
    let clock = Arc::new(AheadClock::default());
    clock.set_ahead(Duration::from_secs(3600));
    let volume = bench.open_at(&clock);
    rename(&volume, old, new, RenameHow::Replace).unwrap();
    let moved = head(&home_of(bench.lower_of(&volume, new)));
    rename(&volume, new, old, RenameHow::Replace).unwrap();
    // The process dies here.
    drop(volume);
    File::options().write(true).open(lower).unwrap().write_all_at(&moved, 0).unwrap();
    let volume = bench.open_at(&clock);
    let recovery = volume.status().recovery.unwrap();
    assert_eq!((recovery.files_checked, recovery.files_mended), (0, 1), "{recovery:?}");
    assert_eq!(read(&volume, &format!("{old}{probe}")).unwrap(), b"content");
    assert_eq!(findings(&volume), Vec::<String>::new());
}

/// Law: a rename that a crash cut off is mended, however old looks what was renamed.
#[test]
fn a_rename_of_something_old_that_was_cut_off_is_mended() {
    cut_old_rename("file", "renamed", |lower| lower, "");
    cut_old_rename("file", "dir/renamed", |lower| lower, "");
    cut_old_rename("dir", "renamed", |lower| lower.join(".kmsfs.dir"), "/file");
}

/// Law: the state tells of renames of old files for as long as they may be on disk in part, and of no
/// others: a recovery reads the header of each file then.
#[test]
fn the_state_tells_of_renames_of_old_files_until_the_next_checkpoint() {
    let bench = Bench::new();
    let volume = bench.open();
    write(&volume, "old", b"content").unwrap();
    write(&volume, "other", b"content").unwrap();
    volume.shutdown().unwrap();
    drop(volume);
    let tells = || std::fs::read(bench.lower.path().join(".kmsfs/state")).unwrap()[11] == 1;
    // A recovery looks five seconds further back: what was made before this moment, less a little that the
    // times of files lag behind, is old.
    std::thread::sleep(Duration::from_millis(300));
    let clock = Arc::new(AheadClock::default());
    clock.set_ahead(Duration::from_millis(4800));
    let volume = bench.open_at(&clock);
    write(&volume, "new", b"content").unwrap();
    rename(&volume, "new", "renamed", RenameHow::Replace).unwrap();
    assert!(!tells());
    rename(&volume, "old", "older", RenameHow::Replace).unwrap();
    assert!(tells());
    volume.checkpoint().unwrap();
    assert!(!tells());
    rename(&volume, "other", "another", RenameHow::Replace).unwrap();
    assert!(tells());
    volume.shutdown().unwrap();
    assert!(!tells());
}

/// Law: what is set of a file is set of that file, also while it changes places with another.
#[test]
fn attributes_stay_with_their_file_while_two_change_places() {
    let bench = Bench::new();
    let volume = bench.open();
    let names = [plain("a"), plain("b")];
    let root = kmsfs::fs::NodeId::ROOT;
    let caller = Caller { uid: 0, gid: 0, pid: 0 };
    let [changed, left] =
        [0, 1].map(|no| volume.mknod(root, &names[no], 0o100_600, 0, 0, caller).unwrap());
    kmsfs::sync::jitter::set(7);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300 {
                volume.rename(root, &names[0], root, &names[1], RenameHow::Exchange).unwrap();
            }
        });
        for round in 1..60 {
            let time = LowerTime { secs: round, nanos: 0 };
            let set =
                SetAttr { mode: Some(0o700), mtime: Some(SetTime::At(time)), ..SetAttr::default() };
            volume.set_attr(changed.node, &set).unwrap();
            volume.set_xattr(changed.node, b"user.a", b"value", XattrHow::Set).unwrap();
        }
    });
    kmsfs::sync::jitter::set(0);
    let now = volume.attr(changed.node).unwrap();
    assert_eq!((now.mode, now.mtime), (0o700, LowerTime { secs: 59, nanos: 0 }));
    let now = volume.attr(left.node).unwrap();
    assert_eq!((now.mode, now.mtime), (0o600, left.mtime));
    assert_eq!(volume.list_xattrs(left.node).unwrap(), b"");
}
