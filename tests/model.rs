//! Sequences of operations on a volume, held against the reference filesystem: each gives the same
//! result or the same errno, and afterwards the trees are equal. Rotation, rewrap, recovery and
//! dropped caches are ordinary operations among the others: they must be invisible.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "model/pair.rs"]
mod pair;
#[path = "model/tree.rs"]
mod tree;

use kmsfs::testing::ops;
use pair::Pair;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Sequences that are drawn unless `KMSFS_MODEL_CASES` says otherwise.
const CASES: u32 = 256;

/// Operations in the longest sequence.
const OPS_MAX: usize = 60;

/// Law: a volume is a filesystem, whatever happens to its keys, caches and process.
#[test]
fn volume_behaves_as_the_reference_filesystem() {
    let cases = std::env::var("KMSFS_MODEL_CASES").ok().and_then(|text| text.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(CASES),
        failure_persistence: None,
        max_shrink_iters: 1500,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&ops::sequence(OPS_MAX), |sequence| {
        let mut pair = Pair::new();
        for (no, op) in sequence.iter().enumerate() {
            pair.run(op).map_err(|text| TestCaseError::fail(format!("op {no}, {op:?}: {text}")))?;
        }
        pair.finish().map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
