//! The condition block of a statement: operators over what is known of a call.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::kms::Timestamp;
use crate::kms::access::facts::{Call, ConditionKey};
use crate::kms::access::network::Network;
use crate::kms::access::text::{Text, Variables};

/// One operator over one key: `"StringEquals": {"kms:ViaService": ["a", "b"]}`.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    quantifier: Quantifier,
    operator: Operator,
    /// The key need not be there.
    if_exists: bool,
    key: ConditionKey,
    values: Vec<Text>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Quantifier {
    /// The key has one value.
    One,
    /// Every value of the call must pass; none at all pass.
    All,
    /// Some value of the call must pass.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Arn { negated: bool },
    Binary,
    Bool,
    Date(Relation),
    Ip { negated: bool },
    Like { negated: bool },
    Null,
    Number(Relation),
    String { negated: bool, ignore_case: bool },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    fn parse(name: &str) -> Option<Self> {
        let string = |negated, ignore_case| Self::String { negated, ignore_case };
        Some(match name {
            "ArnEquals" | "ArnLike" => Self::Arn { negated: false },
            "ArnNotEquals" | "ArnNotLike" => Self::Arn { negated: true },
            "BinaryEquals" => Self::Binary,
            "Bool" => Self::Bool,
            "DateEquals" => Self::Date(Relation::Equal),
            "DateGreaterThan" => Self::Date(Relation::Greater),
            "DateGreaterThanEquals" => Self::Date(Relation::GreaterOrEqual),
            "DateLessThan" => Self::Date(Relation::Less),
            "DateLessThanEquals" => Self::Date(Relation::LessOrEqual),
            "DateNotEquals" => Self::Date(Relation::NotEqual),
            "IpAddress" => Self::Ip { negated: false },
            "NotIpAddress" => Self::Ip { negated: true },
            "Null" => Self::Null,
            "NumericEquals" => Self::Number(Relation::Equal),
            "NumericGreaterThan" => Self::Number(Relation::Greater),
            "NumericGreaterThanEquals" => Self::Number(Relation::GreaterOrEqual),
            "NumericLessThan" => Self::Number(Relation::Less),
            "NumericLessThanEquals" => Self::Number(Relation::LessOrEqual),
            "NumericNotEquals" => Self::Number(Relation::NotEqual),
            "StringEquals" => string(false, false),
            "StringEqualsIgnoreCase" => string(false, true),
            "StringLike" => Self::Like { negated: false },
            "StringNotEquals" => string(true, false),
            "StringNotEqualsIgnoreCase" => string(true, true),
            "StringNotLike" => Self::Like { negated: true },
            _ => return None,
        })
    }

    fn is_negated(self) -> bool {
        match self {
            Self::Arn { negated }
            | Self::Ip { negated }
            | Self::Like { negated }
            | Self::String { negated, .. } => negated,
            Self::Date(relation) | Self::Number(relation) => relation == Relation::NotEqual,
            Self::Binary | Self::Bool | Self::Null => false,
        }
    }

    /// Whether a value of the call agrees with one of the policy, negation left aside.
    fn agrees(self, wanted: &Text, found: &str, call: &Call<'_>) -> bool {
        match self {
            Self::Arn { .. } => return wanted.matches_arn(found, call),
            Self::Like { .. } => return wanted.matches(found, call),
            _ => {}
        }
        let Some(wanted) = wanted.literal(call) else { return false };
        match self {
            Self::Binary => {
                let bytes = |text: &str| STANDARD.decode(text).ok();
                bytes(&wanted).is_some_and(|wanted| bytes(found) == Some(wanted))
            }
            Self::Bool | Self::Null | Self::String { ignore_case: true, .. } => {
                wanted.eq_ignore_ascii_case(found)
            }
            Self::Date(relation) => {
                let times = Timestamp::parse(&wanted).zip(Timestamp::parse(found));
                times.is_some_and(|(wanted, found)| relation.holds(&found, &wanted))
            }
            Self::Ip { .. } => {
                let network = Network::parse(&wanted).zip(found.parse().ok());
                network.is_some_and(|(network, address)| network.contains(address))
            }
            Self::Number(relation) => number(&wanted)
                .zip(number(found))
                .is_some_and(|(wanted, found)| relation.holds(&found, &wanted)),
            Self::String { .. } => wanted == found,
            Self::Arn { .. } | Self::Like { .. } => false,
        }
    }

    /// Whether a value of a policy can be compared at all.
    fn takes(self, value: &str) -> bool {
        match self {
            Self::Binary => STANDARD.decode(value).is_ok(),
            Self::Bool | Self::Null => {
                value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
            }
            Self::Date(_) => Timestamp::parse(value).is_some(),
            Self::Ip { .. } => Network::parse(value).is_some(),
            Self::Number(_) => number(value).is_some(),
            Self::Arn { .. } | Self::Like { .. } | Self::String { .. } => true,
        }
    }
}

/// A number, or the seconds of a point in time.
fn number(text: &str) -> Option<f64> {
    let time = || Timestamp::parse(text)?.secs().to_string().parse().ok();
    text.parse().ok().or_else(time)
}

impl Relation {
    fn holds<T: PartialOrd>(self, found: &T, wanted: &T) -> bool {
        match self {
            // The negation is left aside.
            Self::Equal | Self::NotEqual => found == wanted,
            Self::Less => found < wanted,
            Self::LessOrEqual => found <= wanted,
            Self::Greater => found > wanted,
            Self::GreaterOrEqual => found >= wanted,
        }
    }
}

impl Condition {
    /// Reads a condition block.
    pub(super) fn parse_block(block: &Value, variables: Variables) -> Result<Vec<Self>, String> {
        let block = block.as_object().ok_or("Condition is not an object")?;
        let mut conditions = Vec::new();
        for (name, keys) in block {
            let (quantifier, rest) = match name.split_once(':') {
                None => (Quantifier::One, name.as_str()),
                Some(("ForAllValues", rest)) => (Quantifier::All, rest),
                Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
                Some(_) => return Err(format!("unknown condition operator {name}")),
            };
            let (rest, if_exists) = match rest.strip_suffix("IfExists") {
                Some(rest) => (rest, true),
                None => (rest, false),
            };
            let operator = Operator::parse(rest)
                .ok_or_else(|| format!("unknown condition operator {name}"))?;
            let keys = keys.as_object().ok_or_else(|| format!("{name} is not an object"))?;
            for (key, values) in keys {
                let values = words(values).ok_or_else(|| format!("{key} has bad values"))?;
                let values = values.into_iter().map(|value| Text::parse(value, variables));
                let (key, values) = (ConditionKey::parse(key), values.collect());
                conditions.push(Self { quantifier, operator, if_exists, key, values });
            }
        }
        Ok(conditions)
    }

    /// Whether all its values can be compared.
    pub(super) fn is_comparable(&self) -> bool {
        let mut written = self.values.iter().filter_map(Text::written);
        written.all(|value| self.operator.takes(value))
    }

    /// Whether the call passes.
    pub(super) fn holds(&self, call: &Call<'_>) -> bool {
        let values = call.values(&self.key);
        self.passes(values.as_slice(), call)
    }

    fn passes(&self, found: &[Cow<'_, str>], call: &Call<'_>) -> bool {
        if self.operator == Operator::Null {
            let is_true =
                |value: &Text| value.literal(call).is_some_and(|v| v.eq_ignore_ascii_case("true"));
            return found.is_empty() == self.values.iter().any(is_true);
        }
        if found.is_empty() {
            return match self.quantifier {
                Quantifier::All => true,
                Quantifier::Any => self.if_exists,
                Quantifier::One => self.if_exists || self.operator.is_negated(),
            };
        }
        let passes = |found: &Cow<'_, str>| {
            let agrees = self.values.iter().any(|wanted| self.operator.agrees(wanted, found, call));
            agrees != self.operator.is_negated()
        };
        match self.quantifier {
            Quantifier::All => found.iter().all(passes),
            Quantifier::One | Quantifier::Any => found.iter().any(passes),
        }
    }
}

/// A text, a number or a flag, or a list of them.
pub(super) fn words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(list) => list.iter().map(word).collect(),
        other => word(other).map(|word| vec![word]),
    }
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kms::Principal;
    use crate::kms::access::facts::tests::call_of;

    /// Whether a block with one key passes for these values of it.
    fn holds(block: Value, found: &[&str]) -> bool {
        let found: Vec<Cow<'_, str>> = found.iter().map(|value| Cow::Borrowed(*value)).collect();
        let mut holds = false;
        call_of(&Principal::root("000000000000"), |call| {
            let conditions = Condition::parse_block(&block, Variables::Offered).unwrap();
            holds = conditions.iter().all(|condition| condition.passes(&found, call));
        });
        holds
    }

    #[test]
    fn every_operator_says_yes_and_no() {
        let cases = [
            ("StringEquals", json!("a"), "a", "A"),
            ("StringNotEquals", json!(["a", "b"]), "c", "b"),
            ("StringEqualsIgnoreCase", json!("a"), "A", "b"),
            ("StringNotEqualsIgnoreCase", json!("a"), "b", "A"),
            ("StringLike", json!("a*"), "abc", "ba"),
            ("StringNotLike", json!("a*"), "ba", "abc"),
            (
                "ArnLike",
                json!("arn:aws:iam::1:user/*"),
                "arn:aws:iam::1:user/x",
                "arn:aws:iam::2:user/x",
            ),
            (
                "ArnNotEquals",
                json!("arn:aws:iam::1:user/x"),
                "arn:aws:iam::1:user/y",
                "arn:aws:iam::1:user/x",
            ),
            ("BinaryEquals", json!("YWI="), "YWI=", "YWM="),
            ("Bool", json!(true), "true", "false"),
            ("DateEquals", json!("2026-01-31T00:00:00Z"), "1769817600", "2026-01-31T00:00:01Z"),
            ("DateNotEquals", json!("2026-01-31"), "2026-02-01T00:00:00Z", "2026-01-31T00:00:00Z"),
            ("DateLessThan", json!("2026-01-31"), "2026-01-30T23:59:59Z", "2026-01-31T00:00:00Z"),
            (
                "DateLessThanEquals",
                json!("2026-01-31"),
                "2026-01-31T00:00:00Z",
                "2026-01-31T00:00:01Z",
            ),
            ("DateGreaterThan", json!("2026-01-31"), "2026-01-31T00:00:01Z", "2026-01-31"),
            ("DateGreaterThanEquals", json!("2026-01-31"), "2026-01-31", "2026-01-30T23:59:59Z"),
            ("IpAddress", json!(["10.0.0.0/8", "::1"]), "10.255.0.1", "11.0.0.1"),
            ("NotIpAddress", json!("2001:db8::/32"), "2001:db9::1", "2001:db8:1::1"),
            ("NumericEquals", json!(7), "7.0", "8"),
            ("NumericNotEquals", json!(7), "8", "7"),
            ("NumericLessThan", json!(7), "6", "7"),
            ("NumericLessThanEquals", json!("7"), "7", "8"),
            ("NumericGreaterThan", json!(7), "8", "7"),
            ("NumericGreaterThanEquals", json!(7), "7", "6"),
        ];
        for (operator, wanted, yes, no) in cases {
            let block = || json!({operator: {"kms:Key": wanted.clone()}});
            assert!(holds(block(), &[yes]), "{operator} {yes}");
            assert!(!holds(block(), &[no]), "{operator} {no}");
            let negated = operator.contains("Not");
            assert_eq!(holds(block(), &[]), negated, "{operator} without the key");
            let if_exists = json!({format!("{operator}IfExists"): {"kms:Key": wanted.clone()}});
            assert!(holds(if_exists.clone(), &[]), "{operator}IfExists without the key");
            assert!(!holds(if_exists, &[no]));
        }
    }

    #[test]
    fn null_asks_whether_a_key_is_there() {
        assert!(holds(json!({"Null": {"a": "true"}}), &[]));
        assert!(!holds(json!({"Null": {"a": "true"}}), &["x"]));
        assert!(holds(json!({"Null": {"a": false}}), &["x"]));
    }

    #[test]
    fn sets_are_asked_for_all_or_any() {
        let all = || json!({"ForAllValues:StringEquals": {"k": ["a", "b"]}});
        let any = || json!({"ForAnyValue:StringEquals": {"k": ["a", "b"]}});
        for (values, expected) in [
            (&["a", "b"][..], (true, true)),
            (&["a", "c"], (false, true)),
            (&["c"], (false, false)),
            (&[], (true, false)),
        ] {
            assert_eq!((holds(all(), values), holds(any(), values)), expected, "{values:?}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let parse = |block: &Value| Condition::parse_block(block, Variables::Offered);
        assert!(parse(&json!({"StringIs": {"a": "b"}})).is_err());
        assert!(parse(&json!({"ForSome:StringLike": {"a": "b"}})).is_err());
        for block in [
            json!({"DateLessThan": {"a": "tomorrow"}}),
            json!({"IpAddress": {"a": "10.0.0.0/33"}}),
            json!({"NumericEquals": {"a": "many"}}),
            json!({"Bool": {"a": "maybe"}}),
            json!({"BinaryEquals": {"a": "?"}}),
        ] {
            assert!(!parse(&block).unwrap().iter().all(Condition::is_comparable), "{block}");
        }
    }
}
