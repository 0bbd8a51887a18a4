//! GetKeyPolicy, PutKeyPolicy, ListKeyPolicies.

use serde_json::{Map, Value, json};

use crate::kms::access::KeyPolicy;
use crate::kms::audit::UseParams;
use crate::kms::check::{Check, Form};
use crate::kms::ring::NamedBy;
use crate::kms::state::Op;
use crate::kms::{EncryptionContext, KeyRef, Kms, KmsError, Page, PageRequest, Principal};

/// The one name that a policy can have.
pub(crate) const POLICY_NAME: &str = "default";
/// Longest policy that a caller may send, in characters.
const POLICY_LEN_MAX: usize = 131_072;
/// Longest policy of a key, in bytes: AWS' quota.
const POLICY_QUOTA: usize = 32_768;
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
        let params = UseParams::of_key(key.as_str());
        self.using(Op::GetKeyPolicy, params, |view| {
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
            "policy": policy, "bypassPolicyLockoutSafetyCheck": bypass.then_some(true)}));
        self.change(Op::PutKeyPolicy, params, |draft| {
            check_names(key, policy_name)?;
            check_policy(policy)?;
            let id = draft.admit(key)?.id.clone();
            check_policy_name(policy_name)?;
            let policy = read_policy(policy)?;
            draft.set_policy(&id, Some(policy), bypass)?;
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
        let params = UseParams::of_key(key.as_str());
        self.using(Op::ListKeyPolicies, params, |view| {
            check_names(key, None)?;
            page.check()?;
            view.admit(key.as_str(), NamedBy::IdOrArn, &EncryptionContext::new())?;
            Ok(Page { entries: vec![POLICY_NAME.to_owned()], next_marker: None })
        })
    }
}

fn check_names(key: &KeyRef, policy_name: Option<&str>) -> Result<(), KmsError> {
    let policy_name = policy_name.unwrap_or(POLICY_NAME);
    Check::default()
        .key("keyId", key.as_str())
        .text("policyName", policy_name, 1, POLICY_NAME_LEN_MAX)
        .form("policyName", policy_name, Form::POLICY_NAME)
        .finish()
}

/// The first check of a policy that a caller sends.
pub(crate) fn check_policy(policy: &str) -> Result<(), KmsError> {
    Check::default()
        .text("policy", policy, 1, POLICY_LEN_MAX)
        .form("policy", policy, Form::POLICY)
        .finish()
}

/// Reads a policy that a key is to have.
pub(crate) fn read_policy(policy: &str) -> Result<KeyPolicy, KmsError> {
    if policy.len() > POLICY_QUOTA {
        let message = format!("A key policy has at most {POLICY_QUOTA} bytes.");
        return Err(KmsError::LimitExceeded { message });
    }
    KeyPolicy::parse(policy)
}

fn check_policy_name(policy_name: Option<&str>) -> Result<(), KmsError> {
    match policy_name {
        None | Some(POLICY_NAME) => Ok(()),
        Some(_) => Err(KmsError::NotFound { message: "No such policy exists".to_owned() }),
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

/// The policy of a key that a service manages: everybody who may use the service, through it; and the
/// account may look.
pub(crate) fn service_policy(account: &str, region: &str, service: &str) -> String {
    let host = match service {
        "fs" => Principal::FILESYSTEM.to_owned(),
        service => format!("{service}.{region}.amazonaws.com"),
    };
    let policy = json!({
        "Version": "2012-10-17",
        "Id": format!("auto-{service}-1"),
        "Statement": [{
            "Sid": format!("Allow access through {service} for all principals in the account that \
                            are authorized to use {service}"),
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*",
                "kms:CreateGrant", "kms:DescribeKey"],
            "Resource": "*",
            "Condition": {"StringEquals": {"kms:CallerAccount": account, "kms:ViaService": host}},
        }, {
            "Sid": "Allow direct access to key metadata to the account",
            "Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
            "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"],
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
    fn our_own_policies_are_well_formed() {
        assert!(KeyPolicy::parse(&default_policy("000000000000")).is_ok());
        assert!(KeyPolicy::parse(&service_policy("000000000000", "us-east-1", "ebs")).is_ok());
    }
}
