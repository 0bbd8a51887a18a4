//! The two ways in which cryptography fails: the bytes are not authentic, or the library refuses.

use std::fmt;

/// The bytes are not what was sealed under this key with this additional data.
///
/// Says nothing more on purpose: which part did not fit would help whoever forges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthFailed;

impl fmt::Display for AuthFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("authentication failed")
    }
}

impl std::error::Error for AuthFailed {}

/// Ends the process because the cryptographic library refused a call that cannot fail.
///
/// Every length and key in these calls is fixed by a type, so only a broken library or a lack of
/// memory comes here; writing anything in place of the sealed bytes would lose the user's data.
pub(super) fn stop(call: &'static str) -> ! {
    tracing::error!(call, "cryptographic library refused a call that cannot fail");
    std::process::abort()
}
