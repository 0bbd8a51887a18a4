//! The fence around the processes that live long: that of a mount, and `kmsfs serve`.

use std::path::{Path, PathBuf};

use crate::control::report::SandboxReport;
use crate::control::{Failure, Kind};
use crate::fence::{Fence, Ground, Kept, Raised};
use crate::lower::lock_memory;

/// Fences this process in; to be called before it has threads.
///
/// # Errors
/// [`Kind::Other`] if the kernel has fences and refuses this one.
fn raise(fence: &Fence) -> Result<SandboxReport, Failure> {
    let raised = fence.raise().map_err(|error| {
        Failure::new(Kind::Other, format!("sandbox: {error}"))
            .hint("--no-sandbox goes without; docs/CLI.md says what that gives up")
    })?;
    let Raised { files, calls, capabilities } = raised;
    if !files {
        tracing::warn!("sandbox: this kernel has no Landlock, files are not fenced off");
    }
    tracing::debug!(files, calls, capabilities, "sandbox");
    Ok(SandboxReport {
        on: true,
        files,
        system_calls: calls,
        capabilities: Some(capabilities),
        memory_locked: false,
    })
}

/// What the C library reads to find another machine by its name.
const NAME_FILES: &[&str] =
    &["/etc/gai.conf", "/etc/host.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"];

/// Fences in a mount: `trees` (its volume, its key service if that is in a directory, and the records
/// that a read-only medium cannot take), its control socket, the kernel's requests, and what it finds
/// the machine of its key service by.
///
/// # Errors
/// As [`raise`].
#[cfg(feature = "fuse")]
pub(super) fn raise_for_mount(
    trees: Vec<PathBuf>,
    sockets: &Path,
) -> Result<SandboxReport, Failure> {
    // The limit on locked memory is lifted by a capability that the fence takes away.
    let memory_locked = lock_memory();
    let report = raise(&Fence {
        ground: Ground {
            trees,
            sockets: vec![sockets.to_path_buf()],
            readable: ["/proc"].iter().chain(NAME_FILES).map(PathBuf::from).collect(),
            devices: ["/dev/fuse", "/dev/null"].map(PathBuf::from).to_vec(),
        },
        kept: Kept::Mount,
    })?;
    Ok(SandboxReport { memory_locked, ..report })
}

/// Fences in a key service: its directory, its file of credentials, and the directory of its socket if
/// it has one.
///
/// # Errors
/// As [`raise`].
pub(super) fn raise_for_service(
    kms: &Path,
    credentials: &Path,
    socket: Option<&Path>,
) -> Result<SandboxReport, Failure> {
    let mut ground = Ground { trees: vec![kms.to_path_buf()], ..Ground::default() };
    match credentials.exists() {
        true => ground.readable.push(credentials.to_path_buf()),
        // It is made there.
        false => ground.trees.push(dir_of(credentials)),
    }
    ground.sockets.extend(socket.map(dir_of));
    let _unlocked = lock_memory();
    raise(&Fence { ground, kept: Kept::Service })
}

/// The directory in which a file lies.
fn dir_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
