//! A key service behind an endpoint, as the filesystem asks it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::http::TARGET_PREFIX;
use crate::http::client::{CallError, Client};
use crate::http::volumes::{self, REPORT_TARGET};
use crate::kms::{
    AliasName, ChangeKind, CiphertextBlob, DataKey, EncryptionContext, GeneratedKey, KeyArn,
    KeyChange, KeyDescription, KeyRef, KeyService, KeyState, KmsError, MaterialId, VolumeReport,
    Wrapped,
};
use crate::secret::Secret;
use crate::sync::{Mutex, Rank};

/// How long a description is believed.
const BELIEF_TIME: Duration = Duration::from_secs(60);
/// After which time a description is asked for anew while the mount is idle: changes are seen within
/// this time and the time of one call.
const REFRESH_TIME: Duration = Duration::from_secs(20);
/// How long is not asked again after a failure: openers of many files wait once.
const FAILURE_TIME: Duration = Duration::from_secs(2);
/// Keys that are remembered; a volume has few.
const KNOWN_MAX: usize = 4096;

/// A key service behind an endpoint. Threads may share it.
pub struct RemoteKms {
    client: Client,
    /// What is known of keys, by the name that they were asked by.
    known: Mutex<BTreeMap<String, Known>>,
    hooks: Mutex<Vec<Hook>>,
    /// The service is another than ours, which does not know volumes.
    takes_no_reports: AtomicBool,
}

type Hook = Arc<dyn Fn(&KeyChange) + Send + Sync>;

/// What is known of a key.
#[derive(Clone, Debug)]
struct Known {
    /// What was told of it last; `None` if that it is gone, or out of reach.
    description: Option<KeyDescription>,
    /// The key that the name meant last.
    arn: Option<KeyArn>,
    /// When that was told.
    told: Instant,
    /// The last failure to ask since then, and when.
    failure: Option<(KmsError, Instant)>,
}

impl fmt::Debug for RemoteKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKms").field("client", &self.client).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyAnswer<'a> {
    key_id: String,
    #[serde(borrow)]
    plaintext: Option<Cow<'a, str>>,
    ciphertext_blob: Option<String>,
    key_material_id: Option<String>,
    destination_key_material_id: Option<String>,
}

impl RemoteKms {
    /// The key service that a client asks.
    pub fn new(client: Client) -> Self {
        let known = Mutex::new(Rank::Cache, BTreeMap::new());
        let hooks = Mutex::new(Rank::Cache, Vec::new());
        Self { client, known, hooks, takes_no_reports: AtomicBool::new(false) }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Calls `hook` after every change that was seen, with no lock held.
    pub fn on_change(&self, hook: Box<dyn Fn(&KeyChange) + Send + Sync>) {
        self.hooks.lock().push(Arc::from(hook));
    }

    /// Looks anew at one key whose description grows old. To be called every second or so.
    ///
    /// # Errors
    /// [`KmsError`], if the service does not tell.
    pub fn refresh(&self) -> Result<(), KmsError> {
        let oldest = {
            let known = self.known.lock();
            let old = known.iter().filter(|(_, known)| known.told.elapsed() >= REFRESH_TIME);
            let old = old.filter(|(_, known)| !known.has_just_failed());
            old.min_by_key(|(_, known)| known.told).map(|(name, _)| name.clone())
        };
        match oldest {
            Some(name) => self.ask(&KeyRef::new(&name)).map(drop),
            None => Ok(()),
        }
    }

    /// Looks anew at all keys that are known.
    pub fn refresh_all(&self) {
        let names: Vec<String> = self.known.lock().keys().cloned().collect();
        for name in names {
            let _told = self.ask(&KeyRef::new(&name));
        }
    }

    /// Tells of a volume's files, if the service is one that takes note of them.
    ///
    /// # Errors
    /// [`KmsError`].
    pub fn report_volume(&self, report: &VolumeReport) -> Result<(), KmsError> {
        if self.takes_no_reports.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.client.call_target(REPORT_TARGET, &volumes::request(report)) {
            Ok(_) => Ok(()),
            Err(error) if is_unknown(&error) => {
                self.takes_no_reports.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(KmsError::from(&error)),
        }
    }

    fn ask(&self, key: &KeyRef) -> Result<KeyDescription, KmsError> {
        let answer = self.client.call("DescribeKey", &json!({"KeyId": key.as_str()}));
        let found = answer.map_err(|error| KmsError::from(&error));
        let found = found.and_then(|answer| self.description(&answer));
        let changes = self.remember(key, &found);
        if !changes.is_empty() {
            let hooks = self.hooks.lock().clone();
            for change in &changes {
                hooks.iter().for_each(|hook| hook(change));
            }
        }
        found
    }

    fn description(&self, answer: &Value) -> Result<KeyDescription, KmsError> {
        let metadata = &answer["KeyMetadata"];
        let text = |name: &str| metadata.get(name).and_then(Value::as_str);
        let arn = text("Arn").and_then(KeyArn::parse);
        let state = text("KeyState").and_then(KeyState::parse);
        let (Some(arn), Some(state)) = (arn, state) else { return Err(self.nonsense()) };
        let current_material = text("CurrentKeyMaterialId").and_then(MaterialId::parse);
        Ok(KeyDescription { arn, state, current_material })
    }

    /// Notes what was found, and tells what has changed by it.
    fn remember(&self, key: &KeyRef, found: &Result<KeyDescription, KmsError>) -> Vec<KeyChange> {
        let mut known = self.known.lock();
        let now = Instant::now();
        let before = known.remove(key.as_str());
        let (last, arn) = before.map_or((None, None), |b| (Some((b.description, b.told)), b.arn));
        let (entry, changes) = match found {
            Ok(found) => {
                let arn = Some(found.arn.clone());
                let last = last.and_then(|(description, _)| description);
                let changes = last.map_or(Vec::new(), |last| changes(key, &last, found));
                let description = Some(found.clone());
                (Known { description, arn, told: now, failure: None }, changes)
            }
            Err(error) => {
                let failure = Some((error.clone(), now));
                match last.filter(|_| is_passing(error)) {
                    Some((description, told)) => {
                        (Known { description, arn, told, failure }, Vec::new())
                    }
                    None => {
                        // Gone, or out of our reach: what was unwrapped must not be used any more.
                        let lost = arn.clone().filter(|_| !is_passing(error));
                        let change = |arn| KeyChange { arn, kind: ChangeKind::Access };
                        let entry = Known { description: None, arn, told: now, failure };
                        (entry, lost.map(change).into_iter().collect())
                    }
                }
            }
        };
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key.as_str().to_owned(), entry);
        changes
    }

    /// Asks for an answer with a key in it, which is wiped when `read` is done.
    fn key_call<T>(
        &self,
        operation: &str,
        input: &Value,
        read: impl FnOnce(KeyAnswer<'_>) -> Option<T>,
    ) -> Result<T, KmsError> {
        let body = self.client.call_raw(&format!("{TARGET_PREFIX}{operation}"), input);
        let body = body.map_err(|error| KmsError::from(&error))?;
        let answer: KeyAnswer<'_> = serde_json::from_slice(&body).map_err(|_| self.nonsense())?;
        read(answer).ok_or_else(|| self.nonsense())
    }

    fn nonsense(&self) -> KmsError {
        let endpoint = self.client.endpoint().to_string();
        KmsError::from(&CallError::Strange { endpoint, status: 200 })
    }
}

impl Known {
    fn has_just_failed(&self) -> bool {
        self.failure.as_ref().is_some_and(|(_, since)| since.elapsed() < FAILURE_TIME)
    }
}

/// Whether a service does not know what it was asked for.
fn is_unknown(error: &CallError) -> bool {
    match error {
        CallError::Refused { exception, .. } => exception == "UnknownOperationException",
        CallError::Strange { .. } => true,
        CallError::Unreachable { .. } => false,
    }
}

/// Whether an error says nothing about the key.
fn is_passing(error: &KmsError) -> bool {
    matches!(error, KmsError::DependencyTimeout { .. } | KmsError::Internal { .. })
}

/// What lies between two descriptions of the same name.
fn changes(key: &KeyRef, last: &KeyDescription, found: &KeyDescription) -> Vec<KeyChange> {
    let change = |kind| KeyChange { arn: found.arn.clone(), kind };
    let mut changes = Vec::new();
    if last.arn != found.arn {
        changes.extend(
            AliasName::parse(key.as_str()).map(|alias| change(ChangeKind::AliasMoved { alias })),
        );
        return changes;
    }
    // Between two looks it may have been of use for a moment: what is not, is told at every look.
    if last.state != found.state || found.state != KeyState::Enabled {
        changes.push(change(ChangeKind::State { from: last.state, to: found.state }));
    }
    if let Some(material) = found.current_material
        && last.current_material != Some(material)
    {
        changes.push(change(ChangeKind::Rotated { material }));
    }
    changes
}

impl KeyService for RemoteKms {
    fn generate_data_key(
        &self,
        key: &KeyRef,
        context: &EncryptionContext,
    ) -> Result<GeneratedKey, KmsError> {
        let input = json!({"KeyId": key.as_str(), "KeySpec": "AES_256",
            "EncryptionContext": pairs(context)});
        self.key_call("GenerateDataKey", &input, |answer| {
            let plain = data_key(answer.plaintext.as_deref()?)?;
            let material = answer.key_material_id.as_deref();
            Some(GeneratedKey { plain, wrapped: wrapped(&answer, material)? })
        })
    }

    fn decrypt(
        &self,
        key: &KeyRef,
        blob: &CiphertextBlob,
        context: &EncryptionContext,
    ) -> Result<DataKey, KmsError> {
        let input = json!({"KeyId": key.as_str(), "CiphertextBlob": STANDARD.encode(&blob.0),
            "EncryptionContext": pairs(context)});
        self.key_call("Decrypt", &input, |answer| data_key(answer.plaintext.as_deref()?))
    }

    fn re_encrypt(
        &self,
        blob: &CiphertextBlob,
        key: &KeyRef,
        context: &EncryptionContext,
    ) -> Result<Wrapped, KmsError> {
        let input = json!({"CiphertextBlob": STANDARD.encode(&blob.0),
            "SourceEncryptionContext": pairs(context), "DestinationKeyId": key.as_str(),
            "DestinationEncryptionContext": pairs(context)});
        self.key_call("ReEncrypt", &input, |answer| {
            wrapped(&answer, answer.destination_key_material_id.as_deref())
        })
    }

    fn describe_key(&self, key: &KeyRef) -> Result<KeyDescription, KmsError> {
        let known = self.known.lock().get(key.as_str()).cloned();
        if let Some(known) = known {
            match (&known.description, &known.failure) {
                (Some(description), _) if known.told.elapsed() < BELIEF_TIME => {
                    return Ok(description.clone());
                }
                (_, Some((error, _))) if known.has_just_failed() => return Err(error.clone()),
                _ => {}
            }
        }
        self.ask(key)
    }
}

fn pairs(context: &EncryptionContext) -> Value {
    let pairs = context.pairs().map(|(key, value)| (key.to_owned(), Value::from(value)));
    Value::Object(Map::from_iter(pairs))
}

fn data_key(text: &str) -> Option<DataKey> {
    let mut bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    Secret::take(&mut bytes).map(DataKey)
}

fn wrapped(answer: &KeyAnswer<'_>, material: Option<&str>) -> Option<Wrapped> {
    Some(Wrapped {
        blob: CiphertextBlob(STANDARD.decode(answer.ciphertext_blob.as_deref()?).ok()?),
        key_arn: KeyArn::parse(&answer.key_id)?,
        material: material.and_then(MaterialId::parse),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(id: &str, state: KeyState, material: u8) -> KeyDescription {
        let arn = format!("arn:aws:kms:us-east-1:000000000000:key/{id}");
        let arn = KeyArn::parse(&arn).unwrap();
        KeyDescription { arn, state, current_material: Some(MaterialId([material; 32])) }
    }

    #[test]
    fn changes_lie_between_two_descriptions() {
        let (one, other) =
            ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002");
        let last = description(one, KeyState::Enabled, 1);
        let kinds = |found: &KeyDescription| {
            let changes = changes(&KeyRef::new("alias/a"), &last, found);
            changes.into_iter().map(|change| change.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&last), []);
        let (from, to) = (KeyState::Enabled, KeyState::Disabled);
        assert_eq!(kinds(&description(one, to, 1)), [ChangeKind::State { from, to }]);
        let (disabled, key) = (description(one, to, 1), KeyRef::new(one));
        assert_eq!(changes(&key, &disabled, &disabled).len(), 1);
        let material = MaterialId([2; 32]);
        assert_eq!(kinds(&description(one, from, 2)), [ChangeKind::Rotated { material }]);
        let alias = AliasName::parse("alias/a").unwrap();
        assert_eq!(kinds(&description(other, from, 1)), [ChangeKind::AliasMoved { alias }]);
    }
}
