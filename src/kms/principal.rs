//! Who asks.

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
}

impl Principal {
    /// The filesystem's own service name.
    pub const FILESYSTEM: &str = "fs.kmsfs.internal";
    /// The name under which the KMS itself acts: rotations and deletions that were due.
    pub const KMS: &str = "kms.kmsfs.internal";

    /// The account root: `arn:aws:iam::ACCOUNT:root`.
    pub fn root(account: &str) -> Self {
        let name = format!("arn:aws:iam::{account}:root");
        Self { kind: PrincipalKind::Root, account: account.to_owned(), name }
    }

    /// A user or role by its ARN.
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
        is_account.then(|| Self { kind, account: (*account).to_owned(), name: arn.to_owned() })
    }

    /// A service, by its name such as [`Self::FILESYSTEM`], for an account.
    pub fn service(name: &str, account: &str) -> Self {
        Self { kind: PrincipalKind::Service, account: account.to_owned(), name: name.to_owned() }
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
        assert!(Principal::from_arn("arn:aws:iam::12:user/ann").is_none());
        assert!(Principal::from_arn("ann").is_none());
    }
}
