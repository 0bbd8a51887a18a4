//! Header archives: bytes that are read before anything of them is authentic.

use super::example::volume_keys;
use crate::format::archive::{ARCHIVE_HEAD_LEN, ENTRY_HEAD_LEN, ENTRY_TAG_LEN};
use crate::fs::{ArchiveEntryKind, ArchiveReader};

/// Law: no archive of bytes that nobody sealed verifies, and reading one takes no more than its bytes;
/// with good tags, it ends where its end says.
pub(super) fn header_archive(data: &[u8]) {
    let keys = volume_keys();
    let Ok(mut reader) = ArchiveReader::new(data) else { return };
    let head = reader.head().encode();
    assert_eq!(head.as_slice(), &data[..ARCHIVE_HEAD_LEN], "head");
    let mut sealed = head.to_vec();
    let mut number = 0;
    let mut is_whole = false;
    while let Ok(unverified) = reader.next_entry() {
        let entry = unverified.entry();
        let bytes = entry.encode(&head, number, &keys.archive).unwrap();
        let len = ENTRY_HEAD_LEN + entry.path.len() + entry.data.len() + ENTRY_TAG_LEN;
        assert_eq!(bytes.len(), len);
        sealed.extend_from_slice(&bytes);
        number += 1;
        if entry.kind == ArchiveEntryKind::End {
            is_whole = true;
            break;
        }
    }
    assert!(sealed.len() <= data.len(), "more entries than bytes");
    let as_sent = ArchiveReader::new(data).unwrap().verify_all(&keys).is_ok();
    assert!(!as_sent || data.starts_with(&sealed), "an archive that nobody sealed");
    let resealed = ArchiveReader::new(sealed.as_slice()).unwrap().verify_all(&keys);
    assert_eq!(resealed.is_ok(), is_whole);
}
