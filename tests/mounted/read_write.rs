//! Plain reading and writing, at every offset that matters to blocks and to pages.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use crate::mount::MountedVolume;
use crate::{errno, pattern, read, write};

/// Lengths and offsets near the ends of blocks (2512, then every 4048) and of pages.
const EDGES: [u64; 12] =
    [0, 1, 2511, 2512, 2513, 4096, 6559, 6560, 6561, 8192, 2512 + 3 * 4048, 100_000];

#[test]
fn files_of_every_length_read_back_after_a_remount() {
    MountedVolume::both(|volume| {
        for len in EDGES {
            write(&volume.path(format!("f{len}")), pattern(len, len as usize));
        }
        for _ in 0..2 {
            for len in EDGES {
                let path = volume.path(format!("f{len}"));
                assert_eq!(path.metadata().unwrap().len(), len);
                assert!(read(&path) == pattern(len, len as usize), "length {len}");
            }
            volume.remount();
        }
    });
}

/// Law: a write changes what it covers and nothing else.
#[test]
fn overwrite_at_every_edge_leaves_all_other_bytes() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let mut wanted = pattern(0, 30_000);
        write(&path, &wanted);
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        for at in EDGES.into_iter().filter(|at| *at < 20_000) {
            for len in [1, 2, 100, 4048, 9000] {
                let data = pattern(at ^ 77, len);
                file.write_all_at(&data, at).unwrap();
                wanted[at as usize..at as usize + len].copy_from_slice(&data);
            }
        }
        assert!(read(&path) == wanted);
        drop(file);
        volume.remount();
        assert!(read(&path) == wanted);
    });
}

#[test]
fn write_behind_the_end_leaves_zeros_between() {
    MountedVolume::both(|volume| {
        let cases =
            [(0, 10_000), (100, 200), (100, 2512), (2512, 6560), (3000, 50_001), (6560, 1 << 20)];
        let wanted = |old: usize, at: u64| {
            let mut wanted = pattern(3, old);
            wanted.resize(at as usize, 0);
            wanted.extend_from_slice(b"end");
            wanted
        };
        for (old, at) in cases {
            let path = volume.path(format!("{old}-{at}"));
            write(&path, pattern(3, old));
            OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"end", at).unwrap();
            assert!(read(&path) == wanted(old, at), "{old} {at}");
        }
        volume.remount();
        for (old, at) in cases {
            let path = volume.path(format!("{old}-{at}"));
            assert!(read(&path) == wanted(old, at), "{old} {at} after a remount");
        }
    });
}

#[test]
fn reads_at_and_behind_the_end_are_short() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, 5000));
        volume.remount();
        let file = File::open(&path).unwrap();
        let mut out = vec![7; 4000];
        assert_eq!(file.read_at(&mut out, 4990).unwrap(), 10);
        assert_eq!(out[..10], pattern(4990, 10));
        assert_eq!(file.read_at(&mut out, 5000).unwrap(), 0);
        assert_eq!(file.read_at(&mut out, 1 << 40).unwrap(), 0);
    });
}

#[test]
fn files_opened_for_one_thing_refuse_the_other() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, b"x");
        let reader = File::open(&path).unwrap();
        assert_eq!(errno(reader.write_at(b"y", 0)), libc::EBADF);
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        assert_eq!(errno(writer.read_at(&mut [0], 0)), libc::EBADF);
        // A write that covers part of a block reads it first, which is not the program's reading.
        writer.write_at(b"yz", 0).unwrap();
        assert_eq!(read(&path), b"yz");
    });
}

#[test]
fn file_without_any_permission_is_written_by_who_made_it() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o0).open(&path).unwrap();
        file.write_all_at(&pattern(0, 9000), 0).unwrap();
        drop(file);
        assert!(read(&path) == pattern(0, 9000));
    });
}

/// Law: what O_DIRECT writes is what others read, and the other way round.
#[test]
fn direct_io_and_cached_io_see_the_same() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, 40_000));
        let direct = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(&path)
            .unwrap();
        let mut page = aligned(8192);
        direct.read_exact_at(&mut page, 4096).unwrap();
        assert!(page == pattern(4096, 8192));
        page.fill(9);
        direct.write_all_at(&page, 8192).unwrap();
        let mut wanted = pattern(0, 40_000);
        wanted[8192..16_384].fill(9);
        assert!(read(&path) == wanted);
        let cached = OpenOptions::new().write(true).open(&path).unwrap();
        cached.write_all_at(b"cached", 8190).unwrap();
        wanted[8190..8196].copy_from_slice(b"cached");
        direct.read_exact_at(&mut page, 8192).unwrap();
        assert!(page == wanted[8192..16_384]);
        // To the end of the file, which lies inside a page.
        assert_eq!(direct.read_at(&mut page, 32_768).unwrap(), 40_000 - 32_768);
    });
}

/// A buffer at the start of a page, as O_DIRECT may want it.
fn aligned(len: usize) -> Vec<u8> {
    // Allocations of this size are mapped by the C library at 16 bytes behind a page; FUSE takes
    // any address, so that this is as good as aligned.
    vec![0; len]
}

#[test]
fn copy_file_range_copies_between_and_within_files() {
    MountedVolume::both(|volume| {
        let (from, to) = (volume.path("from"), volume.path("to"));
        write(&from, pattern(0, 300_000));
        write(&to, pattern(5, 1000));
        let source = File::open(&from).unwrap();
        let target = OpenOptions::new().read(true).write(true).open(&to).unwrap();
        let (mut at, mut to_at, mut left) = (123, 500, 250_000);
        while left > 0 {
            let copied = rustix::fs::copy_file_range(
                &source,
                Some(&mut at),
                &target,
                Some(&mut to_at),
                left,
            )
            .unwrap();
            assert!(copied > 0);
            left -= copied;
        }
        let mut wanted = pattern(5, 500);
        wanted.extend(pattern(123, 250_000));
        assert!(read(&to) == wanted);
        assert!(read(&from) == pattern(0, 300_000));
        // Inside one file, to where it ends.
        let (mut at, mut to_at) = (0, 250_500);
        let copied =
            rustix::fs::copy_file_range(&target, Some(&mut at), &target, Some(&mut to_at), 500);
        assert_eq!(copied.unwrap(), 500);
        wanted.extend(pattern(5, 500));
        assert!(read(&to) == wanted);
        drop((source, target));
        volume.remount();
        assert!(read(&to) == wanted);
    });
}

#[test]
fn sendfile_and_std_copy_work() {
    MountedVolume::both(|volume| {
        let (from, to) = (volume.path("from"), volume.path("to"));
        write(&from, pattern(0, 3_000_000));
        assert_eq!(std::fs::copy(&from, &to).unwrap(), 3_000_000);
        assert!(read(&to) == pattern(0, 3_000_000));
    });
}

/// Law: reading and writing a file that is cached and open already costs no round trip but its own.
#[test]
fn cached_file_is_opened_and_read_without_a_request() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, 4096));
        read(&path);
        let before = volume.mounted().counters().snapshot();
        for _ in 0..10 {
            read(&path);
        }
        let after = volume.mounted().counters().snapshot();
        let asked: Vec<_> = before
            .iter()
            .zip(&after)
            .filter(|((name, old), (_, new))| old != new && *name != "getattr")
            .collect();
        assert!(asked.is_empty(), "{asked:?}");
    });
}

/// Law: the kernel reads ahead as far as one request may carry, where root may tell it to.
#[test]
fn sequential_read_asks_for_as_much_as_a_request_carries() {
    const LEN: usize = 32 << 20;
    if !rustix::process::geteuid().is_root() {
        return crate::mount::skip("not root");
    }
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, LEN));
        volume.remount();
        let before = volume.count("read");
        assert!(read(&path) == pattern(0, LEN));
        let reads = volume.count("read") - before;
        // 128 of 256 KiB, but for the window, which grows to its full length first; without the wider
        // bound they would be twice as many.
        assert!(reads < 160, "{reads} requests for 32 MiB");
    });
}
