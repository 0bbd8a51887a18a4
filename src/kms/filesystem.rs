//! What the filesystem asks of the service: four questions, asked as the service
//! `fs.kmsfs.internal` whoever the handle belongs to.

use crate::kms::audit::UseParams;
use crate::kms::ring::NamedBy;
use crate::kms::sides::{admit_blob, admit_symmetric, open, seal_fresh};
use crate::kms::spec::DataKeySpec;
use crate::kms::state::Op;
use crate::kms::{
    CiphertextBlob, DataKey, DryRun, EncryptionContext, GeneratedKey, KeyDescription, KeyRef,
    KeyService, Kms, KmsError, ReEncrypt, Wrapped,
};
use crate::secret::{Secret, SecretBytes};

/// Bytes of a file's data key.
const DATA_KEY_LEN: usize = 32;

fn data_key(plain: &SecretBytes) -> Result<DataKey, KmsError> {
    let bytes = <&[u8; DATA_KEY_LEN]>::try_from(plain.expose());
    let bytes = bytes.map_err(|_| KmsError::InvalidCiphertext)?;
    Ok(DataKey(Secret::fill_with(|out| out.copy_from_slice(bytes))))
}

impl KeyService for Kms {
    fn generate_data_key(
        &self,
        key: &KeyRef,
        context: &EncryptionContext,
    ) -> Result<GeneratedKey, KmsError> {
        self.ensure_filesystem_key(key)?;
        let params = UseParams {
            context: Some(context),
            details: [Some(("keySpec", DataKeySpec::Aes256.as_str())), None],
            ..UseParams::of_key(key.as_str())
        };
        self.as_filesystem().using(Op::GenerateDataKey, params, |view| {
            let key = admit_symmetric(view, key, context, None)?;
            let random = &*view.kms.options.random;
            let (plain, blob, material) = seal_fresh(key, context, DATA_KEY_LEN, random)?;
            let plain = data_key(&plain)?;
            let wrapped = Wrapped { blob, key_arn: key.arn.clone(), material: Some(material) };
            Ok(GeneratedKey { plain, wrapped })
        })
    }

    fn decrypt(
        &self,
        key: &KeyRef,
        blob: &CiphertextBlob,
        context: &EncryptionContext,
    ) -> Result<DataKey, KmsError> {
        let params = UseParams { context: Some(context), ..UseParams::of_key(key.as_str()) };
        self.as_filesystem().using(Op::Decrypt, params, |view| {
            let source = admit_blob(view, blob, Some(key), context, None)?;
            data_key(&open(&source, context)?)
        })
    }

    fn re_encrypt(
        &self,
        blob: &CiphertextBlob,
        key: &KeyRef,
        context: &EncryptionContext,
    ) -> Result<Wrapped, KmsError> {
        let answer = Self::re_encrypt(
            &self.as_filesystem(),
            &ReEncrypt {
                blob: blob.clone(),
                source_key: None,
                source_context: context.clone(),
                source_algorithm: None,
                destination_key: key.clone(),
                destination_context: context.clone(),
                destination_algorithm: None,
                dry_run: DryRun::Off,
            },
        )?;
        Ok(Wrapped { blob: answer.blob, key_arn: answer.key, material: answer.material })
    }

    fn describe_key(&self, key: &KeyRef) -> Result<KeyDescription, KmsError> {
        self.ensure_filesystem_key(key)?;
        // Asked at every open of a file: a look at the ring, and no call of the API that would be
        // recorded.
        let find = || {
            let ring = self.core.ring();
            ring.resolve(key.as_str(), NamedBy::Anything).map(|key| KeyDescription {
                arn: key.arn.clone(),
                state: key.state,
                current_material: key.current_material().map(|material| material.id),
            })
        };
        match find() {
            Err(_) if self.refresh()? => find(),
            outcome => outcome,
        }
    }
}
