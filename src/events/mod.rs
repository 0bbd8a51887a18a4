//! What happens in the key service, told to others: events in EventBridge's envelope, and alarms.
//!
//! The audit log hands its records over once they are written ([`Hub`] is its watcher). A thread makes
//! events of them and asks the alarm rules; each place that events go to has a thread and a bounded
//! queue of its own. Nothing here ever holds up the key service: what does not fit is dropped, counted
//! and logged. docs/KMS.md, "Events and alarms".

mod alarm;
mod envelope;
mod hub;
mod journal;
mod sink;
mod webhook;

pub use alarm::{ALARM_COUNT_MAX, Rule};
pub use hub::{AlarmRule, EventsTo, Hub, HubEnd};
pub use journal::JOURNAL_SOCKET;
pub use sink::SinkPlace;
pub use webhook::Webhook;
