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
}

impl Timestamp {
    /// The point in time that a policy writes: `2026-01-31T23:59:59Z`, `2026-01-31`, or seconds since
    /// the epoch. `None` if it is none of them.
    pub(crate) fn parse_iso(text: &str) -> Option<Self> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse::<u64>().ok()?.checked_mul(1000).map(Self);
        }
        let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
        let time = time.strip_suffix('Z')?;
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let parts = |text: &str, separator, lens: [usize; 3]| {
            let mut parts = text.split(separator);
            let mut numbers = [0; 3];
            for (number, len) in numbers.iter_mut().zip(lens) {
                let part = parts.next().filter(|part| part.len() == len && digits(part))?;
                *number = part.parse::<u64>().ok()?;
            }
            parts.next().is_none().then_some(numbers)
        };
        let [year, month, day] = parts(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = parts(time, ':', [2, 2, 2])?;
        let in_range = year >= 1970 && hour < 24 && minute < 60 && second < 61 && digits(fraction);
        if !in_range {
            return None;
        }
        // Years begin in March, so that the leap day comes last.
        let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 719_469;
        let is_day = civil(days) == (year, month, day);
        is_day.then_some(Self((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000))
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
            assert_eq!(Timestamp::parse_iso(text), Some(Timestamp(secs * 1000)));
            assert_eq!(Timestamp::parse_iso(&secs.to_string()), Some(Timestamp(secs * 1000)));
        }
        assert_eq!(Timestamp::parse_iso("1970-01-02"), Some(Timestamp(86_400_000)));
        assert_eq!(Timestamp::parse_iso("1970-01-01T00:00:01.5Z"), Some(Timestamp(1000)));
        for text in [
            "",
            "-1",
            "1970-02-30",
            "1970-00-01",
            "1970-01-00",
            "1970-13-01",
            "1969-12-31",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00",
            "1970-1-1",
            "1970-01-01-01",
            "T",
        ] {
            assert_eq!(Timestamp::parse_iso(text), None, "{text}");
        }
    }
}
