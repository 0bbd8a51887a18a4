//! A grant: one principal may do some operations with one key.

use crate::kms::access::Asked;
use crate::kms::spec::aws_enum;
use crate::kms::{EncryptionContext, KeyUsage, Timestamp};

aws_enum! {
    /// What a grant can allow.
    GrantOperation {
        /// Decrypt.
        Decrypt = "Decrypt",
        /// Encrypt.
        Encrypt = "Encrypt",
        /// GenerateDataKey.
        GenerateDataKey = "GenerateDataKey",
        /// GenerateDataKeyWithoutPlaintext.
        GenerateDataKeyWithoutPlaintext = "GenerateDataKeyWithoutPlaintext",
        /// The old key of ReEncrypt.
        ReEncryptFrom = "ReEncryptFrom",
        /// The new key of ReEncrypt.
        ReEncryptTo = "ReEncryptTo",
        /// Sign.
        Sign = "Sign",
        /// Verify.
        Verify = "Verify",
        /// GetPublicKey.
        GetPublicKey = "GetPublicKey",
        /// CreateGrant, for operations of this grant only.
        CreateGrant = "CreateGrant",
        /// RetireGrant.
        RetireGrant = "RetireGrant",
        /// DescribeKey.
        DescribeKey = "DescribeKey",
        /// GenerateDataKeyPair.
        GenerateDataKeyPair = "GenerateDataKeyPair",
        /// GenerateDataKeyPairWithoutPlaintext.
        GenerateDataKeyPairWithoutPlaintext = "GenerateDataKeyPairWithoutPlaintext",
        /// GenerateMac.
        GenerateMac = "GenerateMac",
        /// VerifyMac.
        VerifyMac = "VerifyMac",
        /// DeriveSharedSecret.
        DeriveSharedSecret = "DeriveSharedSecret",
        /// Encapsulate.
        Encapsulate = "Encapsulate",
        /// Decapsulate.
        Decapsulate = "Decapsulate",
    }
}

impl GrantOperation {
    /// Whether a key of this usage can do it.
    pub(super) fn fits(self, usage: KeyUsage, is_symmetric: bool) -> bool {
        match self {
            Self::CreateGrant | Self::RetireGrant | Self::DescribeKey => true,
            Self::Decrypt | Self::Encrypt | Self::ReEncryptFrom | Self::ReEncryptTo => {
                usage == KeyUsage::EncryptDecrypt
            }
            Self::GenerateDataKey
            | Self::GenerateDataKeyWithoutPlaintext
            | Self::GenerateDataKeyPair
            | Self::GenerateDataKeyPairWithoutPlaintext => is_symmetric,
            Self::Sign | Self::Verify => usage == KeyUsage::SignVerify,
            Self::GetPublicKey => !is_symmetric && usage != KeyUsage::GenerateVerifyMac,
            Self::GenerateMac | Self::VerifyMac => usage == KeyUsage::GenerateVerifyMac,
            Self::DeriveSharedSecret => usage == KeyUsage::KeyAgreement,
            Self::Encapsulate | Self::Decapsulate => usage == KeyUsage::EncapsulateDecapsulate,
        }
    }
}

/// A grant on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Stands for the grant in RetireGrant.
    pub(crate) token: String,
    /// Makes CreateGrant repeatable.
    pub(crate) name: Option<String>,
    /// Who may.
    pub(crate) grantee: String,
    /// Who may retire it, besides the grantee.
    pub(crate) retiring: Option<String>,
    /// What.
    pub(crate) operations: Vec<GrantOperation>,
    /// With which contexts.
    pub(crate) constraints: GrantConstraints,
    /// Who has granted.
    pub(crate) issuer: String,
    /// When.
    pub(crate) created: Timestamp,
}

/// What the encryption context must be; empty for anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GrantConstraints {
    /// Exactly this.
    pub(crate) equals: Option<EncryptionContext>,
    /// At least this.
    pub(crate) subset: Option<EncryptionContext>,
}

impl Grant {
    /// Whether it allows what is asked.
    pub(super) fn allows(&self, asked: &Asked<'_>) -> bool {
        let operation = GrantOperation::parse(asked.action.name());
        asked.principal.is_named(&self.grantee)
            && operation.is_some_and(|operation| self.operations.contains(&operation))
            && asked.granting.is_none_or(|granting| {
                granting.operations.iter().all(|operation| self.operations.contains(operation))
                    && self.constraints.cover(granting.constraints)
            })
            && operation.is_some_and(|o| !o.takes_context() || self.constraints.hold(asked.context))
    }
}

impl GrantOperation {
    /// Whether constraints speak of it: uses of symmetric keys.
    fn takes_context(self) -> bool {
        matches!(
            self,
            Self::Decrypt
                | Self::Encrypt
                | Self::GenerateDataKey
                | Self::GenerateDataKeyWithoutPlaintext
                | Self::GenerateDataKeyPair
                | Self::GenerateDataKeyPairWithoutPlaintext
                | Self::ReEncryptFrom
                | Self::ReEncryptTo
        )
    }
}

impl GrantConstraints {
    /// Their kind, as `kms:GrantConstraintType` tells it.
    pub(super) fn kind(&self) -> Option<&'static str> {
        match (&self.equals, &self.subset) {
            (Some(_), _) => Some("EncryptionContextEquals"),
            (None, Some(_)) => Some("EncryptionContextSubset"),
            (None, None) => None,
        }
    }

    /// Whether others allow no context that these do not.
    fn cover(&self, other: &Self) -> bool {
        let holds = |wanted: &EncryptionContext, found: &EncryptionContext| {
            wanted.pairs().all(|pair| found.pairs().any(|other| other == pair))
        };
        let equal = self.equals.is_none() || self.equals == other.equals;
        let mut others = other.equals.iter().chain(&other.subset);
        let subset = self.subset.as_ref();
        equal && subset.is_none_or(|wanted| others.any(|found| holds(wanted, found)))
    }

    fn hold(&self, context: &EncryptionContext) -> bool {
        let has = |(key, value): (&str, &str)| context.pairs().any(|pair| pair == (key, value));
        let equal = self.equals.as_ref().is_none_or(|wanted| wanted == context);
        equal && self.subset.as_ref().is_none_or(|wanted| wanted.pairs().all(has))
    }
}
