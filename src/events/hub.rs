//! From records to places: one thread that makes events, and one for each place.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::events::alarm::{Alarm, Rule};
use crate::events::envelope::{ALARM, Event, alarm_event, events_of};
use crate::events::sink::{Sink, SinkPlace};
use crate::kms::audit::Watch;
use crate::kms::{KmsError, Op, OpKind};

/// Records that wait for the thread that makes events.
const RECORDS_MAX: usize = 4096;
/// Events that wait for a place.
const EVENTS_MAX: usize = 1024;
/// How often what was dropped is logged.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A place, and what goes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsTo {
    /// The place.
    pub place: SinkPlace,
    /// Only these detail types, and alarms; all if there are none.
    pub kinds: Vec<String>,
}

/// A rule, and where its alarms go: everywhere, unless it has a place of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmRule {
    /// The rule.
    pub rule: Rule,
    /// Its own place.
    pub to: Option<EventsTo>,
}

/// The audit log's watcher.
pub struct Hub {
    rules: Vec<Rule>,
    records: SyncSender<Message>,
    /// Records that found the queue full.
    dropped: Arc<AtomicU64>,
}

/// Ends the threads of a hub, after what waits has been told.
#[derive(Debug)]
pub struct HubEnd {
    records: SyncSender<Message>,
    thread: JoinHandle<()>,
}

/// What the thread that makes events is told.
#[derive(Debug)]
enum Message {
    /// A line of the log.
    Record(Vec<u8>),
    /// End once what came before is told.
    End,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("rules", &self.rules.len()).finish()
    }
}

impl Hub {
    /// Starts the threads. One rule is always there: somebody uses a key that is pending deletion.
    ///
    /// # Errors
    /// [`std::io::Error`] if the system has no threads to give.
    pub fn start(
        events: &[EventsTo],
        alarms: &[AlarmRule],
    ) -> std::io::Result<(Arc<Self>, HubEnd)> {
        let dropped = Arc::new(AtomicU64::new(0));
        let (records, queue) = sync_channel(RECORDS_MAX);
        let mut desk =
            Desk { alarms: Vec::new(), outlets: Vec::new(), dropped: Arc::clone(&dropped) };
        for to in events {
            desk.outlets.push(Outlet::start(to)?);
        }
        desk.alarms.push((Alarm::new(Rule::pending_deletion()), None));
        for AlarmRule { rule, to } in alarms {
            let own = to.as_ref().map(Outlet::start).transpose()?;
            desk.alarms.push((Alarm::new(rule.clone()), own));
        }
        let rules = desk.alarms.iter().map(|(alarm, _)| alarm.rule.clone()).collect();
        let thread = std::thread::Builder::new()
            .name("kms-events".to_owned())
            .spawn(move || desk.run(&queue))?;
        let end = HubEnd { records: records.clone(), thread };
        Ok((Arc::new(Self { rules, records, dropped }), end))
    }
}

impl Watch for Hub {
    fn wants(&self, op: Op, error: Option<&KmsError>) -> bool {
        (error.is_none() && op.kind() == OpKind::Change)
            || self.rules.iter().any(|rule| rule.may_match(op, error))
    }

    fn told(&self, line: &[u8]) {
        if self.records.try_send(Message::Record(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl HubEnd {
    /// Ends the threads once what waits is told, or after a time: a place that does not answer is left
    /// behind with its thread.
    pub fn finish(self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.thread.is_finished()
            && self.records.try_send(Message::End).is_err()
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !self.thread.is_finished() {
            tracing::warn!("events: some are not told yet, and are lost");
        }
    }
}

/// Makes events of records, and hands them to the places.
struct Desk {
    /// With a place of their own, if they have one.
    alarms: Vec<(Alarm, Option<Outlet>)>,
    outlets: Vec<Outlet>,
    dropped: Arc<AtomicU64>,
}

impl Desk {
    fn run(mut self, queue: &Receiver<Message>) {
        let mut told = 0;
        let mut next_tell = Instant::now() + TELL_EVERY;
        loop {
            match queue.recv_timeout(TELL_EVERY) {
                Ok(Message::Record(line)) => {
                    if let Ok(record) = serde_json::from_slice(&line) {
                        self.record(&record);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => break,
            }
            if next_tell <= Instant::now() {
                next_tell = Instant::now() + TELL_EVERY;
                tell_dropped("records", self.dropped.load(Ordering::Relaxed), &mut told);
            }
        }
        tell_dropped("records", self.dropped.load(Ordering::Relaxed), &mut told);
        // With their queues: a place ends once its queue is empty and nobody can fill it.
        let outlets = self.outlets.into_iter().chain(self.alarms.into_iter().filter_map(|a| a.1));
        let threads: Vec<JoinHandle<()>> = outlets.map(|outlet| outlet.thread).collect();
        for thread in threads {
            let _panicked = thread.join();
        }
    }

    fn record(&mut self, record: &Value) {
        for event in events_of(record) {
            offer(&self.outlets, &Arc::new(event));
        }
        for (alarm, own) in &mut self.alarms {
            let Some(count) = alarm.look(record) else { continue };
            let name = &alarm.rule.name;
            let reason = alarm.reason(record, count);
            tracing::warn!(alarm = name.as_str(), "{reason}");
            let event = Arc::new(alarm_event(record, name, &reason, count));
            match own {
                Some(outlet) => outlet.offer(&event),
                None => offer(&self.outlets, &event),
            }
        }
    }
}

fn offer(outlets: &[Outlet], event: &Arc<Event>) {
    for outlet in outlets {
        outlet.offer(event);
    }
}

fn tell_dropped(what: &str, dropped: u64, told: &mut u64) {
    if dropped > *told {
        tracing::warn!(dropped = dropped - *told, "events: too many {what} at once");
        *told = dropped;
    }
}

/// A place, its queue and its thread.
struct Outlet {
    kinds: Vec<String>,
    events: SyncSender<Arc<Event>>,
    dropped: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Outlet {
    fn start(to: &EventsTo) -> std::io::Result<Self> {
        let (events, queue) = sync_channel(EVENTS_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let (place, counted) = (to.place.clone(), Arc::clone(&dropped));
        let thread = std::thread::Builder::new()
            .name("kms-event-sink".to_owned())
            .spawn(move || deliver(place, &queue, &counted))?;
        Ok(Self { kinds: to.kinds.clone(), events, dropped, thread })
    }

    fn offer(&self, event: &Arc<Event>) {
        // Alarms go everywhere.
        let is_wanted = self.kinds.is_empty()
            || event.kind == ALARM
            || self.kinds.iter().any(|kind| kind == event.kind);
        if is_wanted && self.events.try_send(Arc::clone(event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The thread of a place.
fn deliver(place: SinkPlace, queue: &Receiver<Arc<Event>>, dropped: &AtomicU64) {
    let name = place.to_string();
    let mut sink = Sink::new(place);
    let mut told = 0;
    let mut next_tell = Instant::now();
    loop {
        match queue.recv_timeout(TELL_EVERY) {
            Ok(event) => {
                if let Err(error) = sink.put(&event) {
                    dropped.fetch_add(1, Ordering::Relaxed);
                    if next_tell <= Instant::now() {
                        tracing::warn!(place = name, %error, "events: not told");
                    }
                }
            }

            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if next_tell <= Instant::now() {
            next_tell = Instant::now() + TELL_EVERY;
            tell_dropped(&name, dropped.load(Ordering::Relaxed), &mut told);
        }
    }
    tell_dropped(&name, dropped.load(Ordering::Relaxed), &mut told);
}
