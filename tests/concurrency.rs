//! Threads where locks meet, with random pauses around every lock (`sync::jitter`): one file read,
//! written, resized and rewrapped at once, and one key service changed by two processes.
//!
//! The seed is printed; `KMSFS_JITTER_SEED` sets it, `KMSFS_JITTER_ROUNDS` the number of rounds.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use bench::Bench;
use kmsfs::format::{KeyPolicyEntry, VolumeId};
use kmsfs::fs::{DataKeys, EmptyHeader, FileEnv, FileNode, Homeless, LastCheckpoint, Trust};
use kmsfs::kms::{PageRequest, Tag};
use kmsfs::lower::SyncScope;
use kmsfs::random::SeededRandom;
use kmsfs::sync::jitter;
use kmsfs::testing::{FaultKms, MemFile};
use kmsfs::units::{PlainLen, PlainOffset};
use kmsfs::wire;
use serde_json::json;

const ALIAS: &str = "alias/test";
/// Plaintext bytes of one writer's part; no multiple of a block, so that neighbours share one.
const PART: u64 = 10_000;
const WRITERS: u64 = 3;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn start() -> u64 {
    let seed = number("KMSFS_JITTER_SEED", 20_261_125);
    println!("KMSFS_JITTER_SEED={seed}");
    jitter::set(seed);
    number("KMSFS_JITTER_ROUNDS", 60)
}

/// Law: what one thread writes, every other reads old or new, whole files of it later; rotation,
/// rewrap, dropped keys and resizing change nothing of it.
#[test]
fn one_file_serves_writers_readers_and_a_rewrap_at_once() {
    let rounds = start();
    let kms = Arc::new(FaultKms::new(7, &[ALIAS]));
    let policies = [KeyPolicyEntry { number: 0, alias: ALIAS.to_owned() }];
    let (service, random) = (Arc::clone(&kms), Arc::new(SeededRandom::new(8)));
    let data_keys = DataKeys::new(service, random, VolumeId([3; 16]), &policies);
    let (file, node) = (MemFile::new(), FileNode::default());
    let (trust, home) = (Trust::Strict, &Homeless);
    let checkpoint = LastCheckpoint::of_no_volume();
    let env = FileEnv { file: &file, data_keys: &data_keys, policy: 0, trust, home, checkpoint };
    let done = AtomicBool::new(false);
    let goes_on = || !done.load(Ordering::Relaxed);
    // What each writer has finished writing; it is writing the next number, or nothing.
    let finished: Vec<AtomicU8> = (0..WRITERS).map(|_| AtomicU8::new(0)).collect();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .zip(&finished)
            .map(|(no, finished)| {
                let (node, env) = (&node, &env);
                scope.spawn(move || {
                    for round in 1..=rounds {
                        let fill = u8::try_from(round % 250 + 1).unwrap();
                        let data = vec![fill; usize::try_from(PART).unwrap()];
                        node.write(env, PlainOffset(no * PART), &data).unwrap();
                        finished.store(fill, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while goes_on() {
                kms.rotate(&kms.arn_of(ALIAS));
                node.rewrap(&env).unwrap();
            }
        });
        scope.spawn(|| {
            while goes_on() {
                // Behind all writers, so that only the length and the last block are shared.
                let end = PlainLen(WRITERS * PART + 5000);
                node.set_size(&env, end, EmptyHeader::Keep).unwrap();
                node.set_size(&env, PlainLen(WRITERS * PART + 100), EmptyHeader::Keep).unwrap();
                node.punch(&env, PlainOffset(WRITERS * PART + 10), 50).unwrap();
            }
        });
        scope.spawn(|| {
            while goes_on() {
                node.drop_keys(&env).unwrap();
                node.sync(&env, SyncScope::Data).unwrap();
                std::thread::yield_now();
            }
        });
        scope.spawn(|| {
            while goes_on() {
                for (no, finished) in (0..WRITERS).zip(&finished) {
                    let before = finished.load(Ordering::SeqCst);
                    let mut out = vec![0; usize::try_from(PART).unwrap()];
                    let got = node.read(&env, PlainOffset(no * PART), &mut out).unwrap();
                    let out = &out[..got];
                    // One write is one: what is read is all of one round's, or zeros of a hole.
                    let first = out.first().copied().unwrap_or(0);
                    assert!(out.iter().all(|byte| *byte == first), "writer {no}: torn");
                    assert!(before == 0 || first != 0, "writer {no}: lost");
                }
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    jitter::set(0);
    let again = FileNode::default();
    let mut out = vec![0; usize::try_from(WRITERS * PART).unwrap()];
    let got = again.read(&env, PlainOffset(0), &mut out).unwrap();
    assert_eq!(got, out.len());
    let last = u8::try_from(rounds % 250 + 1).unwrap();
    assert!(out.iter().all(|byte| *byte == last), "the last write of a writer is lost");
}

/// Law: two processes that change one database lose no change, and a blob opens whatever is done to
/// its key meanwhile.
#[test]
fn two_processes_on_one_key_database_lose_no_change() {
    let rounds = start().min(20);
    let bench = Bench::new();
    let other = bench.open();
    let key = bench.new_key();
    let encrypted = bench.call("Encrypt", json!({"KeyId": key.as_str(), "Plaintext": "YQ=="}));
    let decrypt = json!({"CiphertextBlob": encrypted.unwrap()["CiphertextBlob"]});
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let changers: Vec<_> = [(&bench.kms, "a"), (&other, "b")]
            .into_iter()
            .map(|(kms, who)| {
                let key = &key;
                scope.spawn(move || {
                    for round in 0..rounds {
                        let tag = Tag { key: format!("{who}{round}"), value: "x".to_owned() };
                        kms.tag_resource(key, &[tag]).unwrap();
                        if who == "a" {
                            kms.rotate_key_on_demand(key).unwrap();
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                other.refresh().unwrap();
                let opened = wire::call(&other, &other.owner(), "Decrypt", &decrypt).unwrap();
                assert_eq!(opened["Plaintext"], "YQ==");
            }
        });
        for changer in changers {
            changer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    jitter::set(0);
    let kms = bench.open();
    let page = PageRequest { limit: Some(50), marker: None };
    let tags = kms.list_resource_tags(&key, &page).unwrap().entries.len();
    assert_eq!(tags, usize::try_from(2 * rounds).unwrap(), "tags are lost");
    let input = json!({"KeyId": key.as_str(), "Limit": 50});
    let rotations = wire::call(&kms, &kms.owner(), "ListKeyRotations", &input).unwrap();
    let rotations = rotations["Rotations"].as_array().unwrap().len();
    assert_eq!(rotations, usize::try_from(rounds).unwrap(), "rotations are lost");
}
