//! `kmsfs audit` in the clap tree.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use crate::cli::args::UnlockArgs;
use crate::cli::values::parse_moment;
use crate::kms::Timestamp;
use crate::kms::audit::RecordPattern;

const TARGET: &str = "A log file, the directory of a key service, a lower directory, a mount point or a \
                      volume's id; the only live mount without it";

/// `kmsfs audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Print the last records, and with -f those to come
    Tail {
        /// Go on with records as they come
        #[arg(long, short)]
        follow: bool,
        /// How many of the last records come first
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 10)]
        lines: usize,
        /// Of which log, and which.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Find records
    Query {
        /// The newest that fit, at most
        #[arg(long, value_name = "COUNT", default_value_t = 1000)]
        limit: usize,
        /// Of which log, and which.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Check that no line of the log was changed, cut, swapped or removed
    Verify {
        /// The log.
        #[arg(help = TARGET)]
        target: Option<PathBuf>,
        /// How to unlock: without a key, who can write the log can also forge it.
        #[command(flatten)]
        unlock: UnlockArgs,
    },
    /// Print records in a form for other programs
    Export {
        /// Form
        #[arg(long, value_enum, default_value_t = ExportForm::Json)]
        format: ExportForm,
        /// Of which log, and which.
        #[command(flatten)]
        read: ReadArgs,
    },
}

/// What is read.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ReadArgs {
    /// The log.
    #[arg(help = TARGET)]
    pub target: Option<PathBuf>,
    /// Use the key service kept in DIR in place of the volume's own
    #[arg(long, value_name = "DIR")]
    pub kms: Option<PathBuf>,
    /// Which records.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Forms of `kmsfs audit export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportForm {
    /// One array of all records, as they are
    Json,
    /// `{"Records":[..]}`, as CloudTrail's log files have it: without our chain
    Cloudtrail,
    /// One row a record
    Csv,
}

/// Which records. `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FilterArgs {
    /// About this key: id, ARN or alias
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Of this operation, such as Decrypt
    #[arg(long, value_name = "NAME")]
    pub event: Option<String>,
    /// Asked by this user, access key or service
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Refused with this error code or message; * for any
    #[arg(long, value_name = "ERROR")]
    pub error: Option<String>,
    /// About this file of the filesystem, by its id
    #[arg(long, value_name = "ID")]
    pub file: Option<String>,
    /// With this text in the line, letter by letter
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Not older: 2h, 7d, 2026-01-31 or 2026-01-31T23:59:59Z
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub since: Option<Timestamp>,
    /// Not younger
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub until: Option<Timestamp>,
}

impl FilterArgs {
    /// As a pattern.
    pub fn pattern(&self) -> RecordPattern {
        RecordPattern {
            key: self.key.clone(),
            event: self.event.clone(),
            user: self.user.clone(),
            error: self.error.clone(),
            file: self.file.clone(),
            text: self.text.clone(),
            since: self.since,
            until: self.until,
        }
    }
}
