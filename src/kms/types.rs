//! Names and identities of keys, as AWS spells them.

use std::fmt;

use crate::codec::{hex, hex_digits, unhex_array};

/// A key's id: a UUID, or `mrk-` and 32 hexadecimal digits for a multi-Region key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// Parses an id in either form; `None` if it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = match text.strip_prefix("mrk-") {
            Some(digits) => digits.len() == 32 && digits.bytes().all(is_hex),
            None => {
                text.len() == 36
                    && text.bytes().enumerate().all(|(at, b)| match at {
                        8 | 13 | 18 | 23 => b == b'-',
                        _ => is_hex(b),
                    })
            }
        };
        well_formed.then(|| Self(text.to_owned()))
    }

    /// A version 4 UUID (RFC 9562) made of 16 random bytes.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(uuid_text(&bytes))
    }

    /// The id of a multi-Region key, made of 16 random bytes.
    pub fn multi_region(bytes: &[u8; 16]) -> Self {
        Self(format!("mrk-{}", hex(bytes)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the id of a multi-Region key.
    pub fn is_multi_region(&self) -> bool {
        self.0.starts_with("mrk-")
    }

    /// The id as bytes, as ciphertext blobs carry it: its kind (0 UUID, 1 `mrk-`), then its 16 bytes.
    pub fn to_bytes(&self) -> [u8; 17] {
        let (kind, text) = match self.0.strip_prefix("mrk-") {
            Some(digits) => (1, digits),
            None => (0, self.0.as_str()),
        };
        let mut bytes = [0; 17];
        let [first, rest @ ..] = &mut bytes;
        *first = kind;
        let mut digits = text.bytes().filter(|byte| *byte != b'-').map(|digit| match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            // `parse` lets no other in.
            _ => 0,
        });
        for byte in rest {
            let (high, low) = (digits.next().unwrap_or(0), digits.next().unwrap_or(0));
            *byte = high << 4 | low;
        }
        bytes
    }

    /// The id that [`Self::to_bytes`] wrote; `None` if the kind is unknown.
    pub fn from_bytes(bytes: &[u8; 17]) -> Option<Self> {
        let [kind, rest @ ..] = bytes;
        match kind {
            0 => Some(Self(uuid_text(rest))),
            1 => Some(Self(format!("mrk-{}", hex(rest)))),
            _ => None,
        }
    }
}

impl std::borrow::Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The text form of a UUID's 16 bytes.
fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (no, byte) in bytes.iter().enumerate() {
        if matches!(no, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.extend(hex_digits(*byte).map(char::from));
    }
    text
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key's full name: `arn:aws:kms:REGION:ACCOUNT:key/ID`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyArn(String);

impl KeyArn {
    /// Longest ARN that fits an envelope slot, in bytes.
    pub const LEN_MAX: usize = 152;

    /// Puts an ARN together.
    pub fn new(region: &str, account: &str, id: &KeyId) -> Self {
        Self(format!("arn:aws:kms:{region}:{account}:key/{id}"))
    }

    /// Parses a key ARN (any partition); `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let [arn, partition, service, region, account, resource] = parts.as_slice() else {
            return None;
        };
        let id = resource.strip_prefix("key/")?;
        let is_word = |part: &&str| {
            let is_fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !part.is_empty() && part.bytes().all(is_fine)
        };
        let well_formed = *arn == "arn"
            && partition.starts_with("aws")
            && *service == "kms"
            && [partition, region, account].into_iter().all(is_word)
            && text.len() <= Self::LEN_MAX
            && KeyId::parse(id).is_some();
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The ARN as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key's id.
    pub fn key_id(&self) -> KeyId {
        KeyId(self.0.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// The Region.
    pub fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }

    /// The same key in another Region.
    pub fn in_region(&self, region: &str) -> Self {
        Self::new(region, self.account(), &self.key_id())
    }

    /// Whether a text is the ARN of the same key, or of a related one: the same multi-Region key in
    /// another Region.
    pub fn is_related(&self, other: &str) -> bool {
        if self.0 == other {
            return true;
        }
        // All but the Region.
        let but_region = |text: &str| -> Option<(String, String)> {
            let (head, rest) = text.match_indices(':').nth(2).map(|(at, _)| text.split_at(at))?;
            let (_, rest) = rest.get(1..)?.split_once(':')?;
            Some((head.to_owned(), rest.to_owned()))
        };
        other.contains(":key/mrk-") && but_region(&self.0) == but_region(other)
    }

    /// The account, 12 digits.
    pub fn account(&self) -> &str {
        self.0.split(':').nth(4).unwrap_or_default()
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `alias/` and a name: a movable pointer to a KMS key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AliasName(String);

impl AliasName {
    /// The filesystem's own service-managed key.
    pub const FILESYSTEM: &str = "alias/aws/fs";

    /// Parses an alias name; `None` if it is none. `alias/` + `[a-zA-Z0-9/_-]`, 256 in all.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("alias/")?;
        let well_formed = !name.is_empty()
            && text.len() <= 256
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_-".contains(&b));
        well_formed.then(|| Self(text.to_owned()))
    }

    /// Whether the alias belongs to a service (`alias/aws/...`) and may not be made or moved.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("alias/aws/")
    }

    /// The alias with its prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for AliasName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a caller may name a key by: id, ARN, alias name or alias ARN. Parsed by the KMS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef(String);

impl KeyRef {
    /// Any text; a malformed one is refused by the operation, with AWS' words.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&KeyArn> for KeyRef {
    fn from(arn: &KeyArn) -> Self {
        Self(arn.0.clone())
    }
}

impl From<&AliasName> for KeyRef {
    fn from(alias: &AliasName) -> Self {
        Self(alias.0.clone())
    }
}

impl From<&KeyId> for KeyRef {
    fn from(id: &KeyId) -> Self {
        Self(id.0.clone())
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identity of one material of a key; 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaterialId(pub [u8; 32]);

impl MaterialId {
    /// Parses 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        unhex_array(text).map(Self)
    }
}

impl fmt::Display for MaterialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for MaterialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaterialId({self})")
    }
}

/// A wrapped data key, or any ciphertext of the KMS. Opaque to all but the KMS that made it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CiphertextBlob(pub Vec<u8>);

impl fmt::Debug for CiphertextBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CiphertextBlob({} bytes)", self.0.len())
    }
}

/// AWS' key states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyState {
    /// Being made.
    Creating,
    /// Usable.
    Enabled,
    /// Refuses to be used until enabled.
    Disabled,
    /// Waits for imported material.
    PendingImport,
    /// Refuses to be used, and is destroyed at the end of its window.
    PendingDeletion,
    /// A primary whose replicas are pending deletion.
    PendingReplicaDeletion,
    /// Its key store cannot be reached.
    Unavailable,
    /// Changes places with a replica.
    Updating,
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Enabled,
        Self::Disabled,
        Self::PendingImport,
        Self::PendingDeletion,
        Self::PendingReplicaDeletion,
        Self::Unavailable,
        Self::Updating,
    ];

    /// The state of that spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// AWS' spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingImport => "PendingImport",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingReplicaDeletion => "PendingReplicaDeletion",
            Self::Unavailable => "Unavailable",
            Self::Updating => "Updating",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_arns_parse() {
        let id = KeyId::from_random([0xff; 16]);
        assert_eq!(id.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(KeyId::parse(id.as_str()), Some(id.clone()));
        assert!(KeyId::parse("mrk-0123456789abcdef0123456789abcdef").is_some());
        assert!(KeyId::parse("alias/x").is_none());
        for text in [id.as_str(), "mrk-0123456789abcdef0123456789abcdef"] {
            let id = KeyId::parse(text).unwrap();
            assert_eq!(KeyId::from_bytes(&id.to_bytes()), Some(id));
        }
        assert_eq!(KeyId::from_bytes(&[2; 17]), None);
        let arn = KeyArn::new("eu-central-1", "000000000000", &id);
        assert_eq!(KeyArn::parse(arn.as_str()), Some(arn.clone()));
        assert_eq!(
            (arn.region(), arn.account(), arn.key_id()),
            ("eu-central-1", "000000000000", id)
        );
        assert!(KeyArn::parse("arn:aws:s3:::bucket").is_none());
        for stray in ["aws ", "aws\0", "aws'", "aws\n"] {
            let text = arn.as_str().replacen("aws", stray, 1);
            assert!(KeyArn::parse(&text).is_none(), "{text:?}");
        }
        assert!(KeyArn::parse(&arn.as_str().replacen("aws", "aws-cn", 1)).is_some());
    }

    #[test]
    fn aliases_parse() {
        assert!(AliasName::parse("alias/home_1/x-y").is_some());
        assert!(AliasName::parse("alias/").is_none());
        assert!(AliasName::parse("alias/a b").is_none());
        assert!(AliasName::parse("alias/aws/fs").is_some_and(|a| a.is_reserved()));
    }
}
