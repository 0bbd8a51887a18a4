//! Frozen volumes: what an earlier kmsfs wrote opens, reads and checks clean for ever; and broken
//! siblings of it give exactly the findings that stand in testdata/volumes/v1-broken.json.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests, and what they share")]

mod garden;

mod volumes {
    mod broken;
    mod frozen;
    mod snapshots;
    mod undetected;
}
