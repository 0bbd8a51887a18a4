//! AWS Signature Version 4, checked. Pure: the request and the time in, the caller out.
//!
//! Source: AWS, "Signature Version 4 signing process" (IAM user guide). Only what KMS clients send:
//! the Authorization header over `POST /` without a query.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::codec::hex;
use crate::crypto::kdf::{hmac_sha256, sha256};
use crate::http::credentials::{Credential, Credentials};
use crate::kms::Timestamp;
use crate::sync::{Mutex, Rank};

/// How far the clocks of client and server may be apart.
pub const WINDOW: Duration = Duration::from_secs(15 * 60);
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// Such as `POST`.
    pub method: &'a str,
    /// Path, as it was sent.
    pub path: &'a str,
    /// Query, as it was sent, without `?`.
    pub query: &'a str,
    /// Names in any case, and values; one pair a line.
    pub headers: &'a [(String, String)],
    /// Body, whole.
    pub body: &'a [u8],
}

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
const INVALID: &str = "InvalidSignatureException";

/// The parts of an Authorization header.
struct Authorization<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
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
        Ok(Self { access_key_id, date, region, service, signed_headers, signature })
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
    let Some(header) = header(request, "authorization") else {
        return refused("MissingAuthenticationTokenException", "Missing Authentication Token");
    };
    let authorization = Authorization::parse(&header)?;
    let Some(credential) = credentials.find(authorization.access_key_id) else {
        return refused(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        );
    };
    let Some(date) = self::header(request, "x-amz-date") else {
        return refused(
            INCOMPLETE,
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        );
    };
    check_scope(&authorization, &date, services)?;
    check_time(&date, now)?;
    let signed = authorization.signed_headers;
    for name in ["host", "x-amz-date"] {
        if !signed.split(';').any(|header| header == name) {
            return refused(
                INVALID,
                format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."),
            );
        }
    }
    let body = hex(&sha256(&[request.body]));
    if self::header(request, "x-amz-content-sha256").is_some_and(|claimed| claimed != body) {
        return refused(
            INVALID,
            "The value passed in for x-amz-content-sha256 does not match the body.",
        );
    }
    let canonical = canonical_request(request, signed, &body)?;
    let scope = [authorization.date, authorization.region, authorization.service, "aws4_request"];
    let to_sign = [ALGORITHM, &date, &scope.join("/"), &hex(&sha256(&[canonical.as_bytes()]))];
    let right = credential.last_key.sign(&credential.secret, &authorization, &to_sign.join("\n"));
    let right = hex(&right);
    if !bool::from(right.as_bytes().ct_eq(authorization.signature.as_bytes())) {
        return refused(
            INVALID,
            "The request signature we calculated does not match the signature you provided. Check \
             your AWS Secret Access Key and signing method. Consult the service documentation for \
             details.",
        );
    }
    let (region, service) = (authorization.region.to_owned(), authorization.service.to_owned());
    Ok(Caller { credential, region, service })
}

/// A header's values, trimmed, runs of spaces made one, several joined by commas.
fn header<'a>(request: &SignedRequest<'a>, name: &str) -> Option<Cow<'a, str>> {
    let found = request.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
    let mut values = found.map(|(_, value)| as_signed(value));
    let first = values.next()?;
    Some(values.fold(first, |all, value| Cow::Owned(format!("{all},{value}"))))
}

fn as_signed(value: &str) -> Cow<'_, str> {
    let is_space = |byte: &u8| byte.is_ascii_whitespace();
    let bytes = value.as_bytes();
    let is_so = !bytes.first().is_some_and(is_space)
        && !bytes.last().is_some_and(is_space)
        && bytes.windows(2).all(|pair| !pair.iter().all(is_space))
        && bytes.iter().filter(|byte| is_space(byte)).all(|byte| *byte == b' ');
    match is_so {
        true => Cow::Borrowed(value),
        false => Cow::Owned(value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

/// The signing key that an access key was last used with: a day's requests have the same, and making
/// it takes longer than all else.
pub struct LastKey(Mutex<Option<MadeKey>>);

struct MadeKey {
    /// Date, Region and service.
    scope: [String; 3],
    key: Zeroizing<[u8; 32]>,
}

impl Default for LastKey {
    fn default() -> Self {
        Self(Mutex::new(Rank::Cache, None))
    }
}

impl LastKey {
    fn sign(&self, secret: &str, scope: &Authorization<'_>, text: &str) -> [u8; 32] {
        let parts = [scope.date, scope.region, scope.service];
        let mut last = self.0.lock();
        if let Some(made) = last.as_ref().filter(|made| made.scope == parts) {
            return hmac_sha256(&*made.key, text.as_bytes());
        }
        let key = Zeroizing::new(signing_key(secret, scope));
        let signature = hmac_sha256(&*key, text.as_bytes());
        *last = Some(MadeKey { scope: parts.map(str::to_owned), key });
        signature
    }
}

fn canonical_request(
    request: &SignedRequest<'_>,
    signed: &str,
    body: &str,
) -> Result<String, NotSigned> {
    let mut text = format!("{}\n{}\n{}\n", request.method, request.path, request.query);
    for name in signed.split(';') {
        let Some(value) = header(request, name) else {
            return refused(INVALID, format!("'{name}' is signed, but was not sent."));
        };
        text.push_str(&format!("{}:{value}\n", name.to_ascii_lowercase()));
    }
    text.push_str(&format!("\n{signed}\n{body}"));
    Ok(text)
}

fn signing_key(secret: &str, scope: &Authorization<'_>) -> [u8; 32] {
    let seed = Zeroizing::new(format!("AWS4{secret}"));
    [scope.region, scope.service, "aws4_request"]
        .iter()
        .fold(hmac_sha256(seed.as_bytes(), scope.date.as_bytes()), |key, part| {
            hmac_sha256(&key, part.as_bytes())
        })
}

fn check_scope(scope: &Authorization<'_>, date: &str, services: &[&str]) -> Result<(), NotSigned> {
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

/// `20260131T235959Z`.
fn basic_date(time: SystemTime) -> String {
    Timestamp::from_system(time).to_iso().replace(['-', ':'], "")
}

/// The time of `20260131T235959Z`.
fn parse_date(text: &str) -> Option<SystemTime> {
    let digits = |range: std::ops::Range<usize>| {
        let part = text.get(range)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<i64>().ok())?
    };
    if text.len() != 16 || text.get(8..9) != Some("T") || text.get(15..) != Some("Z") {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
    let (hour, minute, second) = (digits(9..11)?, digits(11..13)?, digits(13..15)?);
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !in_range {
        return None;
    }
    // Days from the civil calendar: years begin in March, so that the leap day comes last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let secs = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(secs).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_lead_back() {
        for text in ["19700101T000000Z", "20240229T235959Z", "20150830T123600Z", "20991231T010203Z"]
        {
            assert_eq!(basic_date(parse_date(text).unwrap()), text);
        }
        for text in
            ["", "20150830T123600", "20151330T123600Z", "2015-08-30T12:36Z", "+0150830T123600Z"]
        {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

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

    /// AWS, "Examples of the complete Signature Version 4 signing process": the signing key of
    /// 20120215/us-east-1/iam and the documentation's secret.
    #[test]
    fn signing_key_is_that_of_aws_example() {
        let scope = Authorization {
            access_key_id: "",
            date: "20120215",
            region: "us-east-1",
            service: "iam",
            signed_headers: "",
            signature: "",
        };
        assert_eq!(
            hex(&signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &scope)),
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
        );
    }
}
