//! The memory of a process after its work: no key may stay behind.
//!
//! One test in a binary of its own, since it reads all of the process' memory.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kmsfs::clock::SystemClock;
use kmsfs::format::KmsPlace;
use kmsfs::fs::{Caller, NewVolume, NodeId, OpenOptions, Volume, WriteHow, init};
use kmsfs::kms::{AliasName, Argon2Cost, Kms, KmsOptions, Unlock};
use kmsfs::name::PlainName;
use kmsfs::random::{OsRandom, Random};
use kmsfs::secret::SecretBytes;

const PASSPHRASE: &[u8] = b"canary-passphrase-5e8f1d-in-memory";

/// What is remembered of a secret, so that the memory of it is not taken for the secret.
const MASK: u8 = 0x5a;

/// Remembers every secret that is made, masked: keys are the fills of 32 bytes.
#[derive(Default)]
struct RecordingRandom(Mutex<Vec<Vec<u8>>>);

impl std::fmt::Debug for RecordingRandom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordingRandom")
    }
}

impl Random for RecordingRandom {
    fn fill(&self, out: &mut [u8]) {
        OsRandom.fill(out);
        if out.len() == 32 {
            self.0.lock().unwrap().push(masked(out));
        }
    }
}

fn masked(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ MASK).collect()
}

/// How often each of the masked secrets stands in the memory of this process.
fn hunt(secrets: &[Vec<u8>]) -> Vec<usize> {
    let mut found = vec![0; secrets.len()];
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut chunk = vec![0; (1 << 20) + 64];
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut at = from;
        while at < to {
            let len = usize::try_from(to - at).unwrap().min(chunk.len());
            let own = chunk.as_ptr().addr();
            let got = memory.read_at(&mut chunk[..len], at).unwrap_or(0);
            for start in 0..got.saturating_sub(31) {
                // The place where memory is read into has copies of what is read.
                let address = usize::try_from(at).unwrap() + start;
                if (own..own + chunk.len()).contains(&address) {
                    continue;
                }
                for (count, secret) in found.iter_mut().zip(secrets) {
                    let rest = chunk[start..got].iter().zip(secret);
                    if chunk[start] ^ MASK == secret[0]
                        && got - start >= secret.len()
                        && rest.clone().all(|(byte, masked)| byte ^ MASK == *masked)
                    {
                        *count += 1;
                    }
                }
            }
            // What lies across two chunks is seen with the second.
            at += u64::try_from(if got == chunk.len() { got - 64 } else { len }).unwrap();
        }
    }
    chunk.fill(0);
    found
}

/// Law: root key, material, volume key, data keys and passphrase are gone from memory with what held
/// them.
#[test]
fn no_key_stays_behind_in_memory() {
    let place = tempfile::tempdir().unwrap();
    let random = Arc::new(RecordingRandom::default());
    // In a thread that ends: its stack is memory as any other.
    std::thread::scope(|scope| scope.spawn(|| live(place.path(), &random)).join().unwrap());
    let mut secrets = random.0.lock().unwrap().clone();
    // The second is the salt of the passphrase's slot, which lies open.
    secrets.remove(1);
    secrets.push(masked(PASSPHRASE));
    assert!(secrets.len() >= 7, "{} secrets were recorded", secrets.len());
    let found = hunt(&secrets);
    assert!(found.iter().all(|count| *count == 0), "secrets are left: {found:?}");
    // The hunt can find what is there.
    let canary = Box::new(*b"0123456789abcdef0123456789ABCDEF");
    assert!(hunt(&[masked(canary.as_slice())])[0] >= 1);
}

fn live(place: &Path, random: &Arc<RecordingRandom>) {
    let (lower, store) = (place.join("lower"), place.join("kms"));
    std::fs::create_dir(&lower).unwrap();
    let unlock = || Unlock::Passphrase(SecretBytes::new(PASSPHRASE.to_vec()));
    let options = || KmsOptions { random: Arc::clone(random) as _, ..KmsOptions::default() };
    let kms = Kms::create(&store, &unlock(), Argon2Cost::TEST, options()).unwrap();
    let alias = AliasName::parse(AliasName::FILESYSTEM).unwrap();
    kms.filesystem_key().unwrap();
    let service = kms.as_service();
    let new = NewVolume {
        kms: KmsPlace::Embedded,
        alias: alias.as_str(),
        service: &*service,
        random: &**random,
        clock: &SystemClock,
    };
    init(&lower, &new).unwrap();
    drop((service, kms));
    let kms = Kms::open(&store, &unlock(), options()).unwrap();
    let options = OpenOptions { read_only: false };
    let clock = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::<RecordingRandom>::clone(random);
    let volume = Volume::open(&lower, kms.as_service(), random, clock, options).unwrap();
    for no in 0..4 {
        let name = PlainName::from_bytes(format!("f{no}").as_bytes()).unwrap();
        let caller = Caller { uid: 0, gid: 0, pid: 1 };
        let file = volume.mknod(NodeId::ROOT, &name, 0o100_600, 0, 0, caller).unwrap().node;
        volume.write(file, 0, &[no; 9000], WriteHow::Keep).unwrap();
        volume.read(file, 0, 9000, &mut Vec::new()).unwrap();
    }
    kms.rotate_service_key(&alias).unwrap();
    volume.shutdown().unwrap();
}
