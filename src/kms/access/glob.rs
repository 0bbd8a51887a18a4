//! Patterns of policies: `*` for any characters, `?` for one.

/// Whether a text is of a pattern. Takes at most pattern times text steps.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || text.get(t) == Some(&byte) => {
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
    pattern.get(p..).unwrap_or_default().iter().all(|&byte| byte == b'*')
}

/// The same for ARNs: each of their six parts by itself.
pub(super) fn arn_matches(pattern: &str, arn: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.splitn(6, ':'), arn.splitn(6, ':'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if matches(pattern, part) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "a"), ("?", ""), ("kms:E*t", "kms:Decrypt"), ("a*b", "abc"), ("A", "a")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    /// Law: no pattern takes longer than its length times that of the text.
    #[test]
    fn many_stars_end_soon() {
        assert!(!matches(
            &"a*".repeat(500),
            &"a".repeat(20_000).replace("aaaa", "aaab").replace('a', "b")
        ));
    }

    #[test]
    fn stars_of_arns_stay_in_their_part() {
        assert!(arn_matches("arn:aws:iam::*:user/a*", "arn:aws:iam::000000000000:user/ann"));
        assert!(!arn_matches("arn:*:user/ann", "arn:aws:iam::000000000000:user/ann"));
    }
}
