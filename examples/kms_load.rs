//! Load for anything that answers AWS KMS' protocol over HTTP, and what it takes: one operation, some
//! connections, some seconds; one line of JSON with requests a second and latencies.
//!
//! `kms_load ADDRESS ACCESS_KEY SECRET REGION OPERATION CONNECTIONS SECONDS`; OPERATION is
//! `GenerateDataKey`, `Encrypt` or `Decrypt`. Makes a key for itself. One thread; each request is signed
//! once and sent again and again, so that the load costs little. `benches/wire.py` runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use kmsfs::codec::hex;
use kmsfs::crypto::kdf::{hmac_sha256, sha256};
use kmsfs::kms::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, access_key, secret, region, operation, connections, seconds] = args.as_slice()
    else {
        panic!("ADDRESS ACCESS_KEY SECRET REGION OPERATION CONNECTIONS SECONDS");
    };
    let signer = Signer { host: address, access_key, secret, region };
    let call = |operation: &str, input: Value| -> Value {
        let mut connection = Connection::open(address);
        connection.exchange(&signer.request(operation, &input.to_string()))
    };
    let key = call("CreateKey", json!({}))["KeyMetadata"]["KeyId"].clone();
    let context = json!({"department": "law", "year": "2026"});
    let plaintext = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let encrypt = json!({"KeyId": key, "Plaintext": plaintext, "EncryptionContext": context});
    let input = match operation.as_str() {
        "GenerateDataKey" => {
            json!({"KeyId": key, "KeySpec": "AES_256", "EncryptionContext": context})
        }
        "Encrypt" => encrypt,
        "Decrypt" => {
            let blob = call("Encrypt", encrypt)["CiphertextBlob"].clone();
            json!({"CiphertextBlob": blob, "EncryptionContext": context})
        }
        other => panic!("no load for {other}"),
    };
    let request = signer.request(operation, &input.to_string());
    let count: usize = connections.parse().unwrap();
    let time = Duration::from_secs_f64(seconds.parse().unwrap());
    // A tenth of the time before anything is counted.
    let (_, before) = run(address, &request, count, time / 10);
    let (took, mut latencies) = run(address, &request, count, time);
    latencies.sort();
    let at = |share: f64| {
        let place = (latencies.len() as f64 * share) as usize;
        latencies[place.min(latencies.len() - 1)].as_secs_f64() * 1e6
    };
    let report = json!({
        "operation": operation,
        "connections": count,
        "requests": latencies.len(),
        "requests_and_before": latencies.len() + before.len(),
        "per_second": latencies.len() as f64 / took.as_secs_f64(),
        "p50_us": at(0.50),
        "p99_us": at(0.99),
    });
    println!("{report}");
}

/// Keeps one request under way on each connection. Tells how long it took, and each one's latency.
fn run(address: &str, request: &[u8], count: usize, time: Duration) -> (Duration, Vec<Duration>) {
    let mut connections: Vec<Connection> = (0..count).map(|_| Connection::open(address)).collect();
    let mut latencies = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    for connection in &mut connections {
        connection.send(request);
    }
    while start.elapsed() < time {
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd<'_>> = connections
                .iter()
                .map(|connection| PollFd::new(&connection.stream, PollFlags::IN))
                .collect();
            poll(&mut fds, None).unwrap();
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        for (connection, ready) in connections.iter_mut().zip(ready) {
            if ready && connection.receive() {
                latencies.push(connection.sent.elapsed());
                assert!(connection.is_success(), "{}", String::from_utf8_lossy(&connection.answer));
                if connection.closes() {
                    *connection = Connection::open(address);
                }
                connection.send(request);
            }
        }
    }
    (start.elapsed(), latencies)
}

struct Connection {
    stream: TcpStream,
    sent: Instant,
    answer: Vec<u8>,
    is_ended: bool,
}

impl Connection {
    fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, sent: Instant::now(), answer: Vec::new(), is_ended: false }
    }

    fn send(&mut self, request: &[u8]) {
        self.answer.clear();
        self.sent = Instant::now();
        self.stream.write_all(request).unwrap();
    }

    /// Takes what has come; tells whether the answer is whole.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.is_ended = true,
            Ok(len) => self.answer.extend_from_slice(&buffer[..len]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}"),
        }
        let Some((head, body)) = self.parts() else {
            assert!(!self.is_ended, "the server has closed the connection");
            return false;
        };
        match header(head, "content-length") {
            Some(len) => body.len() >= len.parse::<usize>().unwrap(),
            None => self.is_ended,
        }
    }

    fn parts(&self) -> Option<(&str, &[u8])> {
        let end = self.answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        Some((std::str::from_utf8(&self.answer[..end]).unwrap(), &self.answer[end + 4..]))
    }

    fn is_success(&self) -> bool {
        self.answer.get(8..13) == Some(b" 200 ")
    }

    /// Whether the next request needs another connection.
    fn closes(&self) -> bool {
        let (head, _) = self.parts().unwrap();
        let stays = header(head, "connection").is_none_or(|value| value != "close");
        self.is_ended || !stays || head.starts_with("HTTP/1.0")
    }

    fn exchange(&mut self, request: &[u8]) -> Value {
        self.send(request);
        while !self.receive() {}
        let (_, body) = self.parts().unwrap();
        assert!(self.is_success(), "{}", String::from_utf8_lossy(body));
        serde_json::from_slice(body).unwrap()
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Signs requests: AWS Signature Version 4.
struct Signer<'a> {
    host: &'a str,
    access_key: &'a str,
    secret: &'a str,
    region: &'a str,
}

impl Signer<'_> {
    fn request(&self, operation: &str, body: &str) -> Vec<u8> {
        #[allow(clippy::disallowed_methods, reason = "a program of its own")]
        let now = Timestamp::from_system(SystemTime::now());
        let date = now.to_iso().replace(['-', ':'], "");
        let (day, target) = (&date[..8], format!("TrentService.{operation}"));
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("host", self.host),
            ("x-amz-date", &date),
            ("x-amz-target", &target),
        ];
        let signed = headers.map(|(name, _)| name).join(";");
        let lines: String = headers.map(|(name, value)| format!("{name}:{value}\n")).concat();
        let canonical =
            format!("POST\n/\n\n{lines}\n{signed}\n{}", hex(&sha256(&[body.as_bytes()])));
        let scope = format!("{day}/{}/kms/aws4_request", self.region);
        let to_sign =
            format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&sha256(&[canonical.as_bytes()])));
        let seed = hmac_sha256(format!("AWS4{}", self.secret).as_bytes(), day.as_bytes());
        let key = [self.region, "kms", "aws4_request"]
            .iter()
            .fold(seed, |key, part| hmac_sha256(&key, part.as_bytes()));
        let signature = hex(&hmac_sha256(&key, to_sign.as_bytes()));
        let sent: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
        format!(
            "POST / HTTP/1.1\r\n{sent}authorization: AWS4-HMAC-SHA256 \
             Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}\r\n\
             content-length: {}\r\n\r\n{body}",
            self.access_key,
            body.len()
        )
        .into_bytes()
    }
}
