//! Files that are read as their directory lists them are made ready before they are read.

use std::ops::ControlFlow;
use std::path::Path;

use kmsfs::fs::{Attr, CorruptPart, DirEntry, FsError, NodeId, Volume};

use crate::bench::{Bench, content, flip, make_dir, write};

const FILES: u8 = 12;
const LEN: usize = 9_000;

/// A volume with a directory of files, opened again, so that nothing is known of them.
fn with_files() -> (Bench, Volume) {
    let bench = Bench::new();
    let volume = bench.open();
    make_dir(&volume, "dir");
    make_dir(&volume, "dir/sub");
    for no in 0..FILES {
        write(&volume, &format!("dir/{no}"), &content(no, LEN)).unwrap();
        write(&volume, &format!("dir/empty-{no}"), &[]).unwrap();
    }
    volume.shutdown().unwrap();
    drop(volume);
    let volume = bench.open();
    (bench, volume)
}

/// The files with content, as the directory lists them a few at a time, and their numbers.
fn list(volume: &Volume) -> Vec<(NodeId, u8)> {
    let dir = volume.resolve(Path::new("dir")).unwrap();
    let (mut files, mut cookie) = (Vec::new(), 0);
    loop {
        let (mut given, from) = (0, cookie);
        let mut take = |entry: &DirEntry, _: Option<&Attr>| {
            if given == 5 {
                return ControlFlow::Break(());
            }
            (given, cookie) = (given + 1, entry.cookie);
            let name = std::str::from_utf8(&entry.name).unwrap();
            files.extend(name.parse().ok().map(|no| (entry.node, no)));
            ControlFlow::Continue(())
        };
        volume.read_dir_plus(dir, from, &mut take).unwrap();
        if given == 0 {
            return files;
        }
    }
}

/// Reads one file, and has the next made ready. Gives whether the key service was asked for each.
fn read(bench: &Bench, volume: &Volume, (node, no): (NodeId, u8)) -> (bool, bool) {
    let (mut data, before) = (Vec::new(), bench.kms.call_count());
    let got = volume.read(node, 0, LEN, &mut data).unwrap();
    assert!(data[..got] == content(no, LEN), "{no}");
    let read = bench.kms.call_count();
    volume.read_ahead(node);
    (read > before, bench.kms.call_count() > read)
}

fn read_all(bench: &Bench, volume: &Volume, files: &[(NodeId, u8)]) -> Vec<(bool, bool)> {
    files.iter().map(|file| read(bench, volume, *file)).collect()
}

#[test]
fn who_reads_in_the_order_of_the_listing_waits_for_no_key() {
    let (bench, volume) = with_files();
    let files = list(&volume);
    assert_eq!(files.len(), usize::from(FILES));
    let asked = read_all(&bench, &volume, &files);
    let (first, rest) = asked.split_at(3);
    assert_eq!(first, [(true, false), (true, false), (true, true)]);
    let (last, middle) = rest.split_last().unwrap();
    assert!(middle.iter().all(|file| *file == (false, true)), "{middle:?}");
    assert_eq!(*last, (false, false), "none is behind the last");
    // Now all are ready.
    assert!(read_all(&bench, &volume, &files).iter().all(|file| *file == (false, false)));
}

#[test]
fn nothing_is_made_ready_for_who_reads_in_another_order() {
    let (bench, volume) = with_files();
    for file in list(&volume).iter().rev() {
        assert_eq!(read(&bench, &volume, *file), (true, false));
    }
}

#[test]
fn corrupt_file_is_met_by_who_reads_it() {
    let (bench, volume) = with_files();
    let files = list(&volume);
    let (corrupt, no) = files[5];
    let lower = bench.lower_of(&volume, &format!("dir/{no}"));
    for in_slot in [300, 2348] {
        flip(&lower, in_slot, 1);
    }
    let (before, rest) = files.split_at(5);
    let (_, behind) = rest.split_first().unwrap();
    read_all(&bench, &volume, before);
    let error = volume.read(corrupt, 0, LEN, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, FsError::Corrupt(CorruptPart::Header)), "{error:?}");
    read_all(&bench, &volume, behind);
}
