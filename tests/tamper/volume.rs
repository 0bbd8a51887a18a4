//! What belongs to the volume as a whole: configuration, state, key database, audit log.

use std::fs;
use std::path::PathBuf;

use kmsfs::kms::KeyRef;
use rusqlite::Connection;

use crate::bytes::write;
use crate::lab::{Case, Lab, Outcome, change};

const FILE: &str = "/sizes/20000";

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    configuration(&mut cases);
    state(&mut cases);
    key_database(&mut cases);
    whole(&mut cases);
    cases
}

fn own(lab: &Lab, name: &str) -> PathBuf {
    lab.root.join(".kmsfs").join(name)
}

fn configuration(cases: &mut Vec<Case>) {
    use Outcome::Refused;
    for line in [
        "# A kmsfs volume",
        "format = 1",
        "volume = \"",
        "suite = \"",
        "created = \"",
        "names = \"bound\"",
        "place = \"",
        "key_arn = \"",
        "material = \"",
        "wrapped = \"",
        "number = 0",
        "alias = \"",
        "mac = \"",
    ] {
        let name = format!("a bit of the line {}", line.trim_end_matches([' ', '"', '=']));
        cases.push(Case::new("volume.toml", name, Refused, move |lab| {
            change(&own(lab, "volume.toml"), |bytes| {
                let text = String::from_utf8(bytes.clone()).unwrap();
                let at = text.find(line).unwrap() + line.len() + 3;
                bytes[at.min(text.len() - 3)] ^= 1;
            });
        }));
    }
    let mut add = |name: &str, expected, how: fn(&mut Vec<u8>)| {
        cases.push(Case::new("volume.toml", name, expected, move |lab: &Lab| {
            change(&own(lab, "volume.toml"), how);
        }));
    };
    add("the line of bound names taken out", Refused, |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace("names = \"bound\"\n", "").into_bytes();
    });
    add("the last line taken out", Refused, |bytes| bytes.truncate(bytes.len() - 73));
    add("cut", Refused, |bytes| bytes.truncate(100));
    add("emptied", Refused, Vec::clear);
    cases.push(Case::new("volume.toml", "missing", Refused, |lab| {
        fs::remove_file(own(lab, "volume.toml")).unwrap();
    }));
}

fn state(cases: &mut Vec<Case>) {
    use Outcome::{Accepted, Refused};
    for (field, at) in [
        ("magic", 0),
        ("version", 8),
        ("clean", 10),
        ("reserved bytes", 11),
        ("seconds", 16),
        ("nanoseconds", 24),
        ("last reserved bytes", 28),
        ("tag", 40),
    ] {
        cases.push(Case::new("state", format!("a bit of {field}"), Refused, move |lab| {
            change(&own(lab, "state"), |bytes| bytes[at] ^= 1);
        }));
    }
    cases.push(Case::new("state", "emptied", Refused, |lab| {
        fs::write(own(lab, "state"), b"").unwrap();
    }));
    cases.push(Case::new("state", "missing", Refused, |lab| {
        fs::remove_file(own(lab, "state")).unwrap();
    }));
    cases.push(Case::new("state", "missing, and a file cut", Refused, |lab| {
        fs::remove_file(own(lab, "state")).unwrap();
        lab.change(FILE, |bytes| bytes.truncate(8192));
    }));
    let name = "put back to one of a running mount, and a file cut: mended, as after a crash";
    cases.push(Case::new("state", name, Accepted, |lab| {
        let volume = crate::lab::open(&lab.root, false).unwrap();
        let unclean = fs::read(own(lab, "state")).unwrap();
        volume.shutdown().unwrap();
        drop(volume);
        fs::write(own(lab, "state"), unclean).unwrap();
        lab.change(FILE, |bytes| bytes.truncate(8192));
    }));
}

fn sql(lab: &Lab, text: &str) {
    let connection = Connection::open(own(lab, "keys.db")).unwrap();
    assert_ne!(connection.execute(text, []).unwrap(), 0, "{text}");
}

fn key_database(cases: &mut Vec<Case>) {
    use Outcome::Refused;
    for (name, text) in [
        ("a key removed", "DELETE FROM keys WHERE id = (SELECT min(id) FROM keys)"),
        ("an alias removed", "DELETE FROM aliases WHERE id = 'alias/other'"),
        (
            "an alias under another name",
            "UPDATE aliases SET id = 'alias/c' WHERE id = 'alias/other'",
        ),
        (
            "an alias with the row of another",
            "UPDATE aliases SET body = (SELECT body FROM aliases WHERE id = 'alias/volume') WHERE id = 'alias/other'",
        ),
        ("the Region changed", "UPDATE meta SET body = x'65752d776573742d31' WHERE id = 'region'"),
        ("the revision put back", "UPDATE ring SET revision = revision - 1"),
        ("the revision raised", "UPDATE ring SET revision = revision + 1"),
        ("a slot added", "INSERT INTO slots SELECT '2', body FROM slots"),
        ("the slots removed", "DELETE FROM slots"),
        ("a key with the row of another", "UPDATE keys SET body = (SELECT max(body) FROM keys)"),
    ] {
        cases.push(Case::new("key database", name, Refused, move |lab| sql(lab, text)));
    }
    cases.push(Case::new("key database", "a row put back", Refused, |lab| {
        let connection = Connection::open(own(lab, "keys.db")).unwrap();
        connection.execute_batch("CREATE TABLE kept AS SELECT * FROM keys").unwrap();
        drop(connection);
        lab.kms(|kms| {
            let key = kms.describe_key(&KeyRef::new(crate::garden::OTHER_ALIAS)).unwrap().arn;
            kms.disable_key(&KeyRef::from(&key)).unwrap();
        });
        sql(lab, "UPDATE keys SET body = (SELECT k.body FROM kept k WHERE k.id = keys.id)");
    }));
    for (name, how) in [
        ("cut", (|bytes| bytes.truncate(4096)) as fn(&mut Vec<u8>)),
        ("emptied", Vec::clear),
        ("zeroed", |bytes| bytes.fill(0)),
    ] {
        cases.push(Case::new("key database", name, Refused, move |lab| {
            change(&own(lab, "keys.db"), how);
        }));
    }
    cases.push(Case::new("key database", "missing", Refused, |lab| {
        fs::remove_file(own(lab, "keys.db")).unwrap();
    }));
    let name = "all of it put back: a disabled key is enabled again";
    cases.push(Case::new("key database", name, Outcome::Harmless, |lab| {
        let old = fs::read(own(lab, "keys.db")).unwrap();
        let log = fs::read(own(lab, "audit.log")).unwrap();
        lab.kms(|kms| {
            let key = kms.describe_key(&KeyRef::new(crate::garden::OTHER_ALIAS)).unwrap().arn;
            kms.disable_key(&KeyRef::from(&key)).unwrap();
        });
        for name in ["keys.db-wal", "keys.db-shm"] {
            let _none = fs::remove_file(own(lab, name));
        }
        fs::write(own(lab, "keys.db"), old).unwrap();
        fs::write(own(lab, "audit.log"), log).unwrap();
    }));
}

fn whole(cases: &mut Vec<Case>) {
    let name = "all of it put back to an earlier state";
    cases.push(Case::new("the volume", name, Outcome::Harmless, |lab| {
        // What was written since is not there; what was there before is.
        let aside = tempfile::tempdir().unwrap();
        let copy = |from: &std::path::Path, to: &std::path::Path| {
            let from = format!("{}/.", from.display());
            let done = std::process::Command::new("cp").args(["-a", &from]).arg(to).status();
            assert!(done.unwrap().success());
        };
        copy(&lab.root, aside.path());
        lab.live(|volume| write(volume, FILE, 0, b"newer"));
        for entry in fs::read_dir(&lab.root).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => fs::remove_dir_all(path).unwrap(),
                false => fs::remove_file(path).unwrap(),
            }
        }
        copy(aside.path(), &lab.root);
    }));
    cases.push(Case::new("the volume", "its own directory missing", Outcome::Refused, |lab| {
        fs::remove_dir_all(lab.root.join(".kmsfs")).unwrap();
    }));
}
