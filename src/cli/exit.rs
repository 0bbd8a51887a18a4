//! The one table of exit codes, and the two lines of an error. docs/CLI.md quotes it.

use std::io::Write;
use std::process::ExitCode;

use crate::control::{Failure, Kind};

/// Every kind of failure with its exit code. A number is never used for anything else.
pub const EXIT_CODES: &[(Kind, u8)] = &[
    (Kind::Other, 1),
    (Kind::Usage, 2),
    (Kind::InitNotEmpty, 6),
    (Kind::MountPoint, 10),
    (Kind::WrongUnlock, 12),
    (Kind::EmptyPassphrase, 22),
    (Kind::ConfigUnreadable, 23),
    (Kind::ConfigUnwritable, 24),
    (Kind::FsckFindings, 26),
    (Kind::ConfirmationNeeded, 30),
    (Kind::InUse, 31),
    (Kind::KmsUnreachable, 40),
    (Kind::KeyDisabled, 41),
    (Kind::KeyPendingDeletion, 42),
    (Kind::MaterialMissing, 43),
    (Kind::Denied, 44),
    (Kind::RewrapFailures, 50),
    (Kind::AlreadyRunning, 51),
    (Kind::Warnings, 52),
    (Kind::Interrupted, 130),
];

/// The exit code of a kind of failure.
pub fn code(kind: Kind) -> u8 {
    EXIT_CODES.iter().find(|(listed, _)| *listed == kind).map_or(1, |(_, code)| *code)
}

/// Prints the two lines on stderr; answers the exit code.
pub fn report(failure: &Failure) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    let _closed = writeln!(stderr, "error: {}", failure.what);
    if let Some(hint) = &failure.hint {
        let _closed = writeln!(stderr, "hint: {hint}");
    }
    ExitCode::from(code(failure.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_used_once() {
        for (at, (kind, code)) in EXIT_CODES.iter().enumerate() {
            for (other_kind, other_code) in EXIT_CODES.iter().skip(at + 1) {
                assert!(kind != other_kind && code != other_code, "{kind:?} {code}");
            }
        }
    }
}
