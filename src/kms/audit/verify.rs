//! Checks an audit log from its first line to its last, through all its segments.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use crate::crypto::kdf::MacKey;
use crate::kms::audit::chain::{AuditHead, LINE_LEN_MAX, Line};
use crate::kms::audit::mark::Mark;
use crate::kms::audit::segments::{LogFiles, Segment};

/// Key and expected head of a log, from the key database: [`crate::kms::Kms::audit_key`]. Without it
/// a log is checked against accidents; with it, against who can write the file but has no root key.
#[derive(Debug)]
pub struct VerifyKey {
    pub(crate) seal: Arc<MacKey>,
    pub(crate) head: AuditHead,
}

/// What a log that holds consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Whole lines.
    pub lines: u64,
    /// Files that they lie in.
    pub segments: u64,
    /// The line before the first: zeros, unless older segments were removed on purpose, or one segment
    /// alone was looked at.
    pub begins: AuditHead,
    /// The last of them.
    pub head: AuditHead,
    /// Bytes of a last line without its end, as a crash leaves it; 0 if there is none.
    pub torn_len: u64,
    /// Whether the seals were checked as well.
    pub is_sealed: bool,
}

/// Why a log does not hold.
#[derive(Debug)]
pub enum VerifyError {
    /// A line is none, or does not follow the one before it: changed, removed, swapped or inserted.
    Broken {
        /// Name of the file.
        file: String,
        /// Number of the line in the file, counted from 1.
        line: u64,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// A segment is not there, and no line says that it was removed on purpose.
    Missing {
        /// Its number.
        segment: u32,
    },
    /// The log ends before the last management change that the key database knows of.
    Shortened {
        /// Number of the last line.
        last: u64,
        /// Number of the line that must be there.
        expected: u64,
    },
    /// A file cannot be read.
    Io(io::Error),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { file, line, cause } => write!(f, "{file}, line {line}: {cause}"),
            Self::Missing { segment } => write!(f, "segment {segment} is missing"),
            Self::Shortened { last, expected } => {
                write!(f, "log ends at line {last}, before line {expected}")
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for VerifyError {}

impl From<io::Error> for VerifyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Checks every line of a log and of the full segments beside it. One last line without its end is
/// accepted: a crash leaves it. The path of a full segment means that segment alone.
///
/// # Errors
/// [`VerifyError`], for the first line that does not hold.
pub fn verify(path: &Path, key: Option<&VerifyKey>) -> Result<VerifyReport, VerifyError> {
    let files = LogFiles::find(path)?;
    let mut walk = Walk::new(key, files.is_part());
    for number in files.numbers() {
        let segment = match files.open(number) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VerifyError::Missing { segment: number });
            }
            other => other?,
        };
        walk.segment(segment)?;
    }
    walk.finish()
}

struct Walk<'a> {
    key: Option<&'a VerifyKey>,
    /// One segment alone: what lies before and behind it is not looked at.
    is_part: bool,
    report: VerifyReport,
    /// Segment of the line before the first, if that is not the beginning of the log.
    begins_after: Option<u32>,
    /// The last segment that was removed on purpose, and its last line.
    removed: Option<(u32, AuditHead)>,
    has_expected_head: bool,
}

impl<'a> Walk<'a> {
    fn new(key: Option<&'a VerifyKey>, is_part: bool) -> Self {
        let report = VerifyReport {
            lines: 0,
            segments: 0,
            begins: AuditHead::default(),
            head: AuditHead::default(),
            torn_len: 0,
            is_sealed: key.is_some(),
        };
        let has_expected_head = is_part || key.is_none_or(|key| key.head.sequence == 0);
        Self { key, is_part, report, begins_after: None, removed: None, has_expected_head }
    }

    fn segment(&mut self, segment: Segment) -> Result<(), VerifyError> {
        if self.report.torn_len > 0 {
            return Err(VerifyError::Broken {
                file: segment.name,
                line: 1,
                cause: "the segment before ends in the middle of a line",
            });
        }
        let is_first = self.report.segments == 0;
        self.report.segments += 1;
        let mut reader = BufReader::with_capacity(1 << 16, segment.file.take(segment.len));
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let broken =
                |cause| VerifyError::Broken { file: segment.name.clone(), line: number, cause };
            let limit = u64::try_from(LINE_LEN_MAX).unwrap_or(u64::MAX);
            let len = reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
            if len == 0 {
                if number == 1 && segment.number > 1 {
                    return Err(broken("is empty, and does not carry the chain on"));
                }
                break;
            }
            let Some(text) = line.strip_suffix(b"\n") else {
                if len == LINE_LEN_MAX {
                    return Err(broken("too long"));
                }
                self.report.torn_len = u64::try_from(len).unwrap_or(u64::MAX);
                break;
            };
            if number == 1 {
                self.open(text, segment.number, is_first).map_err(|wrong| match wrong {
                    Wrong::Line(cause) => broken(cause),
                    Wrong::Missing(segment) => VerifyError::Missing { segment },
                })?;
            }
            self.line(text).map_err(broken)?;
        }
        Ok(())
    }

    /// Whether a segment goes on where the one before it has ended.
    fn open(&mut self, text: &[u8], number: u32, is_first: bool) -> Result<(), Wrong> {
        let (segment, before) = match Mark::parse(text) {
            Some(Mark::Opens { segment, before }) => (segment, before),
            _ if is_first && (number == 1 || self.is_part) => return Ok(()),
            _ => return Err(Wrong::Line("does not carry the chain on")),
        };
        if is_first && segment > 1 && number == segment {
            // All before it are gone: on purpose, as a line must say, or not.
            self.begins_after = Some(segment - 1);
            (self.report.begins, self.report.head) = (before, before);
            return Ok(());
        }
        if segment > number {
            return Err(Wrong::Missing(number));
        }
        if segment != number {
            return Err(Wrong::Line("is another segment than its name says"));
        }
        match before == self.report.head {
            true => Ok(()),
            false => Err(Wrong::Line("does not go on where the segment before it ends")),
        }
    }

    fn line(&mut self, text: &[u8]) -> Result<(), &'static str> {
        let line = Line::parse(text).ok_or("not a line of an audit log")?;
        if !line.follows(&self.report.head) {
            return Err("does not follow the line before it");
        }
        if serde_json::from_slice::<serde::de::IgnoredAny>(&line.record_json()).is_err() {
            return Err("not JSON");
        }
        if self.key.is_some_and(|key| !line.is_sealed(&key.seal)) {
            return Err("seal differs");
        }
        if let Some(Mark::Removed { segment, last }) = Mark::parse(text) {
            self.removed = Some((segment, last));
        }
        self.report.lines += 1;
        self.report.head = line.head;
        self.has_expected_head |= self.key.is_some_and(|key| key.head == line.head);
        Ok(())
    }

    fn finish(self) -> Result<VerifyReport, VerifyError> {
        let report = self.report;
        if let Some(before) = self.begins_after.filter(|_| !self.is_part) {
            // A removal that was cut off has left some of what it names.
            let is_on_purpose = self.removed.is_some_and(|(segment, last)| {
                segment > before || (segment == before && last == report.begins)
            });
            if !is_on_purpose {
                return Err(VerifyError::Missing { segment: before });
            }
        }
        match self.key {
            Some(key) if !self.has_expected_head && key.head.sequence > report.begins.sequence => {
                Err(VerifyError::Shortened {
                    last: report.head.sequence,
                    expected: key.head.sequence,
                })
            }
            _ => Ok(report),
        }
    }
}

/// What is wrong with the beginning of a segment.
enum Wrong {
    Line(&'static str),
    Missing(u32),
}
