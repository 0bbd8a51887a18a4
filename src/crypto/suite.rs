//! The named sets of algorithms. One number per set lies in every file's prelude.

/// A set of algorithms for the content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// XAES-256-GCM (C2SP) for records, HKDF-SHA-256 (RFC 5869) for keys, HMAC-SHA-256 (RFC 2104)
    /// for headers, AES-256-SIV (RFC 5297) for names.
    Xaes256Gcm = 1,
}

impl Suite {
    /// The suite with this number, if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Xaes256Gcm),
            _ => None,
        }
    }

    /// The suite with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        (name == Self::Xaes256Gcm.name()).then_some(Self::Xaes256Gcm)
    }

    /// The number in the prelude.
    pub fn number(self) -> u16 {
        match self {
            Self::Xaes256Gcm => 1,
        }
    }

    /// The name in the volume configuration and in the encryption context.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xaes256Gcm => "XAES-256-GCM",
        }
    }

    /// Bytes of a data key.
    pub fn key_len(self) -> usize {
        match self {
            Self::Xaes256Gcm => KEY_LEN,
        }
    }

    /// Bytes of a record's nonce.
    pub fn nonce_len(self) -> usize {
        match self {
            Self::Xaes256Gcm => NONCE_LEN,
        }
    }

    /// Bytes of a record's tag.
    pub fn tag_len(self) -> usize {
        match self {
            Self::Xaes256Gcm => TAG_LEN,
        }
    }
}

/// Bytes. C2SP XAES-256-GCM: a 256-bit key.
pub const KEY_LEN: usize = 32;
/// Bytes. C2SP XAES-256-GCM: a 192-bit nonce.
pub const NONCE_LEN: usize = 24;
/// Bytes of the half of the nonce that chooses the derived key (N1); the rest (N2) is as long.
pub const SESSION_LEN: usize = 12;
/// Bytes. NIST SP 800-38D, section 5.2.1.2: the full tag.
pub const TAG_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_name_lead_back() {
        let suite = Suite::Xaes256Gcm;
        assert_eq!(Suite::from_number(suite.number()), Some(suite));
        assert_eq!(Suite::from_name(suite.name()), Some(suite));
        assert_eq!(Suite::from_number(0), None);
        assert_eq!(Suite::from_number(2), None);
        assert_eq!(Suite::from_name("xaes-256-gcm"), None);
    }
}
