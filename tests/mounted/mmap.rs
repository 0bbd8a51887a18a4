//! Shared and private mappings.
//!
//! What maps runs in a process of its own, as it does in life: the threads that serve a mount allocate
//! memory, and whoever waits for them inside their own process, with its address space locked, waits
//! for ever.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
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

/// The child's file, in the environment.
const FILE: &str = "KMSFS_TEST_MAPPED_FILE";

/// Runs `child` on a file of 50 000 bytes in a process of its own, then `check`, twice: before and
/// after a remount.
fn mapped(test: &str, child: impl Fn(&Path), check: impl Fn(&Path)) {
    if let Some(path) = std::env::var_os(FILE) {
        return child(&PathBuf::from(path));
    }
    MountedVolume::both(|volume| {
        let path = volume.path("f");
        write(&path, pattern(0, LEN));
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", test])
            .env(FILE, &path)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        check(&path);
        volume.remount();
        check(&path);
    });
}

const LEN: usize = 50_000;

/// The file as it was, with some bytes written over.
fn with(changes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut content = pattern(0, LEN);
    for (at, data) in changes {
        content[*at..at + data.len()].copy_from_slice(data);
    }
    content
}

/// Law: a shared mapping and read(2) and write(2) are one content.
#[test]
fn shared_mapping_and_calls_see_each_other() {
    mapped(
        "mmap::shared_mapping_and_calls_see_each_other",
        |path| {
            let file = open(path);
            let map = Map::new(&file, LEN, MapFlags::SHARED);
            assert!(map.read(0, LEN) == pattern(0, LEN));
            map.write(4090, b"through the map");
            let mut out = [0; 15];
            file.read_exact_at(&mut out, 4090).unwrap();
            assert_eq!(&out, b"through the map");
            file.write_all_at(b"by write", 30_000).unwrap();
            assert_eq!(map.read(30_000, 8), b"by write");
            map.write(49_999, b"!");
            map.sync();
        },
        |path| {
            let changes: [(usize, &[u8]); 3] =
                [(4090, b"through the map"), (30_000, b"by write"), (49_999, b"!")];
            assert!(read(path) == with(&changes));
        },
    );
}

#[test]
fn mapping_is_written_back_without_msync() {
    mapped(
        "mmap::mapping_is_written_back_without_msync",
        |path| {
            let map = Map::new(&open(path), LEN, MapFlags::SHARED);
            for at in (0..LEN - 600).step_by(4096 * 3) {
                map.write(at, &[7; 600]);
            }
        },
        |path| {
            let mut wanted = pattern(0, LEN);
            for at in (0..LEN - 600).step_by(4096 * 3) {
                wanted[at..at + 600].fill(7);
            }
            assert!(read(path) == wanted);
        },
    );
}

/// Law: what was cut off does not come back through a mapping.
#[test]
fn cut_and_grown_file_reads_zeros_through_the_mapping() {
    mapped(
        "mmap::cut_and_grown_file_reads_zeros_through_the_mapping",
        |path| {
            let file = open(path);
            let map = Map::new(&file, LEN, MapFlags::SHARED);
            assert!(map.read(0, LEN) == pattern(0, LEN));
            map.write(4900, &[9; 500]);
            file.set_len(5000).unwrap();
            assert!(map.read(0, 8192)[5000..].iter().all(|byte| *byte == 0));
            file.set_len(20_000).unwrap();
            assert!(map.read(5000, 15_000) == vec![0; 15_000]);
        },
        |path| {
            let mut wanted = pattern(0, 4900);
            wanted.resize(5000, 9);
            wanted.resize(20_000, 0);
            assert!(read(path) == wanted);
        },
    );
}

#[test]
fn punched_range_reads_zeros_through_the_mapping() {
    mapped(
        "mmap::punched_range_reads_zeros_through_the_mapping",
        |path| {
            let file = open(path);
            let map = Map::new(&file, LEN, MapFlags::SHARED);
            map.write(9000, b"dirty");
            let punch =
                rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&file, punch, 5000, 20_000).unwrap();
            assert!(map.read(5000, 20_000) == vec![0; 20_000]);
            assert!(map.read(25_000, 25_000) == pattern(25_000, 25_000));
            map.write(10_000, b"again");
            map.sync();
        },
        |path| assert!(read(path) == with(&[(5000, &[0; 20_000]), (10_000, b"again")])),
    );
}

#[test]
fn private_mapping_changes_nothing_below() {
    mapped(
        "mmap::private_mapping_changes_nothing_below",
        |path| {
            let map = Map::new(&open(path), LEN, MapFlags::PRIVATE);
            map.write(100, b"mine alone");
            assert_eq!(map.read(100, 10), b"mine alone");
        },
        |path| assert!(read(path) == pattern(0, LEN)),
    );
}

#[test]
fn mapping_outlives_descriptor_and_name() {
    mapped(
        "mmap::mapping_outlives_descriptor_and_name",
        |path| {
            let map = Map::new(&open(path), LEN, MapFlags::SHARED);
            std::fs::remove_file(path).unwrap();
            map.write(0, b"still");
            map.sync();
            assert_eq!(map.read(0, 5), b"still");
            assert!(map.read(5, LEN - 5) == pattern(5, LEN - 5));
        },
        |path| assert!(!path.exists()),
    );
}
