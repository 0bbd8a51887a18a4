//! One file, its key service, and the steps of a history.

use std::sync::Arc;

use kmsfs::format::{KeyPolicyEntry, VolumeId};
use kmsfs::fs::{
    DataKeys, EmptyHeader, FileEnv, FileNode, FsError, Homeless, LastCheckpoint, Rewrapped, Trust,
};
use kmsfs::lower::{LowerFile, SyncScope};
use kmsfs::random::{Random, SeededRandom, random_array};
use kmsfs::testing::FaultKms;
use kmsfs::units::{PlainLen, PlainOffset};

/// One step of a history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Writes so many bytes at a position.
    Write(u64, u64),
    /// Writes so many bytes at the end.
    Append(u64),
    /// Writes the second number of bytes that far behind the end.
    WriteBehind(u64, u64),
    /// Sets the size; to 0, the header goes.
    SetSize(u64),
    /// Cuts the file down to its header.
    KeepHeader,
    /// Makes a range zeros.
    Punch(u64, u64),
    /// Rotates the key and rewraps the file.
    Rewrap,
    /// Lets go of the keys, as of a file that was not used for long.
    DropKeys,
    /// Makes everything durable.
    Sync,
}

impl Step {
    /// Whether it changes content.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Rewrap | Self::DropKeys | Self::Sync)
    }

    /// What the content is after it.
    pub fn apply(self, no: usize, content: &mut Vec<u8>) {
        let size = content.len();
        match self {
            Self::Write(at, len) => put(content, usize_of(at), &data(no, len)),
            Self::Append(len) => put(content, size, &data(no, len)),
            Self::WriteBehind(gap, len) => put(content, size + usize_of(gap), &data(no, len)),
            Self::SetSize(size) => content.resize(usize_of(size), 0),
            Self::KeepHeader => content.clear(),
            Self::Punch(at, len) => {
                let end = usize_of(at + len).min(size);
                if let Some(range) = content.get_mut(usize_of(at)..end) {
                    range.fill(0);
                }
            }
            Self::Rewrap | Self::DropKeys | Self::Sync => {}
        }
    }
}

fn put(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    content.resize(content.len().max(at + data.len()), 0);
    content[at..at + data.len()].copy_from_slice(data);
}

/// Bytes that tell which step wrote them, never zero.
fn data(no: usize, len: u64) -> Vec<u8> {
    (0..usize_of(len)).map(|at| u8::try_from((at / 7 + no * 37) % 251 + 1).unwrap()).collect()
}

pub fn usize_of(len: u64) -> usize {
    usize::try_from(len).unwrap()
}

/// A key service with one key, and a volume's data keys over it.
pub struct World {
    pub kms: Arc<FaultKms>,
    pub data_keys: DataKeys,
}

const ALIAS: &str = "alias/test";

impl World {
    pub fn new() -> Self {
        let kms = Arc::new(FaultKms::new(7, &[ALIAS]));
        let policies = [KeyPolicyEntry { number: 0, alias: ALIAS.to_owned() }];
        let random = Arc::new(SeededRandom::new(8));
        let service = Arc::clone(&kms);
        let data_keys = DataKeys::new(service, random, VolumeId([3; 16]), &policies);
        Self { kms, data_keys }
    }

    pub fn env<'a>(&'a self, file: &'a dyn LowerFile, trust: Trust) -> FileEnv<'a> {
        let checkpoint = LastCheckpoint::of_no_volume();
        FileEnv { file, data_keys: &self.data_keys, policy: 0, trust, home: &Homeless, checkpoint }
    }

    /// Retires everything but the current material.
    pub fn destroy_old_material(&self) {
        self.kms.destroy_old_material(&self.kms.arn_of(ALIAS));
    }

    /// Carries a step out.
    pub fn run(
        &self,
        step: Step,
        no: usize,
        node: &FileNode,
        file: &dyn LowerFile,
    ) -> Result<(), FsError> {
        let env = self.env(file, Trust::Strict);
        let size = node.size(&env)?.0;
        let write = |at, len| node.write(&env, PlainOffset(at), &data(no, len));
        match step {
            Step::Write(at, len) => write(at, len),
            Step::Append(len) => write(size, len),
            Step::WriteBehind(gap, len) => write(size + gap, len),
            Step::SetSize(size) => node.set_size(&env, PlainLen(size), EmptyHeader::Drop),
            Step::KeepHeader => node.set_size(&env, PlainLen(0), EmptyHeader::Keep),
            Step::Punch(at, len) => node.punch(&env, PlainOffset(at), len),
            Step::Rewrap => {
                self.kms.rotate(&self.kms.arn_of(ALIAS));
                let expected =
                    if file.len()?.0 == 0 { Rewrapped::Current } else { Rewrapped::Done };
                node.rewrap(&env).map(|done| assert_eq!(done, expected))
            }
            Step::DropKeys => node.drop_keys(&env),
            Step::Sync => node.sync(&env, SyncScope::Data),
        }
    }

    /// The whole content, as a new process reads it.
    pub fn read_all(&self, file: &dyn LowerFile, trust: Trust) -> Result<Vec<u8>, FsError> {
        self.read_by(&FileNode::default(), file, trust)
    }

    /// The whole content, as this process reads it.
    pub fn read_by(
        &self,
        node: &FileNode,
        file: &dyn LowerFile,
        trust: Trust,
    ) -> Result<Vec<u8>, FsError> {
        let env = self.env(file, trust);
        let mut content = vec![0xee; usize_of(node.size(&env)?.0) + 1];
        let got = node.read(&env, PlainOffset(0), &mut content)?;
        let is_whole = got + 1 == content.len();
        assert!(is_whole || trust == Trust::Lenient && got == 0, "a read ended before the size");
        content.truncate(got);
        Ok(content)
    }
}

/// Histories of three to five steps, drawn; the seed is printed.
pub fn drawn_histories(count: usize, changes: &[Step]) -> Vec<Vec<Step>> {
    let seed = std::env::var("KMSFS_CRASH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(20_260_101);
    println!("KMSFS_CRASH_SEED={seed}");
    let random = SeededRandom::new(seed);
    let draw = |count: usize| {
        let random: &dyn Random = &random;
        usize::from(u16::from_le_bytes(random_array(random))) % count
    };
    (0..count)
        .map(|_| {
            let mut history = Vec::new();
            for _ in 0..3 + draw(3) {
                history.push(changes[draw(changes.len())]);
                if draw(3) == 0 {
                    history.push(Step::Sync);
                }
            }
            history
        })
        .collect()
}
