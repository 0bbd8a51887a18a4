//! Reading and writing of headers: the two-slot protocol.
//!
//! A new envelope goes into the spare slot; only when it is durable may the other slot be touched.
//! So one valid slot is on disk at every moment, whatever a power cut tears.

use std::sync::Arc;

use crate::crypto::block::ContentCipher;
use crate::crypto::kdf::{FileKeys, MacKey};
use crate::crypto::suite::Suite;
use crate::format::envelope::Envelope;
use crate::format::envelope::SlotIndex;
use crate::format::header::{FileHeader, Prelude, encode_new};
use crate::format::home::Home;
use crate::format::layout::HEADER_LEN;
use crate::fs::data_keys::{DataKeys, FreshKey, envelope_of};
use crate::fs::key_limits::KeyUse;
use crate::fs::{CorruptPart, FsError};
use crate::lower::{LowerFile, SyncScope};
use crate::random::{Random, random_array};
use crate::secret::Secret;
use crate::units::LowerOffset;

/// Expanded keys of one file. Shared by its readers; wiped when the last lets go.
#[derive(Debug)]
pub struct OpenKeys {
    /// Seals and opens the records.
    pub cipher: ContentCipher,
    /// Seals envelopes.
    pub mac: MacKey,
    /// Seals values of extended attributes.
    pub xattr: Secret<32>,
    /// What they were used for.
    pub(super) used: KeyUse,
}

impl OpenKeys {
    /// Keys for one session: what it seals carries a session nonce of its own.
    pub fn new(keys: FileKeys, random: &dyn Random) -> Arc<Self> {
        let FileKeys { content, header, xattr } = keys;
        let cipher = ContentCipher::new(content, random_array(random));
        Arc::new(Self { cipher, mac: header, xattr, used: KeyUse::default() })
    }
}

/// A file's header as last read or written.
#[derive(Clone, Debug)]
pub struct HeaderState {
    /// The part that never changes.
    pub prelude: Prelude,
    /// The current envelope.
    pub envelope: Envelope,
    /// Where it lies.
    pub slot: SlotIndex,
    /// Whether the current slot is known to be durable; the other may be overwritten only then.
    pub synced: bool,
}

impl HeaderState {
    /// Reads the header of a file that has one and opens it. Asks the key service: no lock may be
    /// held.
    ///
    /// # Errors
    /// `FsError::Key`; `FsError::Corrupt` if there is no valid slot, the prelude is another
    /// volume's, or the data key is not the one that sealed the header.
    pub fn load(file: &dyn LowerFile, data_keys: &DataKeys) -> Result<(Self, FileKeys), FsError> {
        let (state, header) = Self::peek(file, data_keys)?;
        let keys = state.open(&header, data_keys)?;
        Ok((state, keys))
    }

    /// Opens a header that was read. Asks the key service: no lock may be held.
    ///
    /// # Errors
    /// `FsError::Key`; `FsError::Corrupt` if the data key is not the one that sealed the header.
    pub fn open(&self, header: &FileHeader, data_keys: &DataKeys) -> Result<FileKeys, FsError> {
        let keys = data_keys.unwrap(&self.prelude, &self.envelope)?;
        match header.verify(&keys.header) {
            Ok(()) => Ok(keys),
            Err(_) => Err(FsError::Corrupt(CorruptPart::Header)),
        }
    }

    /// Reads the header without opening it: nothing in it is authenticated yet.
    ///
    /// # Errors
    /// `FsError::Corrupt` if there is no valid slot, or the prelude is another volume's.
    pub fn peek(file: &dyn LowerFile, data_keys: &DataKeys) -> Result<(Self, FileHeader), FsError> {
        let mut bytes = [0; HEADER_LEN];
        let len = file.read_at(LowerOffset(0), &mut bytes)?;
        let header = bytes.get(..len).and_then(|read| FileHeader::parse(read).ok());
        let header = header.ok_or(FsError::Corrupt(CorruptPart::Header))?;
        if header.prelude.volume != data_keys.volume() {
            return Err(FsError::Corrupt(CorruptPart::Header));
        }
        let (slot, envelope) = header.current();
        let envelope = envelope.clone();
        Ok((Self { prelude: header.prelude, envelope, slot, synced: true }, header))
    }

    /// The header of a new file, and its bytes: the first envelope lies in slot A, slot B is empty.
    ///
    /// # Errors
    /// `FsError::Bug` if the key's names do not fit a slot.
    pub fn create(
        volume: crate::format::ids::VolumeId,
        fresh: FreshKey,
        home: &Home,
        random: &dyn Random,
    ) -> Result<(Self, Arc<OpenKeys>, [u8; HEADER_LEN]), FsError> {
        let FreshKey { file, keys, wrapped, policy } = fresh;
        let prelude = Prelude { suite: Suite::Xaes256Gcm, generation: 0, volume, file };
        let envelope = envelope_of(wrapped, policy, 1, false);
        let bytes = encode_new(&prelude, home, &envelope, &keys.header)
            .map_err(|_| FsError::Bug("wrapped data key does not fit its slot"))?;
        let state = Self { prelude, envelope, slot: SlotIndex::A, synced: false };
        Ok((state, OpenKeys::new(keys, random), bytes))
    }

    /// Writes an envelope into the spare slot and makes it the current one. Its sequence is set
    /// here. Not durable before the next sync of the file.
    ///
    /// # Errors
    /// `FsError::Lower`; the state is unchanged then.
    pub fn replace(
        &mut self,
        file: &dyn LowerFile,
        mac: &MacKey,
        mut envelope: Envelope,
    ) -> Result<(), FsError> {
        if !self.synced {
            file.sync(SyncScope::Data)?;
            self.synced = true;
        }
        envelope.sequence = self.envelope.sequence.saturating_add(1);
        let bytes = envelope
            .encode(&self.prelude, mac)
            .map_err(|_| FsError::Bug("envelope does not fit its slot"))?;
        let spare = self.slot.other();
        keeping_marks(file, || Ok(file.write_at(spare.offset(), &bytes)?))?;
        *self = Self { prelude: self.prelude, envelope, slot: spare, synced: false };
        Ok(())
    }

    /// Writes the current envelope over the other slot too, so that retired material opens the file
    /// no more. The current slot must be durable.
    ///
    /// # Errors
    /// `FsError::Lower`; the file opens either way.
    pub fn scrub(&self, file: &dyn LowerFile, mac: &MacKey) -> Result<(), FsError> {
        if !self.synced {
            return Err(FsError::Bug("scrub before the new envelope is durable"));
        }
        let bytes = self
            .envelope
            .encode(&self.prelude, mac)
            .map_err(|_| FsError::Bug("envelope does not fit its slot"))?;
        keeping_marks(file, || Ok(file.write_at(self.slot.other().offset(), &bytes)?))
    }
}

/// Runs `work`, which writes nothing that the user wrote, without a new mtime, and without the loss of
/// capabilities that comes with writing. No write, and no change of times, owner or capabilities by the
/// user may go on meanwhile: the content lock, or the header lock, is held.
///
/// # Errors
/// What `work` answers. What cannot be put back, on a file of another owner, is left.
pub fn keeping_marks<T>(
    file: &dyn LowerFile,
    work: impl FnOnce() -> Result<T, FsError>,
) -> Result<T, FsError> {
    let before = file.marks()?;
    let done = work()?;
    if let Some(marks) = before
        && let Err(error) = file.put_back(&marks)
    {
        tracing::debug!(%error, "keeping a file's marks");
    }
    Ok(done)
}
