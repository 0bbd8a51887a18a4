//! Slots as their owner manages them: list, add, replace, remove. Any slot opens; the last one stays.

use serde_json::json;

use crate::kms::access::as_map;
use crate::kms::root::RootKey;
use crate::kms::slot::{SLOTS_MAX, open_slots, seal_slot};
use crate::kms::state::Op;
use crate::kms::{Argon2Cost, Kms, KmsError, OpenError, SlotKind, Unlock};

/// One slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotEntry {
    /// Its id.
    pub slot: String,
    /// What opens it; `None` for a kind that is not known.
    pub kind: Option<SlotKind>,
}

impl Kms {
    /// The slots, by id.
    pub fn slots(&self) -> Vec<SlotEntry> {
        let ring = self.core.ring();
        let slots = ring.slots.iter();
        slots.map(|(id, row)| SlotEntry { slot: id.clone(), kind: SlotKind::of_row(row) }).collect()
    }

    /// The slot that something opens.
    ///
    /// # Errors
    /// [`OpenError::WrongUnlock`] if it opens none.
    pub fn slot_of(&self, unlock: &Unlock) -> Result<String, OpenError> {
        self.open_root(unlock).map(|(slot, _)| slot)
    }

    /// The root key is not kept in memory: who changes slots opens one again.
    fn open_root(&self, unlock: &Unlock) -> Result<(String, RootKey), OpenError> {
        let ring = self.core.ring();
        open_slots(ring.slots.iter().map(|(id, row)| (id.as_str(), row.as_slice())), unlock)
    }

    /// Adds a slot; tells its id.
    ///
    /// # Errors
    /// [`OpenError::WrongUnlock`] if `with` opens none, [`OpenError::Refused`] if there are too many.
    pub fn add_slot(
        &self,
        with: &Unlock,
        new: &Unlock,
        cost: Argon2Cost,
    ) -> Result<String, OpenError> {
        let (_, root) = self.open_root(with)?;
        let row = seal_slot(&root, new, cost, &*self.core.options.random)?;
        let params = as_map(json!({"add": new.kind().as_str()}));
        self.change(Op::ChangeSlots, params, |draft| {
            let slots = &mut draft.ring.slots;
            if slots.len() >= SLOTS_MAX {
                let message = format!("There are {SLOTS_MAX} slots already.");
                return Err(KmsError::LimitExceeded { message });
            }
            let last = slots.keys().filter_map(|id| id.parse::<u32>().ok()).max().unwrap_or(0);
            let id = last.saturating_add(1).to_string();
            slots.insert(id.clone(), row);
            Ok(id)
        })
        .map_err(OpenError::from)
    }

    /// Seals the root key anew in the slot that `with` opens, or in another: what opened it before
    /// opens nothing any more, and its bytes are overwritten.
    ///
    /// # Errors
    /// [`OpenError::WrongUnlock`] if `with` opens none, [`OpenError::Refused`] if there is no slot of
    /// that id.
    pub fn replace_slot(
        &self,
        slot: Option<&str>,
        with: &Unlock,
        new: &Unlock,
        cost: Argon2Cost,
    ) -> Result<String, OpenError> {
        let (opened, root) = self.open_root(with)?;
        let slot = slot.unwrap_or(&opened);
        let row = seal_slot(&root, new, cost, &*self.core.options.random)?;
        let params = as_map(json!({"replace": slot, "kind": new.kind().as_str()}));
        self.change(Op::ChangeSlots, params, |draft| {
            let place = draft.ring.slots.get_mut(slot).ok_or_else(|| no_slot(slot))?;
            *place = row;
            Ok(slot.to_owned())
        })
        .map_err(OpenError::from)
    }

    /// Removes a slot, but not the last.
    ///
    /// # Errors
    /// [`OpenError::Refused`], also for the last.
    pub fn remove_slot(&self, slot: &str) -> Result<(), OpenError> {
        self.change(Op::ChangeSlots, as_map(json!({"remove": slot})), |draft| {
            let slots = &mut draft.ring.slots;
            if !slots.contains_key(slot) {
                return Err(no_slot(slot));
            }
            if slots.len() == 1 {
                let message = "The last slot stays: without it nothing opens.".to_owned();
                return Err(KmsError::Conflict { message });
            }
            slots.remove(slot);
            Ok(())
        })
        .map_err(OpenError::from)
    }
}

fn no_slot(slot: &str) -> KmsError {
    KmsError::NotFound { message: format!("no slot {slot}") }
}
