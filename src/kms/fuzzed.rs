//! The private parsers of the KMS, each held against its law. Feature `testing` only: what
//! `testing::fuzz` may reach of this module without making all of it public.

#![allow(clippy::unwrap_used, reason = "a broken law must be loud")]

use crate::clock::ManualClock;
use crate::crypto::kdf::sha256;
use crate::crypto::short::seal_short;
use crate::kms::access::{Action, Asked, KeyPolicy, authorize};
use crate::kms::audit::{AuditHead, Line, Params, UseParams};
use crate::kms::bundle::BundleContent;
use crate::kms::db::{RowId, Rows, Table};
use crate::kms::import::TOKEN_LABEL;
use crate::kms::key::KmsKey;
use crate::kms::ring::KeyRing;
use crate::kms::root::{RootKey, RootKeys};
use crate::kms::rows::{META_ACCOUNT, META_REGION, decode_ring, difference, from_bytes};
use crate::kms::slot::open_slots;
use crate::kms::spec::{KeyManager, KeySpec, KeyUsage};
use crate::kms::store::{HeldMaterial as _, SoftMaterial};
use crate::kms::transfer::{Opened, material_aad};
use crate::kms::{
    BlobHead, BundleHead, EncryptionContext, Fingerprint, KeyArn, KeyId, Kms, MaterialId, Op,
    Principal, ReplicaRequest, Timestamp, Unlock, Via,
};
use crate::random::{Random, SeededRandom};
use crate::secret::{Secret, SecretBytes};

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";

fn root_keys() -> RootKeys {
    RootKeys::derive(&RootKey(Secret::fill_with(|out| *out = [5; 32])), &[6; 16])
}

/// Law: a line of the audit log that is taken apart can be put together to the same bytes, and
/// follows only the line before it.
pub fn audit_line(text: &[u8]) {
    let key = root_keys().audit;
    let Some(line) = Line::parse(text) else { return };
    let record = line.record_json();
    let open = record.strip_suffix(b"}").unwrap();
    assert!(text.starts_with(open));
    let before = AuditHead { sequence: line.head.sequence.wrapping_sub(1), chain: [0; 32] };
    let _any = (line.follows(&before), line.is_sealed(&key));
    // The same record as it would have been written.
    let end = open.windows(12).rposition(|part| part == b",\"sequence\":").unwrap();
    let (mut head, mut made) = (before, open[..end].to_vec());
    head.close_line(&mut made, 0, &key);
    let made = Line::parse(made.strip_suffix(b"\n").unwrap()).unwrap();
    assert!(made.is_sealed(&key) && made.head == head);
    assert_eq!(made.follows(&before), line.head.sequence > 0);
    let encoded = AuditHead::parse(&head.encode());
    assert_eq!(encoded, Some(head));
}

/// Law: a blob's head that parses encodes to the blob's first bytes.
pub fn blob(bytes: &[u8]) {
    let Some((head, sealed)) = BlobHead::parse(bytes) else { return };
    assert_eq!([head.encode().as_slice(), sealed].concat(), bytes);
    assert_eq!(KeyId::from_bytes(&head.key.to_bytes()), Some(head.key.clone()));
    assert_eq!(KeyId::parse(head.key.as_str()), Some(head.key));
}

/// Law: a request, or the head of a bundle, that parses is written as it was read; any content is
/// refused, or is a key with a material.
pub fn bundle(bytes: &[u8]) {
    if let Some(request) = ReplicaRequest::parse(bytes) {
        assert_eq!(request.encode().unwrap(), bytes);
        assert_eq!(request.fingerprint(), Fingerprint::of(bytes));
    }
    if let Some((head, sealed)) = BundleHead::parse(bytes) {
        assert_eq!([head.encode().unwrap().as_slice(), sealed].concat(), bytes);
    }
    let Some(mut content) = from_bytes::<BundleContent>(bytes) else { return };
    let (keys, random) = (root_keys(), SeededRandom::new(4));
    let Some(primary) = KeyArn::parse(&content.primary) else { return };
    // What is sealed is not guessed: the input has it bare, and the id that it has then.
    let spec = KeySpec::parse(&content.spec).zip(KeyUsage::parse(&content.usage));
    for material in &mut content.materials {
        let plain = SecretBytes::new(material.sealed.clone());
        let held = spec.and_then(|(spec, usage)| SoftMaterial::from_bytes(spec, usage, plain));
        if let Some(held) = held {
            material.id = held.id(&primary.key_id()).0;
        }
        let aad = material_aad(primary.key_id(), MaterialId(material.id));
        material.sealed = seal_short(&keys.rows.0, &aad, &material.sealed, &random);
    }
    for (imported, material) in content.imports.iter_mut().zip(&content.materials) {
        imported.material = material.id;
    }
    let opened = Opened::read(content, &keys.rows, Fingerprint::of(bytes));
    let is_nothing = opened.is_ok_and(|opened| opened.lineage().is_empty());
    assert!(!is_nothing, "a key without material");
}

/// Law: any slot is refused or opens; no cost in it goes beyond its bounds.
pub fn slot(bytes: &[u8], unlock: &Unlock) {
    let mut repaired = bytes.to_vec();
    if let Some(body) = repaired.len().checked_sub(8) {
        let (body, checksum) = repaired.split_at_mut(body);
        checksum.copy_from_slice(&sha256(&[body])[..8]);
    }
    for slot in [bytes, &repaired] {
        // `version 1 | kind 1 | memory 4 | passes 4 | lanes 4`: what is dear is not tried out.
        let is_dear = slot
            .get(2..14)
            .is_some_and(|cost| cost.chunks(4).any(|n| n[1..] != [0; 3] || n[0] > 64));
        if !is_dear {
            let _root = open_slots([("1", slot)].into_iter(), unlock);
        }
    }
}

/// Law: rows of a key, its materials and an alias are refused, or are a ring that is written as rows
/// which lead to the same ring.
pub fn key_rows(version: u8, key: &[u8], material: &[u8], alias: &[u8]) {
    let (keys, random) = (root_keys(), SeededRandom::new(1));
    let id = KeyId::from_random([7; 16]);
    let row = RowId::new(Table::Keys, id.as_str());
    let mut body = vec![version];
    let aad = row.additional_data(&[]);
    body.extend_from_slice(&seal_short(&keys.rows.0, &aad, key, &random));
    let meta = |name: &str, text: &str| (RowId::new(Table::Meta, name), text.into());
    let mut rows = Rows::from([meta(META_REGION, REGION), meta(META_ACCOUNT, ACCOUNT)]);
    rows.insert(row, body);
    rows.insert(RowId::new(Table::Aliases, "alias/a"), alias.to_vec());
    for fill in 0..3 {
        let row = RowId::new(Table::Materials, &format!("{id}/{}", MaterialId([fill; 32])));
        rows.insert(row.clone(), material_body(&row, material, &keys, &random));
    }
    let Ok(ring) = decode_ring(&rows, &keys, None) else { return };
    let mut again = rows.clone();
    again.retain(|row, _| row.table == Table::Meta);
    difference(&KeyRing::new(REGION, ACCOUNT), &ring, &keys, &random).apply_to(&mut again);
    let read = decode_ring(&again, &keys, None).unwrap();
    assert_eq!(format!("{ring:?}"), format!("{read:?}"));
    assert!(difference(&ring, &ring, &keys, &random).is_empty());
}

/// `version 1 | length of the description 2 | description | sealed material`, the last part sealed
/// here.
fn material_body(row: &RowId, fuzzed: &[u8], keys: &RootKeys, random: &dyn Random) -> Vec<u8> {
    let [version, low, high, rest @ ..] = fuzzed else { return fuzzed.to_vec() };
    let len = usize::from(u16::from_le_bytes([*low, *high]));
    let (description, plain) = rest.split_at(len.min(rest.len()));
    let sealed = seal_short(&keys.rows.0, &row.additional_data(description), plain, random);
    [&[*version, *low, *high], description, &sealed].concat()
}

/// Law: a document is refused or understood; a Deny for everybody, added to it, leaves nobody in.
pub fn policy(document: &str, principal: &Principal, context: &EncryptionContext) {
    let Ok(policy) = KeyPolicy::parse(document) else {
        let _empty = KeyPolicy::of_accepted(document.to_owned());
        return;
    };
    let accepted = KeyPolicy::of_accepted(document.to_owned());
    assert_eq!(format!("{policy:?}"), format!("{accepted:?}"));
    let (ring, clock) = (KeyRing::new(REGION, ACCOUNT), ManualClock::at(0));
    let allowed = |policy: &KeyPolicy| {
        let key = key_with(policy.clone());
        let ops = [Op::Decrypt, Op::Encrypt, Op::PutKeyPolicy, Op::ScheduleKeyDeletion];
        ops.map(|op| {
            let asked = Asked {
                principal,
                via: Via::Network([127, 0, 0, 1].into()),
                op,
                action: Action::Op(op),
                params: Params::Use(UseParams::default()),
                context,
                named: Some("alias/x"),
                granting: None,
                on_same_key: None,
                ring: &ring,
                clock: &clock,
            };
            authorize(&asked, &key).is_ok()
        })
    };
    let before = allowed(&policy);
    assert_eq!(before, allowed(&accepted));
    let mut value: serde_json::Value = serde_json::from_str(document).unwrap();
    let deny = serde_json::json!({"Effect": "Deny", "Principal": "*", "Action": "kms:*",
        "Resource": "*"});
    let statement = &mut value["Statement"];
    let mut all = match statement.take() {
        serde_json::Value::Array(all) => all,
        one => vec![one],
    };
    all.push(deny);
    *statement = all.into();
    let denied = KeyPolicy::parse(&value.to_string()).unwrap();
    let is_itself = principal.name() == Principal::KMS;
    assert!(is_itself || allowed(&denied) == [false; 4], "a Deny for everybody lets in");
}

fn key_with(policy: KeyPolicy) -> KmsKey {
    let arn = KeyArn::new(REGION, ACCOUNT, &KeyId::from_random([7; 16]));
    let kind = (KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt);
    KmsKey::waiting(arn, KeyManager::Customer, kind, policy, Timestamp(0))
}

/// An import token with this content, sealed as one of this KMS.
pub fn import_token(kms: &Kms, content: &[u8]) -> Vec<u8> {
    seal_short(&kms.core.row_key().0, TOKEN_LABEL, content, &SeededRandom::new(2))
}
