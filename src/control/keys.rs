//! Requests about keys: rotate, and any operation of the KMS.

use std::time::Duration;

use serde_json::{Value, json};

use crate::control::report::RotateReport;
use crate::control::seam::{Kms, call};
use crate::control::session::OnProgress;
use crate::control::{Failure, Kind, RewrapRequest, Session};
use crate::kms::{AliasName, KeyArn, KeyDescription, KeyId, KeyRef, KeyService};

/// Longest time that `rotate` counts the files that carry older material.
const COUNT_TIME_MAX: Duration = Duration::from_secs(2);

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
        if operation == "ScheduleKeyDeletion" {
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
        let Ok(key) = self.kms.describe_key(&KeyRef::new(name)) else {
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
        if self.summary.key_arn == key.arn.as_str() {
            let what = format!("{shown} is still needed by the names of {volume}");
            return Err(Failure::new(Kind::InUse, what)
                .hint("--force-data-loss=REASON to lose the whole volume"));
        }
        Ok(())
    }
}

/// Puts the reason for a loss of data on the key, and with that into the audit log.
pub(crate) fn record_reason(kms: &Kms, key: &KeyArn, reason: &str) -> Result<(), Failure> {
    let tags = json!([{"TagKey": "kmsfs:force-data-loss", "TagValue": reason}]);
    let input = json!({"KeyId": key.key_id().as_str(), "Tags": tags});
    kms_call(kms, "TagResource", &input).map(drop)
}

/// One operation of the KMS as the owner of the key database.
pub(crate) fn kms_call(kms: &Kms, operation: &str, input: &Value) -> Result<Value, Failure> {
    Ok(call(kms, kms.principal(), operation, input)?)
}

/// New material for a key; the service's own way for the service's own key.
pub(crate) fn rotate_key(kms: &Kms, key: &KeyRef) -> Result<RotateReport, Failure> {
    let before = kms.describe_key(key)?;
    let service_key = kms.describe_key(&KeyRef::new(AliasName::FILESYSTEM)).ok();
    let is_service_key = service_key.is_some_and(|service| service.arn == before.arn);
    match AliasName::parse(AliasName::FILESYSTEM) {
        Some(alias) if is_service_key => kms.rotate_service_key(&alias).map(drop)?,
        _ => {
            let input = json!({"KeyId": before.arn.as_str()});
            kms_call(kms, "RotateKeyOnDemand", &input).map(drop)?;
        }
    }
    let after = kms.describe_key(key)?;
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
    let mut input = json!({});
    for _ in 0..KEY_PAGES_MAX {
        let page = kms_call(kms, "ListKeys", &input)?;
        let keys = page.get("Keys").and_then(Value::as_array).into_iter().flatten();
        let page_ids = keys.filter_map(|key| key.get("KeyId")?.as_str().map(str::to_owned));
        ids.extend(page_ids);
        match page.get("NextMarker") {
            Some(marker) => input = json!({"Marker": marker}),
            None => break,
        }
    }
    Ok(ids)
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
