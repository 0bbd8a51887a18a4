//! GetKeyPolicy, PutKeyPolicy, ListKeyPolicies.

use serde_json::{Map, Value, json};

use crate::kms::access::{KeyPolicy, keeps_control};
use crate::kms::audit::{Params, UseParams};
use crate::kms::check::Check;
use crate::kms::key::KmsKey;
use crate::kms::ring::NamedBy;
use crate::kms::state::Op;
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
            Ok(key.policy.text.clone())
        })
    }

    /// `PutKeyPolicy`: replaces the document. Unless `bypass` is set, the caller must be able to do
    /// that once more afterwards.
    ///
    /// # Errors
    /// [`KmsError::MalformedPolicyDocument`], and those of the key.
    pub fn put_key_policy(
        &self,
        key: &KeyRef,
        policy_name: Option<&str>,
        policy: &str,
        bypass: bool,
    ) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": key.as_str(), "policyName": policy_name,
            "policy": policy}));
        self.change(Op::PutKeyPolicy, params, |draft| {
            check_names(key, policy_name)?;
            Check::default().text("policy", policy, 1, POLICY_LEN_MAX).finish()?;
            let principal = draft.principal;
            let target = draft.admit(key)?;
            check_policy_name(policy_name)?;
            let policy = KeyPolicy::parse(policy)?;
            check_control(principal, target, &policy, bypass)?;
            target.policy = policy;
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

/// Refuses a policy that nobody of the caller's could change again.
pub(crate) fn check_control(
    principal: &Principal,
    key: &KmsKey,
    policy: &KeyPolicy,
    bypass: bool,
) -> Result<(), KmsError> {
    if bypass || keeps_control(principal, key, policy) {
        return Ok(());
    }
    let message = "The new key policy will not allow you to update the key policy in the future.";
    Err(KmsError::MalformedPolicyDocument { message: message.to_owned() })
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
        assert!(KeyPolicy::parse(&default_policy("000000000000")).is_ok());
    }
}
