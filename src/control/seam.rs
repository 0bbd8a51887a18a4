//! The parts of the key service that are not there yet. Goes away.
#![allow(missing_docs, unused_variables, clippy::missing_errors_doc)]

use serde_json::Value;

use crate::kms::{Kms, KmsError, Principal};

pub fn call(
    kms: &Kms,
    principal: &Principal,
    operation: &str,
    input: &Value,
) -> Result<Value, KmsError> {
    Err(KmsError::InvalidCiphertext)
}
pub fn operation_and_input(args: &[String]) -> Result<(String, Value), String> {
    Err("not yet".into())
}
