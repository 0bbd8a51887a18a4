//! Other users at the control socket.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::sandbox::Sandbox;
use crate::user::{USER, as_user, is_root};

fn ask(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    // A server that refuses may have hung up already; what it said can be read all the same.
    let _refused = stream.write_all(b"{\"v\":1,\"verb\":\"shutdown\",\"lazy\":true}\n");
    let mut answer = vec![0; 4096];
    let len = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..len]).into_owned())
}

/// Law: another user cannot reach the socket; one who can, because modes were changed, is refused by
/// what the kernel says of him.
#[test]
fn the_control_socket_refuses_other_users() {
    if !is_root() {
        return;
    }
    let Some(sandbox) = Sandbox::with_mount() else { return };
    let dir = sandbox.path("run/kmsfs");
    let socket = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    let denied = as_user(USER, &[USER], 0o022, || ask(&socket).unwrap_err().kind());
    assert_eq!(denied, std::io::ErrorKind::PermissionDenied);
    // The doors are opened, as an administrator's mistake would.
    for path in [dir.as_path(), &sandbox.path("run"), &sandbox.path(""), &socket] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let answer = as_user(USER, &[USER], 0o022, || ask(&socket).unwrap());
    assert!(answer.contains("\"denied\"") && answer.contains("may not control"), "{answer}");
    std::fs::write(sandbox.path("mnt/f"), "still mounted").unwrap();
    sandbox.ok("umount mnt");
}
