//! ML-DSA private keys (FIPS 204), pure, with an empty context.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    KeyPair as _, ML_DSA_44, ML_DSA_44_SIGNING, ML_DSA_65, ML_DSA_65_SIGNING, ML_DSA_87,
    ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm, PqdsaVerificationAlgorithm,
    UnparsedPublicKey,
};

use crate::kms::KmsError;
use crate::kms::spec::KeySpec;

#[derive(Debug)]
pub(super) struct MlDsaKey {
    pair: PqdsaKeyPair,
    verification: &'static PqdsaVerificationAlgorithm,
}

pub(super) fn scheme(
    spec: KeySpec,
) -> Option<(&'static PqdsaSigningAlgorithm, &'static PqdsaVerificationAlgorithm)> {
    Some(match spec {
        KeySpec::MlDsa44 => (&ML_DSA_44_SIGNING, &ML_DSA_44),
        KeySpec::MlDsa65 => (&ML_DSA_65_SIGNING, &ML_DSA_65),
        KeySpec::MlDsa87 => (&ML_DSA_87_SIGNING, &ML_DSA_87),
        _ => return None,
    })
}

impl MlDsaKey {
    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Option<(Self, Vec<u8>)> {
        let (signing, verification) = scheme(spec)?;
        let pair = PqdsaKeyPair::from_pkcs8(signing, pkcs8).ok()?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
        let public = public.as_ref().to_vec();
        Some((Self { pair, verification }, public))
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        let mut signature = vec![0; self.pair.algorithm().signature_len()];
        let len = self.pair.sign(message, &mut signature).map_err(|_| KmsError::Internal {
            message: "the ML-DSA signature failed".to_owned(),
        })?;
        signature.truncate(len);
        Ok(signature)
    }

    pub(super) fn is_valid(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.verification, self.pair.public_key().as_ref())
            .verify(message, signature)
            .is_ok()
    }
}
