//! The recovery kit: 256 random bits as 24 words, for the day on which the passphrase is forgotten.
//! docs/KMS.md, "Slots".

use std::fmt;
use std::io;

use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

use crate::random::Random;
use crate::secret::{Secret, SecretBytes};

/// Words of a kit.
const WORDS: usize = 24;
/// Words in a line of its text form.
const WORDS_PER_LINE: usize = 6;
/// Longest text that is looked at, in bytes.
const TEXT_LEN_MAX: usize = 64 << 10;

/// A key that people can write down.
#[derive(Debug)]
pub struct RecoveryKit(Secret<32>);

/// Why a text is no kit. Says nothing of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KitError {
    /// Another number of words.
    Count {
        /// So many.
        found: usize,
    },
    /// A word that is in no kit.
    Word {
        /// The how manieth, from 1.
        number: usize,
    },
    /// The checksum in the last word does not fit: a word is wrong, or two have changed places.
    Checksum,
}

impl fmt::Display for KitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { found } => write!(f, "a recovery kit has {WORDS} words, not {found}"),
            Self::Word { number } => write!(f, "word {number} is no word of a recovery kit"),
            Self::Checksum => f.write_str("the words do not fit together: one of them is wrong"),
        }
    }
}

impl std::error::Error for KitError {}

impl RecoveryKit {
    /// A new kit.
    pub fn generate(random: &dyn Random) -> Self {
        Self(Secret::random(random))
    }

    /// The kit of these bytes.
    #[cfg(any(test, feature = "testing"))]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Secret::fill_with(|out| out.copy_from_slice(bytes)))
    }

    /// Reads the words: separated by any space, in any case; lines that begin with `#` and numbers
    /// are for people.
    ///
    /// # Errors
    /// [`KitError`].
    pub fn read(text: &SecretBytes) -> Result<Self, KitError> {
        let text = std::str::from_utf8(text.expose()).unwrap_or_default();
        let text = text.get(..TEXT_LEN_MAX).unwrap_or(text);
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let is_number = |word: &&str| {
            word.trim_end_matches(['.', ':', ')']).bytes().all(|b| b.is_ascii_digit())
        };
        let mut plain = Zeroizing::new(String::with_capacity(text.len()));
        let mut found = 0;
        for word in lines.flat_map(str::split_whitespace).filter(|word| !is_number(word)) {
            found += 1;
            if !plain.is_empty() {
                plain.push(' ');
            }
            plain.extend(word.chars().map(|letter| letter.to_ascii_lowercase()));
        }
        if found != WORDS {
            return Err(KitError::Count { found });
        }
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &plain).map_err(
            |error| match error {
                bip39::Error::UnknownWord(at) => KitError::Word { number: at.saturating_add(1) },
                _ => KitError::Checksum,
            },
        )?;
        let (mut entropy, _) = mnemonic.to_entropy_array();
        let kit = entropy.get_mut(..32).and_then(Secret::take).map(Self);
        zeroize::Zeroize::zeroize(&mut entropy);
        kit.ok_or(KitError::Checksum)
    }

    /// Writes the words, in lines of six.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn write_words(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut text = Zeroizing::new(Vec::with_capacity(WORDS * 9));
        // 32 bytes are an entropy that the standard knows.
        let mnemonic = Mnemonic::from_entropy(self.0.expose())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        for (at, word) in mnemonic.words().enumerate() {
            text.extend_from_slice(word.as_bytes());
            let is_end = (at + 1) % WORDS_PER_LINE == 0;
            text.push(if is_end { b'\n' } else { b' ' });
        }
        out.write_all(&text)
    }

    /// The key itself.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kit: &RecoveryKit) -> String {
        let mut text = Vec::new();
        kit.write_words(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn parse(text: &str) -> Result<RecoveryKit, KitError> {
        RecoveryKit::read(&SecretBytes::new(text.as_bytes().to_vec()))
    }

    /// Vectors of BIP 39 itself, 256 bits.
    #[test]
    fn words_are_those_of_the_standard() {
        let zeros = text(&RecoveryKit::from_bytes(&[0; 32]));
        let words: Vec<&str> = zeros.split_whitespace().collect();
        assert_eq!(
            (words.len(), words[0], words[22], words[23]),
            (24, "abandon", "abandon", "art")
        );
        let ones = text(&RecoveryKit::from_bytes(&[0xff; 32]));
        assert!(ones.ends_with("zoo vote\n") && ones.starts_with("zoo zoo"), "{ones}");
    }

    #[test]
    fn words_come_back_however_they_are_written() {
        let kit = RecoveryKit::from_bytes(&[0x5a; 32]);
        let plain = text(&kit);
        let numbered: String = plain
            .to_uppercase()
            .split_whitespace()
            .enumerate()
            .map(|(at, word)| format!("{}. {word}\r\n", at + 1))
            .collect();
        for written in [plain.clone(), numbered, format!("# of a volume\n{plain}")] {
            assert_eq!(parse(&written).unwrap().expose(), &[0x5a; 32]);
        }
    }

    #[test]
    fn a_slip_is_found_and_the_words_are_not_told() {
        let words = text(&RecoveryKit::from_bytes(&[0x5a; 32]));
        let mut words: Vec<&str> = words.split_whitespace().collect();
        let refusal = |words: &[&str]| parse(&words.join(" ")).unwrap_err();
        assert_eq!(refusal(&words[1..]), KitError::Count { found: 23 });
        words[4] = "kmsfs";
        assert_eq!(refusal(&words), KitError::Word { number: 5 });
        assert!(!refusal(&words).to_string().contains("kmsfs"));
        let twice: Vec<&str> = ["abandon"; 24].to_vec();
        assert_eq!(refusal(&twice), KitError::Checksum);
    }
}
