//! O_APPEND: every write goes to the end, whoever else writes.

use std::fs::OpenOptions;
use std::io::Write;

use crate::mount::MountedVolume;
use crate::{pattern, read, write};

#[test]
fn appends_of_odd_lengths_add_up() {
    MountedVolume::both(|volume| {
        let path = volume.path("log");
        let mut wanted = Vec::new();
        for no in 0..300_u64 {
            let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
            let data = pattern(no, (no * 7 % 211) as usize);
            file.write_all(&data).unwrap();
            if no % 50 == 0 {
                file.sync_all().unwrap();
            }
            wanted.extend(data);
        }
        assert!(read(&path) == wanted);
        volume.remount();
        assert!(read(&path) == wanted);
    });
}

/// Law: appends of several writers never overlap, and none is lost.
#[test]
fn appends_of_four_writers_are_whole_lines() {
    MountedVolume::both(|volume| {
        let path = volume.path("log");
        write(&path, b"");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    let mut file = OpenOptions::new().append(true).open(path).unwrap();
                    for no in 0..200 {
                        let line = format!("{writer} {no} {}\n", "x".repeat(no % 90));
                        file.write_all(line.as_bytes()).unwrap();
                    }
                });
            }
        });
        let text = String::from_utf8(read(&path)).unwrap();
        let mut next = [0; 4];
        for line in text.lines() {
            let mut words = line.split(' ');
            let writer: usize = words.next().unwrap().parse().unwrap();
            let no: usize = words.next().unwrap().parse().unwrap();
            assert_eq!(next[writer], no);
            assert_eq!(words.next().unwrap().len(), no % 90);
            next[writer] += 1;
        }
        assert_eq!(next, [200; 4]);
    });
}
