//! One binary for all targets, of which `KMSFS_FUZZ_TARGET` names one: it is linked once.

#![no_main]

use std::sync::OnceLock;

use kmsfs::testing::fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("KMSFS_FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("KMSFS_FUZZ_TARGET: no target {name:?}")).1
    });
    target(data);
});
