//! The end of a segment and the beginning of the next, and the removal of old ones.
//!
//! The log is never without a file of its name: the next segment is written aside, with the line that
//! carries the chain on, and takes the name in one step. Whoever waits for the lock of the old file
//! sees by its name that the log has moved on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::kms::audit::chain::AuditHead;
use crate::kms::audit::log::Sink;
use crate::kms::audit::mark::Mark;
use crate::kms::audit::segments::{
    first_line, full_segments, is_same_file, opened_number, segment_path,
};
use crate::kms::time::Timestamp;

/// How often a log that moves on is followed, before that counts as an error.
const MOVES_MAX: usize = 100;

/// How large a log's files get, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditLimits {
    /// A segment ends with the batch that brings it to this length.
    pub segment_len: u64,
    /// Full segments that are kept; all, unless said.
    pub keep_segments: Option<u32>,
    /// How long full segments are kept after their end; for ever, unless said.
    pub keep_time: Option<Duration>,
}

impl AuditLimits {
    /// Length of a segment unless said: about 70,000 uses of keys.
    pub const SEGMENT_LEN: u64 = 64 << 20;
}

impl Default for AuditLimits {
    fn default() -> Self {
        Self { segment_len: Self::SEGMENT_LEN, keep_segments: None, keep_time: None }
    }
}

impl Sink {
    /// Runs `work` under the lock of the file that has the log's name now.
    pub(super) fn locked<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        for _ in 0..MOVES_MAX {
            flock(&self.file, FlockOperation::LockExclusive)?;
            let is_named = is_named(&self.file, &self.config.path);
            if matches!(is_named, Ok(true)) {
                let outcome = work(self);
                // Of whichever file it is by now.
                flock(&self.file, FlockOperation::Unlock)?;
                return outcome;
            }
            flock(&self.file, FlockOperation::Unlock)?;
            is_named?;
            // Another process has ended this segment, and has synced it.
            self.file = Self::open_file(&self.config.path)?;
            (self.end, self.is_synced) = (u64::MAX, true);
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "the log moves on too fast"))
    }

    /// Ends the segment if it is full. A log that cannot be switched grows on: its records count more
    /// than its size.
    pub(super) fn switch_if_full(&mut self) {
        if self.end < self.config.limits.segment_len || self.end == 0 {
            return;
        }
        let path = self.config.path.display().to_string();
        if let Err(error) = self.switch() {
            tracing::warn!(path, %error, "audit log: next segment");
            return;
        }
        if let Err(error) = self.remove_old() {
            tracing::warn!(path, %error, "audit log: removal of old segments");
        }
    }

    fn switch(&mut self) -> io::Result<()> {
        let log = self.config.path.clone();
        let last = full_segments(&log)?.last().copied().unwrap_or_default();
        let number = opened_number(&log)?.max(last.saturating_add(1));
        self.file.sync_all()?;

        let mut head = self.head;
        let opens = Mark::Opens { segment: number.saturating_add(1), before: head };
        let text = self.mark_line(&opens, &mut head);
        let draft = with_suffix(&log, ".new");
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&draft)?;
        // Left by a switch that was cut off. Nobody else has it open: we hold the log's lock.
        file.set_len(0)?;
        flock(&file, FlockOperation::LockExclusive)?;
        file.write_all(&text)?;
        file.sync_all()?;

        let full = segment_path(&log, number);
        match std::fs::hard_link(&log, &full) {
            Err(_) if is_same_file(&log, &full)? => {}
            other => other?,
        }
        std::fs::rename(&draft, &log)?;
        // The old file's lock goes with its descriptor; the new one is held already.
        self.file = file;
        self.head = head;
        self.end = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.is_synced = true;
        sync_dir(&log)
    }

    /// Deletes what the configuration does not keep, after a line in the log that says so.
    fn remove_old(&mut self) -> io::Result<()> {
        let limits = self.config.limits;
        let log = self.config.path.clone();
        let full = full_segments(&log)?;
        let now = Timestamp::from_system(self.config.clock.now());
        let mut removed = None;
        for (at, number) in full.iter().enumerate() {
            let next = full.get(at + 1).map_or_else(|| log.clone(), |no| segment_path(&log, *no));
            let Some(next) = Opening::read(&next)? else { break };
            let later = full.len() - at - 1;
            let is_many = limits.keep_segments.is_some_and(|keep| later >= count(keep));
            let is_old = limits.keep_time.is_some_and(|keep| next.time.plus(keep) <= now);
            if !is_many && !is_old {
                break;
            }
            removed = Some((at + 1, Mark::Removed { segment: *number, last: next.before }));
        }
        let Some((many, mark)) = removed else { return Ok(()) };
        let mut head = self.head;
        let text = self.mark_line(&mark, &mut head);
        self.append_text(&text, head)?;
        self.file.sync_data()?;
        self.is_synced = true;
        // Oldest first: what is left after a crash still hangs together.
        for number in full.iter().take(many) {
            std::fs::remove_file(segment_path(&log, *number))?;
        }
        sync_dir(&log)
    }

    fn mark_line(&self, mark: &Mark, head: &mut AuditHead) -> Vec<u8> {
        let mut text = Vec::new();
        mark.push(&mut text, Timestamp::from_system(self.config.clock.now()));
        head.close_line(&mut text, 0, &self.config.key);
        text
    }
}

/// What the first line of a segment says: when the one before it ended, and with which line.
struct Opening {
    time: Timestamp,
    before: AuditHead,
}

impl Opening {
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let line = first_line(path)?;
        Ok(match (Mark::parse(&line), Mark::time(&line)) {
            (Some(Mark::Opens { before, .. }), Some(time)) => Some(Self { time, before }),
            _ => None,
        })
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Whether a file is the one that a path leads to.
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn sync_dir(log: &Path) -> io::Result<()> {
    let dir = log.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}
