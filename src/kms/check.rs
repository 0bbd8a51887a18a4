//! The first check of every request: lengths, ranges and required fields, in AWS' words.

use crate::kms::{EncryptionContext, KmsError};

/// Bytes of a plaintext that `Encrypt` takes from 1.
pub(crate) const PLAINTEXT_LEN_MAX: usize = 4096;
/// Bytes of a ciphertext blob that a caller may send.
pub(crate) const BLOB_LEN_MAX: usize = 6144;
/// Characters of a key id, ARN or alias that a caller may send.
pub(crate) const KEY_REF_LEN_MAX: usize = 2048;
/// Bytes of `GenerateRandom` and of data keys by number.
pub(crate) const NUMBER_OF_BYTES_MAX: u32 = 1024;
/// Bytes of keys and values of an encryption context together.
pub(crate) const CONTEXT_LEN_MAX: usize = 8192;
/// Entries of a page of a listing.
pub(crate) const LIMIT_MAX: u32 = 1000;
/// Characters of a marker.
pub(crate) const MARKER_LEN_MAX: usize = 1024;

/// A form that a text must have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pattern: &'static str,
    fits: fn(&str) -> bool,
}

impl Form {
    /// Of aliases and grants.
    pub(crate) const NAME: Self = Self {
        pattern: "^[a-zA-Z0-9:/_-]+$",
        fits: |text| has_only(text, |c| c.is_ascii_alphanumeric() || ":/_-".contains(c)),
    };
    /// Of the description of a material, if there is one.
    pub(crate) const MATERIAL_DESCRIPTION: Self = Self {
        pattern: r"^[a-zA-Z0-9:/_\s.-]+$",
        fits: |text| {
            let is_space = |c: char| c.is_ascii_whitespace() || c == '\u{b}';
            text.chars().all(|c| c.is_ascii_alphanumeric() || ":/_.-".contains(c) || is_space(c))
        },
    };
    /// Of a key policy.
    pub(crate) const POLICY: Self = Self {
        pattern: r"[\u0009\u000A\u000D\u0020-\u00FF]+",
        fits: |text| has_only(text, |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}')),
    };
    /// Of the name of a key policy.
    pub(crate) const POLICY_NAME: Self = Self {
        pattern: r"[\w]+",
        fits: |text| has_only(text, |c| c.is_ascii_alphanumeric() || c == '_'),
    };
    /// Of a principal.
    pub(crate) const PRINCIPAL: Self = Self {
        pattern: r"^[\w+=,.@:/-]+$",
        fits: |text| has_only(text, |c| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c)),
    };
    /// Of a Region.
    pub(crate) const REGION: Self = Self { pattern: r"^([a-z]+-){2,3}\d+$", fits: is_region };
}

impl Form {
    /// Whether a text is of the form.
    pub(crate) fn fits(self, text: &str) -> bool {
        (self.fits)(text)
    }
}

fn has_only(text: &str, allowed: fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(allowed)
}

fn is_region(text: &str) -> bool {
    let Some((words, number)) = text.rsplit_once('-') else { return false };
    let is_word = |word: &str| has_only(word, |c| c.is_ascii_lowercase());
    (2..=3).contains(&words.split('-').count())
        && words.split('-').all(is_word)
        && has_only(number, |c| c.is_ascii_digit())
}

/// Collects what is wrong with the fields of a request, so that one answer names all of it.
#[derive(Debug, Default)]
pub(crate) struct Check(Vec<String>);

impl Check {
    /// A text's length in characters must lie in the range.
    pub(crate) fn text(mut self, member: &str, text: &str, min: usize, max: usize) -> Self {
        let len = text.chars().count();
        if len < min || len > max {
            let (bound, limit) = side(len < min, min, max);
            self.0.push(format!(
                "Value '{text}' at '{member}' failed to satisfy constraint: Member must have \
                 length {bound} than or equal to {limit}"
            ));
        }
        self
    }

    /// The number of bytes must lie in the range; the bytes are not shown.
    pub(crate) fn bytes(mut self, member: &str, len: usize, min: usize, max: usize) -> Self {
        if len < min || len > max {
            let (bound, limit) = side(len < min, min, max);
            self.0.push(format!(
                "Value at '{member}' failed to satisfy constraint: Member must have length \
                 {bound} than or equal to {limit}"
            ));
        }
        self
    }

    /// A number must lie in the range.
    pub(crate) fn number(mut self, member: &str, value: u32, min: u32, max: u32) -> Self {
        if value < min || value > max {
            let (bound, limit) = side(value < min, min, max);
            self.0.push(format!(
                "Value '{value}' at '{member}' failed to satisfy constraint: Member must have \
                 value {bound} than or equal to {limit}"
            ));
        }
        self
    }

    /// A text must be of the form that a regular expression of AWS' tells.
    pub(crate) fn form(mut self, member: &str, text: &str, form: Form) -> Self {
        if !(form.fits)(text) {
            self.0.push(format!(
                "Value '{text}' at '{member}' failed to satisfy constraint: Member must satisfy \
                 regular expression pattern: {}",
                form.pattern
            ));
        }
        self
    }

    /// What callers name keys by.
    pub(crate) fn key(self, member: &str, key: &str) -> Self {
        self.text(member, key, 1, KEY_REF_LEN_MAX)
    }

    /// An encryption context.
    pub(crate) fn context(mut self, context: &EncryptionContext) -> Self {
        let len: usize = context.pairs().map(|(key, value)| key.len() + value.len()).sum();
        if len > CONTEXT_LEN_MAX {
            self.0.push(format!(
                "Value at 'encryptionContext' failed to satisfy constraint: Member must have \
                 length less than or equal to {CONTEXT_LEN_MAX}"
            ));
        }
        self
    }

    /// The fields of a listing.
    pub(crate) fn page(self, limit: Option<u32>, marker: Option<&str>) -> Self {
        self.number("limit", limit.unwrap_or(1), 1, LIMIT_MAX).text(
            "marker",
            marker.unwrap_or("-"),
            1,
            MARKER_LEN_MAX,
        )
    }

    /// Nothing was wrong, or all that was.
    pub(crate) fn finish(self) -> Result<(), KmsError> {
        let plural = if self.0.len() == 1 { "error" } else { "errors" };
        if self.0.is_empty() {
            return Ok(());
        }
        let message =
            format!("{} validation {plural} detected: {}", self.0.len(), self.0.join("; "));
        Err(KmsError::Validation { message })
    }
}

fn side<T>(is_below: bool, min: T, max: T) -> (&'static str, T) {
    if is_below { ("greater", min) } else { ("less", max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_those_of_the_expressions() {
        let fits = |form: Form, text: &str| (form.fits)(text);
        for region in ["us-east-1", "us-gov-west-1", "ap-southeast-12"] {
            assert!(fits(Form::REGION, region), "{region}");
        }
        for other in ["", "us-1", "us-east", "us-east-", "us-east-1a", "a-b-c-d-1", "US-east-1"] {
            assert!(!fits(Form::REGION, other), "{other}");
        }
        assert!(fits(Form::NAME, "alias/a:b_c-1") && !fits(Form::NAME, "a b"));
        assert!(fits(Form::PRINCIPAL, "arn:aws:iam::000000000000:user/a+b=c,d.e@f"));
        assert!(!fits(Form::PRINCIPAL, "user*") && !fits(Form::PRINCIPAL, ""));
        assert!(
            fits(Form::MATERIAL_DESCRIPTION, "key of\t2026-01.")
                && !fits(Form::MATERIAL_DESCRIPTION, "a?")
        );
        assert!(fits(Form::POLICY_NAME, "default_1") && !fits(Form::POLICY_NAME, "a-b"));
        assert!(fits(Form::POLICY, "{\"\u{ff}\"}\r\n\t") && !fits(Form::POLICY, "\u{100}"));
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        assert_eq!(Check::default().number("limit", 5, 1, 10).finish(), Ok(()));
        let error = Check::default()
            .text("description", "abc", 0, 2)
            .number("limit", 0, 1, 10)
            .finish()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 validation errors detected: Value 'abc' at 'description' failed to satisfy \
             constraint: Member must have length less than or equal to 2; Value '0' at 'limit' \
             failed to satisfy constraint: Member must have value greater than or equal to 1"
        );
    }
}
