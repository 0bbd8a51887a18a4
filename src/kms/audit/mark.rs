//! Lines of the log about the log itself: where a segment goes on from, and which segments were removed
//! on purpose. Chained and sealed as all others, so that nobody without the root key can write one.

use serde::{Deserialize, Serialize};

use crate::codec::{hex, unhex_array};
use crate::kms::audit::chain::AuditHead;
use crate::kms::time::Timestamp;

/// How such a line begins. No record begins so, and no caller can put it there.
const PREFIX: &[u8] = b"{\"kmsfsLog\":1,";

/// A line about the log itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// First line of every segment but the first.
    Opens {
        /// Number of the segment.
        segment: u32,
        /// The last line of the segment before it.
        before: AuditHead,
    },
    /// Segments were deleted because the configuration says so.
    Removed {
        /// Number of the last of them.
        segment: u32,
        /// Its last line.
        last: AuditHead,
    },
}

#[derive(Deserialize, Serialize)]
struct Form {
    #[serde(rename = "kmsfsLog")]
    version: u32,
    #[serde(rename = "eventTime")]
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    opens: Option<SegmentForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<SegmentForm>,
}

/// A segment, and the line that the segments before the place in question end with.
#[derive(Deserialize, Serialize)]
struct SegmentForm {
    segment: u32,
    #[serde(rename = "afterSequence")]
    sequence: u64,
    #[serde(rename = "afterChain")]
    chain: String,
}

impl SegmentForm {
    fn new(segment: u32, head: AuditHead) -> Self {
        Self { segment, sequence: head.sequence, chain: hex(&head.chain) }
    }

    fn head(&self) -> Option<AuditHead> {
        Some(AuditHead { sequence: self.sequence, chain: unhex_array(&self.chain)? })
    }
}

impl Mark {
    /// Appends the line up to, not including, its closing brace.
    pub(crate) fn push(&self, out: &mut Vec<u8>, time: Timestamp) {
        let (opens, removed) = match *self {
            Self::Opens { segment, before } => (Some(SegmentForm::new(segment, before)), None),
            Self::Removed { segment, last } => (None, Some(SegmentForm::new(segment, last))),
        };
        let form = Form { version: 1, time: time.to_iso(), opens, removed };
        let text = serde_json::to_vec(&form).unwrap_or_default();
        out.extend_from_slice(text.strip_suffix(b"}").unwrap_or(&text));
    }

    /// Whether a line is one of these.
    pub(crate) fn is_mark(line: &[u8]) -> bool {
        line.starts_with(PREFIX)
    }

    /// What a whole line says; `None` for a record, and for what does not read.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        if !Self::is_mark(line) {
            return None;
        }
        let form: Form = serde_json::from_slice(line).ok()?;
        match (form.opens, form.removed) {
            (Some(opens), None) => {
                Some(Self::Opens { segment: opens.segment, before: opens.head()? })
            }
            (None, Some(removed)) => {
                Some(Self::Removed { segment: removed.segment, last: removed.head()? })
            }
            _ => None,
        }
    }

    /// When such a line was written.
    pub(crate) fn time(line: &[u8]) -> Option<Timestamp> {
        let form: Form = serde_json::from_slice(line).ok()?;
        Timestamp::from_iso(&form.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_round_trip() {
        let head = AuditHead { sequence: 7, chain: [9; 32] };
        for mark in
            [Mark::Opens { segment: 2, before: head }, Mark::Removed { segment: 1, last: head }]
        {
            let mut text = Vec::new();
            mark.push(&mut text, Timestamp(0));
            assert!(Mark::is_mark(&text));
            text.extend_from_slice(b",\"sequence\":8}");
            assert_eq!(Mark::parse(&text), Some(mark));
        }
        assert_eq!(Mark::parse(b"{\"kmsfsLog\":1,\"eventTime\":\"\"}"), None);
        assert_eq!(Mark::parse(b"{\"eventVersion\":\"1.11\"}"), None);
    }
}
