//! Ctrl-C: the first one ends long work cleanly, the second one at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::cli::exit;
use crate::control::{Failure, Kind};

/// Set once the user wants to stop.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// [`Kind::Other`] if the system refuses.
    pub fn watch() -> Result<Self, Failure> {
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            let code = i32::from(exit::code(Kind::Interrupted));
            // In this order: the second signal finds the flag set by the first.
            flag::register_conditional_shutdown(signal, code, Arc::clone(&seen))
                .and_then(|_| flag::register(signal, Arc::clone(&seen)))
                .map_err(|error| Failure::io("signal handler", &error))?;
        }
        Ok(Self(seen))
    }

    /// Whether the user wants to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
