//! A key service in memory that refuses on command. Wraps data keys for real.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::codec::hex;
use crate::crypto::kdf::sha256;
use crate::crypto::short::{open_short, seal_short};
use crate::kms::{
    AliasName, CiphertextBlob, DataKey, EncryptionContext, GeneratedKey, KeyArn, KeyDescription,
    KeyId, KeyRef, KeyService, KeyState, KmsError, MaterialId, Wrapped,
};
use crate::random::{Random, SeededRandom, random_array};
use crate::secret::Secret;

/// A key service for tests.
#[derive(Debug)]
pub struct FaultKms {
    random: SeededRandom,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    keys: BTreeMap<String, Key>,
    aliases: BTreeMap<String, String>,
    refusal: Option<KmsError>,
    calls: u64,
}

#[derive(Debug)]
struct Key {
    materials: Vec<(MaterialId, Secret<32>)>,
    state: KeyState,
}

impl FaultKms {
    /// A service with one key under each of the aliases.
    pub fn new(seed: u64, aliases: &[&str]) -> Self {
        let service = Self { random: SeededRandom::new(seed), ring: Mutex::default() };
        for alias in aliases {
            service.point_alias(alias, &service.create_key());
        }
        service
    }

    /// Makes a key.
    pub fn create_key(&self) -> KeyArn {
        let id = KeyId::from_random(random_array(&self.random));
        let arn = KeyArn::new("us-east-1", "000000000000", &id);
        let key = Key { materials: Vec::new(), state: KeyState::Enabled };
        self.ring().keys.insert(arn.as_str().to_owned(), key);
        self.rotate(&arn);
        arn
    }

    /// Points an alias at a key.
    pub fn point_alias(&self, alias: &str, arn: &KeyArn) {
        self.ring().aliases.insert(alias.to_owned(), arn.as_str().to_owned());
    }

    /// The key behind an alias.
    pub fn arn_of(&self, alias: &str) -> KeyArn {
        let arn = self.ring().aliases.get(alias).cloned().unwrap_or_default();
        KeyArn::parse(&arn).unwrap_or_else(|| self.create_key())
    }

    /// Gives a key new current material.
    pub fn rotate(&self, arn: &KeyArn) {
        let material = Secret::random(&self.random);
        let id = MaterialId(sha256(&[arn.as_str().as_bytes(), material.expose()]));
        if let Some(key) = self.ring().keys.get_mut(arn.as_str()) {
            key.materials.push((id, material));
        }
    }

    /// Destroys all but the current material of a key: what still needs it is lost.
    pub fn destroy_old_material(&self, arn: &KeyArn) {
        if let Some(key) = self.ring().keys.get_mut(arn.as_str()) {
            let last = key.materials.len().saturating_sub(1);
            key.materials.drain(..last);
        }
    }

    /// Sets a key's state.
    pub fn set_state(&self, arn: &KeyArn, state: KeyState) {
        if let Some(key) = self.ring().keys.get_mut(arn.as_str()) {
            key.state = state;
        }
    }

    /// Every call is answered with this error, until `None`.
    pub fn refuse(&self, refusal: Option<KmsError>) {
        self.ring().refusal = refusal;
    }

    /// Calls so far, of any kind.
    pub fn call_count(&self) -> u64 {
        self.ring().calls
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn find(&mut self, key: &KeyRef) -> Result<(KeyArn, &Key), KmsError> {
        self.calls += 1;
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        let named = match AliasName::parse(key.as_str()) {
            Some(alias) => self.aliases.get(alias.as_str()).map_or("", String::as_str),
            None => key.as_str(),
        };
        let missing = || KmsError::NotFound { message: format!("Key '{key}' does not exist") };
        let arn = KeyArn::parse(named).ok_or_else(missing)?;
        let found = self.keys.get(arn.as_str()).ok_or_else(missing)?;
        Ok((arn, found))
    }

    fn usable(&mut self, key: &KeyRef) -> Result<(KeyArn, &Key), KmsError> {
        let (arn, key) = self.find(key)?;
        match key.state {
            KeyState::Enabled => Ok((arn, key)),
            KeyState::Disabled => Err(KmsError::Disabled { key: arn.as_str().to_owned() }),
            state => Err(KmsError::InvalidState { key: arn.as_str().to_owned(), state }),
        }
    }

    fn wrap(
        &mut self,
        key: &KeyRef,
        plain: &Secret<32>,
        context: &EncryptionContext,
        random: &dyn Random,
    ) -> Result<Wrapped, KmsError> {
        let (key_arn, key) = self.usable(key)?;
        let (id, material) = key.materials.last().ok_or(KmsError::InvalidCiphertext)?;
        let mut blob = id.0.to_vec();
        let aad = additional_data(&key_arn, context);
        blob.extend(seal_short(material, &aad, plain.expose(), random));
        Ok(Wrapped { blob: CiphertextBlob(blob), key_arn, material: Some(*id) })
    }
}

impl KeyService for FaultKms {
    fn generate_data_key(
        &self,
        key: &KeyRef,
        context: &EncryptionContext,
    ) -> Result<GeneratedKey, KmsError> {
        let plain = Secret::random(&self.random);
        let wrapped = self.ring().wrap(key, &plain, context, &self.random)?;
        Ok(GeneratedKey { plain: DataKey(plain), wrapped })
    }

    fn decrypt(
        &self,
        key: &KeyRef,
        blob: &CiphertextBlob,
        context: &EncryptionContext,
    ) -> Result<DataKey, KmsError> {
        let mut ring = self.ring();
        let (arn, key) = ring.usable(key)?;
        let (id, sealed) = blob.0.split_at_checked(32).ok_or(KmsError::InvalidCiphertext)?;
        let material = key.materials.iter().find(|(known, _)| known.0 == id);
        let (_, material) = material.ok_or_else(|| KmsError::NotFound {
            message: format!("material {} does not exist", hex(id)),
        })?;
        let aad = additional_data(&arn, context);
        let mut plain =
            open_short(material, &aad, sealed).map_err(|_| KmsError::InvalidCiphertext)?;
        Secret::take(&mut plain).map(DataKey).ok_or(KmsError::InvalidCiphertext)
    }

    fn re_encrypt(
        &self,
        blob: &CiphertextBlob,
        key: &KeyRef,
        context: &EncryptionContext,
    ) -> Result<Wrapped, KmsError> {
        let holders: Vec<String> = self.ring().keys.keys().cloned().collect();
        for holder in holders {
            match self.decrypt(&KeyRef::new(&holder), blob, context) {
                Ok(plain) => return self.ring().wrap(key, &plain.0, context, &self.random),
                Err(KmsError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(KmsError::InvalidCiphertext)
    }

    fn describe_key(&self, key: &KeyRef) -> Result<KeyDescription, KmsError> {
        let mut ring = self.ring();
        let (arn, key) = ring.find(key)?;
        let current_material = key.materials.last().map(|(id, _)| *id);
        Ok(KeyDescription { arn, state: key.state, current_material })
    }
}

fn additional_data(arn: &KeyArn, context: &EncryptionContext) -> Vec<u8> {
    let mut aad = arn.as_str().as_bytes().to_vec();
    aad.push(0);
    aad.extend(context.canonical_bytes());
    aad
}
