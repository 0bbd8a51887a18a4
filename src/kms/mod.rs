//! The key management service: AWS KMS' semantics, in process. Knows nothing of files.

mod context;
mod error;
mod key_service;
mod types;

pub use context::{ContextError, EncryptionContext};
pub use error::{KeyTrouble, KmsError};
pub use key_service::{DataKey, GeneratedKey, KeyDescription, KeyService, Wrapped};
pub use types::{AliasName, CiphertextBlob, KeyArn, KeyId, KeyRef, KeyState, MaterialId};
