//! Who asks, and on which way.

use std::net::IpAddr;

use crate::kms::access::IdentityPolicy;

/// Kind of a principal, as CloudTrail's `userIdentity.type` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// The account itself.
    Root,
    /// A user of the account.
    User,
    /// A role of the account.
    Role,
    /// A service that asks on behalf of the account, such as the filesystem.
    Service,
}

/// Who asks: the subject of key policies and of audit records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    kind: PrincipalKind,
    account: String,
    name: String,
    /// What he may do where a key policy leaves that to the account; anything if there is none.
    policy: Option<IdentityPolicy>,
}

/// On which way a call has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// From this process.
    #[default]
    Process,
    /// Through a unix socket.
    Socket,
    /// Over a network, from there.
    Network(IpAddr),
}

impl Principal {
    /// The filesystem's own service name.
    pub const FILESYSTEM: &str = "fs.kmsfs.internal";
    /// The name under which the KMS itself acts: rotations and deletions that were due.
    pub const KMS: &str = "kms.kmsfs.internal";

    /// The account root: `arn:aws:iam::ACCOUNT:root`.
    pub fn root(account: &str) -> Self {
        let name = format!("arn:aws:iam::{account}:root");
        Self { kind: PrincipalKind::Root, account: account.to_owned(), name, policy: None }
    }

    /// A user or role by its ARN.
    pub fn from_arn(arn: &str) -> Option<Self> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [_, _, service, _, account, resource] = parts.as_slice() else { return None };
        let kind = match (*service, resource.split('/').next()) {
            ("iam", Some("root")) => PrincipalKind::Root,
            ("iam", Some("user")) => PrincipalKind::User,
            ("iam", Some("role")) => PrincipalKind::Role,
            ("sts", Some("assumed-role")) if is_session(resource) => PrincipalKind::Role,
            _ => return None,
        };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let (account, name) = ((*account).to_owned(), arn.to_owned());
        is_account.then_some(Self { kind, account, name, policy: None })
    }

    /// A service, by its name such as [`Self::FILESYSTEM`], for an account.
    pub fn service(name: &str, account: &str) -> Self {
        let (account, name) = (account.to_owned(), name.to_owned());
        Self { kind: PrincipalKind::Service, account, name, policy: None }
    }

    /// The same with a policy of its own.
    pub fn with_policy(self, policy: IdentityPolicy) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// Kind.
    pub fn kind(&self) -> PrincipalKind {
        self.kind
    }

    /// The account that it belongs to or acts for.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Its ARN, or the name of a service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its own policy.
    pub(crate) fn policy(&self) -> Option<&IdentityPolicy> {
        self.policy.as_ref()
    }

    /// Whether a policy or a grant that says `name` means it: its own name, or, of a session, the
    /// ARN of its role. A session's ARN has the role's name and not its path.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        if self.name == name {
            return true;
        }
        let Some((role, _)) = self.session() else { return false };
        let own = || name.strip_prefix("arn:aws:iam::")?.strip_prefix(self.account.as_str());
        let named = own().and_then(|rest| rest.strip_prefix(":role/"));
        named.and_then(|path| path.rsplit('/').next()) == Some(role)
    }

    /// Role and session of `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
    fn session(&self) -> Option<(&str, &str)> {
        if self.kind != PrincipalKind::Role {
            return None;
        }
        self.name.split_once(":assumed-role/")?.1.split_once('/')
    }

    /// `aws:PrincipalArn`: that of the role, for a session.
    pub(crate) fn policy_arn(&self) -> Option<String> {
        match (self.kind, self.session()) {
            (PrincipalKind::Service, _) => None,
            (_, Some((role, _))) => Some(format!("arn:aws:iam::{}:role/{role}", self.account)),
            (_, None) => Some(self.name.clone()),
        }
    }

    /// `aws:PrincipalType`.
    pub(crate) fn policy_type(&self) -> Option<&'static str> {
        match self.kind {
            PrincipalKind::Root => Some("Account"),
            PrincipalKind::User => Some("User"),
            PrincipalKind::Role => Some("AssumedRole"),
            PrincipalKind::Service => None,
        }
    }

    /// `aws:username`: of users alone, without the path.
    pub(crate) fn user_name(&self) -> Option<&str> {
        let is_user = self.kind == PrincipalKind::User;
        is_user.then(|| self.name.rsplit('/').next()).flatten()
    }

    /// `aws:userid`: the account's number for the root, role and session for a session. Users and
    /// roles have no unique ids here, so that names stand for them.
    pub(crate) fn user_id(&self) -> Option<String> {
        match (self.kind, self.session()) {
            (PrincipalKind::Root, _) => Some(self.account.clone()),
            (_, Some((role, session))) => Some(format!("{role}:{session}")),
            (_, None) => self.user_name().map(str::to_owned),
        }
    }
}

/// Whether this is `assumed-role/ROLE/SESSION`.
fn is_session(resource: &str) -> bool {
    let mut parts = resource.split('/').skip(1);
    let has_both =
        [parts.next(), parts.next()].iter().all(|part| part.is_some_and(|p| !p.is_empty()));
    has_both && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_come_from_arns() {
        let root = Principal::from_arn("arn:aws:iam::000000000000:root").unwrap();
        assert_eq!(root, Principal::root("000000000000"));
        let user = Principal::from_arn("arn:aws:iam::000000000000:user/ann").unwrap();
        assert_eq!((user.kind(), user.account()), (PrincipalKind::User, "000000000000"));
        for text in ["assumed-role", "assumed-role/", "assumed-role/backup", "assumed-role/backup/"]
        {
            assert!(Principal::from_arn(&format!("arn:aws:sts::000000000000:{text}")).is_none());
        }
        assert!(Principal::from_arn("arn:aws:iam::12:user/ann").is_none());
        assert!(Principal::from_arn("ann").is_none());
    }

    #[test]
    fn a_session_is_meant_by_its_role() {
        let session = "arn:aws:sts::000000000000:assumed-role/Admin/ann";
        let ann = Principal::from_arn(session).unwrap();
        for (name, expected) in [
            (session, true),
            ("arn:aws:iam::000000000000:role/Admin", true),
            ("arn:aws:iam::000000000000:role/path/Admin", true),
            ("arn:aws:iam::000000000001:role/Admin", false),
            ("arn:aws:iam::000000000000:role/Admin2", false),
            ("arn:aws:iam::000000000000:user/Admin", false),
            ("arn:aws:sts::000000000000:assumed-role/Admin/bob", false),
        ] {
            assert_eq!(ann.is_named(name), expected, "{name}");
        }
        assert_eq!(ann.policy_arn().as_deref(), Some("arn:aws:iam::000000000000:role/Admin"));
        assert_eq!(ann.user_id().as_deref(), Some("Admin:ann"));
        let user = Principal::from_arn("arn:aws:iam::000000000000:user/team/bob").unwrap();
        assert_eq!(user.user_name(), Some("bob"));
        assert!(!user.is_named("arn:aws:iam::000000000000:role/bob"));
    }
}
