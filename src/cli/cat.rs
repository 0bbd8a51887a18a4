//! `kmsfs cat`: a file without mounting.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::cli::args::InnerArgs;
use crate::cli::place::open_keys;
use crate::cli::target::{Purpose, from_root, open_session, probe};
use crate::control::{Failure, Kind, Mount, Session};
use crate::lower::NodeKind;

/// Bytes that are read at once.
const CHUNK_LEN: usize = 1 << 20;

/// Runs the command.
///
/// # Errors
/// If there is no such file, or it cannot be read.
pub fn run(args: &InnerArgs) -> Result<(), Failure> {
    let path = from_root(&args.path);
    if let Some(mount) = Mount::find(&args.lower) {
        return cat_mounted(&mount.hello.mount_point.join(path));
    }
    let session = open_reading(args)?;
    let shown = args.path.display();
    let volume = session.volume();
    let node = volume.resolve(&path).map_err(|error| located(&args.path, error.into()))?;
    let attr = volume.attr(node).map_err(|error| located(&args.path, error.into()))?;
    if attr.kind != NodeKind::File {
        return Err(Failure::new(Kind::Other, format!("{shown}: not a regular file")));
    }
    let (mut at, mut buffer) = (0, Vec::new());
    while at < attr.size {
        let len = volume
            .read(node, at, CHUNK_LEN, &mut buffer)
            .map_err(|error| located(&args.path, error.into()))?;
        let Some(chunk) = buffer.get(..len).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        if !write_on(chunk)? {
            break;
        }
        at = at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }
    Ok(())
}

/// Opens a volume for reading, to be used without a mount.
pub(super) fn open_reading(args: &InnerArgs) -> Result<Session, Failure> {
    let (lower, summary) = probe(&args.lower)?;
    let kms = open_keys(&lower, &summary, &args.unlock)?;
    open_session(&lower, &summary, kms, Purpose::Read)
}

/// A failure at a path that the user typed.
pub(super) fn located(path: &Path, failure: Failure) -> Failure {
    Failure { what: format!("{}: {}", path.display(), failure.what), ..failure }
}

fn cat_mounted(path: &Path) -> Result<(), Failure> {
    let failed = |error: &io::Error| Failure::io(path.display(), error);
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let mut buffer = vec![0; CHUNK_LEN];
    loop {
        let len = file.read(&mut buffer).map_err(|error| failed(&error))?;
        let Some(chunk) = buffer.get(..len).filter(|chunk| !chunk.is_empty()) else {
            return Ok(());
        };
        if !write_on(chunk)? {
            return Ok(());
        }
    }
}

/// Whether somebody still reads stdout.
fn write_on(bytes: &[u8]) -> Result<bool, Failure> {
    match io::stdout().lock().write_all(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::io("stdout", &error)),
    }
}
