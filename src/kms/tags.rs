//! TagResource, UntagResource, ListResourceTags.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kms::access::as_map;
use crate::kms::audit::UseParams;
use crate::kms::check::Check;
use crate::kms::page::PageSize;
use crate::kms::ring::NamedBy;
use crate::kms::state::Op;
use crate::kms::{EncryptionContext, KeyRef, Kms, KmsError, Page, PageRequest};

/// Tags of one key.
const TAGS_MAX: usize = 50;
/// Longest key of a tag, in characters.
const TAG_KEY_LEN_MAX: usize = 128;
/// Longest value of a tag, in characters.
const TAG_VALUE_LEN_MAX: usize = 256;
const TAGS_PAGE: PageSize = PageSize { usual: 50, max: 50 };

/// A tag of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// 1 to 128 characters, not `aws:...`.
    pub key: String,
    /// 0 to 256 characters.
    pub value: String,
}

/// Tags as parameters of an audit record.
pub(crate) struct TagParams<'a>(pub(crate) &'a [Tag]);

impl TagParams<'_> {
    pub(crate) fn to_json(&self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        self.0.iter().map(|tag| json!({"tagKey": tag.key, "tagValue": tag.value})).collect()
    }
}

impl Kms {
    /// `TagResource`: sets tags; others stay.
    ///
    /// # Errors
    /// [`KmsError::Tag`], and [`KmsError`] by key and state.
    pub fn tag_resource(&self, key: &KeyRef, tags: &[Tag]) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": key.as_str(), "tags": TagParams(tags).to_json()}));
        self.change(Op::TagResource, params, |draft| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let key = draft.admit(key)?;
            key.tags = check_tags(tags, &key.tags)?;
            Ok(())
        })
    }

    /// `UntagResource`: removes tags; those that are not there do not matter.
    ///
    /// # Errors
    /// [`KmsError::Tag`], and [`KmsError`] by key and state.
    pub fn untag_resource(&self, key: &KeyRef, tag_keys: &[String]) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": key.as_str(), "tagKeys": tag_keys}));
        self.change(Op::UntagResource, params, |draft| {
            let mut check = Check::default().key("keyId", key.as_str());
            for tag_key in tag_keys {
                check = check.text("tagKeys", tag_key, 1, TAG_KEY_LEN_MAX);
            }
            check.finish()?;
            let key = draft.admit(key)?;
            if tag_keys.iter().any(|key| is_reserved(key)) {
                return Err(reserved_tag());
            }
            key.tags.retain(|key, _| !tag_keys.contains(key));
            Ok(())
        })
    }

    /// `ListResourceTags`: sorted by key.
    ///
    /// # Errors
    /// [`KmsError::InvalidMarker`], and [`KmsError`] by key.
    pub fn list_resource_tags(
        &self,
        key: &KeyRef,
        page: &PageRequest,
    ) -> Result<Page<Tag>, KmsError> {
        self.using(Op::ListResourceTags, UseParams::of_key(key.as_str()), |view| {
            Check::default().key("keyId", key.as_str()).finish()?;
            page.check()?;
            let key = view.admit(key.as_str(), NamedBy::IdOrArn, &EncryptionContext::new())?;
            let all = key
                .tags
                .iter()
                .map(|(key, value)| (key.clone(), Tag { key: key.clone(), value: value.clone() }));
            page.cut(TAGS_PAGE, all)
        })
    }
}

/// What a key's tags are once `tags` are added to those that it has.
pub(crate) fn check_tags(
    tags: &[Tag],
    existing: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, KmsError> {
    let mut check = Check::default();
    for (no, tag) in (1..).zip(tags) {
        let member = |name: &str| format!("tags.{no}.member.{name}");
        check = check.text(&member("tagKey"), &tag.key, 1, TAG_KEY_LEN_MAX).text(
            &member("tagValue"),
            &tag.value,
            0,
            TAG_VALUE_LEN_MAX,
        );
    }
    check.finish()?;
    let mut seen = BTreeMap::new();
    for tag in tags {
        if is_reserved(&tag.key) {
            return Err(reserved_tag());
        }
        if seen.insert(tag.key.clone(), tag.value.clone()).is_some() {
            return Err(KmsError::Tag { message: "Duplicate tag keys".to_owned() });
        }
    }
    let mut all = existing.clone();
    all.extend(seen);
    if all.len() > TAGS_MAX {
        return Err(KmsError::Tag { message: "Too many tags".to_owned() });
    }
    Ok(all)
}

fn is_reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:"))
}

fn reserved_tag() -> KmsError {
    KmsError::Tag { message: "Tags beginning with aws: are reserved".to_owned() }
}
