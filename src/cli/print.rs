//! Text and JSON of the same reports. stdout is data, stderr is talk.

use std::io::{self, IsTerminal, Write};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::args::Global;
use crate::control::report::Report;
use crate::control::{Failure, Kind};

/// How this command prints.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    json: bool,
    quiet: bool,
    redraw: bool,
}

impl Printer {
    /// By the global options and the environment.
    pub fn new(global: &Global) -> Self {
        let plain = global.no_color || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let redraw = !plain && !global.quiet && io::stderr().is_terminal();
        Self { json: global.json, quiet: global.quiet, redraw }
    }

    /// Whether lines on stderr may be redrawn.
    pub fn may_redraw(self) -> bool {
        self.redraw
    }

    /// Prints a report that is data: what was asked for.
    ///
    /// # Errors
    /// [`Kind::Other`] if stdout does not take it.
    pub fn data<R: Report>(
        self,
        report: &R,
        text: impl FnOnce(&R) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            return self.json(&report.to_value());
        }
        self.raw(text(report).as_bytes())
    }

    /// Prints a report of something that was done: what changed, and the next useful command.
    /// `--quiet` leaves it out of the text form.
    ///
    /// # Errors
    /// [`Kind::Other`] if stdout does not take it.
    pub fn change<R: Report>(
        self,
        report: &R,
        text: impl FnOnce(&R) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            return self.json(&report.to_value());
        }
        if self.quiet { Ok(()) } else { self.raw(text(report).as_bytes()) }
    }

    fn json(self, value: &Value) -> Result<(), Failure> {
        self.raw(format!("{value}\n").as_bytes())
    }

    /// Writes bytes to stdout. A reader that has gone away is no error.
    ///
    /// # Errors
    /// [`Kind::Other`] if stdout does not take it.
    pub fn raw(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::io("stdout", &error))
            }
            _ => Ok(()),
        }
    }

    /// One line of talk.
    pub fn talk(self, line: &str) {
        if !self.quiet {
            let _closed = writeln!(io::stderr().lock(), "{line}");
        }
    }
}

/// Reads a report that a mount, or a session, answered.
///
/// # Errors
/// [`Kind::Other`] if it is another report.
pub fn read_report<R: DeserializeOwned>(value: Value) -> Result<R, Failure> {
    serde_json::from_value(value)
        .map_err(|error| Failure::new(Kind::Other, format!("report does not read: {error}")))
}

/// Lines of `name  value`, names padded to the same width.
pub fn table(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}
