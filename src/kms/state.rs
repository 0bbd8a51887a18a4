//! Every operation, and the table of what each key state allows. Pure. docs/KMS.md, "Key states",
//! carries the same table; tests/kms_states.rs compares them cell by cell.

use crate::kms::{KeyArn, KeyState, KmsError};

/// What a state answers to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Allowed.
    Ok,
    /// `DisabledException`.
    Disabled,
    /// `KMSInvalidStateException`, `... is <state>.`.
    Invalid,
    /// `KMSInvalidStateException`, `... is not pending deletion.`.
    NotPending,
    /// `UnsupportedOperationException`: a key that can be in this state cannot do this at all.
    Unsupported,
}

/// Makes [`Op`] and [`TABLE`] from one list, so that no operation is without a row.
macro_rules! operations {
    ($($(#[$doc:meta])* $op:ident $kind:ident [$($cell:ident)+],)+) => {
        /// An operation of the API. Offered or not: docs/KMS.md says which.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Op { $($(#[$doc])* $op,)+ }

        impl Op {
            /// Every operation.
            pub const ALL: &[Self] = &[$(Self::$op),+];

            /// AWS' name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$op => stringify!($op),)+ }
            }

            /// What it does to the ring.
            pub const fn kind(self) -> OpKind {
                match self { $(Self::$op => OpKind::$kind,)+ }
            }

            /// The operation's row: one cell per state, in the order of [`COLUMNS`].
            pub const fn row(self) -> [Cell; 8] {
                match self { $(Self::$op => [$(cell!($cell)),+],)+ }
            }
        }
    };
}

macro_rules! cell {
    (ok) => {
        Cell::Ok
    };
    (D) => {
        Cell::Disabled
    };
    (S) => {
        Cell::Invalid
    };
    (N) => {
        Cell::NotPending
    };
    (X) => {
        Cell::Unsupported
    };
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// Changes the ring.
    Change,
    /// Uses a key's material.
    Use,
    /// Looks.
    Read,
}

/// The states, in the order of a row's cells.
pub const COLUMNS: [KeyState; 8] = [
    KeyState::Enabled,
    KeyState::Disabled,
    KeyState::PendingImport,
    KeyState::PendingDeletion,
    KeyState::PendingReplicaDeletion,
    KeyState::Unavailable,
    KeyState::Creating,
    KeyState::Updating,
];

// Letters: D disabled; S invalid state; N not pending deletion; X unsupported.
operations! {
    /// Keeps a key that was to be deleted.
    CancelKeyDeletion Change [N N N ok ok N N N],
    /// Adds, replaces or removes a slot of the root key: no operation of AWS.
    ChangeSlots Change [ok ok ok ok ok ok ok ok],
    /// Connects a custom key store.
    ConnectCustomKeyStore Change [ok ok ok ok ok ok ok ok],
    /// Makes an alias.
    CreateAlias Change [ok ok ok S S ok ok ok],
    /// Makes a custom key store.
    CreateCustomKeyStore Change [ok ok ok ok ok ok ok ok],
    /// Delegates a permission.
    CreateGrant Change [ok D S S S ok S ok],
    /// Makes a key.
    CreateKey Change [ok ok ok ok ok ok ok ok],
    /// Unwraps an ML-KEM secret.
    Decapsulate Use [ok D S S S S S ok],
    /// Opens a blob.
    Decrypt Use [ok D S S S S S ok],
    /// Removes an alias.
    DeleteAlias Change [ok ok ok ok ok ok ok ok],
    /// Removes a custom key store.
    DeleteCustomKeyStore Change [ok ok ok ok ok ok ok ok],
    /// Removes imported material.
    DeleteImportedKeyMaterial Change [ok ok ok ok ok X S S],
    /// Destroys a key at the end of its window: the service's own act.
    DeleteKey Change [N N N ok ok N N N],
    /// Notes that a key's window has ended: the service's own act.
    DeletionDue Change [N N N ok ok N N N],
    /// Agrees on a secret.
    DeriveSharedSecret Use [ok D S S S S S ok],
    /// Shows custom key stores.
    DescribeCustomKeyStores Read [ok ok ok ok ok ok ok ok],
    /// Shows a key's metadata.
    DescribeKey Read [ok ok ok ok ok ok ok ok],
    /// Makes a key unusable.
    DisableKey Change [ok ok S S S ok S S],
    /// Stops automatic rotation.
    DisableKeyRotation Change [ok D X S S X S S],
    /// Destroys a revoked material: no operation of AWS.
    DestroyMaterial Change [ok ok ok S S X S S],
    /// Disconnects a custom key store.
    DisconnectCustomKeyStore Change [ok ok ok ok ok ok ok ok],
    /// Makes a key usable.
    EnableKey Change [ok ok S S S ok S S],
    /// Starts automatic rotation.
    EnableKeyRotation Change [ok D X S S X S S],
    /// Makes an ML-KEM secret.
    Encapsulate Use [ok D S S S S S ok],
    /// Seals up to 4 KiB.
    Encrypt Use [ok D S S S S S ok],
    /// Seals a key for another installation: no operation of AWS; ReplicateKey to policies.
    ExportReplica Change [ok D S S S S S S],
    /// Forgets a volume that used keys: no operation of AWS.
    ForgetVolume Change [ok ok ok ok ok ok ok ok],
    /// Makes a data key.
    GenerateDataKey Use [ok D S S S S S ok],
    /// Makes a data key pair.
    GenerateDataKeyPair Use [ok D S S S S S ok],
    /// Makes a data key pair and keeps its private half back.
    GenerateDataKeyPairWithoutPlaintext Use [ok D S S S S S ok],
    /// Makes a data key and keeps the bare one back.
    GenerateDataKeyWithoutPlaintext Use [ok D S S S S S ok],
    /// Makes a message authentication code.
    GenerateMac Use [ok D S S S S S ok],
    /// Makes random bytes.
    GenerateRandom Use [ok ok ok ok ok ok ok ok],
    /// Shows when a key was last used.
    GetKeyLastUsage Read [ok ok ok ok ok ok ok ok],
    /// Shows a key policy.
    GetKeyPolicy Read [ok ok ok ok ok ok ok ok],
    /// Shows automatic rotation.
    GetKeyRotationStatus Read [ok ok ok ok ok X S ok],
    /// Makes a wrapping key and a token for an import.
    GetParametersForImport Change [ok ok ok S S X S S],
    /// Shows a public key.
    GetPublicKey Read [ok D S S S S S ok],
    /// Brings in material.
    ImportKeyMaterial Change [ok ok ok S S X S S],
    /// Takes in a key from another installation: no operation of AWS; ReplicateKey to policies.
    ImportReplica Change [ok ok ok S S X S S],
    /// Lists aliases.
    ListAliases Read [ok ok ok ok ok ok ok ok],
    /// Lists grants.
    ListGrants Read [ok ok ok ok ok ok ok ok],
    /// Lists the names of a key's policies.
    ListKeyPolicies Read [ok ok ok ok ok ok ok ok],
    /// Lists a key's materials.
    ListKeyRotations Read [ok ok ok ok ok X S ok],
    /// Lists keys.
    ListKeys Read [ok ok ok ok ok ok ok ok],
    /// Lists tags.
    ListResourceTags Read [ok ok ok ok ok ok ok ok],
    /// Lists grants that the caller may give up.
    ListRetirableGrants Read [ok ok ok ok ok ok ok ok],
    /// Looks into the audit log: an operation of CloudTrail.
    LookupEvents Read [ok ok ok ok ok ok ok ok],
    /// Notes how late it is: the service's own act.
    NoteTime Change [ok ok ok ok ok ok ok ok],
    /// Replaces a key policy.
    PutKeyPolicy Change [ok ok ok ok ok ok ok ok],
    /// Opens under one key and seals under another.
    ReEncrypt Use [ok D S S S S S ok],
    /// Makes a replica.
    ReplicateKey Change [ok D S S S S S S],
    /// Notes a volume's use of keys: the filesystem's own act.
    ReportUsage Change [ok ok ok ok ok ok ok ok],
    /// Asks for a key of another installation: no operation of AWS; CreateKey to policies.
    RequestReplica Read [ok ok ok ok ok ok ok ok],
    /// Takes back that a material is revoked: no operation of AWS.
    RestoreMaterial Change [ok ok ok S S X S S],
    /// Gives up a grant.
    RetireGrant Change [ok ok ok ok ok ok ok ok],
    /// Takes a grant back.
    RevokeGrant Change [ok ok ok ok ok ok ok ok],
    /// Refuses a material from now on: no operation of AWS.
    RevokeMaterial Change [ok ok ok S S X S S],
    /// Rotates what is due: the service's own act.
    RotateKey Change [ok D X S S X S S],
    /// Rotates now.
    RotateKeyOnDemand Change [ok D S S S X S S],
    /// Starts a key's deletion window.
    ScheduleKeyDeletion Change [ok ok ok S S ok S S],
    /// Signs.
    Sign Use [ok D S S S S S ok],
    /// Brings a replica up to its primary: the service's own act.
    SynchronizeMultiRegionKey Change [ok ok ok ok ok ok ok ok],
    /// Sets tags.
    TagResource Change [ok ok ok S S ok ok ok],
    /// Removes tags.
    UntagResource Change [ok ok ok S S ok ok ok],
    /// Moves an alias; the state is that of its new key.
    UpdateAlias Change [ok ok ok S S ok ok ok],
    /// Changes a custom key store.
    UpdateCustomKeyStore Change [ok ok ok ok ok ok ok ok],
    /// Sets a description.
    UpdateKeyDescription Change [ok ok ok S S ok ok ok],
    /// Makes a replica the primary.
    UpdatePrimaryRegion Change [ok D ok S S S S S],
    /// Checks a signature.
    Verify Use [ok D S S S S S ok],
    /// Checks a message authentication code.
    VerifyMac Use [ok D S S S S S ok],
}

impl Op {
    /// The operation of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|op| op.name() == name)
    }

    /// Whether it is an act of the service itself, and no operation of the API.
    pub fn is_own_act(self) -> bool {
        matches!(
            self,
            Self::DeleteKey
                | Self::DeletionDue
                | Self::NoteTime
                | Self::ReportUsage
                | Self::RotateKey
                | Self::SynchronizeMultiRegionKey
        )
    }

    /// Whether AWS does not know it: for the owner of the key database, and no operation of the API.
    pub fn is_of_owner(self) -> bool {
        self.is_of_materials()
            || self.is_of_bundles()
            || matches!(self, Self::ChangeSlots | Self::ForgetVolume)
    }

    /// Whether it is about a key that goes from one installation to another.
    pub fn is_of_bundles(self) -> bool {
        matches!(self, Self::ExportReplica | Self::ImportReplica | Self::RequestReplica)
    }

    /// Whether it is one of CloudTrail.
    pub fn is_of_trail(self) -> bool {
        self == Self::LookupEvents
    }

    /// Whether it is about one material of a key.
    pub fn is_of_materials(self) -> bool {
        matches!(self, Self::DestroyMaterial | Self::RestoreMaterial | Self::RevokeMaterial)
    }

    /// What a state answers.
    pub fn cell(self, state: KeyState) -> Cell {
        let cells = COLUMNS.iter().zip(self.row());
        cells.into_iter().find(|(column, _)| **column == state).map_or(Cell::Invalid, |(_, c)| c)
    }
}

/// Whether a key in `state` allows `op`.
///
/// # Errors
/// The exception of the table's cell.
pub fn check_state(op: Op, key: &KeyArn, state: KeyState) -> Result<(), KmsError> {
    let key = || key.as_str().to_owned();
    match op.cell(state) {
        Cell::Ok => Ok(()),
        Cell::Disabled => Err(KmsError::Disabled { key: key() }),
        Cell::Invalid => Err(KmsError::InvalidState { key: key(), state }),
        Cell::NotPending => Err(KmsError::NotPendingDeletion { key: key() }),
        Cell::Unsupported => Err(KmsError::UnsupportedOperation {
            message: format!(
                "{} does not support {} in state {}.",
                key(),
                op.name(),
                state.as_str()
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for op in Op::ALL {
            assert_eq!(Op::parse(op.name()), Some(*op));
        }
        assert_eq!(Op::parse("Nothing"), None);
    }

    #[test]
    fn words_are_those_of_the_service() {
        let arn = KeyArn::parse(
            "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-4000-8000-000000000000",
        )
        .unwrap();
        let words = |op, state| check_state(op, &arn, state).unwrap_err().to_string();
        assert_eq!(words(Op::Encrypt, KeyState::Disabled), format!("{arn} is disabled."));
        assert_eq!(
            words(Op::Decrypt, KeyState::PendingDeletion),
            format!("{arn} is pending deletion.")
        );
        assert_eq!(
            words(Op::CancelKeyDeletion, KeyState::Enabled),
            format!("{arn} is not pending deletion.")
        );
    }
}
