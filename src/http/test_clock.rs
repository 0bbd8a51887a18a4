//! The clock of a service that its clients may move: all Regions share it. For tests only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::clock::{AheadClock, Clock, SystemClock};
use crate::kms::{Kms, KmsError, Regions, Timestamp};
use crate::sync::{Mutex, Rank};

/// Value of `X-Amz-Target` that moves the clock: no operation of AWS'.
pub const ADVANCE_TARGET: &str = "KmsfsTestClock.Advance";
/// Name of the file that keeps how far the clock is ahead, in milliseconds.
const FILE_NAME: &str = "test-clock";
/// Furthest that a clock may be ahead: a thousand years.
const AHEAD_MAX: Duration = Duration::from_secs(1000 * 365 * 86_400);
/// Stops of one move at most; what is due behind them is carried out late.
const STOPS_MAX: usize = 20_000;

/// A clock, and where it is kept from one start to the next.
#[derive(Debug)]
pub struct TestClock {
    clock: Arc<AheadClock>,
    path: PathBuf,
    /// Held while the clock is being moved.
    moving: Mutex<()>,
}

impl TestClock {
    /// The clock kept in the directory of a key service; the system's time if there is none yet.
    ///
    /// # Errors
    /// What the system answers; [`io::ErrorKind::InvalidData`] if the file is not of its form.
    pub fn load(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE_NAME);
        let clock = Arc::new(AheadClock::default());
        match fs::read_to_string(&path) {
            Ok(text) => {
                let millis = text.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
                clock.set_ahead(Duration::from_millis(millis));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self { clock, path, moving: Mutex::new(Rank::Cache, ()) })
    }

    /// The clock itself.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// The time outside, by which requests are signed.
    pub(super) fn outside(&self) -> SystemTime {
        SystemClock.now()
    }

    /// Answers `{"Seconds": n}` by moving the clock. What falls due on the way is carried out at its
    /// own time, before this returns.
    pub(super) fn answer(&self, regions: &Regions, input: &Value) -> Result<Value, KmsError> {
        let secs = input.get("Seconds").and_then(Value::as_u64).ok_or_else(|| {
            let message = "Seconds must be a whole number, not negative.".to_owned();
            KmsError::Validation { message }
        })?;
        let now = self.advance(&regions.opened(), Duration::from_secs(secs))?;
        Ok(json!({"Now": now.secs()}))
    }

    fn advance(&self, all: &[Kms], by: Duration) -> Result<Timestamp, KmsError> {
        let _moving = self.moving.lock();
        let goal = self.clock.ahead().saturating_add(by);
        if goal > AHEAD_MAX {
            let message = format!("The clock would be {} s ahead.", goal.as_secs());
            return Err(KmsError::Validation { message });
        }
        for _ in 0..STOPS_MAX {
            let now = Timestamp::from_system(self.clock.now());
            let due = all.iter().filter_map(Kms::next_due).filter(|due| *due > now).min();
            let Some(due) = due else { break };
            let ahead = self.clock.ahead() + Duration::from_millis(due.0.saturating_sub(now.0));
            if ahead >= goal {
                break;
            }
            self.clock.set_ahead(ahead);
            tick(all)?;
        }
        self.clock.set_ahead(goal);
        self.keep().map_err(|error| KmsError::Internal {
            message: format!("{}: {error}", self.path.display()),
        })?;
        tick(all)?;
        Ok(Timestamp::from_system(self.clock.now()))
    }

    /// Writes the file, whole or not at all.
    fn keep(&self) -> io::Result<()> {
        let draft = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&draft)?;
        write!(file, "{}", self.clock.ahead().as_millis())?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        self.path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }
}

/// Twice: what one Region did may concern another that was looked at before it.
fn tick(all: &[Kms]) -> Result<(), KmsError> {
    all.iter().chain(all).map(Kms::tick).fold(Ok(()), Result::and)
}
