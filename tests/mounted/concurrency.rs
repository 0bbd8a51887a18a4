//! Many threads at once, on the same files and directories.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::mount::MountedVolume;
use crate::{pattern, read, write};

/// Law: two writers of different bytes of one block lose nothing of each other.
#[test]
fn writers_of_different_bytes_of_one_block() {
    const LEN: usize = 8000;
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, vec![0; LEN]);
        std::thread::scope(|scope| {
            for writer in 0..4_u8 {
                let path = &path;
                scope.spawn(move || {
                    let file = OpenOptions::new().write(true).open(path).unwrap();
                    for round in 1..=5_u8 {
                        for at in (usize::from(writer)..LEN).step_by(4 * 61) {
                            file.write_all_at(&[round * 4 + writer], at as u64).unwrap();
                        }
                    }
                });
            }
        });
        let content = read(&path);
        for writer in 0..4_u8 {
            for at in (usize::from(writer)..LEN).step_by(4 * 61) {
                assert_eq!(content[at], 20 + writer, "{at}");
            }
        }
        volume.remount();
        assert!(read(&path) == content);
    });
}

/// Law: a reader sees zeros or the data, never anything else, while others grow and cut the file.
#[test]
fn readers_while_the_file_grows_and_shrinks() {
    const LEN: u64 = 60_000;
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let wanted = pattern(0, LEN as usize);
        write(&path, &wanted);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (path, wanted, is_over) = (&path, &wanted, &is_over);
            for reader in 0..2 {
                scope.spawn(move || {
                    let file = File::open(path).unwrap();
                    let mut out = vec![0; 20_000];
                    let mut at = reader * 777;
                    while !is_over.load(Ordering::Relaxed) {
                        at = (at + 3001) % LEN;
                        let got = file.read_at(&mut out, at).unwrap();
                        for (byte, place) in out[..got].iter().zip(at as usize..) {
                            assert!(*byte == 0 || *byte == wanted[place], "at {place}");
                        }
                    }
                });
            }
            let writer = scope.spawn(move || {
                let file = OpenOptions::new().write(true).open(path).unwrap();
                for round in 0..40 {
                    let cut = round * 1499 % LEN;
                    file.set_len(cut).unwrap();
                    for at in (cut..LEN).step_by(7000) {
                        let end = (at + 7000).min(LEN);
                        file.write_all_at(&wanted[at as usize..end as usize], at).unwrap();
                    }
                }
            });
            writer.join().unwrap();
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(read(&path) == wanted);
        volume.remount();
        assert!(read(&path) == wanted);
    });
}

#[test]
fn threads_that_write_cut_and_grow_agree_in_the_end() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, "");
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let path = &path;
                scope.spawn(move || {
                    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
                    for round in 0..32 {
                        let at = (thread * 7919 + round * 1013) % 50_000;
                        match (thread + round) % 4 {
                            0 => file.set_len(at).unwrap(),
                            1 => file.sync_data().unwrap(),
                            _ => file.write_all_at(&pattern(at, 5000), at).unwrap(),
                        }
                    }
                });
            }
        });
        let content = read(&path);
        for (byte, wanted) in content.iter().zip(pattern(0, content.len())) {
            assert!(*byte == 0 || *byte == wanted);
        }
        volume.remount();
        assert!(read(&path) == content);
    });
}

#[test]
fn threads_make_rename_and_remove_in_one_directory() {
    MountedVolume::both(|volume| {
        let dir = volume.path("d");
        fs::create_dir(&dir).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let dir = &dir;
                scope.spawn(move || {
                    for no in 0..50 {
                        let name = format!("{thread}-{no}-{}", "n".repeat(no * 4));
                        let (path, moved) = (dir.join(&name), dir.join(format!("m{name}")));
                        write(&path, &name);
                        fs::rename(&path, &moved).unwrap();
                        assert_eq!(read(&moved), name.as_bytes());
                        match no % 3 {
                            0 => fs::remove_file(&moved).unwrap(),
                            // All threads fight for this name.
                            1 => fs::rename(&moved, dir.join("last")).unwrap(),
                            _ => {}
                        }
                        let _ = fs::read(dir.join("last"));
                    }
                });
            }
        });
        let left = || fs::read_dir(&dir).unwrap().count();
        let before = left();
        assert_eq!(before, 4 * 16 + 1);
        volume.remount();
        assert_eq!(left(), before);
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let content = String::from_utf8(read(&entry.path())).unwrap();
            let name = entry.file_name().into_string().unwrap();
            assert!(name == "last" || name[1..] == content);
        }
    });
}

#[test]
fn first_bytes_of_an_empty_file_come_from_four_threads() {
    MountedVolume::both(|volume| {
        for round in 0..20 {
            let path = volume.path(format!("f{round}"));
            write(&path, "");
            std::thread::scope(|scope| {
                for part in 0..4_u64 {
                    let path = &path;
                    scope.spawn(move || {
                        let file = OpenOptions::new().write(true).open(path).unwrap();
                        file.write_all_at(&pattern(part * 3000, 3000), part * 3000).unwrap();
                    });
                }
            });
            assert!(read(&path) == pattern(0, 12_000));
        }
        volume.remount();
        assert!(read(&volume.path("f19")) == pattern(0, 12_000));
    });
}
