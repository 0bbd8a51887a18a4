//! Requests about keys: rotate, and any operation of the KMS.

use std::time::Duration;

use serde_json::Value;

use crate::control::report::RotateReport;
use crate::control::session::OnProgress;
use crate::control::{Failure, Kind, RewrapRequest, Session};
use crate::kms::{
    AliasName, KeyArn, KeyDescription, KeyId, KeyRef, KeyService, Kms, KmsError, LOSS_TAG,
    PageRequest, Tag,
};
use crate::wire;

/// Longest time that files are counted where nobody asked for the number alone.
pub(super) const COUNT_TIME_MAX: Duration = Duration::from_secs(2);

/// Pages of ListKeys that a search for a prefix reads: 100,000 keys.
const KEY_PAGES_MAX: usize = 1000;

impl Session {
    pub(super) fn rotate(
        &self,
        rewrap: bool,
        progress: OnProgress<'_>,
    ) -> Result<RotateReport, Failure> {
        let mut report = rotate_key(&self.kms, &self.key_ref())?;
        self.settle();
        report.files_left = self.count_stale(COUNT_TIME_MAX);
        if rewrap {
            report.rewrap = Some(self.rewrap(&RewrapRequest::default(), progress)?);
        }
        Ok(report)
    }

    /// One operation of the KMS. A key that files need is not given up without a reason.
    pub(super) fn kms_operation(
        &self,
        operation: &str,
        input: &Value,
        force: Option<&str>,
        progress: OnProgress<'_>,
    ) -> Result<Value, Failure> {
        if gives_up_a_key(operation) {
            self.check_unneeded(input, force, progress)?;
        }
        let answer = kms_call(&self.kms, operation, input)?;
        self.settle();
        Ok(answer)
    }

    /// Refuses if a file, or the volume itself, is wrapped by the key that `input` names.
    fn check_unneeded(
        &self,
        input: &Value,
        force: Option<&str>,
        progress: OnProgress<'_>,
    ) -> Result<(), Failure> {
        let Some(name) = input.get("KeyId").and_then(Value::as_str) else {
            return Ok(());
        };
        let Ok(key) = look(&self.kms, &KeyRef::new(name)) else {
            return Ok(());
        };
        if let Some(reason) = force {
            return record_reason(&self.kms, &key.arn, reason);
        }
        let shown = shown_key(name, &key.arn);
        let files = self.count_files_of(&key.arn, progress)?;
        let volume = self.shown_path();
        let volume = volume.display();
        if files > 0 {
            let what = format!("{shown} is still needed by {files} files of {volume}");
            return Err(Failure::new(Kind::InUse, what).hint(format!(
                "kmsfs rewrap {volume} --key {name}   (or --force-data-loss=REASON to lose their content)"
            )));
        }
        if self.base.key_arn == key.arn.as_str() {
            let what = format!("{shown} is still needed by the names of {volume}");
            return Err(Failure::new(Kind::InUse, what)
                .hint("--force-data-loss=REASON to lose the whole volume"));
        }
        Ok(())
    }
}

/// Whether an operation makes what a key wrapped unreadable for good.
pub(crate) fn gives_up_a_key(operation: &str) -> bool {
    matches!(operation, "DeleteImportedKeyMaterial" | "ScheduleKeyDeletion")
}

/// Puts the reason for a loss of data on the key, and with that into the audit log.
pub(crate) fn record_reason(kms: &Kms, key: &KeyArn, reason: &str) -> Result<(), Failure> {
    let tag = Tag { key: LOSS_TAG.to_owned(), value: reason.to_owned() };
    Ok(kms.tag_resource(&KeyRef::from(key), &[tag])?)
}

/// One operation of the KMS as the owner of the key database. Keys may be named by alias, or by a
/// unique prefix, where AWS takes an id only.
pub(crate) fn kms_call(kms: &Kms, operation: &str, input: &Value) -> Result<Value, Failure> {
    let input = with_whole_ids(kms, operation, input.clone())?;
    Ok(wire::call(kms, kms.principal(), operation, &input)?)
}

/// Operations whose `KeyId` may be an alias. AWS KMS API reference, each operation's `KeyId`.
const TAKE_ALIASES: &[&str] = &[
    "Decrypt",
    "DeriveSharedSecret",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GetPublicKey",
    "ReEncrypt",
    "Sign",
    "Verify",
    "VerifyMac",
];

fn with_whole_ids(kms: &Kms, operation: &str, mut input: Value) -> Result<Value, Failure> {
    for member in ["KeyId", "TargetKeyId"] {
        let Some(value) = input.get_mut(member) else { continue };
        let Some(name) = value.as_str() else { continue };
        let takes_alias = member == "KeyId" && TAKE_ALIASES.contains(&operation);
        if !name.starts_with("alias/") {
            *value = resolve_prefix(kms, name)?.into();
        } else if let (false, Ok(key)) = (takes_alias, look(kms, &KeyRef::new(name))) {
            *value = key.arn.key_id().as_str().into();
        }
    }
    Ok(input)
}

/// New material for a key; the service's own way for the service's own key.
pub(crate) fn rotate_key(kms: &Kms, key: &KeyRef) -> Result<RotateReport, Failure> {
    let before = look(kms, key)?;
    let service_key = look(kms, &KeyRef::new(AliasName::FILESYSTEM)).ok();
    let is_service_key = service_key.is_some_and(|service| service.arn == before.arn);
    match AliasName::parse(AliasName::FILESYSTEM) {
        Some(alias) if is_service_key => kms.rotate_service_key(&alias).map(drop)?,
        _ => kms.rotate_key_on_demand(&KeyRef::from(&before.arn)).map(drop)?,
    }
    let after = look(kms, key)?;
    let material = |key: &KeyDescription| key.current_material.map(|m| m.to_string());
    Ok(RotateReport {
        key_arn: after.arn.to_string(),
        alias: Some(key.as_str()).filter(|key| key.starts_with("alias/")).map(str::to_owned),
        previous_material: material(&before),
        material: material(&after),
        ..RotateReport::default()
    })
}

/// Completes a unique prefix of a key id; anything else is handed on as it is.
pub(crate) fn resolve_prefix(kms: &Kms, key: &str) -> Result<String, Failure> {
    let is_prefix = key.len() >= 4
        && key.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        && KeyId::parse(key).is_none();
    if !is_prefix {
        return Ok(key.to_owned());
    }
    let ids = all_key_ids(kms)?;
    let mut found = ids.into_iter().filter(|id| id.starts_with(key));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(Failure::new(Kind::MaterialMissing, format!("no key begins with {key}"))
            .hint("kmsfs kms list-keys")),
        (Some(_), Some(_)) => {
            let what = format!("more than one key begins with {key}");
            Err(Failure::new(Kind::Usage, what).hint("kmsfs kms list-keys"))
        }
    }
}

fn all_key_ids(kms: &Kms) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    let mut request = PageRequest::default();
    for _ in 0..KEY_PAGES_MAX {
        let page = kms.list_keys(&request)?;
        ids.extend(page.entries.iter().map(|entry| entry.arn.key_id().to_string()));
        if page.next_marker.is_none() {
            break;
        }
        request.marker = page.next_marker;
    }
    Ok(ids)
}

/// Identity, state and current material of a key, without a record in the audit log: a look, not
/// an operation.
pub(crate) fn look(kms: &Kms, key: &KeyRef) -> Result<KeyDescription, KmsError> {
    KeyService::describe_key(kms, key)
}

/// A key as messages show it: the beginning of its id, and the alias it was named by.
pub(crate) fn shown_key(name: &str, arn: &KeyArn) -> String {
    let id = short(arn.key_id().as_str());
    if name.starts_with("alias/") { format!("key {id} ({name})") } else { format!("key {id}") }
}

/// The beginning of a long id.
pub(crate) fn short(id: &str) -> String {
    match id.get(..8) {
        Some(head) if id.len() > 12 => format!("{head}..."),
        _ => id.to_owned(),
    }
}
