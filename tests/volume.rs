//! Whole volumes on a real lower directory, without a mount: rotation, and tampering below.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "volume/ahead.rs"]
mod ahead;
#[path = "volume/bench.rs"]
mod bench;
#[path = "volume/key_limits.rs"]
mod key_limits;
#[path = "volume/life.rs"]
mod life;
#[path = "volume/names.rs"]
mod names;
#[path = "volume/races.rs"]
mod races;
#[path = "volume/repair.rs"]
mod repair;
#[path = "volume/rotation.rs"]
mod rotation;
#[path = "volume/tamper.rs"]
mod tamper;
