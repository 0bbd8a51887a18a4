//! From a request to its answer, without sockets: who asks, in which Region, which operation.

use serde_json::{Value, json};

use crate::http::credentials::Credentials;
use crate::http::sigv4::{self, Caller, NotSigned, SignedRequest};
use crate::kms::{KmsError, Regions, Via};
use crate::wire;

/// In front of an operation's name in `X-Amz-Target`.
const TARGET_PREFIX: &str = "TrentService.";
/// The services that a credential scope may name.
const SERVICES: &[&str] = &["kms"];

/// The key management service as HTTP clients see it.
#[derive(Debug)]
pub struct Service {
    regions: Regions,
    credentials: Credentials,
}

/// Status and JSON of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Value,
}

impl Service {
    /// A service for these principals.
    pub fn new(regions: Regions, credentials: Credentials) -> Self {
        Self { regions, credentials }
    }

    /// The Regions.
    pub fn regions(&self) -> &Regions {
        &self.regions
    }

    /// Answers a request. Blocks for as long as the operation takes.
    pub fn answer(&self, request: &SignedRequest<'_>, via: Via) -> Answer {
        let now = self.regions.home().time();
        if request.path != "/" || request.method != "POST" || !request.query.is_empty() {
            return refused(404, "UnknownOperationException", "POST / is all there is.");
        }
        let caller = match sigv4::verify(request, &self.credentials, SERVICES, now) {
            Ok(caller) => caller,
            Err(NotSigned { exception, message }) => return refused(400, exception, &message),
        };
        let target =
            request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-amz-target"));
        let operation = target.and_then(|(_, value)| value.strip_prefix(TARGET_PREFIX));
        let Some(operation) = operation else {
            return refused(400, "UnknownOperationException", "");
        };
        let input = match request.body {
            [] => json!({}),
            body => match serde_json::from_slice(body) {
                Ok(input) => input,
                Err(_) => return refused(400, "SerializationException", "The body is no JSON."),
            },
        };
        match self.call(&caller, via, operation, &input) {
            Ok(body) => Answer { status: 200, body },
            Err(error) => Answer { status: status(&error), body: wire::error_body(&error) },
        }
    }

    fn call(
        &self,
        caller: &Caller<'_>,
        via: Via,
        operation: &str,
        input: &Value,
    ) -> Result<Value, KmsError> {
        let principal = &caller.credential.principal;
        let kms = self.regions.kms(principal.account(), &caller.region)?;
        wire::call(&kms.reached(via), principal, operation, input)
    }

    /// Carries out what is due in all Regions.
    ///
    /// # Errors
    /// The first [`KmsError`] met; the other Regions are seen to all the same.
    pub fn tick(&self) -> Result<(), KmsError> {
        let all = self.regions.opened();
        all.iter().map(crate::kms::Kms::tick).fold(Ok(()), Result::and)
    }

    /// Waits until every audit record so far is durable.
    ///
    /// # Errors
    /// [`KmsError::Internal`] if a log cannot be written.
    pub fn flush_audit(&self) -> Result<(), KmsError> {
        let all = self.regions.opened();
        all.iter().map(crate::kms::Kms::flush_audit).fold(Ok(()), Result::and)
    }
}

fn refused(status: u16, exception: &str, message: &str) -> Answer {
    Answer { status, body: json!({"__type": exception, "message": message}) }
}

/// AWS' status of an exception: 400 but for what is not the client's fault.
fn status(error: &KmsError) -> u16 {
    match error {
        KmsError::DependencyTimeout { .. } => 503,
        KmsError::Internal { .. } | KmsError::KeyUnavailable { .. } => 500,
        _ => 400,
    }
}
