//! Threads of an open volume: the rewrap worker and the checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::fs::Volume;
use crate::fs::rewrap::Rewrapped;

/// Seconds between checkpoints: how much a recovery has to look at.
const CHECKPOINT_SECS: u64 = 30;

/// How long a thread may take to see that it has to stop.
const PATIENCE: Duration = Duration::from_millis(200);

/// What a thread does until it is told to stop.
type Task = fn(&Volume, &AtomicBool);

/// The threads of a volume. Dropping stops and joins them.
#[derive(Debug)]
pub struct Workers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    /// What the system answers if it has no thread left.
    pub fn start(volume: &Arc<Volume>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Self { stop: Arc::clone(&stop), threads: Vec::new() };
        let tasks: [(&str, Task); 2] = [("rewrap", rewrap), ("checkpoint", checkpoint)];
        for (name, work) in tasks {
            let (volume, stop) = (Arc::clone(volume), Arc::clone(&stop));
            let thread = std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || work(&volume, &stop))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker of the volume has panicked");
            }
        }
    }
}

/// Rewraps what was opened stale, one file after another.
fn rewrap(volume: &Volume, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let Some(node) = volume.rewraps.pop(PATIENCE) else {
            continue;
        };
        match volume.rewrap_node(&node) {
            Ok(Rewrapped::Done) => volume.rewraps.finished(true),
            Ok(Rewrapped::Current | Rewrapped::Overtaken) => {}
            Err(error) => {
                tracing::warn!(node = node.id.0, %error, "rewrapping");
                volume.rewraps.finished(false);
            }
        }
    }
}

fn checkpoint(volume: &Volume, stop: &AtomicBool) {
    let mut last = Instant::now();
    while !stop.load(Ordering::Acquire) {
        std::thread::sleep(PATIENCE);
        if last.elapsed().as_secs() >= CHECKPOINT_SECS {
            if let Err(error) = volume.checkpoint() {
                tracing::error!(%error, "checkpoint");
            }
            last = Instant::now();
        }
    }
}
