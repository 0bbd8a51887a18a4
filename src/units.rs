//! Offsets and lengths that cannot be mixed up.
//!
//! A *plain* number counts bytes as the user of the mount sees them, a *lower* number counts bytes
//! of the encrypted file. Only [`crate::format::layout`] converts between the two.

use std::fmt;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit!(
    /// A position in plaintext bytes.
    PlainOffset
);
unit!(
    /// A length in plaintext bytes.
    PlainLen
);
unit!(
    /// A position in bytes of the lower file.
    LowerOffset
);
unit!(
    /// A length in bytes of the lower file.
    LowerLen
);
unit!(
    /// Number of a block, counted from 0.
    BlockNo
);
