//! What an audit record says, before it is text.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::kms::principal::Principal;
use crate::kms::state::Op;
use crate::kms::time::Timestamp;
use crate::kms::{Client, EncryptionContext, KeyArn, KmsError, Process};

/// One call, or one act of the service itself.
#[derive(Debug)]
pub(crate) struct Record {
    /// When it was made.
    pub(crate) time: Timestamp,
    /// What was asked.
    pub(crate) op: Op,
    /// Who asked.
    pub(crate) principal: Arc<Principal>,
    /// With which parameters. Never plaintext, ciphertext or material.
    pub(crate) params: Params,
    /// The keys that it was about: none, one, or two for `ReEncrypt`.
    pub(crate) keys: [Option<KeyArn>; 2],
    /// How it was refused, if it was.
    pub(crate) error: Option<KmsError>,
    /// The client on the wire, if one asks.
    pub(crate) client: Option<Arc<Client>>,
    /// The process that the filesystem asks for, if there is one.
    pub(crate) process: Option<Process>,
}

/// `requestParameters`.
#[derive(Debug)]
pub(crate) enum Params {
    /// Of a management operation.
    Json(Map<String, Value>),
    /// Of a use of a key: what is often written, kept cheap.
    Use(UseParams),
}

/// Parameters of a use of a key.
#[derive(Debug, Default)]
pub(crate) struct UseParams {
    /// The key as the caller named it.
    pub(crate) key: Option<String>,
    /// The encryption context.
    pub(crate) context: EncryptionContext,
    /// The context of the new blob, where it differs in `ReEncrypt`.
    pub(crate) destination_context: Option<EncryptionContext>,
    /// The key of the new blob in `ReEncrypt`, as the caller named it.
    pub(crate) destination_key: Option<String>,
    /// `encryptionAlgorithm` or `keySpec`, with its value.
    pub(crate) detail: Option<(&'static str, &'static str)>,
    /// `numberOfBytes`.
    pub(crate) number_of_bytes: Option<u32>,
}

impl Record {
    /// The same once more, for a second record of one call.
    pub(crate) fn copy(&self) -> Self {
        Self {
            time: self.time,
            op: self.op,
            principal: Arc::clone(&self.principal),
            params: match &self.params {
                Params::Json(map) => Params::Json(map.clone()),
                Params::Use(_) => Params::Json(Map::new()),
            },
            keys: self.keys.clone(),
            error: self.error.clone(),
            client: self.client.clone(),
            process: self.process,
        }
    }
}
