//! Requests about the audit log of a key service.

use std::path::Path;

use crate::control::report::AuditVerifyReport;
use crate::control::{Failure, Kind};
use crate::kms::Kms;
use crate::kms::audit::{VerifyError, VerifyKey, verify};

/// Writes what is held back, tells where the log lies, and checks it if asked to.
pub(super) fn audit_report(kms: &Kms, verify: bool) -> Result<AuditVerifyReport, Failure> {
    kms.flush_audit()?;
    match verify {
        true => verify_log(kms.audit_log(), Some(&kms.audit_key())),
        false => {
            let log = kms.audit_log().to_path_buf();
            Ok(AuditVerifyReport { log, ..AuditVerifyReport::default() })
        }
    }
}

/// Checks a log; that it does not hold is a report as well.
///
/// # Errors
/// If it cannot be read.
pub fn verify_log(log: &Path, key: Option<&VerifyKey>) -> Result<AuditVerifyReport, Failure> {
    let report = AuditVerifyReport {
        log: log.to_path_buf(),
        sealed: key.is_some(),
        ..AuditVerifyReport::default()
    };
    match verify(log, key) {
        Ok(found) => Ok(AuditVerifyReport {
            lines: found.lines,
            segments: found.segments,
            first_sequence: found.begins.sequence.saturating_add(1),
            last_sequence: found.head.sequence,
            torn_bytes: found.torn_len,
            ..report
        }),
        Err(VerifyError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            let what = format!("{}: no audit log", log.display());
            Err(Failure::new(Kind::ConfigUnreadable, what))
        }
        Err(VerifyError::Io(error)) => Err(Failure::io(log.display(), &error)),
        Err(broken) => Ok(AuditVerifyReport { finding: Some(broken.to_string()), ..report }),
    }
}
