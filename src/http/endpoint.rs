//! Where a key service answers: a URL, or a unix socket.

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
    /// A name, or an address, that has to prove itself by a certificate, and a port.
    Tls(String, u16),
    /// A socket's path.
    Unix(PathBuf),
}

/// Why a text is no endpoint that is spoken with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointError {
    /// None of `https://HOST:PORT`, `http://HOST:PORT` and `unix:PATH`.
    Malformed(String),
    /// Another machine in the clear: everyone in between would read keys.
    Remote(String),
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text) => write!(f, "{text}: not an endpoint"),
            Self::Remote(host) => write!(f, "{host} is not this machine, and http hides nothing"),
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
        let (scheme, host) = text.split_once("://").ok_or_else(malformed)?;
        let default_port = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return Err(malformed()),
        };
        let host = host.strip_suffix('/').unwrap_or(host);
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => {
                (name, port.parse().map_err(|_| malformed())?)
            }
            _ => (host, default_port),
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let name = bare.unwrap_or(name);
        if name.is_empty() || name.contains(['/', '@', '?', '#']) {
            return Err(malformed());
        }
        let place = match scheme {
            "https" => Place::Tls(name.to_owned(), port),
            _ => Place::Tcp(own_addresses(name, port)?),
        };
        Ok(Self { text: format!("{scheme}://{host}"), host: host.to_owned(), place })
    }
}

impl Endpoint {
    /// Whether it is another machine, or proves itself as if it were.
    pub fn needs_trust(&self) -> bool {
        matches!(self.place, Place::Tls(..))
    }
}

/// The addresses of a name, if they are this machine's.
fn own_addresses(name: &str, port: u16) -> Result<Vec<SocketAddr>, EndpointError> {
    let addresses: Vec<IpAddr> = match (name, name.parse::<IpAddr>()) {
        ("localhost", _) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        (_, Ok(address)) if address.is_loopback() => vec![address],
        _ => return Err(EndpointError::Remote(name.to_owned())),
    };
    Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
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
            ("https://kms.eu-west-1.amazonaws.com", "kms.eu-west-1.amazonaws.com"),
            ("https://[2001:db8::1]:8443/", "[2001:db8::1]:8443"),
        ] {
            assert_eq!(host(text), Ok(named.to_owned()), "{text}");
        }
        assert_eq!(host("http://10.0.0.1:80"), Err(EndpointError::Remote("10.0.0.1".into())));
        assert_eq!(host("http://kms.example:80"), Err(EndpointError::Remote("kms.example".into())));
        for text in [
            "",
            "unix:",
            "127.0.0.1:80",
            "http://",
            "http://127.0.0.1:x",
            "http://127.0.0.1/a",
            "https://",
            "https://x:port",
            "ftp://127.0.0.1",
        ] {
            assert!(matches!(host(text), Err(EndpointError::Malformed(_))), "{text}");
        }
        let refused = host("http://user:hush@127.0.0.1:80").unwrap_err();
        assert!(!refused.to_string().contains("hush"), "{refused}");
    }
}
