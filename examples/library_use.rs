//! Uses a volume as a library, without a mount: makes one, writes a file, reads it back.
//!
//! `cargo run --example library_use`

use std::path::Path;
use std::sync::Arc;

use kmsfs::clock::SystemClock;
use kmsfs::format::volume::KmsPlace;
use kmsfs::fs::{Caller, NewVolume, NodeId, OpenOptions, Volume, WriteHow, init};
use kmsfs::kms::{Argon2Cost, Kms, KmsOptions, Unlock};
use kmsfs::name::PlainName;
use kmsfs::random::OsRandom;
use kmsfs::secret::SecretBytes;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lower = tempfile::tempdir()?;

    // The key store, embedded in the volume's own directory as the command line does it.
    let unlock = Unlock::Passphrase(SecretBytes::new(b"correct horse battery staple".to_vec()));
    let store = lower.path().join(".kmsfs/kms");
    std::fs::create_dir_all(&store)?;
    let kms = Kms::create(&store, &unlock, Argon2Cost::STANDARD, KmsOptions::default())?;
    // The filesystem's own service-managed key, made at its first use.
    println!("data keys are wrapped by {}", kms.filesystem_key()?.arn);

    let new = NewVolume {
        kms: KmsPlace::Embedded,
        alias: "alias/aws/fs",
        service: &kms,
        random: &OsRandom,
        clock: &SystemClock,
    };
    println!("made volume {}", init(lower.path(), &new)?);

    let options = OpenOptions { read_only: false };
    let volume = Volume::open(
        lower.path(),
        Arc::new(kms),
        Arc::new(OsRandom),
        Arc::new(SystemClock),
        options,
    )?;
    let me = Caller { uid: 0, gid: 0, pid: std::process::id() };
    let name = PlainName::from_bytes(b"greeting.txt")?;
    let file = volume.mknod(NodeId::ROOT, &name, 0o100_600, 0, 0, me)?;
    volume.write(file.node, 0, b"hello, whoever holds the key\n", WriteHow::Keep)?;

    let mut out = Vec::new();
    let found = volume.resolve(Path::new("greeting.txt"))?;
    let len = volume.read(found, 0, 4096, &mut out)?;
    print!("{}", String::from_utf8_lossy(&out[..len]));
    volume.shutdown()?;
    Ok(())
}
