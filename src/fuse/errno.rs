//! The one table from [`FsError`] to errno. docs/CLI.md, "errno at the mount".

use fuser::Errno;

use crate::fs::FsError;
use crate::kms::KeyTrouble;

/// The errno that a program sees.
///
/// `ENOSYS` never leaves: the kernel would take it for "this server does not know the request" and
/// stop sending such requests for the life of the mount.
pub(crate) fn errno(error: &FsError) -> Errno {
    match error {
        FsError::BadName => Errno::EINVAL,
        FsError::Bug(_) | FsError::Corrupt(_) => Errno::EIO,
        FsError::Errno(number) => lower_errno(*number),
        FsError::Key(error) => key_errno(error.trouble()),
        FsError::Lower(error) => lower_errno(error.errno),
        FsError::NameTooLong => Errno::ENAMETOOLONG,
        FsError::NotFound => Errno::ENOENT,
        FsError::ReadOnly => Errno::EROFS,
        FsError::StaleNode => Errno::ESTALE,
        FsError::Unsupported => Errno::EOPNOTSUPP,
        // These end an opening; no request can meet them.
        FsError::VolumeBusy => Errno::EBUSY,
        FsError::StateUnknown | FsError::VolumeConfig(_) | FsError::VolumeMissing => Errno::EIO,
    }
}

fn key_errno(trouble: KeyTrouble) -> Errno {
    match trouble {
        KeyTrouble::Denied => Errno::EACCES,
        KeyTrouble::Disabled | KeyTrouble::Missing => Errno::from_i32(libc::ENOKEY),
        KeyTrouble::Internal => Errno::EIO,
        KeyTrouble::Rejected => Errno::from_i32(libc::EKEYREJECTED),
        KeyTrouble::Revoked => Errno::from_i32(libc::EKEYREVOKED),
        KeyTrouble::Unreachable => Errno::ETIMEDOUT,
    }
}

fn lower_errno(number: i32) -> Errno {
    if number == libc::ENOSYS { Errno::EOPNOTSUPP } else { Errno::from_i32(number) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::CorruptPart;
    use crate::kms::{KeyState, KmsError};
    use crate::lower::LowerError;
    use crate::units::BlockNo;

    fn code(error: FsError) -> i32 {
        errno(&error).code()
    }

    fn text() -> String {
        String::from("why")
    }

    /// Law: each cause has the errno of docs/CLI.md.
    #[test]
    fn every_error_of_the_filesystem_has_its_errno() {
        let table = [
            (FsError::BadName, libc::EINVAL),
            (FsError::Bug("held twice"), libc::EIO),
            (FsError::Corrupt(CorruptPart::Block(BlockNo(7))), libc::EIO),
            (FsError::Corrupt(CorruptPart::Header), libc::EIO),
            (FsError::Errno(libc::ENOTEMPTY), libc::ENOTEMPTY),
            (FsError::Lower(LowerError { op: "pwrite", errno: libc::ENOSPC }), libc::ENOSPC),
            (FsError::NameTooLong, libc::ENAMETOOLONG),
            (FsError::NotFound, libc::ENOENT),
            (FsError::ReadOnly, libc::EROFS),
            (FsError::StaleNode, libc::ESTALE),
            (FsError::Unsupported, libc::EOPNOTSUPP),
        ];
        for (error, number) in table {
            assert_eq!(code(error.clone()), number, "{error}");
        }
    }

    /// Law: a user sees from errno what is wrong with the key.
    #[test]
    fn every_trouble_with_a_key_has_its_errno() {
        let key = || text();
        let table = [
            (KmsError::AccessDenied { message: text() }, libc::EACCES),
            (KmsError::Disabled { key: key() }, libc::ENOKEY),
            (KmsError::NotFound { message: text() }, libc::ENOKEY),
            (KmsError::InvalidState { key: key(), state: KeyState::PendingImport }, libc::ENOKEY),
            (
                KmsError::InvalidState { key: key(), state: KeyState::PendingDeletion },
                libc::EKEYREVOKED,
            ),
            (KmsError::InvalidState { key: key(), state: KeyState::Unavailable }, libc::ETIMEDOUT),
            (KmsError::KeyUnavailable { message: text() }, libc::ETIMEDOUT),
            (KmsError::DependencyTimeout { message: text() }, libc::ETIMEDOUT),
            (KmsError::InvalidCiphertext, libc::EKEYREJECTED),
            (KmsError::IncorrectKey { message: text() }, libc::EKEYREJECTED),
            (KmsError::Internal { message: text() }, libc::EIO),
            (KmsError::Validation { message: text() }, libc::EIO),
        ];
        for (error, number) in table {
            assert_eq!(code(FsError::Key(error.clone())), number, "{}", error.exception());
        }
    }

    /// Law: the kernel never hears ENOSYS from below, and never an errno that is none.
    #[test]
    fn lower_errno_that_would_mislead_the_kernel_is_replaced() {
        let lower = |errno| code(FsError::Lower(LowerError { op: "fallocate", errno }));
        assert_eq!(lower(libc::ENOSYS), libc::EOPNOTSUPP);
        assert_eq!(code(FsError::Errno(libc::ENOSYS)), libc::EOPNOTSUPP);
        assert_eq!(lower(0), libc::EIO);
        assert_eq!(lower(-1), libc::EIO);
    }
}
