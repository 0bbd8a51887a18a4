//! Secret bytes: wiped on drop, redacted in `Debug`, compared in constant time.
//!
//! `expose()` is the only way to the bytes; it is called in `crypto/` and `kms/` alone, so that
//! searching for it lists every use of a secret.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::random::Random;

/// `N` secret bytes. Neither `Clone`, `Display`, `Serialize` nor `PartialEq`.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Fresh random bytes.
    pub fn random(random: &dyn Random) -> Self {
        Self::fill_with(|out| random.fill(out))
    }

    /// Bytes that a function writes in place, so that no copy is left on the stack.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut bytes = Box::new([0; N]);
        fill(&mut bytes);
        Self(bytes)
    }

    /// Takes over bytes and wipes the original; `None` if the length is not `N`.
    pub fn take(bytes: &mut [u8]) -> Option<Self> {
        let secret = <&[u8; N]>::try_from(&*bytes).ok().map(|b| Self(Box::new(*b)));
        bytes.zeroize();
        secret
    }

    /// The bytes. Every caller is a place that handles a bare secret.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Whether both are the same, in time that does not depend on the bytes.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>")
    }
}

/// Secret bytes of any length, such as a passphrase or imported key material.
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes over a vector. Its spare capacity is wiped on drop as well.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes. Every caller is a place that handles a bare secret.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes; not secret.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_redacted() {
        let secret = Secret::<4>::fill_with(|out| *out = [1, 2, 3, 4]);
        assert_eq!(format!("{secret:?}"), "Secret<4>");
        assert_eq!(format!("{:?}", SecretBytes::new(vec![7; 9])), "SecretBytes(9)");
    }

    #[test]
    fn take_wipes_its_source() {
        let mut bytes = [7u8; 4];
        let secret = Secret::<4>::take(&mut bytes).unwrap();
        assert_eq!(bytes, [0; 4]);
        assert_eq!(secret.expose(), &[7; 4]);
        assert!(Secret::<8>::take(&mut bytes).is_none());
    }
}
