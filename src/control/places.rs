//! Where control sockets lie, and binding and connecting there.
//!
//! `$XDG_RUNTIME_DIR/kmsfs`, else `/run/kmsfs` for root, else `~/.local/state/kmsfs`. A socket is
//! named `VOLUME_ID.sock`; the directory is the user's alone (0700), the socket too (0600).

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::geteuid;

use crate::control::{Failure, Kind};

/// Longest path of a unix socket in bytes: `sun_path` less its NUL. unix(7).
const SOCKET_PATH_LEN_MAX: usize = 107;

/// Directory in which this user's mounts have their sockets.
///
/// # Errors
/// [`Kind::Other`] if there is no place for it: neither XDG_RUNTIME_DIR nor HOME is set.
pub fn socket_dir() -> Result<PathBuf, Failure> {
    let runtime = env_dir("XDG_RUNTIME_DIR").filter(|dir| dir.is_dir());
    if let Some(dir) = runtime {
        return Ok(dir.join("kmsfs"));
    }
    if geteuid().is_root() {
        return Ok(PathBuf::from("/run/kmsfs"));
    }
    state_dir().ok_or_else(|| {
        Failure::new(Kind::Other, "no place for the control socket")
            .hint("export XDG_RUNTIME_DIR=/run/user/$(id -u)")
    })
}

/// Every directory in which sockets may lie that this user may reach.
pub(crate) fn socket_dirs() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    let runtime = env_dir("XDG_RUNTIME_DIR").map(|dir| dir.join("kmsfs"));
    dirs.extend(runtime);
    dirs.push(PathBuf::from("/run/kmsfs"));
    dirs.extend(state_dir());
    if geteuid().is_root() {
        let users = std::fs::read_dir("/run/user").into_iter().flatten().flatten();
        dirs.extend(users.map(|user| user.path().join("kmsfs")));
    }
    dirs.sort();
    dirs.dedup();
    dirs
}

fn env_dir(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute())
}

fn state_dir() -> Option<PathBuf> {
    env_dir("HOME").map(|home| home.join(".local/state/kmsfs"))
}

/// Makes the directory of the sockets, and checks that nobody else can put anything there.
pub(crate) fn make_socket_dir(dir: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| Failure::io(dir.display(), &error))?;
    let meta = std::fs::symlink_metadata(dir).map_err(|e| Failure::io(dir.display(), &e))?;
    if !meta.is_dir() || meta.uid() != geteuid().as_raw() {
        let what = format!("{}: not a directory of this user", dir.display());
        return Err(Failure::new(Kind::Other, what));
    }
    if meta.mode() & 0o077 != 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700))
            .map_err(|error| Failure::io(dir.display(), &error))?;
    }
    Ok(())
}

/// Listens at a path of any length; a socket that nobody answers any more is replaced.
///
/// # Errors
/// `AddrInUse` if somebody answers there.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)?;
        }
        Err(_) => {}
    }
    let listener = with_short_path(path, |path| UnixListener::bind(path))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to a path of any length. Does not wait for a server that takes nobody up any more.
///
/// # Errors
/// `WouldBlock` if as many wait already as may.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    with_short_path(path, |path| Ok(net::connect(&socket, &SocketAddrUnix::new(path)?)?))?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Hands on `path`, or a short way to it if it is too long for a socket address.
fn with_short_path<T>(path: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= SOCKET_PATH_LEN_MAX {
        return work(path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(parent, flags, Mode::empty())?;
    work(&Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_may_lie_deep_and_a_stale_one_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("d".repeat(120));
        make_socket_dir(&dir).unwrap();
        let path = dir.join("v.sock");
        let listener = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        bind(&path).unwrap();
    }

    /// Law: whoever looks for mounts is not held up by one that is stuck.
    #[test]
    fn a_server_that_takes_nobody_up_is_not_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("v.sock");
        let _listener = bind(&path).unwrap();
        let waiting: Vec<UnixStream> = std::iter::from_fn(|| connect(&path).ok()).collect();
        assert!(!waiting.is_empty());
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
