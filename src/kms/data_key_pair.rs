//! GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext.

use crate::kms::audit::UseParams;
use crate::kms::check::Check;
use crate::kms::crypto_ops::dry;
use crate::kms::sides::{admit_symmetric, seal};
use crate::kms::spec::KeySpec;
use crate::kms::state::Op;
use crate::kms::store::generate_data_pair;
use crate::kms::{CiphertextBlob, EncryptionContext, KeyArn, KeyRef, Kms, KmsError, MaterialId};
use crate::secret::SecretBytes;

/// Request of `GenerateDataKeyPair` and `GenerateDataKeyPairWithoutPlaintext`.
#[derive(Clone, Debug)]
pub struct GenerateDataKeyPair {
    /// The symmetric key, by any of its names.
    pub key: KeyRef,
    /// Kind of the pair.
    pub spec: KeySpec,
    /// Bound to the sealed private half.
    pub context: EncryptionContext,
    /// Check everything and do nothing.
    pub dry_run: bool,
}

/// Answer of `GenerateDataKeyPair` and `GenerateDataKeyPairWithoutPlaintext`.
#[derive(Debug)]
pub struct GeneratedDataKeyPair {
    /// PKCS#8 in DER, of ML-KEM its seed (RFC 9935); `None` from `GenerateDataKeyPairWithoutPlaintext`.
    pub private_key: Option<SecretBytes>,
    /// The same, sealed.
    pub sealed: CiphertextBlob,
    /// SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    /// The key.
    pub key: KeyArn,
    /// Its material.
    pub material: MaterialId,
}

/// The specs of a data key pair, in the order of AWS' model. SM2 is refused by name.
pub const DATA_KEY_PAIR_SPECS: &[KeySpec] = &[
    KeySpec::Rsa2048,
    KeySpec::Rsa3072,
    KeySpec::Rsa4096,
    KeySpec::EccNistP256,
    KeySpec::EccNistP384,
    KeySpec::EccNistP521,
    KeySpec::EccSecgP256k1,
    KeySpec::Sm2,
    KeySpec::EccNistEdwards25519,
    KeySpec::MlKem512,
    KeySpec::MlKem768,
    KeySpec::MlKem1024,
];

impl Kms {
    /// `GenerateDataKeyPair`: a fresh pair, its private half bare and sealed.
    ///
    /// # Errors
    /// [`KmsError`], by request, key and state.
    pub fn generate_data_key_pair(
        &self,
        request: &GenerateDataKeyPair,
    ) -> Result<GeneratedDataKeyPair, KmsError> {
        self.pair(Op::GenerateDataKeyPair, request)
    }

    /// `GenerateDataKeyPairWithoutPlaintext`: a fresh pair, its private half sealed.
    ///
    /// # Errors
    /// [`KmsError`], by request, key and state.
    pub fn generate_data_key_pair_without_plaintext(
        &self,
        request: &GenerateDataKeyPair,
    ) -> Result<GeneratedDataKeyPair, KmsError> {
        let mut answer = self.pair(Op::GenerateDataKeyPairWithoutPlaintext, request)?;
        answer.private_key = None;
        Ok(answer)
    }

    fn pair(
        &self,
        op: Op,
        request: &GenerateDataKeyPair,
    ) -> Result<GeneratedDataKeyPair, KmsError> {
        let params = UseParams {
            context: Some(&request.context),
            details: [Some(("keyPairSpec", request.spec.as_str())), None],
            ..UseParams::of_key(request.key.as_str())
        };
        self.using(op, params, |view| {
            Check::default()
                .key("keyId", request.key.as_str())
                .context(&request.context)
                .finish()?;
            let key = admit_symmetric(view, &request.key, &request.context, None)?;
            if request.spec == KeySpec::Sm2 {
                return Err(KmsError::UnsupportedOperation {
                    message: format!("KeyPairSpec {} is not offered.", request.spec.as_str()),
                });
            }
            dry(request.dry_run)?;
            let random = &*view.kms.options.random;
            let pair = generate_data_pair(request.spec, random)?;
            let (sealed, material) = seal(key, &request.context, pair.private.expose(), random)?;
            Ok(GeneratedDataKeyPair {
                private_key: Some(pair.private),
                sealed,
                public_key: pair.public,
                key: key.arn.clone(),
                material,
            })
        })
    }
}
