//! The journal of systemd, by its native protocol: one datagram of fields. Source: "Native Journal
//! Protocol" (systemd.io/JOURNAL_NATIVE_PROTOCOL).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::events::envelope::Event;

/// Where the journal listens.
pub const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
/// Longest event that goes into a datagram whole, in bytes; the usual limit of a socket is 208 KiB.
const EVENT_LEN_MAX: usize = 128 << 10;

/// Writes an event: MESSAGE for a person, KMSFS_EVENT for programs.
pub(super) fn send_to_journal(path: &Path, event: &Event, is_alarm: bool) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A journal that does not keep up must not hold us up.
    socket.set_nonblocking(true)?;
    socket.send_to(&datagram(event, is_alarm), path).map(|_| ())
}

fn datagram(event: &Event, is_alarm: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let value = event.value.to_string();
    field(&mut out, "MESSAGE", &event.title);
    field(&mut out, "PRIORITY", if is_alarm { "4" } else { "5" });
    field(&mut out, "SYSLOG_IDENTIFIER", "kmsfs");
    field(&mut out, "KMSFS_EVENT_TYPE", event.kind);
    if value.len() <= EVENT_LEN_MAX {
        field(&mut out, "KMSFS_EVENT", &value);
    }
    out
}

/// `NAME=value`; a value with a line feed stands behind its length in 8 bytes, little-endian.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&u64::try_from(value.len()).unwrap_or(0).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_datagram_of_fields() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        let event = Event {
            kind: "KMS CMK Rotation",
            title: "two\nlines".to_owned(),
            value: json!({"a": "b\n"}),
        };
        send_to_journal(&path, &event, true).unwrap();
        let mut buffer = [0; 1000];
        let len = journal.recv(&mut buffer).unwrap();
        let expected = b"MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\nPRIORITY=4\n\
            SYSLOG_IDENTIFIER=kmsfs\nKMSFS_EVENT_TYPE=KMS CMK Rotation\n\
            KMSFS_EVENT={\"a\":\"b\\n\"}\n";
        assert_eq!(buffer[..len].escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
}
