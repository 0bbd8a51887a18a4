//! The condition block of a statement: operators over what is known of a call.

use serde_json::Value;

use crate::kms::access::glob::{arn_matches, matches};

/// One operator over one key: `"StringEquals": {"kms:ViaService": ["a", "b"]}`.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    quantifier: Quantifier,
    operator: Operator,
    /// The key need not be there.
    if_exists: bool,
    /// In lower case up to a name that is the caller's own (`kms:encryptioncontext:Name`).
    key: String,
    values: Vec<String>,
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
    Bool,
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
            "Bool" => Self::Bool,
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
            Self::Arn { negated } | Self::Like { negated } | Self::String { negated, .. } => {
                negated
            }
            Self::Number(relation) => relation == Relation::NotEqual,
            Self::Bool | Self::Null => false,
        }
    }

    /// Whether a value of the call agrees with one of the policy, negation left aside.
    fn agrees(self, wanted: &str, found: &str) -> bool {
        match self {
            Self::Arn { .. } => arn_matches(wanted, found),
            Self::Bool | Self::Null | Self::String { ignore_case: true, .. } => {
                wanted.eq_ignore_ascii_case(found)
            }
            Self::Like { .. } => matches(wanted, found),
            Self::Number(relation) => {
                let (Ok(wanted), Ok(found)) = (wanted.parse::<f64>(), found.parse::<f64>()) else {
                    return false;
                };
                match relation {
                    Relation::Equal | Relation::NotEqual => found == wanted,
                    Relation::Less => found < wanted,
                    Relation::LessOrEqual => found <= wanted,
                    Relation::Greater => found > wanted,
                    Relation::GreaterOrEqual => found >= wanted,
                }
            }
            Self::String { .. } => wanted == found,
        }
    }
}

impl Condition {
    /// Reads a condition block.
    pub(super) fn parse_block(block: &Value) -> Result<Vec<Self>, String> {
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
                let key = fold_key(key);
                conditions.push(Self { quantifier, operator, if_exists, key, values });
            }
        }
        Ok(conditions)
    }

    /// Whether the call passes; `find` tells a key's values, none if the call has no such key.
    pub(super) fn holds(&self, find: &dyn Fn(&str) -> Vec<String>) -> bool {
        let found = find(&self.key);
        if self.operator == Operator::Null {
            let wants_null = self.values.iter().any(|value| value.eq_ignore_ascii_case("true"));
            return found.is_empty() == wants_null;
        }
        if found.is_empty() {
            return match self.quantifier {
                Quantifier::All => true,
                Quantifier::Any => self.if_exists,
                Quantifier::One => self.if_exists || self.operator.is_negated(),
            };
        }
        let passes = |found: &String| {
            let agrees = self.values.iter().any(|wanted| self.operator.agrees(wanted, found));
            agrees != self.operator.is_negated()
        };
        match self.quantifier {
            Quantifier::All => found.iter().all(passes),
            Quantifier::One | Quantifier::Any => found.iter().any(passes),
        }
    }
}

/// Condition keys are the same in any case, but for the names that callers choose in them.
fn fold_key(key: &str) -> String {
    for prefix in ["kms:encryptioncontext:", "aws:resourcetag/"] {
        if let Some((head, name)) = key.split_at_checked(prefix.len())
            && head.eq_ignore_ascii_case(prefix)
        {
            return format!("{prefix}{name}");
        }
    }
    key.to_ascii_lowercase()
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

    fn holds(block: Value, call: &[(&str, &[&str])]) -> bool {
        let find = |key: &str| {
            let found = call.iter().find(|(name, _)| *name == key);
            found.map_or(Vec::new(), |(_, v)| v.iter().map(|v| (*v).to_owned()).collect())
        };
        Condition::parse_block(&block).unwrap().iter().all(|condition| condition.holds(&find))
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
            ("Bool", json!(true), "true", "false"),
            ("NumericEquals", json!(7), "7.0", "8"),
            ("NumericNotEquals", json!(7), "8", "7"),
            ("NumericLessThan", json!(7), "6", "7"),
            ("NumericLessThanEquals", json!("7"), "7", "8"),
            ("NumericGreaterThan", json!(7), "8", "7"),
            ("NumericGreaterThanEquals", json!(7), "7", "6"),
        ];
        for (operator, wanted, yes, no) in cases {
            let block = || json!({operator: {"kms:Key": wanted.clone()}});
            assert!(holds(block(), &[("kms:key", &[yes])]), "{operator} {yes}");
            assert!(!holds(block(), &[("kms:key", &[no])]), "{operator} {no}");
            let negated = operator.contains("Not");
            assert_eq!(holds(block(), &[]), negated, "{operator} without the key");
            let if_exists = json!({format!("{operator}IfExists"): {"kms:Key": wanted.clone()}});
            assert!(holds(if_exists.clone(), &[]), "{operator}IfExists without the key");
            assert!(!holds(if_exists, &[("kms:key", &[no])]));
        }
    }

    #[test]
    fn null_asks_whether_a_key_is_there() {
        assert!(holds(json!({"Null": {"a": "true"}}), &[]));
        assert!(!holds(json!({"Null": {"a": "true"}}), &[("a", &["x"])]));
        assert!(holds(json!({"Null": {"a": false}}), &[("a", &["x"])]));
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
            let call = [("k", values)];
            assert_eq!((holds(all(), &call), holds(any(), &call)), expected, "{values:?}");
        }
    }

    #[test]
    fn names_of_a_context_keep_their_case() {
        let block = json!({"StringEquals": {"KMS:EncryptionContext:Dept": "x"}});
        assert!(holds(block.clone(), &[("kms:encryptioncontext:Dept", &["x"])]));
        assert!(!holds(block, &[("kms:encryptioncontext:dept", &["x"])]));
        assert!(Condition::parse_block(&json!({"StringIs": {"a": "b"}})).is_err());
        assert!(Condition::parse_block(&json!({"ForSome:StringLike": {"a": "b"}})).is_err());
    }
}
