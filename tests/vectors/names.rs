//! Sections 4.3, 6 and 7: names, sidecars, markers, homes, symlinks.

use kmsfs::format::name::{check_sidecar, classify, lower_form};
use kmsfs::format::{
    DirHome, DirId, DirMarker, FileId, FormatError, Home, HomePlace, LowerEntry, LowerForm,
    LowerTarget, symlink, symlink::inline_plain_len,
};
use kmsfs::name::{LowerName, PlainName};

use super::vector::{
    ShortNonce, Vector, assert_refused, dir_id, file_id, load, volume_id, volume_keys,
};

#[test]
fn names_have_this_lower_form() {
    let names = volume_keys().names;
    for case in load("names").list("cases") {
        let plain = case.bytes("plain");
        let sealed = names.seal(dir_id().bytes(), &plain);
        assert_eq!(sealed, case.bytes("sealed"));
        assert_eq!(names.open(dir_id().bytes(), &sealed).unwrap(), plain);
        let lower = case.text("lower");
        match (lower_form(&sealed), case.find("sidecar")) {
            (LowerForm::Short(object), None) => {
                assert_eq!(object.as_bytes(), lower.as_bytes());
                assert_eq!(classify(lower.as_bytes()), LowerEntry::Short(sealed));
            }
            (LowerForm::Long { object, sidecar, sealed: content }, Some(expected)) => {
                assert_eq!(object.as_bytes(), lower.as_bytes());
                assert_eq!(sidecar.as_bytes(), expected.as_text().as_bytes());
                assert_eq!(content, sealed);
                assert_eq!(classify(lower.as_bytes()), LowerEntry::Long { sidecar });
                assert_eq!(check_sidecar(&object, &sealed), Ok(()));
            }
            (form, _) => panic!("{lower}: {form:?}"),
        }
    }
}

/// What `fs` does with an entry, out of the parts of `format` and `crypto`.
fn open_entry(lower: &str, sidecar: Option<Vec<u8>>) -> Result<PlainName, FormatError> {
    let sealed = match classify(lower.as_bytes()) {
        LowerEntry::Short(sealed) => sealed,
        LowerEntry::Long { .. } => {
            let content = sidecar.unwrap();
            check_sidecar(&LowerName::from_bytes(lower.as_bytes()).unwrap(), &content)?;
            content
        }
        LowerEntry::Own | LowerEntry::Foreign => return Err(FormatError::BadName),
    };
    let plain = volume_keys().names.open(dir_id().bytes(), &sealed)?;
    PlainName::from_bytes(&plain).map_err(|_| FormatError::BadName)
}

#[test]
fn wrong_names_are_refused() {
    for case in load("names").list("errors") {
        let sidecar = case.find("sidecar").map(|hex| hex.as_bytes());
        assert_refused(&case, open_entry(&case.text("lower"), sidecar));
    }
}

#[test]
fn own_and_foreign_entries_are_told_apart() {
    let vector = load("names");
    for name in vector.list("own") {
        assert_eq!(classify(name.as_text().as_bytes()), LowerEntry::Own, "{name:?}");
    }
    for name in vector.list("foreign") {
        // A sealed name that is long enough may still not open.
        let taken = open_entry(name.as_text(), None);
        assert!(taken.is_err(), "{name:?}: {taken:?}");
    }
}

#[test]
fn homes_have_these_bytes() {
    let key = volume_keys().homes;
    for case in load("homes").list("cases") {
        let object = LowerName::from_bytes(case.text("lower").as_bytes()).unwrap();
        let sealed = Some(case.bytes("sealed")).filter(|sealed| !sealed.is_empty());
        let home = match case.name().as_str() {
            "released" => Home::released(file_id(), &key),
            _ => {
                let place = HomePlace { dir: dir_id(), object: object.clone(), sealed };
                Home::named(file_id(), &place, &key)
            }
        };
        assert_eq!(home.encode()[..], case.bytes("home"), "{}", case.name());
        assert_eq!(Home::parse(&case.bytes("home")), Ok(home.clone()));
        assert!(home.is_at(file_id(), dir_id(), &object, &key));
    }
}

#[test]
fn wrong_homes_are_refused() {
    let key = volume_keys().homes;
    for case in load("homes").list("errors") {
        let object = LowerName::from_bytes(case.text("lower").as_bytes()).unwrap();
        let (file, dir) = (FileId(case.array("file")), DirId(case.array("directory")));
        let is_at = |home: Home| match home.is_at(file, dir, &object, &key) {
            true => Ok(()),
            false => Err(FormatError::BadTag),
        };
        assert_refused(&case, Home::parse(&case.bytes("home")).and_then(is_at));
    }
}

#[test]
fn markers_have_these_bytes() {
    let key = volume_keys().markers;
    for case in load("markers").list("cases") {
        let policy = case.number("policy").try_into().unwrap();
        let home = DirHome(case.array("home"));
        let marker = DirMarker { dir: dir_id(), policy, home };
        assert_eq!(marker.encode(volume_id(), &key)[..], case.bytes("marker"));
        assert_eq!(DirMarker::parse(&case.bytes("marker"), volume_id(), &key), Ok(marker));
    }
}

#[test]
fn wrong_markers_are_refused() {
    let key = volume_keys().markers;
    for case in load("markers").list("errors") {
        assert_refused(&case, DirMarker::parse(&case.bytes("marker"), volume_id(), &key));
    }
}

/// Opens either form of a symlink.
fn open_symlink(text: &[u8], content: Option<Vec<u8>>) -> Result<Vec<u8>, FormatError> {
    let key = volume_keys().symlinks;
    match symlink::parse(text)? {
        LowerTarget::Inline(sealed) => symlink::open_inline(&key, &sealed),
        LowerTarget::External { id, .. } => symlink::open_external(&key, id, &content.unwrap()),
    }
}

#[test]
fn symlinks_have_this_text() {
    let vector = load("symlinks");
    let key = volume_keys().symlinks;
    assert_eq!(vector.bytes("nonce"), super::vector::count::<24>(0x70));
    for case in vector.list("cases") {
        let target = case.bytes("target");
        let expected = case.find("inline").map(|text| text.as_text().as_bytes().to_vec());
        assert_eq!(symlink::inline(&key, &target, &ShortNonce), expected);
        if let Some(text) = expected {
            assert_eq!(open_symlink(&text, None).unwrap(), target);
        }
        let (text, content) = symlink::external(&key, vector.array("link"), &target, &ShortNonce);
        assert_eq!(text, case.text("external").as_bytes());
        assert_eq!(content, case.bytes("content"));
        assert_eq!(open_symlink(&text, Some(content)).unwrap(), target);
    }
    for row in vector.list("sizes") {
        assert_eq!(inline_plain_len(row.number("text")), Some(row.number("size")));
    }
}

#[test]
fn wrong_symlinks_are_refused() {
    let content = |case: &Vector| case.find("content").map(|hex| hex.as_bytes());
    for case in load("symlinks").list("errors") {
        assert_refused(&case, open_symlink(case.text("text").as_bytes(), content(&case)));
    }
}
