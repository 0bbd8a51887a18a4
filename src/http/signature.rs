//! AWS Signature Version 4 as client and server compute it. Pure.
//!
//! Source: AWS, "Signature Version 4 signing process" (IAM user guide). Only what KMS clients send:
//! the Authorization header over `POST /` without a query.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::codec::hex;
use crate::crypto::kdf::{hmac_sha256, sha256};
use crate::kms::Timestamp;

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

    fn signing_key(&self, secret: &str) -> [u8; 32] {
        let seed = zeroize::Zeroizing::new(format!("AWS4{secret}"));
        [self.region, self.service, "aws4_request"]
            .iter()
            .fold(hmac_sha256(seed.as_bytes(), self.date.as_bytes()), |key, part| {
                hmac_sha256(&key, part.as_bytes())
            })
    }
}

impl SignedRequest<'_> {
    /// A header's values, trimmed, runs of spaces made one, several joined by commas.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<String> = self
            .headers
            .iter()
            .filter(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        (!values.is_empty()).then(|| values.join(","))
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
    ) -> Result<String, MissingHeader> {
        let canonical = self.canonical(signed)?;
        let hash = hex(&sha256(&[canonical.as_bytes()]));
        let to_sign = [ALGORITHM, date, &scope.text(), &hash].join("\n");
        Ok(hex(&hmac_sha256(&scope.signing_key(secret), to_sign.as_bytes())))
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
    ) -> Result<String, MissingHeader> {
        let signature = self.signature(scope, date, signed, secret)?;
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
            hex(&scope.signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")),
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
        );
    }
}
