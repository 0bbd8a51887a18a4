//! Names, targets and attributes: from the kernel to the lower tree, and back.

use super::example::{DIR, FILE, file_keys, volume_keys};
use super::words::Words;
use crate::format::name::{check_sidecar, classify, lower_form};
use crate::format::symlink;
use crate::format::xattr as attribute;
use crate::format::{LowerEntry, LowerForm, LowerTarget};
use crate::name::{LowerName, PlainName};
use crate::random::SeededRandom;

/// Law: any name of the kernel is refused, or leads to a lower name from which it comes back.
pub(super) fn plain_name(data: &[u8]) {
    let Ok(name) = PlainName::from_bytes(data) else {
        let is_name = !data.is_empty()
            && data.len() <= 255
            && data != b"."
            && data != b".."
            && !data.iter().any(|byte| matches!(byte, 0 | b'/'));
        assert!(!is_name, "a good name is refused");
        return;
    };
    let cipher = volume_keys().names;
    let sealed = cipher.seal(DIR.bytes(), name.as_bytes());
    let form = lower_form(&sealed);
    assert!(LowerName::from_bytes(form.object().as_bytes()).is_ok());
    let found = match (classify(form.object().as_bytes()), form) {
        (LowerEntry::Short(found), LowerForm::Short(_)) => found,
        (LowerEntry::Long { sidecar: found }, LowerForm::Long { object, sidecar, sealed }) => {
            assert_eq!(found, sidecar);
            assert_eq!(classify(sidecar.as_bytes()), LowerEntry::Own);
            assert_eq!(check_sidecar(&object, &sealed), Ok(()));
            sealed
        }
        (found, form) => panic!("{form:?} is found as {found:?}"),
    };
    assert_eq!(cipher.open(DIR.bytes(), &found).unwrap(), name.as_bytes());
    assert!(cipher.open(FILE.bytes(), &found).is_err(), "a name of another directory");
}

/// Law: a lower name means one thing, and is the name that this thing gets.
pub(super) fn lower_name(data: &[u8]) {
    let mut words = Words::new(data);
    let name = words.line();
    let content = words.rest();
    let cipher = volume_keys().names;
    match classify(name) {
        LowerEntry::Short(sealed) => {
            assert_eq!(lower_form(&sealed).object().as_bytes(), name, "two names for one thing");
            if let Ok(plain) = cipher.open(DIR.bytes(), &sealed) {
                assert_eq!(cipher.seal(DIR.bytes(), &plain), sealed);
            }
        }
        LowerEntry::Long { sidecar } => {
            assert_eq!(classify(sidecar.as_bytes()), LowerEntry::Own);
            let object = LowerName::from_bytes(name).unwrap();
            if check_sidecar(&object, content).is_ok() {
                assert_eq!(lower_form(content).object(), &object);
            }
        }
        LowerEntry::Own | LowerEntry::Foreign => {}
    }
    if content.is_empty() {
        return;
    }
    // A sidecar's content under the name that it would have.
    let form = lower_form(content);
    let fits = check_sidecar(form.object(), content);
    assert_eq!(fits.is_ok(), matches!(form, LowerForm::Long { .. }) && content.len() <= 271);
}

/// Law: a target that parses is the text that its parts are written as; a good one comes back.
pub(super) fn symlink(data: &[u8]) {
    use base64::Engine;
    let key = volume_keys().symlinks;
    match symlink::parse(data) {
        Ok(LowerTarget::Inline(sealed)) => {
            let text = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(&sealed);
            assert_eq!(text.as_bytes(), data);
            let len = symlink::inline_plain_len(u64::try_from(data.len()).unwrap()).unwrap();
            if let Ok(target) = symlink::open_inline(&key, &sealed) {
                assert_eq!(u64::try_from(target.len()).unwrap(), len);
            }
        }
        Ok(LowerTarget::External { id, plain_len }) => {
            let text = format!("@{}.{plain_len}", crate::codec::hex(&id));
            assert_eq!(text.as_bytes(), data);
        }
        Err(_) => {}
    }
    let Some(target) = data.get(..data.len().min(4095)).filter(|target| !target.is_empty()) else {
        return;
    };
    let random = SeededRandom::new(1);
    let (text, content) = symlink::external(&key, [7; 16], target, &random);
    let parsed = symlink::parse(&text);
    assert_eq!(parsed, Ok(LowerTarget::External { id: [7; 16], plain_len: target.len() }));
    assert_eq!(symlink::open_external(&key, [7; 16], &content).as_deref(), Ok(target));
    let Some(text) = symlink::inline(&key, target, &random) else { return };
    let Ok(LowerTarget::Inline(sealed)) = symlink::parse(&text) else { panic!("not inline") };
    assert_eq!(symlink::open_inline(&key, &sealed).as_deref(), Ok(target));
}

/// Law: an attribute's lower name and value are refused, or are those of the name they open to.
pub(super) fn xattr(data: &[u8]) {
    let mut words = Words::new(data);
    let lower = words.line();
    let stored = words.rest();
    let (names, key) = (volume_keys().xattr_names, file_keys().xattr);
    for stored in [None, Some(stored)] {
        if let Ok(plain) = attribute::open_name(&names, lower, stored) {
            let name = attribute::seal_name(&names, &plain);
            assert_eq!(name.lower, lower, "two names for one attribute");
            let _any = attribute::open_value(&key, FILE.bytes(), &name, stored.unwrap_or_default());
        }
    }
    if lower.len() <= attribute::PLAIN_PREFIX.len() || lower.len() > attribute::XATTR_NAME_LEN_MAX {
        return;
    }
    let plain = [attribute::PLAIN_PREFIX, &lower[attribute::PLAIN_PREFIX.len()..]].concat();
    let name = attribute::seal_name(&names, &plain);
    assert!(name.lower.len() <= attribute::XATTR_NAME_LEN_MAX && attribute::is_ours(&name.lower));
    let value = attribute::seal_value(&key, FILE.bytes(), &name, stored, &SeededRandom::new(2));
    assert_eq!(value.len(), stored.len() + name.overhead());
    assert_eq!(attribute::open_name(&names, &name.lower, Some(&value)), Ok(plain));
    let opened = attribute::open_value(&key, FILE.bytes(), &name, &value);
    assert_eq!(opened.as_deref(), Ok(stored));
    assert!(attribute::open_value(&key, DIR.bytes(), &name, &value).is_err());
}
