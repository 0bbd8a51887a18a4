//! A volume's key service behind an endpoint, as the volume's commands ask it.

use serde_json::{Value, json};

use crate::cli::endpoint::call_failure;
use crate::control::report::AuditVerifyReport;
use crate::control::{Failure, Keys, Kind};
use crate::http::RemoteKms;
use crate::kms::{KeyChange, KeyDescription, Kms, KmsError, VolumeReport};

/// The failure of asking for the audit log of a key service that is elsewhere.
pub fn not_here(endpoint: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Usage, format!("the audit log is kept at {endpoint}"))
        .hint("CloudTrail's LookupEvents there, or kmsfs audit with its directory")
}

impl Keys for RemoteKms {
    fn here(&self) -> Option<&Kms> {
        None
    }

    fn operate(&self, operation: &str, input: &Value) -> Result<Value, Failure> {
        let answer = self.client().call(operation, input).map_err(|error| call_failure(&error))?;
        // It may have changed a key that files use: the mount must not believe what it knew.
        if !["Describe", "Get", "List"].iter().any(|prefix| operation.starts_with(prefix)) {
            self.refresh_all();
        }
        Ok(answer)
    }

    fn renew(&self, key: &KeyDescription) -> Result<(), Failure> {
        self.operate("RotateKeyOnDemand", &json!({"KeyId": key.arn.as_str()})).map(drop)
    }

    fn note_volume(&self, report: &VolumeReport) -> Result<(), KmsError> {
        self.report_volume(report)
    }

    fn watch(&self, hook: Box<dyn Fn(&KeyChange) + Send + Sync>) {
        self.on_change(hook);
    }

    fn look_after(&self) -> Result<(), KmsError> {
        self.refresh()
    }

    fn flush(&self) -> Result<(), KmsError> {
        // The audit log is the service's own.
        Ok(())
    }

    fn audit(&self, _verify: bool) -> Result<AuditVerifyReport, Failure> {
        Err(not_here(self.client().endpoint()))
    }
}
