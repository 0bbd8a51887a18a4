//! truncate, ftruncate and O_TRUNC.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::mount::MountedVolume;
use crate::{errno, pattern, read, write};

const SIZES: [u64; 11] = [0, 1, 100, 2511, 2512, 2513, 4096, 6560, 6561, 20_000, 200_000];

/// Law: a file cut and grown again has zeros where it was cut.
#[test]
fn every_size_to_every_size_and_back() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        for old in SIZES {
            for new in SIZES {
                write(&path, pattern(1, old as usize));
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                file.set_len(new).unwrap();
                let mut wanted = pattern(1, old.min(new) as usize);
                wanted.resize(new as usize, 0);
                assert_eq!(path.metadata().unwrap().len(), new);
                assert!(read(&path) == wanted, "{old} to {new}");
                file.set_len(old).unwrap();
                wanted.resize(old as usize, 0);
                assert!(read(&path) == wanted, "{old} to {new} and back");
            }
        }
    });
}

#[test]
fn sizes_and_content_stay_over_a_remount() {
    MountedVolume::both(|volume| {
        for new in SIZES {
            let path = volume.path(format!("{new}"));
            write(&path, pattern(1, 10_000));
            OpenOptions::new().write(true).open(&path).unwrap().set_len(new).unwrap();
        }
        volume.remount();
        for new in SIZES {
            let mut wanted = pattern(1, new.min(10_000) as usize);
            wanted.resize(new as usize, 0);
            assert!(read(&volume.path(format!("{new}"))) == wanted, "{new}");
        }
    });
}

#[test]
fn open_with_trunc_empties_the_file_for_everybody() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, 50_000));
        let reader = File::open(&path).unwrap();
        let mut out = [0; 10];
        reader.read_exact_at(&mut out, 40_000).unwrap();
        File::create(&path).unwrap();
        assert_eq!(reader.read_at(&mut out, 0).unwrap(), 0);
        assert_eq!(reader.metadata().unwrap().len(), 0);
        write(&path, b"new");
        assert_eq!(reader.read_at(&mut out, 0).unwrap(), 3);
        drop(reader);
        volume.remount();
        assert_eq!(read(&path), b"new");
    });
}

/// Law: a file that several open with O_TRUNC and write shows what one of them wrote, and no zeros.
#[test]
fn writers_who_truncate_first_leave_no_zeros() {
    const LEN: usize = 30_000;
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        std::thread::scope(|scope| {
            for writer in 1..=3_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        let file = File::create(path).unwrap();
                        // One write: a cut between two would rightly leave zeros before the second.
                        assert_eq!(file.write_at(&[writer; LEN], 0).unwrap(), LEN);
                    }
                });
            }
            for _ in 0..60 {
                assert!(!std::fs::read(&path).unwrap_or_default().contains(&0));
            }
        });
        assert!(!read(&path).contains(&0));
        volume.remount();
        let left = read(&path);
        assert!(left.len() == LEN && !left.contains(&0));
    });
}

/// Law: a terabyte costs what a byte costs.
#[test]
fn terabyte_of_zeros_is_made_and_cut_at_once() {
    const LEN: u64 = 1 << 40;
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, "beginning");
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        for len in [LEN, 5, LEN + 3] {
            let before = (volume.count("setattr"), volume.count("write"));
            file.set_len(len).unwrap();
            let after = (volume.count("setattr"), volume.count("write"));
            assert!(after.0 <= before.0 + 2 && after.1 <= before.1 + 1, "{before:?} {after:?}");
            assert_eq!(path.metadata().unwrap().len(), len);
            assert!(path.metadata().unwrap().blocks() < 100);
        }
        let mut out = [1; 7];
        file.read_exact_at(&mut out, LEN - 4).unwrap();
        assert_eq!(out, [0; 7]);
        drop(file);
        volume.remount();
        assert_eq!(path.metadata().unwrap().len(), LEN + 3);
        let mut out = [1; 9];
        File::open(&path).unwrap().read_exact_at(&mut out, 0).unwrap();
        assert_eq!(&out, b"begin\0\0\0\0");
        // The full check that a test ends with would read the terabyte.
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn write_after_a_cut_while_dirty_lands_in_the_new_file() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let file = File::create(&path).unwrap();
        file.write_all_at(&pattern(0, 100_000), 0).unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(b"abc", 5000).unwrap();
        file.set_len(5001).unwrap();
        let mut wanted = vec![0; 5000];
        wanted.push(b'a');
        assert!(read(&path) == wanted);
        drop(file);
        volume.remount();
        assert!(read(&path) == wanted);
    });
}

#[test]
fn truncate_to_the_same_size_moves_the_times() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, 5000));
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.sync_all().unwrap();
        let before = path.metadata().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        file.set_len(5000).unwrap();
        let after = path.metadata().unwrap();
        assert!((after.mtime(), after.mtime_nsec()) > (before.mtime(), before.mtime_nsec()));
        assert!(read(&path) == pattern(0, 5000));
    });
}

#[test]
fn sizes_that_no_file_can_have_are_refused() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, b"abc");
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        assert_eq!(errno(rustix_truncate(&file, i64::MAX as u64)), libc::EFBIG);
        assert_eq!(path.metadata().unwrap().len(), 3);
        assert_eq!(read(&path), b"abc");
        let far = i64::MAX as u64 - 10;
        if volume.how.writeback {
            // The kernel takes the byte, and hears only later that there is no such place.
            file.write_at(b"x", far).unwrap();
            assert_eq!(errno(file.sync_all()), libc::EFBIG);
            drop(file);
            volume.remount();
        } else {
            assert_eq!(errno(file.write_at(b"x", far)), libc::EFBIG);
        }
        assert_eq!(path.metadata().unwrap().len(), 3);
        assert_eq!(read(&path), b"abc");
    });
}

fn rustix_truncate(file: &File, len: u64) -> std::io::Result<()> {
    rustix::fs::ftruncate(file, len).map_err(Into::into)
}

#[test]
fn directories_and_missing_files_are_not_cut() {
    MountedVolume::both(|volume| {
        let dir = volume.path("d");
        std::fs::create_dir(&dir).unwrap();
        assert_eq!(truncate(&dir), libc::EISDIR);
        assert_eq!(truncate(&volume.path("none")), libc::ENOENT);
    });
}

fn truncate(path: &std::path::Path) -> i32 {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a C string that lives through the call.
    assert_eq!(unsafe { libc::truncate(path.as_ptr(), 0) }, -1);
    std::io::Error::last_os_error().raw_os_error().unwrap()
}
