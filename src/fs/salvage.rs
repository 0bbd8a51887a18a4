//! Making one file's content fit again, in place: what opens stays, what does not becomes a hole, and
//! the file ends where its last record says. Nothing is invented.

use crate::format::layout::{
    PAGE_LEN, PAYLOAD, block_start, last_block, lower_len, page_at, payload_len, plain_len,
    record_at, record_len,
};
use crate::format::record::{self, Position};
use crate::fs::FsError;
use crate::fs::content::{u64_of, usize_of};
use crate::fs::data_keys::DataKeys;
use crate::fs::header_io::{HeaderState, OpenKeys, keeping_marks};
use crate::fs::recover::{Found, look};
use crate::fs::resize::cut;
use crate::lower::{LowerFile, SyncScope};
use crate::random::random_array;
use crate::units::{BlockNo, LowerLen, PlainLen};

/// What has to be done to a file so that it fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Salvage {
    /// Blocks that do not open, or are missing; they become zeros.
    pub lost_blocks: Vec<u64>,
    /// The lower length, if it is another.
    pub length: Option<(u64, u64)>,
    /// The last record is sealed anew.
    pub tail: bool,
    size: PlainLen,
}

impl Salvage {
    /// Looks at every record of a file whose header opens. Changes nothing.
    ///
    /// # Errors
    /// `FsError::Corrupt` if the header does not open; `FsError::Key`, `FsError::Lower`.
    pub fn plan(file: &dyn LowerFile, data_keys: &DataKeys) -> Result<Self, FsError> {
        let (header, keys) = HeaderState::load(file, data_keys)?;
        let keys = OpenKeys::new(keys, data_keys.random());
        let lower = file.len()?;
        let count = lower.0 / u64_of(PAGE_LEN);
        let mut plan = Self::default();
        let mut missing = Vec::new();
        let mut last = None;
        let mut no = 0;
        while no < count {
            let block = BlockNo(no);
            // Holes of a file that may have them are stepped over in one call.
            if header.envelope.sparse {
                let data = file.next_data(page_at(block))?;
                let next = data.map_or(count, |data| data.0 / u64_of(PAGE_LEN));
                if next > no {
                    no = next;
                    continue;
                }
            }
            match look(file, &keys, block)? {
                Found::Hole if header.envelope.sparse => {}
                Found::Hole | Found::Corrupt => missing.push(no),
                Found::Record { len, position } => {
                    last = Some((block, len, position));
                    if position == Position::Final {
                        break;
                    }
                }
            }
            no += 1;
        }
        let held = last.map_or(0, |(block, len, _)| block_start(block).0 + u64_of(len));
        plan.size = match last {
            Some((_, _, Position::Final)) => PlainLen(held),
            // The length is all that tells where it ended.
            Some(_) | None => PlainLen(held.max(plain_len(lower).0)),
        };
        let end = last_block(plan.size).unwrap_or(BlockNo(0));
        missing.retain(|no| *no < end.0);
        let sound = matches!(last, Some((block, _, Position::Final)) if block == end);
        let is_cut_there = matches!(last, Some((block, _, _)) if block == end);
        if !is_cut_there {
            missing.push(end.0);
        }
        plan.tail = !sound;
        plan.lost_blocks = missing;
        let wanted = match plan.size.0 {
            0 => u64_of(PAGE_LEN),
            _ => lower_len(plan.size).0,
        };
        plan.length = (wanted != lower.0).then_some((lower.0, wanted));
        Ok(plan)
    }

    /// Whether there is anything to do.
    pub fn is_needed(&self) -> bool {
        !self.lost_blocks.is_empty() || self.length.is_some() || self.tail
    }

    /// Does it. Interrupted, it can be planned and done again.
    ///
    /// # Errors
    /// As [`Salvage::plan`].
    pub fn carry_out(&self, file: &dyn LowerFile, data_keys: &DataKeys) -> Result<(), FsError> {
        let (mut header, keys) = HeaderState::load(file, data_keys)?;
        let keys = OpenKeys::new(keys, data_keys.random());
        keeping_marks(file, || {
            let end = last_block(self.size).unwrap_or(BlockNo(0));
            let holes = self.lost_blocks.iter().filter(|no| **no != end.0);
            if holes.clone().count() > 0 && !header.envelope.sparse {
                let envelope = header.envelope.clone();
                let envelope = crate::format::Envelope { sparse: true, ..envelope };
                header.replace(file, &keys.mac, envelope)?;
            }
            for no in holes {
                let block = BlockNo(*no);
                let zeros = [0; PAGE_LEN];
                let page = zeros.get(..record_len(block)).unwrap_or_default();
                file.write_at(record_at(block), page)?;
            }
            if self.length.is_some() {
                match self.size.0 {
                    0 => file.set_len(LowerLen(u64_of(PAGE_LEN)))?,
                    _ => cut(file, self.size)?,
                }
            }
            if self.tail {
                self.seal_tail(file, &keys, data_keys)?;
            }
            Ok(file.sync(SyncScope::Data)?)
        })
    }

    fn seal_tail(
        &self,
        file: &dyn LowerFile,
        keys: &OpenKeys,
        data_keys: &DataKeys,
    ) -> Result<(), FsError> {
        let block = last_block(self.size).unwrap_or(BlockNo(0));
        let wanted = usize_of(self.size.0 - block_start(block).0)?.min(payload_len(block));
        let mut page = [0; PAGE_LEN];
        let page = page.get_mut(..record_len(block)).unwrap_or_default();
        let got = file.read_at(record_at(block), page)?;
        let mut plain = [0; PAYLOAD];
        if got < page.len() || record::open(&keys.cipher, block, page, &mut plain).is_err() {
            plain = [0; PAYLOAD];
        }
        let n2 = random_array(data_keys.random());
        let kept = plain.get(..wanted).unwrap_or_default();
        record::seal(&keys.cipher, block, kept, Position::Final, &n2, page);
        Ok(file.write_at(record_at(block), page)?)
    }

    /// In words.
    pub fn text(&self) -> String {
        let mut done = Vec::new();
        match self.lost_blocks.as_slice() {
            [] => {}
            [one] => done.push(format!("block {one} became zeros")),
            [first, .., last] => done.push(format!(
                "{} blocks from {first} to {last} became zeros",
                self.lost_blocks.len()
            )),
        }
        if let Some((from, to)) = self.length {
            done.push(format!("lower length set from {from} to {to}"));
        }
        if self.tail {
            done.push("last block sealed anew".to_owned());
        }
        done.join(", ")
    }
}
