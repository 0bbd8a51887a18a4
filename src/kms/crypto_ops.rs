//! Encrypt, Decrypt, ReEncrypt, GenerateDataKey and GenerateRandom. The filesystem's way to them
//! is in `filesystem`.
//!
//! A symmetric key names itself in its blobs; an RSA key's ciphertext names nothing, so that key and
//! algorithm have to be said.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kms::audit::UseParams;
use crate::kms::check::{BLOB_LEN_MAX, Check, NUMBER_OF_BYTES_MAX, PLAINTEXT_LEN_MAX};
use crate::kms::service::internal;
use crate::kms::sides::{
    admit_opener, admit_source, admit_symmetric, admit_target, compare_sides, random_bytes,
    seal_fresh,
};
use crate::kms::spec::{DataKeySpec, EncryptionAlgorithm};
use crate::kms::state::Op;
use crate::kms::{CiphertextBlob, EncryptionContext, KeyArn, KeyRef, Kms, KmsError, MaterialId};
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

/// Whether a request that names a ciphertext is only to be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DryRun {
    /// It is carried out.
    #[default]
    Off,
    /// Everything is checked, and nothing done.
    On,
    /// The same, but for the ciphertext, which need not be there: may the caller do this?
    IgnoreCiphertext,
}

impl DryRun {
    fn needs_blob(self) -> bool {
        self != Self::IgnoreCiphertext
    }
}

/// Request of `Decrypt`.
#[derive(Clone, Debug)]
pub struct Decrypt {
    /// What `Encrypt`, `ReEncrypt` or `GenerateDataKey` gave; empty if it is to be ignored.
    pub blob: CiphertextBlob,
    /// The key that must have made it, by any of its names; the blob names its key anyway.
    pub key: Option<KeyRef>,
    /// As it was bound.
    pub context: EncryptionContext,
    /// How; `SYMMETRIC_DEFAULT` if it is not said.
    pub algorithm: Option<EncryptionAlgorithm>,
    /// Whether it is only to be checked.
    pub dry_run: DryRun,
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
    /// The blob to open; empty if it is to be ignored.
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
    /// Whether it is only to be checked.
    pub dry_run: DryRun,
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
        let params = UseParams {
            context: Some(&request.context),
            details: [algorithm_detail(request.algorithm), None],
            ..UseParams::of_key(request.key.as_str())
        };
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
        let params = UseParams {
            key: request.key.as_ref().map(KeyRef::as_str),
            context: Some(&request.context),
            details: [algorithm_detail(request.algorithm), None],
            ..UseParams::default()
        };
        self.using(Op::Decrypt, params, |view| {
            Check::default()
                .key("keyId", request.key.as_ref().map_or("-", KeyRef::as_str))
                .bytes("ciphertextBlob", blob_len(&request.blob, request.dry_run), 1, BLOB_LEN_MAX)
                .context(&request.context)
                .finish()?;
            if !request.dry_run.needs_blob() {
                let key = named(request.key.as_ref(), "KeyId")?;
                admit_opener(view, key, &request.context, request.algorithm)?;
                return Err(KmsError::DryRunOperation);
            }
            let source = admit_source(
                view,
                &request.blob,
                request.key.as_ref(),
                &request.context,
                request.algorithm,
            )?;
            let plaintext = source.open(&request.context)?;
            dry(request.dry_run == DryRun::On)?;
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
        let params = UseParams {
            key: request.source_key.as_ref().map(KeyRef::as_str),
            context: Some(&request.source_context),
            destination_context: Some(&request.destination_context),
            destination_key: Some(request.destination_key.as_str()),
            details: [
                algorithm_named("sourceEncryptionAlgorithm", request.source_algorithm),
                algorithm_named("destinationEncryptionAlgorithm", request.destination_algorithm),
            ],
            ..UseParams::default()
        };
        self.using(Op::ReEncrypt, params, |view| {
            Check::default()
                .key("sourceKeyId", request.source_key.as_ref().map_or("-", KeyRef::as_str))
                .key("destinationKeyId", request.destination_key.as_str())
                .bytes("ciphertextBlob", blob_len(&request.blob, request.dry_run), 1, BLOB_LEN_MAX)
                .context(&request.source_context)
                .context(&request.destination_context)
                .finish()?;
            let source_key = request.source_key.as_ref();
            compare_sides(view, &request.blob, source_key, &request.destination_key);
            let (context, algorithm) = (&request.source_context, request.source_algorithm);
            let source = match request.dry_run.needs_blob() {
                true => Some(admit_source(view, &request.blob, source_key, context, algorithm)?),
                false => {
                    admit_opener(view, named(source_key, "SourceKeyId")?, context, algorithm)?;
                    None
                }
            };
            let target = admit_target(
                view,
                &request.destination_key,
                &request.destination_context,
                request.destination_algorithm,
            )?;
            let Some(source) = source else { return Err(KmsError::DryRunOperation) };
            let plaintext = source.open(context)?;
            target.check_len(plaintext.len())?;
            dry(request.dry_run == DryRun::On)?;
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
        let params = UseParams {
            context: Some(&request.context),
            details: [detail, None],
            number_of_bytes,
            ..UseParams::of_key(request.key.as_str())
        };
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
            let (plaintext, blob, material) = seal_fresh(key, &request.context, len, random)?;
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
        self.using(Op::GenerateRandom, params, |view| {
            Check::default()
                .number("numberOfBytes", number_of_bytes, 1, NUMBER_OF_BYTES_MAX)
                .finish()?;
            view.allow_everywhere()?;
            let len = usize::try_from(number_of_bytes).map_err(internal)?;
            Ok(random_bytes(len, &*view.kms.options.random))
        })
    }
}

/// Bytes of a blob that must be there, if it must.
fn blob_len(blob: &CiphertextBlob, dry_run: DryRun) -> usize {
    if dry_run.needs_blob() { blob.0.len() } else { 1 }
}

/// The key of a ciphertext that is ignored: nothing else names it.
fn named<'a>(key: Option<&'a KeyRef>, member: &str) -> Result<&'a KeyRef, KmsError> {
    key.ok_or_else(|| KmsError::Validation {
        message: format!("{member} is required when DryRunModifiers is IGNORE_CIPHERTEXT."),
    })
}

pub(crate) fn dry(is_dry_run: bool) -> Result<(), KmsError> {
    if is_dry_run { Err(KmsError::DryRunOperation) } else { Ok(()) }
}

fn algorithm_detail(
    algorithm: Option<EncryptionAlgorithm>,
) -> Option<(&'static str, &'static str)> {
    algorithm_named("encryptionAlgorithm", algorithm)
}

fn algorithm_named(
    member: &'static str,
    algorithm: Option<EncryptionAlgorithm>,
) -> Option<(&'static str, &'static str)> {
    algorithm.map(|algorithm| (member, algorithm.as_str()))
}

/// The text of a secret that is the very answer to a call, for who sends it on: base64.
pub fn answer_to_base64(secret: &SecretBytes) -> String {
    STANDARD.encode(secret.expose())
}
