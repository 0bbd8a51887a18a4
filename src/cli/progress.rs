//! Progress of long work: a bar on a terminal, a line now and then otherwise.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::interrupt::Interrupt;
use crate::cli::print::Printer;
use crate::cli::values::count;
use crate::control::{Failure, Progress};

/// Time between two lines where nothing can be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows progress and ends it on Ctrl-C.
#[derive(Debug)]
pub struct Watch {
    bar: Option<ProgressBar>,
    printer: Printer,
    interrupt: Interrupt,
    last_line: Instant,
}

impl Watch {
    /// For one command.
    ///
    /// # Errors
    /// If the system lets no signal be watched.
    pub fn new(printer: Printer) -> Result<Self, Failure> {
        let interrupt = Interrupt::watch()?;
        Ok(Self { bar: None, printer, interrupt, last_line: Instant::now() })
    }

    /// Shows where the work is; breaks once the user wants to stop.
    pub fn step(&mut self, now: &Progress) -> ControlFlow<()> {
        if self.interrupt.is_set() {
            return ControlFlow::Break(());
        }
        if now.doing.is_empty() {
            return ControlFlow::Continue(());
        }
        if self.printer.may_redraw() {
            self.redraw(now);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            self.printer.talk(&line(now));
        }
        ControlFlow::Continue(())
    }

    /// Removes the bar, so that what follows begins on a clean line.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn redraw(&mut self, now: &Progress) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::no_length();
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        match now.total {
            Some(total) if bar.length() != Some(total) => {
                bar.set_length(total);
                bar.set_style(style(
                    "{prefix}  [{bar:24}]  {human_pos} / {human_len}  {per_sec}  ETA {eta}  {msg}",
                ));
            }
            None if bar.position() == 0 => {
                bar.set_style(style("{prefix}  {spinner} {human_pos}  {per_sec}  {msg}"));
            }
            _ => {}
        }
        bar.set_prefix(now.doing.clone());
        bar.set_message(format!("failed {}", count(now.failed)));
        bar.set_position(now.done);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.finish();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn line(now: &Progress) -> String {
    let total = now.total.map(|total| format!(" / {}", count(total))).unwrap_or_default();
    format!("{}  {}{total}  failed {}", now.doing, count(now.done), count(now.failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_numbers() {
        let now =
            Progress { doing: "rewrapping".into(), done: 9310, total: Some(12_481), failed: 0 };
        assert_eq!(line(&now), "rewrapping  9 310 / 12 481  failed 0");
    }
}
