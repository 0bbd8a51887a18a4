//! Whether a directory may become the mount point of a lower directory.

use std::io;
use std::path::{Path, PathBuf};

use crate::control::{Failure, Kind, Mount, io_words, list_mounts};
use crate::fuse::is_mounted;

/// The real path of a mount point: an empty directory on which no volume is mounted.
///
/// # Errors
/// [`Kind::MountPoint`]; [`Kind::AlreadyRunning`] if this very volume is mounted.
pub(super) fn usable_mount_point(path: &Path, lower: &Path) -> Result<PathBuf, Failure> {
    if let Some(mount) = mount_of(lower) {
        let (lower, at) = (lower.display(), mount.hello.mount_point.display());
        let what = format!("{lower} is already mounted at {at}");
        return Err(Failure::new(Kind::AlreadyRunning, what).hint(format!("kmsfs umount {at}")));
    }
    let shown = path.display();
    let unusable = |what: String| Failure::new(Kind::MountPoint, what);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => unusable(format!("mount point {shown} does not exist"))
            .hint(format!("mkdir {shown}   (or mount --create)")),
        io::ErrorKind::NotConnected => unusable(format!("mount point {shown} has a dead mount"))
            .hint(format!("kmsfs umount {shown}")),
        _ => unusable(format!("mount point {shown}: {}", io_words(&error))),
    };
    let real = path.canonicalize().map_err(failed)?;
    if let Some(other) = live_mounts().find(|m| m.hello.mount_point == real) {
        let lower = other.hello.lower.display();
        return Err(unusable(format!("mount point {shown} is in use by {lower}"))
            .hint(format!("kmsfs umount {shown}")));
    }
    let mut entries = std::fs::read_dir(&real).map_err(failed)?;
    if entries.next().is_some() {
        return Err(unusable(format!("mount point {shown} is not empty"))
            .hint("choose an empty directory: what lies in it would be hidden"));
    }
    Ok(real)
}

/// The live mount of a lower directory.
fn mount_of(lower: &Path) -> Option<Mount> {
    let real = lower.canonicalize().ok()?;
    live_mounts().find(|mount| mount.hello.lower == real)
}

/// Mounts that are there. The process of one that is unmounted answers until its volume is closed.
fn live_mounts() -> impl Iterator<Item = Mount> {
    list_mounts().into_iter().filter(|mount| is_mounted(&mount.hello.mount_point))
}

/// Refuses two directories of which one lies in the other: the mount would hide its own files, or
/// show itself.
///
/// # Errors
/// [`Kind::MountPoint`].
pub(super) fn check_apart(lower: &Path, mount_point: &Path) -> Result<(), Failure> {
    let (shown, at) = (lower.display(), mount_point.display());
    let what = if lower == mount_point {
        format!("{at} cannot be both lower directory and mount point")
    } else if mount_point.starts_with(lower) {
        format!("mount point {at} lies inside the lower directory {shown}")
    } else if lower.starts_with(mount_point) {
        format!("the lower directory {shown} lies inside the mount point {at}")
    } else {
        return Ok(());
    };
    Err(Failure::new(Kind::MountPoint, what).hint("choose two directories side by side"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_directory_inside_the_other_is_refused() {
        let kind = |lower: &str, at: &str| {
            check_apart(Path::new(lower), Path::new(at)).map_err(|failure| failure.kind)
        };
        assert_eq!(kind("/a/x", "/a/y"), Ok(()));
        assert_eq!(kind("/a/x", "/a/xy"), Ok(()));
        assert_eq!(kind("/a", "/a"), Err(Kind::MountPoint));
        assert_eq!(kind("/a", "/a/m"), Err(Kind::MountPoint));
        assert_eq!(kind("/a/l", "/a"), Err(Kind::MountPoint));
    }

    #[test]
    fn mount_points_that_are_absent_or_full_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let lower = Path::new("/nonexistent");
        let absent = usable_mount_point(&dir.path().join("no"), lower).unwrap_err();
        assert_eq!(absent.kind, Kind::MountPoint);
        assert!(absent.hint.unwrap().starts_with("mkdir "));
        assert!(usable_mount_point(dir.path(), lower).is_ok());
        std::fs::write(dir.path().join("x"), "").unwrap();
        let full = usable_mount_point(dir.path(), lower).unwrap_err();
        assert_eq!(full.kind, Kind::MountPoint);
        let file = usable_mount_point(&dir.path().join("x"), lower).unwrap_err();
        assert_eq!(file.kind, Kind::MountPoint);
    }
}
