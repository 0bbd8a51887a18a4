//! Values as people write them: durations, rates, counts and sizes.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::{Clock, SystemClock};
use crate::kms::Timestamp;

/// Parses `90`, `90s`, `30m`, `2h`, `7d` or a sum such as `1h30m`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("not a duration: {text} (such as 30s, 10m, 2h, 7d)");
    let mut secs: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(wrong)?;
        let unit_secs = match unit {
            "" | "s" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(unit_secs).ok_or_else(wrong)?;
        secs = secs.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if secs == 0 { Err(wrong()) } else { Ok(Duration::from_secs(secs)) }
}

/// As [`parse_duration`], and 0 is one as well.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { parse_duration(text) }
}

/// Parses `500/s`, `500` or `30/m`: things per second.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("not a rate: {text} (such as 500/s)");
    let (number, per_secs) = match text.split_once('/') {
        None | Some((_, "s")) => (text.split('/').next().unwrap_or_default(), 1.0),
        Some((number, "m" | "min")) => (number, 60.0),
        Some((number, "h")) => (number, 3600.0),
        Some(_) => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    if number.is_finite() && number > 0.0 { Ok(number / per_secs) } else { Err(wrong()) }
}

/// Parses a number of things, at least one.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("not a number of at least 1: {text}"))
}

/// As [`parse_size`], and at least one byte.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_size_limit(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    if size > 0 { Ok(size) } else { Err(format!("not a size of at least 1 byte: {text}")) }
}

/// Parses a point in time: `2026-01-31T23:59:59Z`, the day `2026-01-31`, or a duration before now.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let day = || Timestamp::from_iso(&format!("{text}T00:00:00Z"));
    if let Some(time) = Timestamp::from_iso(text).or_else(day) {
        return Ok(time);
    }
    let wrong = |_| format!("not a time: {text} (such as 2h, 7d, 2026-01-31T23:59:59Z)");
    let before = parse_duration(text).map_err(wrong)?;
    Ok(Timestamp::from_system(SystemClock.now().checked_sub(before).unwrap_or(UNIX_EPOCH)))
}

/// A count with thin groups: `12 481`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Parses `65536`, `64KiB`, `64MiB` or `1GiB`: bytes.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("not a size: {text} (such as 65536, 64KiB, 64MiB)");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_len: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit_len).ok_or_else(wrong)
}

/// A size in bytes with a binary unit: `12.3 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of the unit, in integers: exact, and no cast.
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = UNITS[0];
    for next in UNITS.into_iter().skip(1) {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Seconds since 1970 as `2026-11-23T19:04:00Z` (RFC 3339).
pub fn utc(secs: u64) -> String {
    let days = secs / 86_400;
    let (hour, minute, second) = (secs / 3600 % 24, secs / 60 % 60, secs % 60);
    let (year, month, day) = civil_date(days);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Date of a day since 1970 in the proleptic Gregorian calendar, in eras of 400 years that begin
/// on the first of March.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Seconds since 1970 of a time; 0 before.
pub fn unix_secs(time: std::time::SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "0", "m", "5x", "-1s", "1.5h", "99999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_parse() {
        assert_eq!(parse_moment("1970-01-02"), Ok(Timestamp(86_400_000)));
        assert_eq!(parse_moment("1970-01-01T00:00:01Z"), Ok(Timestamp(1000)));
        assert!(parse_moment("1h").unwrap() < parse_moment("1m").unwrap());
        assert!(parse_moment("yesterday").is_err());
    }

    #[test]
    fn rates_parse() {
        assert_eq!(parse_rate("500/s"), Ok(500.0));
        assert_eq!(parse_rate("500"), Ok(500.0));
        assert_eq!(parse_rate("30/m"), Ok(0.5));
        for bad in ["", "0", "-1/s", "x/s", "5/y", "inf"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_parse() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("7"), Ok(7));
        for bad in ["", "MiB", "1 MiB", "1MB", "-1", "99999999999GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(7), "7");
        assert_eq!(count(12_481), "12 481");
        assert_eq!(count(1_000_000), "1 000 000");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(13_003_000), "12.4 MiB");
        assert!(size(u64::MAX).ends_with("PiB"));
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(utc(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
