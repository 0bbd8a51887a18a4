//! What one or several copies of the lower directory show to who has no key.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use kmsfs::format::FileHeader;
use kmsfs::format::layout::plain_len;
use kmsfs::fs::{CorruptPart, FsError, WriteHow};
use kmsfs::units::LowerLen;

use crate::garden::frozen::{open, unpack};
use crate::garden::{Garden, Kind, pattern, read_volume};
use crate::volumes::broken::{Places, change};

/// The records of a lower file, page by page, without the header.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let whole = bytes.len() / 4096 * 4096;
    [&bytes[1536..4096]]
        .into_iter()
        .chain(bytes[4096..whole].chunks(4096))
        .map(<[u8]>::to_vec)
        .collect()
}

/// Equal content in two files, or twice in one file, has nothing in common below.
#[test]
fn equal_content_looks_different() {
    let dir = unpack("v1-basic.tar.gz");
    let volume = open(dir.path(), false).unwrap();
    let mut garden = Garden::new(&volume);
    garden.file(b"/equal 1", &vec![b'x'; 20_000]);
    garden.file(b"/equal 2", &vec![b'x'; 20_000]);
    volume.shutdown().unwrap();
    drop(volume);
    let places = Places::of(dir.path());
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for file in ["/equal 1", "/equal 2"] {
        seen.extend(records(&dir.path().join(places.get(file))));
    }
    // Nonce, tag and the beginning of the ciphertext, each by itself.
    for part in [0..24, 24..40, 48..64] {
        let mut parts: Vec<&[u8]> = seen.iter().map(|record| &record[part.clone()]).collect();
        parts.sort_unstable();
        parts.dedup();
        assert_eq!(parts.len(), seen.len(), "bytes {part:?} repeat");
    }
}

/// Writing the same bytes again gives other bytes below: two snapshots show that a block was
/// written, not whether it changed.
#[test]
fn the_same_content_written_again_looks_different() {
    let dir = unpack("v1-basic.tar.gz");
    let (places, file) = (Places::of(dir.path()), "/sizes/20000");
    let lower = dir.path().join(places.get(file));
    let before = records(&lower);
    let volume = open(dir.path(), false).unwrap();
    let node = volume.resolve(Path::new(file)).unwrap();
    let Kind::File(content) = read_volume(&volume)[file.as_bytes()].kind.clone() else { panic!() };
    volume.write(node, 2512, &content[2512..6560], WriteHow::Keep).unwrap();
    volume.forget(node, 1);
    volume.shutdown().unwrap();
    let after = records(&lower);
    assert_ne!(before[1][..12], after[1][..12], "N1 is that of another session");
    assert_ne!(before[1][12..64], after[1][12..64]);
    let changed: Vec<usize> = (0..before.len()).filter(|no| before[*no] != after[*no]).collect();
    assert_eq!(changed, [1], "which block was written is seen");
}

/// What is said in the clear, and the document says so.
#[test]
fn sizes_keys_and_equal_names_are_visible() {
    let dir = unpack("v1-basic.tar.gz");
    let places = Places::of(dir.path());
    let lower = |plain: &str| dir.path().join(places.get(plain));
    let bytes = fs::read(lower("/sizes/6561")).unwrap();
    let len = LowerLen(bytes.len().try_into().unwrap());
    assert_eq!(plain_len(len).0, 6561, "the size, without a key");
    let header = FileHeader::parse(&bytes).unwrap();
    assert!(header.current().1.key_arn.starts_with("arn:aws:kms:"), "which key wraps it");
    // The same name in another directory is another one; in the same directory it is the same again.
    let name = |path: &Path| path.file_name().unwrap().to_owned();
    assert_ne!(name(&lower("/names/n")), name(&lower("/names/deep/deep/n")));
    let volume = open(dir.path(), false).unwrap();
    let mut garden = Garden::new(&volume);
    garden.tree = read_volume(&volume);
    garden.remove(b"/names/n");
    garden.file(b"/names/n", b"made anew");
    volume.shutdown().unwrap();
    drop(volume);
    let again = Places::of(dir.path());
    assert_eq!(again.get("/names/n"), places.get("/names/n"), "equal names in one directory");
}

/// Names that are one byte long and names that are long are told apart, contents are not in sight:
/// no plaintext of four bytes or more stands in any lower file, name or attribute.
#[test]
fn no_plaintext_stands_below() {
    let dir = unpack("v1-basic.tar.gz");
    let mut below = Vec::new();
    collect(dir.path(), &mut below);
    let tree = read_volume(&open(dir.path(), true).unwrap());
    let mut words: Vec<Vec<u8>> = vec![b"over the border".to_vec(), b"../sizes/14".to_vec()];
    words.push(b"has a header".to_vec());
    words.push(pattern(40, 7));
    words.extend(
        tree.keys().filter_map(|path| path.rsplit(|b| *b == b'/').next().map(<[u8]>::to_vec)),
    );
    for word in words.iter().filter(|word| word.len() >= 6) {
        let found = below.windows(word.len()).any(|window| window == &word[..]);
        assert!(!found, "{}", String::from_utf8_lossy(word));
    }
}

/// Names, contents, symlink texts and attributes of a lower tree.
fn collect(dir: &Path, out: &mut Vec<u8>) {
    use std::os::unix::ffi::OsStrExt;
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        out.extend(entry.file_name().as_bytes());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), out);
        } else if kind.is_symlink() {
            out.extend(fs::read_link(entry.path()).unwrap().as_os_str().as_bytes());
        } else if kind.is_file() {
            out.extend(fs::read(entry.path()).unwrap());
        }
        if !kind.is_symlink() {
            attributes(&entry.path(), out);
        }
    }
}

fn attributes(path: &Path, out: &mut Vec<u8>) {
    let (mut names, mut value) = (vec![0; 65_536], vec![0; 65_536]);
    let len = rustix::fs::listxattr(path, &mut names).unwrap();
    for name in names[..len].split(|b| *b == 0).filter(|name| name.starts_with(b"user.")) {
        let name = std::str::from_utf8(name).unwrap();
        let len = rustix::fs::getxattr(path, name, &mut value).unwrap();
        out.extend(name.as_bytes());
        out.extend(&value[..len]);
    }
}

/// Nothing is trusted for having been read before: a change under an open volume is found by the next
/// read that reaches the disk.
#[test]
fn a_change_under_an_open_volume_is_found_by_the_next_read() {
    let dir = unpack("v1-basic.tar.gz");
    let (places, file) = (Places::of(dir.path()), "/sizes/20000");
    let volume = open(dir.path(), true).unwrap();
    let node = volume.resolve(Path::new(file)).unwrap();
    let mut out = Vec::new();
    assert_eq!(volume.read(node, 0, 20_000, &mut out), Ok(20_000));
    change(&dir.path().join(places.get(file)), |b| b[5000] ^= 1);
    let corrupt = FsError::Corrupt(CorruptPart::Block(kmsfs::units::BlockNo(1)));
    assert_eq!(volume.read(node, 0, 20_000, &mut out), Err(corrupt));
    assert_eq!(volume.read(node, 0, 2512, &mut out), Ok(2512), "other blocks are read");
    let mut progress = |_| ControlFlow::Continue(());
    let report = volume.fsck(kmsfs::fs::FsckDepth::Full, &mut progress).unwrap();
    assert_eq!(report.findings.len(), 1, "{report:?}");
}
