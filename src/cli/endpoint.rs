//! A key service behind a URL: where it is, as whom it is asked, and what its refusals mean here.

use std::sync::Arc;

use crate::cli::args::EndpointArgs;
use crate::cli::unlock::Before;
use crate::clock::SystemClock;
use crate::control::{Failure, Kind};
use crate::http::{
    CallError, Client, Endpoint, EndpointError, Identity, IdentityError, Patience, Trust, Wanted,
};
use crate::kms::KmsError;

/// Names the endpoint if no option does.
const ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL_KMS";

impl EndpointArgs {
    /// The endpoint that the option or the environment names.
    pub fn url(&self) -> Option<String> {
        let variable = || std::env::var(ENDPOINT_VARIABLE).ok().filter(|url| !url.is_empty());
        self.endpoint_url.clone().or_else(variable)
    }

    /// A client of the endpoint.
    ///
    /// # Errors
    /// [`Kind::Usage`] if there is no such endpoint or identity, [`Kind::ConfigUnreadable`] for a
    /// broken file of AWS' tools, or of certificates.
    pub fn client(&self, url: &str, patience: Patience) -> Result<Client, Failure> {
        self.client_after(url, patience, &|| Ok(()))
    }

    /// As [`Self::client`], with something to do once the identity is known, and before there is a
    /// thread.
    ///
    /// # Errors
    /// As [`Self::client`], and those of `before`.
    pub fn client_after(
        &self,
        url: &str,
        patience: Patience,
        before: Before<'_>,
    ) -> Result<Client, Failure> {
        let endpoint: Endpoint = url.parse().map_err(|error| endpoint_failure(&error))?;
        let wanted = Wanted { region: self.region.clone(), profile: self.profile.clone() };
        let identity = Identity::find(&wanted).map_err(|error| identity_failure(&error))?;
        let trust = endpoint.needs_trust().then(Trust::of_environment).transpose();
        let trust = trust.map_err(|error| {
            Failure::new(Kind::ConfigUnreadable, error.to_string())
                .hint("AWS_CA_BUNDLE=FILE names certificate authorities")
        })?;
        before()?;
        Client::new(endpoint, trust, identity, Arc::new(SystemClock), patience)
            .map_err(|error| Failure::io("client of the key service", &error))
    }
}

fn endpoint_failure(error: &EndpointError) -> Failure {
    let hint = match error {
        EndpointError::Malformed(_) => {
            "https://HOST, http://127.0.0.1:8733, or unix:/run/kmsfs/kms.sock"
        }
        EndpointError::Remote(_) => "https://HOST, or http://127.0.0.1:PORT of ssh -L",
    };
    Failure::new(Kind::Usage, error.to_string()).hint(hint)
}

fn identity_failure(error: &IdentityError) -> Failure {
    let failure = |kind| Failure::new(kind, error.to_string());
    match error {
        IdentityError::Io(..) | IdentityError::Malformed(..) => failure(Kind::ConfigUnreadable),
        IdentityError::NoRegion => failure(Kind::Usage).hint("--region us-east-1, or AWS_REGION"),
        IdentityError::NoAccessKey(_)
        | IdentityError::NoProfile(_)
        | IdentityError::NoSecret(_) => failure(Kind::Usage)
            .hint("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile of ~/.aws"),
    }
}

/// What a call without an answer means to whoever typed it.
pub fn call_failure(error: &CallError) -> Failure {
    // By the service's own words, which may say more than ours.
    let failure = Failure { what: error.to_string(), ..Failure::from(KmsError::from(error)) };
    match error {
        CallError::Unreachable { endpoint, .. } => {
            failure.hint(format!("is kmsfs serve running, and does it listen at {endpoint}?"))
        }
        CallError::Refused { .. } | CallError::Strange { .. } => failure,
    }
}
