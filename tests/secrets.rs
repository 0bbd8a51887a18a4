//! The canary hunt: a whole life with recognizable keys, passphrase, names and content, and then a
//! search for them in everything that is written or printed.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use kmsfs::clock::SystemClock;
use kmsfs::codec::hex;
use kmsfs::format::volume::KmsPlace;
use kmsfs::fs::{
    Caller, FsckDepth, NewVolume, NodeId, OpenOptions, RewrapOptions, Volume, WriteHow, XattrHow,
    init,
};
use kmsfs::kms::{AliasName, Argon2Cost, CiphertextBlob, CreateKey, Kms, KmsOptions, Unlock};
use kmsfs::name::PlainName;
use kmsfs::random::{OsRandom, Random};
use kmsfs::secret::SecretBytes;

const PASSPHRASE: &str = "canary-passphrase-5e8f1d";
const FILE_NAME: &str = "canary-name-77ab41.txt";
const CONTENT: &str = "canary-content-c0ffee-of-a-secret-file";
const ATTRIBUTE: &str = "canary-attribute-19d2";
const TARGET: &str = "/canary/target/83be";

/// Remembers every secret that is made: besides a salt, keys are the only fills of 32 bytes.
#[derive(Default)]
struct RecordingRandom(Mutex<Vec<[u8; 32]>>);

impl std::fmt::Debug for RecordingRandom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordingRandom")
    }
}

impl Random for RecordingRandom {
    fn fill(&self, out: &mut [u8]) {
        OsRandom.fill(out);
        if let Ok(secret) = <[u8; 32]>::try_from(&*out) {
            self.0.lock().unwrap().push(secret);
        }
    }
}

/// A place where log lines are kept.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The forms in which a secret could come out.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let decimal: Vec<String> = secret.iter().map(u8::to_string).collect();
    vec![
        secret.to_vec(),
        hex(secret).into_bytes(),
        hex(secret).to_uppercase().into_bytes(),
        STANDARD_NO_PAD.encode(secret).into_bytes(),
        URL_SAFE_NO_PAD.encode(secret).into_bytes(),
        decimal.join(", ").into_bytes(),
    ]
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Every file below a directory, names and bytes; symbolic links by their text.
fn everything_in(dir: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = std::fs::symlink_metadata(&path).unwrap();
        let name = path.file_name().unwrap().as_encoded_bytes().to_vec();
        found.push((path.clone(), name));
        if kind.is_dir() {
            everything_in(&path, found);
        } else if kind.is_symlink() {
            let text = std::fs::read_link(&path).unwrap().as_os_str().as_encoded_bytes().to_vec();
            found.push((path, text));
        } else if kind.is_file() {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
}

fn assert_nothing_in(places: &[(PathBuf, Vec<u8>)], secrets: &[Vec<u8>]) {
    assert!(!secrets.is_empty());
    for secret in secrets {
        for form in forms(secret) {
            for (place, bytes) in places {
                assert!(!contains(bytes, &form), "a secret stands in {}", place.display());
            }
        }
    }
}

/// Law: no key, material, passphrase, name or content is in the lower tree, the key database, the
/// audit log, any log line, error, report or `Debug` text.
#[test]
fn a_whole_life_leaves_no_secret_behind() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let place = tempfile::tempdir().unwrap();
    let lower = place.path().join("lower");
    let random = Arc::new(RecordingRandom::default());
    let printed = tracing::subscriber::with_default(subscriber, || live(&lower, &random));

    let mut places = vec![
        (PathBuf::from("log lines"), lines.0.lock().unwrap().clone()),
        (PathBuf::from("printed text"), printed.into_bytes()),
        (PathBuf::from("environment"), std::fs::read("/proc/self/environ").unwrap()),
    ];
    everything_in(&lower, &mut places);
    let mut secrets: Vec<Vec<u8>> =
        random.0.lock().unwrap().iter().map(|secret| secret.to_vec()).collect();
    // The second is the salt of the passphrase's slot, which lies open.
    secrets.remove(1);
    // Root key, two materials and a rotated one, volume key, two data keys.
    assert!(secrets.len() >= 7, "{} secrets were recorded", secrets.len());
    // The hunt can find what is there: the lower tree names the service-managed key.
    assert!(places.iter().any(|(_, bytes)| contains(bytes, b"arn:aws:kms:")));
    secrets.extend([PASSPHRASE, FILE_NAME, CONTENT, ATTRIBUTE, TARGET].map(|s| s.into()));
    assert_nothing_in(&places, &secrets);
}

/// Runs the life; gives all that was printed.
fn live(lower: &Path, random: &Arc<RecordingRandom>) -> String {
    let mut printed = String::new();
    let mut print = |text: String| printed.push_str(&text);
    let store = lower.join(".kmsfs/kms");
    std::fs::create_dir_all(&store).unwrap();
    let unlock = Unlock::Passphrase(SecretBytes::new(PASSPHRASE.into()));
    let options = KmsOptions { random: Arc::clone(random) as _, ..KmsOptions::default() };
    let kms = Arc::new(Kms::create(&store, &unlock, Argon2Cost::TEST, options).unwrap());
    print(format!("{unlock:?} {kms:?}"));
    let key = kms.create_key(CreateKey::default()).unwrap();
    print(format!("{key:?}"));
    let alias = AliasName::parse(AliasName::FILESYSTEM).unwrap();
    kms.filesystem_key().unwrap();
    let new = NewVolume {
        kms: KmsPlace::Embedded,
        alias: alias.as_str(),
        service: &*kms,
        random: &**random,
        clock: &SystemClock,
    };
    init(lower, &new).unwrap();
    let open = || {
        Volume::open(
            lower,
            Arc::clone(&kms) as _,
            Arc::clone(random) as _,
            Arc::new(SystemClock),
            OpenOptions { read_only: false },
        )
        .unwrap()
    };
    let volume = open();
    let me = Caller { uid: 0, gid: 0, pid: 1 };
    let name = PlainName::from_bytes(FILE_NAME.as_bytes()).unwrap();
    let long = PlainName::from_bytes(FILE_NAME.repeat(9).as_bytes()).unwrap();
    let mut files = Vec::new();
    for name in [&name, &long] {
        let file = volume.mknod(NodeId::ROOT, name, 0o100_600, 0, 0, me).unwrap().node;
        volume.write(file, 0, CONTENT.repeat(300).as_bytes(), WriteHow::Keep).unwrap();
        let attribute = format!("user.{ATTRIBUTE}");
        volume.set_xattr(file, attribute.as_bytes(), CONTENT.as_bytes(), XattrHow::Set).unwrap();
        files.push(file);
    }
    let link = PlainName::from_bytes(format!("link-{FILE_NAME}").as_bytes()).unwrap();
    volume.symlink(NodeId::ROOT, &link, TARGET.as_bytes(), me).unwrap();
    print(format!("{volume:?} {name:?}"));

    kms.rotate_service_key(&alias).unwrap();
    let rewrapped =
        volume.rewrap_tree(&[], &RewrapOptions::default(), &mut |_| ControlFlow::Continue(()));
    print(format!("{rewrapped:?}"));
    print(serde_json::to_string(&volume.status()).unwrap());
    let status = volume.file_status(Path::new(FILE_NAME)).unwrap();
    print(serde_json::to_string(&status).unwrap());
    let lower_file = lower.join(status.lower_name.unwrap());
    let usage = volume.usage(&mut |_| ControlFlow::Continue(())).unwrap();
    print(serde_json::to_string(&usage).unwrap());
    volume.shutdown().unwrap();
    drop(volume);

    // Errors at every level, with the file corrupt and without.
    let mut bytes = std::fs::read(&lower_file).unwrap();
    bytes[2000] ^= 1;
    std::fs::write(&lower_file, bytes).unwrap();
    let volume = open();
    let file = volume.resolve(Path::new(FILE_NAME)).unwrap();
    let mut out = Vec::new();
    let corrupt = volume.read(file, 0, 100, &mut out).unwrap_err();
    print(format!("{corrupt} {corrupt:?}"));
    let missing = volume.resolve(Path::new("canary/none")).unwrap_err();
    print(format!("{missing} {missing:?}"));
    let report = volume.fsck(FsckDepth::Full, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(!report.findings.is_empty());
    print(serde_json::to_string(&report).unwrap());
    let wrong = Unlock::Passphrase(SecretBytes::new(format!("{PASSPHRASE}!").into_bytes()));
    let refused = Kms::open(&store, &wrong, KmsOptions::default()).unwrap_err();
    print(format!("{refused} {refused:?}"));
    print(format!("{:?}", CiphertextBlob(CONTENT.as_bytes().to_vec())));
    volume.shutdown().unwrap();
    kms.flush_audit().unwrap();
    printed
}

/// Law: the command line keeps passphrase, names and content to itself, however much it says.
#[test]
fn the_most_talkative_mount_tells_no_secret() {
    if !Path::new("/dev/fuse").exists() {
        assert!(std::env::var_os("CI").is_none(), "no /dev/fuse in CI");
        println!("skipped: no /dev/fuse");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (lower, mount_point) = (place.path().join("lower"), place.path().join("mnt"));
    let (passfile, log) = (place.path().join("pass"), place.path().join("log"));
    std::fs::write(&passfile, PASSPHRASE).unwrap();
    let kmsfs = |arguments: &[&str], paths: &[&Path]| {
        let output = Command::new(env!("CARGO_BIN_EXE_kmsfs"))
            .args(["-v", "-v", "-v"])
            .args(arguments)
            .args(paths)
            .env("XDG_RUNTIME_DIR", place.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let mut text = output.stdout;
        text.extend(output.stderr);
        (output.status.success(), text)
    };
    let log_text = log.to_str().unwrap().to_owned();
    let pass_text = passfile.to_str().unwrap().to_owned();
    let mut places = Vec::new();
    let mount = ["mount", "--create", "--passfile", &pass_text, "--log", &log_text];
    let (mounted, text) = kmsfs(&mount, &[&lower, &mount_point]);
    assert!(mounted, "{}", String::from_utf8_lossy(&text));
    places.push((PathBuf::from("mount"), text));
    let file = mount_point.join(FILE_NAME);
    std::fs::write(&file, CONTENT).unwrap();
    std::os::unix::fs::symlink(TARGET, mount_point.join("link")).unwrap();
    for arguments in [&["rotate"][..], &["rewrap"], &["status", "--json"], &["usage", "--json"]] {
        let (_, text) = kmsfs(arguments, &[&mount_point]);
        places.push((PathBuf::from(arguments[0]), text));
    }
    let (_, text) = kmsfs(&["kms", "create-key", "--no-such-option", "x"], &[]);
    places.push((PathBuf::from("kms"), text));
    let (unmounted, text) = kmsfs(&["umount"], &[&mount_point]);
    assert!(unmounted, "{}", String::from_utf8_lossy(&text));
    places.push((PathBuf::from("umount"), text));
    let (_, text) = kmsfs(&["fsck", "--passfile", &pass_text], &[&lower]);
    places.push((PathBuf::from("fsck"), text));
    places.push((log.clone(), std::fs::read(&log).unwrap_or_default()));
    everything_in(&lower, &mut places);
    let secrets = [PASSPHRASE, FILE_NAME, CONTENT, TARGET].map(|secret| secret.into());
    assert_nothing_in(&places, &secrets);
}
