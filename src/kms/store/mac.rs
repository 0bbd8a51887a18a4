//! HMAC material (RFC 2104).

use aws_lc_rs::hmac;

use crate::kms::spec::KeySpec;

pub(super) struct MacMaterial(hmac::Key);

impl std::fmt::Debug for MacMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacMaterial")
    }
}

impl MacMaterial {
    pub(super) fn from_bytes(spec: KeySpec, bytes: &[u8]) -> Option<Self> {
        let algorithm = match spec {
            KeySpec::Hmac224 => hmac::HMAC_SHA224,
            KeySpec::Hmac256 => hmac::HMAC_SHA256,
            KeySpec::Hmac384 => hmac::HMAC_SHA384,
            KeySpec::Hmac512 => hmac::HMAC_SHA512,
            _ => return None,
        };
        Some(Self(hmac::Key::new(algorithm, bytes)))
    }

    pub(super) fn tag(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0, message).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    /// RFC 4231, test case 1.
    #[test]
    fn tags_are_those_of_rfc_4231() {
        let tag = |spec| hex(&MacMaterial::from_bytes(spec, &[0x0b; 20]).unwrap().tag(b"Hi There"));
        assert_eq!(
            tag(KeySpec::Hmac224),
            "896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22"
        );
        assert_eq!(
            tag(KeySpec::Hmac256),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            tag(KeySpec::Hmac384),
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c\
             faea9ea9076ede7f4af152e8b2fa9cb6"
        );
        assert_eq!(
            tag(KeySpec::Hmac512),
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde\
             daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
        );
    }
}
