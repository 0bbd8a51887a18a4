//! What is due: rotations and deletions. Pure; [`Kms::tick`] carries it out.

use std::time::Duration;

use crate::kms::key::{Deletion, KmsKey};
use crate::kms::ring::KeyRing;
use crate::kms::{KeyId, KeyState, Kms, KmsError, Timestamp};

/// Something to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A rotation.
    Rotate(KeyId),
    /// A deletion.
    Delete(KeyId),
    /// The end of imported material.
    Expire(KeyId),
    /// The note that a deletion is due.
    Note(KeyId),
}

/// What is due at a time, of which `settled` is believed. Rotation rests while a key is disabled, and
/// is due at once when it is enabled again.
pub(crate) fn due(
    ring: &KeyRing,
    now: Timestamp,
    settled: Timestamp,
    confirm: Duration,
) -> Vec<Due> {
    let mut due = Vec::new();
    for (id, key) in &ring.keys {
        let rotates = key.rotation.is_some_and(|rotation| rotation.next <= settled);
        let rotates = rotates && !key.is_replica();
        if rotates && key.state == KeyState::Enabled && key.can_rotate() {
            due.push(Due::Rotate(id.clone()));
        }
        if key.expired(settled).next().is_some() {
            due.push(Due::Expire(id.clone()));
        }
        let Some(deletion) = key.deletion.filter(|_| key.state == KeyState::PendingDeletion) else {
            continue;
        };
        if deletion.is_confirmed(now, confirm) {
            due.push(Due::Delete(id.clone()));
        } else if deletion.needs_note(now) {
            due.push(Due::Note(id.clone()));
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

    /// Whether the end of the window has to be noted. A clock that went back forgets what it saw.
    fn needs_note(&self, now: Timestamp) -> bool {
        self.seen_due.map_or(self.at <= now, |seen| now < seen)
    }
}

impl Kms {
    /// When the next rotation, deletion or expiry falls due; the past for one that is late.
    pub fn next_due(&self) -> Option<Timestamp> {
        let next = |key: &KmsKey| {
            let rotates = key.state == KeyState::Enabled && key.can_rotate() && !key.is_replica();
            let rotation = key.rotation.filter(|_| rotates).map(|rotation| rotation.next);
            let is_pending = key.state == KeyState::PendingDeletion;
            let deletion = key.deletion.filter(|_| is_pending).map(|deletion| deletion.at);
            let here = key.imports.iter().filter(|i| key.find_material(&i.material).is_some());
            let expiry = here.filter_map(|imported| imported.expires).min();
            [rotation, deletion, expiry].into_iter().flatten().min()
        };
        self.core.ring().keys.values().filter_map(|key| next(key)).min()
    }

    /// Carries out what is due: automatic rotations and deletions. To be called every second or so.
    ///
    /// # Errors
    /// The first [`KmsError`] met; what else is due is carried out all the same.
    pub fn tick(&self) -> Result<(), KmsError> {
        if self.core.is_read_only {
            // What is due stays due.
            return Ok(());
        }
        self.refresh()?;
        let mut outcome = self.look_at_clock();
        let core = &*self.core;
        let confirm = core.options.deletion_confirm;
        for due in due(&core.ring(), core.now(), core.high_water.mark(), confirm) {
            let done = match &due {
                Due::Rotate(id) => self.rotate_if_due(id),
                Due::Delete(id) => self.delete_if_due(id),
                Due::Expire(id) => self.expire_material(id),
                Due::Note(id) => self.note_deletion(id),
            };
            // Another process was faster.
            let done = done.or_else(|error| match error {
                KmsError::Conflict { .. } | KmsError::NotPendingDeletion { .. } => Ok(()),
                other => Err(other),
            });
            outcome = outcome.and(done);
        }
        outcome.and(self.tend_related_keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window that ends at 100 seconds, last seen to have ended at `seen`.
    fn deletion(seen: Option<u64>) -> Deletion {
        let seen_due = seen.map(|secs| Timestamp(secs * 1000));
        Deletion { at: Timestamp(100_000), window_days: 7, seen_due }
    }

    #[test]
    fn a_deletion_is_noted_first_and_carried_out_when_it_stays_due() {
        let confirm = Duration::from_secs(60);
        let at = |secs: u64| Timestamp(secs * 1000);
        for (seen, now, is_note, is_confirmed) in [
            (None, 99, false, false),
            (None, 100, true, false),
            (Some(100), 159, false, false),
            (Some(100), 160, false, true),
            // The clock went back: what was seen is forgotten.
            (Some(5000), 50, true, false),
        ] {
            let deletion = deletion(seen);
            assert_eq!(deletion.needs_note(at(now)), is_note, "{seen:?} {now}");
            assert_eq!(deletion.is_confirmed(at(now), confirm), is_confirmed, "{seen:?} {now}");
        }
        assert!(deletion(None).is_confirmed(at(100), Duration::ZERO));
    }
}
