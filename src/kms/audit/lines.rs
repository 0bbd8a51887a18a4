//! Records that wait to be written, as text: whoever makes a call writes its record into memory that
//! is used over and over, and the writer of the log adds what needs the order of the lines.

use std::ops::Range;

use crate::crypto::kdf::MacKey;
use crate::kms::audit::chain::AuditHead;
use crate::kms::audit::line::{Place, ids_text, push_record};
use crate::kms::audit::record::Record;
use crate::random::Random;

/// Random bytes of a record: the ids of request and event.
const ID_LEN: usize = 32;

/// Records in the order in which they were handed over.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: Vec<u8>,
    marks: Vec<Mark>,
}

/// Where a record's ids have their place in the text, and where it ends.
#[derive(Clone, Copy, Debug)]
struct Mark {
    ids_at: usize,
    end: usize,
    /// The request that it is about, if the client was told which.
    request_id: Option<[u8; 16]>,
    /// Somebody is to be told of it once it is written.
    is_wanted: bool,
}

impl Lines {
    /// Adds a record.
    pub(super) fn push(&mut self, record: &Record<'_>, place: &Place, is_wanted: bool) {
        let ids_at = push_record(&mut self.text, record, place);
        let request_id = record.client.map(|client| client.request_id);
        self.marks.push(Mark { ids_at, end: self.text.len(), request_id, is_wanted });
    }

    /// Number of records.
    pub(super) fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Forgets all of them and keeps the memory, unless it is much.
    pub(super) fn clear(&mut self) {
        const KEPT_MAX: usize = 16 << 20;
        self.text.clear();
        self.text.shrink_to(KEPT_MAX);
        self.marks.clear();
    }

    /// Appends the lines that follow `head`, which moves along: each record with its ids, its number,
    /// chain value and seal. Tells where those lie that somebody is to be told of.
    pub(super) fn close(
        &self,
        out: &mut Vec<u8>,
        head: &mut AuditHead,
        key: &MacKey,
        random: &dyn Random,
    ) -> Vec<Range<usize>> {
        let mut wanted = Vec::new();
        let mut ids = vec![[0; ID_LEN]; self.marks.len()];
        random.fill(ids.as_flattened_mut());
        let mut from = 0;
        for (mark, ids) in self.marks.iter().zip(&mut ids) {
            if let (Some(request_id), Some(own)) = (mark.request_id, ids.first_chunk_mut()) {
                *own = request_id;
            }
            let start = out.len();
            let (before, after) =
                (self.text.get(from..mark.ids_at), self.text.get(mark.ids_at..mark.end));
            out.extend_from_slice(before.unwrap_or_default());
            out.extend_from_slice(&ids_text(ids));
            out.extend_from_slice(after.unwrap_or_default());
            head.close_line(out, start, key);
            from = mark.end;
            if mark.is_wanted {
                // Without its line feed.
                wanted.push(start..out.len().saturating_sub(1));
            }
        }
        wanted
    }
}
