//! What records somebody is looking for: a query, or an alarm.

use serde_json::Value;

use crate::kms::access::is_like;
use crate::kms::time::Timestamp;

/// Which records are meant. Every member that is set must fit. Texts are patterns: `*` stands for any
/// characters, `?` for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordPattern {
    /// Id, ARN or alias of a key: of the keys that were touched, or as the caller named it.
    pub key: Option<String>,
    /// Name of the operation, in any case.
    pub event: Option<String>,
    /// Who asked: ARN, name, access key or service.
    pub user: Option<String>,
    /// Error code, or its message; `*` for any error.
    pub error: Option<String>,
    /// Id of a file, as records of the filesystem have it.
    pub file: Option<String>,
    /// A part of the line, letter by letter: no pattern.
    pub text: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
}

impl RecordPattern {
    /// The record in a line of the log, if it is meant.
    pub fn find(&self, line: &[u8]) -> Option<Value> {
        if let Some(text) = &self.text
            && !std::str::from_utf8(line).is_ok_and(|line| line.contains(text.as_str()))
        {
            return None;
        }
        serde_json::from_slice(line).ok().filter(|record| self.matches(record))
    }

    /// Whether a record is meant, but for [`Self::text`].
    pub fn matches(&self, record: &Value) -> bool {
        let fits = |pattern: &Option<String>, values: &dyn Fn(&str) -> bool| {
            pattern.as_deref().is_none_or(values)
        };
        fits(&self.event, &|pattern| {
            let name = text(record, "/eventName").to_ascii_lowercase();
            is_like(&pattern.to_ascii_lowercase(), &name)
        }) && fits(&self.user, &|pattern| {
            ["arn", "userName", "accessKeyId", "invokedBy", "accountId"].iter().any(|name| {
                let value = text(record, &format!("/userIdentity/{name}"));
                !value.is_empty() && is_like(pattern, value)
            })
        }) && fits(&self.error, &|pattern| {
            let code = text(record, "/errorCode");
            !code.is_empty()
                && [code, text(record, "/errorMessage")].iter().any(|t| is_like(pattern, t))
        }) && fits(&self.file, &|pattern| {
            let file = text(record, "/requestParameters/encryptionContext/kmsfs:file");
            let source = text(record, "/requestParameters/sourceEncryptionContext/kmsfs:file");
            [file, source].iter().any(|id| !id.is_empty() && is_like(pattern, id))
        }) && fits(&self.key, &|pattern| keys(record).any(|key| names_key(pattern, key)))
            && self.is_in_time(record)
    }

    fn is_in_time(&self, record: &Value) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Some(time) = record_time(record) else { return false };
        // Records tell whole seconds.
        self.since.is_none_or(|since| since.secs() <= time.secs())
            && self.until.is_none_or(|until| time <= until)
    }
}

/// When a record was made.
pub fn record_time(record: &Value) -> Option<Timestamp> {
    Timestamp::from_iso(text(record, "/eventTime"))
}

/// What names the keys of a record: ARNs, and what the caller called them.
pub fn keys(record: &Value) -> impl Iterator<Item = &str> {
    let resources = record.get("resources").and_then(Value::as_array);
    let arns = resources.into_iter().flatten().map(|resource| text(resource, "/ARN"));
    let names = ["keyId", "sourceKeyId", "destinationKeyId", "targetKeyId", "aliasName"];
    let named = names.into_iter().map(|name| {
        record.get("requestParameters").and_then(|p| p.get(name)).and_then(Value::as_str)
    });
    arns.chain(named.flatten()).filter(|name| !name.is_empty())
}

/// Whether a pattern means a key: by the whole name, or by the id in an ARN.
fn names_key(pattern: &str, key: &str) -> bool {
    let id = key.split_once(":key/").map(|(_, id)| id);
    is_like(pattern, key) || id.is_some_and(|id| is_like(pattern, id))
}

/// A text of a record by its JSON pointer; empty if there is none.
pub fn text<'a>(record: &'a Value, pointer: &str) -> &'a str {
    record.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::1:user/ann",
        "userName":"ann"},"eventTime":"2026-01-31T23:59:59Z","eventName":"Decrypt","errorCode":
        "KMSInvalidStateException","errorMessage":"arn:x is pending deletion.","requestParameters":
        {"keyId":"alias/a","encryptionContext":{"kmsfs:file":"ff00"}},"resources":
        [{"ARN":"arn:aws:kms:us-east-1:1:key/1234-5"}]}"#;

    #[test]
    fn every_member_must_fit() {
        let some = |text: &str| Some(text.to_owned());
        let any = RecordPattern::default;
        let at = |text: &str| Timestamp::from_iso(text);
        for (pattern, is_meant) in [
            (any(), true),
            (RecordPattern { event: some("decrypt"), ..any() }, true),
            (RecordPattern { event: some("Enc*"), ..any() }, false),
            (RecordPattern { key: some("1234-5"), ..any() }, true),
            (RecordPattern { key: some("alias/a"), ..any() }, true),
            (RecordPattern { key: some("1234"), ..any() }, false),
            (RecordPattern { key: some("1234*"), ..any() }, true),
            (RecordPattern { user: some("ann"), ..any() }, true),
            (RecordPattern { user: some("*:user/bob"), ..any() }, false),
            (RecordPattern { error: some("*"), ..any() }, true),
            (RecordPattern { error: some("*is pending deletion."), ..any() }, true),
            (RecordPattern { error: some("AccessDenied*"), ..any() }, false),
            (RecordPattern { file: some("ff00"), ..any() }, true),
            (RecordPattern { file: some("ff"), ..any() }, false),
            (RecordPattern { text: some("pending"), ..any() }, true),
            (RecordPattern { text: some("p*g"), ..any() }, false),
            (RecordPattern { since: at("2026-01-31T23:59:59Z"), ..any() }, true),
            (RecordPattern { since: at("2026-02-01T00:00:00Z"), ..any() }, false),
            (RecordPattern { until: at("2026-01-31T23:59:58Z"), ..any() }, false),
            (RecordPattern { event: some("Decrypt"), user: some("bob"), ..any() }, false),
        ] {
            assert_eq!(pattern.find(LINE.as_bytes()).is_some(), is_meant, "{pattern:?}");
        }
        let well = r#"{"eventName":"Decrypt"}"#;
        assert!(RecordPattern { error: some("*"), ..any() }.find(well.as_bytes()).is_none());
        assert!(any().find(b"no JSON").is_none());
    }
}
