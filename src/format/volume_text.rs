//! The grammar of `volume.toml`. The last line is the authentication code of every byte before it, so
//! that no setting can be changed by hand; the text is TOML with that line and without it.

#![deny(clippy::indexing_slicing)]

use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::codec::{hex, unhex_array};
use crate::crypto::{MacKey, Suite};
use crate::format::{
    FormatError, KeyPolicyEntry, KmsPlace, NameBinding, UnverifiedConfig, VolumeConfig, VolumeId,
    WrappedVolumeKey,
};

/// Bytes of the file at most: far more than any table of key policies needs.
const TEXT_LEN_MAX: usize = 256 * 1024;
/// The format version of the volume configuration.
const VERSION: u16 = 1;

const MAC_BEGIN: &str = "mac = \"";
const MAC_END: &str = "\"\n";

pub(super) fn encode(config: &VolumeConfig, key: &MacKey) -> String {
    let mut text = body(config);
    let mac = key.tag(&[text.as_bytes()]);
    text.push_str(MAC_BEGIN);
    text.push_str(&hex(&mac));
    text.push_str(MAC_END);
    text
}

/// Everything but the last line.
fn body(config: &VolumeConfig) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_body(&mut text, config);
    text
}

fn write_body(out: &mut String, config: &VolumeConfig) -> std::fmt::Result {
    writeln!(out, "# A kmsfs volume. Not to be edited: the last line covers all lines above it.")?;
    writeln!(out, "format = {VERSION}")?;
    writeln!(out, "volume = \"{}\"", config.volume)?;
    writeln!(out, "suite = \"{}\"", config.suite.name())?;
    writeln!(out, "created = {}", quoted(&config.created))?;
    if config.names == NameBinding::Bound {
        writeln!(out, "names = \"bound\"")?;
    }
    writeln!(out, "\n[kms]")?;
    match &config.kms {
        KmsPlace::Embedded => writeln!(out, "place = \"embedded\"")?,
        KmsPlace::Directory(path) => {
            writeln!(out, "place = \"directory\"\npath = {}", quoted(path))?;
        }
        KmsPlace::Endpoint(url) => {
            writeln!(out, "place = \"endpoint\"\nurl = {}", quoted(url))?;
        }
    }
    writeln!(out, "\n[volume_key]")?;
    writeln!(out, "key_arn = {}", quoted(&config.volume_key.key_arn))?;
    if let Some(material) = &config.volume_key.material {
        writeln!(out, "material = \"{}\"", hex(material))?;
    }
    let wrapped = BASE64_STANDARD.encode(&config.volume_key.wrapped);
    writeln!(out, "wrapped = \"{wrapped}\"")?;
    for policy in &config.policies {
        writeln!(out, "\n[[policies]]")?;
        writeln!(out, "number = {}\nalias = {}", policy.number, quoted(&policy.alias))?;
    }
    writeln!(out, "\n[authentication]")
}

/// A TOML basic string on one line.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(super) fn parse(text: &str) -> Result<UnverifiedConfig, FormatError> {
    if text.len() > TEXT_LEN_MAX {
        return Err(FormatError::TooLong { what: "volume configuration", len: text.len() });
    }
    let (covered, mac) = split_mac(text).ok_or(FormatError::Truncated)?;
    let version: VersionOnly = toml::from_str(covered).map_err(|e| bad_text(covered, &e))?;
    if version.format != VERSION {
        return Err(FormatError::UnknownVersion { found: version.format });
    }
    let read: ConfigText = toml::from_str(covered).map_err(|e| bad_text(covered, &e))?;
    Ok(UnverifiedConfig { config: read.check()?, covered: covered.to_owned(), mac })
}

/// The text before the last line, and the code in it.
fn split_mac(text: &str) -> Option<(&str, [u8; 32])> {
    let end = text.strip_suffix(MAC_END)?;
    let (covered, digits) = end.split_at_checked(end.len().checked_sub(64)?)?;
    let covered = covered.strip_suffix(MAC_BEGIN)?;
    let is_lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let starts_a_line = covered.ends_with('\n');
    let digits = digits.bytes().all(is_lower_hex).then_some(digits)?;
    starts_a_line.then_some((covered, unhex_array(digits)?))
}

fn bad_text(text: &str, error: &toml::de::Error) -> FormatError {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    FormatError::BadText { line: before.matches('\n').count() + 1 }
}

#[derive(Deserialize)]
struct VersionOnly {
    format: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigText {
    #[serde(rename = "format")]
    _format: u16,
    volume: String,
    suite: String,
    created: String,
    names: Option<NamesText>,
    kms: KmsText,
    volume_key: KeyText,
    #[serde(default)]
    policies: Vec<PolicyText>,
    #[serde(rename = "authentication")]
    _authentication: NoFields,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum NamesText {
    Bound,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KmsText {
    place: PlaceText,
    path: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum PlaceText {
    Embedded,
    Directory,
    Endpoint,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    key_arn: String,
    material: Option<String>,
    wrapped: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    number: u32,
    alias: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

impl ConfigText {
    fn check(self) -> Result<VolumeConfig, FormatError> {
        let suite = Suite::from_name(&self.suite).ok_or(FormatError::UnknownSuite { found: 0 })?;
        let mut policies: Vec<KeyPolicyEntry> = Vec::with_capacity(self.policies.len());
        for PolicyText { number, alias } in self.policies {
            if policies.iter().any(|entry| entry.number == number) {
                return Err(BAD);
            }
            policies.push(KeyPolicyEntry { number, alias });
        }
        if policies.iter().all(|entry| entry.number != 0) {
            return Err(BAD);
        }
        Ok(VolumeConfig {
            volume: VolumeId(lower_hex(&self.volume)?),
            suite,
            created: self.created,
            policies,
            kms: self.kms.check()?,
            names: match self.names {
                Some(NamesText::Bound) => NameBinding::Bound,
                None => NameBinding::Free,
            },
            volume_key: self.volume_key.check()?,
        })
    }
}

impl KmsText {
    fn check(self) -> Result<KmsPlace, FormatError> {
        match (self.place, self.path, self.url) {
            (PlaceText::Embedded, None, None) => Ok(KmsPlace::Embedded),
            (PlaceText::Directory, Some(path), None) => Ok(KmsPlace::Directory(path)),
            (PlaceText::Endpoint, None, Some(url)) => Ok(KmsPlace::Endpoint(url)),
            (PlaceText::Embedded | PlaceText::Directory | PlaceText::Endpoint, ..) => Err(BAD),
        }
    }
}

impl KeyText {
    fn check(self) -> Result<WrappedVolumeKey, FormatError> {
        let material = self.material.as_deref().map(lower_hex).transpose()?;
        let wrapped = BASE64_STANDARD.decode(&self.wrapped).map_err(|_| BAD)?;
        Ok(WrappedVolumeKey { key_arn: self.key_arn, material, wrapped })
    }
}

/// An id in the one form that it is written in.
fn lower_hex<const N: usize>(digits: &str) -> Result<[u8; N], FormatError> {
    let id = unhex_array(digits).ok_or(BAD)?;
    if hex(&id) == digits { Ok(id) } else { Err(BAD) }
}

/// A value that TOML allows and this format does not.
const BAD: FormatError = FormatError::BadText { line: 0 };

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::format::volume;
    use crate::secret::Secret;

    fn key() -> MacKey {
        MacKey::new(Secret::fill_with(|out| *out = [6; 32]))
    }

    fn config() -> VolumeConfig {
        VolumeConfig {
            volume: VolumeId([0xab; 16]),
            suite: Suite::Xaes256Gcm,
            created: "2026-01-02T03:04:05Z".to_owned(),
            policies: vec![
                KeyPolicyEntry { number: 0, alias: "alias/volume".to_owned() },
                KeyPolicyEntry { number: 7, alias: "alias/\"odd\\name\n\u{7f}".to_owned() },
            ],
            kms: KmsPlace::Directory("/srv/kms".to_owned()),
            names: NameBinding::Bound,
            volume_key: WrappedVolumeKey {
                key_arn: "arn:aws:kms:local:000000000000:key/1234".to_owned(),
                material: Some([0xcd; 32]),
                wrapped: vec![1, 2, 3, 4],
            },
        }
    }

    #[test]
    fn text_leads_back_and_is_toml_as_a_whole() {
        let directory = KmsPlace::Directory("/srv/\"k\"".to_owned());
        for kms in [KmsPlace::Embedded, directory, KmsPlace::Endpoint("unix:/k".to_owned())] {
            for material in [None, Some([7; 32])] {
                let mut config = config();
                config.kms = kms.clone();
                config.names = match material {
                    None => NameBinding::Free,
                    Some(_) => NameBinding::Bound,
                };
                config.volume_key.material = material;
                let text = config.encode(&key());
                let read = volume::parse(&text).unwrap();
                assert_eq!(read.volume(), config.volume);
                assert_eq!(read.volume_key(), &config.volume_key);
                assert_eq!(read.kms(), &kms);
                assert_eq!(read.verify(&key()), Ok(config));
                let whole: toml::Table = toml::from_str(&text).unwrap();
                assert!(whole["authentication"]["mac"].is_str());
            }
        }
        assert_eq!(config().policy(7), Some("alias/\"odd\\name\n\u{7f}"));
        assert_eq!(config().policy(2), None);
    }

    #[test]
    fn every_changed_byte_is_found() {
        let text = config().encode(&key());
        let stranger = MacKey::new(Secret::fill_with(|out| *out = [5; 32]));
        assert_eq!(volume::parse(&text).unwrap().verify(&stranger), Err(FormatError::BadTag));
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            let verified = volume::parse(&changed).and_then(|read| read.verify(&key()));
            assert!(verified.is_err(), "byte {at}");
            assert!(volume::parse(&text[..at]).is_err(), "cut at {at}");
        }
    }

    /// Reads a text with this change, without its code.
    fn parse_with(from: &str, to: &str) -> Result<VolumeConfig, FormatError> {
        let body = body(&config());
        assert!(body.contains(from), "{from}");
        let body = body.replacen(from, to, 1);
        let mac = hex(&key().tag(&[body.as_bytes()]));
        volume::parse(&format!("{body}mac = \"{mac}\"\n"))?.verify(&key())
    }

    #[test]
    fn each_way_to_be_wrong_has_its_error() {
        const BAD_VALUE: Result<VolumeConfig, FormatError> = Err(BAD);
        assert_eq!(parse_with("format = 1", "format = 1"), Ok(config()));
        assert_eq!(
            parse_with("format = 1", "format = 2"),
            Err(FormatError::UnknownVersion { found: 2 })
        );
        assert_eq!(
            parse_with("XAES-256-GCM", "ROT-13"),
            Err(FormatError::UnknownSuite { found: 0 })
        );
        let bad_line = |line| Err(FormatError::BadText { line });
        assert_eq!(parse_with("format = 1\n", "format = 1\nunknown = 1\n"), bad_line(3));
        assert_eq!(parse_with("suite = \"", "suite = "), bad_line(4));
        assert_eq!(parse_with("names = \"bound\"", "names = \"free\""), bad_line(6));
        assert_eq!(parse_with("place = \"directory\"", "place = \"embedded\""), BAD_VALUE);
        assert_eq!(parse_with("place = \"directory\"", "place = \"endpoint\""), BAD_VALUE);
        assert_eq!(parse_with("path = ", "url = \"unix:/k\"\npath = "), BAD_VALUE);
        assert_eq!(parse_with("volume = \"ab", "volume = \""), BAD_VALUE);
        assert_eq!(parse_with("material = \"cd", "material = \"zz"), BAD_VALUE);
        assert_eq!(parse_with("AQIDBA==", "AQIDBA"), BAD_VALUE);
        assert_eq!(parse_with("number = 7", "number = 0"), BAD_VALUE);
        assert!(parse_with("\n[authentication]\n", "").is_err());
        let long = "x".repeat(TEXT_LEN_MAX + 1);
        assert_eq!(
            volume::parse(&long),
            Err(FormatError::TooLong { what: "volume configuration", len: TEXT_LEN_MAX + 1 })
        );
        assert_eq!(volume::parse(&body(&config())), Err(FormatError::Truncated));
        assert_eq!(volume::parse(""), Err(FormatError::Truncated));
    }
}
