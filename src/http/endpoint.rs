//! Where a key service answers: a URL on this machine, or a unix socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// An address of a key service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    /// Value of the `Host` header.
    pub(super) host: String,
    pub(super) place: Place,
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Addresses of this machine, in the order of trying.
    Tcp(Vec<SocketAddr>),
    /// A socket's path.
    Unix(PathBuf),
}

/// Why a text is no endpoint that is spoken with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointError {
    /// Neither `http://HOST:PORT` nor `unix:PATH`.
    Malformed(String),
    /// Another machine: everyone in between would read keys.
    Remote(String),
    /// TLS is not offered.
    Tls(String),
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text) => write!(f, "{text}: not an endpoint"),
            Self::Remote(host) => write!(f, "{host} is not this machine, and http hides nothing"),
            Self::Tls(text) => write!(f, "{text}: https is not offered"),
        }
    }
}

impl std::error::Error for EndpointError {}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let malformed = || EndpointError::Malformed(shown(text));
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            let place = Place::Unix(PathBuf::from(path));
            return Ok(Self { text: text.to_owned(), host: "localhost".to_owned(), place });
        }
        if text.starts_with("https://") {
            return Err(EndpointError::Tls(shown(text)));
        }
        let host = text.strip_prefix("http://").ok_or_else(malformed)?;
        let host = host.strip_suffix('/').unwrap_or(host);
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => {
                (name, port.parse().map_err(|_| malformed())?)
            }
            _ => (host, 80),
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let addresses: Vec<IpAddr> = match bare.unwrap_or(name) {
            "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            name if name.is_empty() || name.contains(['/', '@', '?', '#']) => {
                return Err(malformed());
            }
            name => match name.parse::<IpAddr>() {
                Ok(address) if address.is_loopback() => vec![address],
                Ok(_) | Err(_) => return Err(EndpointError::Remote(name.to_owned())),
            },
        };
        let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, port));
        let place = Place::Tcp(addresses.collect());
        Ok(Self { text: format!("http://{host}"), host: host.to_owned(), place })
    }
}

/// A URL without a password that may stand in it.
fn shown(text: &str) -> String {
    match text.split_once("://").map(|(scheme, rest)| (scheme, rest.rsplit_once('@'))) {
        Some((scheme, Some((_, host)))) => format!("{scheme}://{host}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_with_in_the_clear() {
        let host = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.host);
        for (text, named) in [
            ("http://127.0.0.1:8733", "127.0.0.1:8733"),
            ("http://127.0.0.1:8733/", "127.0.0.1:8733"),
            ("http://localhost:4566", "localhost:4566"),
            ("http://[::1]:80", "[::1]:80"),
            ("http://127.0.0.1", "127.0.0.1"),
            ("unix:/run/kms.sock", "localhost"),
        ] {
            assert_eq!(host(text), Ok(named.to_owned()), "{text}");
        }
        assert_eq!(host("http://10.0.0.1:80"), Err(EndpointError::Remote("10.0.0.1".into())));
        assert_eq!(host("http://kms.example:80"), Err(EndpointError::Remote("kms.example".into())));
        assert!(matches!(host("https://127.0.0.1"), Err(EndpointError::Tls(_))));
        for text in
            ["", "unix:", "127.0.0.1:80", "http://", "http://127.0.0.1:x", "http://127.0.0.1/a"]
        {
            assert!(matches!(host(text), Err(EndpointError::Malformed(_))), "{text}");
        }
        let refused = host("http://user:hush@127.0.0.1:80").unwrap_err();
        assert!(!refused.to_string().contains("hush"), "{refused}");
    }
}
