//! What can go wrong with a mount. The exit code is decided in `cli/`.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What can go wrong with a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountError {
    /// An ordinary user asked for `allow_other`, and the administrator has not allowed that.
    AllowOther,
    /// The mount is in use.
    Busy {
        /// Where it is mounted.
        mount_point: PathBuf,
    },
    /// Another filesystem is mounted on top; unmounting would hit that one.
    Covered {
        /// Where both are mounted.
        mount_point: PathBuf,
    },
    /// `/dev/fuse` cannot be opened.
    Device {
        /// Errno of open.
        errno: i32,
    },
    /// fusermount3 refused.
    Helper {
        /// What it said, in one line.
        message: String,
    },
    /// fusermount3 is needed and not installed.
    HelperMissing,
    /// mount(2) refused.
    Mount {
        /// Errno of mount.
        errno: i32,
    },
    /// The table of mounts cannot be read, or does not show the mount.
    MountTable,
    /// The mount point cannot be used.
    MountPoint {
        /// The mount point.
        path: PathBuf,
        /// Errno of the first access; ENOTDIR if it is no directory.
        errno: i32,
    },
    /// The mount stands, but its root does not answer.
    NotAnswering {
        /// Errno of stat.
        errno: i32,
    },
    /// The conversation with the kernel failed.
    Session {
        /// Errno where there is one, else EIO.
        errno: i32,
    },
    /// The source cannot be shown in the table of mounts: it has a control character in it.
    Source {
        /// The source, escaped.
        shown: String,
    },
    /// umount(2) refused.
    Unmount {
        /// Errno of umount2.
        errno: i32,
    },
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let os = |errno: &i32| io::Error::from_raw_os_error(*errno);
        match self {
            Self::AllowOther => f.write_str(
                "allow_other is refused: an ordinary user needs the line user_allow_other in \
                 /etc/fuse.conf",
            ),
            Self::Busy { mount_point } => write!(f, "{} is in use", mount_point.display()),
            Self::Covered { mount_point } => {
                write!(f, "another filesystem is mounted over {}", mount_point.display())
            }
            Self::Device { errno } => write!(f, "/dev/fuse: {}", os(errno)),
            Self::Helper { message } => write!(f, "fusermount3: {message}"),
            Self::HelperMissing => {
                f.write_str("fusermount3 is not installed, and only root can mount without it")
            }
            Self::Mount { errno } => write!(f, "mount: {}", os(errno)),
            Self::MountTable => f.write_str("/proc/self/mountinfo does not show the mount"),
            Self::MountPoint { path, errno } => write!(f, "{}: {}", path.display(), os(errno)),
            Self::NotAnswering { errno } => {
                write!(f, "the root of the mount does not answer: {}", os(errno))
            }
            Self::Session { errno } => write!(f, "/dev/fuse: session: {}", os(errno)),
            Self::Source { shown } => write!(f, "control character in the source {shown}"),
            Self::Unmount { errno } => write!(f, "umount: {}", os(errno)),
        }
    }
}

impl std::error::Error for MountError {}
