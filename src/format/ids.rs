//! Random identities: of a volume, a file, a directory.

use std::fmt;

use crate::codec::{hex, unhex_array};
use crate::random::{Random, random_array};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// A fresh one.
            pub fn random(random: &dyn Random) -> Self {
                Self(random_array(random))
            }

            /// The one that 32 hexadecimal digits stand for.
            pub fn from_hex(text: &str) -> Option<Self> {
                unhex_array(text).map(Self)
            }

            /// The 16 bytes.
            pub fn bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex(&self.0))
            }
        }
    };
}

id!(
    /// Identity of a volume. Bound into every wrapped key, file header and directory marker.
    VolumeId
);
id!(
    /// Identity of a file's content. Bound into its wrapped data key and its derived keys.
    FileId
);
id!(
    /// Identity of a directory. Bound into the sealed names in it.
    DirId
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn text_form_leads_back() {
        let id = FileId::random(&SeededRandom::new(1));
        assert_eq!(FileId::from_hex(&id.to_string()), Some(id));
        assert_eq!(FileId::from_hex("00"), None);
        assert_eq!(format!("{:?}", DirId([0xab; 16])), format!("DirId({})", "ab".repeat(16)));
    }
}
