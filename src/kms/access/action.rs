//! What policies call operations, and sets of them.

use std::sync::Arc;

use crate::kms::access::text::is_like;
use crate::kms::state::Op;

/// An operation as policies know it. ReEncrypt has two sides with a name each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// An operation under its own name.
    Op(Op),
    /// The old key of ReEncrypt.
    ReEncryptFrom,
    /// The new key of ReEncrypt.
    ReEncryptTo,
}

impl Action {
    /// What policies call an operation. A key that is sealed for another installation is replicated.
    pub(crate) fn of(op: Op) -> Self {
        Self::Op(match op {
            Op::ExportReplica | Op::ImportReplica => Op::ReplicateKey,
            Op::RequestReplica => Op::CreateKey,
            op => op,
        })
    }

    /// Its name, without its service.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Op(op) => op.name(),
            Self::ReEncryptFrom => "ReEncryptFrom",
            Self::ReEncryptTo => "ReEncryptTo",
        }
    }

    /// Its name as policies spell it.
    pub(crate) fn in_full(self) -> String {
        let service = match self {
            Self::Op(op) if op.is_of_trail() => "cloudtrail",
            _ => "kms",
        };
        format!("{service}:{}", self.name())
    }

    fn all() -> impl Iterator<Item = Self> {
        Op::ALL.iter().map(|op| Self::Op(*op)).chain([Self::ReEncryptFrom, Self::ReEncryptTo])
    }
}

/// A set of actions: the patterns of a statement, looked through once, when it is read.
#[derive(Clone, Debug)]
pub(super) struct Actions(Arc<[Action]>);

impl Actions {
    /// Those that some pattern takes in, in any case.
    pub(super) fn of_patterns(patterns: &[String]) -> Self {
        let lower: Vec<String> = patterns.iter().map(|p| p.to_ascii_lowercase()).collect();
        let is_meant = |action: &Action| {
            let name = action.in_full().to_ascii_lowercase();
            lower.iter().any(|pattern| is_like(pattern, &name))
        };
        let mut actions: Vec<Action> = Action::all().filter(is_meant).collect();
        actions.sort();
        Self(actions.into())
    }

    /// Whether an action is in it.
    pub(super) fn contains(&self, action: Action) -> bool {
        self.0.binary_search(&action).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_in_actions_of_any_case() {
        let of = |pattern: &str| Actions::of_patterns(&[pattern.to_owned()]);
        let count = |pattern| Action::all().filter(|action| of(pattern).contains(*action)).count();
        assert_eq!(count("*"), Op::ALL.len() + 2);
        assert_eq!(count("kms:*") + count("cloudtrail:*"), count("*"));
        assert_eq!(count("cloudtrail:Lookup*"), 1);
        assert_eq!(count("KMS:reencrypt*"), 3);
        assert_eq!(count("kms:GenerateDataKey"), 1);
        assert!(of("kms:generatedatakey*").contains(Action::Op(Op::GenerateDataKeyPair)));
        assert_eq!(count("s3:*"), 0);
    }
}
