//! What an audit record says, before it is text. Borrowed from the call: the text is all that
//! outlives it.

use serde_json::{Map, Value};

use crate::kms::principal::Principal;
use crate::kms::state::Op;
use crate::kms::time::Timestamp;
use crate::kms::{Client, EncryptionContext, KeyArn, KmsError, Process};

/// One call, or one act of the service itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// When it was made.
    pub(crate) time: Timestamp,
    /// What was asked.
    pub(crate) op: Op,
    /// Who asked.
    pub(crate) principal: &'a Principal,
    /// With which parameters. Never plaintext, ciphertext or material.
    pub(crate) params: Params<'a>,
    /// The keys that it was about: none, one, or two for `ReEncrypt`.
    pub(crate) keys: [Option<&'a KeyArn>; 2],
    /// How it was refused, if it was.
    pub(crate) error: Option<&'a KmsError>,
    /// The client on the wire, if one asks.
    pub(crate) client: Option<&'a Client>,
    /// The process that the filesystem asks for, if there is one.
    pub(crate) process: Option<Process>,
}

/// `requestParameters`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Params<'a> {
    /// Of a management operation.
    Json(&'a Map<String, Value>),
    /// Of a use of a key: what is often written, kept cheap.
    Use(UseParams<'a>),
}

impl<'a> From<UseParams<'a>> for Params<'a> {
    fn from(params: UseParams<'a>) -> Self {
        Self::Use(params)
    }
}

/// Parameters of a use of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UseParams<'a> {
    /// The key as the caller named it.
    pub(crate) key: Option<&'a str>,
    /// The encryption context.
    pub(crate) context: Option<&'a EncryptionContext>,
    /// The context of the new blob, where it differs in `ReEncrypt`.
    pub(crate) destination_context: Option<&'a EncryptionContext>,
    /// The key of the new blob in `ReEncrypt`, as the caller named it.
    pub(crate) destination_key: Option<&'a str>,
    /// Members such as `encryptionAlgorithm` or `keySpec`, each with its value.
    pub(crate) details: [Option<(&'static str, &'static str)>; 2],
    /// `numberOfBytes`.
    pub(crate) number_of_bytes: Option<u32>,
}

impl<'a> UseParams<'a> {
    /// Those of a look at one key.
    pub(crate) fn of_key(key: &'a str) -> Self {
        Self { key: Some(key), ..Self::default() }
    }
}
