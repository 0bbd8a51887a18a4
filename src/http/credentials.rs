//! The principals that may ask, and the secrets that they sign with: a TOML file of mode 0600.
//!
//! ```toml
//! [[principal]]
//! access_key_id = "AKIA2Q7ZWOY5XKDN3VTB"
//! secret_access_key = "..."
//! arn = "arn:aws:iam::000000000000:root"
//! ```
//!
//! A user or role may have a `policy`, an identity policy as JSON text: docs/KMS.md, "Who may do what".
//! An access key of a role's session has a `session_token` besides, if it is to be sent along.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::http::signature::LastKey;
use crate::kms::{IdentityPolicy, Principal, PrincipalKind};
use crate::random::{Random, random_array};

/// Longest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// One access key.
#[derive(Clone)]
pub struct Credential {
    /// Public half: names the principal.
    pub access_key_id: String,
    /// What requests are signed with.
    pub secret: Arc<Zeroizing<String>>,
    /// What must be sent along, if this is the access key of a session.
    pub session_token: Option<Arc<Zeroizing<String>>>,
    /// Who it is.
    pub principal: Principal,
    /// What its last request was checked with.
    pub(super) last_key: Arc<LastKey>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, principal) = (&self.access_key_id, &self.principal);
        f.debug_struct("Credential").field("id", id).field("principal", principal).finish()
    }
}

/// All access keys, by their ids.
#[derive(Clone, Debug, Default)]
pub struct Credentials(BTreeMap<String, Credential>);

/// Why a file of credentials is of no use.
#[derive(Debug)]
pub enum CredentialsError {
    /// The medium refused.
    Io(PathBuf, io::Error),
    /// Others than its owner may read or write it.
    TooOpen(PathBuf, u32),
    /// Not of the form above; never shows a line of the file.
    Malformed(PathBuf, String),
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::TooOpen(path, mode) => {
                write!(f, "{}: mode {mode:04o} lets others read secrets", path.display())
            }
            Self::Malformed(path, what) => write!(f, "{}: {what}", path.display()),
        }
    }
}

impl std::error::Error for CredentialsError {}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    #[serde(default)]
    principal: Vec<PrincipalForm>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PrincipalForm {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_token: Option<String>,
    arn: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
}

impl Credentials {
    /// Reads a file.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn load(path: &Path) -> Result<Self, CredentialsError> {
        let failed = |error| CredentialsError::Io(path.to_path_buf(), error);
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(CredentialsError::TooOpen(path.to_path_buf(), mode));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_LEN_MAX).read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text).map_err(|what| CredentialsError::Malformed(path.to_path_buf(), what))
    }

    /// Makes a file with one access key of the account root.
    ///
    /// # Errors
    /// [`CredentialsError::Io`], also if there is such a file.
    pub fn create(
        path: &Path,
        account: &str,
        random: &dyn Random,
    ) -> Result<Self, CredentialsError> {
        let failed = |error| CredentialsError::Io(path.to_path_buf(), error);
        let form = PrincipalForm {
            access_key_id: new_id(random),
            secret_access_key: STANDARD.encode(random_array::<30>(random)),
            session_token: None,
            arn: Principal::root(account).name().to_owned(),
            policy: None,
        };
        let text = toml::to_string(&FileForm { principal: vec![form] });
        let text = Zeroizing::new(text.map_err(|error| failed(io::Error::other(error)))?);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        Self::parse(&text).map_err(|what| CredentialsError::Malformed(path.to_path_buf(), what))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // toml's own message quotes the line, which may hold a secret.
        let form: FileForm = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                text.get(..span.start).unwrap_or_default().matches('\n').count() + 1
            });
            format!(
                "line {line} is not of the form [[principal]] access_key_id, secret_access_key, arn, \
                 policy, session_token"
            )
        })?;
        let mut all = BTreeMap::new();
        for form in form.principal {
            let PrincipalForm { access_key_id, secret_access_key, session_token, arn, policy } =
                form;
            let session_token = session_token.map(|token| Arc::new(Zeroizing::new(token)));
            let mut principal = Principal::from_arn(&arn)
                .ok_or_else(|| format!("{arn} is no ARN of a user, a role or an account"))?;
            if let Some(policy) = policy {
                if principal.kind() == PrincipalKind::Root {
                    return Err(format!("{arn}: an account has no identity policy"));
                }
                let policy = IdentityPolicy::parse(&policy);
                let policy = policy.map_err(|what| format!("{arn}: policy: {what}"))?;
                principal = principal.with_policy(policy);
            }
            let is_empty_token = session_token.as_ref().is_some_and(|token| token.is_empty());
            if access_key_id.is_empty() || secret_access_key.is_empty() || is_empty_token {
                return Err(format!("{arn}: an access key is empty"));
            }
            let secret = Arc::new(Zeroizing::new(secret_access_key));
            let last_key = Arc::new(LastKey::default());
            let id = access_key_id.clone();
            let credential =
                Credential { access_key_id: id, secret, session_token, principal, last_key };
            if all.insert(access_key_id.clone(), credential).is_some() {
                return Err(format!("{access_key_id} stands there twice"));
            }
        }
        Ok(Self(all))
    }

    /// The access key of that id.
    pub fn find(&self, access_key_id: &str) -> Option<&Credential> {
        self.0.get(access_key_id)
    }

    /// All of them, sorted by id.
    pub fn iter(&self) -> impl Iterator<Item = &Credential> {
        self.0.values()
    }
}

/// `AKIA` and 16 characters of base32, as AWS' long-lived access keys have them.
fn new_id(random: &dyn Random) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letters = random_array::<16>(random)
        .map(|byte| char::from(ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'A')));
    format!("AKIA{}", String::from_iter(letters))
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::random::OsRandom;

    #[test]
    fn a_new_file_is_read_again_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.toml");
        let made = Credentials::create(&path, "123456789012", &OsRandom).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let read = Credentials::load(&path).unwrap();
        let (made, read) = (made.iter().next().unwrap(), read.iter().next().unwrap());
        assert_eq!((&made.access_key_id, &made.secret), (&read.access_key_id, &read.secret));
        assert_eq!(read.principal, Principal::root("123456789012"));
        assert_eq!(read.access_key_id.len(), 20);
        assert!(!format!("{read:?}").contains(read.secret.as_str()));
        assert!(Credentials::create(&path, "123456789012", &OsRandom).is_err());
        set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Credentials::load(&path), Err(CredentialsError::TooOpen(_, 0o640))));
    }

    /// Law: no error shows a secret.
    #[test]
    fn what_is_malformed_is_named_by_its_line_alone() {
        let cases = [
            "[[principal]]\naccess_key_id = \"A\"\nsecret_access_key = \"hush\narn = \"x\"\n",
            "[[principal]]\naccess_key_id = \"A\"\nsecret_access_key = \"hush\"\narn = \"x\"\n",
            "[[principal]]\naccess_key_id = \"A\"\nsecret_access_key = \"hush\"\n",
            "secret = \"hush\"\n",
            "[[principal]]\naccess_key_id = \"A\"\nsecret_access_key = \"hush\"\n\
             arn = \"arn:aws:iam::000000000000:user/ann\"\npolicy = \"{}\"\n",
        ];
        for text in cases {
            let error = Credentials::parse(text).unwrap_err();
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
