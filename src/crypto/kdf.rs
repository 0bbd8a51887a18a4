//! Key derivation (HKDF-SHA-256), authentication codes (HMAC-SHA-256), digests (SHA-256), and the one
//! list of every label in the program.

use std::fmt;

use aws_lc_rs::{digest, hkdf, hmac};
use subtle::ConstantTimeEq;

use crate::crypto::failure::stop;
use crate::crypto::{AuthFailed, NameCipher};
use crate::secret::Secret;

/// What a derived key, or a piece of additional data, is for. No two have the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// Key, from a data key: the file's records.
    FileContent,
    /// Key, from a data key: the header tag, which is also the key commitment.
    FileHeader,
    /// Key, from a data key: values of the file's extended attributes.
    FileXattrs,
    /// Key, from the volume key: file names.
    VolumeNames,
    /// Key, from the volume key: authentication code of the volume configuration.
    VolumeConfig,
    /// Key, from the volume key: authentication code of directory markers.
    VolumeMarkers,
    /// Key, from the volume key: symlink targets.
    VolumeSymlinks,
    /// Key, from the volume key: names of extended attributes.
    VolumeXattrNames,
    /// Key, from the volume key: values of extended attributes of what has no data key.
    VolumeXattrs,
    /// Key, from the volume key: authentication code of the volume's state.
    VolumeCheckpoint,
    /// Key, from the volume key: authentication code of header archives.
    VolumeArchive,
    /// Key, from the volume key: homes of files and directories.
    VolumeHomes,
    /// Additional data of a symlink target in the inline form.
    SymlinkInline,
    /// Additional data of a symlink target in the external form.
    SymlinkExternal,
    /// Additional data of the name of an extended attribute.
    XattrName,
}

impl Label {
    /// Every label.
    pub const ALL: [Self; 15] = [
        Self::FileContent,
        Self::FileHeader,
        Self::FileXattrs,
        Self::VolumeNames,
        Self::VolumeConfig,
        Self::VolumeMarkers,
        Self::VolumeSymlinks,
        Self::VolumeXattrNames,
        Self::VolumeXattrs,
        Self::VolumeCheckpoint,
        Self::VolumeArchive,
        Self::VolumeHomes,
        Self::SymlinkInline,
        Self::SymlinkExternal,
        Self::XattrName,
    ];

    /// The bytes: ASCII, without a terminator.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::FileContent => b"kmsfs v1 file content",
            Self::FileHeader => b"kmsfs v1 file header",
            Self::FileXattrs => b"kmsfs v1 file xattrs",
            Self::VolumeNames => b"kmsfs v1 volume names",
            Self::VolumeConfig => b"kmsfs v1 volume config",
            Self::VolumeMarkers => b"kmsfs v1 volume markers",
            Self::VolumeSymlinks => b"kmsfs v1 volume symlinks",
            Self::VolumeXattrNames => b"kmsfs v1 volume xattr names",
            Self::VolumeXattrs => b"kmsfs v1 volume xattrs",
            Self::VolumeCheckpoint => b"kmsfs v1 volume checkpoint",
            Self::VolumeArchive => b"kmsfs v1 volume archive",
            Self::VolumeHomes => b"kmsfs v1 volume homes",
            Self::SymlinkInline => b"kmsfs v1 symlink inline",
            Self::SymlinkExternal => b"kmsfs v1 symlink external",
            Self::XattrName => b"kmsfs v1 xattr name",
        }
    }
}

/// Derives `N` bytes with HKDF-SHA-256 (RFC 5869). `N` is at most 8160.
pub fn derive<const N: usize>(secret: &[u8], salt: &[u8], info: &[u8]) -> Secret<N> {
    expand(&extract(secret, salt), info)
}

/// HKDF-Extract (RFC 5869, section 2.2). aws-lc-rs would put it off and do it anew for each key that is
/// expanded.
fn extract(secret: &[u8], salt: &[u8]) -> hkdf::Prk {
    let prk: Secret<32> = Secret::fill_with(|out| *out = hmac_sha256(salt, secret));
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, prk.expose())
}

fn expand<const N: usize>(prk: &hkdf::Prk, info: &[u8]) -> Secret<N> {
    Secret::fill_with(|out| {
        let filled = prk.expand(&[info], OutputLen(N)).and_then(|okm| okm.fill(out));
        if filled.is_err() {
            stop("aws-lc-rs hkdf");
        }
    })
}

struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}

/// The keys of one file, made from its data key.
#[derive(Debug)]
pub struct FileKeys {
    /// For the file's records.
    pub content: Secret<32>,
    /// For the header tag.
    pub header: MacKey,
    /// For values of extended attributes.
    pub xattr: Secret<32>,
}

impl FileKeys {
    /// Derives all of them; the file id is the salt.
    pub fn derive(data_key: &Secret<32>, file: &[u8; 16]) -> Self {
        let prk = extract(data_key.expose(), file);
        Self {
            content: expand(&prk, Label::FileContent.bytes()),
            header: MacKey::new(expand(&prk, Label::FileHeader.bytes())),
            xattr: expand(&prk, Label::FileXattrs.bytes()),
        }
    }
}

/// The keys of one volume, made from its volume key.
#[derive(Debug)]
pub struct VolumeKeys {
    /// For file names.
    pub names: NameCipher,
    /// For the volume configuration.
    pub config: MacKey,
    /// For directory markers.
    pub markers: MacKey,
    /// For symlink targets.
    pub symlinks: Secret<32>,
    /// For names of extended attributes.
    pub xattr_names: NameCipher,
    /// For values of extended attributes of what has no data key: directories, symlinks and other
    /// special files.
    pub dir_xattrs: Secret<32>,
    /// For the volume's state.
    pub checkpoint: MacKey,
    /// For header archives.
    pub archive: MacKey,
    /// For the homes of files and directories.
    pub homes: MacKey,
}

impl VolumeKeys {
    /// Derives all of them; the volume id is the salt.
    pub fn derive(volume_key: &Secret<32>, volume: &[u8; 16]) -> Self {
        let prk = extract(volume_key.expose(), volume);
        let mac = |label: Label| MacKey::new(expand(&prk, label.bytes()));
        let names = |label: Label| NameCipher::new(expand(&prk, label.bytes()));
        Self {
            names: names(Label::VolumeNames),
            config: mac(Label::VolumeConfig),
            markers: mac(Label::VolumeMarkers),
            symlinks: expand(&prk, Label::VolumeSymlinks.bytes()),
            xattr_names: names(Label::VolumeXattrNames),
            dir_xattrs: expand(&prk, Label::VolumeXattrs.bytes()),
            checkpoint: mac(Label::VolumeCheckpoint),
            archive: mac(Label::VolumeArchive),
            homes: mac(Label::VolumeHomes),
        }
    }
}

/// A key for HMAC-SHA-256 (RFC 2104, FIPS 198-1). Not expanded: that takes 1200 bytes, and every open
/// file has one.
pub struct MacKey(Secret<32>);

impl MacKey {
    /// A key of 256 bits.
    pub fn new(key: Secret<32>) -> Self {
        Self(key)
    }

    /// The authentication code of the parts, one after another. Their borders are not bound: each
    /// caller's parts have fixed lengths.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose());
        let mut context = hmac::Context::with_key(&key);
        for part in parts {
            context.update(part);
        }
        <[u8; 32]>::try_from(context.sign().as_ref()).unwrap_or_else(|_| stop("aws-lc-rs hmac"))
    }

    /// Compares in constant time.
    ///
    /// # Errors
    /// [`AuthFailed`] if `tag` is not the code of the parts under this key.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8; 32]) -> Result<(), AuthFailed> {
        let same: bool = self.tag(parts).as_slice().ct_eq(tag).into();
        if same { Ok(()) } else { Err(AuthFailed) }
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey")
    }
}

/// HMAC-SHA-256 (RFC 2104) under a key of any length.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    <[u8; 32]>::try_from(tag.as_ref()).unwrap_or_else(|_| stop("aws-lc-rs hmac"))
}

/// SHA-256 (FIPS 180-4) of the parts, one after another.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    <[u8; 32]>::try_from(context.finish().as_ref()).unwrap_or_else(|_| stop("aws-lc-rs sha256"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{hex, unhex};

    /// RFC 5869, appendix A.1.
    #[test]
    fn hkdf_basic_case() {
        let okm = derive::<42>(
            &[0x0b; 22],
            &unhex("000102030405060708090a0b0c").unwrap(),
            &unhex("f0f1f2f3f4f5f6f7f8f9").unwrap(),
        );
        assert_eq!(
            hex(okm.expose()),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
    }

    /// RFC 5869, appendix A.2.
    #[test]
    fn hkdf_longer_inputs() {
        let range = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        let okm = derive::<82>(&range(0x00, 0x4f), &range(0x60, 0xaf), &range(0xb0, 0xff));
        assert_eq!(
            hex(okm.expose()),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c6\
             5e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        );
    }

    /// RFC 5869, appendix A.3.
    #[test]
    fn hkdf_without_salt_and_info() {
        assert_eq!(
            hex(derive::<42>(&[0x0b; 22], &[], &[]).expose()),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        );
    }

    /// The expected bytes are from Python's `hmac` module.
    #[test]
    fn hmac_covers_the_parts_in_order() {
        let key = MacKey::new(Secret::fill_with(|out| *out = [0xaa; 32]));
        let tag = key.tag(&[b"one", b"two"]);
        assert_eq!(hex(&tag), "94d8de4fd9c5e848a59106075484b3480a66d2f57c79da8aaad7d488b620df6a");
        assert_eq!(tag, key.tag(&[b"onetwo"]));
        assert_eq!(key.verify(&[b"onetwo"], &tag), Ok(()));
        assert_eq!(key.verify(&[b"twoone"], &tag), Err(AuthFailed));
    }

    /// FIPS 180-4, example "abc".
    #[test]
    fn sha256_of_abc() {
        assert_eq!(
            hex(&sha256(&[b"a", b"bc"])),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn no_two_labels_are_the_same_and_none_starts_another() {
        for (n, one) in Label::ALL.iter().enumerate() {
            assert!(one.bytes().starts_with(b"kmsfs v1 "));
            for other in &Label::ALL[n + 1..] {
                assert!(!one.bytes().starts_with(other.bytes()));
                assert!(!other.bytes().starts_with(one.bytes()));
            }
        }
    }

    #[test]
    fn file_keys_differ_by_label_and_by_file() {
        let data_key = Secret::fill_with(|out| *out = [1; 32]);
        let one = FileKeys::derive(&data_key, &[1; 16]);
        let two = FileKeys::derive(&data_key, &[2; 16]);
        assert!(!one.content.ct_eq(&two.content));
        assert!(!one.content.ct_eq(&one.xattr));
        assert_ne!(one.header.tag(&[]), two.header.tag(&[]));
    }
}
