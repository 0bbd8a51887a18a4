//! Shared and private mappings.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr;

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

use crate::mount::MountedVolume;
use crate::{pattern, read, write};

/// A mapping of the beginning of a file.
struct Map {
    at: *mut libc::c_void,
    len: usize,
}

impl Map {
    fn new(file: &File, len: usize, flags: MapFlags) -> Self {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses where, so that nothing else is mapped over.
        let at = unsafe { mmap(ptr::null_mut(), len, protection, flags, file, 0) }.unwrap();
        Self { at, len }
    }

    /// Only bytes below the end of the file may be touched.
    fn read(&self, at: usize, len: usize) -> Vec<u8> {
        assert!(at + len <= self.len);
        // SAFETY: the range lies in the mapping, and every byte has a value.
        unsafe { std::slice::from_raw_parts(self.at.cast::<u8>().add(at), len) }.to_vec()
    }

    fn write(&self, at: usize, data: &[u8]) {
        assert!(at + data.len() <= self.len);
        // SAFETY: the range lies in the mapping, and `data` does not.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), self.at.cast::<u8>().add(at), data.len()) }
    }

    fn sync(&self) {
        // SAFETY: the range is the mapping.
        unsafe { msync(self.at, self.len, MsyncFlags::SYNC) }.unwrap();
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and goes with this.
        unsafe { munmap(self.at, self.len) }.unwrap();
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// Law: a shared mapping and read(2) and write(2) are one content.
#[test]
fn shared_mapping_and_calls_see_each_other() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, 50_000));
        let file = open(&path);
        let map = Map::new(&file, 50_000, MapFlags::SHARED);
        assert!(map.read(0, 50_000) == pattern(0, 50_000));
        map.write(4090, b"through the map");
        let mut out = [0; 15];
        file.read_exact_at(&mut out, 4090).unwrap();
        assert_eq!(&out, b"through the map");
        file.write_all_at(b"by write", 30_000).unwrap();
        assert_eq!(map.read(30_000, 8), b"by write");
        map.write(49_999, b"!");
        map.sync();
        drop((map, file));
        volume.remount();
        let mut wanted = pattern(0, 50_000);
        wanted[4090..4105].copy_from_slice(b"through the map");
        wanted[30_000..30_008].copy_from_slice(b"by write");
        wanted[49_999] = b'!';
        assert!(read(&path) == wanted);
    });
}

#[test]
fn mapping_is_written_back_without_msync() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(300_000).unwrap();
        let map = Map::new(&file, 300_000, MapFlags::SHARED);
        for at in (0..299_000).step_by(4096 * 3) {
            map.write(at, &pattern(at as u64, 600));
        }
        drop((map, file));
        volume.remount();
        let content = read(&path);
        for at in (0..299_000).step_by(4096) {
            let wanted = match at % (4096 * 3) {
                0 => pattern(at as u64, 600),
                _ => vec![0; 600],
            };
            assert!(content[at..at + 600] == wanted, "{at}");
        }
    });
}

/// Law: what was cut off does not come back through a mapping.
#[test]
fn cut_and_grown_file_reads_zeros_through_the_mapping() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, 20_000));
        let file = open(&path);
        let map = Map::new(&file, 20_000, MapFlags::SHARED);
        assert!(map.read(0, 20_000) == pattern(0, 20_000));
        file.set_len(5000).unwrap();
        assert!(map.read(0, 8192)[5000..].iter().all(|byte| *byte == 0));
        file.set_len(20_000).unwrap();
        assert!(map.read(5000, 15_000) == vec![0; 15_000]);
        drop((map, file));
        let mut wanted = pattern(0, 5000);
        wanted.resize(20_000, 0);
        assert!(read(&path) == wanted);
        volume.remount();
        assert!(read(&path) == wanted);
    });
}

#[test]
fn punched_range_reads_zeros_through_the_mapping() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, 40_000));
        let file = open(&path);
        let map = Map::new(&file, 40_000, MapFlags::SHARED);
        map.write(9000, b"dirty");
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, punch, 5000, 20_000).unwrap();
        assert!(map.read(5000, 20_000) == vec![0; 20_000]);
        assert!(map.read(25_000, 15_000) == pattern(25_000, 15_000));
        map.write(10_000, b"again");
        map.sync();
        drop((map, file));
        volume.remount();
        assert_eq!(read(&path)[10_000..10_005], *b"again");
    });
}

#[test]
fn private_mapping_changes_nothing_below() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, 10_000));
        let file = open(&path);
        let map = Map::new(&file, 10_000, MapFlags::PRIVATE);
        map.write(100, b"mine alone");
        assert_eq!(map.read(100, 10), b"mine alone");
        drop(map);
        assert!(read(&path) == pattern(0, 10_000));
    });
}

#[test]
fn mapping_outlives_descriptor_and_name() {
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, 10_000));
        let map = Map::new(&open(&path), 10_000, MapFlags::SHARED);
        std::fs::remove_file(&path).unwrap();
        map.write(0, b"still");
        map.sync();
        assert_eq!(map.read(0, 5), b"still");
        assert!(map.read(5, 9995) == pattern(5, 9995));
    });
}
