//! The encryption context: string pairs bound to a ciphertext blob. Not secret; it is logged.

use std::collections::BTreeMap;
use std::fmt;

/// Ordered string pairs. Empty is the same as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EncryptionContext(BTreeMap<String, String>);

/// A pair with an empty key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextError;

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("encryption context key is empty")
    }
}

impl std::error::Error for ContextError {}

impl EncryptionContext {
    /// No pairs.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a pair; a later value replaces an earlier one.
    ///
    /// # Errors
    /// [`ContextError`] if the key is empty.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), ContextError> {
        if key.is_empty() {
            return Err(ContextError);
        }
        self.0.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// The pairs, sorted by the bytes of their keys.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The value of a key.
    pub fn find(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes to bind as additional data: pairs sorted by key, each key and value behind its length
    /// as a little-endian `u32`. A `k=v,` join could be forged; this cannot.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.push_canonical(&mut out);
        out
    }

    /// Appends [`Self::canonical_bytes`].
    pub(crate) fn push_canonical(&self, out: &mut Vec<u8>) {
        for text in self.0.iter().flat_map(|(key, value)| [key, value]) {
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
        let mut context = EncryptionContext::new();
        for (key, value) in pairs {
            context.insert(key, value).unwrap();
        }
        context
    }

    #[test]
    fn order_does_not_matter_and_borders_do() {
        assert_eq!(
            context(&[("a", "1"), ("b", "2")]).canonical_bytes(),
            context(&[("b", "2"), ("a", "1")]).canonical_bytes()
        );
        assert_ne!(
            context(&[("a", "1,b=2")]).canonical_bytes(),
            context(&[("a", "1"), ("b", "2")]).canonical_bytes()
        );
        assert!(context(&[]).canonical_bytes().is_empty());
    }

    #[test]
    fn an_empty_key_is_refused() {
        assert_eq!(EncryptionContext::new().insert("", "x"), Err(ContextError));
    }
}
