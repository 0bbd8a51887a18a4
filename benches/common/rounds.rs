//! Rounds of calls, measured by the processor time of the whole process: a busy machine disturbs that
//! little.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Rounds of one case; the median is told, and the spread.
const ROUNDS: usize = 7;

/// Processor time of each round of `calls`, shortest first. `round` makes as many calls as it is told.
pub fn measure(calls: u32, mut round: impl FnMut(u32)) -> Vec<Duration> {
    round(calls / 10);
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = processor_time();
            round(calls);
            processor_time() - start
        })
        .collect();
    rounds.sort();
    rounds
}

/// Names the columns of [`report`].
pub fn heading() {
    println!("{:<44} {:>8} {:>8}   {}", "", "us/call", "calls/s", "spread of calls/s");
}

/// One line of the table.
pub fn report(title: &str, rounds: &[Duration], calls: u32) {
    let per_second = |round: Duration| f64::from(calls) / round.as_secs_f64();
    let [fast, .., slow] = rounds else { return };
    let median = rounds[rounds.len() / 2];
    println!(
        "{title:<44} {:>8.2} {:>8.0}   {:.0}..{:.0}",
        median.as_secs_f64() * 1e6 / f64::from(calls),
        per_second(median),
        per_second(*slow),
        per_second(*fast)
    );
}

/// A number from the environment.
pub fn number(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}
