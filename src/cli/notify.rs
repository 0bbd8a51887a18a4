//! Telling systemd about the mount: sd_notify(3), where `NOTIFY_SOCKET` names a socket.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::control::report::MountReport;

/// The mount answers.
pub(super) fn ready(report: &MountReport) {
    let pid = report.pid;
    let at = report.mount_point.display();
    // A newline would begin a field of its own.
    let status = format!("mounted at {at}").replace('\n', " ");
    send(&format!("READY=1\nMAINPID={pid}\nSTATUS={status}"));
}

/// The mount is about to end.
pub(super) fn stopping() {
    send("STOPPING=1");
}

fn send(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return;
    };
    if let Err(error) = send_to(&socket, state) {
        tracing::warn!("NOTIFY_SOCKET: {error}");
    }
}

fn send_to(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_abstract_name_both_work() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("kmsfs-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&abstract_name).unwrap();
        for (receiver, socket) in
            [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())]
        {
            send_to(&socket, "READY=1").unwrap();
            let mut buffer = [0; 16];
            let len = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], b"READY=1");
        }
    }
}
