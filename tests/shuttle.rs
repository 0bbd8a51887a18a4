//! Threads where the locks of two objects meet, under a scheduler that chooses at every lock who goes on
//! (the crate shuttle). It finds what takes a rare order of few steps, and deadlocks.
//!
//!     cargo test --features shuttle --test shuttle
//!
//! `KMSFS_SHUTTLE_ROUNDS` sets the number of schedules. One that fails prints its seed.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use kmsfs::clock::SystemClock;
use kmsfs::format::{KeyPolicyEntry, KmsPlace, VolumeId};
use kmsfs::fs::{
    Caller, DataKeys, EmptyHeader, FileEnv, FileNode, Homeless, LastCheckpoint, NewVolume, NodeId,
    OpenOptions, RenameHow, Trust, Volume,
};
use kmsfs::lower::SyncScope;
use kmsfs::name::PlainName;
use kmsfs::random::SeededRandom;
use kmsfs::testing::{FaultKms, MemFile};
use kmsfs::units::{PlainLen, PlainOffset};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};

const ALIAS: &str = "alias/test";
/// Where the first writer's part ends: inside of a block, which both write.
const PART: usize = 6000;
/// Changes of order that are tried within one schedule: bugs need few.
const DEPTH: usize = 3;

/// Runs `test` under many schedules: at random, and with few changes of order at random places.
fn check(test: fn()) {
    let rounds = std::env::var("KMSFS_SHUTTLE_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: usize = rounds.unwrap_or(200);
    fn run(scheduler: impl Scheduler + 'static, test: fn()) {
        let mut config = Config::new();
        // Cryptography in builds for development keeps more on the stack than the usual 32 KiB.
        config.stack_size = 1 << 20;
        Runner::new(scheduler, config).run(test);
    }
    run(RandomScheduler::new(rounds), test);
    run(PctScheduler::new(DEPTH, rounds), test);
}

/// One file, its data keys and its key service: all that the locks CONTENT, HEADER and CACHE are about.
struct Bench {
    kms: Arc<FaultKms>,
    data_keys: DataKeys,
    file: MemFile,
    node: FileNode,
}

impl Bench {
    fn new() -> Arc<Self> {
        let kms = Arc::new(FaultKms::new(7, &[ALIAS]));
        let policies = [KeyPolicyEntry { number: 0, alias: ALIAS.to_owned() }];
        let (service, random) = (Arc::clone(&kms), Arc::new(SeededRandom::new(8)));
        let data_keys = DataKeys::new(service, random, VolumeId([3; 16]), &policies);
        Arc::new(Self { kms, data_keys, file: MemFile::new(), node: FileNode::default() })
    }

    fn env(&self) -> FileEnv<'_> {
        let (trust, home) = (Trust::Strict, &Homeless);
        let checkpoint = LastCheckpoint::of_no_volume();
        FileEnv { file: &self.file, data_keys: &self.data_keys, policy: 0, trust, home, checkpoint }
    }

    fn read(&self, node: &FileNode, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        let got = node.read(&self.env(), PlainOffset(0), &mut out).unwrap();
        out.truncate(got);
        out
    }
}

/// Law: two writers of one block, a reader, a rewrap, and keys that are dropped in between: no write is
/// lost, none is read by halves, and the file opens anew.
#[test]
fn one_file_under_every_lock_of_its_own() {
    check(|| {
        let bench = Bench::new();
        bench.node.write(&bench.env(), PlainOffset(0), &[1; 2 * PART]).unwrap();
        let start = |work: fn(&Bench)| {
            let bench = Arc::clone(&bench);
            thread::spawn(move || work(&bench))
        };
        let threads = [
            start(|bench| bench.node.write(&bench.env(), PlainOffset(0), &[2; PART]).unwrap()),
            start(|bench| {
                let at = PlainOffset(u64::try_from(PART).unwrap());
                bench.node.write(&bench.env(), at, &[3; PART]).unwrap();
                bench.node.sync(&bench.env(), SyncScope::Data).unwrap();
            }),
            start(|bench| {
                bench.kms.rotate(&bench.kms.arn_of(ALIAS));
                bench.node.rewrap(&bench.env()).unwrap();
            }),
            start(|bench| bench.node.drop_keys(&bench.env()).unwrap()),
            start(|bench| {
                let seen = bench.read(&bench.node, 2 * PART);
                assert_eq!(seen.len(), 2 * PART);
                for (part, new) in [(&seen[..PART], 2), (&seen[PART..], 3)] {
                    assert!(part.iter().all(|byte| *byte == part[0]), "a write in part");
                    assert!([1, new].contains(&part[0]));
                }
            }),
        ];
        for thread in threads {
            thread.join().unwrap();
        }
        let anew = FileNode::default();
        let again = bench.read(&anew, 3 * PART);
        assert!(again == [[2; PART], [3; PART]].concat(), "a write is lost");
        // Else the next envelope would be written over the only durable one.
        assert!(bench.node.envelope().is_none_or(|known| Some(known) == anew.envelope()));
    });
}

/// Law: a file that is cut to nothing, written and rewrapped at once is empty or has the write.
#[test]
fn a_file_that_is_emptied_and_written_at_once() {
    check(|| {
        let bench = Bench::new();
        bench.node.write(&bench.env(), PlainOffset(0), &[1; PART]).unwrap();
        let start = |work: fn(&Bench)| {
            let bench = Arc::clone(&bench);
            thread::spawn(move || work(&bench))
        };
        let threads = [
            start(|bench| {
                bench.node.set_size(&bench.env(), PlainLen(0), EmptyHeader::Drop).unwrap();
            }),
            start(|bench| bench.node.write(&bench.env(), PlainOffset(0), &[2; 100]).unwrap()),
            start(|bench| {
                bench.kms.rotate(&bench.kms.arn_of(ALIAS));
                bench.node.rewrap(&bench.env()).unwrap();
            }),
            start(|bench| bench.node.drop_keys(&bench.env()).unwrap()),
        ];
        for thread in threads {
            thread.join().unwrap();
        }
        let left = bench.read(&FileNode::default(), 2 * PART);
        // The write behind the cut, or before it.
        assert!(left == [2; 100] || left.is_empty(), "{} bytes", left.len());
    });
}

fn plain(name: &str) -> PlainName {
    PlainName::from_bytes(name.as_bytes()).unwrap()
}

/// Law: renames between two directories in both directions, a look-up, and the kernel's forgetting end,
/// whatever the order, and leave a volume without findings.
#[test]
fn two_directories_whose_entries_change_places() {
    check(|| {
        let lower = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let kms = Arc::new(FaultKms::new(5, &[ALIAS]));
        let new = NewVolume {
            kms: KmsPlace::Embedded,
            alias: ALIAS,
            service: &*kms,
            random: &SeededRandom::new(6),
            clock: &SystemClock,
        };
        kmsfs::fs::init(lower.path(), &new).unwrap();
        let (random, clock) = (Arc::new(SeededRandom::new(7)), Arc::new(SystemClock));
        let options = OpenOptions { read_only: false };
        let volume = Volume::open(lower.path(), kms, random, clock, options).unwrap();
        let volume = Arc::new(volume);
        let caller = Caller { uid: 0, gid: 0, pid: 1 };
        let [a, b] = ["a", "b"].map(|name| {
            let dir = volume.mkdir(NodeId::ROOT, &plain(name), 0o755, 0, caller).unwrap().node;
            volume.mknod(dir, &plain("x"), 0o100_644, 0, 0, caller).unwrap();
            dir
        });
        let start = |work: fn(&Volume, NodeId, NodeId)| {
            let volume = Arc::clone(&volume);
            thread::spawn(move || work(&volume, a, b))
        };
        let threads = [
            start(|volume, a, b| {
                volume.rename(a, &plain("x"), b, &plain("y"), RenameHow::Replace).unwrap();
            }),
            start(|volume, a, b| {
                volume.rename(b, &plain("x"), a, &plain("y"), RenameHow::Replace).unwrap();
            }),
            start(|volume, a, _| {
                if let Some(found) = volume.lookup(a, &plain("y")).unwrap() {
                    volume.forget(found.node, 1);
                }
            }),
            start(|volume, _, b| {
                if let Some(found) = volume.lookup(b, &plain("x")).unwrap() {
                    volume.attr(found.node).unwrap();
                    volume.forget(found.node, 1);
                }
            }),
        ];
        for thread in threads {
            thread.join().unwrap();
        }
        for path in ["/a/y", "/b/y"] {
            volume.resolve(Path::new(path)).unwrap();
        }
        drop(volume);
    });
}
