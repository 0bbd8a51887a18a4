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
    /// From as many bytes as AWS takes: from the length of the digest to the block of the hash.
    pub(super) fn from_bytes(spec: KeySpec, bytes: &[u8]) -> Option<Self> {
        let (algorithm, lengths) = match spec {
            KeySpec::Hmac224 => (hmac::HMAC_SHA224, 28..=64),
            KeySpec::Hmac256 => (hmac::HMAC_SHA256, 32..=64),
            KeySpec::Hmac384 => (hmac::HMAC_SHA384, 48..=128),
            KeySpec::Hmac512 => (hmac::HMAC_SHA512, 64..=128),
            _ => return None,
        };
        lengths.contains(&bytes.len()).then(|| Self(hmac::Key::new(algorithm, bytes)))
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
        let tag = |how| hex(&MacMaterial(hmac::Key::new(how, &[0x0b; 20])).tag(b"Hi There"));
        assert_eq!(
            tag(hmac::HMAC_SHA224),
            "896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22"
        );
        assert_eq!(
            tag(hmac::HMAC_SHA256),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            tag(hmac::HMAC_SHA384),
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c\
             faea9ea9076ede7f4af152e8b2fa9cb6"
        );
        assert_eq!(
            tag(hmac::HMAC_SHA512),
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde\
             daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
        );
    }

    #[test]
    fn keys_of_other_lengths_are_refused() {
        for (spec, min, max) in [
            (KeySpec::Hmac224, 28, 64),
            (KeySpec::Hmac256, 32, 64),
            (KeySpec::Hmac384, 48, 128),
            (KeySpec::Hmac512, 64, 128),
        ] {
            for (len, fine) in [(min - 1, false), (min, true), (max, true), (max + 1, false)] {
                let made = MacMaterial::from_bytes(spec, &vec![1; len]);
                assert_eq!(made.is_some(), fine, "{spec:?} {len}");
            }
        }
    }
}
