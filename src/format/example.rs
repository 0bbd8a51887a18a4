//! The worked example of docs/FORMAT.md, section 13: every expected byte was made by a Python script
//! with the `cryptography` package, not by this program.

use crate::codec::{hex, unhex_array};
use crate::crypto::sha256;
use crate::crypto::{ContentCipher, FileKeys, VolumeKeys};
use crate::format::layout::{lower_len, record_at};
use crate::format::{
    DirHome, DirId, DirMarker, Envelope, FileHeader, FileId, Home, HomePlace, KeyPolicyEntry,
    KmsPlace, LowerForm, NameBinding, Position, Prelude, VolumeConfig, VolumeId, VolumeState,
    WrappedVolumeKey, header, name, record, symlink, volume, xattr,
};
use crate::random::Random;
use crate::secret::Secret;
use crate::units::{BlockNo, PlainLen};

/// `N` bytes that count up from `first`.
fn count<const N: usize>(first: u8) -> [u8; N] {
    let mut next = first;
    std::array::from_fn(|_| {
        let byte = next;
        next = next.wrapping_add(1);
        byte
    })
}

/// Gives the nonce of the example's short records.
#[derive(Debug)]
struct ShortNonce;

impl Random for ShortNonce {
    fn fill(&self, out: &mut [u8]) {
        out.copy_from_slice(&count::<24>(0x70));
    }
}

const ARN: &str = "arn:aws:kms:local:000000000000:key/01234567-89ab-4cde-8f01-23456789abcd";

fn volume_id() -> VolumeId {
    VolumeId(count(0xa0))
}

fn file_id() -> FileId {
    FileId(count(0xb0))
}

fn dir_id() -> DirId {
    DirId(count(0xc0))
}

fn volume_keys() -> VolumeKeys {
    VolumeKeys::derive(&Secret::fill_with(|out| *out = count(0x00)), volume_id().bytes())
}

fn file_keys() -> FileKeys {
    FileKeys::derive(&Secret::fill_with(|out| *out = count(0x20)), file_id().bytes())
}

/// The lower file of `plain`: its first block under the nonce e0.., its second under f0...
fn lower_file(plain: &[u8]) -> Vec<u8> {
    let keys = file_keys();
    let suite = crate::crypto::Suite::Xaes256Gcm;
    let prelude = Prelude { suite, generation: 0, volume: volume_id(), file: file_id() };
    let envelope = Envelope {
        sequence: 1,
        sparse: false,
        policy: 0,
        key_arn: ARN.to_owned(),
        material: Some(count(0x40)),
        wrapped: count::<96>(0x60).to_vec(),
    };
    let cipher = ContentCipher::new(keys.content, count(0xd0));
    let size = PlainLen(u64::try_from(plain.len()).unwrap());
    let mut lower = vec![0; usize::try_from(lower_len(size).0).unwrap()];
    let header = header::encode_new(&prelude, &Home::None, &envelope, &keys.header).unwrap();
    lower[..header.len()].copy_from_slice(&header);
    let blocks =
        plain.split_at_checked(2512).map_or(vec![plain], |(first, rest)| vec![first, rest]);
    for (no, (block, n2)) in (0..).map(BlockNo).zip(blocks.iter().zip([0xe0, 0xf0])) {
        let at = usize::try_from(record_at(no).0).unwrap();
        let is_last = usize::try_from(no.0).unwrap() + 1 == blocks.len();
        let position = if is_last { Position::Final } else { Position::Middle };
        let page = &mut lower[at..at + record_len(no)];
        record::seal(&cipher, no, block, position, &count(n2), page);
    }
    lower
}

fn record_len(block: BlockNo) -> usize {
    crate::format::layout::record_len(block)
}

#[test]
fn derived_keys() {
    let keys = volume_keys();
    assert_eq!(
        hex(keys.symlinks.expose()),
        "ac8a19da43933798e8f41766db42427bd2f56a581c0ba476ff0c4444914089b2"
    );
    assert_eq!(
        hex(keys.dir_xattrs.expose()),
        "3d66b93a47af9472d5b216f21e64367e3d29a83c2283998bf6327a58c5c0c254"
    );
    let keys = file_keys();
    assert_eq!(
        hex(keys.content.expose()),
        "565a713f771b69e7a2e13ecfb9960b1ae77b9128e4aec6d6054c014937681b48"
    );
    assert_eq!(
        hex(keys.xattr.expose()),
        "bcd6ac54d065221775b8f4d7939c4e572f6d032892832b09fad8468932e3e61d"
    );
}

#[test]
fn file_of_one_block() {
    let lower = lower_file(b"Hello, kmsfs!\n");
    assert_eq!(lower.len(), 4110);
    assert_eq!(hex(&lower[0x3d8..0x3e0]), "2e20dde14ed8e9ac");
    assert_eq!(
        hex(&lower[0x3e0..0x400]),
        "6d2c933e6059e20ebf14641f58fc23b33f393375ee378a4d5ca136007a036a97"
    );
    assert_eq!(hex(&lower[0x618..0x628]), "1a69e512e6508514a73090291335584d");
    assert_eq!(hex(&lower[0x630..0x63e]), "da0c0638c1642baa4ef965758e44");
    assert_eq!(
        hex(&sha256(&[&lower])),
        "065f9f165f84bbfeb5b6e8e76ccbebe31e061b8783afbc97f25c2cd2629a207d"
    );
    let header = FileHeader::parse(&lower).unwrap();
    assert_eq!(header.verify(&file_keys().header), Ok(()));
}

#[test]
fn file_of_two_blocks() {
    let plain: Vec<u8> = (0..5000u32).map(|n| (n * 7).to_le_bytes()[0]).collect();
    let lower = lower_file(&plain);
    assert_eq!(lower.len(), 10680);
    assert_eq!(
        hex(&sha256(&[&lower])),
        "1200eccf988c9d0a9854c78a5948c1086ec99de13729f49caac0b95a2336d937"
    );
}

#[test]
fn names_and_marker() {
    let keys = volume_keys();
    let sealed = keys.names.seal(dir_id().bytes(), b"hello.txt");
    let form = name::lower_form(&sealed);
    assert_eq!(form.object().as_bytes(), b"4WQlxyE4_DiqcrW99LOs1rAvcTvyIvg3-g");
    let home = DirHome::named(dir_id(), DirId(file_id().0), form.object(), &keys.homes);
    assert_eq!(hex(&home.0), "28d35f530afc3f7a7e26c4bb05ed38ee");
    let place = HomePlace { dir: dir_id(), object: form.object().clone(), sealed: Some(sealed) };
    let home = Home::named(file_id(), &place, &keys.homes).encode();
    assert_eq!(
        hex(&home[296..]),
        "7d28802ddac540180d92473d56651424301ba190b7e88577cae2dd0274bf8571"
    );
    let form = name::lower_form(&keys.names.seal(dir_id().bytes(), &[b'n'; 176]));
    let LowerForm::Long { object, sealed, .. } = form else { panic!("not a long name") };
    assert_eq!(object.as_bytes(), b"L.k6BOF6UEGBnC16QxOfRw_ZiwvC_WdwfAmfk-ixZh0rA");
    assert_eq!(sealed.len(), 192);
    let marker = DirMarker { dir: dir_id(), policy: 0, home: DirHome::default() };
    let marker = marker.encode(volume_id(), &keys.markers);
    assert_eq!(
        hex(&marker),
        "4b4d5346534449520100000000000000a0a1a2a3a4a5a6a7a8a9aaabacadaeaf\
         c0c1c2c3c4c5c6c7c8c9cacbcccdcecf00000000000000000000000000000000\
         0f231b187ec803ca7fbbd770cc75fd5e93c42604bf90d2bd242e71963e5128f0"
    );
}

#[test]
fn symlink_targets() {
    let key = volume_keys().symlinks;
    assert_eq!(
        symlink::inline(&key, b"../target", &ShortNonce).unwrap(),
        b"cHFyc3R1dnd4eXp7fH1-f4CBgoOEhYaHgl4xCQkOBaznIUAYRQa2cttB4WnkPs3WTg"
    );
    let (text, content) = symlink::external(&key, count(0x90), b"../target", &ShortNonce);
    assert_eq!(text, b"@909192939495969798999a9b9c9d9e9f.9");
    assert_eq!(
        hex(&content),
        "707172737475767778797a7b7c7d7e7f80818283848586873999dc6e18e5b3f2fea1d1e1760bd9aa\
         db41e169e43ecdd64e"
    );
}

#[test]
fn extended_attributes() {
    let volume_keys = volume_keys();
    let file_keys = file_keys();
    let short = xattr::seal_name(&volume_keys.xattr_names, b"user.comment");
    assert_eq!(short.lower, b"user.kmsfs.6pHrXM3TmtXDI4qBszFLpVhhf3o2ltI");
    let file = file_id();
    let seal =
        |name| xattr::seal_value(&file_keys.xattr, file.bytes(), name, b"draft", &ShortNonce);
    assert_eq!(
        hex(&seal(&short)),
        "0000707172737475767778797a7b7c7d7e7f80818283848586876efe77884f1aadaab767bbc6a2733b04\
         2f8a2519b8"
    );
    let dir = dir_id();
    let key = &volume_keys.dir_xattrs;
    assert_eq!(
        hex(&xattr::seal_value(key, dir.bytes(), &short, b"draft", &ShortNonce)),
        "0000707172737475767778797a7b7c7d7e7f8081828384858687871f6ba27dba4dbcd83a6ed21b4960fa\
         b680a846d7"
    );
    let plain = [&b"user."[..], &[b'n'; 200]].concat();
    let long = xattr::seal_name(&volume_keys.xattr_names, &plain);
    assert_eq!(long.lower, b"user.kmsfs.L.K4HSh99_a_2ppD4JC-JDVJ-YdMKf8XPArGJNh6uauOE");
    assert_eq!(
        hex(&sha256(&[&seal(&long)])),
        "f3ad1eff59f1c90f01cd2e5d8237ad52ebc32fa7cf44edb412deab7e3ff14254"
    );
}

#[test]
fn state_and_configuration() {
    let keys = volume_keys();
    let state = VolumeState {
        clean: true,
        checkpoint_secs: 1_767_323_045,
        checkpoint_nanos: 500_000_000,
        old_moves: false,
    };
    assert_eq!(
        hex(&state.encode(&keys.checkpoint)),
        "4b4d5346535441540100010000000000a5355769000000000065cd1d00000000\
         5512d56cb28ebd4cd63d03f78d602b628d75499accb53404070d558ea9e92e16"
    );
    let config = VolumeConfig {
        volume: volume_id(),
        suite: crate::crypto::Suite::Xaes256Gcm,
        created: "2026-01-02T03:04:05Z".to_owned(),
        policies: vec![KeyPolicyEntry { number: 0, alias: "alias/volume".to_owned() }],
        kms: KmsPlace::Embedded,
        names: NameBinding::Free,
        volume_key: WrappedVolumeKey {
            key_arn: ARN.to_owned(),
            material: Some(count(0x40)),
            wrapped: count::<96>(0x60).to_vec(),
        },
    };
    let text = config.encode(&keys.config);
    let mac = "e5bd2d7fffbf4796ed878324da3477d6895825187e421a000f9621afc6483d14";
    assert!(text.ends_with(&format!("\n[authentication]\nmac = \"{mac}\"\n")), "{text}");
    assert!(unhex_array::<32>(mac).is_some());
    assert_eq!(volume::parse(&text).unwrap().verify(&keys.config), Ok(config));
}
