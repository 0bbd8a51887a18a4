//! Alarm rules: a pattern over records, how often it must fit, and a rest between two alarms.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;

use crate::kms::audit::{RecordPattern, record_time, text};
use crate::kms::{KmsError, Op, Timestamp};

/// Keys whose matches a rule counts apart; the one that was seen longest ago makes room.
const KEYS_MAX: usize = 1024;
/// Matches that a rule can be made to wait for.
pub const ALARM_COUNT_MAX: u64 = 10_000;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Which records.
    pub pattern: RecordPattern,
    /// How many of them.
    pub count: u64,
    /// Within which time.
    pub within: Duration,
    /// How long it stays quiet about a key afterwards.
    pub rest: Duration,
}

impl Rule {
    /// The rule that is always there: somebody uses a key that is about to be destroyed.
    pub(super) fn pending_deletion() -> Self {
        let error = Some("*is pending deletion.".to_owned());
        Self {
            name: "key-pending-deletion-used".to_owned(),
            pattern: RecordPattern { error, ..RecordPattern::default() },
            count: 1,
            within: Duration::from_secs(60),
            rest: Duration::from_secs(60),
        }
    }

    /// Whether a call may be meant: looked at for every record, so it reads no text.
    pub(super) fn may_match(&self, op: Op, error: Option<&KmsError>) -> bool {
        let needs_error = self.pattern.error.is_some();
        let is_event = self.pattern.event.as_deref().is_none_or(|pattern| {
            // The name of an act of the service differs: those are few.
            pattern.contains(['*', '?']) || pattern.eq_ignore_ascii_case(op.name())
        });
        (!needs_error || error.is_some()) && (is_event || op.is_own_act())
    }
}

/// A rule and what it has seen, by key.
#[derive(Debug)]
pub(super) struct Alarm {
    pub(super) rule: Rule,
    seen: BTreeMap<String, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Times of the matches that still count, oldest first.
    times: VecDeque<Timestamp>,
    /// When it last went off.
    last_alarm: Option<Timestamp>,
    /// Matches since then.
    count: u64,
    last: Timestamp,
}

impl Alarm {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, seen: BTreeMap::new() }
    }

    /// Looks at a record; tells how many matches there were since the last alarm, if this one sets it
    /// off. The time is that of the records.
    pub(super) fn look(&mut self, record: &Value) -> Option<u64> {
        if !self.rule.pattern.matches(record) {
            return None;
        }
        let now = record_time(record)?;
        let key = text(record, "/resources/0/ARN");
        if !self.seen.contains_key(key) && self.seen.len() >= KEYS_MAX {
            self.forget_one();
        }
        let rule = &self.rule;
        let seen = self.seen.entry(key.to_owned()).or_default();
        seen.last = now;
        seen.count = seen.count.saturating_add(1);
        seen.times.push_back(now);
        while seen.times.front().is_some_and(|first| first.plus(rule.within) < now)
            || u64::try_from(seen.times.len()).unwrap_or(u64::MAX) > rule.count
        {
            seen.times.pop_front();
        }
        let is_enough = u64::try_from(seen.times.len()).unwrap_or(u64::MAX) >= rule.count;
        let is_quiet = seen.last_alarm.is_some_and(|last| now < last.plus(rule.rest));
        if !is_enough || is_quiet {
            return None;
        }
        seen.last_alarm = Some(now);
        seen.times.clear();
        Some(std::mem::take(&mut seen.count))
    }

    fn forget_one(&mut self) {
        let oldest = self.seen.iter().min_by_key(|(_, seen)| seen.last).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.seen.remove(&key);
        }
    }

    /// Why it went off, for a person.
    pub(super) fn reason(&self, record: &Value, count: u64) -> String {
        let who = ["/userIdentity/arn", "/userIdentity/invokedBy"];
        let who = who.into_iter().map(|pointer| text(record, pointer)).find(|t| !t.is_empty());
        let what = format!("{} by {}", text(record, "/eventName"), who.unwrap_or("-"));
        let message = text(record, "/errorMessage");
        let error = match (text(record, "/errorCode"), message) {
            ("", _) => String::new(),
            (code, "") => format!(": {code}"),
            (code, message) => format!(": {code}: {message}"),
        };
        if count > 1 { format!("{what}{error} ({count} times)") } else { format!("{what}{error}") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(secs: u64, key: &str) -> Value {
        json!({
            "eventTime": Timestamp(secs * 1000).to_iso(), "eventName": "Decrypt",
            "errorCode": "KMSInvalidStateException",
            "errorMessage": format!("{key} is pending deletion."),
            "resources": [{"ARN": key}], "userIdentity": {"arn": "ann"},
        })
    }

    #[test]
    fn the_rule_that_is_always_there_goes_off_once_a_minute_and_key() {
        let mut alarm = Alarm::new(Rule::pending_deletion());
        let looks = [(0, "a"), (1, "a"), (2, "b"), (59, "a"), (60, "a")];
        let found = looks.map(|(secs, key)| alarm.look(&record(secs, key)));
        assert_eq!(found, [Some(1), None, Some(1), None, Some(3)]);
        let reason = alarm.reason(&record(0, "a"), 3);
        assert_eq!(
            reason,
            "Decrypt by ann: KMSInvalidStateException: a is pending deletion. (3 times)"
        );
        let mut fine = record(100, "c");
        fine["errorMessage"] = "c is disabled.".into();
        assert_eq!(alarm.look(&fine), None);
    }

    #[test]
    fn a_rule_waits_for_its_count_within_its_time() {
        let (count, within) = (3, Duration::from_secs(10));
        let rule = Rule { count, within, rest: Duration::ZERO, ..Rule::pending_deletion() };
        let mut alarm = Alarm::new(rule);
        let looks = [0, 6, 11, 12, 13, 14, 15].map(|secs| alarm.look(&record(secs, "a")));
        assert_eq!(looks, [None, None, None, Some(4), None, None, Some(3)]);
    }

    #[test]
    fn what_cannot_match_is_not_read() {
        let rule = Rule::pending_deletion();
        assert!(!rule.may_match(Op::Decrypt, None));
        assert!(rule.may_match(Op::Decrypt, Some(&KmsError::InvalidCiphertext)));
        let event = Some("decrypt".to_owned());
        let pattern = RecordPattern { event, ..RecordPattern::default() };
        let rule = Rule { pattern, ..rule };
        assert!(rule.may_match(Op::Decrypt, None) && !rule.may_match(Op::Encrypt, None));
    }

    #[test]
    fn memory_is_bounded() {
        let mut alarm = Alarm::new(Rule::pending_deletion());
        for no in 0..3000_u64 {
            alarm.look(&record(no, &no.to_string()));
        }
        assert_eq!(alarm.seen.len(), KEYS_MAX);
        assert!(alarm.seen.contains_key("2999") && !alarm.seen.contains_key("0"));
    }
}
