//! The process that mounts and unmounts for a mount that is fenced in.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::control::Failure;
use crate::fuse::{Apart, Mounter, serve_mounts};

/// The one argument of the process. No command of ours begins like this.
const WORD: &str = "--mounter";

/// Whether this process is one.
pub(super) fn is_meant(words: &[OsString]) -> bool {
    matches!(words, [_, word] if word == WORD)
}

/// Serves the mount at stdin until it ends. A service manager's signals go to every process of a
/// mount; this one is needed until the mount is gone.
pub(super) fn run() -> ExitCode {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let ignored = Arc::new(AtomicBool::new(false));
        let _default = signal_hook::flag::register(signal, ignored);
    }
    serve_mounts(std::io::stdin().as_fd());
    ExitCode::SUCCESS
}

/// Starts the process.
pub(super) fn start() -> Result<Mounter, Failure> {
    let failed = |error| Failure::io("own program", &error);
    let program = std::env::current_exe().map_err(failed)?;
    let apart = Apart::start(&program, &[WORD]).map_err(failed)?;
    Ok(Mounter::Apart(Arc::new(apart)))
}
