//! Key policies: kept, checked for their grammar, and shown. Evaluation comes later; until then every
//! principal of the account may do everything but manage what a service manages.

use serde_json::{Map, Value, json};

use crate::kms::audit::{Params, UseParams};
use crate::kms::check::Check;
use crate::kms::key::KmsKey;
use crate::kms::ring::NamedBy;
use crate::kms::spec::KeyManager;
use crate::kms::state::{Op, OpKind};
use crate::kms::{EncryptionContext, KeyRef, Kms, KmsError, Page, PageRequest, Principal};

/// The one name that a policy can have.
pub(crate) const POLICY_NAME: &str = "default";
/// Longest policy, in characters.
const POLICY_LEN_MAX: usize = 131_072;
/// Longest name of a policy that a caller may send, in characters.
const POLICY_NAME_LEN_MAX: usize = 128;

impl Kms {
    /// `GetKeyPolicy`: the document as it was put.
    ///
    /// # Errors
    /// [`KmsError::NotFound`] for another name than `default`.
    pub fn get_key_policy(
        &self,
        key: &KeyRef,
        policy_name: Option<&str>,
    ) -> Result<String, KmsError> {
        let params = UseParams { key: Some(key.as_str().to_owned()), ..UseParams::default() };
        self.using(Op::GetKeyPolicy, Params::Use(params), |view| {
            check_names(key, policy_name)?;
            let none = EncryptionContext::new();
            let key = view.admit(key.as_str(), NamedBy::IdOrArn, &none)?;
            check_policy_name(policy_name)?;
            Ok(key.policy.clone())
        })
    }

    /// `PutKeyPolicy`: replaces the document. Its grammar is checked; whether it would lock the
    /// caller out is not, until policies are evaluated.
    ///
    /// # Errors
    /// [`KmsError::MalformedPolicyDocument`], and those of the key.
    pub fn put_key_policy(
        &self,
        key: &KeyRef,
        policy_name: Option<&str>,
        policy: &str,
    ) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": key.as_str(), "policyName": policy_name,
            "policy": policy}));
        self.change(Op::PutKeyPolicy, params, |draft| {
            check_names(key, policy_name)?;
            Check::default().text("policy", policy, 1, POLICY_LEN_MAX).finish()?;
            let target = draft.admit(key)?;
            check_policy_name(policy_name)?;
            check_document(policy)?;
            policy.clone_into(&mut target.policy);
            Ok(())
        })
    }

    /// `ListKeyPolicies`: always the one name.
    ///
    /// # Errors
    /// Those of the key.
    pub fn list_key_policies(
        &self,
        key: &KeyRef,
        page: &PageRequest,
    ) -> Result<Page<String>, KmsError> {
        let params = UseParams { key: Some(key.as_str().to_owned()), ..UseParams::default() };
        self.using(Op::ListKeyPolicies, Params::Use(params), |view| {
            check_names(key, None)?;
            page.check()?;
            view.admit(key.as_str(), NamedBy::IdOrArn, &EncryptionContext::new())?;
            Ok(Page { entries: vec![POLICY_NAME.to_owned()], next_marker: None })
        })
    }
}

fn check_names(key: &KeyRef, policy_name: Option<&str>) -> Result<(), KmsError> {
    Check::default()
        .key("keyId", key.as_str())
        .text("policyName", policy_name.unwrap_or(POLICY_NAME), 1, POLICY_NAME_LEN_MAX)
        .finish()
}

fn check_policy_name(policy_name: Option<&str>) -> Result<(), KmsError> {
    match policy_name {
        None | Some(POLICY_NAME) => Ok(()),
        Some(_) => Err(KmsError::NotFound { message: "No such policy exists".to_owned() }),
    }
}

/// Whether a principal may do this with this key.
///
/// The one place that decides. So far: everything, but that a service's key can only be managed by
/// the service itself.
pub(crate) fn authorize(
    principal: &Principal,
    op: Op,
    key: &KmsKey,
    _context: &EncryptionContext,
) -> Result<(), KmsError> {
    let is_service = principal.name() == Principal::KMS || op == Op::RotateKey;
    if key.manager == KeyManager::Aws && op.kind() == OpKind::Change && !is_service {
        return Err(denied(principal, op, key));
    }
    Ok(())
}

fn denied(principal: &Principal, op: Op, key: &KmsKey) -> KmsError {
    KmsError::AccessDenied {
        message: format!(
            "User: {} is not authorized to perform: kms:{} on resource: {} because no \
             resource-based policy allows the kms:{} action",
            principal.name(),
            op.name(),
            key.arn,
            op.name()
        ),
    }
}

/// The policy of a key that is made without one.
pub(crate) fn default_policy(account: &str) -> String {
    let policy = json!({
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [{
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
            "Action": "kms:*",
            "Resource": "*",
        }],
    });
    serde_json::to_string_pretty(&policy).unwrap_or_default()
}

/// Checks the grammar of a policy document, as far as every policy has it.
pub(crate) fn check_document(text: &str) -> Result<(), KmsError> {
    let wrong = |message: &str| KmsError::MalformedPolicyDocument { message: message.to_owned() };
    let document: Value = serde_json::from_str(text).map_err(|_| wrong("policy is not JSON"))?;
    let document = document.as_object().ok_or_else(|| wrong("policy is not an object"))?;
    for (member, value) in document {
        let is_right = match member.as_str() {
            "Version" => matches!(value.as_str(), Some("2012-10-17" | "2008-10-17")),
            "Id" => value.is_string(),
            "Statement" => true,
            _ => false,
        };
        if !is_right {
            return Err(wrong(&format!("policy has a bad member {member}")));
        }
    }
    let statements = match document.get("Statement") {
        Some(Value::Array(statements)) => statements.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => return Err(wrong("policy has no Statement")),
    };
    statements.iter().try_for_each(|statement| check_statement(statement).map_err(|m| wrong(&m)))
}

fn check_statement(statement: &Value) -> Result<(), String> {
    let statement = statement.as_object().ok_or("statement is not an object")?;
    let is_words = |value: &Value| match value {
        Value::String(_) => true,
        Value::Array(words) => words.iter().all(Value::is_string),
        _ => false,
    };
    for (member, value) in statement {
        let is_right = match member.as_str() {
            "Sid" => value.is_string(),
            "Effect" => matches!(value.as_str(), Some("Allow" | "Deny")),
            "Action" | "NotAction" | "Resource" | "NotResource" => is_words(value),
            "Principal" | "NotPrincipal" => match value {
                Value::Object(kinds) => kinds.values().all(is_words),
                other => other.as_str() == Some("*"),
            },
            "Condition" => value.as_object().is_some_and(|c| c.values().all(Value::is_object)),
            _ => false,
        };
        if !is_right {
            return Err(format!("statement has a bad member {member}"));
        }
    }
    for one_of in [
        ["Effect", "Effect"],
        ["Principal", "NotPrincipal"],
        ["Action", "NotAction"],
        ["Resource", "NotResource"],
    ] {
        if !one_of.iter().any(|member| statement.contains_key(*member)) {
            return Err(format!("statement has no {}", one_of.first().unwrap_or(&"")));
        }
    }
    Ok(())
}

/// The members of a JSON object without those that are null: parameters of an audit record.
pub(crate) fn as_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_is_well_formed() {
        assert_eq!(check_document(&default_policy("000000000000")), Ok(()));
    }

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
        ] {
            let refused = check_document(text);
            assert!(matches!(refused, Err(KmsError::MalformedPolicyDocument { .. })), "{text}");
        }
        let fine =
            r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":["kms:*"],"Resource":"*"}}"#;
        assert_eq!(check_document(fine), Ok(()));
    }
}
