//! fallocate in all its modes, and SEEK_DATA and SEEK_HOLE.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom};

use crate::mount::MountedVolume;
use crate::{errno, pattern, read, write};

const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

fn allocate(file: &File, how: FallocateFlags, at: u64, len: u64) -> std::io::Result<()> {
    rustix::fs::fallocate(file, how, at, len).map_err(Into::into)
}

fn seek(file: &File, from: SeekFrom) -> std::io::Result<u64> {
    rustix::fs::seek(file, from).map_err(Into::into)
}

/// Law: a punched range reads as zeros, and no byte beside it changes.
#[test]
fn punched_ranges_are_zeros_and_nothing_else_is() {
    MountedVolume::both(|volume| {
        let ranges =
            [(0, 1), (0, 2512), (1000, 3000), (2512, 4048), (5000, 90_000), (99_000, 5000)];
        let wanted = |at: u64, len: u64| {
            let mut wanted = pattern(2, 100_000);
            wanted[at as usize..(at + len).min(100_000) as usize].fill(0);
            wanted
        };
        for (at, len) in ranges {
            let path = volume.path(format!("{at}-{len}"));
            write(&path, pattern(2, 100_000));
            let file = open(&path);
            allocate(&file, PUNCH, at, len).unwrap();
            assert!(read(&path) == wanted(at, len), "{at} {len}");
            if at % 2000 == 0 {
                file.sync_all().unwrap();
            }
            assert_eq!(path.metadata().unwrap().len(), 100_000);
        }
        volume.remount();
        for (at, len) in ranges {
            let path = volume.path(format!("{at}-{len}"));
            assert!(read(&path) == wanted(at, len), "{at} {len} after a remount");
        }
    });
}

#[test]
fn punching_gives_the_room_back() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(2, 4_000_000));
        let file = open(&path);
        file.sync_all().unwrap();
        let full = path.metadata().unwrap().blocks();
        allocate(&file, PUNCH, 0, 3_900_000).unwrap();
        drop(file);
        volume.remount();
        let left = path.metadata().unwrap().blocks();
        assert!(left * 10 < full, "{left} of {full} blocks are left");
        assert!(read(&path)[3_900_000..] == pattern(3_900_002, 100_000));
    });
}

#[test]
fn zeroed_ranges_grow_the_file_unless_told_otherwise() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(2, 10_000));
        let file = open(&path);
        let keep = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        allocate(&file, keep, 9000, 50_000).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 10_000);
        allocate(&file, FallocateFlags::ZERO_RANGE, 8000, 50_000).unwrap();
        let mut wanted = pattern(2, 8000);
        wanted.resize(58_000, 0);
        assert!(read(&path) == wanted);
        drop(file);
        volume.remount();
        assert!(read(&path) == wanted);
    });
}

#[test]
fn plain_fallocate_grows_with_zeros_and_keeps_what_is_there() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let file = open(&path);
        allocate(&file, FallocateFlags::empty(), 1000, 20_000).unwrap();
        assert!(read(&path) == vec![0; 21_000]);
        file.write_all_at(&pattern(0, 30_000), 0).unwrap();
        allocate(&file, FallocateFlags::empty(), 0, 25_000).unwrap();
        allocate(&file, FallocateFlags::KEEP_SIZE, 0, 100_000).unwrap();
        assert!(read(&path) == pattern(0, 30_000));
        allocate(&file, FallocateFlags::empty(), 0, 40_000).unwrap();
        let mut wanted = pattern(0, 30_000);
        wanted.resize(40_000, 0);
        drop(file);
        volume.remount();
        assert!(read(&path) == wanted);
    });
}

#[test]
fn modes_that_move_content_are_not_offered() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, 20_000));
        let file = open(&path);
        for how in [FallocateFlags::COLLAPSE_RANGE, FallocateFlags::INSERT_RANGE] {
            assert_eq!(errno(allocate(&file, how, 4096, 4096)), libc::EOPNOTSUPP);
        }
        let reader = File::open(&path).unwrap();
        assert_eq!(errno(allocate(&reader, FallocateFlags::empty(), 0, 1)), libc::EBADF);
        assert_eq!(errno(allocate(&file, FallocateFlags::empty(), 0, 0)), libc::EINVAL);
    });
}

/// Law: nothing that was written lies in what lseek calls a hole, dirty or not.
#[test]
fn data_is_never_in_a_hole() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let file = open(&path);
        file.set_len(1_000_000).unwrap();
        for at in [0_u64, 5000, 123_456, 500_000, 999_000] {
            file.write_all_at(&pattern(at, 700), at).unwrap();
            check_data_is_found(&file);
        }
        file.sync_all().unwrap();
        check_data_is_found(&file);
        drop(file);
        volume.remount();
        check_data_is_found(&open(&path));
    });
}

fn check_data_is_found(file: &File) {
    let mut content = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut content, 0).unwrap();
    let mut at = 0;
    loop {
        match seek(file, SeekFrom::Data(at)) {
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
                assert!(content[at as usize..].iter().all(|byte| *byte == 0));
                return;
            }
            Ok(data) => {
                assert!(content[at as usize..data as usize].iter().all(|byte| *byte == 0));
                at = seek(file, SeekFrom::Hole(data)).unwrap();
                assert!(at > data);
            }
        }
        if at == content.len() as u64 {
            return;
        }
    }
}

/// Law: a hole is found although pages around it are dirty, and a dirty page is never in one.
#[test]
fn holes_are_found_while_writes_are_gathered() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let file = open(&path);
        file.write_all_at(b"a", 0).unwrap();
        file.write_all_at(b"z", 10 << 20).unwrap();
        assert_eq!(seek(&file, SeekFrom::Hole(0)).unwrap(), 4096);
        let data = seek(&file, SeekFrom::Data(4096)).unwrap();
        assert_eq!(data, 10 << 20);
        assert_eq!(seek(&file, SeekFrom::Hole(data)).unwrap(), (10 << 20) + 1);
        assert_eq!(errno(seek(&file, SeekFrom::Data((10 << 20) + 1))), libc::ENXIO);
        assert_eq!(errno(seek(&file, SeekFrom::Hole((10 << 20) + 1))), libc::ENXIO);
        file.write_all_at(b"m", 5 << 20).unwrap();
        file.write_all_at(b"e", 20 << 20).unwrap();
        assert_eq!(seek(&file, SeekFrom::Data(4097)).unwrap(), 5 << 20);
        assert_eq!(seek(&file, SeekFrom::Hole(5 << 20)).unwrap(), (5 << 20) + 4096);
        assert_eq!(seek(&file, SeekFrom::Data((10 << 20) + 4096)).unwrap(), 20 << 20);
        drop(file);
        volume.remount();
        assert_eq!(seek(&open(&path), SeekFrom::Hole(0)).unwrap(), 4096);
    });
}

/// Law: the end of a file is a hole if nobody wrote there, for all that a record lies below.
#[test]
fn file_that_was_made_longer_ends_with_a_hole() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let file = open(&path);
        file.write_all_at(&pattern(0, 4096), 0).unwrap();
        file.set_len(65_536).unwrap();
        let check = |file: &File| {
            assert_eq!(seek(file, SeekFrom::Hole(0)).unwrap(), 4096);
            for at in [4096, 4097, 61_440, 65_535] {
                assert_eq!(errno(seek(file, SeekFrom::Data(at))), libc::ENXIO, "{at}");
                assert_eq!(seek(file, SeekFrom::Hole(at)).unwrap(), at);
            }
        };
        check(&file);
        drop(file);
        volume.remount();
        let file = open(&path);
        check(&file);
        file.write_all_at(b"x", 30_000).unwrap();
        assert_eq!(seek(&file, SeekFrom::Hole(0)).unwrap(), 4096);
        assert_eq!(seek(&file, SeekFrom::Data(4096)).unwrap(), 28_672);
        assert_eq!(seek(&file, SeekFrom::Hole(28_672)).unwrap(), 32_768);
        assert_eq!(errno(seek(&file, SeekFrom::Data(32_768))), libc::ENXIO);
        file.write_all_at(b"x", 65_535).unwrap();
        assert_eq!(seek(&file, SeekFrom::Data(32_768)).unwrap(), 61_440);
        assert_eq!(seek(&file, SeekFrom::Hole(61_440)).unwrap(), 65_536);
    });
}

/// Law: what a mapping wrote is data at once.
#[test]
fn page_that_a_mapping_wrote_is_data() {
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
    const LEN: usize = 1 << 20;
    MountedVolume::both(|volume| {
        let file = open(&volume.path("f"));
        file.set_len(LEN as u64).unwrap();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the mapping is as long as the file, and nothing else uses its addresses.
        let map = unsafe { mmap(std::ptr::null_mut(), LEN, access, MapFlags::SHARED, &file, 0) };
        let map = map.unwrap();
        // SAFETY: 500 000 lies in the mapping.
        unsafe { map.cast::<u8>().add(500_000).write(7) };
        let data = seek(&file, SeekFrom::Data(0)).unwrap();
        assert_eq!(data, 500_000 / 4096 * 4096);
        // SAFETY: what mmap gave, whole.
        unsafe { munmap(map, LEN).unwrap() };
    });
}

/// Law: seeking reads nothing anew of a file that is cached and has no holes.
#[test]
fn seeking_leaves_cached_data_in_the_cache() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, 1 << 20));
        volume.remount();
        assert!(read(&path) == pattern(0, 1 << 20));
        let reads = volume.count("read");
        let file = open(&path);
        assert_eq!(seek(&file, SeekFrom::Hole(0)).unwrap(), 1 << 20);
        assert_eq!(seek(&file, SeekFrom::Data(70_000)).unwrap(), 70_000);
        let mut out = vec![0; (1 << 20) - 4096];
        file.read_exact_at(&mut out, 0).unwrap();
        assert_eq!(volume.count("read"), reads);
    });
}

/// Law: more seekers than threads that serve wait for each other's pages and not for ever.
#[test]
fn many_seek_in_files_that_are_dirty() {
    MountedVolume::both(|volume| {
        std::thread::scope(|scope| {
            for seeker in 0..24 {
                let path = volume.path(format!("f{seeker}"));
                scope.spawn(move || {
                    let file = open(&path);
                    for round in 0..10_u64 {
                        let at = (round * 7 + 3) << 16;
                        file.write_all_at(&pattern(at, 5000), at).unwrap();
                        let before = at - (1 << 15);
                        let data = seek(&file, SeekFrom::Data(before)).unwrap();
                        assert!(before < data && data <= at, "{before} {data} {at}");
                        assert_eq!(seek(&file, SeekFrom::Hole(at)).unwrap(), at + 5000);
                    }
                });
            }
        });
    });
}

#[test]
fn empty_file_has_neither_data_nor_hole() {
    MountedVolume::both(|volume| {
        let file = open(&volume.path("f"));
        assert_eq!(errno(seek(&file, SeekFrom::Data(0))), libc::ENXIO);
        assert_eq!(errno(seek(&file, SeekFrom::Hole(0))), libc::ENXIO);
    });
}

#[test]
fn sparse_file_of_six_gibibytes_takes_no_room() {
    const LEN: u64 = 6 << 30;
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let file = open(&path);
        file.set_len(LEN).unwrap();
        for at in [1_u64 << 30, (4 << 30) + 77, LEN - 5] {
            file.write_all_at(b"here!", at).unwrap();
        }
        file.sync_all().unwrap();
        drop(file);
        volume.remount();
        let seen = path.metadata().unwrap();
        assert_eq!(seen.len(), LEN);
        assert!(seen.blocks() < 1000, "{} blocks", seen.blocks());
        let file = open(&path);
        let mut out = [0; 5];
        for at in [1_u64 << 30, (4 << 30) + 77, LEN - 5] {
            file.read_exact_at(&mut out, at).unwrap();
            assert_eq!(&out, b"here!");
            file.read_exact_at(&mut out, at - 100_000).unwrap();
            assert_eq!(out, [0; 5]);
        }
    });
}

/// Law: telling the envelope of a hole is no change of content, and leaves the times alone.
#[test]
fn times_of_a_sparse_file_stay_as_they_were_set() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let file = open(&path);
        file.write_all_at(b"a", 0).unwrap();
        file.write_all_at(b"z", 1 << 20).unwrap();
        let then = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5);
        file.set_modified(then).unwrap();
        file.sync_all().unwrap();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), then);
        drop(file);
        volume.remount();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), then);
    });
}
