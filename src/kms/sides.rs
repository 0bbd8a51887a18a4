//! The two sides of a use of a key: what is to be opened, and what is to be sealed under. Finds the key,
//! checks everything but the bytes, then opens or seals.

use crate::crypto::suite::NONCE_LEN;
use crate::kms::access::Action;
use crate::kms::algorithms::{Family, check_algorithm, check_usage};
use crate::kms::blob::{BlobHead, additional_data, encode_head};
use crate::kms::key::{KmsKey, Material};
use crate::kms::ring::NamedBy;
use crate::kms::service::internal;
use crate::kms::spec::{EncryptionAlgorithm, KeySpec, KeyUsage};
use crate::kms::state::Op;
use crate::kms::view::View;
use crate::kms::{CiphertextBlob, EncryptionContext, KeyRef, KmsError, MaterialId};
use crate::random::{Random, random_array};
use crate::secret::{Secret, SecretBytes};

/// What is to be opened: a blob of ours, or a ciphertext of an RSA key.
pub(crate) enum Opening<'a, 'b> {
    Blob(Source<'a, 'b>),
    Rsa { key: &'a KmsKey, algorithm: EncryptionAlgorithm, sealed: &'b [u8] },
}

impl<'a> Opening<'a, '_> {
    pub(crate) fn key(&self) -> &'a KmsKey {
        match self {
            Self::Blob(source) => source.key,
            Self::Rsa { key, .. } => key,
        }
    }

    pub(crate) fn material(&self) -> Option<MaterialId> {
        match self {
            Self::Blob(source) => Some(source.head.material),
            Self::Rsa { .. } => None,
        }
    }

    pub(crate) fn algorithm(&self) -> EncryptionAlgorithm {
        match self {
            Self::Blob(_) => EncryptionAlgorithm::SymmetricDefault,
            Self::Rsa { algorithm, .. } => *algorithm,
        }
    }

    pub(crate) fn open(&self, context: &EncryptionContext) -> Result<SecretBytes, KmsError> {
        match self {
            Self::Blob(source) => open(source, context),
            Self::Rsa { key, algorithm, sealed } => current(key)?.held.decrypt(*algorithm, sealed),
        }
    }
}

/// Finds the key of what is to be opened and checks everything but the bytes.
pub(crate) fn admit_source<'a, 'b>(
    view: &mut View<'a>,
    blob: &'b CiphertextBlob,
    named: Option<&KeyRef>,
    context: &EncryptionContext,
    algorithm: Option<EncryptionAlgorithm>,
) -> Result<Opening<'a, 'b>, KmsError> {
    let wanted = algorithm.unwrap_or(EncryptionAlgorithm::SymmetricDefault);
    if named.is_none() && wanted != EncryptionAlgorithm::SymmetricDefault {
        let message = "KeyId is required to decrypt under an asymmetric key.".to_owned();
        return Err(KmsError::Validation { message });
    }
    let ring = view.ring;
    // A blob of ours under a key that made none is a blob of another key.
    let is_blob = || {
        let is_ours = |(head, _): (BlobHead, _)| ring.keys.contains_key(&head.key);
        wanted == EncryptionAlgorithm::SymmetricDefault
            && BlobHead::parse(&blob.0).is_some_and(is_ours)
    };
    if let Some(name) = named.filter(|_| !is_blob()) {
        let key = view.ring.resolve(name.as_str(), NamedBy::Anything)?;
        if key.spec.family() != Family::Symmetric {
            let action = source_action(view.op());
            let key = view.admit_key_as(key, Some(name.as_str()), context, action)?;
            check_rsa(key, context, wanted, view.op())?;
            return Ok(Opening::Rsa { key, algorithm: wanted, sealed: &blob.0 });
        }
    }
    admit_blob(view, blob, named, context, algorithm).map(Opening::Blob)
}

/// Checks the key that would open a ciphertext, without one.
pub(crate) fn admit_opener(
    view: &mut View<'_>,
    name: &KeyRef,
    context: &EncryptionContext,
    algorithm: Option<EncryptionAlgorithm>,
) -> Result<(), KmsError> {
    let key = view.ring.resolve(name.as_str(), NamedBy::Anything)?;
    let action = source_action(view.op());
    let key = view.admit_key_as(key, Some(name.as_str()), context, action)?;
    let algorithm = algorithm.unwrap_or(EncryptionAlgorithm::SymmetricDefault);
    check_kind(key, context, algorithm, view.op())
}

/// What policies call the opening side of an operation.
fn source_action(op: Op) -> Action {
    if op == Op::ReEncrypt { Action::ReEncryptFrom } else { Action::Op(op) }
}

/// Notes for policies whether a blob moves from a key to the same one.
pub(crate) fn compare_sides(
    view: &mut View<'_>,
    blob: &CiphertextBlob,
    source: Option<&KeyRef>,
    destination: &KeyRef,
) {
    let find = |name: &KeyRef| view.ring.resolve(name.as_str(), NamedBy::Anything).ok();
    let id = |name| find(name).map(|key| &key.id);
    let head = BlobHead::parse(&blob.0).map(|(head, _)| head.key);
    let source = source.and_then(id).or(head.as_ref());
    view.on_same_key = source.zip(id(destination)).map(|(one, other)| one == other);
}

/// A key to seal under.
pub(crate) struct Target<'a> {
    pub(crate) key: &'a KmsKey,
    pub(crate) algorithm: EncryptionAlgorithm,
}

impl Target<'_> {
    /// Refuses a plaintext that RSA-OAEP has no room for (RFC 8017, section 7.1.1).
    pub(crate) fn check_len(&self, len: usize) -> Result<(), KmsError> {
        let hash_len = match self.algorithm {
            EncryptionAlgorithm::RsaesOaepSha1 => 20,
            EncryptionAlgorithm::RsaesOaepSha256 => 32,
            EncryptionAlgorithm::SymmetricDefault | EncryptionAlgorithm::Sm2Pke => return Ok(()),
        };
        let modulus_len: usize = match self.key.spec {
            KeySpec::Rsa3072 => 384,
            KeySpec::Rsa4096 => 512,
            _ => 256,
        };
        let max = modulus_len.saturating_sub(2 * hash_len + 2);
        if len <= max {
            return Ok(());
        }
        let (algorithm, spec) = (self.algorithm.as_str(), self.key.spec.as_str());
        Err(KmsError::Validation {
            message: format!(
                "Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {max} \
                 bytes."
            ),
        })
    }

    pub(crate) fn seal(
        &self,
        context: &EncryptionContext,
        plain: &[u8],
        random: &dyn Random,
    ) -> Result<(CiphertextBlob, Option<MaterialId>), KmsError> {
        if self.algorithm == EncryptionAlgorithm::SymmetricDefault {
            let (blob, material) = seal(self.key, context, plain, random)?;
            return Ok((blob, Some(material)));
        }
        let sealed = current(self.key)?.held.encrypt(self.algorithm, plain)?;
        Ok((CiphertextBlob(sealed), None))
    }
}

/// Finds a key to seal under and checks it.
pub(crate) fn admit_target<'a>(
    view: &mut View<'a>,
    key: &KeyRef,
    context: &EncryptionContext,
    algorithm: Option<EncryptionAlgorithm>,
) -> Result<Target<'a>, KmsError> {
    let name = key.as_str();
    let key = view.ring.resolve(name, NamedBy::Anything)?;
    let op = view.op();
    let action = if op == Op::ReEncrypt { Action::ReEncryptTo } else { Action::Op(op) };
    let key = view.admit_key_as(key, Some(name), context, action)?;
    let algorithm = algorithm.unwrap_or(EncryptionAlgorithm::SymmetricDefault);
    check_kind(key, context, algorithm, view.op())?;
    Ok(Target { key, algorithm })
}

/// Whether a key encrypts and decrypts so.
fn check_kind(
    key: &KmsKey,
    context: &EncryptionContext,
    algorithm: EncryptionAlgorithm,
    op: Op,
) -> Result<(), KmsError> {
    match key.spec.family() {
        Family::Symmetric => check_symmetric(key, Some(algorithm), op),
        _ => check_rsa(key, context, algorithm, op),
    }
}

/// Usage, algorithm, and that no context is given, which nothing would bind.
fn check_rsa(
    key: &KmsKey,
    context: &EncryptionContext,
    algorithm: EncryptionAlgorithm,
    op: Op,
) -> Result<(), KmsError> {
    check_usage(key, KeyUsage::EncryptDecrypt, op)?;
    let known = key.spec.encryption_algorithms(key.usage);
    check_algorithm(key, known, &algorithm, algorithm.as_str())?;
    if context.is_empty() {
        return Ok(());
    }
    let message = "EncryptionContext is not supported for asymmetric keys.".to_owned();
    Err(KmsError::Validation { message })
}

/// The material that a key is used with.
pub(crate) fn current(key: &KmsKey) -> Result<&Material, KmsError> {
    key.current_material().ok_or_else(|| internal("key without material"))
}

/// A blob, and the key and material that made it.
pub(crate) struct Source<'a, 'b> {
    pub(crate) key: &'a KmsKey,
    head: BlobHead,
    blob: &'b [u8],
    sealed: &'b [u8],
}

/// Finds the key of a blob and checks everything but the blob's bytes.
pub(crate) fn admit_blob<'a, 'b>(
    view: &mut View<'a>,
    blob: &'b CiphertextBlob,
    named: Option<&KeyRef>,
    context: &EncryptionContext,
    algorithm: Option<EncryptionAlgorithm>,
) -> Result<Source<'a, 'b>, KmsError> {
    let ring = view.ring;
    let name = named.map(KeyRef::as_str);
    let named = match named {
        Some(name) => Some(ring.resolve(name.as_str(), NamedBy::Anything)?),
        None => None,
    };
    let (head, sealed) = BlobHead::parse(&blob.0).ok_or(KmsError::InvalidCiphertext)?;
    let key = match named {
        Some(key) if key.id == head.key => key,
        Some(key) => {
            view.touch(&key.arn);
            return Err(KmsError::IncorrectKey {
                message: "The key ID in the request does not identify a CMK that can perform \
                          this operation."
                    .to_owned(),
            });
        }
        None => ring.keys.get(&head.key).ok_or(KmsError::InvalidCiphertext)?,
    };
    let key = view.admit_key_as(key, name, context, source_action(view.op()))?;
    check_symmetric(key, algorithm, view.op())?;
    Ok(Source { key, head, blob: &blob.0, sealed })
}

pub(crate) fn open(
    source: &Source<'_, '_>,
    context: &EncryptionContext,
) -> Result<SecretBytes, KmsError> {
    let material = source.key.find_material(&source.head.material);
    let material = material.ok_or(KmsError::InvalidCiphertext)?;
    if material.revoked.is_some() {
        let (key, material) = (source.key.arn.to_string(), material.id);
        return Err(KmsError::MaterialRevoked { key, material });
    }
    material.held.open(&additional_data(source.blob, context), source.sealed)
}

pub(crate) fn admit_symmetric<'a>(
    view: &mut View<'a>,
    key: &KeyRef,
    context: &EncryptionContext,
    algorithm: Option<EncryptionAlgorithm>,
) -> Result<&'a KmsKey, KmsError> {
    let key = view.admit(key.as_str(), NamedBy::Anything, context)?;
    check_symmetric(key, algorithm, view.op())?;
    Ok(key)
}

/// Usage, then algorithm.
fn check_symmetric(
    key: &KmsKey,
    algorithm: Option<EncryptionAlgorithm>,
    op: Op,
) -> Result<(), KmsError> {
    check_usage(key, KeyUsage::EncryptDecrypt, op)?;
    let algorithm = algorithm.unwrap_or(EncryptionAlgorithm::SymmetricDefault);
    check_algorithm(key, key.spec.encryption_algorithms(key.usage), &algorithm, algorithm.as_str())
}

/// Seals under the current material.
pub(crate) fn seal(
    key: &KmsKey,
    context: &EncryptionContext,
    plain: &[u8],
    random: &dyn Random,
) -> Result<(CiphertextBlob, MaterialId), KmsError> {
    seal_at(key, context, plain, &random_array(random))
}

/// The same under a nonce that has just been drawn and goes nowhere else.
fn seal_at(
    key: &KmsKey,
    context: &EncryptionContext,
    plain: &[u8],
    nonce: &[u8; NONCE_LEN],
) -> Result<(CiphertextBlob, MaterialId), KmsError> {
    let material = current(key)?;
    let head = encode_head(&key.id, &material.id);
    let mut blob = head.clone();
    material.held.seal(&additional_data(&head, context), plain, nonce, &mut blob)?;
    Ok((CiphertextBlob(blob), material.id))
}

/// A fresh data key of up to 64 bytes, bare and sealed. It and its nonce are drawn from the generator
/// at once: a call of the kernel is the dearest part of all this.
pub(crate) fn seal_fresh(
    key: &KmsKey,
    context: &EncryptionContext,
    len: usize,
    random: &dyn Random,
) -> Result<(SecretBytes, CiphertextBlob, MaterialId), KmsError> {
    const DATA_KEY_LEN_MAX: usize = 64;
    let drawn = Secret::<{ NONCE_LEN + DATA_KEY_LEN_MAX }>::fill_with(|out| {
        let needed = out.get_mut(..len.min(DATA_KEY_LEN_MAX) + NONCE_LEN);
        random.fill(needed.unwrap_or_default());
    });
    let (nonce, rest) = drawn.expose().split_first_chunk().ok_or_else(|| internal("no nonce"))?;
    let plain = match rest.get(..len).filter(|_| len <= DATA_KEY_LEN_MAX) {
        Some(bytes) => SecretBytes::new(bytes.to_vec()),
        None => random_bytes(len, random),
    };
    let (blob, material) = seal_at(key, context, plain.expose(), nonce)?;
    Ok((plain, blob, material))
}

/// Fresh random bytes.
pub(crate) fn random_bytes(len: usize, random: &dyn Random) -> SecretBytes {
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    SecretBytes::new(bytes)
}
