//! Power cuts at every primitive of every scripted history of one file: the laws K1 to K6 of
//! docs/FORMAT.md, section 11.2.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "crash/failures.rs"]
mod failures;
#[path = "crash/laws.rs"]
mod laws;
#[path = "crash/world.rs"]
mod world;

use laws::Crashes;
use world::Step::{self, *};

/// Plaintext positions near the edges of blocks.
const FIRST: u64 = 2512;
const LATER: u64 = 4048;

/// What a file may be when a history begins; each ends in a sync.
fn beginnings() -> Vec<Vec<Step>> {
    vec![
        vec![],
        vec![Write(0, 100), Sync],
        vec![Write(0, FIRST), Sync],
        vec![Write(0, FIRST + 1000), Sync],
        vec![Write(0, FIRST + 3 * LATER - 1), Sync],
        vec![Write(0, FIRST + 2 * LATER), Sync],
        vec![Write(0, 100), Write(FIRST + 2 * LATER + 10, 500), Sync],
    ]
}

/// Changes near every edge.
fn changes() -> Vec<Step> {
    vec![
        Write(0, 10),
        Write(50, 3000),
        Write(0, FIRST + LATER + 7),
        Write(FIRST + 500, 1000),
        Write(FIRST + LATER - 5, 10),
        Append(50),
        Append(2 * LATER + 100),
        WriteBehind(10, 20),
        WriteBehind(2 * LATER, 100),
        SetSize(0),
        KeepHeader,
        SetSize(60),
        SetSize(FIRST),
        SetSize(FIRST + 1),
        SetSize(FIRST + 600),
        SetSize(FIRST + LATER),
        SetSize(FIRST + 4 * LATER + 3),
        Punch(0, FIRST),
        Punch(30, FIRST + 2 * LATER),
        Punch(FIRST, LATER),
        Rewrap,
    ]
}

/// Law: every single change of every beginning keeps K1 to K6, whatever survives of it.
#[test]
fn one_change_survives_every_power_cut() {
    let mut crashes = Crashes::new(4000);
    for beginning in beginnings() {
        for change in changes() {
            crashes.check(&[&beginning[..], &[change]].concat());
        }
    }
    crashes.report("one change");
}

/// Law: so do two changes, with and without a sync between them.
fn two_changes(part: usize) {
    let mut crashes = Crashes::new(200);
    for (no, beginning) in beginnings().iter().enumerate() {
        if no % 2 != part {
            continue;
        }
        for first in changes() {
            for second in changes() {
                // Cuts in the first change are those of the test above.
                let known = beginning.len() + 1;
                crashes.check_behind(known, &[&beginning[..], &[first, second]].concat());
                if first.writes() {
                    let history = [&beginning[..], &[first, Sync, second]].concat();
                    crashes.check_behind(known, &history);
                }
            }
        }
    }
    crashes.report("two changes");
}

#[test]
fn two_changes_survive_every_power_cut_even() {
    two_changes(0);
}

#[test]
fn two_changes_survive_every_power_cut_odd() {
    two_changes(1);
}

/// The keys are let go of between two new envelopes, neither of which is synced.
const LET_GO: [Step; 6] = [
    Write(0, FIRST + 2 * LATER + 9),
    Sync,
    WriteBehind(2 * LATER, 100),
    DropKeys,
    Append(10),
    Rewrap,
];

/// Law: an envelope is written over only when the other one is on disk.
#[test]
fn one_slot_is_always_as_it_is_on_disk() {
    laws::check_slots(&LET_GO);
    for beginning in beginnings() {
        for change in changes() {
            laws::check_slots(
                &[&beginning[..], &[change, Rewrap, change, DropKeys, Rewrap]].concat(),
            );
        }
    }
}

/// Law: so do longer histories; the seed of those that are drawn is printed.
#[test]
fn long_histories_survive_every_power_cut() {
    let mut crashes = Crashes::new(300);
    let small = Write(0, 100);
    let large = Write(0, FIRST + 2 * LATER + 9);
    for scripted in [
        &[small, Append(30), Append(5000), SetSize(70)][..],
        &[large, SetSize(100), Append(9000), SetSize(FIRST + 1)],
        &[large, Sync, SetSize(100), SetSize(FIRST + LATER + 50), Append(10)],
        &[large, Sync, SetSize(0), small, Append(6000)],
        &[large, Sync, SetSize(0), WriteBehind(9000, 10), Sync, Append(10)],
        &[small, Sync, Rewrap, Rewrap, Append(5000)],
        &[large, Sync, Rewrap, Write(5, 10), Rewrap, Sync, Rewrap],
        &[small, Rewrap, Append(10), Rewrap, KeepHeader, Append(5)],
        &[large, Sync, Punch(FIRST, LATER), Rewrap, SetSize(FIRST + LATER + 1)],
        &[large, Sync, Punch(0, FIRST + LATER), Sync, Write(10, 4000), SetSize(5)],
        &LET_GO,
        &[KeepHeader, Append(10), KeepHeader, Append(4000)],
        &[large, Sync, KeepHeader, Append(10), Sync, SetSize(0), Append(5)],
        &[WriteBehind(3 * LATER, 10), WriteBehind(LATER, 10), Write(0, 10), Sync, Append(3)],
    ] {
        crashes.check(scripted);
    }
    let count = std::env::var("KMSFS_CRASH_HISTORIES").ok().and_then(|text| text.parse().ok());
    for history in world::drawn_histories(count.unwrap_or(300), &changes()) {
        crashes.check(&history);
    }
    crashes.report("long histories");
}
