//! The audit log: one hash-chained JSON line per call, in the shape of CloudTrail's records.
//! docs/KMS.md, "Audit log", has the bytes.

mod chain;
mod line;
mod lines;
mod log;
mod mark;
mod pattern;
mod read;
mod record;
mod segments;
mod switch;
mod verify;
mod watch;

pub use chain::AuditHead;
pub use pattern::{RecordPattern, keys, record_time, text};
pub use read::{Backward, LogPlace};
pub use segments::LogFiles;
pub use switch::AuditLimits;
pub use verify::{VerifyError, VerifyKey, VerifyReport, verify};
pub use watch::Watch;

#[cfg(feature = "testing")]
pub(crate) use chain::Line;
pub(crate) use log::{AuditConfig, AuditLog};
pub(crate) use record::{Params, Record, UseParams};
