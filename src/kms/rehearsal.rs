//! For tests: what no call brings about by itself.

use serde_json::Map;

use crate::kms::spec::RotationType;
use crate::kms::state::Op;
use crate::kms::view::Draft;
use crate::kms::{KeyRef, KeyState, Kms, KmsError};

impl Kms {
    /// Puts a key into a state.
    ///
    /// # Errors
    /// [`KmsError::NotFound`].
    pub fn put_in_state(&self, key: &KeyRef, state: KeyState) -> Result<(), KmsError> {
        self.rehearse(|draft| {
            draft.admit(key)?.state = state;
            Ok(())
        })
    }

    /// An UpdatePrimaryRegion that ends after its first step.
    ///
    /// # Errors
    /// [`KmsError::NotFound`].
    pub fn hand_over_and_crash(&self, key: &KeyRef, region: &str) -> Result<(), KmsError> {
        self.rehearse(|draft| {
            if let Some(related) = &mut draft.admit(key)?.multi_region {
                related.hand_over(region);
            }
            Ok(())
        })
    }

    /// A rotation that no replica hears of.
    ///
    /// # Errors
    /// [`KmsError::NotFound`].
    pub fn rotate_and_crash(&self, key: &KeyRef) -> Result<(), KmsError> {
        self.rehearse(|draft| {
            let id = draft.admit(key)?.id.clone();
            let material = draft.new_material(&id, Some(RotationType::OnDemand))?;
            draft.admit_id(&id)?.push_material(material);
            Ok(())
        })
    }

    fn rehearse(
        &self,
        edit: impl FnOnce(&mut Draft<'_>) -> Result<(), KmsError>,
    ) -> Result<(), KmsError> {
        self.as_itself().change(Op::SynchronizeMultiRegionKey, Map::new(), edit)
    }
}
