//! Header archives: what a volume's content cannot be read without, saved and put back.
//!
//! Saving reads alone and takes no lock. Putting back touches only what is damaged, unless told
//! otherwise, and writes a header only if the file's content opens by it.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::crypto::kdf::VolumeKeys;
use crate::format::archive::{
    ARCHIVE_HEAD_LEN, ArchiveHead, ENTRY_HEAD_LEN, ENTRY_TAG_LEN, Entry, EntryHead, EntryKind,
};
use crate::format::layout::HEADER_LEN;
use crate::format::name::{LowerEntry, MARKER_NAME, VOLUME_DIR, classify};
use crate::format::{DirMarker, FileHeader, FormatError};
use crate::fs::FsError;
use crate::fs::lifecycle::open_unlocked;
use crate::fs::recover_tree::names_in;
use crate::fs::volume::{MARKER_LEN_MAX, own_name};
use crate::kms::KeyService;
use crate::lower::{Access, LowerDir, LowerError, LowerFile, NodeKind};
use crate::name::LowerName;
use crate::units::LowerOffset;

/// Bytes of a sidecar at most.
const SIDECAR_LEN_MAX: usize = 4096;

/// Why an archive cannot be made or used.
#[derive(Debug)]
pub enum ArchiveError {
    /// It is no archive, was changed, or is not whole.
    Format(FormatError),
    /// It cannot be read or written.
    Io(io::Error),
    /// It is of another volume.
    OtherVolume,
    /// The volume does not let it.
    Volume(FsError),
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => write!(f, "archive: {error}"),
            Self::Io(error) => error.fmt(f),
            Self::OtherVolume => f.write_str("the archive is of another volume"),
            Self::Volume(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ArchiveError {}

impl From<FormatError> for ArchiveError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FsError> for ArchiveError {
    fn from(error: FsError) -> Self {
        Self::Volume(error)
    }
}

impl From<LowerError> for ArchiveError {
    fn from(error: LowerError) -> Self {
        Self::Volume(error.into())
    }
}

/// What was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Headers of files.
    pub headers: u64,
    /// Markers of directories.
    pub markers: u64,
    /// Sidecars of long names.
    pub sidecars: u64,
    /// Files that are damaged already, and what could not be read: not saved.
    pub skipped: u64,
}

/// Writes an archive.
struct ArchiveWriter<'a> {
    out: &'a mut dyn Write,
    head: [u8; ARCHIVE_HEAD_LEN],
    number: u64,
    keys: &'a VolumeKeys,
}

impl ArchiveWriter<'_> {
    fn put(&mut self, kind: EntryKind, path: &[u8], data: Vec<u8>) -> Result<(), ArchiveError> {
        let entry = Entry { kind, path: path.to_vec(), data };
        let bytes = entry.encode(&self.head, self.number, &self.keys.archive)?;
        self.out.write_all(&bytes)?;
        self.number += 1;
        Ok(())
    }
}

/// Writes an archive of a volume's headers, markers and sidecars, its configuration, and `own`:
/// further files of `.kmsfs` by name. Changes nothing in the volume, which may be mounted.
///
/// # Errors
/// [`ArchiveError`].
pub fn save_headers(
    lower: &Path,
    service: &dyn KeyService,
    own: Vec<(String, Vec<u8>)>,
    created: u64,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<Saved, ArchiveError> {
    let (root, config, keys) = open_unlocked(lower, service)?;
    let head = ArchiveHead { volume: config.volume, created }.encode();
    out.write_all(&head)?;
    let mut writer = ArchiveWriter { out, head, number: 0, keys: &keys };
    writer.put(EntryKind::Own, b"volume.toml", config.encode(&keys.config).into_bytes())?;
    for (name, bytes) in own {
        writer.put(EntryKind::Own, name.as_bytes(), bytes)?;
    }
    let mut saved = Saved::default();
    let mut waiting = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let dir = open_path(&root, &path)?;
        match dir.read_small(&own_name(MARKER_NAME)?, MARKER_LEN_MAX) {
            Ok(bytes) if DirMarker::parse(&bytes, config.volume, &keys.markers).is_ok() => {
                writer.put(EntryKind::Marker, &path, bytes)?;
                saved.markers += 1;
            }
            Ok(_) | Err(_) => saved.skipped += 1,
        }
        for name in names_in(&dir)? {
            let inner = join(&path, &name);
            let Ok(stat) = dir.stat(&name) else { continue };
            match stat.kind {
                NodeKind::Dir if name.as_bytes() != VOLUME_DIR.as_bytes() => waiting.push(inner),
                NodeKind::File => save_file(&mut writer, &dir, &name, &inner, &mut saved)?,
                _ => {}
            }
            progress(saved.headers);
        }
    }
    writer.put(EntryKind::End, &[], Vec::new())?;
    Ok(saved)
}

fn save_file(
    writer: &mut ArchiveWriter<'_>,
    dir: &LowerDir,
    name: &LowerName,
    path: &[u8],
    saved: &mut Saved,
) -> Result<(), ArchiveError> {
    if matches!(classify(name.as_bytes()), LowerEntry::Own) {
        // Markers are saved with their directories, temporary files not at all.
        if name.as_bytes().ends_with(b".name") {
            match dir.read_small(name, SIDECAR_LEN_MAX) {
                Ok(bytes) => {
                    writer.put(EntryKind::Sidecar, path, bytes)?;
                    saved.sidecars += 1;
                }
                Err(_) => saved.skipped += 1,
            }
        }
        return Ok(());
    }
    let mut bytes = vec![0; HEADER_LEN];
    let read = dir
        .open_file(name, Access::ReadOnly)
        .and_then(|file| file.read_at(LowerOffset(0), &mut bytes));
    match read {
        // Nothing is in it.
        Ok(0) => {}
        Ok(HEADER_LEN) if FileHeader::parse(&bytes).is_ok() => {
            writer.put(EntryKind::Header, path, bytes)?;
            saved.headers += 1;
        }
        Ok(_) | Err(_) => saved.skipped += 1,
    }
    Ok(())
}

/// Reads an archive, entry by entry.
pub struct ArchiveReader<R> {
    source: R,
    head: ArchiveHead,
    head_bytes: [u8; ARCHIVE_HEAD_LEN],
    number: u64,
}

impl<R> fmt::Debug for ArchiveReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveReader").field("head", &self.head).finish_non_exhaustive()
    }
}

/// An entry that is not verified yet.
#[derive(Debug)]
pub struct Unverified {
    entry: Entry,
    number: u64,
    tag: [u8; ENTRY_TAG_LEN],
    head: [u8; ARCHIVE_HEAD_LEN],
}

impl Unverified {
    /// What it would be. Only for finding the key that verifies it.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    fn verify(self, keys: &VolumeKeys) -> Result<Entry, FormatError> {
        self.entry.verify(&self.head, self.number, &keys.archive, &self.tag)?;
        Ok(self.entry)
    }
}

impl<R: Read> ArchiveReader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// [`ArchiveError::Format`] if it is none, [`ArchiveError::Io`].
    pub fn new(mut source: R) -> Result<Self, ArchiveError> {
        let mut head_bytes = [0; ARCHIVE_HEAD_LEN];
        read_whole(&mut source, &mut head_bytes)?;
        let head = ArchiveHead::parse(&head_bytes)?;
        Ok(Self { source, head, head_bytes, number: 0 })
    }

    /// What it says of itself; nothing is verified yet.
    pub fn head(&self) -> ArchiveHead {
        self.head
    }

    /// The next entry, the end included.
    ///
    /// # Errors
    /// [`ArchiveError::Format`] if it is cut or none, [`ArchiveError::Io`].
    pub fn next_entry(&mut self) -> Result<Unverified, ArchiveError> {
        let mut head = [0; ENTRY_HEAD_LEN];
        read_whole(&mut self.source, &mut head)?;
        let EntryHead { kind, path_len, data_len } = EntryHead::parse(&head)?;
        let mut part = |len: usize| -> Result<Vec<u8>, ArchiveError> {
            let mut bytes = Vec::new();
            let limit = u64::try_from(len).unwrap_or(u64::MAX);
            // Grows with what is there, not with what is claimed.
            let got = self.source.by_ref().take(limit).read_to_end(&mut bytes)?;
            if got == len { Ok(bytes) } else { Err(FormatError::Truncated.into()) }
        };
        let entry = Entry { kind, path: part(path_len)?, data: part(data_len)? };
        let mut tag = [0; ENTRY_TAG_LEN];
        read_whole(&mut self.source, &mut tag)?;
        let number = self.number;
        self.number += 1;
        Ok(Unverified { entry, number, tag, head: self.head_bytes })
    }

    /// Verifies everything up to the end, and gives what lies in `.kmsfs`.
    ///
    /// # Errors
    /// [`ArchiveError::Format`] for the first entry that was changed, moved, or is not there.
    pub fn verify_all(mut self, keys: &VolumeKeys) -> Result<Vec<Entry>, ArchiveError> {
        let mut own = Vec::new();
        loop {
            let entry = self.next_entry()?.verify(keys)?;
            match entry.kind {
                EntryKind::Own => own.push(entry),
                EntryKind::End if self.source.read(&mut [0])? == 0 => return Ok(own),
                EntryKind::End => return Err(FormatError::BadRecord.into()),
                EntryKind::Marker | EntryKind::Header | EntryKind::Sidecar => {}
            }
        }
    }

    /// The next entry, verified; `None` at the end.
    ///
    /// # Errors
    /// As [`Self::verify_all`].
    pub(super) fn next_verified(
        &mut self,
        keys: &VolumeKeys,
    ) -> Result<Option<Entry>, ArchiveError> {
        let entry = self.next_entry()?.verify(keys)?;
        Ok(Some(entry).filter(|entry| entry.kind != EntryKind::End))
    }
}

fn read_whole(source: &mut impl Read, out: &mut [u8]) -> Result<(), ArchiveError> {
    source.read_exact(out).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FormatError::Truncated.into(),
        _ => ArchiveError::Io(error),
    })
}

/// The directory of a lower path.
pub(super) fn open_path(root: &LowerDir, path: &[u8]) -> Result<LowerDir, FsError> {
    let mut dir = root.reopen()?;
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let name = LowerName::from_bytes(part).map_err(|_| FsError::BadName)?;
        dir = dir.open_dir(&name)?;
    }
    Ok(dir)
}

fn join(path: &[u8], name: &LowerName) -> Vec<u8> {
    match path {
        [] => name.as_bytes().to_vec(),
        _ => [path, b"/", name.as_bytes()].concat(),
    }
}
