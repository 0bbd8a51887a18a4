//! What sealing and opening cost without a mount: `cargo bench --bench format [-- FILTER]`.
//!
//! `KMSFS_BENCH_CALLS` is the number of calls of a round.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/rounds.rs"]
mod rounds;

use std::hint::black_box;

use kmsfs::crypto::{ContentCipher, FileKeys, Suite, VolumeKeys};
use kmsfs::format::layout::{PAGE_LEN, PAYLOAD};
use kmsfs::format::record::{self, Position};
use kmsfs::format::{Envelope, FileHeader, FileId, Home, Prelude, VolumeId, header, name};
use kmsfs::random::{OsRandom, Random, random_array};
use kmsfs::secret::Secret;
use kmsfs::units::BlockNo;

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let calls = rounds::number("KMSFS_BENCH_CALLS", 50_000);
    rounds::heading();
    let case = |title: &str, call: &mut dyn FnMut()| {
        if title.contains(&filter) {
            rounds::report(title, &rounds::measure(calls, |n| (0..n).for_each(|_| call())), calls);
        }
    };
    blocks(&case);
    names(&case);
    headers(&case);
}

type Case<'a> = &'a dyn Fn(&str, &mut dyn FnMut());

fn file_keys(file: FileId) -> FileKeys {
    FileKeys::derive(&Secret::random(&OsRandom), file.bytes())
}

fn blocks(case: Case<'_>) {
    let keys = file_keys(FileId(random_array(&OsRandom)));
    let cipher = ContentCipher::new(keys.content, random_array(&OsRandom));
    let mut plain = vec![0; PAYLOAD];
    OsRandom.fill(&mut plain);
    let mut sealed = vec![0; PAGE_LEN];
    let block = BlockNo(1);
    case("seal a block of 4048 bytes", &mut || {
        record::seal(&cipher, block, &plain, Position::Middle, &[7; 12], black_box(&mut sealed));
    });
    record::seal(&cipher, block, &plain, Position::Middle, &[7; 12], &mut sealed);
    case("open a block of 4048 bytes", &mut || {
        record::open(&cipher, block, black_box(&sealed), &mut plain).unwrap();
    });
}

fn names(case: Case<'_>) {
    let volume = VolumeId(random_array(&OsRandom));
    let cipher = VolumeKeys::derive(&Secret::random(&OsRandom), volume.bytes()).names;
    let dir: [u8; 16] = random_array(&OsRandom);
    for plain in ["file00001.txt".to_owned(), "n".repeat(255)] {
        let len = plain.len();
        case(&format!("seal a name of {len} bytes"), &mut || {
            black_box(name::lower_form(&cipher.seal(&dir, black_box(plain.as_bytes()))));
        });
        let sealed = cipher.seal(&dir, plain.as_bytes());
        case(&format!("open a name of {len} bytes"), &mut || {
            black_box(cipher.open(&dir, black_box(&sealed)).unwrap());
        });
    }
}

fn headers(case: Case<'_>) {
    let (volume, file) = (VolumeId(random_array(&OsRandom)), FileId(random_array(&OsRandom)));
    let data_key = Secret::random(&OsRandom);
    case("derive the keys of a file", &mut || {
        black_box(FileKeys::derive(&data_key, file.bytes()));
    });
    let keys = FileKeys::derive(&data_key, file.bytes());
    let prelude = Prelude { suite: Suite::Xaes256Gcm, generation: 0, volume, file };
    let envelope = Envelope {
        sequence: 1,
        sparse: false,
        policy: 0,
        key_arn: "arn:aws:kms:local:000000000000:key/01234567-89ab-4cde-8f01-23456789abcd"
            .to_owned(),
        material: Some(random_array(&OsRandom)),
        wrapped: vec![5; 96],
    };
    let encode = || header::encode_new(&prelude, &Home::None, &envelope, &keys.header).unwrap();
    case("make a header", &mut || {
        black_box(encode());
    });
    let bytes = encode();
    case("read and verify a header", &mut || {
        FileHeader::parse(black_box(&bytes)).unwrap().verify(&keys.header).unwrap();
    });
}
