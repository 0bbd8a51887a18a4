//! Mounts over lower filesystems that are full, turn read-only, run into a quota, or lie on read-only
//! media, and mounts that run out of descriptors.
//!
//! In each case: what was synced stays, deletion works, the mount lives, and the writer hears of it no
//! later than at fsync or close. Root, loop devices and the mkfs programs are needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "a test that cannot go on ends"
)]

#[path = "common/loops.rs"]
mod loops;
#[path = "common/mount.rs"]
mod mount;
#[path = "common/promises.rs"]
mod promises;
#[path = "common/target.rs"]
mod target;
#[path = "common/writers.rs"]
mod writers;

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kmsfs::kms::{Kms, KmsOptions, ReadOnlyAudit, Unlock, audit};
use kmsfs::secret::SecretBytes;
use loops::{Kind, LowerMount, can_make, memory_dir, run};
use target::{Home, Running, Target};

/// A volume over a loop device, mounted.
struct Bench {
    running: Running,
    lower: LowerMount,
    home: Home,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// Odd seeds mount with the writeback cache, even ones without.
    fn new(kind: Kind, options: &str, seed: u64) -> Option<Self> {
        if !can_make(kind) {
            return None;
        }
        let dir = memory_dir();
        let mut lower = LowerMount::fresh(kind, dir.path());
        lower.unmount().unwrap();
        lower.mount_with(options).unwrap();
        let home = Home::new();
        let volume = lower.path().join("volume");
        Target::Kmsfs.init(&volume, &home).unwrap();
        let running = Target::Kmsfs.mount(&volume, &home, seed).unwrap();
        Some(Self { running, lower, home, _dir: dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.running.point().join(name)
    }

    fn volume(&self) -> PathBuf {
        self.lower.path().join("volume")
    }

    /// Whether the process of the mount still answers, and a full check finds nothing afterwards.
    fn end(mut self) {
        self.running.unmount().unwrap();
        let mut fsck = self.home.kmsfs();
        fsck.arg("fsck").arg(self.volume()).arg("--keyfile").arg(self.home.key());
        run(&mut fsck).unwrap();
        self.lower.unmount().unwrap();
    }

    fn kmsfs(&self, words: &[&str]) -> io::Result<String> {
        run(self.home.kmsfs().args(words).arg(self.running.point()))
    }
}

/// Writes and syncs; the first error, wherever it comes.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn errno<T: std::fmt::Debug>(answer: io::Result<T>) -> i32 {
    answer.unwrap_err().raw_os_error().unwrap()
}

/// Law: whoever writes until the disk is full hears of it from write(2), also where the kernel gathers
/// writes, and is not told again once there is room.
#[test]
fn a_writer_without_end_meets_the_full_disk() {
    for seed in [0, 1] {
        let Some(bench) = Bench::new(Kind::Ext4, "rw", seed) else { return };
        let room = rustix::fs::statvfs(bench.running.point()).unwrap();
        let room = room.f_bavail * room.f_frsize;
        let mut file = File::create(bench.path("fill")).unwrap();
        let part = vec![5; 1 << 20];
        let mut written = 0;
        let error = loop {
            // The kernel keeps dirty pages for a while, but not ten disks of them.
            assert!(written < 10 * room, "{written} bytes went to a disk of {room}");
            match file.write(&part) {
                Ok(len) => written += len as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "after {written} of {room} bytes");
        // fstat is not write.
        file.metadata().unwrap();
        // What was gathered is lost, and fsync says so still.
        if seed == 1 {
            assert_eq!(errno(file.sync_all()), libc::ENOSPC);
        }
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(&part).unwrap();
        file.sync_all().unwrap();
        drop(file);
        assert!(fs::read(bench.path("fill")).unwrap() == part);
        bench.end();
    }
}

/// Law: a volume on a disk without a free byte can be mounted, so that something can be removed from it.
#[test]
fn a_volume_on_a_full_disk_is_mounted_and_makes_room() {
    let Some(mut bench) = Bench::new(Kind::Ext4, "rw", 0) else { return };
    put(&bench.path("file"), &[7; 300_000]).unwrap();
    bench.running.unmount().unwrap();
    let mut others = File::create(bench.lower.path().join("others")).unwrap();
    while others.write(&[1; 4096]).is_ok() {}
    others.sync_all().unwrap();
    drop(others);
    bench.running = Target::Kmsfs.mount(&bench.volume(), &bench.home, 0).unwrap();
    fs::remove_file(bench.path("file")).unwrap();
    put(&bench.path("smaller"), &[8; 10_000]).unwrap();
    bench.end();
}

/// Law: what a removed file took is there for the next write, also if the kernel forgets the file a moment
/// later only.
#[test]
fn room_that_is_about_to_come_is_waited_for() {
    let Some(bench) = Bench::new(Kind::Ext4, "rw", 0) else { return };
    put(&bench.path("file"), &[7; 300_000]).unwrap();
    let mut others = File::create(bench.lower.path().join("others")).unwrap();
    while others.write(&[1; 4096]).is_ok() {}
    others.sync_all().unwrap();
    drop(others);
    for seed in 0..5 {
        let held = File::open(bench.path("file")).unwrap();
        fs::remove_file(bench.path("file")).unwrap();
        let closer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(15));
            drop(held);
        });
        put(&bench.path("file"), &vec![seed; 300_000]).unwrap();
        closer.join().unwrap();
    }
    // Who holds a removed file longer is not waited for.
    let held = File::open(bench.path("file")).unwrap();
    fs::remove_file(bench.path("file")).unwrap();
    assert_eq!(errno(put(&bench.path("next"), &[1; 300_000])), libc::ENOSPC);
    drop(held);
    bench.end();
}

/// Law: on a full disk nothing that was synced is lost, the writer hears of it, and deletion makes
/// room again.
#[test]
fn full_disk() {
    for seed in [0, 1] {
        let Some(bench) = Bench::new(Kind::Ext4, "rw", seed) else { return };
        let kept = vec![7; 300_000];
        put(&bench.path("kept"), &kept).unwrap();
        fs::create_dir(bench.path("dir")).unwrap();
        let mut files = 0;
        let full = loop {
            match put(&bench.path(&format!("fill {files}")), &[1; 3_000_000]) {
                Ok(()) => files += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.raw_os_error(), Some(libc::ENOSPC), "after {files} files");
        // To the last block, in small pieces.
        let mut small = 0;
        while put(&bench.path(&format!("small {small}")), &[2; 5000]).is_ok() {
            small += 1;
        }
        // An append hears of it at fsync or close at the latest.
        let mut file = File::options().append(true).open(bench.path("kept")).unwrap();
        let written = file.write_all(&vec![3; 2_000_000]).and_then(|()| file.sync_all());
        assert_eq!(errno(written), libc::ENOSPC);
        drop(file);
        // Everything else either works or says that the disk is full.
        let tried = [
            fs::write(bench.path("new"), "x"),
            fs::create_dir(bench.path("dir/new")),
            std::os::unix::fs::symlink("t".repeat(3900), bench.path("link")),
            fs::rename(bench.path("fill 0"), bench.path(&"n".repeat(250))),
            fs::rename(bench.path("fill 1"), bench.path("dir/moved")),
            bench.kmsfs(&["rotate"]).map(drop),
        ];
        for (no, done) in tried.into_iter().enumerate() {
            if let Err(error) = done {
                let is_full = error.raw_os_error() == Some(libc::ENOSPC);
                let text = error.to_string();
                let told = is_full || text.contains("No space") || text.contains("full");
                assert!(told, "{no}: {text}");
            }
        }
        let content = fs::read(bench.path("kept")).unwrap();
        assert!(content.starts_with(&kept), "what was synced before is lost");
        for no in 2..files {
            assert!(fs::read(bench.path(&format!("fill {no}"))).unwrap() == [1; 3_000_000]);
        }
        for no in 2..files {
            fs::remove_file(bench.path(&format!("fill {no}"))).unwrap();
        }
        put(&bench.path("again"), &[4; 1_000_000]).unwrap();
        bench.kmsfs(&["rotate", "--rewrap"]).unwrap();
        assert!(fs::read(bench.path("again")).unwrap() == [4; 1_000_000]);
        eprintln!("seed {seed}: full after {files} large and {small} small files");
        bench.end();
    }
}

/// Law: the same for a quota. It counts for the owner of a file, and binds a mounting process without
/// CAP_SYS_RESOURCE.
#[test]
fn quota() {
    for seed in [0, 1] {
        if !can_make(Kind::Ext4) {
            return;
        }
        let dir = memory_dir();
        let mut lower = LowerMount::fresh(Kind::Ext4, dir.path());
        lower.unmount().unwrap();
        run(Command::new("tune2fs").args(["-O", "quota"]).arg(lower.device())).unwrap();
        if lower.mount_with("usrquota").is_err() {
            eprintln!("skipped: the kernel has no quotas");
            return;
        }
        let home = Home::new();
        Target::Kmsfs.init(&lower.path().join("volume"), &home).unwrap();
        let bounds = ["setpriv", "--bounding-set", "-sys_resource"];
        let running =
            Target::Kmsfs.mount_by(&bounds, &lower.path().join("volume"), &home, seed).unwrap();
        let bench = Bench { running, lower, home, _dir: dir };
        let limit = ["-u", "1000", "0", "2048", "0", "0"];
        run(Command::new("setquota").args(limit).arg(bench.lower.path())).unwrap();
        put(&bench.path("f"), &[1; 100_000]).unwrap();
        chown(bench.path("f"), Some(1000), None).unwrap();
        let mut file = File::options().append(true).open(bench.path("f")).unwrap();
        let written = file.write_all(&vec![2; 8_000_000]).and_then(|()| file.sync_all());
        assert_eq!(errno(written), libc::EDQUOT);
        drop(file);
        let content = fs::read(bench.path("f")).unwrap();
        assert!(content.starts_with(&[1; 100_000]), "what was synced before is lost");
        fs::remove_file(bench.path("f")).unwrap();
        put(&bench.path("f"), &[1; 100_000]).unwrap();
        bench.end();
    }
}

/// Law: a lower filesystem that turns read-only, as after an error, refuses writers and serves
/// readers; once it can be written again, so can the mount.
#[test]
fn lower_filesystem_turns_read_only() {
    for seed in [0, 1] {
        let options = "errors=remount-ro";
        let Some(bench) = Bench::new(Kind::Ext4, options, seed) else { return };
        put(&bench.path("f"), &[1; 100_000]).unwrap();
        put(&bench.path("g"), &[1; 100_000]).unwrap();
        bench.kmsfs(&["rewrap"]).unwrap();
        bench.lower.fail().unwrap();
        assert_eq!(errno(fs::write(bench.lower.path().join("probe"), "x")), libc::EROFS);
        assert!(put(&bench.path("new"), b"x").is_err());
        let mut file = File::options().append(true).open(bench.path("f")).unwrap();
        assert!(file.write_all(&[2; 50_000]).and_then(|()| file.sync_all()).is_err());
        drop(file);
        assert!(fs::read(bench.path("g")).unwrap() == [1; 100_000]);
        assert!(fs::read(bench.path("f")).unwrap().starts_with(&[1; 100_000]));
        assert_eq!(fs::read_dir(bench.running.point()).unwrap().count(), 2);
        // It cannot be made durable, and says so; then it is over, and the volume is mended.
        let Bench { mut running, mut lower, home, _dir } = bench;
        let _failed = running.unmount();
        lower.unmount().unwrap();
        lower.mount().unwrap();
        let volume = lower.path().join("volume");
        let running = Target::Kmsfs.mount(&volume, &home, seed).unwrap();
        let bench = Bench { running, lower, home, _dir };
        assert!(fs::read(bench.path("f")).unwrap().starts_with(&[1; 100_000]));
        put(&bench.path("f"), &[3; 100_000]).unwrap();
        bench.end();
    }
}

/// Law: a volume on a read-only medium can be mounted and read; uses of keys are recorded elsewhere,
/// where the log on the medium ends.
#[test]
fn read_only_medium() {
    let Some(bench) = Bench::new(Kind::Ext4, "rw", 0) else { return };
    put(&bench.path("f"), &[1; 100_000]).unwrap();
    let Bench { mut running, mut lower, home, _dir } = bench;
    running.unmount().unwrap();
    lower.unmount().unwrap();
    lower.mount_with("ro").unwrap();
    let volume = lower.path().join("volume");
    let records = home.point().with_file_name("records");
    for times in 1..3 {
        let mut command = home.kmsfs();
        command.args(["mount", "--ro"]).arg(&volume).arg(home.point());
        command.arg("--keyfile").arg(home.key()).arg("--audit").arg(&records);
        run(&mut command).unwrap();
        assert!(fs::read(home.point().join("f")).unwrap() == [1; 100_000]);
        assert_eq!(errno(fs::write(home.point().join("f"), "x")), libc::EROFS);
        let rotated = run(home.kmsfs().arg("rotate").arg(home.point()));
        assert!(rotated.is_err(), "round {times}");
        run(home.kmsfs().arg("umount").arg(home.point())).unwrap();
    }
    // Without a file that is named, one of the user's own.
    let mut cat = home.kmsfs();
    cat.env("XDG_STATE_HOME", home.point().with_file_name("state"));
    cat.arg("cat").arg(&volume).arg("f").arg("--keyfile").arg(home.key());
    assert_eq!(cat.output().unwrap().stdout, [1; 100_000]);
    let state = fs::read_dir(home.point().with_file_name("state").join("kmsfs")).unwrap();
    assert_eq!(state.count(), 1);
    // And nowhere else, none at all.
    let mut cat = home.kmsfs();
    cat.env_remove("XDG_STATE_HOME").env_remove("HOME");
    cat.arg("cat").arg(&volume).arg("f").arg("--keyfile").arg(home.key());
    let refused = run(&mut cat).unwrap_err().to_string();
    assert!(refused.contains("--audit FILE"), "{refused}");

    // The two logs together are one chain.
    let unlock = Unlock::KeyFile(SecretBytes::new(fs::read(home.key()).unwrap()));
    let options = KmsOptions {
        read_only_audit: ReadOnlyAudit::File(records.clone()),
        ..KmsOptions::default()
    };
    let kms = Kms::open(&volume.join(".kmsfs"), &unlock, options).unwrap();
    let mut whole = fs::read(volume.join(".kmsfs/audit.log")).unwrap();
    let on_medium = whole.iter().filter(|byte| **byte == b'\n').count() as u64;
    whole.extend(fs::read(&records).unwrap());
    let joined = records.with_file_name("joined");
    fs::write(&joined, whole).unwrap();
    let report = audit::verify(&joined, Some(&kms.audit_key())).unwrap();
    assert!(report.lines > on_medium + 1, "{} lines, {on_medium} before", report.lines);
    drop(kms);
    lower.unmount().unwrap();
}

/// Law: with few descriptors a mount works on, and closes what it does not need now.
#[test]
fn few_descriptors() {
    if !mount::can_mount() {
        return;
    }
    let dir = memory_dir();
    let home = Home::new();
    let volume = dir.path().join("volume");
    Target::Kmsfs.init(&volume, &home).unwrap();
    let mut running =
        Target::Kmsfs.mount_by(&["prlimit", "--nofile=72"], &volume, &home, 1).unwrap();
    for no in 0..150 {
        let sub = running.point().join(format!("d{no}"));
        fs::create_dir(&sub).unwrap();
        put(&sub.join("f"), &[no; 10_000]).unwrap();
    }
    let open: Vec<File> =
        (0..150).map(|no| File::open(running.point().join(format!("d{no}/f"))).unwrap()).collect();
    for (no, file) in open.iter().enumerate() {
        let mut content = Vec::new();
        io::Read::read_to_end(&mut &*file, &mut content).unwrap();
        assert!(content == [no as u8; 10_000]);
    }
    // A removed file that is open needs a descriptor of its own; one that is not needs none.
    drop(open);
    for no in 0..150 {
        fs::remove_dir_all(running.point().join(format!("d{no}"))).unwrap();
    }
    put(&running.point().join("after"), b"x").unwrap();
    running.unmount().unwrap();
    let mut fsck = home.kmsfs();
    run(fsck.arg("fsck").arg(&volume).arg("--keyfile").arg(home.key())).unwrap();
}
