//! The audit log: one hash-chained JSON line per call, in the shape of CloudTrail's records.
//! docs/KMS.md, "Audit log", has the bytes.

mod chain;
mod line;
mod lines;
mod log;
mod record;
mod verify;

pub use chain::AuditHead;
pub use verify::{VerifyError, VerifyKey, VerifyReport, verify};

pub(crate) use log::{AuditConfig, AuditLog};
pub(crate) use record::{Params, Record, UseParams};
