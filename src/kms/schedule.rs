//! What is due: rotations and deletions. Pure; [`Kms::tick`] carries it out.

use std::time::Duration;

use crate::kms::key::Deletion;
use crate::kms::ring::KeyRing;
use crate::kms::{KeyId, KeyState, Kms, KmsError, Timestamp};

/// Something to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A rotation.
    Rotate(KeyId),
    /// A deletion, or the note that one is due.
    Delete(KeyId),
}

/// What is due at a time. Rotation rests while a key is disabled, and is due at once when it is
/// enabled again.
pub(crate) fn due(ring: &KeyRing, now: Timestamp, confirm: Duration) -> Vec<Due> {
    let mut due = Vec::new();
    for (id, key) in &ring.keys {
        let rotates = key.rotation.is_some_and(|rotation| rotation.next <= now);
        if rotates && key.state == KeyState::Enabled && key.can_rotate() {
            due.push(Due::Rotate(id.clone()));
        }
        if let Some(deletion) = key.deletion
            && key.state == KeyState::PendingDeletion
            && deletion.needs_look(now, confirm)
        {
            due.push(Due::Delete(id.clone()));
        }
    }
    due
}

impl Deletion {
    /// Whether the window has ended and was seen to have ended for long enough.
    pub(crate) fn is_confirmed(&self, now: Timestamp, confirm: Duration) -> bool {
        let seen = self.seen_due.map_or(confirm.is_zero(), |seen| seen.plus(confirm) <= now);
        self.at <= now && seen
    }

    /// Whether there is something to do or to note. A clock that went back forgets what it saw.
    fn needs_look(&self, now: Timestamp, confirm: Duration) -> bool {
        match self.seen_due {
            None => self.at <= now,
            Some(seen) => now < seen || self.is_confirmed(now, confirm),
        }
    }
}

impl Kms {
    /// Carries out what is due: automatic rotations and deletions. To be called every second or so.
    ///
    /// # Errors
    /// The first [`KmsError`] met; what else is due is carried out all the same.
    pub fn tick(&self) -> Result<(), KmsError> {
        self.refresh()?;
        let confirm = self.core.options.deletion_confirm;
        let mut outcome = Ok(());
        for due in due(&self.core.ring(), self.core.now(), confirm) {
            let done = match &due {
                Due::Rotate(id) => self.rotate_if_due(id),
                Due::Delete(id) => self.delete_if_due(id),
            };
            outcome = outcome.and(done);
        }
        outcome
    }
}
