//! Rewrap of one file: its envelope moves to the current material, its records are not touched.

use crate::format::envelope::Envelope;
use crate::format::layout::HEADER_LEN;
use crate::fs::FsError;
use crate::fs::data_keys::envelope_of;
use crate::fs::file::{FileEnv, FileNode, Peeked};
use crate::fs::header_io::HeaderState;
use crate::lower::SyncScope;

/// What a rewrap did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrapped {
    /// The envelope was current already, or the file has none.
    Current,
    /// The file changed its header meanwhile; somebody else's envelope counts.
    Overtaken,
    /// The new envelope is durable and the old one is gone.
    Done,
}

impl FileNode {
    /// Whether the envelope is not what its policy resolves to now. Reads the header, opens nothing.
    ///
    /// # Errors
    /// `FsError::Corrupt`, `FsError::Lower`, `FsError::Key`.
    pub fn is_stale(&self, env: &FileEnv<'_>) -> Result<bool, FsError> {
        let known = self.header.lock().as_ref().map(|state| state.envelope.clone());
        let envelope = match known {
            Some(envelope) => envelope,
            None => match self.peek(env)? {
                Some(peeked) => peeked.state.envelope,
                None => return Ok(false),
            },
        };
        env.data_keys.is_stale(&envelope)
    }

    /// Moves a stale envelope to the current material.
    ///
    /// The service re-encrypts the data key; the new blob is then opened and must verify the old
    /// header before anything is written, so that a lying service cannot lose a file. Readers never
    /// wait, writers for one small write.
    ///
    /// # Errors
    /// `FsError::Key`, `FsError::Corrupt`, `FsError::Lower`. The file opens in every case.
    pub fn rewrap(&self, env: &FileEnv<'_>) -> Result<Rewrapped, FsError> {
        if env.file.len()?.0 < HEADER_LEN.try_into().unwrap_or(u64::MAX) {
            return Ok(Rewrapped::Current);
        }
        match self.find_stale(env, |_| true)? {
            Some(stale) => self.rewrap_stale(env, stale),
            None => Ok(Rewrapped::Current),
        }
    }

    /// The header, if its envelope is wanted and is not what its policy resolves to now.
    ///
    /// # Errors
    /// As [`FileNode::is_stale`].
    pub(super) fn find_stale(
        &self,
        env: &FileEnv<'_>,
        is_wanted: impl FnOnce(&Envelope) -> bool,
    ) -> Result<Option<Peeked>, FsError> {
        let Some(peeked) = self.peek(env)? else { return Ok(None) };
        let envelope = &peeked.state.envelope;
        Ok(match is_wanted(envelope) && env.data_keys.is_stale(envelope)? {
            true => Some(peeked),
            false => None,
        })
    }

    /// Moves an envelope that was found stale to the current material.
    ///
    /// # Errors
    /// As [`FileNode::rewrap`].
    pub(super) fn rewrap_stale(
        &self,
        env: &FileEnv<'_>,
        stale: Peeked,
    ) -> Result<Rewrapped, FsError> {
        let Peeked { state: before, header: parsed, changes } = stale;
        let wrapped = env.data_keys.re_encrypt(&before.prelude, &before.envelope)?;
        let old = &before.envelope;
        let envelope = envelope_of(wrapped, old.policy, old.sequence, old.sparse);
        let keys = env.data_keys.unwrap(&before.prelude, &envelope)?;
        parsed
            .verify(&keys.header)
            .map_err(|_| FsError::Corrupt(crate::fs::CorruptPart::Header))?;

        let written = {
            let _content = self.content.read();
            let mut header = self.header.lock();
            if self.is_header_changed(changes) {
                return Ok(Rewrapped::Overtaken);
            }
            let mut state = header.take().unwrap_or(HeaderState { synced: false, ..before });
            let replaced = state.replace(env.file, &keys.header, envelope);
            self.header_changed();
            let written = state.clone();
            *header = Some(state);
            replaced?;
            written
        };

        env.file.sync(SyncScope::Data)?;
        let _content = self.content.read();
        let mut header = self.header.lock();
        let current = header.as_mut().filter(|now| {
            now.envelope.sequence == written.envelope.sequence
                && now.prelude.file == written.prelude.file
        });
        let Some(state) = current else {
            return Ok(Rewrapped::Overtaken);
        };
        state.synced = true;
        state.scrub(env.file, &keys.header)?;
        Ok(Rewrapped::Done)
    }
}
