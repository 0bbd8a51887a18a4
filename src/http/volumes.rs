//! What a volume tells a key service behind an endpoint of its files: both sides of it. No operation
//! of AWS'; services that do not know it are not told.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::kms::{Extent, KeyUse, Kms, KmsError, MaterialId, Principal, VolumeReport};
use crate::wire;

/// Value of `X-Amz-Target`.
pub const REPORT_TARGET: &str = "KmsfsVolumes.Report";

/// Longest path that is kept, in bytes: PATH_MAX of Linux.
const PATH_LEN_MAX: usize = 4096;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ReportForm {
    volume: String,
    path: String,
    is_whole: bool,
    uses: Vec<UseForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct UseForm {
    key_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_id: Option<String>,
    files: u64,
    bytes: u64,
    is_volume_key: bool,
    is_growing: bool,
}

/// The report as it is sent.
pub(super) fn request(report: &VolumeReport) -> Value {
    let uses = report.uses.iter().map(|used| UseForm {
        key_arn: used.key_arn.clone(),
        key_material_id: used.material.map(|material| material.to_string()),
        files: used.files,
        bytes: used.bytes,
        is_volume_key: used.is_volume_key,
        is_growing: used.is_growing,
    });
    let form = ReportForm {
        volume: report.volume.clone(),
        path: report.path.clone(),
        is_whole: report.extent == Extent::Whole,
        uses: uses.collect(),
    };
    serde_json::to_value(form).unwrap_or_default()
}

/// Notes a report of somebody who may describe the keys in it. Keys that are gone are left out.
///
/// # Errors
/// [`KmsError::Serialization`], [`KmsError::Validation`]; [`KmsError::AccessDenied`] for a key that is
/// out of reach, and for a volume that somebody else has told of.
pub(super) fn answer(kms: &Kms, principal: &Principal, input: &Value) -> Result<Value, KmsError> {
    let form = ReportForm::deserialize(input)
        .map_err(|error| KmsError::Serialization { message: error.to_string() })?;
    let is_id = form.volume.len() == 32 && form.volume.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_id || form.path.len() > PATH_LEN_MAX {
        let message = "Volume must have 32 hexadecimal digits, Path at most 4096 bytes.".to_owned();
        return Err(KmsError::Validation { message });
    }
    let teller = format!(" ({})", principal.name());
    let known = kms.known_volumes().into_iter().find(|(id, _)| *id == form.volume);
    if known.is_some_and(|(_, known)| !known.path.ends_with(&teller)) {
        let message = format!("Volume {} was told of by somebody else.", form.volume);
        return Err(KmsError::AccessDenied { message });
    }
    let mut uses = Vec::with_capacity(form.uses.len());
    for used in form.uses {
        match wire::call(kms, principal, "DescribeKey", &json!({"KeyId": used.key_arn})) {
            Ok(_) => uses.push(KeyUse {
                key_arn: used.key_arn,
                material: used.key_material_id.as_deref().and_then(MaterialId::parse),
                files: used.files,
                bytes: used.bytes,
                is_volume_key: used.is_volume_key,
                is_growing: used.is_growing,
            }),
            Err(KmsError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    kms.caller(principal.clone()).report_volume(&VolumeReport {
        volume: form.volume,
        path: form.path + &teller,
        uses,
        extent: if form.is_whole { Extent::Whole } else { Extent::Part },
    })?;
    Ok(json!({}))
}
