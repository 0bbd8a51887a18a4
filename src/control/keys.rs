//! Requests about keys: rotate, and any operation of the KMS.

use std::time::Duration;

use serde_json::{Value, json};

use crate::control::audit::audit_report;
use crate::control::report::{AuditVerifyReport, RotateReport};
use crate::control::session::OnProgress;
use crate::control::{Failure, Kind, RewrapRequest, Session};
use crate::kms::{
    AliasName, KeyArn, KeyChange, KeyDescription, KeyId, KeyRef, KeyService, Kms, KmsError,
    LOSS_TAG, VolumeReport,
};
use crate::wire;

/// Longest time that files are counted where nobody asked for the number alone.
pub(super) const COUNT_TIME_MAX: Duration = Duration::from_secs(2);

/// Pages of ListKeys that a search for a prefix reads: 100,000 keys.
const KEY_PAGES_MAX: usize = 1000;

/// A volume's key service: the filesystem's four questions, and what its owner asks.
pub trait Keys: KeyService {
    /// The service itself, if it runs in this process: what is beyond AWS' API is asked of it.
    fn here(&self) -> Option<&Kms>;

    /// One operation of AWS' API, asked as the owner.
    ///
    /// # Errors
    /// What the operation answers.
    fn operate(&self, operation: &str, input: &Value) -> Result<Value, Failure>;

    /// Gives a key new material.
    ///
    /// # Errors
    /// What the service answers.
    fn renew(&self, key: &KeyDescription) -> Result<(), Failure>;

    /// Takes note of what a volume tells of its files, if it is a service that does.
    ///
    /// # Errors
    /// What the service answers.
    fn note_volume(&self, report: &VolumeReport) -> Result<(), KmsError>;

    /// Calls `hook` after every change that is seen, with no lock held.
    fn watch(&self, hook: Box<dyn Fn(&KeyChange) + Send + Sync>);

    /// Picks up what others changed, and carries out what is due. To be called every second or so.
    ///
    /// # Errors
    /// [`KmsError`], by what is the matter.
    fn look_after(&self) -> Result<(), KmsError>;

    /// Waits until every audit record so far is durable.
    ///
    /// # Errors
    /// [`KmsError::Internal`] if the audit log cannot be written.
    fn flush(&self) -> Result<(), KmsError>;

    /// Where its audit log lies, with every record so far, and whether it holds if `verify` is set.
    ///
    /// # Errors
    /// [`Kind::Usage`] if the log is not here, [`Kind::Other`] if it cannot be read.
    fn audit(&self, verify: bool) -> Result<AuditVerifyReport, Failure>;
}

impl Keys for Kms {
    fn here(&self) -> Option<&Kms> {
        Some(self)
    }

    fn operate(&self, operation: &str, input: &Value) -> Result<Value, Failure> {
        Ok(wire::call(self, self.principal(), operation, input)?)
    }

    fn renew(&self, key: &KeyDescription) -> Result<(), Failure> {
        let service_key = look(self, &KeyRef::new(AliasName::FILESYSTEM)).ok();
        let is_service_key = service_key.is_some_and(|service| service.arn == key.arn);
        match AliasName::parse(AliasName::FILESYSTEM) {
            Some(alias) if is_service_key => self.rotate_service_key(&alias).map(drop)?,
            _ => self.rotate_key_on_demand(&KeyRef::from(&key.arn)).map(drop)?,
        }
        Ok(())
    }

    fn note_volume(&self, report: &VolumeReport) -> Result<(), KmsError> {
        self.report_volume(report)
    }

    fn watch(&self, hook: Box<dyn Fn(&KeyChange) + Send + Sync>) {
        self.on_change(hook);
    }

    fn look_after(&self) -> Result<(), KmsError> {
        self.tick()
    }

    fn flush(&self) -> Result<(), KmsError> {
        self.flush_audit()
    }

    fn audit(&self, verify: bool) -> Result<AuditVerifyReport, Failure> {
        audit_report(self, verify)
    }
}

impl Session {
    pub(super) fn rotate(
        &self,
        rewrap: bool,
        progress: OnProgress<'_>,
    ) -> Result<RotateReport, Failure> {
        let mut report = rotate_key(&*self.kms, &self.key_ref())?;
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
        let answer = kms_call(&*self.kms, operation, input)?;
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
        let Ok(key) = look(&*self.kms, &KeyRef::new(name)) else {
            return Ok(());
        };
        if let Some(reason) = force {
            return record_reason(&*self.kms, &key.arn, reason);
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
pub(crate) fn record_reason(kms: &dyn Keys, key: &KeyArn, reason: &str) -> Result<(), Failure> {
    let tags = json!([{"TagKey": LOSS_TAG, "TagValue": reason}]);
    kms.operate("TagResource", &json!({"KeyId": key.as_str(), "Tags": tags})).map(drop)
}

/// One operation of the KMS as its owner. Keys may be named by alias, or by a
/// unique prefix, where AWS takes an id only.
pub(crate) fn kms_call(kms: &dyn Keys, operation: &str, input: &Value) -> Result<Value, Failure> {
    let input = with_whole_ids(kms, operation, input.clone())?;
    kms.operate(operation, &input)
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

fn with_whole_ids(kms: &dyn Keys, operation: &str, mut input: Value) -> Result<Value, Failure> {
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
pub(crate) fn rotate_key(kms: &dyn Keys, key: &KeyRef) -> Result<RotateReport, Failure> {
    let before = look(kms, key)?;
    kms.renew(&before)?;
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
pub(crate) fn resolve_prefix(kms: &dyn Keys, key: &str) -> Result<String, Failure> {
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

fn all_key_ids(kms: &dyn Keys) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    let mut request = json!({});
    for _ in 0..KEY_PAGES_MAX {
        let page = kms.operate("ListKeys", &request)?;
        let keys = page.get("Keys").and_then(Value::as_array).into_iter().flatten();
        ids.extend(keys.filter_map(|key| key.get("KeyId")?.as_str().map(str::to_owned)));
        match page.get("NextMarker").filter(|marker| marker.is_string()) {
            Some(marker) => request = json!({"Marker": marker}),
            None => break,
        }
    }
    Ok(ids)
}

/// Identity, state and current material of a key, without a record in the audit log: a look, not
/// an operation.
pub(crate) fn look(kms: &dyn Keys, key: &KeyRef) -> Result<KeyDescription, KmsError> {
    kms.describe_key(key)
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
