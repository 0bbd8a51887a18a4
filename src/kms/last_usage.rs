//! What is answered from the audit log: GetKeyLastUsage, for it has every use already, and LookupEvents.

use std::io;
use std::ops::ControlFlow;

use serde_json::{Map, Value};

use crate::kms::audit::{LogFiles, LogPlace, Params, UseParams, keys, record_time, text};
use crate::kms::check::Check;
use crate::kms::ring::NamedBy;
use crate::kms::service::internal;
use crate::kms::state::{Op, OpKind};
use crate::kms::{EncryptionContext, KeyArn, KeyRef, Kms, KmsError, Timestamp};

/// Bytes of the log that are looked at, newest first: about a million uses, of all keys.
const LOOK_LEN_MAX: u64 = 1 << 30;
/// Records stand in the order in which they were written, their times nearly so: how far behind a
/// key's creation the search goes on.
const DISORDER_MILLIS: u64 = 3_600_000;

/// Answer of `GetKeyLastUsage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLastUsage {
    /// The key.
    pub key: KeyArn,
    /// When it was made.
    pub created: Timestamp,
    /// Uses before this are not known of: the beginning of the log, or of the key.
    pub tracked_since: Timestamp,
    /// Its last successful use; `None` if there was none since.
    pub last: Option<LastUse>,
}

/// A use of a key, as its audit record tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// The operation.
    pub operation: Op,
    /// When, in whole seconds.
    pub time: Timestamp,
    /// The record.
    pub event_id: String,
    /// The request.
    pub request_id: String,
}

impl Kms {
    /// `GetKeyLastUsage`: the last use of a key that succeeded.
    ///
    /// # Errors
    /// [`KmsError::NotFound`] if there is no such key, [`KmsError::Internal`] if the audit log cannot
    /// be read.
    pub fn get_key_last_usage(&self, key: &KeyRef) -> Result<KeyLastUsage, KmsError> {
        let params = UseParams::of_key(key.as_str());
        let (key, created) = self.using(Op::GetKeyLastUsage, params, |view| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let none = EncryptionContext::new();
            let key = view.admit(key.as_str(), NamedBy::IdOrArn, &none)?;
            Ok((key.arn.clone(), key.created))
        })?;
        self.flush_audit()?;
        self.find_last_use(key, created).map_err(internal)
    }

    /// CloudTrail's LookupEvents: `work` looks into the audit log, which gets a record of that
    /// afterwards. It is about no single key.
    ///
    /// # Errors
    /// [`KmsError::AccessDenied`], and those of `work`.
    pub fn look_up_events<T>(
        &self,
        params: &Map<String, Value>,
        work: impl Fn() -> Result<T, KmsError>,
    ) -> Result<T, KmsError> {
        self.using(Op::LookupEvents, Params::Json(params), |view| {
            view.allow_everywhere()?;
            work()
        })
    }

    fn find_last_use(&self, key: KeyArn, created: Timestamp) -> io::Result<KeyLastUsage> {
        let files = LogFiles::find(self.audit_log())?;
        let mut tracked_since = first_time(&files)?.map_or(created, |first| first.max(created));
        let mut last = None;
        let mut reader = files.backward(None);
        while let Some((_, line)) = reader.next_record()? {
            let Ok(record) = serde_json::from_slice::<Value>(&line) else { continue };
            let Some(time) = record_time(&record) else { continue };
            last = use_in(&record, &key, time);
            if last.is_some() || time.0.saturating_add(DISORDER_MILLIS) < created.0 {
                break;
            }
            if reader.seen_len() >= LOOK_LEN_MAX {
                tracked_since = tracked_since.max(time);
                break;
            }
        }
        Ok(KeyLastUsage { key, created, tracked_since, last })
    }
}

/// When the oldest record was made that is kept.
fn first_time(files: &LogFiles) -> io::Result<Option<Timestamp>> {
    let mut first = None;
    files.read_from(LogPlace::default(), &mut |line| {
        first = serde_json::from_slice::<Value>(line).ok().as_ref().and_then(record_time);
        ControlFlow::Break(())
    })?;
    Ok(first)
}

/// The use of a key that a record tells of.
fn use_in(record: &Value, key: &KeyArn, time: Timestamp) -> Option<LastUse> {
    let operation = Op::parse(text(record, "/eventName"))?;
    let counts = operation.kind() == OpKind::Use && operation != Op::GenerateRandom;
    if !counts || record.get("errorCode").is_some() || !keys(record).any(|arn| arn == key.as_str())
    {
        return None;
    }
    Some(LastUse {
        operation,
        time,
        event_id: text(record, "/eventID").to_owned(),
        request_id: text(record, "/requestID").to_owned(),
    })
}
