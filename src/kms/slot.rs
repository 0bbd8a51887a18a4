//! Slots: the root key sealed under a passphrase or a key file. docs/KMS.md, "Slots".

#![deny(clippy::indexing_slicing)]

use argon2::{Algorithm, Argon2, Params, Version};

use crate::codec::Reader;
use crate::crypto::kdf::{derive, sha256};
use crate::crypto::short::{open_short, seal_short};
use crate::kms::root::RootKey;
use crate::kms::{OpenError, RecoveryKit};
use crate::random::{Random, random_array};
use crate::secret::{Secret, SecretBytes};

/// What opens the key database.
#[derive(Debug)]
pub enum Unlock {
    /// A passphrase, not empty.
    Passphrase(SecretBytes),
    /// Content of a key file, at least [`KEY_FILE_LEN_MIN`] bytes.
    KeyFile(SecretBytes),
    /// A recovery kit.
    RecoveryKit(RecoveryKit),
}

/// What a slot is opened by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// A passphrase.
    Passphrase,
    /// A key file.
    KeyFile,
    /// A recovery kit.
    RecoveryKit,
}

impl SlotKind {
    const ALL: [Self; 3] = [Self::Passphrase, Self::KeyFile, Self::RecoveryKit];

    /// As people read it, and reports have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase",
            Self::KeyFile => "key-file",
            Self::RecoveryKit => "recovery-kit",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Passphrase => 1,
            Self::KeyFile => 2,
            Self::RecoveryKit => 3,
        }
    }

    /// The kind of a slot's row; `None` if it is none that is known.
    pub(crate) fn of_row(slot: &[u8]) -> Option<Self> {
        let number = slot.get(1)?;
        Self::ALL.into_iter().find(|kind| kind.number() == *number)
    }
}

/// Shortest key file, in bytes: as many as the key that it protects.
pub const KEY_FILE_LEN_MIN: usize = 32;

/// What it costs to try one passphrase (Argon2id, RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Argon2Cost {
    /// 128 MiB and three passes: about 0.3 seconds of one core. RFC 9106, section 4, recommends at
    /// least 64 MiB and three passes.
    pub const STANDARD: Self = Self { memory_kib: 128 * 1024, passes: 3, lanes: 4 };
    /// As cheap as Argon2 can be. For tests alone.
    #[cfg(any(test, feature = "testing"))]
    pub const TEST: Self = Self { memory_kib: 8, passes: 1, lanes: 1 };

    /// Most memory that a slot may ask for, in KiB. Slots lie open for who changes the database, and
    /// are believed only when they have opened: none may exhaust the machine.
    const MEMORY_KIB_MAX: u32 = 1024 * 1024;
    /// Most work that a slot may ask for: some ten times that of [`Self::STANDARD`].
    const WORK_MAX: u64 = 4 * 1024 * 1024;
    /// Most work that all slots together may ask for: as many as there may be, at the usual cost.
    const WORK_OF_ALL_MAX: u64 = 24 * 1024 * 1024;
    const LANES_MAX: u32 = 64;

    /// How much is computed, in KiB times passes.
    fn work(self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.passes)
    }

    /// Refuses what is dearer than a slot may be.
    fn check(self) -> Result<(), OpenError> {
        let Self { memory_kib, passes, lanes } = self;
        let fits = memory_kib <= Self::MEMORY_KIB_MAX
            && self.work() <= Self::WORK_MAX
            && lanes <= Self::LANES_MAX;
        match fits {
            true => Ok(()),
            false => Err(corrupt(&format!(
                "a slot asks for {memory_kib} KiB, {passes} passes and {lanes} lanes of Argon2"
            ))),
        }
    }
}

/// Slots of one database.
pub(crate) const SLOTS_MAX: usize = 64;

const VERSION: u8 = 1;
const SALT_LEN: usize = 32;
/// `version 1 | kind 1 | memory 4 | passes 4 | lanes 4 | salt 32`.
const HEAD_LEN: usize = 1 + 1 + 12 + SALT_LEN;
const CHECKSUM_LEN: usize = 8;
const SLOT_LABEL: &[u8] = b"kmsfs v1 kms slot";
const KIT_LABEL: &[u8] = b"kmsfs v1 kms slot recovery kit";
const KEY_FILE_LABEL: &[u8] = b"kmsfs v1 kms slot key file";

impl Unlock {
    /// The kind of slot that it opens.
    pub fn kind(&self) -> SlotKind {
        match self {
            Self::Passphrase(_) => SlotKind::Passphrase,
            Self::KeyFile(_) => SlotKind::KeyFile,
            Self::RecoveryKit(_) => SlotKind::RecoveryKit,
        }
    }

    /// Refuses what protects nothing.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        match self {
            Self::Passphrase(text) if text.is_empty() => Err(OpenError::EmptyPassphrase),
            Self::KeyFile(bytes) if bytes.len() < KEY_FILE_LEN_MIN => {
                Err(OpenError::ShortKeyFile { len: bytes.len() })
            }
            Self::Passphrase(_) | Self::KeyFile(_) | Self::RecoveryKit(_) => Ok(()),
        }
    }

    fn slot_key(&self, cost: Argon2Cost, salt: &[u8]) -> Result<Secret<32>, OpenError> {
        match self {
            Self::KeyFile(bytes) => Ok(derive(bytes.expose(), salt, KEY_FILE_LABEL)),
            Self::RecoveryKit(kit) => Ok(derive(kit.expose(), salt, KIT_LABEL)),
            Self::Passphrase(text) => {
                let params =
                    Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(bad)?;
                let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                let mut outcome = Ok(());
                let key = Secret::fill_with(|out| {
                    outcome = argon.hash_password_into(text.expose(), salt, out);
                });
                outcome.map_err(bad)?;
                Ok(key)
            }
        }
    }
}

fn bad(_: argon2::Error) -> OpenError {
    corrupt("cost of a slot")
}

fn corrupt(what: &str) -> OpenError {
    OpenError::Corrupt { what: what.to_owned() }
}

/// Makes a slot's row: head, sealed root key (72), checksum.
pub(crate) fn seal_slot(
    root: &RootKey,
    unlock: &Unlock,
    cost: Argon2Cost,
    random: &dyn Random,
) -> Result<Vec<u8>, OpenError> {
    unlock.check()?;
    let salt: [u8; SALT_LEN] = random_array(random);
    let cost = match unlock {
        Unlock::Passphrase(_) => cost,
        Unlock::KeyFile(_) | Unlock::RecoveryKit(_) => {
            Argon2Cost { memory_kib: 0, passes: 0, lanes: 0 }
        }
    };
    let mut slot = vec![VERSION, unlock.kind().number()];
    for number in [cost.memory_kib, cost.passes, cost.lanes] {
        slot.extend_from_slice(&number.to_le_bytes());
    }
    slot.extend_from_slice(&salt);
    let key = unlock.slot_key(cost, &salt)?;
    let aad = [SLOT_LABEL, &slot].concat();
    slot.extend_from_slice(&seal_short(&key, &aad, root.0.expose(), random));
    let [checksum @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        sha256(&[&slot]);
    slot.extend_from_slice(&checksum);
    Ok(slot)
}

/// Opens the root key with the first slot that fits; tells which.
///
/// # Errors
/// [`OpenError::Corrupt`] if a slot is damaged, [`OpenError::WrongUnlock`] if none fits.
pub(crate) fn open_slots<'a>(
    slots: impl Iterator<Item = (&'a str, &'a [u8])>,
    unlock: &Unlock,
) -> Result<(String, RootKey), OpenError> {
    unlock.check()?;
    let mut damaged = None;
    let mut work_left = Argon2Cost::WORK_OF_ALL_MAX;
    for (name, slot) in slots {
        match open_slot(slot, unlock, &mut work_left) {
            Ok(root) => return Ok((name.to_owned(), root)),
            Err(OpenError::WrongUnlock) => {}
            Err(error) => damaged = Some(error),
        }
    }
    Err(damaged.unwrap_or(OpenError::WrongUnlock))
}

fn open_slot(slot: &[u8], unlock: &Unlock, work_left: &mut u64) -> Result<RootKey, OpenError> {
    let body_len = slot.len().saturating_sub(CHECKSUM_LEN);
    let (body, checksum) = slot.split_at_checked(body_len).ok_or_else(|| corrupt("a slot"))?;
    if !sha256(&[body]).starts_with(checksum) || checksum.len() != CHECKSUM_LEN {
        return Err(corrupt("checksum of a slot"));
    }
    let (head, sealed) = body.split_at_checked(HEAD_LEN).ok_or_else(|| corrupt("a slot"))?;
    let mut reader = Reader::new(head);
    let cut = |_| corrupt("a slot");
    if reader.u8().map_err(cut)? != VERSION {
        return Err(corrupt("version of a slot"));
    }
    if reader.u8().map_err(cut)? != unlock.kind().number() {
        return Err(OpenError::WrongUnlock);
    }
    let cost = Argon2Cost {
        memory_kib: reader.u32().map_err(cut)?,
        passes: reader.u32().map_err(cut)?,
        lanes: reader.u32().map_err(cut)?,
    };
    cost.check()?;
    *work_left = work_left
        .checked_sub(cost.work())
        .ok_or_else(|| corrupt("the slots ask for too much work"))?;
    let key = unlock.slot_key(cost, reader.rest())?;
    let aad = [SLOT_LABEL, head].concat();
    let mut root = open_short(&key, &aad, sealed).map_err(|_| OpenError::WrongUnlock)?;
    Secret::take(&mut root).map(RootKey).ok_or_else(|| corrupt("a slot"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    fn passphrase(text: &str) -> Unlock {
        Unlock::Passphrase(SecretBytes::new(text.as_bytes().to_vec()))
    }

    fn key_file(byte: u8, len: usize) -> Unlock {
        Unlock::KeyFile(SecretBytes::new(vec![byte; len]))
    }

    fn kit(byte: u8) -> Unlock {
        Unlock::RecoveryKit(RecoveryKit::from_bytes(&[byte; 32]))
    }

    fn sealed(unlock: &Unlock) -> (RootKey, Vec<u8>) {
        let random = SeededRandom::new(1);
        let root = RootKey(Secret::random(&random));
        let slot = seal_slot(&root, unlock, Argon2Cost::TEST, &random).unwrap();
        (root, slot)
    }

    #[test]
    fn only_what_sealed_a_slot_opens_it() {
        for (right, wrong) in [
            (passphrase("open"), passphrase("opem")),
            (key_file(1, 32), key_file(2, 32)),
            (kit(1), kit(2)),
            // The same 32 bytes as another kind.
            (key_file(1, 32), kit(1)),
        ] {
            let (root, slot) = sealed(&right);
            let again = open_slots([("1", slot.as_slice())].into_iter(), &right).unwrap();
            assert!(again.1.0.ct_eq(&root.0));
            let refused = open_slots([("1", slot.as_slice())].into_iter(), &wrong);
            assert!(matches!(refused, Err(OpenError::WrongUnlock)));
        }
    }

    #[test]
    fn a_damaged_slot_is_told_apart_from_a_wrong_passphrase() {
        let unlock = passphrase("open");
        let (_, slot) = sealed(&unlock);
        for at in 0..slot.len() {
            let mut changed = slot.clone();
            changed[at] ^= 1;
            let refused = open_slots([("1", changed.as_slice())].into_iter(), &unlock);
            assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "byte {at}");
        }
        let cut = open_slots([("1", &slot[..20])].into_iter(), &unlock);
        assert!(matches!(cut, Err(OpenError::Corrupt { .. })));
    }

    /// A slot of this cost, as who has no passphrase can make it: only the checksum is right.
    fn forged(cost: Argon2Cost) -> Vec<u8> {
        let (_, mut slot) = sealed(&passphrase("open"));
        slot.truncate(slot.len() - CHECKSUM_LEN);
        let numbers = [cost.memory_kib, cost.passes, cost.lanes].map(u32::to_le_bytes).concat();
        slot[2..14].copy_from_slice(&numbers);
        let checksum = sha256(&[&slot]);
        slot.extend_from_slice(&checksum[..CHECKSUM_LEN]);
        slot
    }

    /// Law: a slot that is dearer than any that is made is refused before it is computed.
    #[test]
    fn a_slot_of_too_great_cost_is_refused_at_once() {
        let cost = |memory_kib, passes, lanes| Argon2Cost { memory_kib, passes, lanes };
        let began = std::time::Instant::now();
        for dear in [
            cost(Argon2Cost::MEMORY_KIB_MAX + 1, 1, 1),
            cost(u32::MAX, 1, 1),
            cost(8, u32::MAX, 1),
            cost(Argon2Cost::MEMORY_KIB_MAX, 5, 4),
            cost(u32::MAX, u32::MAX, u32::MAX),
            cost(1024, 1, Argon2Cost::LANES_MAX + 1),
        ] {
            let slot = forged(dear);
            let refused = open_slots([("1", slot.as_slice())].into_iter(), &passphrase("open"));
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("of Argon2"), "{dear:?}: {error}");
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
        Argon2Cost::STANDARD.check().unwrap();
        let all = Argon2Cost::STANDARD.work() * u64::try_from(SLOTS_MAX).unwrap();
        assert_eq!(all, Argon2Cost::WORK_OF_ALL_MAX);
    }

    /// Law: many slots, each cheap enough, do not add up to hours.
    #[test]
    fn slots_of_too_great_cost_together_are_refused() {
        let slot = forged(Argon2Cost::TEST);
        let unlock = passphrase("open");
        let mut work_left = 2 * Argon2Cost::TEST.work() + 1;
        for _ in 0..2 {
            let refused = open_slot(&slot, &unlock, &mut work_left);
            assert!(matches!(refused, Err(OpenError::WrongUnlock)) || refused.is_ok());
        }
        let error = open_slot(&slot, &unlock, &mut work_left).unwrap_err();
        assert!(error.to_string().contains("too much work"), "{error}");
    }

    #[test]
    fn what_protects_nothing_is_refused() {
        assert!(matches!(passphrase("").check(), Err(OpenError::EmptyPassphrase)));
        assert!(matches!(key_file(1, 31).check(), Err(OpenError::ShortKeyFile { len: 31 })));
    }
}
