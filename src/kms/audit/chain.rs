//! How the lines of the audit log hang together. Pure.

#![deny(clippy::indexing_slicing)]

use crate::codec::{Reader, unhex_array};
use crate::crypto::kdf::{MacKey, sha256};
use crate::kms::audit::line::push_hex;

/// Longest line, in bytes with its line feed. Records are bounded well below (the longest field, a
/// key policy, has at most 131,072 characters); what is longer is no line.
pub(crate) const LINE_LEN_MAX: usize = 1 << 20;

const SEQUENCE: &str = ",\"sequence\":";
const CHAIN: &str = ",\"chain\":\"";
const SEAL: &str = "\",\"seal\":\"";
const END: &str = "\"}";
/// Bytes of the end of a line from [`CHAIN`] on.
const TAIL_LEN: usize = CHAIN.len() + 64 + SEAL.len() + 32 + END.len();

/// The last line of the log, or of the log at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AuditHead {
    /// Number of the line, counted from 1; 0 before the first.
    pub sequence: u64,
    /// Its chain value; zeros before the first.
    pub chain: [u8; 32],
}

impl AuditHead {
    /// Bytes of [`Self::encode`].
    pub(crate) const LEN: usize = 40;

    /// As the key database keeps it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.sequence.to_le_bytes().to_vec();
        out.extend_from_slice(&self.chain);
        out
    }

    /// What [`Self::encode`] wrote.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let head = Self { sequence: reader.u64().ok()?, chain: reader.array().ok()? };
        (bytes.len() == Self::LEN).then_some(head)
    }

    /// Ends a line and moves to it. `line` has the record up to, not including, its closing brace.
    pub(crate) fn close_line(&mut self, line: &mut Vec<u8>, start: usize, key: &MacKey) {
        self.sequence = self.sequence.saturating_add(1);
        line.extend_from_slice(SEQUENCE.as_bytes());
        line.extend_from_slice(self.sequence.to_string().as_bytes());
        let record = line.get(start..).unwrap_or_default();
        self.chain = sha256(&[&self.chain, record]);
        line.extend_from_slice(CHAIN.as_bytes());
        push_hex(line, &self.chain);
        line.extend_from_slice(SEAL.as_bytes());
        push_hex(line, &seal_of(key, &self.chain));
        line.extend_from_slice(END.as_bytes());
        line.push(b'\n');
    }
}

/// Half of the code over the chain value.
fn seal_of(key: &MacKey, chain: &[u8; 32]) -> [u8; 16] {
    let tag = key.tag(&[chain]);
    tag.first_chunk().copied().unwrap_or_default()
}

/// A line taken apart, not yet compared with the one before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// The bytes that the chain value covers.
    record: &'a [u8],
    /// Number and chain value that the line claims.
    pub(crate) head: AuditHead,
    seal: [u8; 16],
}

impl<'a> Line<'a> {
    /// Takes a line (without its line feed) apart; `None` if it is none.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let (record, tail) = line.split_at_checked(line.len().checked_sub(TAIL_LEN)?)?;
        let tail = std::str::from_utf8(tail).ok()?;
        let (chain, rest) = tail.strip_prefix(CHAIN)?.split_at_checked(64)?;
        let seal = rest.strip_prefix(SEAL)?.strip_suffix(END)?;
        let text = std::str::from_utf8(record).ok()?;
        let sequence = text.rsplit_once(SEQUENCE)?.1.parse().ok()?;
        Some(Self {
            record,
            head: AuditHead { sequence, chain: unhex_array(chain)? },
            seal: unhex_array(seal)?,
        })
    }

    /// Whether the line follows `before`.
    pub(crate) fn follows(&self, before: &AuditHead) -> bool {
        before.sequence.checked_add(1) == Some(self.head.sequence)
            && sha256(&[&before.chain, self.record]) == self.head.chain
    }

    /// Whether the line was written by who has the key.
    pub(crate) fn is_sealed(&self, key: &MacKey) -> bool {
        let right = seal_of(key, &self.head.chain);
        bool::from(subtle::ConstantTimeEq::ct_eq(right.as_slice(), self.seal.as_slice()))
    }

    /// The whole of the JSON object that the chain value covers, closed again.
    pub(crate) fn record_json(&self) -> Vec<u8> {
        [self.record, b"}"].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn key() -> MacKey {
        MacKey::new(Secret::fill_with(|out| *out = [3; 32]))
    }

    #[test]
    fn a_line_follows_only_the_line_before_it() {
        let (mut head, mut text) = (AuditHead::default(), Vec::new());
        text.extend_from_slice(b"{\"a\":1");
        head.close_line(&mut text, 0, &key());
        let first = head;
        let start = text.len();
        text.extend_from_slice(b"{\"a\":2");
        head.close_line(&mut text, start, &key());
        let lines: Vec<_> = text.split(|b| *b == b'\n').collect();
        let one = Line::parse(lines[0]).unwrap();
        let two = Line::parse(lines[1]).unwrap();
        assert!(one.follows(&AuditHead::default()) && two.follows(&first));
        assert!(!two.follows(&AuditHead::default()) && !one.follows(&first));
        assert!(two.is_sealed(&key()));
        assert_eq!(two.head, head);
        assert_eq!(one.record_json(), b"{\"a\":1,\"sequence\":1}");
    }

    #[test]
    fn heads_round_trip() {
        let head = AuditHead { sequence: 7, chain: [9; 32] };
        assert_eq!(AuditHead::parse(&head.encode()), Some(head));
        assert_eq!(AuditHead::parse(&head.encode()[1..]), None);
    }
}
