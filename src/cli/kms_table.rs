//! The verbs and options of `aws kms`, as a table. A new operation is one row; `tests/clients.rs` compares
//! it with what AWS' own tools have.

/// What an option's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes: `fileb://PATH`, or base64.
    Blob,
    /// A switch: `--dry-run`, `--no-dry-run`.
    Flag,
    /// A whole number.
    Integer,
    /// `k=v,k2=v2`, or a JSON object.
    Map,
    /// Values behind each other, or a JSON array.
    Strings,
    /// `Member=value,Other={k=v}`, or a JSON object.
    Structure,
    /// `TagKey=k,TagValue=v` behind each other, or a JSON array.
    Structures,
    /// A text, or `file://PATH`.
    Text,
    /// Seconds since 1970, or ISO 8601.
    Time,
}

/// One operation: its name, and its members with their kinds.
pub type Row = (&'static str, &'static [(&'static str, Kind)]);

const KEY: (&str, Kind) = ("KeyId", Kind::Text);
const LIMIT: (&str, Kind) = ("Limit", Kind::Integer);
const MARKER: (&str, Kind) = ("Marker", Kind::Text);
const ALIAS: (&str, Kind) = ("AliasName", Kind::Text);
const TARGET: (&str, Kind) = ("TargetKeyId", Kind::Text);
const CONTEXT: (&str, Kind) = ("EncryptionContext", Kind::Map);
const GRANTS: (&str, Kind) = ("GrantTokens", Kind::Strings);
const DRY_RUN: (&str, Kind) = ("DryRun", Kind::Flag);
const ALGORITHM: (&str, Kind) = ("EncryptionAlgorithm", Kind::Text);
const POLICY_NAME: (&str, Kind) = ("PolicyName", Kind::Text);
const BYPASS: (&str, Kind) = ("BypassPolicyLockoutSafetyCheck", Kind::Flag);
const GRANT_ID: (&str, Kind) = ("GrantId", Kind::Text);
const MESSAGE: (&str, Kind) = ("Message", Kind::Blob);
const MESSAGE_TYPE: (&str, Kind) = ("MessageType", Kind::Text);
const SIGNING: (&str, Kind) = ("SigningAlgorithm", Kind::Text);
const MAC_ALGORITHM: (&str, Kind) = ("MacAlgorithm", Kind::Text);
const ENCAPSULATION: (&str, Kind) = ("EncapsulationAlgorithm", Kind::Text);
const RECIPIENT: (&str, Kind) = ("Recipient", Kind::Structure);
const DRY_RUN_MODIFIERS: (&str, Kind) = ("DryRunModifiers", Kind::Strings);
const STORE: (&str, Kind) = ("CustomKeyStoreId", Kind::Text);
const STORE_NAME: (&str, Kind) = ("CustomKeyStoreName", Kind::Text);
const STORE_PASSWORD: (&str, Kind) = ("KeyStorePassword", Kind::Text);
const CLUSTER: (&str, Kind) = ("CloudHsmClusterId", Kind::Text);
const PROXY_ENDPOINT: (&str, Kind) = ("XksProxyUriEndpoint", Kind::Text);
const PROXY_PATH: (&str, Kind) = ("XksProxyUriPath", Kind::Text);
const PROXY_VPC: (&str, Kind) = ("XksProxyVpcEndpointServiceName", Kind::Text);
const PROXY_OWNER: (&str, Kind) = ("XksProxyVpcEndpointServiceOwner", Kind::Text);
const PROXY_CREDENTIAL: (&str, Kind) = ("XksProxyAuthenticationCredential", Kind::Structure);
const PROXY_CONNECTIVITY: (&str, Kind) = ("XksProxyConnectivity", Kind::Text);
const DATA_KEY_PAIR_SEALED: &[(&str, Kind)] =
    &[CONTEXT, KEY, ("KeyPairSpec", Kind::Text), GRANTS, DRY_RUN];
const DATA_KEY_PAIR: &[(&str, Kind)] =
    &[CONTEXT, KEY, ("KeyPairSpec", Kind::Text), GRANTS, RECIPIENT, DRY_RUN];
const DATA_KEY_SEALED: &[(&str, Kind)] =
    &[KEY, CONTEXT, ("KeySpec", Kind::Text), ("NumberOfBytes", Kind::Integer), GRANTS, DRY_RUN];
const DATA_KEY: &[(&str, Kind)] = &[
    KEY,
    CONTEXT,
    ("KeySpec", Kind::Text),
    ("NumberOfBytes", Kind::Integer),
    GRANTS,
    RECIPIENT,
    DRY_RUN,
];

/// The operations, sorted by name.
pub const OPERATIONS: &[Row] = &[
    ("CancelKeyDeletion", &[KEY]),
    ("ConnectCustomKeyStore", &[STORE]),
    ("CreateAlias", &[ALIAS, TARGET]),
    (
        "CreateCustomKeyStore",
        &[
            STORE_NAME,
            CLUSTER,
            ("TrustAnchorCertificate", Kind::Text),
            STORE_PASSWORD,
            ("CustomKeyStoreType", Kind::Text),
            PROXY_ENDPOINT,
            PROXY_PATH,
            PROXY_VPC,
            PROXY_OWNER,
            PROXY_CREDENTIAL,
            PROXY_CONNECTIVITY,
        ],
    ),
    (
        "CreateGrant",
        &[
            KEY,
            ("GranteePrincipal", Kind::Text),
            ("RetiringPrincipal", Kind::Text),
            ("Operations", Kind::Strings),
            ("Constraints", Kind::Structure),
            GRANTS,
            ("Name", Kind::Text),
            DRY_RUN,
            ("GranteeServicePrincipal", Kind::Text),
            ("RetiringServicePrincipal", Kind::Text),
        ],
    ),
    (
        "CreateKey",
        &[
            ("Policy", Kind::Text),
            ("Description", Kind::Text),
            ("KeyUsage", Kind::Text),
            ("CustomerMasterKeySpec", Kind::Text),
            ("KeySpec", Kind::Text),
            ("Origin", Kind::Text),
            STORE,
            BYPASS,
            ("Tags", Kind::Structures),
            ("MultiRegion", Kind::Flag),
            ("XksKeyId", Kind::Text),
        ],
    ),
    (
        "Decapsulate",
        &[KEY, ("SharedSecretCiphertextBlob", Kind::Blob), ENCAPSULATION, GRANTS, DRY_RUN],
    ),
    (
        "Decrypt",
        &[
            ("CiphertextBlob", Kind::Blob),
            CONTEXT,
            GRANTS,
            KEY,
            ALGORITHM,
            RECIPIENT,
            DRY_RUN,
            DRY_RUN_MODIFIERS,
        ],
    ),
    ("DeleteAlias", &[ALIAS]),
    ("DeleteCustomKeyStore", &[STORE]),
    ("DeleteImportedKeyMaterial", &[KEY, ("KeyMaterialId", Kind::Text)]),
    (
        "DeriveSharedSecret",
        &[
            KEY,
            ("KeyAgreementAlgorithm", Kind::Text),
            ("PublicKey", Kind::Blob),
            GRANTS,
            DRY_RUN,
            RECIPIENT,
        ],
    ),
    ("DescribeCustomKeyStores", &[STORE, STORE_NAME, LIMIT, MARKER]),
    ("DescribeKey", &[KEY, GRANTS]),
    ("DisableKey", &[KEY]),
    ("DisableKeyRotation", &[KEY]),
    ("DisconnectCustomKeyStore", &[STORE]),
    ("EnableKey", &[KEY]),
    ("EnableKeyRotation", &[KEY, ("RotationPeriodInDays", Kind::Integer)]),
    ("Encapsulate", &[KEY, ENCAPSULATION, GRANTS, DRY_RUN]),
    ("Encrypt", &[KEY, ("Plaintext", Kind::Blob), CONTEXT, GRANTS, ALGORITHM, DRY_RUN]),
    ("GenerateDataKey", DATA_KEY),
    ("GenerateDataKeyPair", DATA_KEY_PAIR),
    ("GenerateDataKeyPairWithoutPlaintext", DATA_KEY_PAIR_SEALED),
    ("GenerateDataKeyWithoutPlaintext", DATA_KEY_SEALED),
    ("GenerateMac", &[MESSAGE, KEY, MAC_ALGORITHM, GRANTS, DRY_RUN]),
    ("GenerateRandom", &[("NumberOfBytes", Kind::Integer), STORE, RECIPIENT]),
    ("GetKeyLastUsage", &[KEY]),
    ("GetKeyPolicy", &[KEY, POLICY_NAME]),
    ("GetKeyRotationStatus", &[KEY]),
    (
        "GetParametersForImport",
        &[KEY, ("WrappingAlgorithm", Kind::Text), ("WrappingKeySpec", Kind::Text)],
    ),
    ("GetPublicKey", &[KEY, GRANTS]),
    (
        "ImportKeyMaterial",
        &[
            KEY,
            ("ImportToken", Kind::Blob),
            ("EncryptedKeyMaterial", Kind::Blob),
            ("ValidTo", Kind::Time),
            ("ExpirationModel", Kind::Text),
            ("ImportType", Kind::Text),
            ("KeyMaterialDescription", Kind::Text),
            ("KeyMaterialId", Kind::Text),
        ],
    ),
    ("ListAliases", &[KEY, LIMIT, MARKER]),
    (
        "ListGrants",
        &[
            LIMIT,
            MARKER,
            KEY,
            GRANT_ID,
            ("GranteePrincipal", Kind::Text),
            ("GranteeServicePrincipal", Kind::Text),
        ],
    ),
    ("ListKeyPolicies", &[KEY, LIMIT, MARKER]),
    ("ListKeyRotations", &[KEY, ("IncludeKeyMaterial", Kind::Text), LIMIT, MARKER]),
    ("ListKeys", &[LIMIT, MARKER, ("ResourceOwners", Kind::Strings)]),
    ("ListResourceTags", &[KEY, LIMIT, MARKER]),
    (
        "ListRetirableGrants",
        &[
            LIMIT,
            MARKER,
            ("RetiringPrincipal", Kind::Text),
            ("RetiringServicePrincipal", Kind::Text),
        ],
    ),
    ("PutKeyPolicy", &[KEY, POLICY_NAME, ("Policy", Kind::Text), BYPASS]),
    (
        "ReEncrypt",
        &[
            ("CiphertextBlob", Kind::Blob),
            ("SourceEncryptionContext", Kind::Map),
            ("SourceKeyId", Kind::Text),
            ("DestinationKeyId", Kind::Text),
            ("DestinationEncryptionContext", Kind::Map),
            ("SourceEncryptionAlgorithm", Kind::Text),
            ("DestinationEncryptionAlgorithm", Kind::Text),
            GRANTS,
            DRY_RUN,
            DRY_RUN_MODIFIERS,
        ],
    ),
    (
        "ReplicateKey",
        &[
            KEY,
            ("ReplicaRegion", Kind::Text),
            ("Policy", Kind::Text),
            BYPASS,
            ("Description", Kind::Text),
            ("Tags", Kind::Structures),
        ],
    ),
    ("RetireGrant", &[("GrantToken", Kind::Text), KEY, GRANT_ID, DRY_RUN]),
    ("RevokeGrant", &[KEY, GRANT_ID, DRY_RUN]),
    ("RotateKeyOnDemand", &[KEY]),
    ("ScheduleKeyDeletion", &[KEY, ("PendingWindowInDays", Kind::Integer)]),
    ("Sign", &[KEY, MESSAGE, MESSAGE_TYPE, GRANTS, SIGNING, DRY_RUN]),
    ("TagResource", &[KEY, ("Tags", Kind::Structures)]),
    ("UntagResource", &[KEY, ("TagKeys", Kind::Strings)]),
    ("UpdateAlias", &[ALIAS, TARGET]),
    (
        "UpdateCustomKeyStore",
        &[
            STORE,
            ("NewCustomKeyStoreName", Kind::Text),
            STORE_PASSWORD,
            CLUSTER,
            PROXY_ENDPOINT,
            PROXY_PATH,
            PROXY_VPC,
            PROXY_OWNER,
            PROXY_CREDENTIAL,
            PROXY_CONNECTIVITY,
        ],
    ),
    ("UpdateKeyDescription", &[KEY, ("Description", Kind::Text)]),
    ("UpdatePrimaryRegion", &[KEY, ("PrimaryRegion", Kind::Text)]),
    ("Verify", &[KEY, MESSAGE, MESSAGE_TYPE, ("Signature", Kind::Blob), SIGNING, GRANTS, DRY_RUN]),
    ("VerifyMac", &[MESSAGE, KEY, MAC_ALGORITHM, ("Mac", Kind::Blob), GRANTS, DRY_RUN]),
];

/// The row of a verb.
pub fn find(verb: &str) -> Option<&'static Row> {
    OPERATIONS.iter().find(|(name, _)| kebab(name) == verb)
}

/// `KeyId` as `key-id`.
pub fn kebab(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_an_operation_of_the_service() {
        for (name, _) in OPERATIONS {
            assert!(crate::kms::Op::parse(name).is_some(), "{name}");
        }
        assert!(OPERATIONS.is_sorted_by_key(|(name, _)| *name));
    }
}
