//! Audit records as events. Shapes: AWS, "Monitor KMS keys with Amazon EventBridge" (KMS developer
//! guide) and "AWS service events delivered via AWS CloudTrail" (EventBridge user guide).

use serde_json::{Value, json};

use crate::kms::audit::{cloudtrail_form, text};
use crate::random::{OsRandom, uuid};

/// Detail type of a call that changed something.
pub(super) const API_CALL: &str = "AWS API Call via CloudTrail";
/// Detail type of an alarm.
pub(super) const ALARM: &str = "CloudWatch Alarm State Change";

/// An event in its envelope.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// `detail-type`.
    pub(super) kind: &'static str,
    /// For a person, in a few words.
    pub(super) title: String,
    /// The whole.
    pub(super) value: Value,
}

/// The events that a record makes: of what was refused none.
pub(super) fn events_of(record: &Value) -> Vec<Event> {
    if !text(record, "/errorCode").is_empty() {
        return Vec::new();
    }
    let mut events = Vec::new();
    let rotated = |kind: &str| json!({"key-id": key_id(record), "rotation-type": kind});
    let own = match text(record, "/eventName") {
        "RotateKey" => Some(("KMS CMK Rotation", rotated("AUTOMATIC"))),
        "RotateKeyOnDemand" => Some(("KMS CMK Rotation", rotated("ON_DEMAND"))),
        "DeleteKey" => Some(("KMS CMK Deletion", json!({"key-id": key_id(record)}))),
        "DeleteExpiredKeyMaterial" => {
            Some(("KMS Imported Key Material Expiration", json!({"key-id": key_id(record)})))
        }
        _ => None,
    };
    if let Some((kind, detail)) = own {
        events.push(event(record, kind, detail));
    }
    let is_change = record.get("readOnly") == Some(&Value::Bool(false));
    if is_change && text(record, "/eventType") == "AwsApiCall" {
        events.push(event(record, API_CALL, cloudtrail_form(record.clone())));
    }
    events
}

fn event(record: &Value, kind: &'static str, detail: Value) -> Event {
    let title = match kind {
        API_CALL => format!("{} {}", text(record, "/eventName"), key_id(record)),
        kind => format!("{kind} {}", key_id(record)),
    };
    let value = envelope(record, kind, "aws.kms", arns(record), detail);
    Event { kind, title: title.trim_end().to_owned(), value }
}

/// The event of an alarm: AWS, "Alarm events and EventBridge" (CloudWatch user guide). Ours has the
/// record that set it off as well.
pub(super) fn alarm_event(record: &Value, name: &str, reason: &str, count: u64) -> Event {
    let (region, account) = (text(record, "/awsRegion"), text(record, "/recipientAccountId"));
    let arn = format!("arn:aws:cloudwatch:{region}:{account}:alarm:{name}");
    let detail = json!({
        "alarmName": name,
        "state": {"value": "ALARM", "reason": reason, "timestamp": text(record, "/eventTime")},
        "previousState": {"value": "OK"},
        "count": count,
        "record": cloudtrail_form(record.clone()),
    });
    let value = envelope(record, ALARM, "aws.cloudwatch", vec![arn.into()], detail);
    Event { kind: ALARM, title: format!("alarm {name}: {reason}"), value }
}

fn envelope(
    record: &Value,
    kind: &str,
    source: &str,
    resources: Vec<Value>,
    detail: Value,
) -> Value {
    json!({
        "version": "0",
        "id": uuid(&OsRandom),
        "detail-type": kind,
        "source": source,
        "account": text(record, "/recipientAccountId"),
        "time": text(record, "/eventTime"),
        "region": text(record, "/awsRegion"),
        "resources": resources,
        "detail": detail,
    })
}

fn arns(record: &Value) -> Vec<Value> {
    let resources = record.get("resources").and_then(Value::as_array);
    resources.into_iter().flatten().map(|found| text(found, "/ARN").into()).collect()
}

/// Id of the first key that a record is about.
fn key_id(record: &Value) -> &str {
    text(record, "/resources/0/ARN").rsplit(":key/").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, kind: &str) -> Value {
        json!({
            "eventTime": "2026-01-31T23:59:59Z", "eventName": name, "awsRegion": "us-east-1",
            "readOnly": false, "eventType": kind, "recipientAccountId": "000000000000",
            "resources": [{"ARN": "arn:aws:kms:us-east-1:000000000000:key/1234"}],
            "sequence": 1, "chain": "c", "seal": "s",
        })
    }

    #[test]
    fn envelopes_are_those_of_eventbridge() {
        let events = events_of(&record("RotateKey", "AwsServiceEvent"));
        assert_eq!(events.len(), 1);
        let mut value = events[0].value.clone();
        let id = value.as_object_mut().unwrap().insert("id".to_owned(), "".into()).unwrap();
        assert_eq!(id.as_str().unwrap().len(), 36);
        assert_eq!(
            value,
            json!({
                "version": "0", "id": "", "detail-type": "KMS CMK Rotation", "source": "aws.kms",
                "account": "000000000000", "time": "2026-01-31T23:59:59Z", "region": "us-east-1",
                "resources": ["arn:aws:kms:us-east-1:000000000000:key/1234"],
                "detail": {"key-id": "1234", "rotation-type": "AUTOMATIC"},
            })
        );
    }

    #[test]
    fn each_act_has_its_event_and_what_was_refused_has_none() {
        let kinds = |record: &Value| -> Vec<&str> {
            events_of(record).iter().map(|event| event.kind).collect()
        };
        assert_eq!(kinds(&record("DeleteKey", "AwsServiceEvent")), ["KMS CMK Deletion"]);
        let expired = record("DeleteExpiredKeyMaterial", "AwsServiceEvent");
        assert_eq!(kinds(&expired), ["KMS Imported Key Material Expiration"]);
        let on_demand = record("RotateKeyOnDemand", "AwsApiCall");
        assert_eq!(kinds(&on_demand), ["KMS CMK Rotation", API_CALL]);
        let mut call = record("DisableKey", "AwsApiCall");
        assert_eq!(kinds(&call), [API_CALL]);
        assert!(events_of(&call)[0].value["detail"].get("seal").is_none());
        call["errorCode"] = "AccessDeniedException".into();
        assert!(kinds(&call).is_empty());
        assert!(kinds(&record("DeletionDue", "AwsServiceEvent")).is_empty());
    }
}
