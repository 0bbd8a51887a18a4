//! A record as JSON text, in the shape of CloudTrail's records. Written by hand: it is on the path of
//! every use of a key, and its members come in a fixed order.

use std::cell::RefCell;

use crate::codec::hex_digits;
use crate::kms::EncryptionContext;
use crate::kms::audit::record::{Params, Record, UseParams};
use crate::kms::principal::{Principal, PrincipalKind};
use crate::kms::spec::RotationType;
use crate::kms::state::{Op, OpKind};
use crate::kms::time::Timestamp;

/// Key of the encryption context under which the filesystem names a file.
const FILE_KEY: &str = "kmsfs:file";

/// `eventSource`.
const KMS_SOURCE: &str = "kms.amazonaws.com";
const TRAIL_SOURCE: &str = "cloudtrail.amazonaws.com";

/// What all records of a log have in common.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The Region.
    pub(crate) region: String,
    /// The account.
    pub(crate) account: String,
}

/// Bytes of most records.
const RECORD_LEN: usize = 1024;

/// Appends a record up to, not including, its closing brace, and without the ids of request and event.
/// Tells where [`ids_text`] has its place.
pub(crate) fn push_record(out: &mut Vec<u8>, record: &Record<'_>, place: &Place) -> usize {
    out.reserve(RECORD_LEN);
    raw(out, "{\"eventVersion\":\"1.11\",\"userIdentity\":");
    push_identity(out, record);
    raw(out, ",\"eventTime\":");
    push_time(out, record.time);
    raw(out, ",\"eventSource\":");
    plain(out, if record.op.is_of_trail() { TRAIL_SOURCE } else { KMS_SOURCE });
    raw(out, ",\"eventName\":");
    plain(out, event_name(record));
    raw(out, ",\"awsRegion\":");
    plain(out, &place.region);
    push_source(out, record);
    if let Some(error) = record.error {
        raw(out, ",\"errorCode\":");
        plain(out, error.exception());
        raw(out, ",\"errorMessage\":");
        string(out, &error.to_string());
    }
    raw(out, ",\"requestParameters\":");
    match &record.params {
        Params::Json(map) if map.is_empty() || is_own_act(record) => raw(out, "null"),
        Params::Json(map) => raw(out, &serde_json::to_string(map).unwrap_or_default()),
        Params::Use(params) => push_use(out, params),
    }
    raw(out, ",\"responseElements\":null");
    push_asker(out, record);
    let ids_at = out.len();
    raw(out, ",\"readOnly\":");
    raw(out, if record.op.kind() == OpKind::Change { "false" } else { "true" });
    push_resources(out, record, place);
    raw(out, ",\"eventType\":");
    plain(out, if is_own_act(record) { "AwsServiceEvent" } else { "AwsApiCall" });
    push_service_details(out, record);
    raw(out, ",\"managementEvent\":true,\"recipientAccountId\":");
    plain(out, &place.account);
    raw(out, ",\"eventCategory\":\"Management\"");
    ids_at
}

/// What stands between a record's halves: the ids of request and event, of random bytes.
pub(crate) fn ids_text(random: &[u8; 32]) -> [u8; IDS_FORM.len()] {
    let mut text = *IDS_FORM;
    let (request, event) = random.split_at(16);
    put_uuid(&mut text[14..50], request);
    put_uuid(&mut text[63..99], event);
    text
}

const IDS_FORM: &[u8; 100] = b",\"requestID\":\"00000000-0000-0000-0000-000000000000\",\
                               \"eventID\":\"00000000-0000-0000-0000-000000000000\"";

/// `"2026-01-31T23:59:59Z"`.
fn push_time(out: &mut Vec<u8>, time: Timestamp) {
    thread_local! {
        /// The last second and its text: a batch has few different ones.
        static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    LAST.with_borrow_mut(|(secs, text)| {
        if *secs != time.secs() {
            (*secs, *text) = (time.secs(), time.to_iso());
        }
        plain(out, text);
    });
}

/// A version 4 UUID of 16 random bytes, over a text of its form.
fn put_uuid(form: &mut [u8], random: &[u8]) {
    /// Where each byte's digits stand.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    for (no, (byte, place)) in random.iter().zip(PLACES).enumerate() {
        let byte = match no {
            6 => byte & 0x0f | 0x40,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        if let Some(digits) = form.get_mut(place..place + 2) {
            digits.copy_from_slice(&hex_digits(byte));
        }
    }
}

/// Hexadecimal digits.
pub(super) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend_from_slice(&hex_digits(*byte));
    }
}

/// Whether the service acts by itself: what CloudTrail calls a service event.
fn is_own_act(record: &Record<'_>) -> bool {
    record.op.is_own_act() || record.principal.name() == Principal::KMS
}

/// `eventName`. The end of imported material has a name of its own.
fn event_name(record: &Record<'_>) -> &'static str {
    match record.op {
        Op::DeleteImportedKeyMaterial if is_own_act(record) => "DeleteExpiredKeyMaterial",
        op => op.name(),
    }
}

/// `sourceIPAddress` and `userAgent`. Services are their own source.
fn push_source(out: &mut Vec<u8>, record: &Record<'_>) {
    raw(out, ",\"sourceIPAddress\":");
    match record.client {
        Some(client) => {
            string(out, &client.source);
            raw(out, ",\"userAgent\":");
            string(out, &client.user_agent);
        }
        None if record.principal.kind() == PrincipalKind::Service => {
            string(out, record.principal.name());
        }
        None => string(out, "localhost"),
    }
}

/// `additionalEventData`: the file that the filesystem asks for, and the process that asked it.
fn push_asker(out: &mut Vec<u8>, record: &Record<'_>) {
    let Some(process) = record.process else { return };
    raw(out, ",\"additionalEventData\":{");
    if let Params::Use(params) = &record.params
        && let Some(file) = params.context.and_then(|context| context.find(FILE_KEY))
    {
        raw(out, "\"fileId\":");
        string(out, file);
        raw(out, ",");
    }
    raw(out, &format!("\"pid\":{},\"uid\":{}", process.pid, process.uid));
    if process.is_expected {
        raw(out, ",\"readAhead\":true");
    }
    raw(out, "}");
}

/// `serviceEventDetails`: what the service acted on.
fn push_service_details(out: &mut Vec<u8>, record: &Record<'_>) {
    let Params::Json(map) = record.params else { return };
    if !is_own_act(record) {
        return;
    }
    let mut details = map.clone();
    if record.op == Op::RotateKey {
        details.insert("rotationType".to_owned(), RotationType::Automatic.as_str().into());
    }
    raw(out, ",\"serviceEventDetails\":");
    raw(out, &serde_json::to_string(&details).unwrap_or_default());
}

fn push_identity(out: &mut Vec<u8>, record: &Record<'_>) {
    let principal = record.principal;
    let kind = match principal.kind() {
        PrincipalKind::Root => "Root",
        PrincipalKind::User => "IAMUser",
        PrincipalKind::Role => "AssumedRole",
        PrincipalKind::Service => "AWSService",
    };
    raw(out, "{\"type\":");
    plain(out, kind);
    if principal.kind() == PrincipalKind::Service {
        raw(out, ",\"invokedBy\":");
        string(out, principal.name());
    } else {
        raw(out, ",\"principalId\":");
        string(out, principal.account());
        raw(out, ",\"arn\":");
        string(out, principal.name());
    }
    raw(out, ",\"accountId\":");
    string(out, principal.account());
    if let Some(client) = record.client {
        raw(out, ",\"accessKeyId\":");
        string(out, &client.access_key_id);
    }
    if principal.kind() == PrincipalKind::User
        && let Some(name) = principal.name().rsplit('/').next()
    {
        raw(out, ",\"userName\":");
        string(out, name);
    }
    raw(out, "}");
}

fn push_use(out: &mut Vec<u8>, params: &UseParams<'_>) {
    let mut separator = "{";
    let mut name = |out: &mut Vec<u8>, name: &str| {
        raw(out, separator);
        separator = ",";
        plain(out, name);
        raw(out, ":");
    };
    let is_re_encrypt = params.destination_key.is_some();
    if let Some(key) = params.key {
        name(out, if is_re_encrypt { "sourceKeyId" } else { "keyId" });
        string(out, key);
    }
    if let Some(context) = params.context.filter(|c| !c.is_empty()) {
        name(out, if is_re_encrypt { "sourceEncryptionContext" } else { "encryptionContext" });
        push_context(out, context);
    }
    if let Some(key) = params.destination_key {
        name(out, "destinationKeyId");
        string(out, key);
    }
    if let Some(context) = params.destination_context.filter(|c| !c.is_empty()) {
        name(out, "destinationEncryptionContext");
        push_context(out, context);
    }
    for (detail, value) in params.details.into_iter().flatten() {
        name(out, detail);
        plain(out, value);
    }
    if let Some(number) = params.number_of_bytes {
        name(out, "numberOfBytes");
        raw(out, &number.to_string());
    }
    raw(out, if separator == "{" { "null" } else { "}" });
}

fn push_context(out: &mut Vec<u8>, context: &EncryptionContext) {
    let mut separator = "{";
    for (key, value) in context.pairs() {
        raw(out, separator);
        separator = ",";
        string(out, key);
        raw(out, ":");
        string(out, value);
    }
    raw(out, if separator == "{" { "{}" } else { "}" });
}

fn push_resources(out: &mut Vec<u8>, record: &Record<'_>, place: &Place) {
    let mut separator = ",\"resources\":[";
    for arn in record.keys.iter().flatten() {
        raw(out, separator);
        separator = ",";
        raw(out, "{\"accountId\":");
        plain(out, &place.account);
        raw(out, ",\"type\":\"AWS::KMS::Key\",\"ARN\":");
        plain(out, arn.as_str());
        raw(out, "}");
    }
    if separator == "," {
        raw(out, "]");
    }
}

fn raw(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// A JSON string of a text that is checked or our own: it has nothing to escape.
fn plain(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    raw(out, text);
    out.push(b'"');
}

/// A JSON string (RFC 8259, section 7). Control characters, so line feeds as well, are escaped.
fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20 | 0x7f);
    // All bytes are looked at, without a way out in between: that goes many at a time.
    if !text.as_bytes().iter().fold(false, |found, byte| found | is_special(byte)) {
        raw(out, text);
    } else {
        for byte in text.bytes() {
            match byte {
                b'"' => raw(out, "\\\""),
                b'\\' => raw(out, "\\\\"),
                0..0x20 | 0x7f => raw(out, &format!("\\u{byte:04x}")),
                _ => out.push(byte),
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::kms::{Client, KmsError, Process};

    fn json(record: &Record<'_>) -> Value {
        let place = Place { region: "us-east-1".to_owned(), account: "000000000000".to_owned() };
        let mut out = Vec::new();
        let ids_at = push_record(&mut out, record, &place);
        out.splice(ids_at..ids_at, ids_text(&[0xab; 32]));
        out.push(b'}');
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_use_is_a_record_of_cloudtrail() {
        let mut context = EncryptionContext::new();
        context.insert("file\n\"", "\u{1}\u{7f}\u{20ac}").unwrap();
        let client = Client {
            access_key_id: "AKIA1".to_owned(),
            source: "127.0.0.1".to_owned(),
            user_agent: "test \"1\"".to_owned(),
            request_id: [0; 16],
        };
        let params = UseParams { context: Some(&context), ..UseParams::of_key("alias/x") };
        let record = Record {
            time: Timestamp(0),
            op: Op::Decrypt,
            principal: &Principal::from_arn("arn:aws:iam::000000000000:user/a/ann").unwrap(),
            params: Params::Use(params),
            keys: [None, None],
            error: Some(&KmsError::InvalidCiphertext),
            client: Some(&client),
            process: None,
        };
        let value = json(&record);
        for id in ["requestID", "eventID"] {
            assert_eq!(value[id], "abababab-abab-4bab-abab-abababababab");
        }
        assert_eq!(value["eventName"], "Decrypt");
        assert_eq!(value["errorCode"], "InvalidCiphertextException");
        assert_eq!(value["errorMessage"], "");
        assert_eq!(
            value["requestParameters"]["encryptionContext"]["file\n\""],
            "\u{1}\u{7f}\u{20ac}"
        );
        let identity = &value["userIdentity"];
        assert_eq!(identity["arn"], "arn:aws:iam::000000000000:user/a/ann");
        assert_eq!(
            (&identity["userName"], &identity["accessKeyId"]),
            (&"ann".into(), &"AKIA1".into())
        );
        assert_eq!(value["sourceIPAddress"], "127.0.0.1");
        assert_eq!(value["userAgent"], "test \"1\"");
        assert_eq!(value["readOnly"], true);
    }

    #[test]
    fn nothing_to_say_is_null() {
        let record = Record {
            time: Timestamp(0),
            op: Op::GenerateRandom,
            principal: &Principal::service(Principal::FILESYSTEM, "000000000000"),
            params: Params::Use(UseParams::default()),
            keys: [None, None],
            error: None,
            client: None,
            process: Some(Process { pid: 7, uid: 1000, is_expected: false }),
        };
        let value = json(&record);
        assert!(value["requestParameters"].is_null() && value.get("errorCode").is_none());
        assert_eq!(value["userIdentity"]["invokedBy"], "fs.kmsfs.internal");
        assert_eq!(value["sourceIPAddress"], "fs.kmsfs.internal");
        assert_eq!(value["additionalEventData"], serde_json::json!({"pid": 7, "uid": 1000}));
        let expected = Some(Process { pid: 7, uid: 1000, is_expected: true });
        let value = json(&Record { process: expected, ..record });
        let shown = serde_json::json!({"pid": 7, "uid": 1000, "readAhead": true});
        assert_eq!(value["additionalEventData"], shown);
    }

    /// As CloudTrail has them: AWS KMS developer guide, "RotateKey", "DeleteExpiredKeyMaterial".
    #[test]
    fn what_the_service_does_by_itself_is_a_service_event() {
        for (op, name, details) in [
            (Op::RotateKey, "RotateKey", r#"{"keyId":"1","rotationType":"AUTOMATIC"}"#),
            (Op::DeleteKey, "DeleteKey", r#"{"keyId":"1"}"#),
            (Op::DeleteImportedKeyMaterial, "DeleteExpiredKeyMaterial", r#"{"keyId":"1"}"#),
        ] {
            let params = serde_json::from_str(r#"{"keyId":"1"}"#).unwrap();
            let value = json(&Record {
                time: Timestamp(0),
                op,
                principal: &Principal::service(Principal::KMS, "000000000000"),
                params: Params::Json(&params),
                keys: [None, None],
                error: None,
                client: None,
                process: None,
            });
            assert_eq!(
                (&value["eventName"], &value["eventType"]),
                (&name.into(), &"AwsServiceEvent".into())
            );
            assert!(value["requestParameters"].is_null());
            assert_eq!(value["serviceEventDetails"].to_string(), details);
        }
    }
}
