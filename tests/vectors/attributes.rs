//! Sections 8 and 9: extended attributes and the state.

use kmsfs::format::{FormatError, VolumeState, xattr};
use kmsfs::secret::Secret;

use super::vector::{ShortNonce, assert_refused, dir_id, file_id, file_keys, load, volume_keys};

fn open(
    key: &Secret<32>,
    owner: &[u8; 16],
    lower: &[u8],
    stored: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), FormatError> {
    let names = volume_keys().xattr_names;
    let name = xattr::open_name(&names, lower, Some(stored))?;
    let value = xattr::open_value(key, owner, &xattr::seal_name(&names, &name), stored)?;
    Ok((name, value))
}

#[test]
fn attributes_have_these_bytes() {
    let volume = volume_keys();
    let file = file_keys();
    for case in load("xattrs").list("cases") {
        let (id, key) = match case.text("owner").as_str() {
            "file" => (*file_id().bytes(), &file.xattr),
            _ => (*dir_id().bytes(), &volume.dir_xattrs),
        };
        let (name, value) = (case.bytes("name"), case.bytes("value"));
        let sealed = xattr::seal_name(&volume.xattr_names, &name);
        assert_eq!(sealed.lower, case.text("lower").as_bytes());
        let stored = xattr::seal_value(key, &id, &sealed, &value, &ShortNonce);
        assert_eq!(stored, case.bytes("stored"));
        assert_eq!(stored.len(), value.len() + sealed.overhead());
        assert_eq!(open(key, &id, &sealed.lower, &stored), Ok((name, value)));
    }
}

#[test]
fn wrong_attributes_are_refused() {
    let key = file_keys().xattr;
    for case in load("xattrs").list("errors") {
        let lower = case.text("lower");
        let opened = open(&key, file_id().bytes(), lower.as_bytes(), &case.bytes("stored"));
        assert_refused(&case, opened);
    }
}

#[test]
fn states_have_these_bytes() {
    let key = volume_keys().checkpoint;
    for case in load("states").list("cases") {
        let state = VolumeState {
            clean: case.get("clean").as_bool(),
            checkpoint_secs: case.get("seconds").as_signed(),
            checkpoint_nanos: case.number("nanoseconds").try_into().unwrap(),
            old_moves: case.get("old_moves").as_bool(),
        };
        assert_eq!(state.encode(&key)[..], case.bytes("state"));
        assert_eq!(VolumeState::parse(&case.bytes("state"), &key), Ok(state));
    }
}

#[test]
fn wrong_states_are_refused() {
    let key = volume_keys().checkpoint;
    for case in load("states").list("errors") {
        assert_refused(&case, VolumeState::parse(&case.bytes("state"), &key));
    }
}
