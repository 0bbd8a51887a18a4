//! AWS Signature Version 4, checked. Pure: the request and the time in, the caller out. What both
//! sides compute is in [`signature`](crate::http::signature).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use subtle::ConstantTimeEq as _;

use crate::http::credentials::{Credential, Credentials};
pub use crate::http::signature::SignedRequest;
use crate::http::signature::{ALGORITHM, MissingHeader, Scope, basic_date, parse_date};

/// How far the clocks of client and server may be apart.
pub const WINDOW: Duration = Duration::from_secs(15 * 60);

/// Who has signed, and for which Region.
#[derive(Clone, Debug)]
pub struct Caller<'a> {
    /// The access key.
    pub credential: &'a Credential,
    /// Region of the credential scope.
    pub region: String,
    /// Service of the credential scope.
    pub service: String,
}

/// Why a request is not let in: an exception and its message, in AWS' words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSigned {
    /// Such as `InvalidSignatureException`.
    pub exception: &'static str,
    /// For the client.
    pub message: String,
}

fn refused<T>(exception: &'static str, message: impl Into<String>) -> Result<T, NotSigned> {
    Err(NotSigned { exception, message: message.into() })
}

const INCOMPLETE: &str = "IncompleteSignatureException";
/// The header with a session's token.
const TOKEN: &str = "x-amz-security-token";
const INVALID: &str = "InvalidSignatureException";

/// The parts of an Authorization header.
struct Authorization<'a> {
    access_key_id: &'a str,
    scope: Scope<'a>,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(text: &'a str) -> Result<Self, NotSigned> {
        let Some(fields) = text.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' ')) else {
            return refused(INCOMPLETE, "Unsupported AWS 'algorithm'");
        };
        let mut found = [None; 3];
        for field in fields.split(',') {
            for (place, name) in
                found.iter_mut().zip(["Credential=", "SignedHeaders=", "Signature="])
            {
                if let Some(value) = field.trim().strip_prefix(name) {
                    *place = Some(value);
                }
            }
        }
        let [Some(credential), Some(signed_headers), Some(signature)] = found else {
            return refused(
                INCOMPLETE,
                "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature'.",
            );
        };
        let scope: Vec<&str> = credential.split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = scope.as_slice() else {
            return refused(
                INCOMPLETE,
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term",
            );
        };
        let scope = Scope { date, region, service };
        Ok(Self { access_key_id, scope, signed_headers, signature })
    }
}

/// Checks a request's signature, its time, its scope and its body.
///
/// # Errors
/// [`NotSigned`].
pub fn verify<'a>(
    request: &SignedRequest<'_>,
    credentials: &'a Credentials,
    services: &[&str],
    now: SystemTime,
) -> Result<Caller<'a>, NotSigned> {
    let Some(header) = request.header("authorization") else {
        return refused("MissingAuthenticationTokenException", "Missing Authentication Token");
    };
    let authorization = Authorization::parse(&header)?;
    let Some(credential) = credentials.find(authorization.access_key_id) else {
        return refused(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        );
    };
    let Some(date) = request.header("x-amz-date") else {
        return refused(
            INCOMPLETE,
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        );
    };
    check_scope(&authorization.scope, &date, services)?;
    check_time(&date, now)?;
    let signed = authorization.signed_headers;
    let token = request.header(TOKEN);
    check_token(credential, token.as_deref())?;
    let token_header = token.is_some().then_some(TOKEN);
    for name in ["host", "x-amz-date"].into_iter().chain(token_header) {
        if !signed.split(';').any(|header| header == name) {
            return refused(
                INVALID,
                format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."),
            );
        }
    }
    if request.header("x-amz-content-sha256").is_some_and(|sent| sent != request.body_hash()) {
        return refused(
            INVALID,
            "The value passed in for x-amz-content-sha256 does not match the body.",
        );
    }
    let scope = &authorization.scope;
    let (secret, last_key) = (&credential.secret, &credential.last_key);
    let right = match request.signature(scope, &date, signed, secret, last_key) {
        Ok(right) => right,
        Err(MissingHeader(name)) => {
            return refused(INVALID, format!("'{name}' is signed, but was not sent."));
        }
    };
    if !bool::from(right.as_bytes().ct_eq(authorization.signature.as_bytes())) {
        return refused(
            INVALID,
            "The request signature we calculated does not match the signature you provided. Check \
             your AWS Secret Access Key and signing method. Consult the service documentation for \
             details.",
        );
    }
    let (region, service) = (scope.region.to_owned(), scope.service.to_owned());
    Ok(Caller { credential, region, service })
}

/// A session's access key goes with its token, any other with none.
fn check_token(credential: &Credential, sent: Option<&str>) -> Result<(), NotSigned> {
    let is_right = match (&credential.session_token, sent) {
        (Some(token), Some(sent)) => token.as_bytes().ct_eq(sent.as_bytes()).into(),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    match is_right {
        true => Ok(()),
        false => refused(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
    }
}

fn check_scope(scope: &Scope<'_>, date: &str, services: &[&str]) -> Result<(), NotSigned> {
    if !services.contains(&scope.service) {
        let service = services.first().copied().unwrap_or_default();
        let message = format!("Credential should be scoped to correct service: '{service}'.");
        return refused(INVALID, message);
    }
    if !date.starts_with(scope.date) || scope.date.len() != 8 {
        let day = date.get(..8).unwrap_or_default();
        return refused(
            INVALID,
            format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{}' != '{day}', from '{date}'.",
                scope.date
            ),
        );
    }
    Ok(())
}

fn check_time(date: &str, now: SystemTime) -> Result<(), NotSigned> {
    let Some(sent) = parse_date(date) else {
        return refused(
            INCOMPLETE,
            format!(
                "Date must be in ISO-8601 'basic format'. Got '{date}'. See \
                 http://en.wikipedia.org/wiki/ISO_8601"
            ),
        );
    };
    let (early, late) = (now.checked_sub(WINDOW).unwrap_or(UNIX_EPOCH), now + WINDOW);
    let (now, minutes) = (basic_date(now), WINDOW.as_secs() / 60);
    if sent < early {
        let limit = basic_date(early);
        let message = format!(
            "Signature expired: {date} is now earlier than {limit} ({now} - {minutes} min.)"
        );
        return refused(INVALID, message);
    }
    if sent > late {
        let limit = basic_date(late);
        let message = format!(
            "Signature not yet current: {date} is still later than {limit} ({now} + {minutes} min.)"
        );
        return refused(INVALID, message);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;
    use crate::crypto::kdf::sha256;

    /// Signed by botocore 1.44 with the clock at 2026-01-31 23:59:59.
    fn headers() -> Vec<(String, String)> {
        let signature = "5d2500e3ef0c280eccd017942f19c1fa00979f6d51b9bf39539ae127b6ecf071";
        [
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target", "TrentService.DescribeKey".to_owned()),
            ("host", "127.0.0.1:8733".to_owned()),
            ("x-amz-date", "20260131T235959Z".to_owned()),
            (
                "authorization",
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260131/eu-west-1/kms/aws4_request, \
                     SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={signature}"
                ),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    fn check(headers: &[(String, String)], body: &[u8], now: &str) -> Result<String, NotSigned> {
        let credentials = Credentials::parse(
            "[[principal]]\naccess_key_id = \"AKIDEXAMPLE\"\n\
             secret_access_key = \"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\"\n\
             arn = \"arn:aws:iam::000000000000:root\"\n",
        );
        let request = SignedRequest { method: "POST", path: "/", query: "", headers, body };
        let now = parse_date(now).unwrap();
        verify(&request, &credentials.unwrap(), &["kms"], now).map(|caller| caller.region)
    }

    const BODY: &[u8] = b"{\"KeyId\": \"alias/x\"}";

    #[test]
    fn a_request_that_botocore_signed_is_let_in_for_a_quarter_of_an_hour() {
        for now in ["20260131T235959Z", "20260131T234459Z", "20260201T001459Z"] {
            assert_eq!(check(&headers(), BODY, now), Ok("eu-west-1".to_owned()), "{now}");
        }
        for (now, words) in [
            ("20260131T234458Z", "Signature not yet current: "),
            ("20260201T001500Z", "Signature expired: "),
        ] {
            let refused = check(&headers(), BODY, now).unwrap_err();
            assert!(refused.message.starts_with(words), "{refused:?}");
        }
    }

    /// Law: no signed part can be changed.
    #[test]
    fn a_changed_request_is_kept_out() {
        let now = "20260131T235959Z";
        assert!(check(&headers(), b"{\"KeyId\": \"alias/y\"}", now).is_err());
        for no in 0..headers().len() {
            let mut changed = headers();
            changed[no].1.pop();
            assert!(check(&changed, BODY, now).is_err(), "{no}");
            let mut without = headers();
            without.remove(no);
            assert!(check(&without, BODY, now).is_err(), "{no}");
        }
        let mut claimed = headers();
        claimed.push(("x-amz-content-sha256".to_owned(), hex(&sha256(&[b"other"]))));
        assert!(check(&claimed, BODY, now).is_err());
    }
}
