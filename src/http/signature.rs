//! AWS Signature Version 4 as client and server compute it. Pure.
//!
//! Source: AWS, "Signature Version 4 signing process" (IAM user guide). Only what KMS clients send:
//! the Authorization header over `POST /` without a query.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use crate::codec::hex;
use crate::crypto::kdf::{hmac_sha256, sha256};
use crate::kms::Timestamp;
use crate::sync::{Mutex, Rank};

/// Name of the algorithm.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

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

/// What a signature is good for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `20260131`.
    pub date: &'a str,
    /// Such as `us-east-1`.
    pub region: &'a str,
    /// Such as `kms`.
    pub service: &'a str,
}

/// A header that is signed, but was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingHeader(pub String);

impl Scope<'_> {
    /// As a credential names it, behind the access key.
    pub fn text(&self) -> String {
        [self.date, self.region, self.service, "aws4_request"].join("/")
    }

    fn signing_key(&self, secret: &str) -> SigningKey {
        let seed = Zeroizing::new(format!("AWS4{secret}"));
        let key = [self.region, self.service, "aws4_request"]
            .iter()
            .fold(hmac_sha256(seed.as_bytes(), self.date.as_bytes()), |key, part| {
                hmac_sha256(&key, part.as_bytes())
            });
        Zeroizing::new(key)
    }
}

type SigningKey = Zeroizing<[u8; 32]>;

/// The signing key that an access key was last used with: a day's requests have the same, and making
/// it takes longer than all else.
pub struct LastKey(Mutex<Option<MadeKey>>);

struct MadeKey {
    /// Date, Region and service.
    scope: [String; 3],
    key: SigningKey,
}

impl fmt::Debug for LastKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastKey")
    }
}

impl Default for LastKey {
    fn default() -> Self {
        Self(Mutex::new(Rank::Cache, None))
    }
}

impl LastKey {
    fn sign(&self, secret: &str, scope: &Scope<'_>, text: &str) -> [u8; 32] {
        let parts = [scope.date, scope.region, scope.service];
        let mut last = self.0.lock();
        if let Some(made) = last.as_ref().filter(|made| made.scope == parts) {
            return hmac_sha256(&*made.key, text.as_bytes());
        }
        let key = scope.signing_key(secret);
        let signature = hmac_sha256(&*key, text.as_bytes());
        *last = Some(MadeKey { scope: parts.map(str::to_owned), key });
        signature
    }
}

impl SignedRequest<'_> {
    /// A header's values, trimmed, runs of spaces made one, several joined by commas.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let found = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        let mut values = found.map(|(_, value)| as_signed(value));
        let first = values.next()?;
        Some(values.fold(first, |all, value| Cow::Owned(format!("{all},{value}"))))
    }

    /// Hash of the body, in hex.
    pub fn body_hash(&self) -> String {
        hex(&sha256(&[self.body]))
    }

    /// The signature, in hex. `date` is the value of `X-Amz-Date`; `signed` names the signed headers,
    /// sorted, with semicolons between.
    ///
    /// # Errors
    /// [`MissingHeader`].
    pub fn signature(
        &self,
        scope: &Scope<'_>,
        date: &str,
        signed: &str,
        secret: &str,
        last_key: &LastKey,
    ) -> Result<String, MissingHeader> {
        let canonical = self.canonical(signed)?;
        let hash = hex(&sha256(&[canonical.as_bytes()]));
        let to_sign = [ALGORITHM, date, &scope.text(), &hash].join("\n");
        Ok(hex(&last_key.sign(secret, scope, &to_sign)))
    }

    /// The value of an Authorization header.
    ///
    /// # Errors
    /// [`MissingHeader`].
    pub fn authorization(
        &self,
        access_key_id: &str,
        scope: &Scope<'_>,
        date: &str,
        signed: &str,
        secret: &str,
        last_key: &LastKey,
    ) -> Result<String, MissingHeader> {
        let signature = self.signature(scope, date, signed, secret, last_key)?;
        let credential = format!("{access_key_id}/{}", scope.text());
        Ok(format!(
            "{ALGORITHM} Credential={credential}, SignedHeaders={signed}, Signature={signature}"
        ))
    }

    fn canonical(&self, signed: &str) -> Result<String, MissingHeader> {
        let mut text = format!("{}\n{}\n{}\n", self.method, self.path, self.query);
        for name in signed.split(';') {
            let value = self.header(name).ok_or_else(|| MissingHeader(name.to_owned()))?;
            text.push_str(&format!("{}:{value}\n", name.to_ascii_lowercase()));
        }
        text.push_str(&format!("\n{signed}\n{}", self.body_hash()));
        Ok(text)
    }
}

/// A header's value, trimmed, runs of spaces made one.
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

/// `20260131T235959Z`.
pub fn basic_date(time: SystemTime) -> String {
    Timestamp::from_system(time).to_iso().replace(['-', ':'], "")
}

/// The time of `20260131T235959Z`.
pub fn parse_date(text: &str) -> Option<SystemTime> {
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

    /// AWS, "Examples of the complete Signature Version 4 signing process": the signing key of
    /// 20120215/us-east-1/iam and the documentation's secret.
    #[test]
    fn signing_key_is_that_of_aws_example() {
        let scope = Scope { date: "20120215", region: "us-east-1", service: "iam" };
        assert_eq!(
            hex(&*scope.signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")),
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
        );
    }
}
