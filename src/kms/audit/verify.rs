//! Checks an audit log from its first line to its last.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use crate::crypto::kdf::MacKey;
use crate::kms::audit::chain::{AuditHead, LINE_LEN_MAX, Line};

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
        /// Number of the line in the file, counted from 1.
        line: u64,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// The log ends before the last management change that the key database knows of.
    Shortened {
        /// Number of the last line.
        last: u64,
        /// Number of the line that must be there.
        expected: u64,
    },
    /// The file cannot be read.
    Io(io::Error),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { line, cause } => write!(f, "line {line}: {cause}"),
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

/// Checks every line of a log. One last line without its end is accepted: a crash leaves it.
///
/// # Errors
/// [`VerifyError`], for the first line that does not hold.
pub fn verify(path: &Path, key: Option<&VerifyKey>) -> Result<VerifyReport, VerifyError> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut report = VerifyReport {
        lines: 0,
        head: AuditHead::default(),
        torn_len: 0,
        is_sealed: key.is_some(),
    };
    let mut has_expected_head = key.is_none_or(|key| key.head.sequence == 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(LINE_LEN_MAX).unwrap_or(u64::MAX);
        let len = reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if len == 0 {
            break;
        }
        let Some(text) = line.strip_suffix(b"\n") else {
            if len == LINE_LEN_MAX {
                return Err(VerifyError::Broken { line: report.lines + 1, cause: "too long" });
            }
            report.torn_len = u64::try_from(len).unwrap_or(u64::MAX);
            break;
        };
        report.lines += 1;
        report.head = check_line(text, &report.head, report.lines, key)?;
        has_expected_head |= key.is_some_and(|key| key.head == report.head);
    }
    match key {
        Some(key) if !has_expected_head => {
            Err(VerifyError::Shortened { last: report.head.sequence, expected: key.head.sequence })
        }
        _ => Ok(report),
    }
}

fn check_line(
    text: &[u8],
    before: &AuditHead,
    number: u64,
    key: Option<&VerifyKey>,
) -> Result<AuditHead, VerifyError> {
    let broken = |cause| VerifyError::Broken { line: number, cause };
    let line = Line::parse(text).ok_or_else(|| broken("not a line of an audit log"))?;
    if !line.follows(before) {
        return Err(broken("does not follow the line before it"));
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(&line.record_json()).is_err() {
        return Err(broken("not JSON"));
    }
    if key.is_some_and(|key| !line.is_sealed(&key.seal)) {
        return Err(broken("seal differs"));
    }
    Ok(line.head)
}
