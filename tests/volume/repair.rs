//! fsck --repair: each code of finding, broken, found, mended, clean again, and what is left of the
//! content is what the documentation promises.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use kmsfs::fs::{CODES, FsckDepth, FsckReport, Rebind, Volume, XattrHow};

use crate::bench::{Bench, at, content, findings, flip, make_dir, make_link, names, read, write};

const LEN: usize = 20_000;
const FIRST: usize = 2512;
const LATER: usize = 4048;

fn long_name() -> String {
    "long".repeat(50)
}

/// A closed volume with one of everything; lower paths by plain ones.
struct Broken {
    bench: Bench,
    lower: Vec<(String, PathBuf)>,
}

impl Broken {
    fn new() -> Self {
        let bench = Bench::new();
        let volume = bench.open();
        make_dir(&volume, "d");
        make_dir(&volume, "d/deep");
        make_dir(&volume, "links");
        write(&volume, "victim", &content(1, LEN)).unwrap();
        write(&volume, "other", &content(2, LEN)).unwrap();
        write(&volume, "d/inner", &content(3, LEN)).unwrap();
        write(&volume, "d/deep/bottom", &content(4, 100)).unwrap();
        write(&volume, &long_name(), b"long").unwrap();
        make_dir(&volume, &"dir".repeat(70));
        write(&volume, &format!("{}/x", "dir".repeat(70)), b"below").unwrap();
        make_link(&volume, "links/one", "target");
        at(&volume, "other", |n| volume.set_xattr(n, b"user.a", b"value", XattrHow::Set)).unwrap();
        let paths = ["victim", "other", "d", "d/inner", "d/deep", "links", "links/one"];
        let long = [long_name(), "dir".repeat(70)];
        let lower = paths.iter().map(|path| (*path).to_owned()).chain(long);
        let lower = lower.map(|path| (path.clone(), bench.lower_of(&volume, &path))).collect();
        assert_eq!(findings(&volume), Vec::<String>::new());
        volume.shutdown().unwrap();
        drop(volume);
        Self { bench, lower }
    }

    fn at(&self, plain: &str) -> PathBuf {
        self.lower.iter().find(|(path, _)| path == plain).unwrap().1.clone()
    }

    fn change(&self, plain: &str, how: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.at(plain)).unwrap();
        how(&mut bytes);
        std::fs::write(self.at(plain), bytes).unwrap();
    }

    /// Finds these codes, tells without changing anything what it would do, mends, and is clean.
    fn mended(&self, codes: &[&str], rebind: Rebind) -> Volume {
        let before = snapshot(self.bench.lower.path());
        let volume = self.bench.try_open(true).unwrap();
        assert_eq!(findings(&volume), codes);
        let dry = volume.repair_dry_run(FsckDepth::Full, rebind, &mut go_on).unwrap();
        assert!(dry.findings.iter().all(|finding| finding.mended.is_some()), "{dry:#?}");
        drop(volume);
        assert!(snapshot(self.bench.lower.path()) == before, "a dry run has changed something");
        self.bench.renew_state();
        let volume = self.bench.open();
        let report = repair(&volume, rebind);
        let left = report.findings.iter().filter(|finding| finding.mended.is_none());
        assert_eq!(left.count(), 0, "{report:#?}");
        assert_eq!(findings(&volume), Vec::<String>::new(), "{report:#?}");
        volume.shutdown().unwrap();
        drop(volume);
        let volume = self.bench.open();
        assert_eq!(findings(&volume), Vec::<String>::new(), "and so it stays");
        volume
    }

    /// Files that were set aside.
    fn set_aside(&self) -> Vec<Vec<u8>> {
        match std::fs::read_dir(self.bench.lower.path().join(".kmsfs/quarantine")) {
            Ok(dir) => {
                dir.map(|entry| std::fs::read(entry.unwrap().path()).unwrap_or_default()).collect()
            }
            Err(_) => Vec::new(),
        }
    }
}

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn repair(volume: &Volume, rebind: Rebind) -> FsckReport {
    volume.repair(FsckDepth::Full, rebind, &mut go_on).unwrap()
}

/// Names, texts and bytes below a directory; not the lock, which every opening touches.
fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = std::fs::symlink_metadata(&path).unwrap();
        if kind.is_dir() {
            all.push((path.clone(), Vec::new()));
            all.extend(snapshot(&path));
        } else if kind.is_file() {
            all.push((path.clone(), std::fs::read(&path).unwrap()));
        } else {
            let text = std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
            all.push((path, text));
        }
    }
    all.sort();
    all
}

/// Law: zeros that somebody appended go; not a byte of the content is lost.
#[test]
fn bad_length_is_set_to_what_the_records_tell() {
    for more in [50, 4096, 9000] {
        let broken = Broken::new();
        broken.change("victim", |bytes| bytes.resize(bytes.len() + more, 0));
        let volume = broken.bench.try_open(true).unwrap();
        let found = findings(&volume);
        drop(volume);
        let codes: Vec<&str> = found.iter().map(String::as_str).collect();
        assert!(!codes.is_empty());
        let volume = broken.mended(&codes, Rebind::Refuse);
        assert!(read(&volume, "victim").unwrap() == content(1, LEN), "{more} bytes more");
        assert_eq!(broken.set_aside().len(), 1, "as it was");
    }
    let broken = Broken::new();
    broken.change("victim", |bytes| bytes.truncate(4096 * 6));
    let volume = broken.mended(&["bad-length", "corrupt-block"], Rebind::Refuse);
    assert!(read(&volume, "victim").unwrap() == content(1, LEN), "only the tail was cut");
}

/// Law: a file that was cut at a block ends there.
#[test]
fn a_file_that_was_cut_keeps_what_is_left() {
    let broken = Broken::new();
    broken.change("victim", |bytes| bytes.truncate(3 * 4096 + 4048));
    let volume = broken.mended(&["corrupt-block"], Rebind::Refuse);
    let left = FIRST + 2 * LATER;
    assert!(read(&volume, "victim").unwrap() == content(1, LEN)[..left]);
    let broken = Broken::new();
    broken.change("victim", |bytes| bytes.truncate(1536));
    let volume = broken.mended(&["bad-length", "bad-length"], Rebind::Refuse);
    assert!(read(&volume, "victim").unwrap().is_empty());
}

/// Law: what opens of a file stays, what does not reads as zeros, and the file as it was is kept.
#[test]
fn corrupt_blocks_become_holes_and_the_others_stay() {
    for (block, range) in
        [(0, 0..FIRST), (2, FIRST + LATER..FIRST + 2 * LATER), (5, FIRST + 4 * LATER..LEN)]
    {
        let broken = Broken::new();
        let was = std::fs::read(broken.at("victim")).unwrap();
        flip(&broken.at("victim"), (block * 4096).max(1536) + 100, 4);
        let damaged = std::fs::read(broken.at("victim")).unwrap();
        assert_ne!(was, damaged);
        let volume = broken.mended(&["corrupt-block"], Rebind::Refuse);
        let mut wanted = content(1, LEN);
        wanted[range].fill(0);
        assert!(read(&volume, "victim").unwrap() == wanted, "block {block}");
        assert_eq!(broken.set_aside(), [damaged]);
        assert!(read(&volume, "other").unwrap() == content(2, LEN));
        drop(volume);
        // It is an ordinary file again.
        let volume = broken.bench.open();
        write(&volume, "victim", &content(9, 3000)).unwrap();
        wanted[..3000].copy_from_slice(&content(9, 3000));
        assert!(read(&volume, "victim").unwrap() == wanted);
    }
}

#[test]
fn a_corrupt_header_is_set_aside() {
    let broken = Broken::new();
    flip(&broken.at("victim"), 600, 1);
    let damaged = std::fs::read(broken.at("victim")).unwrap();
    let volume = broken.mended(&["corrupt-header"], Rebind::Refuse);
    assert!(!names(&volume, "").contains(&"victim".to_owned()));
    assert_eq!(broken.set_aside(), [damaged]);
    let broken = Broken::new();
    flip(&broken.at(&long_name()), 600, 1);
    let volume = broken.mended(&["corrupt-header"], Rebind::Refuse);
    assert!(!names(&volume, "").contains(&long_name()));
}

/// Law: a volume survives the loss of a directory's marker. Files tell which directory they lie in,
/// so that every name below is what it was.
#[test]
fn a_lost_marker_is_made_again_from_the_files() {
    for path in ["d", ""] {
        for how in [std::fs::remove_file::<PathBuf> as fn(PathBuf) -> _, |path| {
            std::fs::write(path, [7; 96])
        }] {
            let broken = Broken::new();
            let dir = if path.is_empty() {
                broken.bench.lower.path().to_path_buf()
            } else {
                broken.at(path)
            };
            how(dir.join(".kmsfs.dir")).unwrap();
            let volume = broken.mended(&["corrupt-marker"], Rebind::Refuse);
            assert!(read(&volume, "d/inner").unwrap() == content(3, LEN));
            assert!(read(&volume, "d/deep/bottom").unwrap() == content(4, 100));
            assert!(read(&volume, "victim").unwrap() == content(1, LEN));
            assert_eq!(read(&volume, &long_name()).unwrap(), b"long");
        }
    }
}

/// Law: without a file that tells, what is in the directory gets new names, with its content intact.
#[test]
fn what_lies_below_a_lost_marker_keeps_its_content() {
    let broken = Broken::new();
    let volume = broken.bench.open();
    make_dir(&volume, "links/below");
    write(&volume, "links/below/file", &content(5, LEN)).unwrap();
    let lower = broken.at("links").join(".kmsfs.dir");
    volume.shutdown().unwrap();
    drop(volume);
    std::fs::remove_file(lower).unwrap();
    let volume = broken.mended(&["corrupt-marker"], Rebind::Refuse);
    let below = names(&volume, "links");
    assert_eq!(below.len(), 2, "{below:?}");
    assert!(below.iter().all(|name| name.starts_with("lost-")), "{below:?}");
    let read_in = |name: &String| read(&volume, &format!("links/{name}/file"));
    let found = below.iter().filter_map(|name| read_in(name).ok()).next();
    assert!(found.unwrap() == content(5, LEN));
    let link =
        |name: &String| at(&volume, &format!("links/{name}"), |node| volume.readlink(node)).ok();
    assert_eq!(below.iter().find_map(link).unwrap(), b"target");
}

/// Law: what lies where it does not belong is accepted only if the owner says so.
#[test]
fn what_is_misplaced_is_bound_where_it_lies_on_request_only() {
    let broken = Broken::new();
    let (victim, other) = (broken.at("victim"), broken.at("other"));
    let aside = victim.with_extension("aside");
    std::fs::rename(&victim, &aside).unwrap();
    std::fs::rename(&other, &victim).unwrap();
    std::fs::rename(&aside, &other).unwrap();
    let volume = broken.bench.open();
    let report = repair(&volume, Rebind::Refuse);
    assert!(report.findings.iter().all(|f| f.code == "misplaced" && f.mended.is_none()));
    assert_eq!(findings(&volume), ["misplaced", "misplaced"]);
    volume.shutdown().unwrap();
    drop(volume);
    let volume = broken.mended(&["misplaced", "misplaced"], Rebind::Accept);
    assert!(read(&volume, "victim").unwrap() == content(2, LEN));
    assert!(read(&volume, "other").unwrap() == content(1, LEN));
}

#[test]
fn a_misplaced_directory_is_bound_where_it_lies() {
    let broken = Broken::new();
    let (d, links) = (broken.at("d"), broken.at("links"));
    let aside = d.with_extension("aside");
    std::fs::rename(&d, &aside).unwrap();
    std::fs::rename(&links, &d).unwrap();
    std::fs::rename(&aside, &links).unwrap();
    let volume = broken.mended(&["misplaced", "misplaced"], Rebind::Accept);
    assert!(read(&volume, "links/inner").unwrap() == content(3, LEN));
}

/// Law: a file tells its own name: a lost sidecar is written again, a changed name put back.
#[test]
fn lost_names_are_made_again_from_the_file() {
    let sidecar = |broken: &Broken, plain: &str| {
        PathBuf::from(format!("{}.name", broken.at(plain).display()))
    };
    let broken = Broken::new();
    std::fs::remove_file(sidecar(&broken, &long_name())).unwrap();
    let volume = broken.mended(&["corrupt-name"], Rebind::Refuse);
    assert!(names(&volume, "").contains(&long_name()));
    drop(volume);

    let broken = Broken::new();
    let victim = broken.at("victim");
    std::fs::rename(&victim, victim.with_file_name("A".repeat(40))).unwrap();
    let volume = broken.mended(&["corrupt-name"], Rebind::Refuse);
    assert!(read(&volume, "victim").unwrap() == content(1, LEN));
    drop(volume);

    // A directory does not tell its name; it keeps what is in it.
    let broken = Broken::new();
    std::fs::remove_file(sidecar(&broken, &"dir".repeat(70))).unwrap();
    let volume = broken.mended(&["corrupt-name"], Rebind::Refuse);
    let names = names(&volume, "");
    let lost = names.iter().find(|name| name.starts_with("lost-")).unwrap();
    assert_eq!(read(&volume, &format!("{lost}/x")).unwrap(), b"below");
}

#[test]
fn a_file_from_another_directory_gets_a_name_on_request_only() {
    let broken = Broken::new();
    let victim = broken.at("victim");
    std::fs::rename(&victim, broken.at("d").join(victim.file_name().unwrap())).unwrap();
    let volume = broken.bench.open();
    let report = repair(&volume, Rebind::Refuse);
    assert!(report.findings.iter().all(|f| f.code == "corrupt-name" && f.mended.is_none()));
    volume.shutdown().unwrap();
    drop(volume);
    let volume = broken.mended(&["corrupt-name"], Rebind::Accept);
    let names = names(&volume, "d");
    let lost = names.iter().find(|name| name.starts_with("lost-")).unwrap();
    assert!(read(&volume, &format!("d/{lost}")).unwrap() == content(1, LEN));
}

#[test]
fn symlinks_and_attributes_that_do_not_open_are_set_aside() {
    let broken = Broken::new();
    let link = broken.at("links/one");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("A".repeat(70), &link).unwrap();
    let volume = broken.mended(&["corrupt-symlink"], Rebind::Refuse);
    assert_eq!(names(&volume, "links"), Vec::<String>::new());
    drop(volume);

    let broken = Broken::new();
    let name = "user.kmsfs.QUFBQUFBQUFBQUFBQUFBQUFB";
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(broken.at("other"), name, b"\0\0no value", flags).unwrap();
    let volume = broken.mended(&["corrupt-xattr"], Rebind::Refuse);
    assert_eq!(at(&volume, "other", |n| volume.find_xattr(n, b"user.a")).unwrap(), b"value");
    assert_eq!(broken.set_aside(), [[name.as_bytes(), b"\0\0\0no value"].concat()]);
}

#[test]
fn leftovers_and_orphans_are_removed() {
    let broken = Broken::new();
    let root = broken.bench.lower.path();
    std::fs::write(root.join(".kmsfs.tmp.0123"), b"x").unwrap();
    std::fs::write(root.join(format!("L.{}.name", "A".repeat(43))), b"x").unwrap();
    broken.mended(&["leftover", "orphan-sidecar"], Rebind::Refuse);
}

#[test]
fn a_lost_state_is_renewed() {
    let broken = Broken::new();
    std::fs::remove_file(broken.bench.lower.path().join(".kmsfs/state")).unwrap();
    let volume = broken.bench.try_open(true).unwrap();
    assert_eq!(findings(&volume), ["bad-state"]);
    drop(volume);
    assert!(broken.bench.renew_state());
    let volume = broken.bench.open();
    assert_eq!(findings(&volume), Vec::<String>::new());
}

/// Law: what is not ours is not touched.
#[test]
fn foreign_files_are_left_alone() {
    for rebind in [Rebind::Refuse, Rebind::Accept] {
        let broken = Broken::new();
        let notes = broken.bench.lower.path().join("notes.txt");
        std::fs::write(&notes, b"not ours").unwrap();
        let volume = broken.bench.open();
        let report = repair(&volume, rebind);
        assert!(report.findings.iter().all(|f| f.code == "corrupt-name" && f.mended.is_none()));
        assert_eq!(std::fs::read(&notes).unwrap(), b"not ours");
    }
}

/// Law: a check of many files, by several threads, finds each thing once, and can be stopped.
#[test]
fn a_broad_tree_is_checked_whole_and_can_be_stopped() {
    let broken = Broken::new();
    let volume = broken.bench.open();
    for dir in 0..10 {
        make_dir(&volume, &format!("b{dir}"));
        for file in 0..40 {
            write(&volume, &format!("b{dir}/{file}"), &content(1, 10)).unwrap();
        }
    }
    let report = crate::bench::fsck(&volume);
    assert_eq!((report.files, report.directories, report.findings.len()), (406, 15, 0));
    let stopped = volume.fsck(FsckDepth::Full, &mut |_| ControlFlow::Break(())).unwrap();
    assert!(stopped.files <= 406);
}

/// Every code has a line that says what mends it, and is in order.
#[test]
fn codes_are_in_order() {
    assert!(CODES.is_sorted());
    assert!(CODES.iter().all(|(code, mend)| !code.is_empty() && !mend.is_empty()));
}
