//! Any operations on one file, held against a vector of bytes.

use std::sync::Arc;

use super::words::Words;
use crate::format::layout::is_legal;
use crate::format::{KeyPolicyEntry, VolumeId};
use crate::fs::{DataKeys, EmptyHeader, FileEnv, FileNode, Homeless, LastCheckpoint, Trust, mend};
use crate::lower::{LowerFile, SyncScope};
use crate::random::SeededRandom;
use crate::testing::{FaultKms, MemFile};
use crate::units::{PlainLen, PlainOffset};

const ALIAS: &str = "alias/fuzzed";
/// Operations of one run at most.
const OPS_MAX: usize = 64;
/// Bytes of the file at most.
const SIZE_MAX: usize = 64 << 10;

/// Law: a file holds what was written, whatever is done to its keys, caches and header meanwhile.
pub(super) fn content_ops(data: &[u8]) {
    let kms = Arc::new(FaultKms::new(7, &[ALIAS]));
    let policies = [KeyPolicyEntry { number: 0, alias: ALIAS.to_owned() }];
    let service = Arc::clone(&kms);
    let random = Arc::new(SeededRandom::new(8));
    let data_keys = DataKeys::new(service, random, VolumeId([3; 16]), &policies);
    let file = MemFile::new();
    let (trust, home) = (Trust::Strict, &Homeless);
    let checkpoint = LastCheckpoint::of_no_volume();
    let env = FileEnv { file: &file, data_keys: &data_keys, policy: 0, trust, home, checkpoint };
    let mut node = FileNode::default();
    let mut wanted: Vec<u8> = Vec::new();
    let mut words = Words::new(data);
    for no in 0..OPS_MAX {
        if words.is_empty() {
            break;
        }
        let (op, at, len) = (words.u8() % 12, words.below(SIZE_MAX), words.below(9000));
        let offset = PlainOffset(u64::try_from(at).unwrap());
        match op {
            0..=2 => {
                let fill = u8::try_from(no).unwrap() + 1;
                node.write(&env, offset, &vec![fill; len]).unwrap();
                if len > 0 {
                    wanted.resize(wanted.len().max(at + len), 0);
                    wanted[at..at + len].fill(fill);
                }
            }
            3 => {
                let header = if len % 2 == 0 { EmptyHeader::Drop } else { EmptyHeader::Keep };
                node.set_size(&env, PlainLen(offset.0), header).unwrap();
                wanted.resize(at, 0);
            }
            4 => {
                node.punch(&env, offset, u64::try_from(len).unwrap()).unwrap();
                let end = (at + len).min(wanted.len());
                if let Some(range) = wanted.get_mut(at..end) {
                    range.fill(0);
                }
            }
            5 => {
                kms.rotate(&kms.arn_of(ALIAS));
                node.rewrap(&env).unwrap();
            }
            6 => {
                node.rewrap(&env).unwrap();
                node.sync(&env, SyncScope::Data).unwrap();
                kms.destroy_old_material(&kms.arn_of(ALIAS));
            }
            7 => node.drop_keys(&env).unwrap(),
            8 => {
                // A clean end and a new beginning.
                node.tell_holes(&env).unwrap();
                node = FileNode::default();
            }
            9 => node.ensure_header(&env).unwrap(),
            10 => {
                // Killed: the file is mended and opened anew.
                node = FileNode::default();
                mend(&file, &data_keys).unwrap();
            }
            _ => {
                let mut out = vec![0xee; len];
                let got = node.read(&env, offset, &mut out).unwrap();
                let end = (at + len).min(wanted.len());
                assert_eq!(&out[..got], wanted.get(at..end).unwrap_or_default(), "op {no}");
            }
        }
        assert_eq!(node.size(&env).unwrap().0, u64::try_from(wanted.len()).unwrap(), "op {no}");
        assert!(is_legal(file.len().unwrap()), "op {no}");
    }
    node.tell_holes(&env).unwrap();
    let mut out = vec![0xee; wanted.len() + 1];
    let again = FileNode::default();
    let got = again.read(&env, PlainOffset(0), &mut out).unwrap();
    assert!(out[..got] == wanted, "the content differs in the end");
}
