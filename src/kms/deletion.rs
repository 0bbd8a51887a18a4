//! ScheduleKeyDeletion, CancelKeyDeletion, and the end of a window.

use serde_json::json;

use crate::kms::access::as_map;
use crate::kms::check::Check;
use crate::kms::key::Deletion;
use crate::kms::key_ops::number_json;
use crate::kms::ring::NamedBy;
use crate::kms::state::Op;
use crate::kms::{KeyArn, KeyId, KeyRef, KeyState, Kms, KmsError, LOSS_TAG, Timestamp};

/// Days of a deletion window at least.
const WINDOW_DAYS_MIN: u32 = 7;
/// Days of a deletion window at most, and unless asked otherwise.
const WINDOW_DAYS_MAX: u32 = 30;

/// Answer of `ScheduleKeyDeletion`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionScheduled {
    /// The key.
    pub key: KeyArn,
    /// When it is destroyed; not known yet for a primary whose replicas go first.
    pub date: Option<Timestamp>,
    /// Its state now.
    pub state: KeyState,
    /// Length of its window.
    pub window_days: u32,
}

impl Kms {
    /// `ScheduleKeyDeletion`: makes a key unusable, and destroys it at the end of a window of 7 to 30
    /// days. The window of a primary begins when its last replica is gone.
    ///
    /// # Errors
    /// [`KmsError`], by request, key and state.
    pub fn schedule_key_deletion(
        &self,
        key: &KeyRef,
        window_days: Option<u32>,
    ) -> Result<DeletionScheduled, KmsError> {
        let params = as_map(json!({"keyId": key.as_str(),
            "pendingWindowInDays": number_json(window_days)}));
        let has_replicas = self.has_replicas_named(key);
        self.change(Op::ScheduleKeyDeletion, params, |draft| {
            let window_days = window_days.unwrap_or(WINDOW_DAYS_MAX);
            Check::default()
                .key("keyId", key.as_str())
                .number("pendingWindowInDays", window_days, WINDOW_DAYS_MIN, WINDOW_DAYS_MAX)
                .finish()?;
            let at = draft.now.plus_days(window_days);
            let id = draft.admit(key)?.id.clone();
            draft.check_unneeded(&id, None)?;
            let key = draft.admit_id(&id)?;
            // A primary goes last: its window begins when its last replica is gone.
            let waits = key.is_primary() && has_replicas?;
            key.state =
                if waits { KeyState::PendingReplicaDeletion } else { KeyState::PendingDeletion };
            key.deletion = Some(Deletion { at, window_days, seen_due: None });
            let date = (!waits).then_some(at);
            Ok(DeletionScheduled { key: key.arn.clone(), date, state: key.state, window_days })
        })
    }

    fn has_replicas_named(&self, key: &KeyRef) -> Result<bool, KmsError> {
        let ring = self.core.ring();
        ring.resolve(key.as_str(), NamedBy::IdOrArn).and_then(|key| self.has_replicas(key))
    }

    /// `CancelKeyDeletion`: keeps the key, disabled.
    ///
    /// # Errors
    /// [`KmsError::NotPendingDeletion`], and those of the key.
    pub fn cancel_key_deletion(&self, key: &KeyRef) -> Result<KeyArn, KmsError> {
        let params = as_map(json!({"keyId": key.as_str()}));
        self.change(Op::CancelKeyDeletion, params, |draft| {
            Check::default().key("keyId", key.as_str()).finish()?;
            let key = draft.admit(key)?;
            key.state = match key.lacks_material() {
                true => KeyState::PendingImport,
                false => KeyState::Disabled,
            };
            key.deletion = None;
            // It was for this one deletion.
            key.tags.remove(LOSS_TAG);
            Ok(key.arn.clone())
        })
    }

    /// Carries out a deletion that is due and was seen to be due for
    /// [`crate::kms::KmsOptions::deletion_confirm`].
    pub(crate) fn delete_if_due(&self, id: &KeyId) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": id.as_str()}));
        self.as_itself().change(Op::DeleteKey, params, |draft| {
            let (now, confirm) = (draft.now, draft.kms.options.deletion_confirm);
            let deletion = draft.admit_id(id)?.deletion;
            if !deletion.is_some_and(|deletion| deletion.is_confirmed(now, confirm)) {
                return Err(not_due(id));
            }
            draft.ring.remove_key(id);
            Ok(())
        })
    }

    /// Notes that a window has ended; or forgets it, if the clock has gone back since.
    pub(crate) fn note_deletion(&self, id: &KeyId) -> Result<(), KmsError> {
        let params = as_map(json!({"keyId": id.as_str()}));
        self.as_itself().change(Op::DeletionDue, params, |draft| {
            let now = draft.now;
            let deletion = draft.admit_id(id)?.deletion.as_mut().ok_or_else(|| not_due(id))?;
            deletion.seen_due = (deletion.at <= now).then_some(now);
            Ok(())
        })
    }
}

/// The error for an act of the service that another process has done, or undone, already.
pub(crate) fn not_due(id: &KeyId) -> KmsError {
    KmsError::Conflict { message: format!("nothing is due for key {id}") }
}
