//! Policy documents: key policies, and the identity policies of principals.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::kms::KmsError;
use crate::kms::access::action::{Action, Actions};
use crate::kms::access::condition::{Condition, words};
use crate::kms::access::facts::Call;
use crate::kms::access::text::{Text, Variables};

/// A document and what it says.
#[derive(Clone, Debug)]
pub(crate) struct KeyPolicy {
    /// As it was put.
    pub(crate) text: String,
    pub(super) statements: Arc<[Statement]>,
}

/// One statement.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) is_deny: bool,
    pub(super) principals: Principals,
    /// `NotPrincipal`.
    pub(super) other_principals: bool,
    actions: Actions,
    /// `NotAction`.
    other_actions: bool,
    resources: Vec<Text>,
    /// `NotResource`.
    other_resources: bool,
    conditions: Vec<Condition>,
}

/// Whom a document speaks of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A key's policy: each statement names its principals.
    Key,
    /// A principal's policy: no statement does.
    Identity,
}

/// What a principal may do, whatever the key.
#[derive(Clone, Debug)]
pub struct IdentityPolicy {
    text: Arc<str>,
    pub(super) statements: Arc<[Statement]>,
}

impl PartialEq for IdentityPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for IdentityPolicy {}

impl IdentityPolicy {
    /// Reads a document: statements without principals.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let statements = statements(text, Kind::Identity)?;
        check_meaning(&statements)?;
        Ok(Self { text: text.into(), statements: statements.into() })
    }
}

/// Whom a statement names.
#[derive(Clone, Debug, Default)]
pub(super) struct Principals {
    pub(super) everyone: bool,
    /// ARNs, and accounts by their 12 digits.
    pub(super) aws: Vec<String>,
    pub(super) services: Vec<String>,
}

impl KeyPolicy {
    /// Reads a document.
    ///
    /// # Errors
    /// [`KmsError::MalformedPolicyDocument`].
    pub(crate) fn parse(text: &str) -> Result<Self, KmsError> {
        let wrong = |message: String| KmsError::MalformedPolicyDocument { message };
        let statements = statements(text, Kind::Key).map_err(wrong)?;
        check_meaning(&statements).map_err(wrong)?;
        Ok(Self { text: text.to_owned(), statements: statements.into() })
    }

    /// A document that was accepted once. One that is not understood any more allows nobody.
    pub(crate) fn of_accepted(text: String) -> Self {
        let statements = statements(&text, Kind::Key).unwrap_or_default();
        Self { text, statements: statements.into() }
    }
}

impl Statement {
    /// Whether it is about this action, on what has this ARN, and all its conditions hold.
    pub(super) fn applies(&self, action: Action, arn: &str, call: &Call<'_>) -> bool {
        let here = |pattern: &Text| pattern.is_star() || pattern.matches(arn, call);
        self.actions.contains(action) != self.other_actions
            && self.resources.iter().any(here) != self.other_resources
            && self.conditions.iter().all(|condition| condition.holds(call))
    }
}

/// Refuses what is well-formed and would never apply as it was meant: patterns of principals, but for
/// the star that stands for everybody, and values that nothing can be compared with.
fn check_meaning(statements: &[Statement]) -> Result<(), String> {
    let is_pattern = |name: &String| name != "*" && name.contains(['*', '?']);
    if statements.iter().any(|statement| statement.principals.aws.iter().any(is_pattern)) {
        return Err("Policy contains a statement with one or more invalid principals.".to_owned());
    }
    let mut conditions = statements.iter().flat_map(|statement| &statement.conditions);
    match conditions.all(Condition::is_comparable) {
        true => Ok(()),
        false => Err("Policy contains a condition with an invalid value.".to_owned()),
    }
}

fn statements(text: &str, kind: Kind) -> Result<Vec<Statement>, String> {
    let document: Value = serde_json::from_str(text).map_err(|_| "policy is not JSON")?;
    let document = document.as_object().ok_or("policy is not an object")?;
    for (member, value) in document {
        let is_right = match member.as_str() {
            "Version" => matches!(value.as_str(), Some("2012-10-17" | "2008-10-17")),
            "Id" => value.is_string(),
            "Statement" => true,
            _ => false,
        };
        if !is_right {
            return Err(format!("policy has a bad member {member}"));
        }
    }
    let variables = match document.get("Version").and_then(Value::as_str) {
        Some("2012-10-17") => Variables::Offered,
        _ => Variables::Unknown,
    };
    match document.get("Statement") {
        Some(Value::Array(all)) => {
            all.iter().map(|value| statement(value, kind, variables)).collect()
        }
        Some(one) => Ok(vec![statement(one, kind, variables)?]),
        None => Err("policy has no Statement".to_owned()),
    }
}

fn statement(value: &Value, kind: Kind, variables: Variables) -> Result<Statement, String> {
    let members = value.as_object().ok_or("statement is not an object")?;
    const KNOWN: [&str; 9] = [
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    ];
    if let Some(member) = members.keys().find(|member| !KNOWN.contains(&member.as_str())) {
        return Err(format!("statement has a bad member {member}"));
    }
    if members.get("Sid").is_some_and(|sid| !sid.is_string()) {
        return Err("statement has a bad member Sid".to_owned());
    }
    let is_deny = match members.get("Effect").and_then(Value::as_str) {
        Some("Allow") => false,
        Some("Deny") => true,
        Some(_) => return Err("statement has a bad member Effect".to_owned()),
        None => return Err("statement has no Effect".to_owned()),
    };
    let (principals, other_principals) = match kind {
        Kind::Key => one_of(members, "Principal", "NotPrincipal")?,
        Kind::Identity => (&Value::Null, false),
    };
    let has_principals = members.contains_key("Principal") || members.contains_key("NotPrincipal");
    if kind == Kind::Identity && has_principals {
        return Err("statement of an identity policy has a Principal".to_owned());
    }
    let (actions, other_actions) = one_of(members, "Action", "NotAction")?;
    let (resources, other_resources) = one_of(members, "Resource", "NotResource")?;
    let bad = |member: &str| format!("statement has a bad member {member}");
    let texts = |value: &Value, member: &str| {
        let is_text = match value {
            Value::Array(list) => list.iter().all(Value::is_string),
            other => other.is_string(),
        };
        words(value).filter(|_| is_text).ok_or_else(|| bad(member))
    };
    let resources = texts(resources, "Resource")?.into_iter();
    let conditions = members.get("Condition");
    Ok(Statement {
        is_deny,
        principals: match kind {
            Kind::Key => parse_principals(principals).ok_or_else(|| bad("Principal"))?,
            Kind::Identity => Principals { everyone: true, ..Principals::default() },
        },
        other_principals,
        actions: Actions::of_patterns(&texts(actions, "Action")?),
        other_actions,
        resources: resources.map(|pattern| Text::parse(pattern, variables)).collect(),
        other_resources,
        conditions: conditions
            .map_or(Ok(Vec::new()), |block| Condition::parse_block(block, variables))?,
    })
}

/// The member of one of two names, and whether it is the second.
fn one_of<'a>(
    members: &'a Map<String, Value>,
    name: &str,
    negated: &str,
) -> Result<(&'a Value, bool), String> {
    match (members.get(name), members.get(negated)) {
        (Some(value), None) => Ok((value, false)),
        (None, Some(value)) => Ok((value, true)),
        (Some(_), Some(_)) => Err(format!("statement has both {name} and {negated}")),
        (None, None) => Err(format!("statement has no {name}")),
    }
}

fn parse_principals(value: &Value) -> Option<Principals> {
    let mut principals = Principals::default();
    let kinds = match value {
        Value::Object(kinds) => kinds,
        other => {
            principals.everyone = other.as_str() == Some("*");
            return principals.everyone.then_some(principals);
        }
    };
    for (kind, value) in kinds {
        let words = words(value)?;
        match kind.as_str() {
            "AWS" => {
                principals.everyone |= words.iter().any(|word| word == "*");
                principals.aws.extend(words);
            }
            "Service" => principals.services.extend(words),
            // Known to AWS, and never one of our callers.
            "Federated" | "CanonicalUser" => {}
            _ => return None,
        }
    }
    Some(principals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_documents_are_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"Version":"2013-01-01","Statement":[]}"#,
            r#"{"Statement":[{"Effect":"Maybe","Principal":"*","Action":"kms:*","Resource":"*"}]}"#,
            r#"{"Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}"#,
            r#"{"Statement":[{"Effect":"Allow","Principal":"x","Action":"kms:*","Resource":"*"}]}"#,
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":7,"Resource":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"a","NotAction":"b","Resource":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"a","Resource":"*","Condition":[]}}"#,
        ] {
            let refused = KeyPolicy::parse(text);
            assert!(matches!(refused, Err(KmsError::MalformedPolicyDocument { .. })), "{text}");
        }
        let pattern = r#"{"Statement":{"Effect":"Deny","Principal":{"AWS":"a:*"},"Action":"a","Resource":"*"}}"#;
        assert!(KeyPolicy::parse(pattern).is_err());
        assert_eq!(KeyPolicy::of_accepted(pattern.to_owned()).statements.len(), 1);
        let fine =
            r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":["kms:*"],"Resource":"*"}}"#;
        assert!(KeyPolicy::parse(fine).is_ok());
    }

    #[test]
    fn statements_of_identity_policies_name_no_principals() {
        let with = r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"a","Resource":"*"}}"#;
        assert!(IdentityPolicy::parse(with).is_err());
        let without = r#"{"Statement":{"Effect":"Deny","Action":"a","Resource":"*"}}"#;
        assert!(IdentityPolicy::parse(without).is_ok());
        assert!(KeyPolicy::parse(without).is_err());
    }
}
