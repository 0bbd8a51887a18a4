//! Power cuts and kills under real lower filesystems: ext4, XFS and btrfs on loop devices.
//!
//! Three ways to crash, one workload, one check (`common/promises.rs`):
//!
//! * `kill`: SIGKILL of the mounting process.
//! * `shutdown`: random dirty pages are written back, then the lower filesystem is cut off without
//!   flushing its journal (ext4, XFS).
//! * `recorded`: the disk below records every write and flush; afterwards it is put back to any
//!   moment, with all that was flushed and a random part of the rest.
//! * `aged`: the same on a tree of an earlier session.
//!
//! A few of each by default. `tests/powercut/run` makes a campaign of any number, also of other
//! filesystems, and prints figures. Root, loop devices and the mkfs programs are needed.

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

#[path = "powercut/campaign.rs"]
mod campaign;
#[path = "common/loops.rs"]
mod loops;
#[path = "common/mount.rs"]
mod mount;
#[path = "powercut/old.rs"]
mod old;
#[path = "common/promises.rs"]
mod promises;
#[path = "powercut/recorder.rs"]
mod recorder;
#[path = "common/target.rs"]
mod target;
#[path = "common/writers.rs"]
mod writers;

use campaign::{Campaign, How};
use kmsfs::random::SeededRandom;
use loops::{Kind, LowerMount};
use target::{Home, Target};

/// Law: whatever fsync returned for survives, nothing answers EIO, every byte is old or new.
fn survives(kind: Kind, how: How, cuts: u64) {
    if !loops::can_make(kind) {
        return;
    }
    let campaign = Campaign { target: Target::Kmsfs, kind, how, cuts, seed: 1 };
    let figures = campaign.run();
    loops::say(&figures.line(&campaign));
    assert!(figures.is_clean(), "{:#?}", figures.examples());
}

#[test]
fn kills_over_ext4() {
    survives(Kind::Ext4, How::Kill, 3);
}

#[test]
fn kills_over_xfs() {
    survives(Kind::Xfs, How::Kill, 2);
}

#[test]
fn kills_over_btrfs() {
    survives(Kind::Btrfs, How::Kill, 2);
}

#[test]
fn shutdowns_of_ext4() {
    survives(Kind::Ext4, How::Shutdown, 4);
}

#[test]
fn shutdowns_of_xfs() {
    survives(Kind::Xfs, How::Shutdown, 3);
}

#[test]
fn recorded_disk_under_ext4() {
    survives(Kind::Ext4, How::Recorded, 10);
}

#[test]
fn recorded_disk_under_xfs() {
    survives(Kind::Xfs, How::Recorded, 5);
}

#[test]
fn recorded_disk_under_btrfs() {
    survives(Kind::Btrfs, How::Recorded, 5);
}

/// Law K7: a rotation that was acknowledged is there after a power cut right behind it. Else envelopes
/// could name material that is gone.
fn rotation_survives(kind: Kind) {
    if !loops::can_make(kind) {
        return;
    }
    let dir = loops::memory_dir();
    let mut lower = LowerMount::fresh(kind, dir.path());
    let home = Home::new();
    let volume = lower.path().join("volume");
    Target::Kmsfs.init(&volume, &home).unwrap();
    let asked = |word: &str, at: &std::path::Path| -> serde_json::Value {
        let text = loops::run(home.kmsfs().arg(word).arg(at).arg("--json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    for round in 0..3 {
        let mut running = Target::Kmsfs.mount(&volume, &home, round).unwrap();
        std::fs::write(running.point().join("f"), "x").unwrap();
        let material = asked("rotate", running.point())["material"].clone();
        lower.cut_off(&SeededRandom::new(round), || {}).unwrap();
        running.kill();
        lower.unmount().unwrap();
        lower.mount().unwrap();
        let mut running = Target::Kmsfs.mount(&volume, &home, round).unwrap();
        assert!(material.is_string());
        assert_eq!(asked("status", running.point())["material"], material, "round {round}");
        running.unmount().unwrap();
    }
    lower.unmount().unwrap();
}

#[test]
fn acknowledged_rotation_survives_a_shutdown_of_ext4() {
    rotation_survives(Kind::Ext4);
}

#[test]
fn acknowledged_rotation_survives_a_shutdown_of_xfs() {
    rotation_survives(Kind::Xfs);
}

/// What `tests/powercut/run` starts: one campaign by the environment; figures, no judgement, unless
/// it is kmsfs.
#[test]
#[ignore = "for tests/powercut/run"]
fn campaign_of_the_environment() {
    let campaign = Campaign::from_environment();
    let figures = campaign.run();
    for example in figures.examples() {
        // Long names are long on purpose.
        let short = example.replace(&"x".repeat(100), "..").replace(&"y".repeat(100), "..");
        loops::say(&format!("    {short}"));
    }
    loops::say(&figures.line(&campaign));
    let must_hold = matches!(campaign.target, Target::Kmsfs | Target::Plain);
    assert!(!must_hold || figures.is_clean());
}
