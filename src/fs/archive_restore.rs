//! Putting back what an archive has and the volume has lost.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::crypto::kdf::{FileKeys, VolumeKeys};
use crate::format::archive::{Entry, EntryKind};
use crate::format::layout::{HEADER_LEN, PAYLOAD, last_block, plain_len, record_at, record_len};
use crate::format::name::{MARKER_NAME, TEMPORARY_PREFIX, VOLUME_DIR};
use crate::format::{DirMarker, FileHeader, KmsPlace, VolumeConfig, record, volume};
use crate::fs::archive::{ArchiveError, ArchiveReader, open_path};
use crate::fs::data_keys::DataKeys;
use crate::fs::header_io::{OpenKeys, keeping_marks};
use crate::fs::lifecycle::{CONFIG_NAME, lock_for_writing, open_unlocked, open_volume_key, store};
use crate::fs::names::OWN_FILE_MODE;
use crate::fs::volume::{MARKER_LEN_MAX, own_name};
use crate::fs::{CorruptPart, FsError};
use crate::kms::KeyService;
use crate::lower::{Access, LowerDir, LowerFile, NodeKind, SyncScope};
use crate::name::LowerName;
use crate::random::{Random, random_array};
use crate::units::{BlockNo, LowerOffset};

/// Blocks at the beginning of a file that are tried by a header.
const BLOCKS_TRIED: u64 = 8;

/// How to put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Also in the place of what is good, and newer.
    pub overwrite: bool,
    /// Changes nothing.
    pub dry_run: bool,
}

/// What was put back, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Entries whose counterpart is good.
    pub good: u64,
    /// Lower paths of what was put back.
    pub restored: Vec<String>,
    /// Lower paths that are gone, or whose file was cut: there is nothing to put a header in front of.
    pub missing: Vec<String>,
    /// Files that are damaged, and whose content is not that of the archived header.
    pub other_content: Vec<String>,
    /// Files whose archived header the key service does not open.
    pub refused: Vec<String>,
}

/// Where the key service of an archived configuration lies. Not authenticated.
///
/// # Errors
/// [`ArchiveError::Format`] if it is no configuration.
pub fn archived_place(config: &[u8]) -> Result<KmsPlace, ArchiveError> {
    Ok(parse_config(config)?.kms().clone())
}

fn parse_config(text: &[u8]) -> Result<volume::UnverifiedConfig, ArchiveError> {
    let text =
        std::str::from_utf8(text).map_err(|_| crate::format::FormatError::BadText { line: 0 })?;
    Ok(volume::parse(text)?)
}

/// Verifies a whole archive; puts the volume's configuration back if it is damaged or gone, and
/// tells whether. `config` is the archive's own, not verified yet.
///
/// # Errors
/// [`ArchiveError`]; nothing is changed then.
pub fn check_archive(
    lower: &Path,
    service: &dyn KeyService,
    archive: ArchiveReader<impl Read>,
    config: &[u8],
    options: RestoreOptions,
    random: &dyn Random,
) -> Result<bool, ArchiveError> {
    let volume = archive.head().volume;
    match open_unlocked(lower, service) {
        Ok((_, own, _)) if own.volume != volume => Err(ArchiveError::OtherVolume),
        Ok((_, _, keys)) => archive.verify_all(&keys).map(|_| false),
        Err(FsError::Key(error)) => Err(FsError::Key(error).into()),
        Err(_) => {
            let parsed = parse_config(config)?;
            if parsed.volume() != volume {
                return Err(ArchiveError::OtherVolume);
            }
            let keys = open_volume_key(service, parsed.volume_key(), volume)?;
            let verified = parsed.verify(&keys.config)?;
            archive.verify_all(&keys)?;
            if !options.dry_run {
                let own = LowerDir::open_root(lower)?.open_dir(&own_name(VOLUME_DIR)?)?;
                store(&own, CONFIG_NAME, verified.encode(&keys.config).as_bytes(), random)?;
            }
            Ok(true)
        }
    }
}

/// Puts back headers, markers and sidecars that are damaged or gone. The volume must not be in use.
///
/// # Errors
/// [`ArchiveError`]; what was put back until then stays.
pub fn restore_headers(
    lower: &Path,
    service: Arc<dyn KeyService>,
    mut archive: ArchiveReader<impl Read>,
    options: RestoreOptions,
    random: &Arc<dyn Random>,
    progress: &mut dyn FnMut(u64),
) -> Result<Restored, ArchiveError> {
    let (root, config, keys) = open_unlocked(lower, &*service)?;
    if archive.head().volume != config.volume {
        return Err(ArchiveError::OtherVolume);
    }
    let _lock = lock_for_writing(&root)?;
    let data_keys = DataKeys::new(service, Arc::clone(random), config.volume, &config.policies);
    let restorer = Restorer { root, config, keys, data_keys, options };
    let mut restored = Restored::default();
    let mut done = 0;
    while let Some(entry) = archive.next_verified(&restorer.keys)? {
        let outcome = match entry.kind {
            EntryKind::Header => restorer.header(&entry),
            EntryKind::Marker => restorer.marker(&entry),
            EntryKind::Sidecar => restorer.sidecar(&entry),
            EntryKind::Own | EntryKind::End => continue,
        };
        restored.note(&entry, outcome)?;
        done += 1;
        progress(done);
    }
    if !options.dry_run {
        restorer.root.sync_fs()?;
    }
    Ok(restored)
}

/// What became of one entry.
enum Outcome {
    Good,
    Restored,
    Missing,
    OtherContent,
    Refused,
}

impl Restored {
    fn note(&mut self, entry: &Entry, outcome: Result<Outcome, FsError>) -> Result<(), FsError> {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        match outcome {
            Ok(Outcome::Good) => self.good += 1,
            Ok(Outcome::Restored) => self.restored.push(path),
            Ok(Outcome::Missing) => self.missing.push(path),
            Ok(Outcome::OtherContent) => self.other_content.push(path),
            Ok(Outcome::Refused) => self.refused.push(path),
            Err(FsError::Lower(error)) if matches!(error.errno, libc::ENOENT | libc::ENOTDIR) => {
                self.missing.push(path);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

struct Restorer {
    root: LowerDir,
    config: VolumeConfig,
    keys: VolumeKeys,
    data_keys: DataKeys,
    options: RestoreOptions,
}

impl Restorer {
    fn header(&self, entry: &Entry) -> Result<Outcome, FsError> {
        let (dir, name) = self.place(&entry.path)?;
        if dir.stat(&name)?.kind != NodeKind::File {
            return Ok(Outcome::Missing);
        }
        let file = dir.open_file(&name, Access::ReadWrite)?;
        let mut now = [0; HEADER_LEN];
        if file.read_at(LowerOffset(0), &mut now)? < HEADER_LEN {
            return Ok(Outcome::Missing);
        }
        let is_good = self.open_header(&now).is_ok();
        if is_good && (!self.options.overwrite || now.as_slice() == entry.data) {
            return Ok(Outcome::Good);
        }
        let keys = match self.open_header(&entry.data) {
            Ok(keys) => keys,
            Err(FsError::Key(_)) => return Ok(Outcome::Refused),
            Err(_) => return Ok(Outcome::OtherContent),
        };
        if !self.opens(&file, keys)? {
            return Ok(Outcome::OtherContent);
        }
        if !self.options.dry_run {
            keeping_marks(&file, || {
                file.write_at(LowerOffset(0), &entry.data)?;
                Ok(file.sync(SyncScope::Data)?)
            })?;
        }
        Ok(Outcome::Restored)
    }

    /// The keys of a header that is whole, of this volume, and verifies.
    fn open_header(&self, bytes: &[u8]) -> Result<FileKeys, FsError> {
        let corrupt = FsError::Corrupt(CorruptPart::Header);
        let header = FileHeader::parse(bytes).map_err(|_| corrupt.clone())?;
        if header.prelude.volume != self.config.volume {
            return Err(corrupt);
        }
        let keys = self.data_keys.unwrap(&header.prelude, header.current().1)?;
        header.verify(&keys.header).map_err(|_| corrupt)?;
        Ok(keys)
    }

    /// Whether a file's content opens by these keys: the first blocks that are no holes, or the last.
    fn opens(&self, file: &dyn LowerFile, keys: FileKeys) -> Result<bool, FsError> {
        let keys = OpenKeys::new(keys, self.data_keys.random());
        let last = last_block(plain_len(file.len()?)).unwrap_or(BlockNo(0));
        let first = (0..BLOCKS_TRIED).map(BlockNo).filter(|block| block.0 < last.0);
        let mut page = [0; HEADER_LEN + PAYLOAD];
        let mut plain = [0; PAYLOAD];
        for block in first.chain([last]) {
            let page = page.get_mut(..record_len(block)).unwrap_or_default();
            let got = file.read_at(record_at(block), page)?;
            if got < page.len() || record::is_hole(page) {
                continue;
            }
            return Ok(record::open(&keys.cipher, block, page, &mut plain).is_ok());
        }
        // Nothing but holes: nothing that could be of another file.
        Ok(true)
    }

    fn marker(&self, entry: &Entry) -> Result<Outcome, FsError> {
        let dir = open_path(&self.root, &entry.path)?;
        let name = own_name(MARKER_NAME)?;
        let now = dir.read_small(&name, MARKER_LEN_MAX).unwrap_or_default();
        let is_good = DirMarker::parse(&now, self.config.volume, &self.keys.markers).is_ok();
        if is_good && (!self.options.overwrite || now == entry.data) {
            return Ok(Outcome::Good);
        }
        self.replace(&dir, &name, &entry.data)
    }

    /// A sidecar's name is made of its content: one that differs is damaged.
    fn sidecar(&self, entry: &Entry) -> Result<Outcome, FsError> {
        let (dir, name) = self.place(&entry.path)?;
        let object = name.as_bytes().strip_suffix(b".name").unwrap_or_default();
        let object = LowerName::from_bytes(object).map_err(|_| FsError::BadName)?;
        dir.stat(&object)?;
        let now = dir.read_small(&name, entry.data.len()).unwrap_or_default();
        if now == entry.data {
            return Ok(Outcome::Good);
        }
        self.replace(&dir, &name, &entry.data)
    }

    fn replace(&self, dir: &LowerDir, name: &LowerName, bytes: &[u8]) -> Result<Outcome, FsError> {
        if !self.options.dry_run {
            let id: [u8; 8] = random_array(self.data_keys.random());
            let temporary = own_name(&format!("{TEMPORARY_PREFIX}{}", crate::codec::hex(&id)))?;
            dir.replace_file(name, &temporary, bytes, OWN_FILE_MODE)?;
        }
        Ok(Outcome::Restored)
    }

    fn place(&self, path: &[u8]) -> Result<(LowerDir, LowerName), FsError> {
        let split = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match split {
            Some(at) => (path.get(..at), path.get(at + 1..)),
            None => (None, Some(path)),
        };
        let name = LowerName::from_bytes(name.unwrap_or_default()).map_err(|_| FsError::BadName)?;
        Ok((open_path(&self.root, parent.unwrap_or_default())?, name))
    }
}
