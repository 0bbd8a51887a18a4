//! Replays the corpora of `fuzz/` without libFuzzer: seeds, and what once broke a law.

use std::path::Path;

use kmsfs::testing::fuzz::TARGETS;

/// Law: no input of any corpus breaks its target's law. Each crash that is found becomes a named file.
#[test]
fn every_corpus_holds() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in TARGETS {
        let mut inputs: Vec<_> = std::fs::read_dir(corpora.join(name))
            .unwrap_or_else(|error| panic!("corpus of {name}: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "corpus of {name} is empty");
        target(&[]);
        for path in inputs {
            let bytes = std::fs::read(&path).unwrap();
            if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                panic!("{name} breaks on {}", path.display());
            }
        }
    }
}

/// Law: every corpus has a target.
#[test]
fn every_corpus_has_a_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for entry in std::fs::read_dir(corpora).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(TARGETS.iter().any(|(known, _)| *known == name), "{}", name.display());
    }
}
