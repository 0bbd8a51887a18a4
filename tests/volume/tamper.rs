//! Somebody changes the lower directory: it is found, nothing else suffers, and what is broken can
//! still be renamed and removed. A first table.

use std::path::{Path, PathBuf};

use kmsfs::fs::{CorruptPart, FsError, RenameHow, Volume, XattrHow};
use kmsfs::units::BlockNo;

use crate::bench::{
    Bench, at, content, findings, flip, make_dir, make_link, names, plain, read, rewrap, unlink,
    write,
};

const LEN: usize = 10_000;

fn long_name() -> String {
    "long".repeat(50)
}

/// A closed volume with one of everything.
fn filled() -> (Bench, Paths) {
    let bench = Bench::new();
    let volume = bench.open();
    make_dir(&volume, "d");
    for (no, path) in [(1, "victim"), (2, "other"), (3, "d/inner")] {
        write(&volume, path, &content(no, LEN)).unwrap();
    }
    write(&volume, &long_name(), b"long").unwrap();
    make_link(&volume, "link", "first/target");
    make_link(&volume, "link 2", "second/target");
    for path in ["victim", "other", "d"] {
        let value = path.as_bytes();
        at(&volume, path, |node| volume.set_xattr(node, b"user.a", value, XattrHow::Set)).unwrap();
    }
    let lower = |path: &str| bench.lower_of(&volume, path);
    let paths = Paths {
        victim: lower("victim"),
        other: lower("other"),
        dir: lower("d"),
        long: lower(&long_name()),
        link: lower("link"),
        link_2: lower("link 2"),
    };
    assert_eq!(findings(&volume), Vec::<String>::new());
    volume.shutdown().unwrap();
    drop(volume);
    (bench, paths)
}

/// Lower paths.
struct Paths {
    victim: PathBuf,
    other: PathBuf,
    dir: PathBuf,
    long: PathBuf,
    link: PathBuf,
    link_2: PathBuf,
}

/// What is not the victim is as it was; the victim can be renamed and removed.
fn others_are_unharmed(volume: &Volume) {
    assert!(read(volume, "other").unwrap() == content(2, LEN));
    assert!(read(volume, "d/inner").unwrap() == content(3, LEN));
    assert!(names(volume, "").contains(&"victim".to_owned()));
    let (old, new) = (plain("victim"), plain("renamed"));
    at(volume, "", |root| volume.rename(root, &old, root, &new, RenameHow::Replace)).unwrap();
    unlink(volume, "renamed").unwrap();
    assert_eq!(findings(volume), Vec::<String>::new(), "all that was wrong is gone");
}

fn patch(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn block(no: u64) -> FsError {
    FsError::Corrupt(CorruptPart::Block(BlockNo(no)))
}

const HEADER: FsError = FsError::Corrupt(CorruptPart::Header);

/// One way to tamper with the content of the victim, and what a read of it answers.
type Case = (&'static str, fn(&Paths), FsError);

/// Law: changed content is never served.
#[test]
fn changed_content_is_corrupt() {
    let cases: Vec<Case> = vec![
        ("cut at a block", |p| patch(&p.victim, |b| b.truncate(2 * 4096 + 4048)), block(1)),
        ("cut at a page", |p| patch(&p.victim, |b| b.truncate(2 * 4096)), block(0)),
        ("cut inside a block", |p| patch(&p.victim, |b| b.truncate(3 * 4096 + 100)), block(2)),
        ("cut to page 0", |p| patch(&p.victim, |b| b.truncate(4096)), block(0)),
        ("cut to the header", |p| patch(&p.victim, |b| b.truncate(1536)), length()),
        ("cut inside the header", |p| patch(&p.victim, |b| b.truncate(700)), HEADER),
        ("zeros appended", |p| patch(&p.victim, |b| b.resize(b.len() + 50, 0)), block(2)),
        ("a page appended", |p| patch(&p.victim, |b| b.resize(b.len() + 4096, 0)), block(2)),
        ("page zeroed", |p| patch(&p.victim, |b| b[4096..8192].fill(0)), block(1)),
        ("last page zeroed", |p| patch(&p.victim, |b| b[8192..12_288].fill(0)), block(2)),
        ("record 0 zeroed", |p| patch(&p.victim, |b| b[1536..4096].fill(0)), block(0)),
        ("page 0 zeroed", |p| patch(&p.victim, |b| b[..4096].fill(0)), HEADER),
        ("record moved", |p| patch(&p.victim, |b| b.copy_within(8192..12_288, 4096)), block(1)),
        ("record of another file", take_page_of_other, block(1)),
        ("header of another file", take_header_of_other, FsError::Corrupt(CorruptPart::Home)),
        ("envelopes of another file", take_envelopes_of_other, HEADER),
        ("nonce flipped", |p| flip(&p.victim, 4096, 1), block(1)),
        ("tag flipped", |p| flip(&p.victim, 4096 + 24, 1), block(1)),
        ("length field flipped", |p| flip(&p.victim, 8192 + 40, 1), block(2)),
        ("flags flipped", |p| flip(&p.victim, 4096 + 42, 1), block(1)),
        ("reserved flipped", |p| flip(&p.victim, 4096 + 44, 1), block(1)),
        ("ciphertext flipped", |p| flip(&p.victim, 4096 + 3000, 0x80), block(1)),
        ("padding set", |p| flip(&p.victim, 8192 + 4095, 1), block(2)),
    ];
    for (what, tamper, expected) in cases {
        let (bench, paths) = filled();
        tamper(&paths);
        let volume = bench.open();
        // The kernel does not read what it is told is empty. What was cut to just page 0 cannot be told
        // from an empty file without its key; the check finds it.
        let shown = at(&volume, "victim", |node| volume.attr(node)).unwrap().size;
        assert!(shown > 0 || what == "cut to page 0", "{what}");
        assert_eq!(read(&volume, "victim").map(|read| read.len()), Err(expected), "{what}");
        assert!(!findings(&volume).is_empty(), "{what}: a check finds nothing");
        others_are_unharmed(&volume);
    }
}

fn length() -> FsError {
    FsError::Corrupt(CorruptPart::Length)
}

fn take_page_of_other(paths: &Paths) {
    let other = std::fs::read(&paths.other).unwrap();
    patch(&paths.victim, |bytes| bytes[4096..8192].copy_from_slice(&other[4096..8192]));
}

fn take_header_of_other(paths: &Paths) {
    let other = std::fs::read(&paths.other).unwrap();
    patch(&paths.victim, |bytes| bytes[..1536].copy_from_slice(&other[..1536]));
}

fn take_envelopes_of_other(paths: &Paths) {
    let other = std::fs::read(&paths.other).unwrap();
    patch(&paths.victim, |bytes| bytes[512..1536].copy_from_slice(&other[512..1536]));
}

/// Law: no byte of prelude and current envelope can be changed; a spoiled spare slot harms nobody.
#[test]
fn every_flipped_byte_of_a_header_is_found() {
    let (bench, paths) = filled();
    let good = std::fs::read(&paths.victim).unwrap();
    let volume = bench.open();
    for at in 0..1536 {
        std::fs::write(&paths.victim, &good).unwrap();
        flip(&paths.victim, at, 0x41);
        for alias in [crate::bench::ALIAS, crate::bench::OTHER] {
            volume.drop_keys(&bench.kms.arn_of(alias));
        }
        let got = read(&volume, "victim");
        match at {
            64..392 => {
                let refused = matches!(got, Err(FsError::Corrupt(CorruptPart::Home)));
                assert!(refused || got.map(drop) == Err(HEADER), "byte {at} of the home");
            }
            0..1024 => assert_eq!(got.map(drop), Err(HEADER), "byte {at}"),
            _ => assert!(got.unwrap() == content(1, LEN), "byte {at} of the spare slot"),
        }
    }
    std::fs::write(&paths.victim, &good).unwrap();
    others_are_unharmed(&volume);
}

/// Law: after a rewrap both slots hold the current envelope, so that either may be lost.
#[test]
fn rewrapped_file_survives_the_loss_of_either_slot() {
    for slot in [512, 1024] {
        let (bench, paths) = filled();
        let volume = bench.open();
        bench.rotate();
        rewrap(&volume, &kmsfs::fs::RewrapOptions::default());
        bench.kms.destroy_old_material(&bench.kms.arn_of(crate::bench::ALIAS));
        volume.shutdown().unwrap();
        drop(volume);
        flip(&paths.victim, slot + 100, 1);
        assert!(read(&bench.open(), "victim").unwrap() == content(1, LEN));
    }
}

/// Law: a file opens under its own name only.
#[test]
fn whole_files_that_changed_places_are_found() {
    let (bench, paths) = filled();
    let aside = bench.lower.path().join("aside");
    std::fs::rename(&paths.victim, &aside).unwrap();
    std::fs::rename(&paths.other, &paths.victim).unwrap();
    std::fs::rename(&aside, &paths.other).unwrap();
    let volume = bench.open();
    let elsewhere = Err(FsError::Corrupt(CorruptPart::Home));
    assert_eq!(read(&volume, "victim").map(drop), elsewhere);
    assert_eq!(read(&volume, "other").map(drop), elsewhere);
    assert_eq!(findings(&volume), ["misplaced", "misplaced"]);
    // A rename makes nothing right, not even the one that undoes the swap by way of a third name.
    let (old, new) = (plain("victim"), plain("third"));
    at(&volume, "", |root| volume.rename(root, &old, root, &new, RenameHow::Replace)).unwrap();
    assert_eq!(read(&volume, "third").map(drop), elsewhere);
    let (old, new) = (plain("third"), plain("other"));
    at(&volume, "", |root| volume.rename(root, &old, root, &new, RenameHow::Exchange)).unwrap();
    assert!(read(&volume, "other").unwrap() == content(2, LEN), "it is at home again");
}

/// Law: a directory whose marker was changed is closed; others are open.
#[test]
fn changed_marker_closes_its_directory() {
    for at_byte in 0..96 {
        let (bench, paths) = filled();
        flip(&paths.dir.join(".kmsfs.dir"), at_byte, 1);
        let volume = bench.open();
        let expected = Err(FsError::Corrupt(CorruptPart::Marker));
        assert_eq!(read(&volume, "d/inner").map(drop), expected, "byte {at_byte}");
        assert!(read(&volume, "victim").unwrap() == content(1, LEN));
        assert!(names(&volume, "").contains(&"d".to_owned()));
        let (old, new) = (plain("d"), plain("e"));
        at(&volume, "", |root| volume.rename(root, &old, root, &new, RenameHow::Replace)).unwrap();
        assert_eq!(findings(&volume), ["corrupt-marker"]);
        if at_byte > 8 {
            break;
        }
    }
}

/// Law: a name that was changed is not shown, and reported; others are.
#[test]
fn changed_name_is_not_shown() {
    let (bench, paths) = filled();
    let name = paths.victim.file_name().unwrap().to_str().unwrap();
    let changed = format!("A{}", &name[1..]).replace("AA", "AB");
    std::fs::rename(&paths.victim, paths.victim.with_file_name(changed)).unwrap();
    let volume = bench.open();
    assert_eq!(read(&volume, "victim").map(drop), Err(FsError::NotFound));
    assert_eq!(names(&volume, ""), ["d", "link", "link 2", &long_name(), "other"]);
    assert_eq!(findings(&volume), ["corrupt-name"]);
    assert!(read(&volume, "other").unwrap() == content(2, LEN));
}

/// Law: a name moved to another directory does not open there.
#[test]
fn name_moved_to_another_directory_is_not_shown() {
    let (bench, paths) = filled();
    let moved = paths.dir.join(paths.victim.file_name().unwrap());
    std::fs::rename(&paths.victim, moved).unwrap();
    let volume = bench.open();
    assert_eq!(names(&volume, "d"), ["inner"]);
    assert_eq!(read(&volume, "d/victim").map(drop), Err(FsError::NotFound));
    assert_eq!(findings(&volume), ["corrupt-name"]);
}

/// Law: an entry without its sidecar is found by name, renamed and removed, but not listed.
#[test]
fn entry_without_its_sidecar_can_be_used_by_name() {
    let (bench, paths) = filled();
    let sidecar = format!("{}.name", paths.long.to_str().unwrap());
    std::fs::remove_file(&sidecar).unwrap();
    let volume = bench.open();
    assert_eq!(read(&volume, &long_name()).unwrap(), b"long");
    assert!(!names(&volume, "").contains(&long_name()));
    assert_eq!(findings(&volume), ["corrupt-name"]);
    let (old, new) = (plain(&long_name()), plain(&"gnol".repeat(50)));
    at(&volume, "", |root| volume.rename(root, &old, root, &new, RenameHow::Replace)).unwrap();
    assert!(names(&volume, "").contains(&"gnol".repeat(50)), "it has a sidecar again");
    unlink(&volume, &"gnol".repeat(50)).unwrap();
    assert_eq!(findings(&volume), Vec::<String>::new());
}

/// Law: a changed sidecar hides its entry from listings only.
#[test]
fn entry_with_a_changed_sidecar_can_be_used_by_name() {
    let (bench, paths) = filled();
    flip(Path::new(&format!("{}.name", paths.long.to_str().unwrap())), 20, 1);
    let volume = bench.open();
    assert_eq!(read(&volume, &long_name()).unwrap(), b"long");
    assert_eq!(findings(&volume), ["corrupt-name"]);
    unlink(&volume, &long_name()).unwrap();
    assert_eq!(findings(&volume), Vec::<String>::new());
}

/// Law: a symlink's text cannot be changed. Not detected, and said so: texts that changed places.
#[test]
fn changed_symlink_text_is_corrupt() {
    let (bench, paths) = filled();
    let text = std::fs::read_link(&paths.link).unwrap().to_str().unwrap().to_owned();
    let text_2 = std::fs::read_link(&paths.link_2).unwrap();
    let put = |path: &Path, text: &Path| {
        std::fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink(text, path).unwrap();
    };
    let read_link = |volume: &Volume, path| at(volume, path, |node| volume.readlink(node));
    let other = if text.as_bytes()[5] == b'x' { "y" } else { "x" };
    let changed = format!("{}{other}{}", &text[..5], &text[6..]);
    for bad in [format!("{}{}", &text[..10], &text[11..]), changed, "x".to_owned()] {
        put(&paths.link, Path::new(&bad));
        let volume = bench.open();
        let expected = Err(FsError::Corrupt(CorruptPart::SymlinkTarget));
        assert_eq!(read_link(&volume, "link"), expected, "{bad}");
        assert_eq!(read_link(&volume, "link 2").unwrap(), b"second/target");
        assert_eq!(findings(&volume), ["corrupt-symlink"]);
    }
    put(&paths.link, &text_2);
    let volume = bench.open();
    assert_eq!(read_link(&volume, "link").unwrap(), b"second/target");
    drop(volume);
    put(&paths.link, Path::new("@00112233445566778899aabbccddeeff.5"));
    let volume = bench.open();
    assert!(read_link(&volume, "link").is_err());
    unlink(&volume, "link").unwrap();
    assert_eq!(findings(&volume), Vec::<String>::new());
}

/// Law: the value of an attribute opens on its own inode and under its own name only.
#[test]
fn attribute_value_of_another_inode_is_corrupt() {
    use kmsfs::lower::{LowerDir, XattrFlags};
    use kmsfs::name::LowerName;
    let (bench, paths) = filled();
    let dir = LowerDir::open_root(bench.lower.path()).unwrap();
    let name = |path: &Path| {
        use std::os::unix::ffi::OsStrExt;
        LowerName::from_bytes(path.file_name().unwrap().as_bytes()).unwrap()
    };
    let keys = dir.list_xattrs(&name(&paths.other)).unwrap();
    let key = keys.iter().find(|key| key.starts_with(b"user.kmsfs.")).unwrap();
    for source in [&paths.other, &paths.dir] {
        let value = dir.find_xattr(&name(source), key).unwrap();
        dir.set_xattr(&name(&paths.victim), key, &value, XattrFlags::Set).unwrap();
        let volume = bench.open();
        let find = |path| at(&volume, path, |node| volume.find_xattr(node, b"user.a"));
        assert_eq!(find("victim"), Err(FsError::Corrupt(CorruptPart::Xattr)));
        assert_eq!(find("other").unwrap(), b"other");
        assert_eq!(find("d").unwrap(), b"d");
        let list = at(&volume, "victim", |node| volume.list_xattrs(node)).unwrap();
        assert_eq!(list, b"user.a\0");
        at(&volume, "victim", |node| volume.remove_xattr(node, b"user.a")).unwrap();
        assert!(read(&volume, "victim").unwrap() == content(1, LEN));
    }
}
