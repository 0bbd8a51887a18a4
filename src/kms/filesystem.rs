//! What the filesystem asks of the service: four questions, asked as the service
//! `fs.kmsfs.internal` whoever the handle belongs to.

use crate::kms::audit::UseParams;
use crate::kms::ring::{KeyRing, NamedBy};
use crate::kms::sides::{admit_blob, admit_symmetric, open, seal_fresh};
use crate::kms::spec::DataKeySpec;
use crate::kms::state::Op;
use crate::kms::{
    CiphertextBlob, DataKey, DryRun, EncryptionContext, GeneratedKey, KeyArn, KeyDescription,
    KeyRef, KeyService, Kms, KmsError, ReEncrypt, Wrapped,
};
use crate::secret::{Secret, SecretBytes};

/// Bytes of a file's data key.
const DATA_KEY_LEN: usize = 32;

impl KeyRing {
    /// The key that a file's header names, or the related one of this Region: what any Region of a
    /// multi-Region key sealed, every other opens. `None` if the name is to be taken as it is.
    fn related_here(&self, name: &KeyRef) -> Option<KeyRef> {
        let named = Some(name.as_str()).filter(|name| name.contains(":key/mrk-"));
        let arn = named.and_then(KeyArn::parse).filter(|arn| arn.region() != self.region)?;
        let own = self.keys.get(&arn.key_id())?;
        own.arn.is_related(arn.as_str()).then(|| KeyRef::from(&own.arn))
    }
}

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
            let related = view.ring.related_here(key);
            let key = related.as_ref().unwrap_or(key);
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
