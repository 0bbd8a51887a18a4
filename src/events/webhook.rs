//! POST of an event over plain HTTP/1.1, to this machine only: nothing hides what is sent.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::events::sink::SOCKET_TIME_MAX;

/// Bytes of an answer that are looked at: its first line.
const ANSWER_LEN_MAX: usize = 512;

/// Where to post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Webhook {
    /// `http://ADDRESS:PORT/PATH` on loopback.
    Tcp(SocketAddr, String),
    /// `unix:PATH`; posted to `/`.
    Unix(PathBuf),
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address, path) => write!(f, "http://{address}{path}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Webhook {
    /// What a configuration says.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return path.starts_with('/').then(|| Self::Unix(PathBuf::from(path)));
        }
        let rest = text.strip_prefix("http://")?;
        let (address, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let address: SocketAddr = address.parse().ok()?;
        let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
        (address.ip().is_loopback() && is_plain).then(|| Self::Tcp(address, path.to_owned()))
    }
}

/// Posts an event; any answer but 2xx is an error.
pub(super) fn post(hook: &Webhook, body: &[u8]) -> io::Result<()> {
    match hook {
        Webhook::Tcp(address, path) => {
            let stream = TcpStream::connect_timeout(address, SOCKET_TIME_MAX)?;
            stream.set_read_timeout(Some(SOCKET_TIME_MAX))?;
            stream.set_write_timeout(Some(SOCKET_TIME_MAX))?;
            exchange(stream, &address.to_string(), path, body)
        }
        Webhook::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(SOCKET_TIME_MAX))?;
            stream.set_write_timeout(Some(SOCKET_TIME_MAX))?;
            exchange(stream, "localhost", "/", body)
        }
    }
}

fn exchange(mut stream: impl Read + Write, host: &str, path: &str, body: &[u8]) -> io::Result<()> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < ANSWER_LEN_MAX {
        let mut buffer = [0; ANSWER_LEN_MAX];
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        answer.extend(buffer.iter().take(len));
    }
    let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    match status {
        Some(status) if status.starts_with('2') && status.len() == 3 => Ok(()),
        _ => Err(io::Error::other(format!("answer {line:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_this_machine_is_posted_to() {
        for fine in ["http://127.0.0.1:80/a", "http://[::1]:1", "unix:/run/x"] {
            assert!(Webhook::parse(fine).is_some(), "{fine}");
        }
        for no in [
            "http://10.0.0.1:80/",
            "http://localhost/",
            "https://127.0.0.1:1/",
            "http://127.0.0.1:1/ x",
            "unix:x",
            "",
        ] {
            assert!(Webhook::parse(no).is_none(), "{no}");
        }
    }

    #[test]
    fn an_answer_of_2xx_is_success() {
        for (answer, is_fine) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 500 Oh\r\n\r\n", false),
            ("", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut seen = Vec::new();
                while !seen.ends_with(b"{}\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    seen.push(byte[0]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8(seen).unwrap()
            });
            let told = post(&Webhook::Tcp(address, "/hook".to_owned()), b"{}\n");
            assert_eq!(told.is_ok(), is_fine, "{answer} {told:?}");
            let seen = server.join().unwrap();
            assert!(seen.starts_with("POST /hook HTTP/1.1\r\n"), "{seen}");
            assert!(seen.contains("Content-Length: 3\r\n"), "{seen}");
        }
    }
}
