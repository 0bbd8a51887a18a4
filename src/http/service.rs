//! From a request to its answer, without sockets: who asks, in which Region, which operation.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::http::TARGET_PREFIX;
use crate::http::credentials::Credentials;
use crate::http::sigv4::{self, Caller, NotSigned, SignedRequest};
use crate::http::test_clock::{ADVANCE_TARGET, TestClock};
use crate::http::volumes::{self, REPORT_TARGET};
use crate::kms::{Client, KmsError, Regions, Via};
use crate::sync::{Rank, RwLock};
use crate::wire;

/// The same for CloudTrail, which is asked for audit records; older clients write it in full.
const TRAIL_PREFIX: &str = "CloudTrail_20131101.";
/// Characters of a client's name for itself that are recorded. As CloudTrail has it.
const USER_AGENT_LEN_MAX: usize = 1024;
/// The services that a credential scope may name.
const KMS_SERVICE: &[&str] = &["kms"];
const TRAIL_SERVICE: &[&str] = &["cloudtrail"];

/// The key management service as HTTP clients see it.
#[derive(Debug)]
pub struct Service {
    regions: Regions,
    credentials: RwLock<Arc<Credentials>>,
    test_clock: Option<TestClock>,
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
        let credentials = RwLock::new(Rank::Cache, Arc::new(credentials));
        Self { regions, credentials, test_clock: None }
    }

    /// The same with a clock that clients may move; the Regions must have been opened with it.
    #[must_use]
    pub fn with_test_clock(self, clock: TestClock) -> Self {
        Self { test_clock: Some(clock), ..self }
    }

    /// Lets these principals in from now on, and no others.
    pub fn replace_credentials(&self, credentials: Credentials) {
        *self.credentials.write() = Arc::new(credentials);
    }

    /// The Regions.
    pub fn regions(&self) -> &Regions {
        &self.regions
    }

    /// Answers a request, which the caller gives an id. Blocks for as long as the operation takes.
    pub fn answer(&self, request: &SignedRequest<'_>, via: Via, id: [u8; 16]) -> Answer {
        let clock = self.test_clock.as_ref();
        let now = clock.map_or_else(|| self.regions.home().time(), TestClock::outside);
        if request.path != "/" || request.method != "POST" || !request.query.is_empty() {
            return refused(404, "UnknownOperationException", "POST / is all there is.");
        }
        let target = header(request, "x-amz-target");
        let trail = target.split_once(TRAIL_PREFIX).map(|(_, operation)| operation);
        let services = if trail.is_some() { TRAIL_SERVICE } else { KMS_SERVICE };
        let credentials = Arc::clone(&self.credentials.read());
        let caller = match sigv4::verify(request, &credentials, services, now) {
            Ok(caller) => caller,
            Err(NotSigned { exception, message }) => return refused(400, exception, &message),
        };
        let input = match request.body {
            [] => json!({}),
            body => match serde_json::from_slice(body) {
                Ok(input) => input,
                Err(_) => return refused(400, "SerializationException", "The body is no JSON."),
            },
        };
        if let Some(clock) = clock.filter(|_| target == ADVANCE_TARGET) {
            return answered(clock.answer(&self.regions, &input));
        }
        let principal = &caller.credential.principal;
        let operation = target.strip_prefix(TARGET_PREFIX);
        let other = operation
            .and_then(|operation| wire::other_account(operation, &input, principal.account()))
            .and_then(|account| self.regions.find(account, &caller.region));
        let kms = match other {
            Some(kms) => Ok(kms),
            None => self.regions.kms(principal.account(), &caller.region),
        };
        let kms = match kms {
            Ok(kms) => kms.from_client(client(&caller, request, via, id)).reached(via),
            Err(error) => return failed(&error),
        };
        match (operation, trail) {
            (Some(operation), _) => answered(wire::call(&kms, principal, operation, &input)),
            (None, None) if target == REPORT_TARGET => {
                answered(volumes::answer(&kms, principal, &input))
            }
            (None, Some("LookupEvents")) => answered(wire::lookup_events(&kms, principal, &input)),
            (None, _) => refused(400, "UnknownOperationException", ""),
        }
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

/// What audit records tell of a client.
fn client(caller: &Caller<'_>, request: &SignedRequest<'_>, via: Via, id: [u8; 16]) -> Client {
    Client {
        access_key_id: caller.credential.access_key_id.clone(),
        source: match via {
            Via::Network(address) => address.to_string(),
            Via::Process | Via::Socket => "localhost".to_owned(),
        },
        user_agent: header(request, "user-agent").chars().take(USER_AGENT_LEN_MAX).collect(),
        request_id: id,
    }
}

fn header<'a>(request: &SignedRequest<'a>, name: &str) -> &'a str {
    let found = request.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value.as_str())
}

fn answered(done: Result<Value, KmsError>) -> Answer {
    done.map_or_else(|error| failed(&error), |body| Answer { status: 200, body })
}

fn failed(error: &KmsError) -> Answer {
    Answer { status: status(error), body: wire::error_body(error) }
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
