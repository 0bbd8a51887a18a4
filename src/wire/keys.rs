//! Keys: making, showing, states, deletion, tags, policies.

use serde_json::{Value, json};

use crate::kms::{CreateKey, KeySpec, KeyUsage, Kms, Origin, Page, ReplicateKey, Tag};
use crate::wire::Answer;
use crate::wire::input::{Input, InputError, required};
use crate::wire::output::{empty, metadata, output, page, time};

pub(super) fn create_key(kms: &Kms, input: &Input<'_>) -> Answer {
    let spec = input.choice("KeySpec", KeySpec::ALL, KeySpec::as_str)?;
    let old_spec = input.choice("CustomerMasterKeySpec", KeySpec::ALL, KeySpec::as_str)?;
    if spec.is_some() && old_spec.is_some() {
        let message = "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. \
                       CustomerMasterKeySpec is deprecated.";
        return Err(InputError::validation(message.to_owned()).into());
    }
    if input.text("CustomKeyStoreId")?.is_some() || input.text("XksKeyId")?.is_some() {
        return Err(InputError::unsupported("Custom key stores are not offered yet.").into());
    }
    let key = kms.create_key(CreateKey {
        description: input.text("Description")?.unwrap_or_default().to_owned(),
        tags: input.tags("Tags")?.unwrap_or_default(),
        policy: input.text("Policy")?.map(str::to_owned),
        bypass_lockout_check: input.flag("BypassPolicyLockoutSafetyCheck")?,
        spec: spec.or(old_spec),
        usage: input.choice("KeyUsage", KeyUsage::ALL, KeyUsage::as_str)?,
        origin: input.choice("Origin", Origin::ALL, Origin::as_str)?,
        multi_region: input.flag("MultiRegion")?,
    })?;
    Ok(json!({"KeyMetadata": metadata(&key)}))
}

pub(super) fn describe_key(kms: &Kms, input: &Input<'_>) -> Answer {
    let key = kms.describe_key(&input.key("KeyId")?)?;
    Ok(json!({"KeyMetadata": metadata(&key)}))
}

pub(super) fn list_keys(kms: &Kms, input: &Input<'_>) -> Answer {
    const OWN: &str = "SELF";
    const OWNERS: [&str; 2] = [OWN, "OTHER_ACCOUNTS_VIA_RAM"];
    let owners = input.texts("ResourceOwners")?;
    let owners = owners.as_deref().unwrap_or_default();
    if let Some(other) = owners.iter().find(|owner| !OWNERS.contains(&owner.as_str())) {
        return Err(InputError::not_among("ResourceOwners", other, &OWNERS).into());
    }
    let mut keys = kms.list_keys(&input.page()?)?;
    // Nobody shares keys by way of another service.
    if !owners.is_empty() && !owners.iter().any(|owner| owner == OWN) {
        keys = Page { entries: Vec::new(), next_marker: None };
    }
    Ok(page(
        "Keys",
        &keys,
        |key| json!({"KeyId": key.arn.key_id().as_str(), "KeyArn": key.arn.as_str()}),
    ))
}

pub(super) fn update_key_description(kms: &Kms, input: &Input<'_>) -> Answer {
    let key = input.key("KeyId")?;
    kms.update_key_description(&key, input.required_text("Description")?)?;
    Ok(empty())
}

pub(super) fn enable_key(kms: &Kms, input: &Input<'_>) -> Answer {
    kms.enable_key(&input.key("KeyId")?)?;
    Ok(empty())
}

pub(super) fn disable_key(kms: &Kms, input: &Input<'_>) -> Answer {
    kms.disable_key(&input.key("KeyId")?)?;
    Ok(empty())
}

pub(super) fn schedule_key_deletion(kms: &Kms, input: &Input<'_>) -> Answer {
    let window = input.number("PendingWindowInDays")?;
    let deletion = kms.schedule_key_deletion(&input.key("KeyId")?, window)?;
    Ok(output(json!({
        "KeyId": deletion.key.as_str(),
        "DeletionDate": deletion.date.map(time),
        "KeyState": deletion.state.as_str(),
        "PendingWindowInDays": deletion.window_days,
    })))
}

pub(super) fn replicate_key(kms: &Kms, input: &Input<'_>) -> Answer {
    let replica = kms.replicate_key(&ReplicateKey {
        key: input.key("KeyId")?,
        region: input.required_text("ReplicaRegion")?.to_owned(),
        policy: input.text("Policy")?.map(str::to_owned),
        bypass_lockout_check: input.flag("BypassPolicyLockoutSafetyCheck")?,
        description: input.text("Description")?.unwrap_or_default().to_owned(),
        tags: input.tags("Tags")?.unwrap_or_default(),
    })?;
    let tags: Vec<Value> = replica.tags.iter().map(tag).collect();
    Ok(output(json!({
        "ReplicaKeyMetadata": metadata(&replica.key),
        "ReplicaPolicy": replica.policy,
        "ReplicaTags": (!tags.is_empty()).then_some(tags),
    })))
}

pub(super) fn update_primary_region(kms: &Kms, input: &Input<'_>) -> Answer {
    kms.update_primary_region(&input.key("KeyId")?, input.required_text("PrimaryRegion")?)?;
    Ok(empty())
}

pub(super) fn cancel_key_deletion(kms: &Kms, input: &Input<'_>) -> Answer {
    let key = kms.cancel_key_deletion(&input.key("KeyId")?)?;
    Ok(json!({"KeyId": key.as_str()}))
}

pub(super) fn tag_resource(kms: &Kms, input: &Input<'_>) -> Answer {
    let key = input.key("KeyId")?;
    kms.tag_resource(&key, &input.tags("Tags")?.ok_or_else(|| required("Tags"))?)?;
    Ok(empty())
}

pub(super) fn untag_resource(kms: &Kms, input: &Input<'_>) -> Answer {
    let key = input.key("KeyId")?;
    kms.untag_resource(&key, &input.texts("TagKeys")?.ok_or_else(|| required("TagKeys"))?)?;
    Ok(empty())
}

pub(super) fn list_resource_tags(kms: &Kms, input: &Input<'_>) -> Answer {
    let tags = kms.list_resource_tags(&input.key("KeyId")?, &input.page()?)?;
    Ok(page("Tags", &tags, tag))
}

fn tag(Tag { key, value }: &Tag) -> Value {
    json!({"TagKey": key, "TagValue": value})
}

pub(super) fn get_key_last_usage(kms: &Kms, input: &Input<'_>) -> Answer {
    let usage = kms.get_key_last_usage(&input.key("KeyId")?)?;
    let last = usage.last.map_or_else(empty, |last| {
        json!({
            "Operation": last.operation.name(),
            "Timestamp": time(last.time),
            "CloudTrailEventId": last.event_id,
            "KmsRequestId": last.request_id,
        })
    });
    Ok(json!({
        "KeyId": usage.key.key_id().as_str(),
        "KeyLastUsage": last,
        "TrackingStartDate": time(usage.tracked_since),
        "KeyCreationDate": time(usage.created),
    }))
}

pub(super) fn get_key_policy(kms: &Kms, input: &Input<'_>) -> Answer {
    let policy = kms.get_key_policy(&input.key("KeyId")?, input.text("PolicyName")?)?;
    Ok(json!({"Policy": policy, "PolicyName": "default"}))
}

pub(super) fn put_key_policy(kms: &Kms, input: &Input<'_>) -> Answer {
    let (key, policy) = (input.key("KeyId")?, input.required_text("Policy")?);
    let bypass = input.flag("BypassPolicyLockoutSafetyCheck")?;
    kms.put_key_policy(&key, input.text("PolicyName")?, policy, bypass)?;
    Ok(empty())
}

pub(super) fn list_key_policies(kms: &Kms, input: &Input<'_>) -> Answer {
    let names = kms.list_key_policies(&input.key("KeyId")?, &input.page()?)?;
    Ok(output(page("PolicyNames", &names, |name| Value::from(name.as_str()))))
}
