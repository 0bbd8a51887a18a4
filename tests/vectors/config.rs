//! Section 5: `volume.toml`.

use kmsfs::crypto::{Suite, VolumeKeys};
use kmsfs::format::{
    FormatError, KeyPolicyEntry, KmsPlace, NameBinding, VolumeConfig, WrappedVolumeKey, volume,
};

use super::vector::{ARN, Vector, assert_refused, count, load, secret, volume_id, volume_keys};

fn config(case: &Vector) -> VolumeConfig {
    let entry = |row: &Vector| {
        let row = row.items();
        let number = row[0].as_number().try_into().unwrap();
        KeyPolicyEntry { number, alias: row[1].as_text().to_owned() }
    };
    VolumeConfig {
        volume: volume_id(),
        suite: Suite::Xaes256Gcm,
        created: "2026-01-02T03:04:05Z".to_owned(),
        policies: case.list("policies").iter().map(entry).collect(),
        kms: match (case.find("path"), case.find("url")) {
            (Some(path), _) => KmsPlace::Directory(path.as_text().to_owned()),
            (None, Some(url)) => KmsPlace::Endpoint(url.as_text().to_owned()),
            (None, None) => KmsPlace::Embedded,
        },
        names: match case.get("bound").as_bool() {
            true => NameBinding::Bound,
            false => NameBinding::Free,
        },
        volume_key: WrappedVolumeKey {
            key_arn: ARN.to_owned(),
            material: case.get("material").as_bool().then(|| count(0x40)),
            wrapped: count::<96>(0x60).to_vec(),
        },
    }
}

#[test]
fn configurations_have_this_text() {
    let key = volume_keys().config;
    for case in load("configs").list("cases") {
        let (expected, text) = (config(&case), case.text("text"));
        assert_eq!(expected.encode(&key), text, "{}", case.name());
        assert_eq!(volume::parse(&text).unwrap().verify(&key), Ok(expected), "{}", case.name());
    }
}

/// As a reader does: the keys are derived with the volume id that the file claims (F-25).
fn open(text: &str) -> Result<VolumeConfig, FormatError> {
    let unverified = volume::parse(text)?;
    let keys = VolumeKeys::derive(&secret(count(0)), unverified.volume().bytes());
    unverified.verify(&keys.config)
}

#[test]
fn wrong_configurations_are_refused() {
    for case in load("configs").list("errors") {
        assert_refused(&case, open(&case.text("text")));
    }
}
