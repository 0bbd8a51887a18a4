//! A log of several files: its chain goes through all of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kmsfs::kms::audit::{AuditLimits, LogFiles, VerifyError, VerifyReport, verify};
use kmsfs::kms::*;

use crate::bench::{Bench, none, options, unlock};

/// Small enough that a few records end a segment.
const SMALL: AuditLimits = AuditLimits { segment_len: 4000, keep_segments: None, keep_time: None };

fn small(bench: &Bench, limits: AuditLimits) -> Kms {
    let options = KmsOptions { audit: limits, ..options(&bench.clock) };
    Kms::open(bench.dir.path(), &unlock(), options).unwrap()
}

/// A log of at least `count` full segments.
fn segmented(count: usize) -> (Bench, Kms) {
    let bench = Bench::new();
    let kms = small(&bench, SMALL);
    while full(&bench).len() < count {
        kms.create_key(CreateKey::default()).unwrap();
    }
    // Behind the last change there may be uses.
    kms.list_keys(&PageRequest::default()).unwrap();
    kms.flush_audit().unwrap();
    (bench, kms)
}

/// Paths of the full segments, by number.
fn full(bench: &Bench) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(bench.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e.len() == 6 && e != "backup"))
        .collect();
    paths.sort();
    paths
}

/// Without and with the key.
fn check(bench: &Bench, kms: &Kms) -> [Result<VerifyReport, VerifyError>; 2] {
    [verify(&bench.log(), None), verify(&bench.log(), Some(&kms.audit_key()))]
}

fn holds(bench: &Bench, kms: &Kms) -> VerifyReport {
    let [without, with] = check(bench, kms);
    without.unwrap();
    with.unwrap()
}

fn line_count(path: &Path) -> u64 {
    u64::try_from(std::fs::read_to_string(path).unwrap().lines().count()).unwrap()
}

#[test]
fn a_log_ends_at_its_size_and_goes_on_in_the_next_file() {
    let (bench, kms) = segmented(3);
    let report = holds(&bench, &kms);
    let segments = full(&bench);
    assert_eq!(segments[0], bench.dir.path().join("audit.log.000001"));
    let lines: u64 = segments.iter().chain([&bench.log()]).map(|path| line_count(path)).sum();
    assert_eq!((report.lines, report.segments), (lines, 4));
    assert_eq!(report.head.sequence, lines);
    for path in &segments {
        let len = std::fs::metadata(path).unwrap().len();
        // It ends with the batch that makes it full.
        assert!((4000..20_000).contains(&len), "{len}");
        // A segment alone can be checked as well.
        let report = verify(path, Some(&kms.audit_key())).unwrap();
        assert_eq!(report.lines, line_count(path));
        assert!(LogFiles::find(path).unwrap().is_part());
    }
    let opening = std::fs::read_to_string(&segments[1]).unwrap();
    assert!(opening.starts_with("{\"kmsfsLog\":1,"), "{opening}");
    assert!(opening.lines().next().unwrap().contains("\"segment\":2"));
    // Another process goes on with it.
    let other = small(&bench, SMALL);
    other.create_key(CreateKey::default()).unwrap();
    holds(&bench, &other);
}

/// Law: missing, swapped, shortened, changed or empty segments are found.
#[test]
fn every_change_of_a_segment_is_found() {
    let (bench, kms) = segmented(3);
    let segments = full(&bench);
    let log = bench.log();
    let all: Vec<PathBuf> = segments.iter().cloned().chain([log]).collect();
    let kept: Vec<Vec<u8>> = all.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let restore = || {
        for (path, bytes) in all.iter().zip(&kept) {
            std::fs::write(path, bytes).unwrap();
        }
        holds(&bench, &kms);
    };
    let is_found = |what: &str| {
        for outcome in check(&bench, &kms) {
            assert!(outcome.is_err(), "{what}: {outcome:?}");
        }
    };
    for at in 0..all.len() {
        std::fs::remove_file(&all[at]).unwrap();
        is_found(&format!("file {at} is gone"));
        restore();

        std::fs::write(&all[at], &kept[(at + 1) % all.len()]).unwrap();
        is_found(&format!("file {at} is another one"));
        restore();

        let mut changed = kept[at].clone();
        let middle = changed.iter().position(|byte| *byte == b'\n').unwrap() / 2;
        changed[middle] ^= 1;
        std::fs::write(&all[at], changed).unwrap();
        is_found(&format!("file {at} is changed"));
        restore();

        if at + 1 == all.len() {
            continue;
        }
        std::fs::write(&all[at], b"").unwrap();
        is_found(&format!("file {at} is empty"));
        restore();

        for cut in [1, kept[at].len() / 2] {
            std::fs::write(&all[at], &kept[at][..kept[at].len() - cut]).unwrap();
            is_found(&format!("file {at} is {cut} bytes shorter"));
            restore();
        }
        let last = kept[at].trim_ascii_end().iter().rposition(|byte| *byte == b'\n').unwrap();
        std::fs::write(&all[at], &kept[at][..=last]).unwrap();
        is_found(&format!("file {at} is a line shorter"));
        restore();
        std::fs::rename(&all[at], bench.dir.path().join("audit.log.000099")).unwrap();
        is_found(&format!("file {at} has another number"));
        std::fs::remove_file(bench.dir.path().join("audit.log.000099")).unwrap();
        restore();
    }
    std::fs::remove_file(&segments[0]).unwrap();
    std::fs::remove_file(&segments[1]).unwrap();
    let [without, with] = check(&bench, &kms);
    for outcome in [without, with] {
        assert!(matches!(outcome, Err(VerifyError::Missing { segment: 2 })), "{outcome:?}");
    }
}

/// Several processes switch one log under each other, and no record is lost.
#[test]
fn several_writers_switch_one_log() {
    let bench = Bench::new();
    let key = bench.new_key();
    let handles: Vec<Kms> = (0..4).map(|_| small(&bench, SMALL)).collect();
    let (rounds, each) = (20, 5);
    std::thread::scope(|scope| {
        for kms in &handles {
            scope.spawn(|| {
                for _ in 0..rounds {
                    for _ in 0..each {
                        KeyService::generate_data_key(kms, &key, &none()).unwrap();
                    }
                    kms.flush_audit().unwrap();
                }
            });
        }
    });
    let report = holds(&bench, &bench.kms);
    let mut files = full(&bench);
    assert!(files.len() > 20, "{}", files.len());
    files.push(bench.log());
    let all = files.iter().map(|path| std::fs::read_to_string(path).unwrap());
    let uses: usize = all.map(|text| text.matches("\"GenerateDataKey\"").count()).sum();
    assert_eq!(uses, handles.len() * rounds * each);
    assert!(report.lines > u64::try_from(uses).unwrap());
}

/// What a crash can leave of a switch: a draft; the old file under both names.
#[test]
fn a_switch_that_was_cut_off_is_made_again() {
    let (bench, kms) = segmented(1);
    let lines = holds(&bench, &kms).lines;
    drop(kms);
    std::fs::write(bench.dir.path().join("audit.log.new"), b"{\"half a li").unwrap();
    std::fs::hard_link(bench.log(), bench.dir.path().join("audit.log.000002")).unwrap();
    // Read as it is: the second name is not a second segment.
    let report = verify(&bench.log(), None).unwrap();
    assert_eq!((report.lines, report.segments), (lines, 2));
    let kms = small(&bench, SMALL);
    while full(&bench).len() < 4 {
        kms.create_key(CreateKey::default()).unwrap();
    }
    assert_eq!(holds(&bench, &kms).segments, 5);
    assert!(!bench.dir.path().join("audit.log.new").exists());
}

/// Old segments go only if the configuration says so, and with a line that tells.
#[test]
fn segments_are_removed_on_purpose_only() {
    let (bench, kms) = segmented(5);
    drop(kms);
    let keep = AuditLimits { keep_segments: Some(2), ..SMALL };
    let kms = small(&bench, keep);
    let before = full(&bench).len();
    while full(&bench).len() >= before {
        kms.create_key(CreateKey::default()).unwrap();
    }
    let left = full(&bench);
    assert_eq!(left.len(), 2);
    let report = holds(&bench, &kms);
    assert!(report.begins.sequence > 0 && report.segments == 3, "{report:?}");

    // One more than the line says.
    let bytes = std::fs::read(&left[0]).unwrap();
    std::fs::remove_file(&left[0]).unwrap();
    for outcome in check(&bench, &kms) {
        assert!(matches!(outcome, Err(VerifyError::Missing { .. })), "{outcome:?}");
    }
    std::fs::write(&left[0], bytes).unwrap();
    // It goes on, and the line may itself be in a segment that is removed later.
    for _ in 0..60 {
        kms.create_key(CreateKey::default()).unwrap();
    }
    assert_eq!(full(&bench).len(), 2);
    holds(&bench, &kms);
    // Numbers go on even if none is kept.
    let kms = small(&bench, AuditLimits { keep_segments: Some(0), ..SMALL });
    let sequence = holds(&bench, &kms).begins.sequence;
    for _ in 0..20 {
        kms.create_key(CreateKey::default()).unwrap();
    }
    assert!(full(&bench).is_empty());
    let report = holds(&bench, &kms);
    assert!(report.segments == 1 && report.begins.sequence > sequence);
}

#[test]
fn segments_are_kept_for_a_time() {
    let (bench, kms) = segmented(3);
    drop(kms);
    let keep = AuditLimits { keep_time: Some(Duration::from_secs(86_400)), ..SMALL };
    let kms = small(&bench, keep);
    for _ in 0..8 {
        kms.create_key(CreateKey::default()).unwrap();
    }
    assert!(full(&bench).len() > 3);
    bench.days(2);
    let before = full(&bench).len();
    while full(&bench).len() >= before {
        kms.create_key(CreateKey::default()).unwrap();
    }
    // All that ended two days ago are gone, and not the one that ends now.
    assert_eq!(full(&bench).len(), 1);
    holds(&bench, &kms);
}

/// A log that is taken away is begun anew, with the gap in its chain.
#[test]
fn a_log_that_is_taken_away_is_missed() {
    let (bench, kms) = segmented(1);
    std::fs::remove_file(bench.log()).unwrap();
    kms.create_key(CreateKey::default()).unwrap();
    assert!(bench.log().exists(), "records go into a file that has no name");
    for outcome in check(&bench, &kms) {
        assert!(matches!(outcome, Err(VerifyError::Broken { line: 1, .. })), "{outcome:?}");
    }
}

/// The second implementation walks the segments by docs/KMS.md alone, and misses one as well.
#[test]
fn another_program_checks_the_segments() {
    let program = "import sys; sys.path.insert(0, sys.argv[1]); import keydb; \
                   keydb.KeyDatabase(sys.argv[2], b'passphrase', None)";
    let has_it = "import cryptography.hazmat.primitives.kdf.argon2";
    let python = |arguments: &[&std::ffi::OsStr]| {
        std::process::Command::new("python3").arg("-Bc").args(arguments).output().unwrap()
    };
    if !python(&[has_it.as_ref()]).status.success() {
        let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!is_ci, "no python3 with cryptography");
        eprintln!("skipped: no python3 with the package cryptography");
        return;
    }
    let (bench, kms) = segmented(3);
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let check = || python(&[program.as_ref(), scripts.as_os_str(), bench.dir.path().as_os_str()]);
    let fails = |what: &str| {
        let output = check();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("BadAudit"), "{what}: {said}");
    };
    let output = check();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let segments = full(&bench);
    for path in &segments {
        let bytes = std::fs::read(path).unwrap();
        std::fs::remove_file(path).unwrap();
        fails("a segment is gone");
        std::fs::write(path, bytes).unwrap();
    }
    drop(kms);
    let kms = small(&bench, AuditLimits { keep_segments: Some(1), ..SMALL });
    for _ in 0..20 {
        kms.create_key(CreateKey::default()).unwrap();
    }
    assert_eq!(full(&bench).len(), 1);
    let output = check();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_file(&full(&bench)[0]).unwrap();
    fails("more is gone than was removed");
}
