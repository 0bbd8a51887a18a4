//! Rotates a volume's key in process and moves its headers to the new material: the records of the
//! lower file are the same before and after.
//!
//! `cargo run --example rotate_and_rewrap`

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use kmsfs::clock::SystemClock;
use kmsfs::codec::hex;
use kmsfs::crypto::kdf::sha256;
use kmsfs::format::layout::HEADER_LEN;
use kmsfs::format::volume::KmsPlace;
use kmsfs::fs::{
    Caller, NewVolume, NodeId, OpenOptions, RewrapOptions, Usage, Volume, WriteHow, init,
};
use kmsfs::kms::{AliasName, Argon2Cost, Kms, KmsOptions, Unlock};
use kmsfs::name::PlainName;
use kmsfs::random::OsRandom;
use kmsfs::secret::SecretBytes;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = tempfile::tempdir()?;
    let (lower, store) = (place.path().join("volume"), place.path().join("kms"));
    std::fs::create_dir_all(&lower)?;
    std::fs::create_dir_all(&store)?;
    // A key store of its own, which several volumes could share.
    let unlock = Unlock::Passphrase(SecretBytes::new(b"correct horse battery staple".to_vec()));
    let kms = Arc::new(Kms::create(&store, &unlock, Argon2Cost::STANDARD, KmsOptions::default())?);
    kms.filesystem_key()?;
    let new = NewVolume {
        kms: KmsPlace::Directory(store.display().to_string()),
        alias: AliasName::FILESYSTEM,
        service: &*kms,
        random: &OsRandom,
        clock: &SystemClock,
    };
    init(&lower, &new)?;
    let options = OpenOptions { read_only: false };
    let service = Arc::clone(&kms) as Arc<dyn kmsfs::kms::KeyService>;
    let volume = Volume::open(&lower, service, Arc::new(OsRandom), Arc::new(SystemClock), options)?;

    let me = Caller { uid: 0, gid: 0, pid: std::process::id() };
    let name = PlainName::from_bytes(b"ledger")?;
    let file = volume.mknod(NodeId::ROOT, &name, 0o100_600, 0, 0, me)?.node;
    volume.write(file, 0, &vec![7; 100_000], WriteHow::Keep)?;
    show("before the rotation", &volume, &lower)?;

    let alias = AliasName::parse(AliasName::FILESYSTEM).ok_or("no alias")?;
    let material = kms.rotate_service_key(&alias)?;
    println!("rotated: material {material} is current now");
    show("after the rotation", &volume, &lower)?;

    let report =
        volume.rewrap_tree(&[], &RewrapOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    println!("rewrapped {} of {} files", report.rewrapped, report.seen);
    show("after the rewrap", &volume, &lower)?;
    volume.shutdown()?;
    Ok(())
}

/// Prints files per material, and a digest of everything in the lower file but its header.
fn show(when: &str, volume: &Volume, lower: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let Usage { rows, .. } = volume.usage(&mut |_| ControlFlow::Continue(()))?;
    println!("{when}:");
    for row in rows {
        println!("  {} files under material {}", row.files, row.material.unwrap_or_default());
    }
    let file = volume.file_status(Path::new("ledger"))?;
    let bytes = std::fs::read(lower.join(file.lower_name.unwrap_or_default()))?;
    let records = bytes.get(HEADER_LEN..).unwrap_or_default();
    println!("  records: {}", hex(&sha256(&[records])));
    Ok(())
}
