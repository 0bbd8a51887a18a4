//! The key management service: AWS KMS' semantics, in process. Knows nothing of files.
//!
//! A [`Kms`] is a handle: it carries who asks. [`Kms::create`] and [`Kms::open`] give the account
//! root's; [`Kms::caller`] gives another principal's. Every operation is a method on it, named as
//! AWS names it. Read `service` first: its two functions `change` and `using` are the only ones
//! that lock, check, commit and audit. docs/KMS.md has the bytes, the tables and the drills.

mod access;
mod algorithms;
mod alias;
pub mod audit;
mod blob;
mod bundle;
mod check;
mod context;
mod crypto_ops;
mod data_key_pair;
mod db;
mod deletion;
mod drill;
mod error;
mod filesystem;
#[cfg(feature = "testing")]
pub mod fuzzed;
mod high_water;
mod import;
mod key;
mod key_ops;
mod key_service;
mod known_volumes;
mod last_usage;
mod mac;
mod open;
mod origin;
mod page;
mod principal;
mod public_key;
mod recovery_kit;
mod regions;
#[cfg(feature = "testing")]
mod rehearsal;
mod replica;
mod revocation;
mod ring;
mod root;
mod rotation;
mod rows;
mod schedule;
mod service;
mod service_keys;
mod shared_secret;
mod sides;
mod sign;
mod slot;
mod slots;
mod spec;
mod state;
mod store;
mod tags;
mod time;
mod transfer;
mod types;
mod view;

pub use access::{
    CreateGrant, CreatedGrant, GrantEntry, GrantOperation, IdentityPolicy, ListGrants, RetireGrant,
};
pub use algorithms::{
    EncapsulationAlgorithm, KeyAgreementAlgorithm, MacAlgorithm, MessageType, SigningAlgorithm,
};
pub use alias::{AliasEntry, ListAliases};
pub use blob::BlobHead;
pub use bundle::{
    BundleHead, Fingerprint, REPLICA_BUNDLE_LEN_MAX, REPLICA_REQUEST_LEN_MAX, ReplicaRequest,
};
pub use context::{ContextError, EncryptionContext};
pub use crypto_ops::{
    DataKeyLen, Decrypt, Decrypted, DryRun, Encrypt, Encrypted, GenerateDataKey, GeneratedDataKey,
    ReEncrypt, ReEncrypted, answer_to_base64,
};
pub use data_key_pair::{DATA_KEY_PAIR_SPECS, GenerateDataKeyPair, GeneratedDataKeyPair};
pub use deletion::DeletionScheduled;
pub use drill::Drill;
pub use error::{KeyTrouble, KmsError};
pub use import::{
    ExpirationModel, ImportKeyMaterial, ImportParameters, ImportType, WrappingAlgorithm,
};
pub use key::{KeyMetadata, Material, RelatedKeys, Rotation};
pub use key_ops::{CreateKey, KeyEntry};
pub use key_service::{DataKey, GeneratedKey, KeyDescription, KeyService, Wrapped};
pub use known_volumes::{Extent, KeyUse, KnownVolume, LOSS_TAG, Need, VolumeReport};
pub use last_usage::{KeyLastUsage, LastUse};
pub use mac::{GenerateMac, GeneratedMac, VerifyMac};
pub use open::{KmsOptions, OpenError, ReadOnlyAudit, TimeKind};
pub use origin::{Asking, Client, Process};
pub use page::{Page, PageRequest};
pub use principal::{Principal, PrincipalKind, Via};
pub use public_key::PublicKey;
pub use recovery_kit::{KitError, RecoveryKit};
pub use regions::Regions;
pub use replica::{ReplicateKey, Replicated};
pub use revocation::MaterialEntry;
pub use ring::{ChangeKind, KeyChange};
pub use rotation::{ImportedEntry, KeyRotationStatus, MaterialState, RotationEntry};
pub use service::Kms;
pub use service_keys::SERVICE_ALIASES;
pub use shared_secret::{Decapsulate, DeriveSharedSecret, Encapsulate, Encapsulated, SharedSecret};
pub use sign::{Sign, Signed, Verify};
pub use slot::{Argon2Cost, KEY_FILE_LEN_MIN, SlotKind, Unlock};
pub use slots::SlotEntry;
pub use spec::{
    DataKeySpec, EncryptionAlgorithm, IncludeKeyMaterial, KeyManager, KeySpec, KeyUsage, Origin,
    RotationType,
};
pub use state::{COLUMNS, Cell, Op, OpKind, check_state};
pub use tags::Tag;
pub use time::Timestamp;
pub use transfer::{ExportedReplica, ImportedReplica, ReplicaChange};
pub use types::{AliasName, CiphertextBlob, KeyArn, KeyId, KeyRef, KeyState, MaterialId};
