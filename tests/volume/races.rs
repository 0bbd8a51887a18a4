//! An attacker who swaps directories of the lower tree for symbolic links while the volume works.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bench::{Bench, content, make_dir, names, read, unlink, write};

/// How long the attack lasts.
const TIME: Duration = Duration::from_secs(3);

/// Everything below a directory with its content, to compare.
fn picture(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(picture(&path));
            found.push((path, Vec::new()));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Law: nothing outside of the lower directory is read as the volume's, changed, made or removed,
/// whatever its directories are swapped for; and all is well when the attacker has gone.
#[test]
fn directories_swapped_for_links_lead_nowhere() {
    let bench = Bench::new();
    let volume = bench.open();
    make_dir(&volume, "a");
    make_dir(&volume, "a/b");
    for no in 0..4_u8 {
        write(&volume, &format!("a/b/kept{no}"), &content(no, 5000)).unwrap();
    }
    let victim = bench.lower_of(&volume, "a/b");
    // Outside lies a tree in which every sealed name and the marker are right, with other content.
    let outside = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let decoy = outside.path().join("decoy");
    copy_tree(&victim, &decoy);
    let before = picture(outside.path());
    let aside = victim.with_file_name("aside");
    let done = AtomicBool::new(false);
    let swaps = AtomicU64::new(0);
    let mut works = 0_u64;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::fs::rename(&victim, &aside).unwrap();
                std::os::unix::fs::symlink(&decoy, &victim).unwrap();
                std::thread::yield_now();
                std::fs::remove_file(&victim).unwrap();
                std::fs::rename(&aside, &victim).unwrap();
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        let end = Instant::now() + TIME;
        while Instant::now() < end {
            let no = works % 4;
            let name = format!("a/b/new{no}");
            // Each may fail while its directory is not there; none may reach the other tree.
            let _refused = write(&volume, &name, &content(9, 100));
            let _refused = write(&volume, &format!("a/b/kept{no}"), &content(9, 100));
            let _refused = read(&volume, &format!("a/b/kept{no}"));
            let _refused = unlink(&volume, &name);
            works += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(swaps.load(Ordering::Relaxed) > 100 && works > 100, "nothing was tried");
    assert_eq!(picture(outside.path()), before, "the volume reached out of its directory");
    for no in 0..4_u8 {
        let wanted = [content(9, 100), content(no, 5000).split_off(100)].concat();
        let found = read(&volume, &format!("a/b/kept{no}")).unwrap();
        assert!(found == wanted || found == content(no, 5000), "kept{no}");
    }
    assert!(names(&volume, "a/b").len() >= 4);
    volume.shutdown().unwrap();
}
