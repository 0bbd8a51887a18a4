//! Whom a client believes over TLS: the system's certificate authorities, or those of a file.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Names a file of certificates, PEM, to be believed in place of the system's. As AWS' tools have it.
const BUNDLE_VARIABLE: &str = "AWS_CA_BUNDLE";

/// The certificate authorities that a client believes.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

/// Why nobody can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustError {
    /// A file of certificates does not read.
    Bundle(PathBuf, String),
    /// The system has none.
    Nobody(String),
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(path, what) => write!(f, "{}: {what}", path.display()),
            Self::Nobody(what) => write!(f, "no certificate authorities: {what}"),
        }
    }
}

impl std::error::Error for TrustError {}

impl Trust {
    /// Those of `AWS_CA_BUNDLE` in the environment, else the system's.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn of_environment() -> Result<Self, TrustError> {
        let bundle = std::env::var_os(BUNDLE_VARIABLE).filter(|path| !path.is_empty());
        match bundle.map(PathBuf::from) {
            Some(path) => Self::of_bundle(path),
            None => Self::of_system(),
        }
    }

    fn of_bundle(path: PathBuf) -> Result<Self, TrustError> {
        let read = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect);
        let found: Vec<_> = match read {
            Ok(found) => found,
            Err(error) => return Err(TrustError::Bundle(path, error.to_string())),
        };
        let mut roots = RootCertStore::empty();
        match roots.add_parsable_certificates(found) {
            (0, _) => Err(TrustError::Bundle(path, "no certificates".to_owned())),
            _ => Ok(Self::new(roots)),
        }
    }

    fn of_system() -> Result<Self, TrustError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        match roots.add_parsable_certificates(found.certs) {
            (0, _) => {
                let causes: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
                Err(TrustError::Nobody(causes.join(", ")))
            }
            _ => Ok(Self::new(roots)),
        }
    }

    fn new(roots: RootCertStore) -> Self {
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self(Arc::new(config))
    }

    /// What makes connections.
    pub(super) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0))
    }
}
