//! What a key is and may do: AWS' enumerations, in AWS' spelling. What is not offered is known by
//! name, so that it is refused by name. The algorithms of each spec are in `algorithms`.

/// Makes an enumeration whose variants have AWS' spelling.
macro_rules! aws_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of AWS' model.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// AWS' spelling.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The value of that spelling.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }
        }
    };
}

pub(crate) use aws_enum;

aws_enum! {
    /// Kind of a key's material.
    KeySpec {
        /// RSA, 2048 bits.
        Rsa2048 = "RSA_2048",
        /// RSA, 3072 bits.
        Rsa3072 = "RSA_3072",
        /// RSA, 4096 bits.
        Rsa4096 = "RSA_4096",
        /// NIST curve P-256.
        EccNistP256 = "ECC_NIST_P256",
        /// NIST curve P-384.
        EccNistP384 = "ECC_NIST_P384",
        /// NIST curve P-521.
        EccNistP521 = "ECC_NIST_P521",
        /// Curve secp256k1.
        EccSecgP256k1 = "ECC_SECG_P256K1",
        /// AES-256.
        SymmetricDefault = "SYMMETRIC_DEFAULT",
        /// HMAC with SHA-224.
        Hmac224 = "HMAC_224",
        /// HMAC with SHA-256.
        Hmac256 = "HMAC_256",
        /// HMAC with SHA-384.
        Hmac384 = "HMAC_384",
        /// HMAC with SHA-512.
        Hmac512 = "HMAC_512",
        /// SM2 (AWS: China Regions).
        Sm2 = "SM2",
        /// ML-DSA-44.
        MlDsa44 = "ML_DSA_44",
        /// ML-DSA-65.
        MlDsa65 = "ML_DSA_65",
        /// ML-DSA-87.
        MlDsa87 = "ML_DSA_87",
        /// Ed25519.
        EccNistEdwards25519 = "ECC_NIST_EDWARDS25519",
        /// ML-KEM-512.
        MlKem512 = "ML_KEM_512",
        /// ML-KEM-768.
        MlKem768 = "ML_KEM_768",
        /// ML-KEM-1024.
        MlKem1024 = "ML_KEM_1024",
    }
}

aws_enum! {
    /// What a key is for. One per key, for ever.
    KeyUsage {
        /// Signatures.
        SignVerify = "SIGN_VERIFY",
        /// Encryption; all symmetric keys.
        EncryptDecrypt = "ENCRYPT_DECRYPT",
        /// Message authentication codes.
        GenerateVerifyMac = "GENERATE_VERIFY_MAC",
        /// Elliptic-curve Diffie-Hellman.
        KeyAgreement = "KEY_AGREEMENT",
        /// Key encapsulation.
        EncapsulateDecapsulate = "ENCAPSULATE_DECAPSULATE",
    }
}

aws_enum! {
    /// Where a key's material comes from. Never changes.
    Origin {
        /// Made here.
        AwsKms = "AWS_KMS",
        /// Imported.
        External = "EXTERNAL",
        /// Made in a custom key store.
        AwsCloudHsm = "AWS_CLOUDHSM",
        /// In an external key store.
        ExternalKeyStore = "EXTERNAL_KEY_STORE",
    }
}

aws_enum! {
    /// Who manages a key.
    KeyManager {
        /// A service: viewable, rotated every year, not manageable, not deletable.
        Aws = "AWS",
        /// The account.
        Customer = "CUSTOMER",
    }
}

aws_enum! {
    /// Length of a data key, by name.
    DataKeySpec {
        /// 32 bytes.
        Aes256 = "AES_256",
        /// 16 bytes.
        Aes128 = "AES_128",
    }
}

aws_enum! {
    /// How data is encrypted under a key.
    EncryptionAlgorithm {
        /// AES-256-GCM (here: XAES-256-GCM) under a symmetric key.
        SymmetricDefault = "SYMMETRIC_DEFAULT",
        /// RSA-OAEP with SHA-1.
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        /// RSA-OAEP with SHA-256.
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
        /// SM2 public key encryption.
        Sm2Pke = "SM2PKE",
    }
}

aws_enum! {
    /// Why a key got new material.
    RotationType {
        /// On schedule.
        Automatic = "AUTOMATIC",
        /// Because someone asked.
        OnDemand = "ON_DEMAND",
    }
}

aws_enum! {
    /// What `ListKeyRotations` lists.
    IncludeKeyMaterial {
        /// Rotations, and the material that the key was made with.
        AllKeyMaterial = "ALL_KEY_MATERIAL",
        /// Rotations only.
        RotationsOnly = "ROTATIONS_ONLY",
    }
}

impl DataKeySpec {
    /// Length in bytes.
    pub fn byte_len(self) -> usize {
        match self {
            Self::Aes256 => 32,
            Self::Aes128 => 16,
        }
    }
}
