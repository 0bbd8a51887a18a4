//! The kernel's table of mounts, `/proc/self/mountinfo`: which mount is ours. proc(5).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::fuse::options::SUBTYPE;

/// What tells a mount from every other that exists at the same time.
///
/// The kernel gives both numbers again once they are free. The device is free only after the
/// connection to its server is cut, so while that stands, equal means the same mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountIdentity {
    /// Number of the mount.
    id: u64,
    /// `major:minor` of the filesystem.
    device: Vec<u8>,
}

impl MountIdentity {
    /// `major:minor` of the filesystem.
    pub(crate) fn device(&self) -> &OsStr {
        OsStr::from_bytes(&self.device)
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountEntry {
    /// Which mount.
    pub(crate) identity: MountIdentity,
    /// Number of the mount on which it is mounted.
    parent: u64,
    /// Where.
    pub(crate) mount_point: PathBuf,
    /// Type, such as `fuse.kmsfs`.
    fs_type: Vec<u8>,
}

impl MountEntry {
    /// Whether a volume is mounted here.
    pub(crate) fn is_kmsfs(&self) -> bool {
        self.fs_type.strip_prefix(b"fuse.").is_some_and(|subtype| subtype == SUBTYPE.as_bytes())
    }
}

/// The mounts that this process can see.
#[derive(Clone, Debug, Default)]
pub(crate) struct MountTable {
    entries: Vec<MountEntry>,
}

impl MountTable {
    /// Reads the table.
    ///
    /// # Errors
    /// What open and read answer.
    pub(crate) fn load() -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open("/proc/self/mountinfo", flags, Mode::empty())?;
        let mut text = Vec::new();
        let mut chunk = vec![0; 1 << 16];
        loop {
            match rustix::io::read(&file, &mut chunk) {
                Ok(0) => return Ok(Self::parse(&text)),
                Ok(len) => text.extend(chunk.iter().take(len)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads lines; those that are none are left out.
    fn parse(text: &[u8]) -> Self {
        Self { entries: text.split(|&b| b == b'\n').filter_map(parse_line).collect() }
    }

    /// The mount, if it is still there, wherever it was moved to.
    pub(crate) fn find(&self, identity: &MountIdentity) -> Option<&MountEntry> {
        self.entries.iter().find(|entry| entry.identity == *identity)
    }

    /// The volume mounted at `mount_point` that was not there `before`. It may have got the numbers of
    /// a mount that was elsewhere and has gone since.
    pub(crate) fn find_new(&self, before: &Self, mount_point: &Path) -> Option<&MountEntry> {
        self.entries.iter().rev().find(|entry| {
            entry.mount_point == mount_point
                && entry.is_kmsfs()
                && before.find(&entry.identity).is_none_or(|old| old.mount_point != mount_point)
        })
    }

    /// Whether what lies on top at `mount_point` is a volume.
    pub(crate) fn is_kmsfs(&self, mount_point: &Path) -> bool {
        let mut there = self.entries.iter().rev().filter(|entry| entry.mount_point == mount_point);
        there.next().is_some_and(MountEntry::is_kmsfs)
    }

    /// Whether another mount lies on top of this one at the same place.
    pub(crate) fn is_covered(&self, entry: &MountEntry) -> bool {
        self.entries.iter().any(|other| {
            other.parent == entry.identity.id
                && other.mount_point == entry.mount_point
                && other.identity != entry.identity
        })
    }
}

/// `36 35 98:0 /root /mount\040point rw,noatime master:1 - fuse.kmsfs source rw`
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&b| b == b' ');
    let id = parse_number(fields.next()?)?;
    let parent = parse_number(fields.next()?)?;
    let device = fields.next()?.to_vec();
    let mount_point = unescape(fields.nth(1)?);
    let fs_type = fields.skip_while(|field| *field != b"-").nth(1)?.to_vec();
    Some(MountEntry {
        identity: MountIdentity { id, device },
        parent,
        mount_point: PathBuf::from(OsString::from_vec(mount_point)),
        fs_type,
    })
}

fn parse_number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Undoes the kernel's `\ooo` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, left) = match (first, tail) {
            (b'\\', [a, b, c, left @ ..]) => match octal([*a, *b, *c]) {
                Some(byte) => (byte, left),
                None => (first, tail),
            },
            _ => (first, tail),
        };
        plain.push(byte);
        rest = left;
    }
    plain
}

fn octal(digits: [u8; 3]) -> Option<u8> {
    let text = std::str::from_utf8(&digits).ok()?;
    u8::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:51 / /mnt/a\\040b\\134c rw,nosuid shared:9 master:1 - fuse.kmsfs /lower rw,user_id=0
41 40 0:52 / /mnt/a\\040b\\134c rw - tmpfs none rw
42 22 0:53 / /mnt/other rw - fuse.kmsfs /lower2 rw
broken line
";

    fn identity(id: u64, device: &str) -> MountIdentity {
        MountIdentity { id, device: device.as_bytes().to_vec() }
    }

    #[test]
    fn lines_give_identity_place_and_type() {
        let table = MountTable::parse(TABLE);
        assert_eq!(table.entries.len(), 4);
        let ours = table.find(&identity(40, "0:51")).unwrap();
        assert_eq!(ours.mount_point, Path::new("/mnt/a b\\c"));
        assert!(ours.is_kmsfs());
    }

    /// Law: a number that the kernel gave to another filesystem is not ours.
    #[test]
    fn same_number_with_another_device_is_another_mount() {
        assert_eq!(MountTable::parse(TABLE).find(&identity(40, "0:77")), None);
    }

    #[test]
    fn mount_below_another_at_the_same_place_is_covered() {
        let table = MountTable::parse(TABLE);
        assert!(table.is_covered(table.find(&identity(40, "0:51")).unwrap()));
        assert!(!table.is_covered(table.find(&identity(41, "0:52")).unwrap()));
        assert!(!table.is_covered(table.find(&identity(22, "254:0")).unwrap()));
    }

    #[test]
    fn new_mount_is_the_one_that_was_not_there_before() {
        let table = MountTable::parse(TABLE);
        let place = Path::new("/mnt/other");
        let found = table.find_new(&MountTable::default(), place).unwrap();
        assert_eq!(found.identity, identity(42, "0:53"));
        assert_eq!(table.find_new(&table, place), None);
        // The numbers were those of another mount a moment ago.
        let mut before = table.clone();
        for entry in &mut before.entries {
            entry.mount_point.push("gone");
        }
        assert_eq!(table.find_new(&before, place), Some(found));
    }

    #[test]
    fn backslash_without_octal_digits_stays() {
        assert_eq!(unescape(b"a\\"), b"a\\");
        assert_eq!(unescape(b"a\\9zz"), b"a\\9zz");
        assert_eq!(unescape(b"\\011x\\012"), b"\tx\n");
        assert_eq!(unescape(b"\\777"), b"\\777");
    }

    #[test]
    fn own_table_has_a_root() {
        let table = MountTable::load().unwrap();
        assert!(table.entries.iter().any(|entry| entry.mount_point == Path::new("/")));
    }
}
