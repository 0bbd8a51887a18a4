//! What comes over sockets: HTTP requests with their signatures, and control requests.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::kms::{Place, is_slow};
use super::words::Words;
use crate::codec::hex;
use crate::control::{Request, Verb};
use crate::crypto::kdf::{hmac_sha256, sha256};
use crate::http::sigv4::{self, SignedRequest};
use crate::http::{Credentials, Service};
use crate::kms::{Regions, Via};

const CREDENTIALS: &str = "[[principal]]\naccess_key_id = \"AKIDEXAMPLE\"\n\
     secret_access_key = \"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\"\n\
     arn = \"arn:aws:iam::000000000000:root\"\n";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2026-01-31T23:59:59Z.
const NOW: u64 = 1_769_903_999;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// A request as text: method, path and query; headers; an empty line; the body.
struct Parts<'a> {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    fn parse(data: &'a [u8]) -> Self {
        let mut words = Words::new(data);
        let first = String::from_utf8_lossy(words.line()).into_owned();
        let mut parts = first.splitn(3, ' ').map(str::to_owned);
        let [method, path, query] = [(); 3].map(|()| parts.next().unwrap_or_default());
        let mut headers = Vec::new();
        loop {
            let line = words.line();
            if line.is_empty() {
                break;
            }
            let line = String::from_utf8_lossy(line);
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.push((name.to_owned(), value.to_owned()));
        }
        Self { method, path, query, headers, body: words.rest() }
    }

    fn request(&self) -> SignedRequest<'_> {
        SignedRequest {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            body: self.body,
        }
    }

    /// Signs as a client does: every header that is sent.
    fn sign(&mut self, scope: &str) {
        // Set here; and the token of a session, which this access key is none of.
        const OWN: [&str; 5] =
            ["authorization", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];
        let is_own = |name: &str| {
            name.is_empty()
                || name.contains(|c: char| !c.is_ascii_graphic() || c == ';' || c == ',')
                || OWN.iter().any(|own| name.eq_ignore_ascii_case(own))
        };
        self.headers.retain(|(name, _)| !is_own(name));
        self.headers.push(("Host".to_owned(), "127.0.0.1".to_owned()));
        self.headers.push(("X-Amz-Date".to_owned(), "20260131T235959Z".to_owned()));
        let mut names: Vec<String> =
            self.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        names.dedup();
        let mut text = format!("{}\n{}\n{}\n", self.method, self.path, self.query);
        for name in &names {
            let values: Vec<String> = self
                .headers
                .iter()
                .filter(|(header, _)| header.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            text += &format!("{name}:{}\n", values.join(","));
        }
        let signed = names.join(";");
        text += &format!("\n{signed}\n{}", hex(&sha256(&[self.body])));
        let mut key = hmac_sha256(format!("AWS4{SECRET}").as_bytes(), b"20260131");
        for part in scope.split('/').skip(1) {
            key = hmac_sha256(&key, part.as_bytes());
        }
        let digest = hex(&sha256(&[text.as_bytes()]));
        let to_sign = format!("AWS4-HMAC-SHA256\n20260131T235959Z\n{scope}\n{digest}");
        let signature = hex(&hmac_sha256(&key, to_sign.as_bytes()));
        let header = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={signed}, \
             Signature={signature}"
        );
        self.headers.push(("Authorization".to_owned(), header));
    }
}

/// Law: only what was signed is let in, and what was signed is, whatever its headers are.
pub(super) fn sigv4(data: &[u8]) {
    let credentials = Credentials::parse(CREDENTIALS).unwrap();
    let verify = |request: &SignedRequest<'_>| {
        sigv4::verify(request, &credentials, &["kms"], now()).map(drop)
    };
    let mut parts = Parts::parse(data);
    if verify(&parts.request()).is_ok() {
        let other = [parts.body, b"!"].concat();
        let changed = SignedRequest { body: &other, ..parts.request() };
        assert!(verify(&changed).is_err(), "another body under the same signature");
    }
    parts.sign("20260131/us-east-1/kms/aws4_request");
    assert_eq!(verify(&parts.request()), Ok(()), "{:?}", parts.headers);
    let method = format!("{}X", parts.method);
    let changed = SignedRequest { method: &method, ..parts.request() };
    assert!(verify(&changed).is_err(), "another method under the same signature");
    for no in 0..parts.headers.len() {
        let mut changed = parts.headers.clone();
        if changed[no].0 != "Authorization" {
            changed[no].1.push('x');
        }
        let is_changed = changed != parts.headers;
        let request = SignedRequest { headers: &changed, ..parts.request() };
        assert!(
            !is_changed || verify(&request).is_err(),
            "another header under the same signature"
        );
    }
}

/// Law: every request is answered, and no answer blames the service.
pub(super) fn http_service(data: &[u8]) {
    let place = Place::new();
    let regions = Regions::open(place.open(), &place.dir).unwrap();
    let service = Service::new(regions, Credentials::parse(CREDENTIALS).unwrap());
    let mut parts = Parts::parse(data);
    let check = |request: &SignedRequest<'_>| {
        let answer = service.answer(request, Via::Socket, [0; 16]);
        assert!(matches!(answer.status, 200 | 400 | 404), "{answer:?}");
        assert_eq!(answer.status == 200, answer.body.get("__type").is_none(), "{answer:?}");
    };
    check(&parts.request());
    if is_slow(parts.body, data) {
        return;
    }
    let region = if parts.query.is_empty() { "us-east-1" } else { "eu-west-1" };
    parts.query.clear();
    parts.sign(&format!("20260131/{region}/kms/aws4_request"));
    check(&parts.request());
    service.tick().unwrap();
}

/// Law: a file of credentials is refused without showing a secret, or read.
pub(super) fn credentials(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Credentials::parse(text) {
        Ok(credentials) => assert!(!format!("{credentials:?}").contains("canary")),
        Err(what) => assert!(!what.contains("canary"), "{what}"),
    }
}

/// Law: a request that parses is written as one that parses to the same.
pub(super) fn control_request(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Request>(data) else { return };
    let text = serde_json::to_vec(&request).unwrap();
    let again = serde_json::from_slice::<Request>(&text).unwrap();
    assert_eq!(without_fractions(again), without_fractions(request.clone()));
    super::tree::answer(&request.verb);
}

/// Numbers with a fraction are read to the last bit but one, which is near enough for a rate.
fn without_fractions(mut request: Request) -> Request {
    if let Verb::Rewrap(rewrap) = &mut request.verb {
        (rewrap.rate_per_sec, rewrap.max_secs) = (None, None);
    }
    request
}
