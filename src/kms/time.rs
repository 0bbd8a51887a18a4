//! Points in time as the KMS keeps them: milliseconds since the epoch.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// Milliseconds of a day.
const DAY_MILLIS: u64 = 86_400_000;

impl Timestamp {
    /// The same point in time; the epoch for anything before it.
    pub fn from_system(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// That many days later.
    pub fn plus_days(self, days: u32) -> Self {
        Self(self.0.saturating_add(u64::from(days).saturating_mul(DAY_MILLIS)))
    }

    /// That much later.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Whole seconds since the epoch.
    pub fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// As CloudTrail writes it: `2026-01-31T23:59:59Z`.
    pub fn to_iso(self) -> String {
        let (year, month, day) = civil(self.secs() / 86_400);
        let rest = self.secs() % 86_400;
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// What [`Self::to_iso`] wrote: whole seconds, in UTC.
    pub fn from_iso(text: &str) -> Option<Self> {
        let digits = |from: usize, to: usize| {
            let digits = text.get(from..to)?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| is_number)
        };
        let marks = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"), (19, "Z")];
        if text.len() != 20 || marks.iter().any(|(at, mark)| text.get(*at..at + 1) != Some(*mark)) {
            return None;
        }
        let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
        let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
        if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let of_day = hour * 3600 + minute * 60 + second;
        Some(Self((day_number(year, month, day) * 86_400 + of_day) * 1000))
    }
}

/// The inverse of [`civil`]; a day behind the end of its month counts on.
fn day_number(year: u64, month: u64, day: u64) -> u64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (march_year / 400, march_year % 400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * march_month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl Timestamp {
    /// The point in time that a policy writes: `2026-01-31T23:59:59Z`, with a fraction that is left off,
    /// `2026-01-31`, or seconds since the epoch. `None` if it is none of them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if is_number(text) {
            return text.parse::<u64>().ok()?.checked_mul(1000).map(Self);
        }
        let whole = match (text.split_once('T'), text.split_once('.')) {
            (None, _) => format!("{text}T00:00:00Z"),
            (Some(_), Some((whole, fraction))) => {
                fraction.strip_suffix('Z').filter(|digits| is_number(digits))?;
                format!("{whole}Z")
            }
            (Some(_), None) => text.to_owned(),
        };
        // A day behind the end of its month is none.
        Self::from_iso(&whole).filter(|time| time.to_iso() == whole)
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Gregorian; Fliegel and Van Flandern's
/// method in its form with years that begin in March).
fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, of_year - (153 * march_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_of_known_days() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Timestamp(secs * 1000 + 999).to_iso(), text);
            assert_eq!(Timestamp::from_iso(text), Some(Timestamp(secs * 1000)));
            assert_eq!(Timestamp::parse(text), Some(Timestamp(secs * 1000)));
            assert_eq!(Timestamp::parse(&secs.to_string()), Some(Timestamp(secs * 1000)));
        }
        for no_time in ["", "2024-02-29", "2024-13-01T00:00:00Z", "2024-01-01T00:00:60Z", "now"] {
            assert_eq!(Timestamp::from_iso(no_time), None, "{no_time}");
        }
        assert_eq!(Timestamp::parse("1970-01-02"), Some(Timestamp(86_400_000)));
        assert_eq!(Timestamp::parse("1970-01-01T00:00:01.5Z"), Some(Timestamp(1000)));
        for text in [
            "",
            "-1",
            "1970-02-30",
            "1970-00-01",
            "1969-12-31",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00",
            "1970-1-1",
            "T",
            "1970-01-01T00:00:00.xZ",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
