//! `kmsfs kms VERB --options`: the verbs and options of `aws kms`, turned into an operation and its
//! JSON input by a table. A new operation is one row. Answers are printed by `kms_answer`.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Largest file that an option may name, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// What an option's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Bytes: `fileb://PATH`, or base64.
    Blob,
    /// A switch: `--dry-run`, `--no-dry-run`.
    Flag,
    /// A whole number.
    Integer,
    /// `k=v,k2=v2`, or a JSON object.
    Map,
    /// Values behind each other, or a JSON array.
    Strings,
    /// `TagKey=k,TagValue=v` behind each other, or a JSON array.
    Structures,
    /// A text, or `file://PATH`.
    Text,
}

/// One operation: its name, and its members with their kinds.
type Row = (&'static str, &'static [(&'static str, Kind)]);

const KEY: (&str, Kind) = ("KeyId", Kind::Text);
const LIMIT: (&str, Kind) = ("Limit", Kind::Integer);
const MARKER: (&str, Kind) = ("Marker", Kind::Text);
const ALIAS: (&str, Kind) = ("AliasName", Kind::Text);
const TARGET: (&str, Kind) = ("TargetKeyId", Kind::Text);
const CONTEXT: (&str, Kind) = ("EncryptionContext", Kind::Map);
const GRANTS: (&str, Kind) = ("GrantTokens", Kind::Strings);
const DRY_RUN: (&str, Kind) = ("DryRun", Kind::Flag);
const ALGORITHM: (&str, Kind) = ("EncryptionAlgorithm", Kind::Text);
const POLICY_NAME: (&str, Kind) = ("PolicyName", Kind::Text);
const BYPASS: (&str, Kind) = ("BypassPolicyLockoutSafetyCheck", Kind::Flag);
const GRANT_ID: (&str, Kind) = ("GrantId", Kind::Text);
const MESSAGE: (&str, Kind) = ("Message", Kind::Blob);
const MESSAGE_TYPE: (&str, Kind) = ("MessageType", Kind::Text);
const SIGNING: (&str, Kind) = ("SigningAlgorithm", Kind::Text);
const MAC_ALGORITHM: (&str, Kind) = ("MacAlgorithm", Kind::Text);
const ENCAPSULATION: (&str, Kind) = ("EncapsulationAlgorithm", Kind::Text);
const DATA_KEY_PAIR: &[(&str, Kind)] =
    &[CONTEXT, KEY, ("KeyPairSpec", Kind::Text), GRANTS, DRY_RUN];
const DATA_KEY: &[(&str, Kind)] =
    &[KEY, CONTEXT, ("KeySpec", Kind::Text), ("NumberOfBytes", Kind::Integer), GRANTS, DRY_RUN];

/// The operations, sorted by name.
const OPERATIONS: &[Row] = &[
    ("CancelKeyDeletion", &[KEY]),
    ("CreateAlias", &[ALIAS, TARGET]),
    (
        "CreateGrant",
        &[
            KEY,
            ("GranteePrincipal", Kind::Text),
            ("RetiringPrincipal", Kind::Text),
            ("Operations", Kind::Strings),
            ("Constraints", Kind::Text),
            GRANTS,
            ("Name", Kind::Text),
            DRY_RUN,
            ("GranteeServicePrincipal", Kind::Text),
            ("RetiringServicePrincipal", Kind::Text),
        ],
    ),
    (
        "CreateKey",
        &[
            ("Policy", Kind::Text),
            ("Description", Kind::Text),
            ("KeyUsage", Kind::Text),
            ("CustomerMasterKeySpec", Kind::Text),
            ("KeySpec", Kind::Text),
            ("Origin", Kind::Text),
            ("CustomKeyStoreId", Kind::Text),
            BYPASS,
            ("Tags", Kind::Structures),
            ("MultiRegion", Kind::Flag),
            ("XksKeyId", Kind::Text),
        ],
    ),
    (
        "Decapsulate",
        &[KEY, ("SharedSecretCiphertextBlob", Kind::Blob), ENCAPSULATION, GRANTS, DRY_RUN],
    ),
    ("Decrypt", &[("CiphertextBlob", Kind::Blob), CONTEXT, GRANTS, KEY, ALGORITHM, DRY_RUN]),
    ("DeleteAlias", &[ALIAS]),
    ("DeleteImportedKeyMaterial", &[KEY, ("KeyMaterialId", Kind::Text)]),
    (
        "DeriveSharedSecret",
        &[KEY, ("KeyAgreementAlgorithm", Kind::Text), ("PublicKey", Kind::Blob), GRANTS, DRY_RUN],
    ),
    ("DescribeKey", &[KEY, GRANTS]),
    ("DisableKey", &[KEY]),
    ("DisableKeyRotation", &[KEY]),
    ("EnableKey", &[KEY]),
    ("EnableKeyRotation", &[KEY, ("RotationPeriodInDays", Kind::Integer)]),
    ("Encapsulate", &[KEY, ENCAPSULATION, GRANTS, DRY_RUN]),
    ("Encrypt", &[KEY, ("Plaintext", Kind::Blob), CONTEXT, GRANTS, ALGORITHM, DRY_RUN]),
    ("GenerateDataKey", DATA_KEY),
    ("GenerateDataKeyPair", DATA_KEY_PAIR),
    ("GenerateDataKeyPairWithoutPlaintext", DATA_KEY_PAIR),
    ("GenerateDataKeyWithoutPlaintext", DATA_KEY),
    ("GenerateMac", &[MESSAGE, KEY, MAC_ALGORITHM, GRANTS, DRY_RUN]),
    ("GenerateRandom", &[("NumberOfBytes", Kind::Integer), ("CustomKeyStoreId", Kind::Text)]),
    ("GetKeyLastUsage", &[KEY]),
    ("GetKeyPolicy", &[KEY, POLICY_NAME]),
    ("GetKeyRotationStatus", &[KEY]),
    (
        "GetParametersForImport",
        &[KEY, ("WrappingAlgorithm", Kind::Text), ("WrappingKeySpec", Kind::Text)],
    ),
    ("GetPublicKey", &[KEY, GRANTS]),
    (
        "ImportKeyMaterial",
        &[
            KEY,
            ("ImportToken", Kind::Blob),
            ("EncryptedKeyMaterial", Kind::Blob),
            ("ValidTo", Kind::Integer),
            ("ExpirationModel", Kind::Text),
            ("ImportType", Kind::Text),
            ("KeyMaterialDescription", Kind::Text),
            ("KeyMaterialId", Kind::Text),
        ],
    ),
    ("ListAliases", &[KEY, LIMIT, MARKER]),
    (
        "ListGrants",
        &[
            LIMIT,
            MARKER,
            KEY,
            GRANT_ID,
            ("GranteePrincipal", Kind::Text),
            ("GranteeServicePrincipal", Kind::Text),
        ],
    ),
    ("ListKeyPolicies", &[KEY, LIMIT, MARKER]),
    ("ListKeyRotations", &[KEY, ("IncludeKeyMaterial", Kind::Text), LIMIT, MARKER]),
    ("ListKeys", &[LIMIT, MARKER]),
    ("ListResourceTags", &[KEY, LIMIT, MARKER]),
    (
        "ListRetirableGrants",
        &[
            LIMIT,
            MARKER,
            ("RetiringPrincipal", Kind::Text),
            ("RetiringServicePrincipal", Kind::Text),
        ],
    ),
    ("PutKeyPolicy", &[KEY, POLICY_NAME, ("Policy", Kind::Text), BYPASS]),
    (
        "ReEncrypt",
        &[
            ("CiphertextBlob", Kind::Blob),
            ("SourceEncryptionContext", Kind::Map),
            ("SourceKeyId", Kind::Text),
            ("DestinationKeyId", Kind::Text),
            ("DestinationEncryptionContext", Kind::Map),
            ("SourceEncryptionAlgorithm", Kind::Text),
            ("DestinationEncryptionAlgorithm", Kind::Text),
            GRANTS,
            DRY_RUN,
        ],
    ),
    (
        "ReplicateKey",
        &[
            KEY,
            ("ReplicaRegion", Kind::Text),
            ("Policy", Kind::Text),
            BYPASS,
            ("Description", Kind::Text),
            ("Tags", Kind::Structures),
        ],
    ),
    ("RetireGrant", &[("GrantToken", Kind::Text), KEY, GRANT_ID, DRY_RUN]),
    ("RevokeGrant", &[KEY, GRANT_ID, DRY_RUN]),
    ("RotateKeyOnDemand", &[KEY]),
    ("ScheduleKeyDeletion", &[KEY, ("PendingWindowInDays", Kind::Integer)]),
    ("Sign", &[KEY, MESSAGE, MESSAGE_TYPE, GRANTS, SIGNING, DRY_RUN]),
    ("TagResource", &[KEY, ("Tags", Kind::Structures)]),
    ("UntagResource", &[KEY, ("TagKeys", Kind::Strings)]),
    ("UpdateAlias", &[ALIAS, TARGET]),
    ("UpdateKeyDescription", &[KEY, ("Description", Kind::Text)]),
    ("UpdatePrimaryRegion", &[KEY, ("PrimaryRegion", Kind::Text)]),
    ("Verify", &[KEY, MESSAGE, MESSAGE_TYPE, ("Signature", Kind::Blob), SIGNING, GRANTS, DRY_RUN]),
    ("VerifyMac", &[MESSAGE, KEY, MAC_ALGORITHM, ("Mac", Kind::Blob), GRANTS, DRY_RUN]),
];

/// Arguments that are not of the form of `aws kms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<UsageError> for String {
    fn from(error: UsageError) -> Self {
        error.0
    }
}

fn wrong<T>(what: impl Into<String>) -> Result<T, UsageError> {
    Err(UsageError(what.into()))
}

/// Every verb, as `aws kms` spells it.
pub fn verbs() -> impl Iterator<Item = String> {
    OPERATIONS.iter().map(|(name, _)| kebab(name))
}

/// The options of a verb, as `aws kms` spells them; `None` if there is no such verb.
pub fn options(verb: &str) -> Option<Vec<String>> {
    let (_, members) = find_operation(verb)?;
    Some(members.iter().map(|(member, _)| format!("--{}", kebab(member))).collect())
}

/// The operation and its input that arguments such as `create-alias --alias-name alias/x
/// --target-key-id ID` ask for.
///
/// `--cli-input-json` gives members that options then add to. `--output json` is accepted.
///
/// # Errors
/// [`UsageError`], naming the argument.
pub fn operation_and_input(args: &[String]) -> Result<(String, Value), UsageError> {
    let Some((verb, mut rest)) = args.split_first() else {
        return wrong("no verb");
    };
    let Some((operation, members)) = find_operation(verb) else {
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

fn parse_value(name: &str, kind: Kind, values: &[String]) -> Result<Value, UsageError> {
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
        Kind::Structures => match json_value(name, values)? {
            Some(list) => Ok(list),
            None if values.is_empty() => wrong(format!("--{name} needs a value")),
            None => values.iter().map(|value| pairs(name, value).map(Value::Object)).collect(),
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
        map.extend(pairs(name, value)?);
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

/// The shorthand `k=v,k2=v2`. A value may stand in double quotes, commas in it then count as text.
fn pairs(name: &str, text: &str) -> Result<Map<String, Value>, UsageError> {
    let mut map = Map::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some((key, after)) = rest.split_once('=') else {
            return wrong(format!("--{name}: {rest} has no '='"));
        };
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => match quoted.split_once('"') {
                Some((value, after)) => (value, after.strip_prefix(',').unwrap_or(after)),
                None => return wrong(format!("--{name}: a quote has no end")),
            },
            None => after.split_once(',').unwrap_or((after, "")),
        };
        map.insert(key.trim_start().to_owned(), Value::String(value.to_owned()));
        rest = after;
    }
    Ok(map)
}

fn one<'a>(name: &str, values: &'a [String]) -> Result<&'a str, UsageError> {
    match values {
        [value] => Ok(value),
        [] => wrong(format!("--{name} needs a value")),
        _ => wrong(format!("--{name} takes one value")),
    }
}

/// A text, or the content of `file://PATH`.
fn text_value(name: &str, value: &str) -> Result<String, UsageError> {
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

fn find_operation(verb: &str) -> Option<&'static Row> {
    OPERATIONS.iter().find(|(name, _)| kebab(name) == verb)
}

/// `KeyId` as `key-id`.
fn kebab(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn every_verb_is_an_operation_of_the_service() {
        for (name, _) in OPERATIONS {
            assert!(crate::kms::Op::parse(name).is_some(), "{name}");
        }
        assert!(OPERATIONS.is_sorted_by_key(|(name, _)| *name));
    }
}
