//! A whole volume: any changes in its lower tree, and any requests at its control socket.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::kms::fresh_dir;
use super::words::Words;
use crate::clock::ManualClock;
use crate::control::report::StatusReport;
use crate::control::{Kind, Session, Verb};
use crate::format::KmsPlace;
use crate::fs::{
    Caller, FsckDepth, NewVolume, NodeId, OpenOptions, Volume, WriteHow, XattrHow, init,
};
use crate::kms::{Argon2Cost, Kms, KmsOptions, Unlock};
use crate::lower::NodeKind;
use crate::name::PlainName;
use crate::random::SeededRandom;
use crate::secret::SecretBytes;

/// Changes of one run at most.
const CHANGES_MAX: usize = 8;

/// One lower file: where, and its bytes; a directory has none.
type LowerFiles = Vec<(PathBuf, Option<Vec<u8>>)>;

/// The key service and the files of a volume, the same for every run.
struct Template {
    kms: Kms,
    files: LowerFiles,
}

fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let place = Place(fresh_dir());
        let (lower, store) = (place.0.join("lower"), place.0.join("kms"));
        std::fs::create_dir(&lower).unwrap();
        let unlock = Unlock::Passphrase(SecretBytes::new(b"passphrase".to_vec()));
        let kms = Kms::create(&store, &unlock, Argon2Cost::TEST, KmsOptions::default()).unwrap();
        let alias = kms.filesystem_key().map(|_| crate::kms::AliasName::FILESYSTEM).unwrap();
        let random = SeededRandom::new(5);
        let service = kms.as_service();
        let new = NewVolume {
            kms: KmsPlace::Embedded,
            alias,
            service: &*service,
            random: &random,
            clock: &ManualClock::at(1_700_000_000),
        };
        init(&lower, &new).unwrap();
        let volume = open(&lower, &kms).unwrap();
        plant(&volume);
        volume.shutdown().unwrap();
        drop(volume);
        let mut files = Vec::new();
        collect(&lower, Path::new(""), &mut files);
        Template { kms, files }
    })
}

/// A directory that goes with the run.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn open(lower: &Path, kms: &Kms) -> Result<Volume, crate::fs::FsError> {
    let (random, clock) = (SeededRandom::new(6), ManualClock::at(1_700_000_100));
    let options = OpenOptions { read_only: false };
    Volume::open(lower, kms.as_service(), Arc::new(random), Arc::new(clock), options)
}

const CALLER: Caller = Caller { uid: 0, gid: 0, pid: 1 };

fn plant(volume: &Volume) {
    let name = |text: &str| PlainName::from_bytes(text.as_bytes()).unwrap();
    let file = |dir, text: &str, len: usize| {
        let node = volume.mknod(dir, &name(text), 0o100_644, 0, 0, CALLER).unwrap().node;
        let content: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
        volume.write(node, 0, &content, WriteHow::Keep).unwrap();
        node
    };
    file(NodeId::ROOT, "short", 20);
    let long = file(NodeId::ROOT, "long", 12_000);
    volume.write(long, 40_000, b"behind a hole", WriteHow::Keep).unwrap();
    volume.set_xattr(long, b"user.a", b"value", XattrHow::Set).unwrap();
    let dir = volume.mkdir(NodeId::ROOT, &name("dir"), 0o755, 0, CALLER).unwrap().node;
    file(dir, &"n".repeat(200), 3000);
    volume.symlink(dir, &name("link"), b"../short", CALLER).unwrap();
    volume.symlink(dir, &name("far"), &[b'f'; 3500], CALLER).unwrap();
}

fn collect(base: &Path, at: &Path, files: &mut LowerFiles) {
    let mut entries: Vec<_> = std::fs::read_dir(base.join(at)).unwrap().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = at.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.push((path.clone(), None));
            collect(base, &path, files);
        } else if kind.is_file() {
            files.push((path, Some(std::fs::read(entry.path()).unwrap())));
        } else {
            let target = std::fs::read_link(entry.path()).unwrap();
            files.push((path, Some([b"\0link\0", target.as_os_str().as_encoded_bytes()].concat())));
        }
    }
}

fn write_out(files: &LowerFiles, to: &Path) {
    use std::os::unix::ffi::OsStrExt;
    for (path, bytes) in files {
        // What a change has taken away, or put in the place of a directory, is not written.
        let _gone = match bytes {
            None => std::fs::create_dir(to.join(path)),
            Some(bytes) => match bytes.strip_prefix(b"\0link\0") {
                Some(target) => std::os::unix::fs::symlink(
                    Path::new(std::ffi::OsStr::from_bytes(target)),
                    to.join(path),
                ),
                None => std::fs::write(to.join(path), bytes),
            },
        };
    }
}

/// Law: whatever is changed in the lower tree, the volume opens or says why not; everything in it can
/// be listed, read, checked and removed, or says why not.
pub(super) fn lower_tree(data: &[u8]) {
    let template = template();
    let mut files = template.files.clone();
    let mut words = Words::new(data);
    for _ in 0..CHANGES_MAX {
        if words.is_empty() {
            break;
        }
        change(&mut files, &mut words);
    }
    let place = Place(fresh_dir());
    write_out(&files, &place.0);
    let Ok(volume) = open(&place.0, &template.kms) else { return };
    visit(&volume, NodeId::ROOT, 0);
    let mut on = |_| ControlFlow::Continue(());
    let _findings = volume.fsck(FsckDepth::Full, &mut on).map(|report| report.findings.len());
    let _usage = volume.usage(&mut on);
    let _ended = volume.shutdown();
}

fn change(files: &mut LowerFiles, words: &mut Words<'_>) {
    let (op, which, other) = (words.u8() % 8, words.below(files.len()), words.below(files.len()));
    let at = usize::from(words.u16());
    let fuzzed = {
        let len = usize::from(words.u8());
        words.bytes(len).to_vec()
    };
    let taken = files[other].1.clone();
    let (path, content) = &mut files[which];
    match (op, content) {
        // Bytes changed in place, put in, cut off, added.
        (0 | 1, Some(bytes)) => {
            for (to, from) in bytes.iter_mut().skip(at).zip(&fuzzed) {
                *to ^= *from;
            }
        }
        (2, Some(bytes)) => bytes.truncate(at),
        (3, Some(bytes)) => bytes.extend(&fuzzed),
        (4, Some(bytes)) => *bytes = fuzzed,
        (5, Some(bytes)) => *bytes = taken.unwrap_or_default(),
        (6, _) => {
            use std::os::unix::ffi::OsStrExt;
            let is_name = !fuzzed.is_empty() && !fuzzed.iter().any(|b| matches!(b, 0 | b'/'));
            if is_name && fuzzed != b"." && fuzzed != b".." {
                path.set_file_name(std::ffi::OsStr::from_bytes(&fuzzed));
            }
        }
        _ => {
            files.remove(which);
            if files.is_empty() {
                files.push((PathBuf::from("x"), None));
            }
        }
    }
}

/// Lists, reads and asks everything below a directory.
fn visit(volume: &Volume, dir: NodeId, depth: usize) {
    if depth > 8 {
        return;
    }
    let mut names = Vec::new();
    let _refused = volume.read_dir(dir, 0, &mut |entry| {
        names.push(entry.name.to_vec());
        ControlFlow::Continue(())
    });
    for name in names {
        let Ok(name) = PlainName::from_bytes(&name) else { continue };
        let Ok(Some(attr)) = volume.lookup(dir, &name) else { continue };
        let mut out = vec![0; 70_000];
        match attr.kind {
            NodeKind::Dir => visit(volume, attr.node, depth + 1),
            NodeKind::Symlink => drop(volume.readlink(attr.node)),
            _ => {
                let _got = volume.read(attr.node, 0, 70_000, &mut out);
                let _written = volume.write(attr.node, 5000, b"new", WriteHow::Keep);
            }
        }
        if let Ok(list) = volume.list_xattrs(attr.node) {
            for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
                let _value = volume.find_xattr(attr.node, name);
            }
        }
        volume.forget(attr.node, 1);
    }
}

/// Law: a request at the control socket is answered; what is wrong with it is said.
pub(super) fn answer(verb: &Verb) {
    // The service is shared by all runs, and `kms_calls` has its own.
    if matches!(verb, Verb::Kms { .. } | Verb::Rotate { .. }) {
        return;
    }
    let template = template();
    let place = Place(fresh_dir());
    write_out(&template.files, &place.0);
    let volume = Arc::new(open(&place.0, &template.kms).unwrap());
    let session =
        Session::new(Arc::clone(&volume), Arc::new(template.kms.clone()), StatusReport::default());
    let mut steps = 0;
    let answer = session.handle(verb, &mut |_| {
        steps += 1;
        if steps > 1000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Err(failure) = answer {
        assert!(!failure.what.is_empty());
        assert!(failure.kind != Kind::AlreadyRunning, "{failure}");
    }
    volume.shutdown().unwrap();
}
