//! `kmsfs kms VERB --options`: the verbs and options of `aws kms`, turned into an operation and its
//! JSON input by the table in [`kms_table`]. Answers are printed by `kms_answer`.

use serde_json::{Map, Value};

use crate::cli::kms_table::{self, Kind, OPERATIONS, kebab};
use crate::cli::kms_value::{UsageError, one, parse_value, text_value, wrong};

/// Every verb, as `aws kms` spells it.
pub fn verbs() -> impl Iterator<Item = String> {
    OPERATIONS.iter().map(|(name, _)| kebab(name))
}

/// The options of a verb, as `aws kms` spells them; `None` if there is no such verb.
pub fn options(verb: &str) -> Option<Vec<String>> {
    let (_, members) = kms_table::find(verb)?;
    Some(members.iter().map(|(member, _)| format!("--{}", kebab(member))).collect())
}

/// The operation and its input that arguments such as `create-alias --alias-name alias/x
/// --target-key-id ID` ask for.
///
/// `--cli-input-json` gives members that options then add to. `--output json` is accepted, and what
/// only says how `aws` talks to a terminal.
///
/// # Errors
/// [`UsageError`], naming the argument.
pub fn operation_and_input(args: &[String]) -> Result<(String, Value), UsageError> {
    let Some((verb, mut rest)) = args.split_first() else {
        return wrong("no verb");
    };
    let Some((operation, members)) = kms_table::find(verb) else {
        return wrong(format!("unknown verb {verb}"));
    };
    let mut input = Map::new();
    while let Some((option, after)) = rest.split_first() {
        let Some(name) = option.strip_prefix("--") else {
            return wrong(format!("unexpected argument {option}"));
        };
        let (name, inline) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let count = after.iter().take_while(|value| !value.starts_with("--")).count();
        let (values, next) = after.split_at_checked(count).unwrap_or((&[], after));
        let values: Vec<String> = inline.into_iter().chain(values.iter().cloned()).collect();
        rest = next;
        if !take_global(name, &values, &mut input)? {
            take_member(name, &values, members, verb, &mut input)?;
        }
    }
    Ok(((*operation).to_owned(), Value::Object(input)))
}

/// Options that every verb has; tells whether it was one.
fn take_global(
    name: &str,
    values: &[String],
    input: &mut Map<String, Value>,
) -> Result<bool, UsageError> {
    match name {
        "output" if one(name, values)? == "json" => Ok(true),
        "output" => wrong("--output: only json"),
        "no-cli-pager" | "no-paginate" if values.is_empty() => Ok(true),
        "cli-input-json" => {
            let text = text_value(name, one(name, values)?)?;
            match serde_json::from_str(&text) {
                Ok(Value::Object(map)) => {
                    let known = map.into_iter().filter(|(member, _)| !input.contains_key(member));
                    let known: Vec<_> = known.collect();
                    input.extend(known);
                    Ok(true)
                }
                Ok(_) | Err(_) => wrong("--cli-input-json: not a JSON object"),
            }
        }
        _ => Ok(false),
    }
}

fn take_member(
    name: &str,
    values: &[String],
    members: &[(&'static str, Kind)],
    verb: &str,
    input: &mut Map<String, Value>,
) -> Result<(), UsageError> {
    let found = members.iter().find(|(member, _)| kebab(member) == name);
    if let Some((member, kind)) = found {
        let value = parse_value(name, *kind, values)?;
        input.insert((*member).to_owned(), value);
        return Ok(());
    }
    let negated = name.strip_prefix("no-").and_then(|name| {
        members.iter().find(|(member, kind)| *kind == Kind::Flag && kebab(member) == name)
    });
    match negated {
        Some((member, _)) if values.is_empty() => {
            input.insert((*member).to_owned(), Value::Bool(false));
            Ok(())
        }
        Some(_) => wrong(format!("--{name} takes no value")),
        None => wrong(format!("{verb} has no option --{name}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(line: &str) -> Result<(String, Value), UsageError> {
        operation_and_input(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_become_members() {
        for (line, operation, input) in [
            ("list-keys", "ListKeys", json!({})),
            ("list-keys --limit 5 --output json", "ListKeys", json!({"Limit": 5})),
            (
                "rotate-key-on-demand --key-id=alias/x",
                "RotateKeyOnDemand",
                json!({"KeyId": "alias/x"}),
            ),
            (
                "encrypt --key-id k --plaintext aGk= --encryption-context a=1,b=2 --dry-run",
                "Encrypt",
                json!({"KeyId": "k", "Plaintext": "aGk=",
                    "EncryptionContext": {"a": "1", "b": "2"}, "DryRun": true}),
            ),
            (
                "encrypt --encryption-context {\"a\":\"1\"} --no-dry-run",
                "Encrypt",
                json!({"EncryptionContext": {"a": "1"}, "DryRun": false}),
            ),
            (
                "tag-resource --key-id k --tags TagKey=a,TagValue=1 TagKey=b,TagValue=2",
                "TagResource",
                json!({"KeyId": "k", "Tags": [{"TagKey": "a", "TagValue": "1"},
                    {"TagKey": "b", "TagValue": "2"}]}),
            ),
            (
                "untag-resource --key-id k --tag-keys a b",
                "UntagResource",
                json!({"KeyId": "k", "TagKeys": ["a", "b"]}),
            ),
            (
                "describe-key --cli-input-json {\"KeyId\":\"k\"}",
                "DescribeKey",
                json!({"KeyId": "k"}),
            ),
            (
                "create-grant --constraints EncryptionContextSubset={a=1,b=\"2,}\"},SourceArn=x",
                "CreateGrant",
                json!({"Constraints": {"EncryptionContextSubset": {"a": "1", "b": "2,}"},
                    "SourceArn": "x"}}),
            ),
            (
                "create-grant --constraints {\"EncryptionContextEquals\":{\"a\":\"1\"}}",
                "CreateGrant",
                json!({"Constraints": {"EncryptionContextEquals": {"a": "1"}}}),
            ),
            (
                "import-key-material --valid-to 2026-01-31T23:59:59Z --no-cli-pager",
                "ImportKeyMaterial",
                json!({"ValidTo": 1_769_903_999}),
            ),
            (
                "decrypt --encryption-context a=\"1,2\",b=3",
                "Decrypt",
                json!({"EncryptionContext": {"a": "1,2", "b": "3"}}),
            ),
        ] {
            assert_eq!(parse(line), Ok((operation.to_owned(), input)), "{line}");
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, words) in [
            ("frobnicate", "unknown verb frobnicate"),
            ("list-keys --key-id x", "list-keys has no option --key-id"),
            ("list-keys --limit many", "--limit: not a whole number"),
            ("list-keys --limit", "--limit needs a value"),
            ("list-keys x", "unexpected argument x"),
            ("list-keys --output text", "--output: only json"),
            (
                "encrypt --plaintext !",
                "--plaintext: not base64; fileb://PATH reads bytes from a file",
            ),
            ("encrypt --encryption-context a", "--encryption-context: a has no '='"),
            ("create-grant --constraints A={b=1", "--constraints: a { has no end"),
            (
                "import-key-material --valid-to tomorrow",
                "--valid-to: neither seconds since 1970 nor a time such as 2026-01-31T23:59:59Z",
            ),
            ("encrypt --dry-run yes", "--dry-run takes no value"),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), words, "{line}");
        }
    }

    #[test]
    fn files_are_read_where_the_prefix_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plain");
        std::fs::write(&path, [0xff, 0x00]).unwrap();
        let (_, input) = parse(&format!("encrypt --plaintext fileb://{}", path.display())).unwrap();
        assert_eq!(input, json!({"Plaintext": "/wA="}));
    }
}
