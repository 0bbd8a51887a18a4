//! The configuration file: limits of the audit log and of data keys, places for events, alarm rules. TOML.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::cli::values::{parse_duration, parse_size, parse_size_limit};
use crate::control::{Failure, Kind};
use crate::events::{
    ALARM_COUNT_MAX, AlarmRule, EventsTo, JOURNAL_SOCKET, Rule, SinkPlace, Webhook,
};
use crate::fs::KeyLimits;
use crate::kms::audit::{AuditLimits, RecordPattern};

/// Longest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;
/// Places and rules at most: each may have a thread.
const ENTRIES_MAX: usize = 64;
/// Shortest segment that may be configured.
const SEGMENT_LEN_MIN: u64 = 4096;
/// How long an alarm stays quiet about a key, unless said.
const REST: Duration = Duration::from_secs(60);

/// What a configuration file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Limits of the audit log.
    pub audit: AuditLimits,
    /// Limits of a mount's data keys.
    pub data_keys: KeyLimits,
    /// Where events go.
    pub events: Vec<EventsTo>,
    /// Alarm rules besides the one that is always there.
    pub alarms: Vec<AlarmRule>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Form {
    audit: AuditForm,
    data_keys: DataKeysForm,
    events: Vec<EventsForm>,
    alarm: Vec<AlarmForm>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AuditForm {
    segment: Option<String>,
    keep_segments: Option<u32>,
    keep_time: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DataKeysForm {
    age: Option<String>,
    bytes: Option<String>,
    messages: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EventsForm {
    file: Option<PathBuf>,
    socket: Option<PathBuf>,
    journal: Option<JournalForm>,
    command: Option<String>,
    webhook: Option<String>,
    detail_types: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JournalForm {
    IsOn(bool),
    Socket(PathBuf),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AlarmForm {
    name: String,
    key: Option<String>,
    event: Option<String>,
    user: Option<String>,
    error: Option<String>,
    file_id: Option<String>,
    text: Option<String>,
    count: Option<u64>,
    within: Option<String>,
    rest: Option<String>,
    file: Option<PathBuf>,
    socket: Option<PathBuf>,
    journal: Option<JournalForm>,
    command: Option<String>,
    webhook: Option<String>,
}

impl Config {
    /// Reads a file, if there is one to read. Paths in it are from its own directory.
    ///
    /// # Errors
    /// [`Kind::Usage`] if it makes no sense.
    pub fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::default()) };
        let failed = |error| Failure::io(path.display(), &error);
        let mut text = String::new();
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & 0o022 != 0 {
            let what = format!("{}: mode {mode:04o} lets others write it", path.display());
            return Err(Failure::new(Kind::Usage, what)
                .hint(format!("chmod go-w {}   (it names commands)", path.display())));
        }
        file.take(FILE_LEN_MAX).read_to_string(&mut text).map_err(failed)?;
        let dir = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, dir).map_err(|what| {
            Failure::new(Kind::Usage, format!("{}: {}", path.display(), what.trim_end()))
                .hint("docs/KMS.md, \"Events and alarms\", has an example")
        })
    }

    fn parse(text: &str, dir: &Path) -> Result<Self, String> {
        let form: Form = toml::from_str(text).map_err(|error| {
            let begin = error.span().map_or(0, |span| span.start);
            let line = text.get(..begin).unwrap_or_default().matches('\n').count() + 1;
            format!("line {line}: {}", error.message())
        })?;
        if form.events.len() + form.alarm.len() > ENTRIES_MAX {
            return Err(format!("more than {ENTRIES_MAX} places and alarms"));
        }
        let events = form.events.into_iter().map(|form| {
            let kinds = form.detail_types;
            let given = Given {
                file: form.file,
                socket: form.socket,
                journal: form.journal,
                command: form.command,
                webhook: form.webhook,
            };
            let place = given.place(dir)?.ok_or("[[events]] names no place")?;
            Ok(EventsTo { place, kinds })
        });
        let alarms = form.alarm.into_iter().map(|form| form.rule(dir));
        Ok(Self {
            audit: form.audit.limits()?,
            data_keys: form.data_keys.limits()?,
            events: events.collect::<Result<_, String>>()?,
            alarms: alarms.collect::<Result<_, String>>()?,
        })
    }
}

impl AuditForm {
    fn limits(self) -> Result<AuditLimits, String> {
        let segment_len = match self.segment {
            None => AuditLimits::SEGMENT_LEN,
            Some(text) => parse_size(&text)?,
        };
        if segment_len < SEGMENT_LEN_MIN {
            return Err(format!("audit.segment is less than {SEGMENT_LEN_MIN} bytes"));
        }
        let keep_time = self.keep_time.map(|text| parse_duration(&text)).transpose()?;
        Ok(AuditLimits { segment_len, keep_segments: self.keep_segments, keep_time })
    }
}

impl DataKeysForm {
    fn limits(self) -> Result<KeyLimits, String> {
        if self.messages == Some(0) {
            return Err("data_keys.messages is 0".to_owned());
        }
        Ok(KeyLimits {
            age: self.age.map(|text| parse_duration(&text)).transpose()?,
            bytes: self.bytes.map(|text| parse_size_limit(&text)).transpose()?,
            messages: self.messages,
        })
    }
}

/// The members that name a place: one of them.
struct Given {
    file: Option<PathBuf>,
    socket: Option<PathBuf>,
    journal: Option<JournalForm>,
    command: Option<String>,
    webhook: Option<String>,
}

impl Given {
    fn place(self, dir: &Path) -> Result<Option<SinkPlace>, String> {
        let journal = match self.journal {
            None | Some(JournalForm::IsOn(false)) => None,
            Some(JournalForm::IsOn(true)) => Some(SinkPlace::Journal(JOURNAL_SOCKET.into())),
            Some(JournalForm::Socket(path)) => Some(SinkPlace::Journal(dir.join(path))),
        };
        let webhook = self.webhook.map(|text| {
            Webhook::parse(&text).map(SinkPlace::Webhook).ok_or_else(|| {
                format!("webhook {text}: only http://127.0.0.1:PORT/PATH and unix:/PATH")
            })
        });
        let mut places = [
            self.file.map(|path| SinkPlace::File(dir.join(path))),
            self.socket.map(|path| SinkPlace::Socket(dir.join(path))),
            journal,
            self.command.map(SinkPlace::Command),
            webhook.transpose()?,
        ]
        .into_iter()
        .flatten();
        match (places.next(), places.next()) {
            (place, None) => Ok(place),
            _ => {
                Err("one place for an entry: file, socket, journal, command or webhook".to_owned())
            }
        }
    }
}

impl AlarmForm {
    fn rule(self, dir: &Path) -> Result<AlarmRule, String> {
        let name = self.name;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(format!("[[alarm]] name {name:?}: letters, digits, '-', '_' and '.'"));
        }
        let pattern = RecordPattern {
            key: self.key,
            event: self.event,
            user: self.user,
            error: self.error,
            file: self.file_id,
            text: self.text,
            since: None,
            until: None,
        };
        if pattern == RecordPattern::default() {
            return Err(format!("alarm {name} fits every record"));
        }
        let count = self.count.unwrap_or(1);
        if !(1..=ALARM_COUNT_MAX).contains(&count) {
            return Err(format!("alarm {name}: count is 1 to {ALARM_COUNT_MAX}"));
        }
        let time = |text: Option<String>, usual| {
            text.map_or(Ok(usual), |text| parse_duration(&text).map_err(|e| format!("{name}: {e}")))
        };
        let (within, rest) = (time(self.within, REST)?, time(self.rest, REST)?);
        let given = Given {
            file: self.file,
            socket: self.socket,
            journal: self.journal,
            command: self.command,
            webhook: self.webhook,
        };
        let to = given.place(dir)?.map(|place| EventsTo { place, kinds: Vec::new() });
        Ok(AlarmRule { rule: Rule { name, pattern, count, within, rest }, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_says_limits_places_and_alarms() {
        let text = r#"
            [audit]
            segment = "1MiB"
            keep_segments = 3
            keep_time = "30d"
            [data_keys]
            age = "1h"
            bytes = "1GiB"
            messages = 1000
            [[events]]
            file = "events.jsonl"
            [[events]]
            journal = true
            detail_types = ["KMS CMK Deletion"]
            [[alarm]]
            name = "denied"
            error = "AccessDenied*"
            count = 5
            within = "10m"
            command = "mail -s denied root"
        "#;
        let config = Config::parse(text, Path::new("/etc/kmsfs")).unwrap();
        assert_eq!(config.audit.segment_len, 1 << 20);
        assert_eq!(config.audit.keep_time, Some(Duration::from_secs(30 * 86_400)));
        let age = Some(Duration::from_secs(3600));
        let limits = KeyLimits { age, bytes: Some(1 << 30), messages: Some(1000) };
        assert_eq!(config.data_keys, limits);
        assert_eq!(config.events[0].place, SinkPlace::File("/etc/kmsfs/events.jsonl".into()));
        assert_eq!(config.events[1].kinds, ["KMS CMK Deletion"]);
        let AlarmRule { rule, to } = &config.alarms[0];
        assert_eq!((rule.count, rule.within, rule.rest), (5, Duration::from_secs(600), REST));
        assert!(matches!(&to.as_ref().unwrap().place, SinkPlace::Command(_)));
        assert_eq!(Config::parse("", Path::new("")).unwrap(), Config::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (text, words) in [
            ("[audits]", "audits"),
            ("[audit]\nsegment = \"1 banana\"", "1 banana"),
            ("[audit]\nsegment = \"10\"", "less than"),
            ("[data_keys]\nmessages = 0", "data_keys.messages"),
            ("[data_keys]\nbytes = \"0\"", "at least 1 byte"),
            ("[[events]]", "names no place"),
            ("[[events]]\nfile = \"a\"\ncommand = \"b\"", "one place"),
            ("[[events]]\nwebhook = \"http://example.com/\"", "http://example.com/"),
            ("[[alarm]]\nname = \"a\"", "fits every record"),
            ("[[alarm]]\nname = \"a b\"\nevent = \"x\"", "a b"),
            ("[[alarm]]\nname = \"a\"\nevent = \"x\"\ncount = 0", "count"),
            ("[[alarm]]\nname = \"a\"\nevent = \"x\"\nwithin = \"soon\"", "soon"),
        ] {
            let refused = Config::parse(text, Path::new("")).unwrap_err();
            assert!(refused.contains(words), "{text}: {refused}");
        }
    }
}
