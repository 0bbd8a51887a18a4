//! As whom a client asks, and in which Region: from the environment and from the files that AWS'
//! tools share, in the order that those look.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// What a client signs with.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Names the access key.
    pub access_key_id: String,
    /// What requests are signed with.
    pub secret: Zeroizing<String>,
    /// Sent along if the access key is one of a session.
    pub session_token: Option<Zeroizing<String>>,
    /// The Region that is asked.
    pub region: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, region) = (&self.access_key_id, &self.region);
        f.debug_struct("Identity").field("id", id).field("region", region).finish()
    }
}

/// What the user says, before environment and files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Region.
    pub region: Option<String>,
    /// Profile: a section of the files.
    pub profile: Option<String>,
}

/// Why there is no identity. Never shows a line of a file.
#[derive(Debug)]
pub enum IdentityError {
    /// A file cannot be read.
    Io(PathBuf, io::Error),
    /// A line of a file is neither a section nor a setting.
    Malformed(PathBuf, usize),
    /// Neither the environment nor the profile has an access key.
    NoAccessKey(String),
    /// An access key without its other half.
    NoSecret(String),
    /// No file has this profile.
    NoProfile(String),
    /// Nobody says which Region.
    NoRegion,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Malformed(path, line) => {
                write!(f, "{}: line {line} is neither [SECTION] nor NAME = VALUE", path.display())
            }
            Self::NoAccessKey(profile) => write!(f, "no access key (profile {profile})"),
            Self::NoSecret(whose) => write!(f, "{whose}: access key id or secret is missing"),
            Self::NoProfile(profile) => write!(f, "no profile {profile}"),
            Self::NoRegion => f.write_str("no Region is named"),
        }
    }
}

impl std::error::Error for IdentityError {}

impl Identity {
    /// The identity that the user, the environment or the files name.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn find(wanted: &Wanted) -> Result<Self, IdentityError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::find_in(wanted, &variable, &|path| match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn find_in(
        wanted: &Wanted,
        variable: &dyn Fn(&str) -> Option<String>,
        read: &dyn Fn(&PathBuf) -> io::Result<Option<Zeroizing<String>>>,
    ) -> Result<Self, IdentityError> {
        let named = wanted.profile.clone();
        let named = named.or_else(|| variable("AWS_PROFILE"));
        let named = named.or_else(|| variable("AWS_DEFAULT_PROFILE"));
        let name = named.clone().unwrap_or_else(|| "default".to_owned());
        let load = |override_by: &str, usual: &str| {
            let path = variable(override_by).map(PathBuf::from);
            let path = path.or_else(|| Some(PathBuf::from(variable("HOME")?).join(usual)));
            let Some(path) = path else { return Ok(Sections::default()) };
            match read(&path) {
                Ok(Some(text)) => {
                    parse(&text).map_err(|line| IdentityError::Malformed(path.clone(), line))
                }
                Ok(None) => Ok(Sections::default()),
                Err(error) => Err(IdentityError::Io(path.clone(), error)),
            }
        };
        // Who says everything himself needs no files.
        let region = wanted.region.clone();
        let region = region.or_else(|| variable("AWS_REGION"));
        let region = region.or_else(|| variable("AWS_DEFAULT_REGION"));
        // A profile that is asked for by an option goes before access keys in the environment.
        let from_environment = match wanted.profile {
            Some(_) => None,
            None => Keys::of("the environment", &|part| variable(&format!("AWS_{part}")))?,
        };
        if let (Some(keys), Some(region)) = (&from_environment, &region) {
            return Ok(keys.clone().in_region(region.clone()));
        }
        let credentials = load("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")?;
        let config = load("AWS_CONFIG_FILE", ".aws/config")?;
        let section = if name == "default" { name.clone() } else { format!("profile {name}") };
        let places = [credentials.get(&name), config.get(&section)];
        if named.is_some() && places.iter().all(Option::is_none) {
            return Err(IdentityError::NoProfile(name));
        }
        let setting =
            |what: &str| places.iter().flatten().find_map(|section| section.get(what)).cloned();
        let keys = match from_environment {
            Some(keys) => keys,
            None => {
                let of_section = |section: Option<&BTreeMap<String, Zeroizing<String>>>| {
                    let part = |part: &str| {
                        let name = format!("aws_{}", part.to_ascii_lowercase());
                        section?.get(&name).map(|value| value.to_string())
                    };
                    Keys::of(&format!("profile {name}"), &part)
                };
                let [first, second] = places;
                let found = match of_section(first)? {
                    Some(keys) => Some(keys),
                    None => of_section(second)?,
                };
                found.ok_or(IdentityError::NoAccessKey(name))?
            }
        };
        let region = region.or_else(|| setting("region").map(|value| value.to_string()));
        Ok(keys.in_region(region.ok_or(IdentityError::NoRegion)?))
    }
}

/// An access key.
#[derive(Clone)]
struct Keys {
    id: String,
    secret: Zeroizing<String>,
    token: Option<Zeroizing<String>>,
}

impl Keys {
    /// The access key whose parts `part` tells by AWS' names; `None` if it has none.
    fn of(
        whose: &str,
        part: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, IdentityError> {
        let secret = part("SECRET_ACCESS_KEY").map(Zeroizing::new);
        match (part("ACCESS_KEY_ID"), secret) {
            (Some(id), Some(secret)) => {
                Ok(Some(Self { id, secret, token: part("SESSION_TOKEN").map(Zeroizing::new) }))
            }
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => Err(IdentityError::NoSecret(whose.to_owned())),
        }
    }

    fn in_region(self, region: String) -> Identity {
        Identity { access_key_id: self.id, secret: self.secret, session_token: self.token, region }
    }
}

/// Settings by section.
type Sections = BTreeMap<String, BTreeMap<String, Zeroizing<String>>>;

/// Reads the files' form; the error is the number of the first line that is not of it.
fn parse(text: &str) -> Result<Sections, usize> {
    let mut sections = Sections::new();
    let mut current: Option<String> = None;
    for (at, line) in text.lines().enumerate() {
        let shown = line.trim();
        // An indented line belongs to a setting that has settings of its own, such as `s3 =`.
        if shown.is_empty() || shown.starts_with(['#', ';']) || line.starts_with([' ', '\t']) {
            continue;
        }
        if let Some(name) = shown.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let name = name.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            sections.entry(name.clone()).or_default();
            current = Some(name);
            continue;
        }
        let section = current.as_ref().and_then(|name| sections.get_mut(name));
        match (section, shown.split_once('=')) {
            (Some(section), Some((name, value))) => {
                let value = Zeroizing::new(value.trim().to_owned());
                section.insert(name.trim().to_ascii_lowercase(), value);
            }
            _ => return Err(at + 1),
        }
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "\
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key = hush-default
# a comment
[work]
aws_access_key_id=AKIAWORK
aws_secret_access_key = hush=work
aws_session_token = token
[half]
aws_access_key_id = AKIAHALF
";
    const CONFIG: &str = "\
[default]
region = eu-west-1
s3 =
    max_concurrent_requests = 1
[profile work]
region = eu-central-1
";

    fn find(
        wanted: (Option<&str>, Option<&str>),
        environment: &[(&str, &str)],
    ) -> Result<(String, String, Option<String>, String), String> {
        let wanted =
            Wanted { region: wanted.0.map(str::to_owned), profile: wanted.1.map(str::to_owned) };
        let variable = |name: &str| match name {
            "HOME" => Some("/home/ann".to_owned()),
            _ => environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()),
        };
        let read = |path: &PathBuf| {
            Ok(match path.to_str().unwrap() {
                "/home/ann/.aws/credentials" => Some(Zeroizing::new(CREDENTIALS.to_owned())),
                "/home/ann/.aws/config" => Some(Zeroizing::new(CONFIG.to_owned())),
                _ => None,
            })
        };
        let found = Identity::find_in(&wanted, &variable, &read).map_err(|e| e.to_string())?;
        assert!(!format!("{found:?}").contains("hush"), "{found:?}");
        let token = found.session_token.map(|token| token.to_string());
        Ok((found.access_key_id, found.secret.to_string(), token, found.region))
    }

    fn identity(id: &str, secret: &str, token: Option<&str>, region: &str) -> Found {
        Ok((id.to_owned(), secret.to_owned(), token.map(str::to_owned), region.to_owned()))
    }
    type Found = Result<(String, String, Option<String>, String), String>;

    #[test]
    fn identities_are_looked_for_where_aws_tools_look() {
        let environment = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "hush-e")];
        let of_work = || identity("AKIAWORK", "hush=work", Some("token"), "eu-central-1");
        assert_eq!(
            find((None, None), &[]),
            identity("AKIADEFAULT", "hush-default", None, "eu-west-1")
        );
        assert_eq!(find((None, Some("work")), &environment), of_work());
        assert_eq!(find((None, None), &[("AWS_PROFILE", "work")]), of_work());
        assert_eq!(find((None, None), &environment), identity("E", "hush-e", None, "eu-west-1"));
        let mut more = environment.to_vec();
        more.extend([("AWS_SESSION_TOKEN", "t"), ("AWS_DEFAULT_REGION", "us-west-1")]);
        assert_eq!(find((None, None), &more), identity("E", "hush-e", Some("t"), "us-west-1"));
        more.push(("AWS_REGION", "us-west-2"));
        assert_eq!(find((None, None), &more), identity("E", "hush-e", Some("t"), "us-west-2"));
        assert_eq!(
            find((Some("us-east-1"), None), &more),
            identity("E", "hush-e", Some("t"), "us-east-1")
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |wanted, environment: &[(&str, &str)]| find(wanted, environment).unwrap_err();
        assert_eq!(missing((None, Some("nobody")), &[]), "no profile nobody");
        assert_eq!(
            missing((None, Some("half")), &[]),
            "profile half: access key id or secret is missing"
        );
        assert_eq!(
            missing((None, None), &[("AWS_ACCESS_KEY_ID", "E")]),
            "the environment: access key id or secret is missing"
        );
        let elsewhere = [
            ("AWS_SHARED_CREDENTIALS_FILE", "/none"),
            ("AWS_CONFIG_FILE", "/home/ann/.aws/config"),
        ];
        assert_eq!(missing((None, None), &elsewhere), "no access key (profile default)");
        assert_eq!(parse("[a]\nb = 1\nhush\n"), Err(3));
        assert_eq!(parse("b = 1\n"), Err(1));
    }
}
