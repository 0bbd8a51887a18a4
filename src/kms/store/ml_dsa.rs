//! ML-DSA private keys (FIPS 204), pure, with an empty context; and over a mu that the caller has made.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    KeyPair as _, ML_DSA_44, ML_DSA_44_SIGNING, ML_DSA_65, ML_DSA_65_SIGNING, ML_DSA_87,
    ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm, PqdsaVerificationAlgorithm,
    UnparsedPublicKey,
};
use ml_dsa::{ExpandedSigningKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Signature};
use rand::rngs::SysRng;

use crate::kms::KmsError;
use crate::kms::algorithms::MessageType;
use crate::kms::spec::KeySpec;
use crate::secret::Secret;

/// Bytes of PKCS#8 before the seed, which is the rest of it (RFC 9881, `seed`).
const PKCS8_HEAD_LEN: usize = 22;

#[derive(Debug)]
pub(super) struct MlDsaKey {
    spec: KeySpec,
    pair: PqdsaKeyPair,
    verification: &'static PqdsaVerificationAlgorithm,
    /// What the key was made from, if that was kept: mu is signed by a library that takes nothing else.
    seed: Option<Secret<32>>,
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
        let seed = pkcs8.get(PKCS8_HEAD_LEN..).and_then(|rest| <&[u8; 32]>::try_from(rest).ok());
        let seed = seed.map(|seed| Secret::fill_with(|out| out.copy_from_slice(seed)));
        Some((Self { spec, pair, verification, seed }, public))
    }

    pub(super) fn sign(&self, kind: MessageType, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        let signature = match kind {
            MessageType::ExternalMu => match self.spec {
                KeySpec::MlDsa44 => sign_mu::<MlDsa44>(self.seed.as_ref(), message),
                KeySpec::MlDsa65 => sign_mu::<MlDsa65>(self.seed.as_ref(), message),
                _ => sign_mu::<MlDsa87>(self.seed.as_ref(), message),
            },
            MessageType::Raw | MessageType::Digest => self.sign_message(message),
        };
        signature
            .ok_or_else(|| KmsError::Internal { message: "the ML-DSA signature failed".to_owned() })
    }

    fn sign_message(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.pair.algorithm().signature_len()];
        let len = self.pair.sign(message, &mut signature).ok()?;
        signature.truncate(len);
        Some(signature)
    }

    pub(super) fn is_valid(&self, kind: MessageType, message: &[u8], signature: &[u8]) -> bool {
        let is_valid = match kind {
            MessageType::ExternalMu => match self.spec {
                KeySpec::MlDsa44 => verify_mu::<MlDsa44>(self.seed.as_ref(), message, signature),
                KeySpec::MlDsa65 => verify_mu::<MlDsa65>(self.seed.as_ref(), message, signature),
                _ => verify_mu::<MlDsa87>(self.seed.as_ref(), message, signature),
            },
            MessageType::Raw | MessageType::Digest => {
                UnparsedPublicKey::new(self.verification, self.pair.public_key().as_ref())
                    .verify(message, signature)
                    .ok()
            }
        };
        is_valid.is_some()
    }
}

/// Signs mu (FIPS 204, algorithm 7 from line 7 on), hedged with fresh randomness.
fn sign_mu<P: MlDsaParams>(seed: Option<&Secret<32>>, mu: &[u8]) -> Option<Vec<u8>> {
    let signature =
        expand::<P>(seed?).sign_mu_randomized(&mu.try_into().ok()?, &mut SysRng).ok()?;
    Some(signature.encode().to_vec())
}

/// Checks a signature over mu (FIPS 204, algorithm 8 from line 8 on).
fn verify_mu<P: MlDsaParams>(seed: Option<&Secret<32>>, mu: &[u8], signature: &[u8]) -> Option<()> {
    let signature = Signature::<P>::decode(&signature.try_into().ok()?)?;
    expand::<P>(seed?).verifying_key().verify_mu(&mu.try_into().ok()?, &signature).then_some(())
}

fn expand<P: MlDsaParams>(seed: &Secret<32>) -> Box<ExpandedSigningKey<P>> {
    Box::new(ExpandedSigningKey::from_seed(seed.expose().into()))
}
