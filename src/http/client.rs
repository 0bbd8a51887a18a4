//! A client of any key service that speaks AWS KMS' protocol: signed requests, bounded in time, in
//! length and in tries.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio_rustls::rustls::pki_types::ServerName;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::http::TARGET_PREFIX;
use crate::http::endpoint::{Endpoint, Place};
use crate::http::identity::Identity;
use crate::http::signature::{LastKey, Scope, SignedRequest, basic_date};
use crate::http::trust::Trust;
use crate::kms::KmsError;
use crate::sync::{Mutex, Rank};
use crate::wire;

/// Longest answer, in bytes. The longest of AWS' is a page of 1000 grants.
const ANSWER_LEN_MAX: usize = 16 << 20;
/// Connections that are kept for the next request.
const IDLE_MAX: usize = 16;
/// How long they are kept: shorter than servers do.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Headers that are signed.
const SIGNED: &str = "content-type;host;x-amz-date;x-amz-target";
/// The same, with a session token.
const SIGNED_WITH_TOKEN: &str = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target";

/// How long and how often is tried.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Time of one try: to connect, to send, to be answered.
    pub each: Duration,
    /// Tries at most.
    pub tries: u32,
}

impl Patience {
    /// For a command that a person waits for.
    pub const COMMAND: Self = Self { each: Duration::from_secs(20), tries: 3 };
    /// For a mount, whose callers hang meanwhile.
    pub const MOUNT: Self = Self { each: Duration::from_secs(5), tries: 3 };

    /// Pause behind a try, doubled each time.
    fn pause(no: u32) -> Duration {
        Duration::from_millis(100) * 2_u32.saturating_pow(no)
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// An exception, by the service's own words.
    Refused {
        /// Such as `NotFoundException`.
        exception: String,
        /// May be empty.
        message: String,
    },
    /// Something answers, but it is no key service.
    Strange {
        /// Who.
        endpoint: String,
        /// HTTP status.
        status: u16,
    },
    /// Nothing answers, or not in time.
    Unreachable {
        /// Who.
        endpoint: String,
        /// Why.
        cause: String,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { exception, message } if message.is_empty() => f.write_str(exception),
            Self::Refused { exception, message } => write!(f, "{exception}: {message}"),
            Self::Strange { endpoint, status } => {
                write!(f, "{endpoint} answers {status}, and not as a key service does")
            }
            Self::Unreachable { endpoint, cause } => write!(f, "{endpoint}: {cause}"),
        }
    }
}

impl std::error::Error for CallError {}

impl From<&CallError> for KmsError {
    fn from(error: &CallError) -> Self {
        match error {
            CallError::Refused { exception, message } => wire::error_of(exception, message),
            CallError::Strange { .. } => Self::Internal { message: error.to_string() },
            CallError::Unreachable { .. } => Self::DependencyTimeout { message: error.to_string() },
        }
    }
}

/// Asks one key service as one principal. Threads may share it.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    endpoint: Endpoint,
    /// Whom an endpoint with TLS must prove itself to be.
    trust: Option<Trust>,
    identity: Identity,
    clock: Arc<dyn Clock>,
    patience: Patience,
    last_key: LastKey,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

type Connection = SendRequest<Full<Bytes>>;

/// What became of a try.
enum Attempt {
    /// Status and body.
    Answered(u16, Zeroizing<Vec<u8>>),
    /// The service has not seen the request.
    NotSent(String),
    /// The service may have seen the request.
    Lost(String),
}

impl Client {
    /// A client; connects at the first call. An endpoint with TLS is not believed without `trust`.
    ///
    /// # Errors
    /// What the system answers to a thread being made.
    pub fn new(
        endpoint: Endpoint,
        trust: Option<Trust>,
        identity: Identity,
        clock: Arc<dyn Clock>,
        patience: Patience,
    ) -> io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("kms client").enable_all().build()?;
        let idle = Mutex::new(Rank::Cache, Vec::new());
        let last_key = LastKey::default();
        Ok(Self { runtime, endpoint, trust, identity, clock, patience, last_key, idle })
    }

    /// Who is asked.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Carries out an operation of AWS KMS.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call(&self, operation: &str, input: &Value) -> Result<Value, CallError> {
        let body = self.call_raw(&format!("{TARGET_PREFIX}{operation}"), input)?;
        self.parse(&body)
    }

    /// As [`Self::call`], by the whole value of `X-Amz-Target`, for what is no operation of AWS'.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call_target(&self, target: &str, input: &Value) -> Result<Value, CallError> {
        let body = self.call_raw(target, input)?;
        self.parse(&body)
    }

    fn parse(&self, body: &[u8]) -> Result<Value, CallError> {
        if body.is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(body).map_err(|_| self.strange(200))
    }

    /// The answer's body; wiped on drop, since it may hold keys.
    pub(super) fn call_raw(
        &self,
        target: &str,
        input: &Value,
    ) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let operation = target.rsplit('.').next().unwrap_or_default();
        let body = Bytes::from(input.to_string());
        let mut no = 0;
        loop {
            let attempt = self.attempt(target, &body);
            let is_last = no + 1 >= self.patience.tries;
            let error = match attempt {
                Attempt::Answered(200, body) => return Ok(body),
                Attempt::Answered(status, body) => {
                    let error = self.refusal(status, &body);
                    let may_pass = status == 429
                        || status >= 500
                        || matches!(&error, CallError::Refused { exception, .. }
                            if exception.starts_with("Throttling"));
                    match may_pass && (status != 500 || is_repeatable(operation)) {
                        true => error,
                        false => return Err(error),
                    }
                }
                Attempt::NotSent(cause) => self.unreachable(cause),
                Attempt::Lost(cause) if is_repeatable(operation) => self.unreachable(cause),
                Attempt::Lost(cause) => return Err(self.unreachable(cause)),
            };
            if is_last {
                return Err(error);
            }
            std::thread::sleep(Patience::pause(no));
            no += 1;
        }
    }

    fn refusal(&self, status: u16, body: &[u8]) -> CallError {
        let exception = serde_json::from_slice(body).ok();
        match exception.as_ref().and_then(wire::read_error_body) {
            Some((exception, message)) => CallError::Refused { exception, message },
            None => self.strange(status),
        }
    }

    fn strange(&self, status: u16) -> CallError {
        CallError::Strange { endpoint: self.endpoint.to_string(), status }
    }

    fn unreachable(&self, cause: String) -> CallError {
        CallError::Unreachable { endpoint: self.endpoint.to_string(), cause }
    }

    /// One try. A request is signed anew for each: its time is part of the signature.
    fn attempt(&self, target: &str, body: &Bytes) -> Attempt {
        let Some(request) = self.signed(target, body) else {
            return Attempt::NotSent(
                "the access key has characters that no header takes".to_owned(),
            );
        };
        self.runtime.block_on(async {
            match tokio::time::timeout(self.patience.each, self.send(request)).await {
                Ok(attempt) => attempt,
                Err(_) => Attempt::Lost(format!("no answer in {} s", self.patience.each.as_secs())),
            }
        })
    }

    fn signed(&self, target: &str, body: &Bytes) -> Option<Request<Full<Bytes>>> {
        let date = basic_date(self.clock.now());
        let mut headers = vec![
            ("content-type".to_owned(), "application/x-amz-json-1.1".to_owned()),
            ("host".to_owned(), self.endpoint.host.clone()),
            ("x-amz-date".to_owned(), date.clone()),
            ("x-amz-target".to_owned(), target.to_owned()),
        ];
        let identity = &self.identity;
        let token = identity.session_token.as_ref();
        headers.extend(token.map(|t| ("x-amz-security-token".to_owned(), t.to_string())));
        let signed = if token.is_some() { SIGNED_WITH_TOKEN } else { SIGNED };
        let scope = Scope { date: date.get(..8)?, region: &identity.region, service: "kms" };
        let request =
            SignedRequest { method: "POST", path: "/", query: "", headers: &headers, body };
        let id = &identity.access_key_id;
        let (secret, last) = (&identity.secret, &self.last_key);
        let authorization = request.authorization(id, &scope, &date, signed, secret, last);
        headers.push(("authorization".to_owned(), authorization.ok()?));
        let mut request = Request::post("/");
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        request.body(Full::new(body.clone())).ok()
    }

    async fn send(&self, mut request: Request<Full<Bytes>>) -> Attempt {
        // A connection that was kept may have been closed meanwhile: the next one is tried, and a new
        // one at last.
        let mut kept = self.idle.lock().pop();
        loop {
            let connection = match kept.take() {
                Some((mut connection, since)) => {
                    let usable = since.elapsed() < IDLE_TIME && connection.ready().await.is_ok();
                    if !usable {
                        kept = self.idle.lock().pop();
                        continue;
                    }
                    Ok((connection, true))
                }
                None => self.connect().await.map(|connection| (connection, false)),
            };
            let (mut connection, was_kept) = match connection {
                Ok(connection) => connection,
                Err(error) => return Attempt::NotSent(cause(&error)),
            };
            let answer = match connection.try_send_request(request).await {
                Ok(answer) => answer,
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) if was_kept => {
                        request = unsent;
                        kept = self.idle.lock().pop();
                        continue;
                    }
                    Some(_) => return Attempt::NotSent(failed.error().to_string()),
                    None => return Attempt::Lost(failed.error().to_string()),
                },
            };
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ANSWER_LEN_MAX).collect().await;
            return match body {
                Ok(body) => {
                    self.keep(connection);
                    Attempt::Answered(status, Zeroizing::new(body.to_bytes().to_vec()))
                }
                Err(error) => Attempt::Lost(error.to_string()),
            };
        }
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock();
        if !connection.is_closed() && idle.len() < IDLE_MAX {
            idle.push((connection, Instant::now()));
        }
    }

    async fn connect(&self) -> io::Result<Connection> {
        match &self.endpoint.place {
            Place::Unix(path) => shake(UnixStream::connect(path).await?).await,
            Place::Tcp(addresses) => {
                let stream = TcpStream::connect(addresses.as_slice()).await?;
                stream.set_nodelay(true)?;
                shake(stream).await
            }
            Place::Tls(name, port) => {
                let trust =
                    self.trust.as_ref().ok_or_else(|| io::Error::other("nobody is trusted"))?;
                let server = ServerName::try_from(name.clone()).map_err(io::Error::other)?;
                let stream = TcpStream::connect((name.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                shake(trust.connector().connect(server, stream).await?).await
            }
        }
    }
}

/// Makes an HTTP connection of a stream.
async fn shake<S>(stream: S) -> io::Result<Connection>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (connection, work) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = work.await {
            tracing::debug!("connection to the key service: {error}");
        }
    });
    Ok(connection)
}

/// The system's words, without its number.
fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// What makes, moves or ends something: carried out twice it does so twice, or is refused although it
/// is done.
const NOT_REPEATABLE: [&str; 13] = [
    "Advance",
    "Cancel",
    "Connect",
    "Create",
    "Delete",
    "Disconnect",
    "Import",
    "Replicate",
    "Retire",
    "Revoke",
    "Rotate",
    "Schedule",
    "Update",
];

/// Whether an operation may be carried out twice without harm.
fn is_repeatable(operation: &str) -> bool {
    !NOT_REPEATABLE.iter().any(|prefix| operation.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::thread::JoinHandle;

    use serde_json::json;

    use super::*;
    use crate::clock::ManualClock;
    use crate::http::credentials::Credentials;
    use crate::http::sigv4;

    const SECRET: &str = "secret";

    /// A client whose tries are short, of a server that answers each request as `script` says: with
    /// these bytes, or by hanging up on an empty text.
    fn with_server(script: &'static [&'static str]) -> (Client, JoinHandle<Vec<Received>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let identity = Identity {
            access_key_id: "ASIA".to_owned(),
            secret: Zeroizing::new(SECRET.to_owned()),
            session_token: Some(Zeroizing::new("token".to_owned())),
            region: "eu-west-1".to_owned(),
        };
        let patience = Patience { each: Duration::from_millis(300), tries: 3 };
        let clock = Arc::new(ManualClock::at(1_800_000_000));
        let client = Client::new(endpoint, None, identity, clock, patience).unwrap();
        (client, std::thread::spawn(move || serve(&listener, script)))
    }

    struct Received {
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        on_new_connection: bool,
    }

    fn serve(listener: &TcpListener, script: &[&str]) -> Vec<Received> {
        let mut received = Vec::new();
        let mut open: Option<BufReader<TcpStream>> = None;
        for answer in script {
            let mut next = None;
            if let Some(stream) = &mut open {
                next = read_request(stream);
            }
            let on_new_connection = next.is_none();
            let (headers, body) = next.unwrap_or_else(|| {
                let mut stream = BufReader::new(listener.accept().unwrap().0);
                let request = read_request(&mut stream).unwrap();
                open = Some(stream);
                request
            });
            received.push(Received { headers, body, on_new_connection });
            if answer.is_empty() {
                open = None;
            } else if let Some(stream) = &mut open {
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        }
        received
    }

    /// Headers and body.
    type Sent = (Vec<(String, String)>, Vec<u8>);

    fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Sent> {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|len| *len > 0)?;
        assert_eq!(line, "POST / HTTP/1.1\r\n");
        let mut headers = Vec::new();
        loop {
            line.clear();
            stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let len = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
        let mut body = vec![0; len];
        stream.read_exact(&mut body).ok()?;
        Some((headers, body))
    }

    const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"Keys\":[]}";
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 42\r\n\r\n\
                        {\"__type\":\"x#ThrottlingException\",\"m\":\"\"}\n";

    #[test]
    fn requests_are_signed_as_the_server_wants_them_and_share_a_connection() {
        let (client, server) = with_server(&[FINE, FINE]);
        assert_eq!(client.call("ListKeys", &json!({"Limit": 1})), Ok(json!({"Keys": []})));
        assert_eq!(client.call("ListKeys", &json!({})), Ok(json!({"Keys": []})));
        let received = server.join().unwrap();
        assert!(received[0].on_new_connection && !received[1].on_new_connection);
        let request = SignedRequest {
            method: "POST",
            path: "/",
            query: "",
            headers: &received[0].headers,
            body: &received[0].body,
        };
        let credentials = Credentials::parse(&format!(
            "[[principal]]\naccess_key_id = \"ASIA\"\nsecret_access_key = \"{SECRET}\"\n\
             session_token = \"token\"\narn = \"arn:aws:iam::000000000000:root\"\n"
        ));
        let now = ManualClock::at(1_800_000_000).now();
        let credentials = credentials.unwrap();
        let caller = sigv4::verify(&request, &credentials, &["kms"], now).unwrap();
        assert_eq!(caller.region, "eu-west-1");
        assert_eq!(request.header("x-amz-target").unwrap(), "TrentService.ListKeys");
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let (client, server) = with_server(&[BUSY, "", FINE]);
        assert_eq!(client.call("ListKeys", &json!({})), Ok(json!({"Keys": []})));
        assert_eq!(server.join().unwrap().len(), 3);
        let (client, server) = with_server(&[BUSY, BUSY, BUSY]);
        let refused = client.call("ListKeys", &json!({})).unwrap_err();
        assert!(matches!(&refused, CallError::Refused { exception, .. }
            if exception == "ThrottlingException"));
        server.join().unwrap();
    }

    /// Law: what makes something is not sent again once the service may have seen it.
    #[test]
    fn a_lost_answer_makes_nothing_twice() {
        let (client, server) = with_server(&[""]);
        assert!(matches!(client.call("CreateKey", &json!({})), Err(CallError::Unreachable { .. })));
        assert_eq!(server.join().unwrap().len(), 1);
    }

    #[test]
    fn a_service_that_hangs_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut client, server) = with_server(&[]);
        server.join().unwrap();
        client.endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let began = Instant::now();
        let error = client.call("ListKeys", &json!({})).unwrap_err();
        assert!(
            matches!(&error, CallError::Unreachable { cause, .. } if cause.contains("no answer"))
        );
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}
