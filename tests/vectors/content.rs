//! Section 3: records.

use kmsfs::crypto::ContentCipher;
use kmsfs::format::layout::record_len;
use kmsfs::format::{Position, RecordHead, record};
use kmsfs::units::BlockNo;

use super::vector::{assert_refused, file_keys, load, pattern};

fn cipher() -> ContentCipher {
    let vector = load("records");
    let keys = file_keys();
    assert_eq!(keys.content.expose()[..], vector.bytes("content_key"));
    ContentCipher::new(keys.content, vector.array("n1"))
}

#[test]
fn records_are_sealed_and_opened() {
    let vector = load("records");
    let (cipher, n2) = (cipher(), vector.array("n2"));
    for case in vector.list("seals") {
        let block = BlockNo(case.number("block"));
        let position = if case.get("final").as_bool() { Position::Final } else { Position::Middle };
        let expected = case.padded("record", record_len(block));
        let plain = pattern(case.len("len"));
        let mut sealed = vec![0xff; record_len(block)];
        record::seal(&cipher, block, &plain, position, &n2, &mut sealed);
        assert_eq!(sealed, expected, "{}", case.name());
        let mut out = vec![0; plain.len()];
        let head = RecordHead { len: plain.len(), position };
        assert_eq!(record::open(&cipher, block, &expected, &mut out), Ok(head), "{}", case.name());
        assert_eq!(out, plain);
        assert_eq!(record::head(block, &expected), Ok(head));
    }
}

#[test]
fn wrong_records_are_refused() {
    let cipher = cipher();
    for case in load("records").list("errors") {
        let block = BlockNo(case.number("block"));
        let bytes = case.padded("record", case.len("len"));
        assert_refused(&case, record::open(&cipher, block, &bytes, &mut [0; 4096]));
    }
}
