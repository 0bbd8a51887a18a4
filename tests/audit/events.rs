//! Events and alarms: each act has its event, and no place holds up the key service.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kmsfs::events::{AlarmRule, EventsTo, Hub, HubEnd, Rule, SinkPlace};
use kmsfs::kms::audit::RecordPattern;
use kmsfs::kms::*;
use serde_json::Value;

use crate::bench::{Bench, none, options, unlock};

struct Watched {
    bench: Bench,
    kms: Kms,
    end: HubEnd,
    file: PathBuf,
}

impl Watched {
    /// A key service whose events go to a file, and to other places as well.
    fn new(more: &[SinkPlace], alarms: &[AlarmRule]) -> Self {
        let bench = Bench::new();
        let file = bench.dir.path().join("events");
        let places = [SinkPlace::File(file.clone())].into_iter().chain(more.iter().cloned());
        let events: Vec<EventsTo> =
            places.map(|place| EventsTo { place, kinds: Vec::new() }).collect();
        let (hub, end) = Hub::start(&events, alarms).unwrap();
        let options = KmsOptions { watch: Some(hub), ..options(&bench.clock) };
        let kms = Kms::open(bench.dir.path(), &unlock(), options).unwrap();
        Self { bench, kms, end, file }
    }

    /// What was told, once all is.
    fn finish(self) -> Vec<Value> {
        self.kms.flush_audit().unwrap();
        drop(self.kms);
        self.end.finish(Duration::from_secs(20));
        let text = std::fs::read_to_string(self.file).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let kinds = events.iter().map(|event| event["detail-type"].as_str().unwrap());
    kinds.filter(|kind| !kind.starts_with("AWS API Call")).collect()
}

#[test]
fn what_falls_due_is_told() {
    let watched = Watched::new(&[], &[]);
    let (bench, kms) = (&watched.bench, &watched.kms);
    let tick = || {
        kms.tick().unwrap();
        bench.clock.advance(Duration::from_secs(60));
        kms.tick().unwrap();
    };
    let key = KeyRef::from(&kms.create_key(CreateKey::default()).unwrap().arn);
    kms.enable_key_rotation(&key, Some(90)).unwrap();
    bench.days(91);
    tick();
    kms.schedule_key_deletion(&key, Some(7)).unwrap();
    kms.encrypt(&request(&key)).unwrap_err();
    bench.days(8);
    tick();
    let events = watched.finish();
    let told = kinds(&events);
    assert_eq!(told, ["KMS CMK Rotation", "CloudWatch Alarm State Change", "KMS CMK Deletion"]);
    let of = |kind: &str| events.iter().find(|event| event["detail-type"] == kind).unwrap();
    let rotation = of("KMS CMK Rotation");
    assert_eq!(rotation["detail"]["rotation-type"], "AUTOMATIC");
    assert_eq!(rotation["source"], "aws.kms");
    // A minute after it fell due: a clock that jumps ahead is looked at twice.
    assert_eq!(rotation["time"], "2024-02-13T22:14:20Z");
    let id = key.as_str().rsplit('/').next().unwrap();
    assert_eq!(of("KMS CMK Deletion")["detail"]["key-id"], id);
    let alarm = &of("CloudWatch Alarm State Change")["detail"];
    assert_eq!(alarm["alarmName"], "key-pending-deletion-used");
    assert!(alarm["state"]["reason"].as_str().unwrap().contains("is pending deletion."));
}

fn request(key: &KeyRef) -> Encrypt {
    Encrypt {
        key: key.clone(),
        plaintext: kmsfs::secret::SecretBytes::new(vec![1]),
        context: none(),
        algorithm: None,
        dry_run: false,
    }
}

/// Law: a place that hangs, is dead or fails costs its own events only.
#[test]
fn no_place_holds_up_the_key_service() {
    let dir = tempfile::tempdir().unwrap();
    let deaf = dir.path().join("deaf");
    // Accepts, and never reads.
    let _listener = UnixListener::bind(&deaf).unwrap();
    let bad = [
        SinkPlace::Command("sleep 15".to_owned()),
        SinkPlace::Command("exit 1".to_owned()),
        SinkPlace::Socket(deaf),
        SinkPlace::Socket(dir.path().join("nobody")),
        SinkPlace::Journal(dir.path().join("no journal")),
        SinkPlace::File("/dev/full".into()),
    ];
    let event = Some("Encrypt".to_owned());
    let rule = Rule {
        name: "every".to_owned(),
        pattern: RecordPattern { event, ..RecordPattern::default() },
        count: 1,
        within: Duration::from_secs(1),
        rest: Duration::ZERO,
    };
    let watched = Watched::new(&bad, &[AlarmRule { rule, to: None }]);
    let key = KeyRef::from(&watched.kms.create_key(CreateKey::default()).unwrap().arn);
    let begin = Instant::now();
    for _ in 0..3000 {
        watched.kms.encrypt(&request(&key)).unwrap();
    }
    watched.kms.disable_key(&key).unwrap();
    let taken = begin.elapsed();
    assert!(taken < Duration::from_secs(20), "{taken:?}");
    watched.kms.flush_audit().unwrap();
    // The place that works gets its events whatever becomes of the others.
    let deadline = Instant::now() + Duration::from_secs(20);
    let read = || std::fs::read_to_string(&watched.file).unwrap_or_default();
    while !read().contains("\"DisableKey\"") && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(read().contains("\"CreateKey\""), "no event of the first change");
    assert!(read().contains("\"every\""), "no alarm");
    // The end does not wait for the place that hangs.
    let begin = Instant::now();
    watched.end.finish(Duration::from_millis(300));
    assert!(begin.elapsed() < Duration::from_secs(5));
}

/// Another handle on the log is told of its own records only: an event is not told twice.
#[test]
fn an_event_is_told_by_the_process_that_acts() {
    let watched = Watched::new(&[], &[]);
    watched.bench.kms.create_key(CreateKey::default()).unwrap();
    watched.kms.refresh().unwrap();
    watched.kms.create_key(CreateKey::default()).unwrap();
    assert_eq!(watched.finish().len(), 1);
}
