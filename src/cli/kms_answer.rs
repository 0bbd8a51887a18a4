//! Answers of the key service, printed as `aws kms` prints them.

use serde::Serialize as _;
use serde_json::{Map, Value};

use crate::kms::Timestamp;

/// Members of answers that are times.
const TIMES: [&str; 6] = [
    "CreationDate",
    "DeletionDate",
    "LastUpdatedDate",
    "NextRotationDate",
    "OnDemandRotationStartDate",
    "RotationDate",
];

/// An answer as `aws` prints it: JSON with four spaces, times as ISO 8601 text; nothing for an
/// operation that answers nothing.
pub fn print_answer(answer: &Value) -> String {
    if answer.as_object().is_some_and(Map::is_empty) {
        return String::new();
    }
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    if with_times(answer).serialize(&mut serializer).is_err() {
        return String::new();
    }
    out.push(b'\n');
    String::from_utf8(out).unwrap_or_default()
}

fn with_times(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(with_times).collect(),
        Value::Object(map) => {
            let entries = map.iter().map(|(name, value)| {
                let shown = match value.as_f64().filter(|_| TIMES.contains(&name.as_str())) {
                    Some(secs) => Value::String(iso(secs)),
                    None => with_times(value),
                };
                (name.clone(), shown)
            });
            Value::Object(entries.collect())
        }
        other => other.clone(),
    }
}

/// `2026-01-31T23:59:59.123000+00:00`.
fn iso(secs: f64) -> String {
    let duration = std::time::Duration::try_from_secs_f64(secs.max(0.0)).unwrap_or_default();
    let millis = (duration.as_micros() + 500) / 1000;
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    let text = Timestamp(millis).to_iso();
    let whole = text.trim_end_matches('Z');
    match millis % 1000 {
        0 => format!("{whole}+00:00"),
        millis => format!("{whole}.{millis:03}000+00:00"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_look_like_those_of_aws() {
        assert_eq!(print_answer(&json!({})), "");
        let answer = json!({"KeyMetadata": {"CreationDate": 1_700_000_000.123, "Enabled": true}});
        assert_eq!(
            print_answer(&answer),
            "{\n    \"KeyMetadata\": {\n        \"CreationDate\": \
             \"2023-11-14T22:13:20.123000+00:00\",\n        \"Enabled\": true\n    }\n}\n"
        );
    }
}
