//! The key management service: its parsers, and sessions of calls on a service of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;

use super::words::Words;
use crate::clock::{Clock, ManualClock};
use crate::kms::{
    AliasName, Argon2Cost, CreateKey, EncryptionContext, KeyArn, KeyId, KeyRef, KeySpec, KeyUsage,
    Kms, KmsError, KmsOptions, Origin, Principal, RecoveryKit, Unlock, audit, fuzzed,
};
use crate::random::SeededRandom;
use crate::secret::SecretBytes;
use crate::wire;

/// Calls of one session at most.
const CALLS_MAX: usize = 24;
/// One input in so many may make RSA keys, which takes longer than all else that a session does.
const RSA_EVERY: usize = 17;

pub(super) fn audit_line(data: &[u8]) {
    fuzzed::audit_line(data);
}

pub(super) fn blob(data: &[u8]) {
    fuzzed::blob(data);
}

pub(super) fn replica_bundle(data: &[u8]) {
    fuzzed::bundle(data);
}

pub(super) fn key_slot(data: &[u8]) {
    fuzzed::slot(data, &Unlock::KeyFile(SecretBytes::new(vec![1; 32])));
    fuzzed::slot(data, &unlock());
}

/// Law: a kit that is read is written as the same 24 words.
pub(super) fn recovery_kit(data: &[u8]) {
    let Ok(kit) = RecoveryKit::read(&SecretBytes::new(data.to_vec())) else { return };
    let mut words = Vec::new();
    kit.write_words(&mut words).unwrap();
    let text = String::from_utf8_lossy(data).to_lowercase();
    let written = String::from_utf8(words.clone()).unwrap();
    assert_eq!(written.split_whitespace().count(), 24);
    assert!(written.split_whitespace().all(|word| text.contains(word)));
    let again = RecoveryKit::read(&SecretBytes::new(words)).unwrap();
    let mut twice = Vec::new();
    again.write_words(&mut twice).unwrap();
    assert_eq!(twice, written.as_bytes());
}

pub(super) fn key_rows(data: &[u8]) {
    let mut words = Words::new(data);
    let (version, key_len, material_len) = (words.u8(), words.u16(), words.u16());
    let key = words.bytes(key_len.into());
    let material = words.bytes(material_len.into());
    fuzzed::key_rows(version, key, material, words.rest());
}

/// A line with who asks, a line with a name and a value of the context, then the document.
pub(super) fn access_policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(3, '\n');
    let principal = lines.next().unwrap_or_default();
    let principal = Principal::from_arn(principal)
        .unwrap_or_else(|| Principal::service(principal, "000000000000"));
    let mut context = EncryptionContext::new();
    if let Some((name, value)) = lines.next().and_then(|line| line.split_once('=')) {
        let _empty = context.insert(name, value);
    }
    fuzzed::policy(lines.next().unwrap_or_default(), &principal, &context);
}

/// Law: what parses as an id, an ARN, an alias or a principal is written as it was read.
pub(super) fn key_names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(id) = KeyId::parse(text) {
        assert_eq!(id.as_str(), text);
        assert_eq!(KeyId::from_bytes(&id.to_bytes()), Some(id));
    }
    if let Some(arn) = KeyArn::parse(text) {
        assert_eq!(arn.as_str(), text);
        if text.starts_with("arn:aws:") {
            assert_eq!(KeyArn::new(arn.region(), arn.account(), &arn.key_id()), arn);
        }
    }
    if let Some(alias) = AliasName::parse(text) {
        assert_eq!(alias.as_str(), text);
    }
    if let Some(principal) = Principal::from_arn(text) {
        assert_eq!(principal.name(), text);
    }
}

/// Law: any content of a token, and any wrapped material, is refused with a clean error or imported.
pub(super) fn import_token(data: &[u8]) {
    use base64::Engine;
    let place = Place::new();
    let kms = place.open();
    let mut words = Words::new(data);
    let len = words.u16().into();
    let content = words.bytes(len);
    let encode = |bytes: &[u8]| base64::prelude::BASE64_STANDARD.encode(bytes);
    let input = serde_json::json!({
        "KeyId": place.ids.last(),
        "ImportToken": encode(&fuzzed::import_token(&kms, content)),
        "EncryptedKeyMaterial": encode(words.rest()),
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    });
    assert_clean(&wire::call(&kms, &kms.owner(), "ImportKeyMaterial", &input));
}

/// Law: any session of calls is answered, each call by its output or by an error that is the
/// caller's; what was done can be read again, and stands in an audit log that holds.
///
/// A line is `> Operation {input}`, or `+ 7 days`. `$1` to `$6` are the ids of the keys that are
/// there, `$1.arn` and so on their ARNs; `$Name` is the last member of that name in an answer.
pub(super) fn kms_calls(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let place = Place::new();
    let kms = place.open();
    let mut seen = BTreeMap::new();
    for line in text.lines().take(CALLS_MAX) {
        if let Some(days) = line.strip_prefix("+ ") {
            let days = days.split(' ').next().and_then(|days| days.parse::<u16>().ok());
            place.clock.advance(Duration::from_secs(86_400) * u32::from(days.unwrap_or(1)));
            kms.tick().unwrap();
            continue;
        }
        if is_slow(line.as_bytes(), data) {
            continue;
        }
        let line = place.fill_in(line.strip_prefix("> ").unwrap_or(line), &seen);
        let (operation, input) = line.split_once(' ').unwrap_or((&line, "{}"));
        let Ok(input) = serde_json::from_str(input) else { continue };
        let answer = wire::call(&kms, &kms.owner(), operation, &input);
        assert_clean(&answer);
        if let Ok(answer) = answer {
            note(&answer, &mut seen);
        }
    }
    let keys = |kms: &Kms| wire::call(kms, &kms.owner(), "ListKeys", &serde_json::json!({}));
    let before = keys(&kms);
    assert_clean(&before);
    kms.flush_audit().unwrap();
    audit::verify(&place.dir.join("audit.log"), Some(&kms.audit_key())).unwrap();
    drop(kms);
    assert_eq!(keys(&place.open()).ok(), before.ok());
}

/// Whether a call of this input is left out: one that names RSA keys that take seconds to make, or, in
/// most inputs, RSA keys at all. Which inputs may is said by the sum of their bytes, so that the seeds
/// of `fuzz/seeds.py` can be among them.
pub(super) fn is_slow(call: &[u8], input: &[u8]) -> bool {
    let names = |spec: &str| call.windows(spec.len()).any(|part| part == spec.as_bytes());
    let sum: usize = input.iter().copied().map(usize::from).sum();
    names("RSA_3072") || names("RSA_4096") || (names("RSA_2048") && !sum.is_multiple_of(RSA_EVERY))
}

/// Law: what is wrong with a call is the caller's, and is said.
pub(super) fn assert_clean(answer: &Result<Value, KmsError>) {
    if let Err(error) = answer {
        let is_clean = !matches!(error, KmsError::Internal { .. });
        assert!(is_clean, "{}: {error}", error.exception());
        assert!(!error.exception().is_empty());
        assert!(wire::error_body(error).is_object());
    }
}

/// Notes the texts of an answer by the names of their members.
fn note(answer: &Value, seen: &mut BTreeMap<String, String>) {
    match answer {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(text) = value.as_str() {
                    seen.insert(format!("${name}"), text.to_owned());
                }
                note(value, seen);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| note(value, seen)),
        _ => {}
    }
}

/// A key service in a directory of its own, the same for every run: a symmetric key, an RSA, an
/// elliptic and an HMAC key, one that is disabled, and one that waits for its material.
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) clock: Arc<ManualClock>,
    pub(super) ids: &'static [String],
}

struct Template {
    database: Vec<u8>,
    log: Vec<u8>,
    ids: Vec<String>,
}

fn unlock() -> Unlock {
    Unlock::Passphrase(SecretBytes::new(b"passphrase".to_vec()))
}

impl Place {
    /// Writes the service's files.
    pub(super) fn new() -> Self {
        static TEMPLATE: OnceLock<Template> = OnceLock::new();
        let template = TEMPLATE.get_or_init(make_template);
        let place = Self::empty(&template.ids);
        std::fs::write(place.dir.join("keys.db"), &template.database).unwrap();
        std::fs::write(place.dir.join("audit.log"), &template.log).unwrap();
        place
    }

    fn empty(ids: &'static [String]) -> Self {
        Self { dir: fresh_dir(), clock: Arc::new(ManualClock::at(1_769_903_999)), ids }
    }

    /// Opens it, as the account root.
    pub(super) fn open(&self) -> Kms {
        Kms::open(&self.dir, &unlock(), self.options()).unwrap()
    }

    fn options(&self) -> KmsOptions {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        let deletion_confirm = Duration::ZERO;
        let random = Arc::new(SeededRandom::new(3));
        KmsOptions { clock, random, deletion_confirm, ..KmsOptions::default() }
    }

    fn fill_in(&self, line: &str, seen: &BTreeMap<String, String>) -> String {
        let mut line = line.to_owned();
        for (no, id) in self.ids.iter().enumerate() {
            let arn = format!("arn:aws:kms:us-east-1:000000000000:key/{id}");
            line = line.replace(&format!("${}.arn", no + 1), &arn);
            line = line.replace(&format!("${}", no + 1), id);
        }
        // The longer names first: `$KeyMaterialId` is not `$Key`.
        seen.iter().rev().fold(line, |line, (name, text)| line.replace(name, text))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.dir);
    }
}

fn make_template() -> Template {
    let place = Place::empty(&[]);
    let kms = Kms::create(&place.dir, &unlock(), Argon2Cost::TEST, place.options()).unwrap();
    let kinds = [
        (KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt, Origin::AwsKms),
        (KeySpec::Rsa2048, KeyUsage::EncryptDecrypt, Origin::AwsKms),
        (KeySpec::EccNistP256, KeyUsage::SignVerify, Origin::AwsKms),
        (KeySpec::Hmac256, KeyUsage::GenerateVerifyMac, Origin::AwsKms),
        (KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt, Origin::AwsKms),
        (KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt, Origin::External),
    ];
    let ids: Vec<String> = kinds
        .into_iter()
        .map(|(spec, usage, origin)| {
            let (spec, usage, origin) = (Some(spec), Some(usage), Some(origin));
            let new = CreateKey { spec, usage, origin, ..CreateKey::default() };
            kms.create_key(new).unwrap().key_id().as_str().to_owned()
        })
        .collect();
    for (no, alias) in [(0, "alias/symmetric"), (1, "alias/rsa")] {
        kms.create_alias(alias, &KeyRef::new(&ids[no])).unwrap();
    }
    kms.disable_key(&KeyRef::new(&ids[4])).unwrap();
    drop(kms);
    let read = |name: &str| std::fs::read(place.dir.join(name)).unwrap();
    Template { database: read("keys.db"), log: read("audit.log"), ids }
}

/// An empty directory, in memory where there is such a place.
pub(super) fn fresh_dir() -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let no = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = base.join(format!("kmsfs-fuzz-{}-{no}", std::process::id()));
    let _stale = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).unwrap();
    dir
}
