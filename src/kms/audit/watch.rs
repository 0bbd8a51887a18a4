//! Who is told of records once they are written.

use std::fmt::Debug;

use crate::kms::{KmsError, Op};

/// Is told of records by the writer of the log. Both methods must return at once: uses of keys wait for
/// the first, and for the writer when too many records wait.
pub trait Watch: Send + Sync + Debug {
    /// Whether a call is worth being told of. Asked for every call, by whoever makes it.
    fn wants(&self, op: Op, error: Option<&KmsError>) -> bool;

    /// A record that was wanted, as it stands in the log, without its line feed.
    fn told(&self, line: &[u8]);
}
