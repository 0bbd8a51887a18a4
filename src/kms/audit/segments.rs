//! The files of a log: `audit.log`, which is written, and full segments `audit.log.000001` and so on
//! beside it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::kms::audit::chain::LINE_LEN_MAX;
use crate::kms::audit::mark::Mark;

/// Digits of a segment's number in its name, at least.
const DIGITS: usize = 6;
/// How often the files are looked at anew because the log moved on meanwhile.
const LOOKS_MAX: usize = 5;

/// Where a full segment lies.
pub(crate) fn segment_path(log: &Path, number: u32) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{number:0DIGITS$}"));
    PathBuf::from(name)
}

/// Name of the log and number of the segment, from the path of a full one.
fn split_segment_path(path: &Path) -> Option<(OsString, u32)> {
    let name = path.file_name()?.to_str()?;
    let (log, digits) = name.rsplit_once('.')?;
    let is_number = digits.len() >= DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| is_number)?;
    Some((log.into(), number))
}

/// Numbers of the full segments beside a log, lowest first. A segment that is the log itself does not
/// count: its switch was cut off.
pub(crate) fn full_segments(log: &Path) -> io::Result<Vec<u32>> {
    let dir = log.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir.unwrap_or(Path::new(".")))? {
        if let Some((name, number)) = split_segment_path(Path::new(&entry?.file_name()))
            && Some(name.as_os_str()) == log.file_name()
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    if let Some(last) = numbers.last()
        && is_same_file(log, &segment_path(log, *last))?
    {
        numbers.pop();
    }
    Ok(numbers)
}

/// The number that the first line of a file claims; 1 for a file that carries no chain on.
pub(crate) fn opened_number(path: &Path) -> io::Result<u32> {
    Ok(match Mark::parse(&first_line(path)?) {
        Some(Mark::Opens { segment, .. }) => segment,
        _ => 1,
    })
}

/// The first line of a file, with its line feed.
pub(crate) fn first_line(path: &Path) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(LINE_LEN_MAX).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    BufReader::new(File::open(path)?).take(limit).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Whether two paths lead to one file; `false` if one of them leads nowhere.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> io::Result<bool> {
    let found = |path: &Path| match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(|data| Some((data.dev(), data.ino()))),
    };
    Ok(matches!((found(a)?, found(b)?), (Some(a), Some(b)) if a == b))
}

/// The files of a log as they were at one moment.
#[derive(Debug)]
pub struct LogFiles {
    log: PathBuf,
    /// Numbers of the full segments, lowest first.
    full: Vec<u32>,
    /// The file that is written. `None` if a full segment was asked for by its own path.
    active: Option<Active>,
}

#[derive(Debug)]
struct Active {
    file: File,
    /// Its length at that moment.
    len: u64,
    number: u32,
}

/// One file of a log, opened.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its number by its name; that of the file that is written is one more than the last full one's,
    /// or what its first line says if there is none.
    pub(crate) number: u32,
    /// Its name.
    pub(crate) name: String,
    /// The file.
    pub(crate) file: File,
    /// Bytes to read: what a writer appends later is not looked at.
    pub(crate) len: u64,
}

impl LogFiles {
    /// The files of the log at a path. The path of a full segment means that segment alone.
    ///
    /// # Errors
    /// [`io::Error`] if there is no such file.
    pub fn find(path: &Path) -> io::Result<Self> {
        if let Some((name, number)) = split_segment_path(path)
            && path.try_exists()?
        {
            return Ok(Self { log: path.with_file_name(name), full: vec![number], active: None });
        }
        for _ in 0..LOOKS_MAX {
            let file = File::open(path)?;
            // No segment ends while the lock is held.
            flock(&file, FlockOperation::LockShared)?;
            let found = std::fs::metadata(path)?;
            let own = file.metadata()?;
            if (found.dev(), found.ino()) == (own.dev(), own.ino()) {
                let full = full_segments(path)?;
                let number = match full.last() {
                    Some(last) => last.saturating_add(1),
                    None => opened_number(path)?,
                };
                flock(&file, FlockOperation::Unlock)?;
                let active = Some(Active { file, len: own.len(), number });
                return Ok(Self { log: path.to_path_buf(), full, active });
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "the log moves on too fast"))
    }

    /// Whether this is one full segment alone.
    pub fn is_part(&self) -> bool {
        self.active.is_none()
    }

    /// Numbers of the files, oldest first.
    pub(crate) fn numbers(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        let active = self.active.as_ref().map(|active| active.number);
        self.full.iter().copied().chain(active)
    }

    /// Opens one of [`Self::numbers`].
    ///
    /// # Errors
    /// [`io::Error`], such as for a segment that was removed meanwhile.
    pub(crate) fn open(&self, number: u32) -> io::Result<Segment> {
        if let Some(active) = self.active.as_ref().filter(|active| active.number == number) {
            let (name, file) = (name_of(&self.log), active.file.try_clone()?);
            return Ok(Segment { number, name, file, len: active.len });
        }
        let path = segment_path(&self.log, number);
        let file = File::open(&path)?;
        let len = file.metadata()?.len();
        Ok(Segment { number, name: name_of(&path), file, len })
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_segments_sort_by_number() {
        let log = Path::new("dir/audit.log");
        assert_eq!(segment_path(log, 7), Path::new("dir/audit.log.000007"));
        assert_eq!(segment_path(log, 1_234_567), Path::new("dir/audit.log.1234567"));
        for number in [7, 1_234_567] {
            let path = segment_path(log, number);
            assert_eq!(split_segment_path(&path), Some(("audit.log".into(), number)));
        }
        for other in ["audit.log", "audit.log.7", "audit.log.torn-1000000", "audit.log.00000x"] {
            assert_eq!(split_segment_path(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_cut_off_switch_is_no_segment() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("audit.log");
        std::fs::write(&log, "").unwrap();
        std::fs::write(segment_path(&log, 1), "").unwrap();
        std::fs::hard_link(&log, segment_path(&log, 2)).unwrap();
        assert_eq!(full_segments(&log).unwrap(), [1]);
        assert_eq!(LogFiles::find(&log).unwrap().numbers().collect::<Vec<_>>(), [1, 2]);
    }
}
