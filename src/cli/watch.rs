//! What a running key service gets from its configuration: limits of the audit log, and who is told of
//! what happens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::config::Config;
use crate::control::Failure;
use crate::events::{EventsTo, Hub, HubEnd, SinkPlace};
use crate::fs::KeyLimits;
use crate::kms::KmsOptions;

/// How long a command waits at its end for events that are not told yet.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// The threads that tell events; they end last.
#[derive(Debug)]
pub(super) struct Telling {
    end: HubEnd,
    data_keys: KeyLimits,
}

impl Telling {
    /// Starts them, by a configuration file and one more file for events.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn start(
        config: Option<&Path>,
        events: Option<&PathBuf>,
    ) -> Result<(Self, KmsOptions), Failure> {
        let mut config = Config::load(config)?;
        let more = events.map(|path| SinkPlace::File(path.clone()));
        config.events.extend(more.map(|place| EventsTo { place, kinds: Vec::new() }));
        let (hub, end) = Hub::start(&config.events, &config.alarms)
            .map_err(|error| Failure::io("threads of events", &error))?;
        let options = KmsOptions { audit: config.audit, watch: Some(hub), ..KmsOptions::default() };
        Ok((Self { end, data_keys: config.data_keys }, options))
    }

    /// Limits of a mount's data keys, as the configuration has them.
    #[cfg(feature = "fuse")]
    pub(super) fn data_keys(&self) -> KeyLimits {
        self.data_keys
    }

    /// Waits until what happened is told, or for a while.
    pub(super) fn finish(self) {
        self.end.finish(END_TIME_MAX);
    }
}
