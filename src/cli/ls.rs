//! `kmsfs ls`: a directory without mounting.

use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::cli::args::InnerArgs;
use crate::cli::cat::{located, open_reading};
use crate::cli::print::Printer;
use crate::cli::target::from_root;
use crate::cli::values::{size, utc};
use crate::control::report::{LsReport, LsRow};
use crate::control::{Failure, Mount, Session};
use crate::fs::Attr;
use crate::lower::NodeKind;

/// Runs the command.
///
/// # Errors
/// If there is no such directory, or it cannot be read.
pub fn run(args: &InnerArgs, printer: Printer) -> Result<(), Failure> {
    let path = from_root(&args.path);
    let mut entries = match Mount::find(&args.lower) {
        Some(mount) => mounted_rows(&mount.hello.mount_point.join(&path))?,
        None => rows(&open_reading(args)?, &path)?,
    };
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    printer.data(&LsReport { path, entries }, text)
}

fn text(report: &LsReport) -> String {
    let line = |row: &LsRow| {
        let modified = utc(u64::try_from(row.modified).unwrap_or(0));
        format!("{:7} {:>5} {:>12}  {modified}  {}\n", row.kind, row.mode, size(row.size), row.name)
    };
    report.entries.iter().map(line).collect()
}

fn rows(session: &Session, path: &Path) -> Result<Vec<LsRow>, Failure> {
    let volume = session.volume();
    let failed = |error: crate::fs::FsError| located(path, error.into());
    let node = volume.resolve(path).map_err(failed)?;
    let attr = volume.attr(node).map_err(failed)?;
    if attr.kind != NodeKind::Dir {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        return Ok(vec![row(&name, &attr)]);
    }
    let mut names: Vec<Vec<u8>> = Vec::new();
    volume
        .read_dir(node, 0, &mut |entry| {
            if entry.name != b"." && entry.name != b".." {
                names.push(entry.name.clone());
            }
            ControlFlow::Continue(())
        })
        .map_err(failed)?;
    let mut rows = Vec::new();
    for name in names {
        let inner = path.join(PathBuf::from(std::ffi::OsStr::from_bytes(&name)));
        let attr = volume.resolve(&inner).and_then(|node| volume.attr(node)).map_err(failed)?;
        rows.push(row(&String::from_utf8_lossy(&name), &attr));
    }
    Ok(rows)
}

fn row(name: &str, attr: &Attr) -> LsRow {
    LsRow {
        name: name.to_owned(),
        kind: kind_word(attr.kind).to_owned(),
        mode: format!("{:04o}", attr.mode & 0o7777),
        size: attr.size,
        modified: attr.mtime.secs,
    }
}

fn kind_word(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Dir => "dir",
        NodeKind::Symlink => "symlink",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
        NodeKind::CharDevice => "char",
        NodeKind::BlockDevice => "block",
    }
}

fn mounted_rows(path: &Path) -> Result<Vec<LsRow>, Failure> {
    let failed = |error: std::io::Error| Failure::io(path.display(), &error);
    let meta = std::fs::symlink_metadata(path).map_err(failed)?;
    if !meta.is_dir() {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        return Ok(vec![mounted_row(&name, &meta)]);
    }
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let meta = entry.metadata().map_err(failed)?;
        rows.push(mounted_row(&entry.file_name().to_string_lossy(), &meta));
    }
    Ok(rows)
}

fn mounted_row(name: &str, meta: &std::fs::Metadata) -> LsRow {
    let kind = meta.file_type();
    let kind = match () {
        () if kind.is_dir() => NodeKind::Dir,
        () if kind.is_symlink() => NodeKind::Symlink,
        () if kind.is_fifo() => NodeKind::Fifo,
        () if kind.is_socket() => NodeKind::Socket,
        () if kind.is_char_device() => NodeKind::CharDevice,
        () if kind.is_block_device() => NodeKind::BlockDevice,
        () => NodeKind::File,
    };
    LsRow {
        name: name.to_owned(),
        kind: kind_word(kind).to_owned(),
        mode: format!("{:04o}", meta.mode() & 0o7777),
        size: meta.size(),
        modified: meta.mtime(),
    }
}
