//! The sockets: HTTP/1.1 on loopback or a unix socket, with bounds on everything that a client can
//! make long, many or slow.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

use crate::http::service::{Answer, Service};
use crate::http::sigv4::SignedRequest;
use crate::kms::Via;
use crate::random::{OsRandom, random_array, uuid_of};

/// Longest body, in bytes. The longest of AWS' fields is a policy of 128 KiB.
const BODY_LEN_MAX: usize = 1 << 20;
/// Bytes of a request's line and headers.
const HEAD_LEN_MAX: usize = 64 << 10;
/// Connections at once; more wait in the socket's queue.
const CONNECTIONS_MAX: usize = 512;
/// How long a client may take to send its headers, and then its body.
const READ_TIME: Duration = Duration::from_secs(30);
/// How long requests under way may take when the server stops.
const STOP_TIME: Duration = Duration::from_secs(10);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A path, for its owner alone.
    Unix(PathBuf),
}

/// A server that runs until it is stopped.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    stop: watch::Sender<bool>,
    endpoint: String,
    done: tokio::task::JoinHandle<()>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Listener {
    async fn bind(listen: &Listen) -> io::Result<(Self, String)> {
        match listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let endpoint = format!("http://{}", listener.local_addr()?);
                Ok((Self::Tcp(listener), endpoint))
            }
            Listen::Unix(path) => {
                let listener = UnixListener::bind(path)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
                Ok((Self::Unix(listener, path.clone()), format!("unix:{}", path.display())))
            }
        }
    }

    /// The next connection, and on which way it comes.
    async fn accept(&self) -> io::Result<(Box<dyn Connection>, Via)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Via::Network(peer.ip())))
            }
            Self::Unix(listener, _) => Ok((Box::new(listener.accept().await?.0), Via::Socket)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _gone = std::fs::remove_file(path);
        }
    }
}

impl Server {
    /// Listens, and answers from now on.
    ///
    /// # Errors
    /// What the system answers, such as an address in use.
    pub fn start(service: Arc<Service>, listen: &Listen) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let (listener, endpoint) = runtime.block_on(Listener::bind(listen))?;
        let (stop, stopped) = watch::channel(false);
        let done = runtime.spawn(serve(service, listener, stopped));
        Ok(Self { runtime, stop, endpoint, done })
    }

    /// The URL for clients, or `unix:` and a path.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Takes no more requests, and waits for those under way.
    pub fn stop(self) {
        let _gone = self.stop.send(true);
        let done = self.done;
        self.runtime.block_on(async {
            let _late = tokio::time::timeout(STOP_TIME, done).await;
        });
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

async fn serve(service: Arc<Service>, listener: Listener, mut stopped: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(READ_TIME).max_buf_size(HEAD_LEN_MAX);
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        let (stream, via) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files, or a client that is gone: others are still served.
                tracing::warn!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = Arc::clone(&service);
        let handler = service_fn(move |request| answer(Arc::clone(&service), via, request));
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), handler));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("connection: {error}");
            }
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn answer(
    service: Arc<Service>,
    via: Via,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let id = random_array(&OsRandom);
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(READ_TIME, Limited::new(body, BODY_LEN_MAX).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Ok(response(&too_long(), id)),
        Err(_) => return Ok(response(&Answer { status: 408, body: serde_json::Value::Null }, id)),
    };
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: Vec<(String, String)> =
        head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let target = head.headers.get("x-amz-target").map(HeaderValue::as_bytes);
    let is_fast = target.is_some_and(|target| FAST.iter().any(|name| name.as_bytes() == target));
    let work = move || {
        let request = SignedRequest {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &headers,
            body: &body,
        };
        service.answer(&request, via, id)
    };
    // Most operations wait for the disk or for RSA: never on a thread that serves connections. The
    // few that do not are done before another thread could be woken.
    let answered = match is_fast {
        true => catch_unwind(AssertUnwindSafe(work)).ok(),
        false => tokio::task::spawn_blocking(work).await.ok(),
    };
    Ok(response(&answered.unwrap_or_else(broken), id))
}

/// Operations that take microseconds and wait for nothing, as long as they succeed: the uses of
/// symmetric keys. (Those of an RSA key by the same names take a millisecond; a use that fails waits
/// for a change that is under way.)
const FAST: [&str; 8] = [
    "TrentService.Decrypt",
    "TrentService.Encrypt",
    "TrentService.GenerateDataKey",
    "TrentService.GenerateDataKeyWithoutPlaintext",
    "TrentService.GenerateMac",
    "TrentService.GenerateRandom",
    "TrentService.ReEncrypt",
    "TrentService.VerifyMac",
];

fn too_long() -> Answer {
    let body = serde_json::json!({"__type": "SerializationException",
        "message": "The body is longer than 1 MiB, or was cut off."});
    Answer { status: 413, body }
}

fn broken() -> Answer {
    tracing::error!("internal error: a request panicked");
    let body = serde_json::json!({"__type": "KMSInternalException", "message": "internal error"});
    Answer { status: 500, body }
}

fn response(answer: &Answer, id: [u8; 16]) -> Response<Full<Bytes>> {
    let body = match &answer.body {
        serde_json::Value::Null => String::new(),
        body => body.to_string(),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/x-amz-json-1.1");
    response.headers_mut().insert(CONTENT_TYPE, json);
    if let Ok(id) = HeaderValue::from_str(&uuid_of(id)) {
        response.headers_mut().insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    response
}
