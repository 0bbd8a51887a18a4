//! Pieces of outputs. Members that are null are left out, as AWS does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value, json};

use crate::kms::{ExpirationModel, KeyMetadata, Page, RelatedKeys, Timestamp, answer_to_base64};
use crate::secret::SecretBytes;

/// Seconds since the epoch with a fraction.
pub(super) fn time(time: Timestamp) -> Value {
    let (secs, millis) = (time.0 / 1000, time.0 % 1000);
    if millis == 0 {
        return Value::from(secs);
    }
    let text = format!("{secs}.{millis:03}");
    text.parse::<f64>().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

/// Bytes in base64.
pub(super) fn blob(bytes: &[u8]) -> Value {
    Value::String(STANDARD.encode(bytes))
}

/// A secret that is the very answer, in base64.
pub(super) fn secret(bytes: &SecretBytes) -> Value {
    Value::String(answer_to_base64(bytes))
}

/// An output; members that are null are left out.
pub(super) fn output(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().filter(|(_, value)| !value.is_null()).collect())
        }
        other => other,
    }
}

/// The output of an operation that answers nothing.
pub(super) fn empty() -> Value {
    Value::Object(Map::new())
}

/// A page of a listing.
pub(super) fn page<T>(name: &str, page: &Page<T>, entry: impl Fn(&T) -> Value) -> Value {
    let entries: Vec<Value> = page.entries.iter().map(entry).collect();
    let mut map = Map::new();
    map.insert(name.to_owned(), Value::Array(entries));
    if let Some(marker) = &page.next_marker {
        map.insert("NextMarker".to_owned(), Value::from(marker.as_str()));
    }
    map.insert("Truncated".to_owned(), Value::Bool(page.next_marker.is_some()));
    Value::Object(map)
}

/// `KeyMetadata`.
pub(super) fn metadata(key: &KeyMetadata) -> Value {
    let mut value = output(json!({
        "AWSAccountId": key.arn.account(),
        "KeyId": key.key_id().as_str(),
        "Arn": key.arn.as_str(),
        "CreationDate": time(key.created),
        "Enabled": key.is_enabled(),
        "Description": key.description,
        "KeyUsage": key.usage.as_str(),
        "KeyState": key.state.as_str(),
        "DeletionDate": key.deletion_date.map(time),
        "PendingDeletionWindowInDays": key.deletion_window,
        "ValidTo": key.expiration.flatten().map(time),
        "Origin": key.origin.as_str(),
        "ExpirationModel": key.expiration.map(|expires| match expires {
            Some(_) => ExpirationModel::Expires.as_str(),
            None => ExpirationModel::DoesNotExpire.as_str(),
        }),
        "KeyManager": key.manager.as_str(),
        "CustomerMasterKeySpec": key.spec.as_str(),
        "KeySpec": key.spec.as_str(),
        "MultiRegion": key.multi_region.is_some(),
        "MultiRegionConfiguration": key.multi_region.as_ref().map(|keys| related(key, keys)),
        "CurrentKeyMaterialId": key.current_material.map(|material| material.to_string()),
    }));
    if let Value::Object(map) = &mut value {
        map.extend(algorithms(key));
    }
    value
}

fn related(key: &KeyMetadata, related: &RelatedKeys) -> Value {
    let in_region =
        |region: &String| json!({"Arn": key.arn.in_region(region).as_str(), "Region": region});
    let is_primary = key.arn.region() == related.primary;
    json!({
        "MultiRegionKeyType": if is_primary { "PRIMARY" } else { "REPLICA" },
        "PrimaryKey": in_region(&related.primary),
        "ReplicaKeys": related.replicas.iter().map(in_region).collect::<Vec<_>>(),
    })
}

/// The lists of algorithms that a key knows; those that are empty are left out.
pub(super) fn algorithms(key: &KeyMetadata) -> Map<String, Value> {
    let lists = key.algorithms();
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    lists.map(|(name, list)| (name.to_owned(), Value::from(list))).collect()
}
