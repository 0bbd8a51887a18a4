//! Audit records as text: a line for a person, and forms for other programs.

use serde_json::Value;

use crate::cli::audit_args::ExportForm;
use crate::control::keys::short;
use crate::kms::audit::{cloudtrail_form, keys, text};

/// Columns of the table form: name, and JSON pointer.
const COLUMNS: [(&str, &str); 16] = [
    ("sequence", "/sequence"),
    ("eventTime", "/eventTime"),
    ("eventName", "/eventName"),
    ("awsRegion", "/awsRegion"),
    ("userType", "/userIdentity/type"),
    ("userArn", "/userIdentity/arn"),
    ("accessKeyId", "/userIdentity/accessKeyId"),
    ("invokedBy", "/userIdentity/invokedBy"),
    ("sourceIPAddress", "/sourceIPAddress"),
    ("errorCode", "/errorCode"),
    ("errorMessage", "/errorMessage"),
    ("readOnly", "/readOnly"),
    ("resources", "/resources"),
    ("requestParameters", "/requestParameters"),
    ("additionalEventData", "/additionalEventData"),
    ("eventID", "/eventID"),
];

/// A record in one line: when, what, who, about which keys, and how it was refused.
pub(super) fn summary(record: &Value) -> String {
    let mut words = vec![
        text(record, "/eventTime").to_owned(),
        format!("{:24}", text(record, "/eventName")),
        user(record),
    ];
    let mut shown: Vec<String> = Vec::new();
    for key in keys(record).map(|key| short(key.rsplit(":key/").next().unwrap_or(key))) {
        if !shown.contains(&key) {
            shown.push(key);
        }
    }
    words.extend(shown);
    let more = [
        ("file", "/requestParameters/encryptionContext/kmsfs:file"),
        ("pid", "/additionalEventData/pid"),
        ("uid", "/additionalEventData/uid"),
    ];
    for (name, pointer) in more {
        match record.pointer(pointer) {
            Some(Value::String(value)) => words.push(format!("{name} {}", short(value))),
            Some(value) => words.push(format!("{name} {value}")),
            None => {}
        }
    }
    let code = text(record, "/errorCode");
    if !code.is_empty() {
        words.push(format!("{code}: {}", text(record, "/errorMessage")));
    }
    let mut line = printable(words.join("  ").trim_end());
    line.push('\n');
    line
}

/// Who asked, in short.
fn user(record: &Value) -> String {
    let pointers = ["/userIdentity/arn", "/userIdentity/invokedBy", "/userIdentity/accountId"];
    let name = pointers.into_iter().map(|pointer| text(record, pointer)).find(|t| !t.is_empty());
    // Of an ARN the part that differs.
    let name = name.unwrap_or("-");
    name.splitn(6, ':').nth(5).unwrap_or(name).to_owned()
}

/// Callers choose parts of a record: nothing of it may steer a terminal.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// Records in a form for other programs, one after another.
pub(super) struct Export {
    form: ExportForm,
    is_first: bool,
}

impl Export {
    pub(super) fn new(form: ExportForm) -> Self {
        Self { form, is_first: true }
    }

    /// What stands before the first record.
    pub(super) fn begin(&self) -> String {
        match self.form {
            ExportForm::Json => "[".to_owned(),
            ExportForm::Cloudtrail => "{\"Records\":[".to_owned(),
            ExportForm::Csv => {
                let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
                names.join(",") + "\r\n"
            }
        }
    }

    /// One record.
    pub(super) fn record(&mut self, record: Value) -> String {
        let record = match self.form {
            ExportForm::Csv => return row(&record),
            ExportForm::Cloudtrail => cloudtrail_form(record),
            ExportForm::Json => record,
        };
        let separator = if std::mem::take(&mut self.is_first) { "\n" } else { ",\n" };
        format!("{separator}{record}")
    }

    /// What stands behind the last record.
    pub(super) fn end(&self) -> String {
        match self.form {
            ExportForm::Json => "\n]\n".to_owned(),
            ExportForm::Cloudtrail => "\n]}\n".to_owned(),
            ExportForm::Csv => String::new(),
        }
    }
}

/// A row of RFC 4180: what is not plain stands in quotes.
fn row(record: &Value) -> String {
    let cells = COLUMNS.iter().map(|(_, pointer)| {
        let value = match record.pointer(pointer) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let is_plain = !value.contains(['"', ',', '\r', '\n']);
        if is_plain { value } else { format!("\"{}\"", value.replace('"', "\"\"")) }
    });
    cells.collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Value {
        json!({
            "userIdentity": {"arn": "arn:aws:iam::1:user/ann"},
            "eventTime": "2026-01-31T23:59:59Z", "eventName": "Decrypt",
            "errorCode": "X", "errorMessage": "a \"b\",\u{1b}[2J",
            "requestParameters": {"keyId": "alias/a"},
            "resources": [{"ARN": "arn:aws:kms:us-east-1:1:key/01234567-89ab"}],
            "additionalEventData": {"pid": 7}, "sequence": 3, "chain": "c", "seal": "s",
        })
    }

    #[test]
    fn a_summary_is_one_line_that_steers_no_terminal() {
        assert_eq!(
            summary(&record()),
            "2026-01-31T23:59:59Z  Decrypt                   user/ann  01234567...  alias/a  \
             pid 7  X: a \"b\",\u{fffd}[2J\n"
        );
    }

    #[test]
    fn exports_are_whole_documents() {
        for (form, is_own) in [(ExportForm::Json, true), (ExportForm::Cloudtrail, false)] {
            for count in 0..3 {
                let mut export = Export::new(form);
                let mut text = export.begin();
                for _ in 0..count {
                    text += &export.record(record());
                }
                text += &export.end();
                let value: Value = serde_json::from_str(&text).unwrap();
                let list = value.get("Records").unwrap_or(&value).as_array().unwrap();
                assert_eq!(list.len(), count);
                assert!(list.iter().all(|record| record.get("seal").is_some() == is_own));
            }
        }
        let row = Export::new(ExportForm::Csv).record(record());
        assert!(row.starts_with("3,2026-01-31T23:59:59Z,Decrypt,,,arn:aws:iam::1:user/ann,"));
        assert!(row.contains(",\"a \"\"b\"\",\u{1b}[2J\","), "{row}");
    }
}
