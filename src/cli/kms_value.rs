//! Values of options as `aws` takes them: JSON, the shorthand, files, base64.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::cli::kms_table::Kind;
use crate::cli::values::unix_secs;
use crate::http::signature::parse_date;

/// Largest file that an option may name, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// Arguments that are not of the form of `aws kms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// The error of these words.
pub(super) fn wrong<T>(what: impl Into<String>) -> Result<T, UsageError> {
    Err(UsageError(what.into()))
}

/// The value of an option, by its kind.
pub(super) fn parse_value(name: &str, kind: Kind, values: &[String]) -> Result<Value, UsageError> {
    match kind {
        Kind::Flag => match values {
            [] => Ok(Value::Bool(true)),
            _ => wrong(format!("--{name} takes no value")),
        },
        Kind::Text => Ok(Value::String(text_value(name, one(name, values)?)?)),
        Kind::Integer => match one(name, values)?.parse::<i64>() {
            Ok(number) => Ok(json!(number)),
            Err(_) => wrong(format!("--{name}: not a whole number")),
        },
        Kind::Blob => blob_value(name, one(name, values)?),
        Kind::Map => map_value(name, values),
        Kind::Strings => match json_value(name, values)? {
            Some(list) => Ok(list),
            None if values.is_empty() => wrong(format!("--{name} needs a value")),
            None => Ok(json!(values)),
        },
        Kind::Structure => match json_value(name, values)? {
            Some(structure) => Ok(structure),
            None => pairs(name, one(name, values)?, Nesting::Structure).map(Value::Object),
        },
        Kind::Time => time_value(name, one(name, values)?),
        Kind::Structures => match json_value(name, values)? {
            Some(list) => Ok(list),
            None if values.is_empty() => wrong(format!("--{name} needs a value")),
            None => {
                let one = |value: &String| pairs(name, value, Nesting::Flat).map(Value::Object);
                values.iter().map(one).collect()
            }
        },
    }
}

/// `k=v,k2=v2` behind each other, or a JSON object.
fn map_value(name: &str, values: &[String]) -> Result<Value, UsageError> {
    if let Some(map) = json_value(name, values)? {
        return Ok(map);
    }
    if values.is_empty() {
        return wrong(format!("--{name} needs a value"));
    }
    let mut map = Map::new();
    for value in values {
        map.extend(pairs(name, value, Nesting::Flat)?);
    }
    Ok(Value::Object(map))
}

/// A value that is JSON: given whole, or in a file.
fn json_value(name: &str, values: &[String]) -> Result<Option<Value>, UsageError> {
    let [value] = values else { return Ok(None) };
    if !value.starts_with(['{', '[']) && !value.starts_with("file://") {
        return Ok(None);
    }
    match serde_json::from_str(&text_value(name, value)?) {
        Ok(value) => Ok(Some(value)),
        Err(error) => wrong(format!("--{name}: {error}")),
    }
}

/// The shorthand `k=v,k2=v2`. A value may stand in double quotes, commas in it then count as text;
/// where structures are taken, a value may be `{k=v}` itself.
fn pairs(name: &str, text: &str, nesting: Nesting) -> Result<Map<String, Value>, UsageError> {
    let mut rest = text;
    let map = some_pairs(name, &mut rest, nesting)?;
    if rest.is_empty() { Ok(map) } else { wrong(format!("--{name}: unexpected {rest}")) }
}

/// Where a pair's value may end, and what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nesting {
    /// Texts only.
    Flat,
    /// A structure whose values may be maps.
    Structure,
    /// A map in a structure: ends with `}`.
    Inner,
}

fn some_pairs(
    name: &str,
    rest: &mut &str,
    nesting: Nesting,
) -> Result<Map<String, Value>, UsageError> {
    let ends: &[char] = if nesting == Nesting::Inner { &[',', '}'] } else { &[','] };
    let mut map = Map::new();
    while !(rest.is_empty() || nesting == Nesting::Inner && rest.starts_with('}')) {
        let Some((key, after)) = rest.split_once('=') else {
            return wrong(format!("--{name}: {rest} has no '='"));
        };
        let value = if let Some(quoted) = after.strip_prefix('"') {
            let Some((value, after)) = quoted.split_once('"') else {
                return wrong(format!("--{name}: a quote has no end"));
            };
            *rest = after;
            Value::String(value.to_owned())
        } else if let (Nesting::Structure, Some(inner)) = (nesting, after.strip_prefix('{')) {
            *rest = inner;
            let map = some_pairs(name, rest, Nesting::Inner)?;
            let Some(after) = rest.strip_prefix('}') else {
                return wrong(format!("--{name}: a {{ has no end"));
            };
            *rest = after;
            Value::Object(map)
        } else {
            let (value, after) = after
                .split_at_checked(after.find(ends).unwrap_or(after.len()))
                .unwrap_or((after, ""));
            *rest = after;
            Value::String(value.to_owned())
        };
        map.insert(key.trim_start().to_owned(), value);
        *rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Ok(map)
}

/// Seconds since 1970: a number, or a date and time of ISO 8601, in UTC unless it says otherwise.
fn time_value(name: &str, text: &str) -> Result<Value, UsageError> {
    let number = serde_json::from_str(text).ok().filter(Value::is_number);
    match number.or_else(|| iso_secs(text).map(Value::from)) {
        Some(secs) => Ok(secs),
        None => wrong(format!(
            "--{name}: neither seconds since 1970 nor a time such as 2026-01-31T23:59:59Z"
        )),
    }
}

fn iso_secs(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let zone = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (time, zone) = time.split_at_checked(zone)?;
    let (time, _fraction) = time.split_once('.').unwrap_or((time, ""));
    let (is_east, offset) = match zone.split_at_checked(1) {
        None | Some(("Z", "")) => (false, 0),
        Some((sign, offset)) => {
            let (hours, minutes) = offset.split_once(':')?;
            let hours: u8 = hours.parse().ok()?;
            let minutes: u8 = minutes.parse().ok()?;
            (sign == "+", (i64::from(hours) * 60 + i64::from(minutes)) * 60)
        }
    };
    let basic = format!("{}T{}Z", date.replace('-', ""), time.replace(':', ""));
    let secs = i64::try_from(unix_secs(parse_date(&basic)?)).ok()?;
    Some(if is_east { secs - offset } else { secs + offset })
}

/// The one value of an option.
pub(super) fn one<'a>(name: &str, values: &'a [String]) -> Result<&'a str, UsageError> {
    match values {
        [value] => Ok(value),
        [] => wrong(format!("--{name} needs a value")),
        _ => wrong(format!("--{name} takes one value")),
    }
}

/// A text, or the content of `file://PATH`.
pub(super) fn text_value(name: &str, value: &str) -> Result<String, UsageError> {
    let Some(path) = value.strip_prefix("file://") else {
        return Ok(value.to_owned());
    };
    String::from_utf8(read(name, path)?)
        .map_err(|_| UsageError(format!("--{name}: {path} is not UTF-8 text")))
}

/// Bytes in `fileb://PATH`, or in base64.
fn blob_value(name: &str, value: &str) -> Result<Value, UsageError> {
    if let Some(path) = value.strip_prefix("fileb://") {
        return Ok(Value::String(STANDARD.encode(read(name, path)?)));
    }
    let text = text_value(name, value)?;
    match STANDARD.decode(text.trim_end()) {
        Ok(_) => Ok(Value::String(text.trim_end().to_owned())),
        Err(_) => wrong(format!("--{name}: not base64; fileb://PATH reads bytes from a file")),
    }
}

fn read(name: &str, path: &str) -> Result<Vec<u8>, UsageError> {
    let failed = |error: std::io::Error| UsageError(format!("--{name}: {path}: {error}"));
    let path = Path::new(path);
    let len = std::fs::metadata(path).map_err(failed)?.len();
    if len > FILE_LEN_MAX {
        return wrong(format!("--{name}: {} has {len} bytes", path.display()));
    }
    std::fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_iso() {
        for (text, secs) in [
            ("1769903999", json!(1_769_903_999)),
            ("1769903999.5", json!(1_769_903_999.5)),
            ("2026-01-31T23:59:59Z", json!(1_769_903_999)),
            ("2026-01-31T23:59:59.123+00:00", json!(1_769_903_999)),
            ("2026-02-01T01:29:59+01:30", json!(1_769_903_999)),
            ("2026-01-31T18:59:59-05:00", json!(1_769_903_999)),
            ("2026-02-01", json!(1_769_904_000)),
        ] {
            assert_eq!(time_value("x", text), Ok(secs), "{text}");
        }
        for text in ["", "x", "2026-01", "2026-13-01", "2026-01-31T23:59Z", "2026-01-31T00:00:00+1"]
        {
            assert!(time_value("x", text).is_err(), "{text}");
        }
    }
}
