//! What the operations of a volume cost without a mount, the key service and its audit log included:
//! `cargo bench --bench volume`.
//!
//! Counts processor time of the whole process. `KMSFS_BENCH_DIR` (tmpfs: `/dev/shm`) takes the volume;
//! `KMSFS_BENCH_CALLS` is the number of files of a round.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/rounds.rs"]
mod rounds;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kmsfs::clock::SystemClock;
use kmsfs::format::KmsPlace;
use kmsfs::fs::{Caller, NewVolume, NodeId, OpenOptions, Volume, WriteHow, init};
use kmsfs::kms::{Argon2Cost, Kms, KmsOptions, Unlock};
use kmsfs::name::PlainName;
use kmsfs::random::OsRandom;
use kmsfs::secret::SecretBytes;

const FILE_MODE: u32 = 0o100_644;
const DATA: [u8; 4096] = [7; 4096];

fn main() {
    let files = rounds::number("KMSFS_BENCH_CALLS", 4000);
    let place =
        std::env::var_os("KMSFS_BENCH_DIR").map_or(PathBuf::from("/dev/shm"), PathBuf::from);
    let dir = tempfile::tempdir_in(place).unwrap();
    let bench = Bench { volume: open(dir.path()), next: Cell::new(0) };
    rounds::heading();
    let case = |title: &str, call: &dyn Fn(u32)| {
        bench.next.set(0);
        let round = |n: u32| (0..n).for_each(|_| call(bench.next.replace(bench.next.get() + 1)));
        rounds::report(title, &rounds::measure(files, round), files);
    };
    case("make a file", &|no| {
        let node = bench.make(no);
        bench.volume.forget(node, 1);
    });
    case("find a file", &|no| {
        let node = bench.find(no);
        bench.volume.forget(node, 1);
    });
    case("find it, write its first 4096 bytes", &|no| {
        let node = bench.find(no);
        bench.volume.write(node, 0, &DATA, WriteHow::Keep).unwrap();
        bench.volume.forget(node, 1);
    });
    let out = RefCell::new(Vec::new());
    case("find it, read them", &|no| {
        let node = bench.find(no);
        assert_eq!(bench.volume.read(node, 0, 4096, &mut out.borrow_mut()).unwrap(), 4096);
        bench.volume.forget(node, 1);
    });
    case("remove a file", &|no| bench.volume.unlink(NodeId::ROOT, &name(no)).unwrap());
    bench.volume.shutdown().unwrap();
}

/// A volume, and the number of the next file.
struct Bench {
    volume: Volume,
    next: Cell<u32>,
}

impl Bench {
    fn make(&self, no: u32) -> NodeId {
        let caller = Caller { uid: 0, gid: 0, pid: std::process::id() };
        self.volume.mknod(NodeId::ROOT, &name(no), FILE_MODE, 0, 0, caller).unwrap().node
    }

    fn find(&self, no: u32) -> NodeId {
        self.volume.lookup(NodeId::ROOT, &name(no)).unwrap().unwrap().node
    }
}

fn name(no: u32) -> PlainName {
    PlainName::from_bytes(format!("file{no}").as_bytes()).unwrap()
}

fn open(dir: &Path) -> Volume {
    let (lower, home) = (dir.join("volume"), dir.join("keys"));
    std::fs::create_dir(&lower).unwrap();
    let unlock = Unlock::KeyFile(SecretBytes::new(vec![7; 32]));
    let kms = Kms::create(&home, &unlock, Argon2Cost::TEST, KmsOptions::default()).unwrap();
    kms.filesystem_key().unwrap();
    let service = kms.as_service();
    let new = NewVolume {
        kms: KmsPlace::Embedded,
        alias: "alias/aws/fs",
        service: &*service,
        random: &OsRandom,
        clock: &SystemClock,
    };
    init(&lower, &new).unwrap();
    let options = OpenOptions { read_only: false };
    Volume::open(&lower, service, Arc::new(OsRandom), Arc::new(SystemClock), options).unwrap()
}
