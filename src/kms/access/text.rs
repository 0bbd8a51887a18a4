//! Texts of policies: `*` stands for any characters, `?` for one, and `${aws:username}` for what is
//! known of the call. `${*}`, `${?}` and `${$}` are the characters themselves.

use std::borrow::Cow;

use crate::kms::access::facts::{Call, ConditionKey};

/// A text of a policy, prepared for comparison.
#[derive(Clone, Debug)]
pub(super) struct Text(Form);

#[derive(Clone, Debug)]
enum Form {
    /// Without variables: as it is written, and as a pattern.
    Plain {
        literal: String,
        pattern: Vec<Symbol>,
    },
    Pieces(Vec<Piece>),
}

#[derive(Clone, Debug)]
enum Piece {
    Written(String),
    /// A character that is no wildcard here.
    Bare(char),
    /// What the call knows, or else what the policy says.
    Variable(ConditionKey, Option<String>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Symbol {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Many,
}

/// Whether a policy's language has variables: version 2012-10-17 does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Variables {
    Offered,
    Unknown,
}

impl Text {
    /// Reads a text.
    pub(super) fn parse(text: String, variables: Variables) -> Self {
        if variables == Variables::Unknown || !text.contains("${") {
            let pattern = symbols(&text).collect();
            return Self(Form::Plain { literal: text, pattern });
        }
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            pieces.push(Piece::Written(before.to_owned()));
            let Some((name, after)) = after.split_once('}') else {
                rest = after;
                break;
            };
            pieces.push(match name {
                "*" => Piece::Bare('*'),
                "?" => Piece::Bare('?'),
                "$" => Piece::Bare('$'),
                name => match name.split_once(',') {
                    Some((key, otherwise)) => {
                        let otherwise = otherwise.trim().trim_matches('\'').to_owned();
                        Piece::Variable(ConditionKey::parse(key.trim()), Some(otherwise))
                    }
                    None => Piece::Variable(ConditionKey::parse(name.trim()), None),
                },
            });
            rest = after;
        }
        pieces.push(Piece::Written(rest.to_owned()));
        Self(Form::Pieces(pieces))
    }

    /// The text as it is written, if it has no variables.
    pub(super) fn written(&self) -> Option<&str> {
        match &self.0 {
            Form::Plain { literal, .. } => Some(literal),
            Form::Pieces(_) => None,
        }
    }

    /// Whether it takes in everything.
    pub(super) fn is_star(&self) -> bool {
        self.written() == Some("*")
    }

    /// The text, wildcards being characters; `None` if the call does not know a variable.
    pub(super) fn literal(&self, call: &Call<'_>) -> Option<Cow<'_, str>> {
        let pieces = match &self.0 {
            Form::Plain { literal, .. } => return Some(Cow::Borrowed(literal)),
            Form::Pieces(pieces) => pieces,
        };
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Written(written) => text.push_str(written),
                Piece::Bare(bare) => text.push(*bare),
                Piece::Variable(key, otherwise) => text.push_str(&value(call, key, otherwise)?),
            }
        }
        Some(Cow::Owned(text))
    }

    /// Whether another text is of this pattern. Takes at most pattern times text steps.
    pub(super) fn matches(&self, text: &str, call: &Call<'_>) -> bool {
        self.pattern(call).is_some_and(|pattern| matches(&pattern, text.as_bytes()))
    }

    /// The same for ARNs: each of their six parts by itself.
    pub(super) fn matches_arn(&self, arn: &str, call: &Call<'_>) -> bool {
        let Some(pattern) = self.pattern(call) else { return false };
        let mut patterns = pattern.splitn(6, |symbol| *symbol == Symbol::Byte(b':'));
        let mut parts = arn.splitn(6, ':');
        loop {
            match (patterns.next(), parts.next()) {
                (None, None) => return true,
                (Some(pattern), Some(part)) if matches(pattern, part.as_bytes()) => {}
                _ => return false,
            }
        }
    }

    fn pattern(&self, call: &Call<'_>) -> Option<Cow<'_, [Symbol]>> {
        let pieces = match &self.0 {
            Form::Plain { pattern, .. } => return Some(Cow::Borrowed(pattern)),
            Form::Pieces(pieces) => pieces,
        };
        let bare = |text: &str| text.bytes().map(Symbol::Byte).collect::<Vec<_>>();
        let mut pattern = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Written(written) => pattern.extend(symbols(written)),
                Piece::Bare(character) => pattern.extend(bare(&character.to_string())),
                // A star in the name of who asks is no wildcard.
                Piece::Variable(key, otherwise) => {
                    pattern.extend(bare(&value(call, key, otherwise)?));
                }
            }
        }
        Some(Cow::Owned(pattern))
    }
}

fn value<'a>(
    call: &'a Call<'_>,
    key: &'a ConditionKey,
    otherwise: &'a Option<String>,
) -> Option<Cow<'a, str>> {
    let values = call.values(key);
    match (values.as_slice(), otherwise) {
        ([one], _) => Some(one.clone()),
        (_, Some(otherwise)) => Some(Cow::Borrowed(otherwise)),
        (_, None) => None,
    }
}

fn symbols(text: &str) -> impl Iterator<Item = Symbol> {
    text.bytes().map(|byte| match byte {
        b'*' => Symbol::Many,
        b'?' => Symbol::One,
        byte => Symbol::Byte(byte),
    })
}

/// Whether a text is of a pattern without variables; for names that are compared once.
pub(crate) fn is_like(pattern: &str, text: &str) -> bool {
    matches(&symbols(pattern).collect::<Vec<_>>(), text.as_bytes())
}

fn matches(pattern: &[Symbol], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(t) {
        match pattern.get(p) {
            Some(Symbol::Many) => {
                star = Some((p, t));
                p += 1;
            }
            Some(&symbol) if symbol == Symbol::One || symbol == Symbol::Byte(byte) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|symbol| *symbol == Symbol::Many)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::Principal;
    use crate::kms::access::facts::tests::call_of;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("kms:*", "kms:Encrypt"),
            ("a?c", "abc"),
            ("*b*d", "abcbd"),
            ("**", "x"),
        ] {
            assert!(is_like(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "a"), ("?", ""), ("kms:E*t", "kms:Decrypt"), ("a*b", "abc"), ("A", "a")]
        {
            assert!(!is_like(pattern, text), "{pattern} {text}");
        }
    }

    /// Law: no pattern takes longer than its length times that of the text.
    #[test]
    fn many_stars_end_soon() {
        assert!(!is_like(
            &"a*".repeat(500),
            &"a".repeat(20_000).replace("aaaa", "aaab").replace('a', "b")
        ));
    }

    #[test]
    fn stars_of_arns_stay_in_their_part() {
        let ann = Principal::from_arn("arn:aws:iam::000000000000:user/ann").unwrap();
        call_of(&ann, |call| {
            let text = |text: &str| Text::parse(text.to_owned(), Variables::Offered);
            assert!(text("arn:aws:iam::*:user/a*").matches_arn(ann.name(), call));
            assert!(!text("arn:*:user/ann").matches_arn(ann.name(), call));
        });
    }

    #[test]
    fn variables_stand_for_what_is_known_of_the_call() {
        let ann = Principal::from_arn("arn:aws:iam::000000000000:user/team/a*n").unwrap();
        call_of(&ann, |call| {
            let text = |text: &str| Text::parse(text.to_owned(), Variables::Offered);
            let literal = |t: &str| text(t).literal(call).map(Cow::into_owned);
            assert_eq!(literal("x-${aws:username}").as_deref(), Some("x-a*n"));
            assert_eq!(literal("${*}${?}${$}").as_deref(), Some("*?$"));
            assert_eq!(literal("${aws:PrincipalTag/team}"), None);
            assert_eq!(literal("${aws:PrincipalTag/team, 'none'}").as_deref(), Some("none"));
            assert!(text("home/${aws:username}/*").matches("home/a*n/x", call));
            assert!(!text("home/${aws:username}/*").matches("home/abn/x", call));
            assert!(!text("${aws:PrincipalTag/team}*").matches("", call));
            let plain = Text::parse("${aws:username}".to_owned(), Variables::Unknown);
            assert_eq!(plain.literal(call).as_deref(), Some("${aws:username}"));
        });
    }
}
