//! The tamper table: offline changes of the lower tree, one at a time, each followed by opening the
//! volume, reading everything, and a full check. docs/THREAT_MODEL.md holds the counts; this test
//! holds that page to them (`KMSFS_WRITE_DOCS=1` writes them).

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests, and what they share")]

mod garden;

#[path = "tamper/bytes.rs"]
mod bytes;
#[path = "tamper/entries.rs"]
mod entries;
#[path = "tamper/lab.rs"]
mod lab;
#[path = "tamper/volume.rs"]
mod volume;

use std::collections::BTreeMap;

use lab::{Case, Outcome, document, examine};

/// Law: each change has the outcome that the table says, and what is read is never wrong but where
/// the table says so.
#[test]
fn every_change_has_the_outcome_of_the_table() {
    let cases: Vec<Case> =
        [bytes::cases(), entries::cases(), volume::cases()].into_iter().flatten().collect();
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for case in &cases {
        let outcome = examine(case);
        if outcome != Ok(case.expected) {
            wrong.push(format!("{}: {}: {outcome:?}", case.group, case.name));
        }
        let at = match case.expected {
            Outcome::Refused => 0,
            Outcome::Detected => 1,
            Outcome::Harmless => 2,
            Outcome::Accepted => 3,
        };
        counts.entry(case.group).or_default()[at] += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    document(&counts, &cases);
}
