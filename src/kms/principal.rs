//! Who asks.

/// Kind of a principal, as CloudTrail's `userIdentity.type` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// The account itself.
    Root,
    /// A user of the account.
    User,
    /// A role of the account, or a session of one.
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
    /// ARN of the role whose session this is.
    role: Option<String>,
}

impl Principal {
    /// The filesystem's own service name.
    pub const FILESYSTEM: &str = "fs.kmsfs.internal";
    /// The name under which the KMS itself acts: rotations and deletions that were due.
    pub const KMS: &str = "kms.kmsfs.internal";

    /// The account root: `arn:aws:iam::ACCOUNT:root`.
    pub fn root(account: &str) -> Self {
        let name = format!("arn:aws:iam::{account}:root");
        Self { kind: PrincipalKind::Root, account: account.to_owned(), name, role: None }
    }

    /// A user, a role or a role's session by its ARN.
    pub fn from_arn(arn: &str) -> Option<Self> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [_, _, service, _, account, resource] = parts.as_slice() else { return None };
        let kind = match (*service, resource.split('/').next()) {
            ("iam", Some("root")) => PrincipalKind::Root,
            ("iam", Some("user")) => PrincipalKind::User,
            ("iam", Some("role")) | ("sts", Some("assumed-role")) => PrincipalKind::Role,
            _ => return None,
        };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let role = match (*service, resource.split('/').collect::<Vec<_>>().as_slice()) {
            ("sts", [_, role, session]) if !role.is_empty() && !session.is_empty() => {
                Some(format!("arn:aws:iam::{account}:role/{role}"))
            }
            ("sts", _) => return None,
            _ => None,
        };
        let (account, name) = ((*account).to_owned(), arn.to_owned());
        is_account.then_some(Self { kind, account, name, role })
    }

    /// A service, by its name such as [`Self::FILESYSTEM`], for an account.
    pub fn service(name: &str, account: &str) -> Self {
        let (account, name) = (account.to_owned(), name.to_owned());
        Self { kind: PrincipalKind::Service, account, name, role: None }
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

    /// The ARN that conditions see as `aws:PrincipalArn`: of a session, that of its role.
    pub fn lasting_name(&self) -> &str {
        self.role.as_ref().unwrap_or(&self.name)
    }

    /// Whether an ARN in a policy or a grant means this principal: its own, or that of the role whose
    /// session it is.
    pub fn answers_to(&self, arn: &str) -> bool {
        arn == self.name || self.role.as_deref() == Some(arn)
    }
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
        let session = "arn:aws:sts::000000000000:assumed-role/backup/ann";
        let session = Principal::from_arn(session).unwrap();
        let role = "arn:aws:iam::000000000000:role/backup";
        assert_eq!((session.kind(), session.lasting_name()), (PrincipalKind::Role, role));
        assert!(session.answers_to(role) && session.answers_to(session.name()));
        assert!(!session.answers_to("arn:aws:iam::000000000000:role/other"));
        assert!(!user.answers_to(role) && user.answers_to(user.lasting_name()));
        for text in ["assumed-role", "assumed-role/", "assumed-role/backup", "assumed-role/backup/"]
        {
            assert!(Principal::from_arn(&format!("arn:aws:sts::000000000000:{text}")).is_none());
        }
        assert!(Principal::from_arn("arn:aws:iam::12:user/ann").is_none());
        assert!(Principal::from_arn("ann").is_none());
    }
}
