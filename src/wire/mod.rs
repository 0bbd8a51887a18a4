//! AWS' JSON shapes over [`crate::kms`], independent of HTTP: an operation by name and its input in,
//! its output or its exception out. What the fields mean is said in `kms/`.

mod aliases;
mod asymmetric;
mod crypto;
mod exception;
mod grants;
mod import;
mod input;
mod keys;
mod output;
mod rotation;
mod trail;

use serde_json::Value;

use crate::kms::{Kms, KmsError, Op, OpKind, Principal};
pub use crate::wire::exception::{error_body, error_of, read_error_body};
use crate::wire::input::{Input, InputError};
pub use crate::wire::trail::lookup_events;

/// Carries out an operation for a principal.
///
/// # Errors
/// [`KmsError`]; [`error_body`] has its JSON.
pub fn call(
    kms: &Kms,
    principal: &Principal,
    operation: &str,
    input: &Value,
) -> Result<Value, KmsError> {
    // Neither the service's own acts nor those of others are operations of the API.
    let is_ours = |op: &Op| !op.is_own_act() && !op.is_of_owner() && !op.is_of_trail();
    let Some(op) = Op::parse(operation).filter(is_ours) else {
        return Err(KmsError::UnknownOperation { name: operation.to_owned() });
    };
    let kms = kms.caller(principal.clone());
    let outcome = check_grant_tokens(&kms, input).and_then(|()| dispatch(&kms, op, input));
    outcome.map_err(|failure| match failure {
        Failure::Input(error) => kms.record_refusal(op, error),
        Failure::Service(error) => error,
    })
}

/// Grants are in force at once, with or without their tokens; what is no token is refused.
fn check_grant_tokens(kms: &Kms, input: &Value) -> Result<(), Failure> {
    match Input::new(input)?.texts("GrantTokens")? {
        Some(tokens) => Ok(kms.check_grant_tokens(&tokens).map_err(InputError)?),
        None => Ok(()),
    }
}

/// Why a call failed, and with that, who has recorded it.
enum Failure {
    /// The input is no request: the service has not seen the call.
    Input(KmsError),
    /// The service refused the request, and has recorded that.
    Service(KmsError),
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Self::Input(error.0)
    }
}

impl From<KmsError> for Failure {
    fn from(error: KmsError) -> Self {
        Self::Service(error)
    }
}

type Answer = Result<Value, Failure>;

fn dispatch(kms: &Kms, op: Op, input: &Value) -> Answer {
    let input = &Input::new(input)?;
    match op {
        Op::CreateKey => keys::create_key(kms, input),
        Op::DescribeKey => keys::describe_key(kms, input),
        Op::ListKeys => keys::list_keys(kms, input),
        Op::UpdateKeyDescription => keys::update_key_description(kms, input),
        Op::EnableKey => keys::enable_key(kms, input),
        Op::DisableKey => keys::disable_key(kms, input),
        Op::ScheduleKeyDeletion => keys::schedule_key_deletion(kms, input),
        Op::CancelKeyDeletion => keys::cancel_key_deletion(kms, input),
        Op::ReplicateKey => keys::replicate_key(kms, input),
        Op::UpdatePrimaryRegion => keys::update_primary_region(kms, input),
        Op::TagResource => keys::tag_resource(kms, input),
        Op::UntagResource => keys::untag_resource(kms, input),
        Op::ListResourceTags => keys::list_resource_tags(kms, input),
        Op::GetKeyLastUsage => keys::get_key_last_usage(kms, input),
        Op::GetKeyPolicy => keys::get_key_policy(kms, input),
        Op::PutKeyPolicy => keys::put_key_policy(kms, input),
        Op::ListKeyPolicies => keys::list_key_policies(kms, input),
        Op::CreateAlias => aliases::create_alias(kms, input),
        Op::UpdateAlias => aliases::update_alias(kms, input),
        Op::DeleteAlias => aliases::delete_alias(kms, input),
        Op::ListAliases => aliases::list_aliases(kms, input),
        Op::Encrypt => crypto::encrypt(kms, input),
        Op::Decrypt => crypto::decrypt(kms, input),
        Op::ReEncrypt => crypto::re_encrypt(kms, input),
        Op::GenerateDataKey => crypto::generate_data_key(kms, input),
        Op::GenerateDataKeyWithoutPlaintext => crypto::generate_data_key_sealed(kms, input),
        Op::GenerateRandom => crypto::generate_random(kms, input),
        Op::GetPublicKey => asymmetric::get_public_key(kms, input),
        Op::Sign => asymmetric::sign(kms, input),
        Op::Verify => asymmetric::verify(kms, input),
        Op::GenerateMac => asymmetric::generate_mac(kms, input),
        Op::VerifyMac => asymmetric::verify_mac(kms, input),
        Op::DeriveSharedSecret => asymmetric::derive_shared_secret(kms, input),
        Op::Encapsulate => asymmetric::encapsulate(kms, input),
        Op::Decapsulate => asymmetric::decapsulate(kms, input),
        Op::GenerateDataKeyPair => asymmetric::generate_data_key_pair(kms, input),
        Op::GenerateDataKeyPairWithoutPlaintext => {
            asymmetric::generate_data_key_pair_sealed(kms, input)
        }
        Op::CreateGrant => grants::create_grant(kms, input),
        Op::ListGrants => grants::list_grants(kms, input),
        Op::ListRetirableGrants => grants::list_retirable_grants(kms, input),
        Op::RetireGrant => grants::retire_grant(kms, input),
        Op::RevokeGrant => grants::revoke_grant(kms, input),
        Op::GetParametersForImport => import::get_parameters_for_import(kms, input),
        Op::ImportKeyMaterial => import::import_key_material(kms, input),
        Op::DeleteImportedKeyMaterial => import::delete_imported_key_material(kms, input),
        Op::EnableKeyRotation => rotation::enable_key_rotation(kms, input),
        Op::DisableKeyRotation => rotation::disable_key_rotation(kms, input),
        Op::GetKeyRotationStatus => rotation::get_key_rotation_status(kms, input),
        Op::RotateKeyOnDemand => rotation::rotate_key_on_demand(kms, input),
        Op::ListKeyRotations => rotation::list_key_rotations(kms, input),
        Op::ChangeSlots
        | Op::ConnectCustomKeyStore
        | Op::CreateCustomKeyStore
        | Op::DeleteCustomKeyStore
        | Op::DeleteKey
        | Op::DeletionDue
        | Op::DescribeCustomKeyStores
        | Op::DestroyMaterial
        | Op::DisconnectCustomKeyStore
        | Op::ExportReplica
        | Op::ForgetVolume
        | Op::ImportReplica
        | Op::LookupEvents
        | Op::NoteTime
        | Op::ReportUsage
        | Op::RequestReplica
        | Op::RestoreMaterial
        | Op::RevokeMaterial
        | Op::RotateKey
        | Op::SynchronizeMultiRegionKey
        | Op::UpdateCustomKeyStore => {
            Err(InputError::unsupported(&format!("{} is not offered yet.", op.name())).into())
        }
    }
}

/// The account whose key is asked for, if it is not the caller's and the operation may cross accounts
/// (AWS: those that have to with using keys and granting their use). The key's policy has to let the
/// caller in.
pub fn other_account<'a>(operation: &str, input: &'a Value, own: &str) -> Option<&'a str> {
    let crosses = match Op::parse(operation)? {
        Op::CreateGrant
        | Op::DescribeKey
        | Op::GetKeyRotationStatus
        | Op::GetPublicKey
        | Op::ListGrants
        | Op::RetireGrant
        | Op::RevokeGrant => true,
        op => op.kind() == OpKind::Use && op != Op::GenerateRandom,
    };
    let name = ["KeyId", "DestinationKeyId"].iter().find_map(|name| input.get(name)?.as_str())?;
    let account = name.strip_prefix("arn:aws:kms:")?.split(':').nth(1)?;
    (crosses && account != own).then_some(account)
}
