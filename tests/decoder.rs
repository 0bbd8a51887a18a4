//! The second implementation, testdata/decode.py, reads real volumes: every byte that was written
//! through the library comes out of a program that shares no line with it.
//!
//! Needs python3 with the package `cryptography`. Without it these tests say so and pass, but fail if
//! the variable CI is set.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests, and what they share")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use kmsfs::clock::SystemClock;
use kmsfs::codec::hex;
use kmsfs::format::{FileHeader, KmsPlace, volume};
use kmsfs::fs::{NewVolume, OpenOptions, Volume, init};
use kmsfs::kms::{
    Argon2Cost, CiphertextBlob, CreateKey, EncryptionContext, KeyRef, KeyService, Kms, KmsOptions,
    Unlock,
};
use kmsfs::random::OsRandom;
use kmsfs::secret::SecretBytes;
use kmsfs::testing::FaultKms;
use serde_json::{Value, json};
use tempfile::TempDir;

use garden::{ALIAS, Garden, OTHER_ALIAS, Tree, assert_same, frozen, read_volume, to_json};

mod garden;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn python(arguments: &[String]) -> Output {
    Command::new("python3").arg("-B").args(arguments).output().unwrap()
}

/// Whether the decoder can run here.
fn has_python() -> bool {
    let import = "import cryptography.hazmat.primitives.kdf.argon2";
    let ran = Command::new("python3").args(["-c", import]).output();
    let fine = ran.is_ok_and(|output| output.status.success());
    assert!(fine || std::env::var_os("CI").is_none(), "no python3 with cryptography >= 44");
    if !fine {
        eprintln!("skipped: no python3 with the package cryptography (44 or newer)");
    }
    fine
}

/// Runs the decoder on a volume.
fn decode(lower: &Path, keys: &[String], command: &[&str]) -> Output {
    let mut arguments =
        vec![script("decode.py").display().to_string(), lower.display().to_string()];
    arguments.extend_from_slice(keys);
    arguments.extend(command.iter().map(|word| (*word).to_owned()));
    python(&arguments)
}

/// What the decoder says of a volume, in the form of `garden::to_json`; it must find nothing wrong.
fn decoded(lower: &Path, keys: &[String]) -> BTreeMap<String, Value> {
    let output = decode(lower, keys, &["json"]);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    let mut tree = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let mut kept = json!({ "kind": entry["kind"], "xattrs": {} });
        for field in ["size", "sha256", "target", "xattrs"] {
            if let Some(value) = entry.get(field) {
                kept[field] = value.clone();
            }
        }
        let again = tree.insert(entry["path"].as_str().unwrap().to_owned(), kept);
        assert_eq!(again, None, "a path twice");
    }
    tree
}

/// Makes a volume, fills it, closes it; gives what was written.
fn make(lower: &Path, service: &Arc<dyn KeyService>, rotate: &mut dyn FnMut()) -> Tree {
    let new = NewVolume {
        kms: KmsPlace::Embedded,
        alias: ALIAS,
        service: &**service,
        random: &OsRandom,
        clock: &SystemClock,
    };
    init(lower, &new).unwrap();
    let volume = open(lower, service, false);
    let mut garden = Garden::new(&volume);
    garden.plant(rotate);
    let tree = garden.tree;
    volume.shutdown().unwrap();
    tree
}

fn open(lower: &Path, service: &Arc<dyn KeyService>, read_only: bool) -> Volume {
    let (random, clock) = (Arc::new(OsRandom), Arc::new(SystemClock));
    Volume::open(lower, Arc::clone(service), random, clock, OpenOptions { read_only }).unwrap()
}

/// A volume over the key service of tests, with the keys in the decoder's words.
struct Plain {
    dir: TempDir,
    tree: Tree,
    keys: Vec<String>,
}

impl Plain {
    fn new() -> Self {
        let kms = Arc::new(FaultKms::new(7, &[ALIAS, OTHER_ALIAS]));
        let dir = tempfile::tempdir().unwrap();
        let service: Arc<dyn KeyService> = kms.clone();
        let tree = make(dir.path(), &service, &mut || kms.rotate(&kms.arn_of(ALIAS)));
        let keys = keys_of(dir.path(), &*service);
        Self { dir, tree, keys }
    }

    fn lower(&self) -> &Path {
        self.dir.path()
    }
}

/// Unwraps the volume key and the data key of every file, through the key service.
fn keys_of(lower: &Path, service: &dyn KeyService) -> Vec<String> {
    let text = fs::read_to_string(lower.join(".kmsfs/volume.toml")).unwrap();
    let config = volume::parse(&text).unwrap();
    let unwrap = |arn: &str, blob: &[u8], file: Option<String>| {
        let mut context = EncryptionContext::new();
        context.insert("kmsfs:suite", "XAES-256-GCM").unwrap();
        context.insert("kmsfs:volume", &config.volume().to_string()).unwrap();
        if let Some(file) = file {
            context.insert("kmsfs:file", &file).unwrap();
        }
        let blob = CiphertextBlob(blob.to_vec());
        hex(service.decrypt(&KeyRef::new(arn), &blob, &context).unwrap().0.expose())
    };
    let wrapped = config.volume_key();
    let mut keys =
        vec!["--volume-key".to_owned(), unwrap(&wrapped.key_arn, &wrapped.wrapped, None)];
    for path in files_below(lower) {
        let Ok(header) = FileHeader::parse(&fs::read(path).unwrap()) else { continue };
        let file = header.prelude.file.to_string();
        let (_, envelope) = header.current();
        let key = unwrap(&envelope.key_arn, &envelope.wrapped, Some(file.clone()));
        keys.extend(["--data-key".to_owned(), format!("{file}={key}")]);
    }
    keys
}

/// Lower regular files, deep.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn vectors_are_what_the_script_makes() {
    if !has_python() {
        return;
    }
    for name in ["make_vectors.py", "make_kms_vectors.py"] {
        let made = python(&[script(name).display().to_string(), "--check".to_owned()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

#[test]
fn decoder_reads_the_frozen_volume() {
    if !has_python() {
        return;
    }
    let (dir, out) = (frozen::unpack("v1-basic.tar.gz"), tempfile::tempdir().unwrap());
    let passfile = out.path().join("passphrase");
    fs::write(&passfile, frozen::PASSPHRASE).unwrap();
    let keys = ["--passfile".to_owned(), passfile.display().to_string()];
    assert_same(&decoded(dir.path(), &keys), &frozen::expected("v1-basic.json"));
}

#[test]
fn decoder_reads_what_the_library_wrote() {
    if !has_python() {
        return;
    }
    let volume = Plain::new();
    assert_same(&decoded(volume.lower(), &volume.keys), &to_json(&volume.tree));
    for path in ["/sizes/20000", "/holes/punched", "/changes/appended"] {
        let output = decode(volume.lower(), &volume.keys, &["cat", path]);
        let garden::Kind::File(content) = &volume.tree[path.as_bytes()].kind else { panic!() };
        assert!(output.status.success() && output.stdout == *content, "{path}");
    }
}

/// The whole chain: passphrase, slot, root key, rows, materials, blobs, headers, records.
#[test]
fn decoder_opens_the_embedded_key_database() {
    if !has_python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let passphrase = "correct horse battery staple";
    let unlock = Unlock::Passphrase(SecretBytes::new(passphrase.as_bytes().to_vec()));
    let own = dir.path().join(".kmsfs");
    let kms = Kms::create(&own, &unlock, Argon2Cost::TEST, KmsOptions::default()).unwrap();
    for alias in [ALIAS, OTHER_ALIAS] {
        let key = kms.create_key(CreateKey::default()).unwrap();
        kms.create_alias(alias, &KeyRef::from(&key.arn)).unwrap();
    }
    let service = kms.as_service();
    let key = kms.describe_key(&KeyRef::new(ALIAS)).unwrap().arn;
    let tree = make(dir.path(), &service, &mut || {
        kms.rotate_key_on_demand(&KeyRef::from(&key)).unwrap();
    });
    let volume = open(dir.path(), &service, true);
    assert_same(&to_json(&read_volume(&volume)), &to_json(&tree));
    drop((volume, service, kms));

    let out = tempfile::tempdir().unwrap();
    let passfile = out.path().join("passphrase");
    fs::write(&passfile, format!("{passphrase}\n")).unwrap();
    let keys = ["--passfile".to_owned(), passfile.display().to_string()];
    assert_same(&decoded(dir.path(), &keys), &to_json(&tree));

    fs::write(&passfile, "another").unwrap();
    let refused = decode(dir.path(), &keys, &["list"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no slot opens"));
}

/// The decoder finds what was changed, and names it. Otherwise its silence would say nothing.
#[test]
fn decoder_names_what_was_changed() {
    if !has_python() {
        return;
    }
    let volume = Plain::new();
    let lower = volume.lower();
    let refuses = |what: &str, damage: &dyn Fn(&mut Vec<u8>), path: &Path, kind: &str| {
        let before = fs::read(path).unwrap();
        let mut bytes = before.clone();
        damage(&mut bytes);
        fs::write(path, &bytes).unwrap();
        let output = decode(lower, &volume.keys, &["list"]);
        fs::write(path, &before).unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && complaints.contains(kind), "{what}: {complaints:?}");
    };
    let files = files_below(lower);
    // A file of several blocks, none of them a hole.
    let is_long = |path: &&PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.len() > 20_000 && FileHeader::parse(&bytes).is_ok_and(|h| !h.current().1.sparse)
    };
    let long = files.iter().find(is_long).unwrap();
    refuses("a byte of a record", &|b| b[5000] ^= 1, long, "BadTag");
    refuses("current slot of the header", &|b| b[512..1536].fill(7), long, "TornSlots");
    refuses("two blocks swapped", &|b| b[4096..12288].rotate_left(4096), long, "block 1");
    refuses("a byte in the tail", &|b| *b.last_mut().unwrap() = 1, long, "last page");
    refuses("cut at a page", &|b| b.truncate(8192), long, "BadLength");
    let marker = lower.join(".kmsfs.dir");
    refuses("the root's marker", &|b| b[40] ^= 1, &marker, "BadTag: marker");
    let config = lower.join(".kmsfs/volume.toml");
    refuses("configuration", &|b| b[2] ^= 1, &config, "BadTag: volume.toml");
    refuses("state", &|b| b[10] ^= 1, &lower.join(".kmsfs/state"), "BadTag: state");
    let sidecar = files.iter().find(|path| path.extension().is_some_and(|e| e == "name")).unwrap();
    refuses("a sidecar", &|b| b[3] ^= 1, sidecar, "BadName");
    let target = files.iter().find(|path| path.parent().unwrap().ends_with("links")).unwrap();
    refuses("a symlink's file", &|b| b[50] ^= 1, target, "BadTag: symlink target");
}
