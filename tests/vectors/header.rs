//! Section 4: prelude and envelope slots.

use kmsfs::crypto::Suite;
use kmsfs::format::header::encode_new;
use kmsfs::format::{Envelope, FileHeader, FormatError, Home, Prelude, Slot, SlotIndex};

use super::vector::{Vector, assert_refused, file_id, file_keys, load, volume_id};

fn prelude(generation: u32) -> Prelude {
    Prelude { suite: Suite::Xaes256Gcm, generation, volume: volume_id(), file: file_id() }
}

fn envelope(content: &Vector) -> Envelope {
    Envelope {
        sequence: content.number("sequence"),
        sparse: content.get("sparse").as_bool(),
        policy: content.number("policy").try_into().unwrap(),
        key_arn: content.text("arn"),
        material: content.find("material").map(|hex| hex.as_bytes().try_into().unwrap()),
        wrapped: content.bytes("wrapped"),
    }
}

/// Holds a slot's bytes against what they are said to hold; a valid one is also written anew.
#[track_caller]
fn assert_slot(found: &Slot, content: &Vector, prelude: &Prelude, bytes: &[u8]) {
    match (found, content.find("sequence")) {
        (Slot::Empty, None) => assert_eq!(content.as_text(), "empty"),
        (Slot::Torn, None) => assert_eq!(content.as_text(), "torn"),
        (Slot::Valid { envelope: found, .. }, Some(_)) => {
            let expected = envelope(content);
            assert_eq!(found, &expected);
            assert_eq!(expected.encode(prelude, &file_keys().header).unwrap(), bytes);
        }
        _ => panic!("{found:?} instead of {content:?}"),
    }
}

#[test]
fn slots_hold_these_envelopes() {
    for case in load("slots").list("cases") {
        let bytes = case.padded("slot", case.len("len"));
        match case.find("content") {
            Some(content) => {
                assert_slot(&Slot::parse(&bytes).unwrap(), &content, &prelude(0), &bytes);
            }
            None => assert_refused(&case, Slot::parse(&bytes)),
        }
    }
}

#[test]
fn headers_name_this_current_slot() {
    let key = file_keys().header;
    for case in load("headers").list("cases").iter().filter(|case| case.find("error").is_none()) {
        let bytes = case.padded("header", case.len("len"));
        let header = FileHeader::parse(&bytes).unwrap();
        let expected = if case.text("current") == "A" { SlotIndex::A } else { SlotIndex::B };
        assert_eq!(header.current().0, expected, "{}", case.name());
        assert_eq!(header.verify(&key), Ok(()), "{}", case.name());
        let prelude = prelude(case.number("generation").try_into().unwrap());
        assert_eq!(header.prelude, prelude);
        assert_eq!(prelude.encode(), bytes[..512]);
        let slots = case.list("slots");
        assert_slot(header.slot(SlotIndex::A), &slots[0], &prelude, &bytes[512..1024]);
        assert_slot(header.slot(SlotIndex::B), &slots[1], &prelude, &bytes[1024..]);
    }
}

/// F-20: the header of a new file.
#[test]
fn new_header_has_these_bytes() {
    let cases = load("headers").list("cases");
    let case = cases.iter().find(|case| case.name() == "new file: A, B empty").unwrap();
    let envelope = envelope(&case.list("slots")[0]);
    let written = encode_new(&prelude(0), &Home::None, &envelope, &file_keys().header).unwrap();
    assert_eq!(written[..], case.padded("header", 1536));
}

#[test]
fn wrong_headers_are_refused() {
    let key = file_keys().header;
    for case in load("headers").list("cases").iter().filter(|case| case.find("error").is_some()) {
        let parsed = FileHeader::parse(&case.padded("header", case.len("len")));
        match case.text("at").as_str() {
            "parse" => assert_refused(case, parsed),
            _ => assert_refused(case, parsed.unwrap().verify(&key)),
        }
    }
}

/// What does not fit is not written: the limits of the slots' vectors, from the writing side.
#[test]
fn envelopes_over_the_limits_are_not_written() {
    let typical = envelope(&load("slots").list("cases")[0].get("content"));
    let write = |change: &dyn Fn(&mut Envelope)| {
        let mut envelope = typical.clone();
        change(&mut envelope);
        envelope.encode(&prelude(0), &file_keys().header).unwrap_err()
    };
    assert_eq!(write(&|e| e.sequence = 0), FormatError::BadEnvelope);
    assert_eq!(write(&|e| e.key_arn.clear()), FormatError::BadEnvelope);
    assert_eq!(write(&|e| e.wrapped.clear()), FormatError::BadEnvelope);
    let too_long = |what, len| FormatError::TooLong { what, len };
    assert_eq!(write(&|e| e.key_arn = "x".repeat(153)), too_long("key arn", 153));
    assert_eq!(write(&|e| e.wrapped = vec![1; 257]), too_long("wrapped data key", 257));
}
