//! Where log lines go: stderr, a file, or nowhere; the last warnings are kept for `status`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

use crate::cli::args::Global;
use crate::cli::values::{unix_secs, utc};
use crate::clock::{Clock, SystemClock};
use crate::control::Failure;

/// Warnings and errors that are kept in memory.
const RECENT_MAX: usize = 64;

/// Longest line that is kept, in bytes.
const RECENT_LINE_LEN_MAX: usize = 1024;

/// Where log lines go.
#[cfg_attr(not(feature = "fuse"), expect(dead_code, reason = "only a mount logs elsewhere"))]
#[derive(Clone, Copy, Debug)]
pub enum Destination<'a> {
    /// Appended to a file, which is made readable for its owner only.
    File(&'a Path),
    /// Only the last warnings are kept, in memory.
    Memory,
    /// For a person, or for a service manager.
    Stderr,
}

/// The last warnings and errors, oldest first.
///
/// The lock is a leaf without a rank: a line may be logged under any other lock.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<VecDeque<String>>>);

impl Recent {
    /// The lines.
    #[cfg(feature = "fuse")]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn push(&self, mut line: String) {
        while line.len() > RECENT_LINE_LEN_MAX {
            line.pop();
        }
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == RECENT_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Starts logging; answers where the last warnings are kept.
///
/// # Errors
/// If the log file cannot be opened.
pub fn start(global: &Global, destination: Destination<'_>) -> Result<Recent, Failure> {
    let recent = Recent::default();
    let base = match (global.quiet, destination) {
        (true, _) => LevelFilter::ERROR,
        (false, Destination::File(_)) => LevelFilter::INFO,
        (false, Destination::Memory | Destination::Stderr) => LevelFilter::WARN,
    };
    let level = match global.verbose {
        0 => base,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_ansi(false);
    // The filter tells the rest of the program that less severe events need not be made.
    let kept = Keep(recent.clone()).with_filter(LevelFilter::WARN);
    let registry = Registry::default().with(kept);
    let set = match destination {
        Destination::Memory => tracing::subscriber::set_global_default(registry),
        Destination::Stderr => tracing::subscriber::set_global_default(
            registry.with(lines.with_writer(std::io::stderr).with_filter(level)),
        ),
        Destination::File(path) => {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            let file = file.map_err(|error| Failure::io(path.display(), &error))?;
            let lines = lines.with_writer(Arc::new(file)).with_filter(level);
            tracing::subscriber::set_global_default(registry.with(lines))
        }
    };
    // A second start keeps the first destination.
    let _second = set;
    Ok(recent)
}

/// Keeps warnings and errors.
struct Keep(Recent);

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now = utc(unix_secs(SystemClock.now()));
        let mut line = Line(format!("{now} {}", event.metadata().level()));
        event.record(&mut line);
        self.0.push(line.0);
    }
}

/// One line being put together.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _never = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(all(test, feature = "fuse"))]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_kept_and_bounded() {
        let recent = Recent::default();
        let kept = Keep(recent.clone()).with_filter(LevelFilter::WARN);
        let registry = Registry::default().with(kept);
        tracing::subscriber::with_default(registry, || {
            tracing::info!("not kept");
            for no in 0..100 {
                tracing::warn!(no, "kept");
            }
            tracing::error!("{}", "x".repeat(5000));
        });
        let lines = recent.lines();
        assert_eq!(lines.len(), RECENT_MAX);
        assert!(lines.iter().all(|line| line.len() <= RECENT_LINE_LEN_MAX));
        assert!(lines.iter().any(|line| line.ends_with("WARN kept no=99")), "{lines:?}");
    }
}
