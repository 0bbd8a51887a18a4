//! Encrypt, Decrypt, ReEncrypt, GenerateDataKey and GenerateRandom. The filesystem's way to them
//! is in `filesystem`.
//!
//! A symmetric key names itself in its blobs; an RSA key's ciphertext names nothing, so that key and
//! algorithm have to be said.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kms::algorithms::{Family, check_algorithm, check_usage};
use crate::kms::audit::{Params, UseParams};
use crate::kms::blob::BlobHead;
use crate::kms::check::{BLOB_LEN_MAX, Check, NUMBER_OF_BYTES_MAX, PLAINTEXT_LEN_MAX};
use crate::kms::key::{KmsKey, Material};
use crate::kms::ring::NamedBy;
use crate::kms::service::internal;
use crate::kms::spec::{DataKeySpec, EncryptionAlgorithm, KeySpec, KeyUsage};
use crate::kms::state::Op;
use crate::kms::view::View;
use crate::kms::{CiphertextBlob, EncryptionContext, KeyArn, KeyRef, Kms, KmsError, MaterialId};
use crate::random::Random;
use crate::secret::SecretBytes;

/// Request of `Encrypt`.
#[derive(Debug)]
pub struct Encrypt {
    /// The key, by any of its names.
    pub key: KeyRef,
    /// 1 to 4096 bytes.
    pub plaintext: SecretBytes,
    /// Bound to the blob.
    pub context: EncryptionContext,
    /// How; `SYMMETRIC_DEFAULT` if it is not said.
    pub algorithm: Option<EncryptionAlgorithm>,
    /// Check everything and do nothing.
    pub dry_run: bool,
}

/// Answer of `Encrypt`.
#[derive(Clone, Debug)]
pub struct Encrypted {
    /// The sealed plaintext.
    pub blob: CiphertextBlob,
    /// The key.
    pub key: KeyArn,
    /// How it was sealed.
    pub algorithm: EncryptionAlgorithm,
}

/// Request of `Decrypt`.
#[derive(Clone, Debug)]
pub struct Decrypt {
    /// What `Encrypt`, `ReEncrypt` or `GenerateDataKey` gave.
    pub blob: CiphertextBlob,
    /// The key that must have made it, by any of its names; the blob names its key anyway.
    pub key: Option<KeyRef>,
    /// As it was bound.
    pub context: EncryptionContext,
    /// How; `SYMMETRIC_DEFAULT` if it is not said.
    pub algorithm: Option<EncryptionAlgorithm>,
    /// Check everything and do nothing.
    pub dry_run: bool,
}

/// Answer of `Decrypt`.
#[derive(Debug)]
pub struct Decrypted {
    /// The opened blob.
    pub plaintext: SecretBytes,
    /// The key.
    pub key: KeyArn,
    /// The material; an RSA key's is not told.
    pub material: Option<MaterialId>,
    /// How it was sealed.
    pub algorithm: EncryptionAlgorithm,
}

/// Request of `ReEncrypt`.
#[derive(Clone, Debug)]
pub struct ReEncrypt {
    /// The blob to open.
    pub blob: CiphertextBlob,
    /// The key that must have made it.
    pub source_key: Option<KeyRef>,
    /// As it was bound.
    pub source_context: EncryptionContext,
    /// How it was sealed.
    pub source_algorithm: Option<EncryptionAlgorithm>,
    /// The key of the new blob.
    pub destination_key: KeyRef,
    /// Bound to the new blob.
    pub destination_context: EncryptionContext,
    /// How to seal.
    pub destination_algorithm: Option<EncryptionAlgorithm>,
    /// Check everything and do nothing.
    pub dry_run: bool,
}

/// Answer of `ReEncrypt`.
#[derive(Clone, Debug)]
pub struct ReEncrypted {
    /// The new blob.
    pub blob: CiphertextBlob,
    /// Its key.
    pub key: KeyArn,
    /// Its material; an RSA key's is not told.
    pub material: Option<MaterialId>,
    /// How it is sealed.
    pub algorithm: EncryptionAlgorithm,
    /// The key of the old blob.
    pub source_key: KeyArn,
    /// The material of the old blob; an RSA key's is not told.
    pub source_material: Option<MaterialId>,
    /// How the old blob was sealed.
    pub source_algorithm: EncryptionAlgorithm,
}

/// Request of `GenerateDataKey` and `GenerateDataKeyWithoutPlaintext`.
#[derive(Clone, Debug)]
pub struct GenerateDataKey {
    /// The key, by any of its names.
    pub key: KeyRef,
    /// How long.
    pub len: DataKeyLen,
    /// Bound to the blob.
    pub context: EncryptionContext,
    /// Check everything and do nothing.
    pub dry_run: bool,
}

/// Length of a data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKeyLen {
    /// By the name of a cipher.
    Spec(DataKeySpec),
    /// In bytes, 1 to 1024.
    Bytes(u32),
}

/// Answer of `GenerateDataKey` and `GenerateDataKeyWithoutPlaintext`.
#[derive(Debug)]
pub struct GeneratedDataKey {
    /// The bare data key; `None` from `GenerateDataKeyWithoutPlaintext`.
    pub plaintext: Option<SecretBytes>,
    /// The data key, sealed.
    pub blob: CiphertextBlob,
    /// The key.
    pub key: KeyArn,
    /// The material.
    pub material: MaterialId,
}

impl Kms {
    /// `Encrypt`: seals up to 4 KiB under a key's current material.
    ///
    /// # Errors
    /// [`KmsError`], by request, key and state.
    pub fn encrypt(&self, request: &Encrypt) -> Result<Encrypted, KmsError> {
        let params = Params::Use(UseParams {
            key: Some(request.key.as_str().to_owned()),
            context: request.context.clone(),
            detail: algorithm_detail(request.algorithm),
            ..UseParams::default()
        });
        self.using(Op::Encrypt, params, |view| {
            Check::default()
                .key("keyId", request.key.as_str())
                .bytes("plaintext", request.plaintext.len(), 1, PLAINTEXT_LEN_MAX)
                .context(&request.context)
                .finish()?;
            let target = admit_target(view, &request.key, &request.context, request.algorithm)?;
            target.check_len(request.plaintext.len())?;
            dry(request.dry_run)?;
            let random = &*view.kms.options.random;
            let (blob, _) = target.seal(&request.context, request.plaintext.expose(), random)?;
            Ok(Encrypted { blob, key: target.key.arn.clone(), algorithm: target.algorithm })
        })
    }

    /// `Decrypt`: opens a blob. It names its key itself.
    ///
    /// # Errors
    /// [`KmsError::InvalidCiphertext`] for whatever is wrong with the blob, and [`KmsError`] by
    /// request, key and state.
    pub fn decrypt(&self, request: &Decrypt) -> Result<Decrypted, KmsError> {
        let params = Params::Use(UseParams {
            key: request.key.as_ref().map(|key| key.as_str().to_owned()),
            context: request.context.clone(),
            detail: algorithm_detail(request.algorithm),
            ..UseParams::default()
        });
        self.using(Op::Decrypt, params, |view| {
            Check::default()
                .key("keyId", request.key.as_ref().map_or("-", KeyRef::as_str))
                .bytes("ciphertextBlob", request.blob.0.len(), 1, BLOB_LEN_MAX)
                .context(&request.context)
                .finish()?;
            let source = admit_source(
                view,
                &request.blob,
                request.key.as_ref(),
                &request.context,
                request.algorithm,
            )?;
            let plaintext = source.open(&request.context)?;
            dry(request.dry_run)?;
            Ok(Decrypted {
                plaintext,
                key: source.key().arn.clone(),
                material: source.material(),
                algorithm: source.algorithm(),
            })
        })
    }

    /// `ReEncrypt`: opens a blob and seals what was in it anew, without showing it to the caller.
    ///
    /// # Errors
    /// Those of [`Self::decrypt`] for the blob and of [`Self::encrypt`] for the new key.
    pub fn re_encrypt(&self, request: &ReEncrypt) -> Result<ReEncrypted, KmsError> {
        let params = Params::Use(UseParams {
            key: request.source_key.as_ref().map(|key| key.as_str().to_owned()),
            context: request.source_context.clone(),
            destination_context: Some(request.destination_context.clone()),
            destination_key: Some(request.destination_key.as_str().to_owned()),
            ..UseParams::default()
        });
        self.using(Op::ReEncrypt, params, |view| {
            Check::default()
                .key("sourceKeyId", request.source_key.as_ref().map_or("-", KeyRef::as_str))
                .key("destinationKeyId", request.destination_key.as_str())
                .bytes("ciphertextBlob", request.blob.0.len(), 1, BLOB_LEN_MAX)
                .context(&request.source_context)
                .context(&request.destination_context)
                .finish()?;
            let source = admit_source(
                view,
                &request.blob,
                request.source_key.as_ref(),
                &request.source_context,
                request.source_algorithm,
            )?;
            let target = admit_target(
                view,
                &request.destination_key,
                &request.destination_context,
                request.destination_algorithm,
            )?;
            let plaintext = source.open(&request.source_context)?;
            target.check_len(plaintext.len())?;
            dry(request.dry_run)?;
            let random = &*view.kms.options.random;
            let (blob, material) =
                target.seal(&request.destination_context, plaintext.expose(), random)?;
            Ok(ReEncrypted {
                blob,
                key: target.key.arn.clone(),
                material,
                algorithm: target.algorithm,
                source_key: source.key().arn.clone(),
                source_material: source.material(),
                source_algorithm: source.algorithm(),
            })
        })
    }

    /// `GenerateDataKey`: a fresh data key, bare and sealed.
    ///
    /// # Errors
    /// [`KmsError`], by request, key and state.
    pub fn generate_data_key(
        &self,
        request: &GenerateDataKey,
    ) -> Result<GeneratedDataKey, KmsError> {
        self.generate(Op::GenerateDataKey, request)
    }

    /// `GenerateDataKeyWithoutPlaintext`: a fresh data key, sealed.
    ///
    /// # Errors
    /// [`KmsError`], by request, key and state.
    pub fn generate_data_key_without_plaintext(
        &self,
        request: &GenerateDataKey,
    ) -> Result<GeneratedDataKey, KmsError> {
        let mut answer = self.generate(Op::GenerateDataKeyWithoutPlaintext, request)?;
        answer.plaintext = None;
        Ok(answer)
    }

    fn generate(&self, op: Op, request: &GenerateDataKey) -> Result<GeneratedDataKey, KmsError> {
        let (detail, number_of_bytes) = match request.len {
            DataKeyLen::Spec(spec) => (Some(("keySpec", spec.as_str())), None),
            DataKeyLen::Bytes(number) => (None, Some(number)),
        };
        let params = Params::Use(UseParams {
            key: Some(request.key.as_str().to_owned()),
            context: request.context.clone(),
            detail,
            number_of_bytes,
            ..UseParams::default()
        });
        self.using(op, params, |view| {
            let number = number_of_bytes.unwrap_or(1);
            Check::default()
                .key("keyId", request.key.as_str())
                .number("numberOfBytes", number, 1, NUMBER_OF_BYTES_MAX)
                .context(&request.context)
                .finish()?;
            let key = admit_symmetric(view, &request.key, &request.context, None)?;
            dry(request.dry_run)?;
            let len = match request.len {
                DataKeyLen::Spec(spec) => spec.byte_len(),
                DataKeyLen::Bytes(number) => usize::try_from(number).map_err(internal)?,
            };
            let random = &*view.kms.options.random;
            let plaintext = random_bytes(len, random);
            let (blob, material) = seal(key, &request.context, plaintext.expose(), random)?;
            Ok(GeneratedDataKey {
                plaintext: Some(plaintext),
                blob,
                key: key.arn.clone(),
                material,
            })
        })
    }

    /// `GenerateRandom`: 1 to 1024 random bytes.
    ///
    /// # Errors
    /// [`KmsError::Validation`] if the number is out of range.
    pub fn generate_random(&self, number_of_bytes: u32) -> Result<SecretBytes, KmsError> {
        let params = UseParams { number_of_bytes: Some(number_of_bytes), ..UseParams::default() };
        self.using(Op::GenerateRandom, Params::Use(params), |view| {
            Check::default()
                .number("numberOfBytes", number_of_bytes, 1, NUMBER_OF_BYTES_MAX)
                .finish()?;
            let len = usize::try_from(number_of_bytes).map_err(internal)?;
            Ok(random_bytes(len, &*view.kms.options.random))
        })
    }
}

/// What is to be opened: a blob of ours, or a ciphertext of an RSA key.
enum Opening<'a, 'b> {
    Blob(Source<'a, 'b>),
    Rsa { key: &'a KmsKey, algorithm: EncryptionAlgorithm, sealed: &'b [u8] },
}

impl<'a> Opening<'a, '_> {
    fn key(&self) -> &'a KmsKey {
        match self {
            Self::Blob(source) => source.key,
            Self::Rsa { key, .. } => key,
        }
    }

    fn material(&self) -> Option<MaterialId> {
        match self {
            Self::Blob(source) => Some(source.head.material),
            Self::Rsa { .. } => None,
        }
    }

    fn algorithm(&self) -> EncryptionAlgorithm {
        match self {
            Self::Blob(_) => EncryptionAlgorithm::SymmetricDefault,
            Self::Rsa { algorithm, .. } => *algorithm,
        }
    }

    fn open(&self, context: &EncryptionContext) -> Result<SecretBytes, KmsError> {
        match self {
            Self::Blob(source) => open(source, context),
            Self::Rsa { key, algorithm, sealed } => current(key)?.held.decrypt(*algorithm, sealed),
        }
    }
}

/// Finds the key of what is to be opened and checks everything but the bytes.
fn admit_source<'a, 'b>(
    view: &mut View<'a>,
    blob: &'b CiphertextBlob,
    named: Option<&KeyRef>,
    context: &EncryptionContext,
    algorithm: Option<EncryptionAlgorithm>,
) -> Result<Opening<'a, 'b>, KmsError> {
    let wanted = algorithm.unwrap_or(EncryptionAlgorithm::SymmetricDefault);
    let rsa = match named {
        Some(name) => view.ring.resolve(name.as_str(), NamedBy::Anything)?.spec.family(),
        None if wanted == EncryptionAlgorithm::SymmetricDefault => Family::Symmetric,
        None => {
            let message = "KeyId is required to decrypt under an asymmetric key.".to_owned();
            return Err(KmsError::Validation { message });
        }
    };
    match named {
        Some(name) if rsa != Family::Symmetric => {
            let key = view.admit(name.as_str(), NamedBy::Anything, context)?;
            check_rsa(key, context, wanted, view.op())?;
            Ok(Opening::Rsa { key, algorithm: wanted, sealed: &blob.0 })
        }
        _ => admit_blob(view, blob, named, context, algorithm).map(Opening::Blob),
    }
}

/// A key to seal under.
struct Target<'a> {
    key: &'a KmsKey,
    algorithm: EncryptionAlgorithm,
}

impl Target<'_> {
    /// Refuses a plaintext that RSA-OAEP has no room for (RFC 8017, section 7.1.1).
    fn check_len(&self, len: usize) -> Result<(), KmsError> {
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

    fn seal(
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
fn admit_target<'a>(
    view: &mut View<'a>,
    key: &KeyRef,
    context: &EncryptionContext,
    algorithm: Option<EncryptionAlgorithm>,
) -> Result<Target<'a>, KmsError> {
    let key = view.admit(key.as_str(), NamedBy::Anything, context)?;
    let algorithm = algorithm.unwrap_or(EncryptionAlgorithm::SymmetricDefault);
    match key.spec.family() {
        Family::Symmetric => check_symmetric(key, Some(algorithm), view.op())?,
        _ => check_rsa(key, context, algorithm, view.op())?,
    }
    Ok(Target { key, algorithm })
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
    let named = match named {
        Some(name) => Some(ring.resolve(name.as_str(), NamedBy::Anything)?),
        None => None,
    };
    let (head, sealed) = BlobHead::parse(&blob.0).ok_or(KmsError::InvalidCiphertext)?;
    let key = match named {
        Some(key) if key.id == head.key => key,
        Some(key) => {
            view.touch(key.arn.clone());
            return Err(KmsError::IncorrectKey {
                message: "The key ID in the request does not identify a CMK that can perform \
                          this operation."
                    .to_owned(),
            });
        }
        None => ring.keys.get(&head.key).ok_or(KmsError::InvalidCiphertext)?,
    };
    let key = view.admit_key(key, context)?;
    check_symmetric(key, algorithm, view.op())?;
    Ok(Source { key, head, sealed })
}

pub(crate) fn open(
    source: &Source<'_, '_>,
    context: &EncryptionContext,
) -> Result<SecretBytes, KmsError> {
    let material = source.key.find_material(&source.head.material);
    let material = material.ok_or(KmsError::InvalidCiphertext)?;
    material.held.open(&source.head.additional_data(context), source.sealed)
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
    let material = current(key)?;
    let head = BlobHead { key: key.id.clone(), material: material.id };
    let sealed = material.held.seal(&head.additional_data(context), plain, random)?;
    let mut blob = head.encode();
    blob.extend_from_slice(&sealed);
    Ok((CiphertextBlob(blob), material.id))
}

fn random_bytes(len: usize, random: &dyn Random) -> SecretBytes {
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    SecretBytes::new(bytes)
}

pub(crate) fn dry(is_dry_run: bool) -> Result<(), KmsError> {
    if is_dry_run { Err(KmsError::DryRunOperation) } else { Ok(()) }
}

fn algorithm_detail(
    algorithm: Option<EncryptionAlgorithm>,
) -> Option<(&'static str, &'static str)> {
    algorithm.map(|algorithm| ("encryptionAlgorithm", algorithm.as_str()))
}

/// The text of a secret that is the very answer to a call, for who sends it on: base64.
pub fn answer_to_base64(secret: &SecretBytes) -> String {
    STANDARD.encode(secret.expose())
}
