//! CloudTrail's LookupEvents over the audit log of an account in a Region.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::kms::audit::{LogFiles, LogPlace, record_time, text};
use crate::kms::{Kms, KmsError, Principal, Timestamp};
use crate::wire::input::lower_camel;
use crate::wire::output::time;

/// Events of a page, unless asked otherwise, and at most.
const PAGE_LEN_MAX: u64 = 50;
/// Bytes of the log that are looked at for one page. A page may therefore be empty, and still have a
/// `NextToken`.
const LOOK_LEN_MAX: u64 = 32 << 20;
/// Records stand in the order in which they were written, their times nearly so: how far behind
/// `StartTime` the search goes on.
const DISORDER_MILLIS: u64 = 3_600_000;
/// Members of a request, and of a lookup attribute.
const MEMBERS: [&str; 8] = [
    "AttributeKey",
    "AttributeValue",
    "EndTime",
    "EventCategory",
    "LookupAttributes",
    "MaxResults",
    "NextToken",
    "StartTime",
];
/// Members of a record that are ours, and not CloudTrail's.
const OWN_MEMBERS: [&str; 3] = ["sequence", "chain", "seal"];

/// An exception of CloudTrail.
fn refused<T>(exception: &'static str, message: impl Into<String>) -> Result<T, KmsError> {
    Err(KmsError::Trail { exception, message: message.into() })
}

/// `LookupEvents` for a principal: newest first.
///
/// # Errors
/// [`KmsError::Trail`] for a request that is none, [`KmsError::AccessDenied`], and
/// [`KmsError::Internal`] if the log cannot be read.
pub fn lookup_events(kms: &Kms, principal: &Principal, input: &Value) -> Result<Value, KmsError> {
    let kms = &kms.caller(principal.clone());
    let request = Request::parse(input);
    let params = match (&request, spelled(input)) {
        (Ok(_), Value::Object(members)) => members,
        _ => Map::new(),
    };
    kms.look_up_events(&params, || {
        let request = request.as_ref().map_err(Clone::clone)?;
        if request.is_insight {
            return Ok(json!({"Events": []}));
        }
        kms.flush_audit()?;
        find(kms, request)
            .map_err(|error| KmsError::Internal { message: format!("audit log: {error}") })
    })
}

/// A request as `requestParameters` spell it.
fn spelled(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(spelled).collect(),
        Value::Object(members) => {
            let known = members.iter().filter(|(name, _)| MEMBERS.contains(&name.as_str()));
            known.map(|(name, value)| (lower_camel(name), spelled(value))).collect()
        }
        other => other.clone(),
    }
}

fn find(kms: &Kms, request: &Request) -> io::Result<Value> {
    let files = LogFiles::find(kms.audit_log())?;
    let mut reader = files.backward(request.before);
    let mut events = Vec::new();
    let mut next = None;
    while let Some((place, line)) = reader.next_record()? {
        next = Some(place);
        if let Ok(record) = serde_json::from_slice::<Value>(&line) {
            if request.is_behind(&record) {
                next = None;
                break;
            }
            if request.matches(&record) {
                events.push(event(record));
            }
        }
        if events.len() == request.limit || reader.seen_len() >= LOOK_LEN_MAX {
            break;
        }
    }
    let is_last = events.len() < request.limit && reader.seen_len() < LOOK_LEN_MAX;
    let mut answer = Map::from_iter([("Events".to_owned(), Value::Array(events))]);
    if let Some(place) = next.filter(|_| !is_last) {
        answer.insert("NextToken".to_owned(), token(place).into());
    }
    Ok(Value::Object(answer))
}

struct Request {
    attribute: Option<(String, String)>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    limit: usize,
    before: Option<LogPlace>,
    is_insight: bool,
}

impl Request {
    fn parse(input: &Value) -> Result<Self, KmsError> {
        let Some(input) = input.as_object() else {
            return refused("SerializationException", "start of structure or map expected");
        };
        let find = |name: &str| input.get(name).filter(|value| !value.is_null());
        let is_insight = match find("EventCategory").map(Value::as_str) {
            None => false,
            Some(Some("insight")) => true,
            Some(_) => {
                return refused("InvalidEventCategoryException", "The event category is invalid.");
            }
        };
        let limit = match find("MaxResults") {
            None => PAGE_LEN_MAX,
            Some(value) => {
                match value.as_u64().filter(|number| (1..=PAGE_LEN_MAX).contains(number)) {
                    Some(number) => number,
                    None => {
                        let what = format!("MaxResults must be 1 to {PAGE_LEN_MAX}, not {value}.");
                        return refused("InvalidMaxResultsException", what);
                    }
                }
            }
        };
        let (start, end) = (moment(find("StartTime"))?, moment(find("EndTime"))?);
        if start.zip(end).is_some_and(|(start, end)| start > end) {
            return refused("InvalidTimeRangeException", "StartTime is later than EndTime.");
        }
        Ok(Self {
            attribute: find("LookupAttributes").map(attribute).transpose()?.flatten(),
            start,
            end,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            before: find("NextToken").map(place).transpose()?,
            is_insight,
        })
    }

    /// Whether a record is so old that none before it can be meant.
    fn is_behind(&self, record: &Value) -> bool {
        let limit = self.start.map(|start| start.0.saturating_sub(DISORDER_MILLIS));
        limit.zip(record_time(record)).is_some_and(|(limit, time)| time.0 < limit)
    }

    fn matches(&self, record: &Value) -> bool {
        let time = record_time(record);
        let is_in = |time: Timestamp| {
            self.start.is_none_or(|start| start.secs() <= time.secs())
                && self.end.is_none_or(|end| time <= end)
        };
        if !time.is_some_and(is_in) {
            return false;
        }
        let Some((name, wanted)) = &self.attribute else { return true };
        match name.as_str() {
            "EventId" => text(record, "/eventID") == wanted,
            "EventName" => text(record, "/eventName") == wanted,
            "EventSource" => text(record, "/eventSource") == wanted,
            "ReadOnly" => read_only(record) == wanted,
            "Username" => user_name(record) == wanted,
            "AccessKeyId" => text(record, "/userIdentity/accessKeyId") == wanted,
            "ResourceType" => resources(record).any(|found| text(found, "/type") == wanted),
            "ResourceName" => resources(record).any(|found| text(found, "/ARN") == wanted),
            _ => false,
        }
    }
}

const ATTRIBUTES: [&str; 8] = [
    "AccessKeyId",
    "EventId",
    "EventName",
    "EventSource",
    "ReadOnly",
    "ResourceName",
    "ResourceType",
    "Username",
];

/// The one attribute that is looked up: AWS takes no more.
fn attribute(list: &Value) -> Result<Option<(String, String)>, KmsError> {
    let wrong = |what: &str| refused("InvalidLookupAttributesException", what);
    let found = match list.as_array().map(Vec::as_slice) {
        Some([]) => return Ok(None),
        Some([found]) => found,
        Some(_) => return wrong("One lookup attribute may be given, and no more."),
        None => return wrong("LookupAttributes is no list."),
    };
    let (name, value) = (text(found, "/AttributeKey"), text(found, "/AttributeValue"));
    if !ATTRIBUTES.contains(&name) {
        return wrong(&format!("There is no lookup attribute {name}."));
    }
    if value.is_empty() || value.chars().count() > 2000 {
        return wrong("A lookup attribute has a value of 1 to 2000 characters.");
    }
    Ok(Some((name.to_owned(), value.to_owned())))
}

/// Seconds since 1970, a fraction allowed.
fn moment(value: Option<&Value>) -> Result<Option<Timestamp>, KmsError> {
    let Some(value) = value else { return Ok(None) };
    let secs = value.as_f64().filter(|secs| (0.0..1e11).contains(secs));
    match secs.and_then(|secs| format!("{:.0}", secs * 1000.0).parse().ok()) {
        Some(millis) => Ok(Some(Timestamp(millis))),
        None => refused("InvalidTimeRangeException", format!("{value} is no time.")),
    }
}

/// Where the next page begins, as an opaque text.
fn token(place: LogPlace) -> String {
    URL_SAFE_NO_PAD.encode(format!("1 {} {}", place.segment, place.offset))
}

fn place(token: &Value) -> Result<LogPlace, KmsError> {
    let parse = || {
        let bytes = URL_SAFE_NO_PAD.decode(token.as_str()?).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut parts = text.split(' ');
        let version = parts.next()?;
        let (segment, offset) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        (version == "1" && parts.next().is_none()).then_some(LogPlace { segment, offset })
    };
    match parse() {
        Some(place) => Ok(place),
        None => refused("InvalidNextTokenException", "The token is none of a page before."),
    }
}

/// One of `Events`.
fn event(mut record: Value) -> Value {
    let resources: Vec<Value> = resources(&record)
        .map(|found| {
            json!({"ResourceType": text(found, "/type"), "ResourceName": text(found, "/ARN")})
        })
        .collect();
    let mut event = Map::new();
    for (name, pointer) in
        [("EventId", "/eventID"), ("EventName", "/eventName"), ("EventSource", "/eventSource")]
    {
        event.insert(name.to_owned(), text(&record, pointer).into());
    }
    event.insert("ReadOnly".to_owned(), read_only(&record).into());
    event.insert("Username".to_owned(), user_name(&record).into());
    let access_key = text(&record, "/userIdentity/accessKeyId");
    if !access_key.is_empty() {
        event.insert("AccessKeyId".to_owned(), access_key.into());
    }
    event.insert("EventTime".to_owned(), record_time(&record).map_or(Value::Null, time));
    event.insert("Resources".to_owned(), Value::Array(resources));
    if let Some(members) = record.as_object_mut() {
        members.retain(|name, _| !OWN_MEMBERS.contains(&name.as_str()));
    }
    event.insert("CloudTrailEvent".to_owned(), record.to_string().into());
    Value::Object(event)
}

fn resources(record: &Value) -> impl Iterator<Item = &Value> {
    record.get("resources").and_then(Value::as_array).into_iter().flatten()
}

fn read_only(record: &Value) -> &'static str {
    if record.get("readOnly") == Some(&Value::Bool(true)) { "true" } else { "false" }
}

/// A user's name, a role's session, `root`, or a service.
fn user_name(record: &Value) -> &str {
    let name = ["/userIdentity/userName", "/userIdentity/invokedBy"]
        .into_iter()
        .map(|pointer| text(record, pointer))
        .find(|name| !name.is_empty());
    name.unwrap_or_else(|| {
        text(record, "/userIdentity/arn").rsplit([':', '/']).next().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_place() {
        let there = LogPlace { segment: 7, offset: 1 << 40 };
        assert_eq!(place(&token(there).into()), Ok(there));
        for forged in ["", "x", "MSAx", "MiAxIDE"] {
            let refused = place(&forged.into()).unwrap_err();
            assert_eq!(refused.exception(), "InvalidNextTokenException", "{forged}");
        }
    }
}
