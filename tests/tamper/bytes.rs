//! Bytes inside of structures: every field of every structure, pages, lengths, slots.

use std::fs;

use kmsfs::crypto::sha256;

use crate::lab::{Case, Lab, Outcome, change};

/// Six blocks; two equal envelopes, as a rewrap leaves them.
const FILE: &str = "/sizes/20000";
/// Has its first envelope only.
const YOUNG: &str = "/third material";
const SPARSE: &str = "/holes/punched";
const HEADER_ONLY: &str = "/sizes/0";

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    fields(&mut cases);
    lengths(&mut cases);
    pages(&mut cases);
    slots(&mut cases);
    small_files(&mut cases);
    cases
}

fn flips(
    cases: &mut Vec<Case>,
    group: &'static str,
    plain: &'static str,
    fields: &[(&str, usize, Outcome)],
) {
    for (field, at, expected) in fields {
        let at = *at;
        let name = format!("a bit of {field}");
        cases.push(Case::new(group, name, *expected, move |lab| {
            lab.change(plain, |bytes| bytes[at] ^= 1);
        }));
    }
}

fn fields(cases: &mut Vec<Case>) {
    use Outcome::{Detected, Harmless};
    flips(
        cases,
        "fields of a prelude",
        FILE,
        &[
            ("magic", 0, Detected),
            ("version", 8, Detected),
            ("suite", 10, Detected),
            ("page length", 12, Detected),
            ("header length", 16, Detected),
            ("key generation", 20, Detected),
            ("volume id", 24, Detected),
            ("file id", 40, Detected),
            ("reserved bytes", 60, Detected),
            ("the last reserved bytes", 500, Detected),
        ],
    );
    flips(
        cases,
        "fields of a home",
        FILE,
        &[
            ("kind", 64, Detected),
            ("length", 66, Detected),
            ("reserved bytes", 68, Detected),
            ("directory id", 72, Detected),
            ("sealed name", 90, Detected),
            ("padding", 350, Detected),
            ("tag", 370, Detected),
        ],
    );
    let slot: Vec<(&str, usize)> = vec![
        ("sequence", 0),
        ("flags", 8),
        ("key policy", 12),
        ("material id", 16),
        ("ARN length", 48),
        ("wrapped length", 50),
        ("reserved bytes", 52),
        ("key ARN", 60),
        ("wrapped data key", 210),
        ("last reserved bytes", 464),
        ("checksum", 472),
        ("header tag", 480),
    ];
    for (field, at) in slot {
        flips(cases, "fields of the only envelope", YOUNG, &[(field, 512 + at, Detected)]);
        // The other slot serves: it is how a torn write looks.
        flips(cases, "fields of one of two envelopes", FILE, &[(field, 512 + at, Harmless)]);
        if field == "checksum" {
            continue;
        }
        let name = format!("a bit of {field}, with a checksum that holds");
        cases.push(Case::new("fields of the only envelope", name, Detected, move |lab| {
            lab.change(YOUNG, |bytes| {
                bytes[512 + at] ^= 1;
                let digest = sha256(&[&bytes[512..984], &bytes[992..1024]]);
                bytes[984..992].copy_from_slice(&digest[..8]);
            });
        }));
    }
    for (block, start) in [("the first", 1536), ("a middle", 8192), ("the last", 20_480)] {
        for (field, at) in [
            ("session nonce", 0),
            ("record nonce", 12),
            ("tag", 24),
            ("length", 40),
            ("flags", 42),
            ("reserved bytes", 44),
            ("ciphertext", 100),
        ] {
            let name = format!("a bit of the {field} of {block} record");
            cases.push(Case::new("fields of a record", name, Detected, move |lab| {
                lab.change(FILE, |bytes| bytes[start + at] ^= 1);
            }));
        }
    }
    flips(cases, "fields of a record", FILE, &[("padding of the last record", 24_575, Detected)]);
}

fn lengths(cases: &mut Vec<Case>) {
    // From a length to another one.
    type Cut = fn(usize) -> usize;
    let lengths: [(&str, Cut); 8] = [
        ("by a byte", |len| len - 1),
        ("by the tail", |len| len / 4095 * 4096),
        ("by a page", |len| (len / 4096 - 1) * 4096 + 4048),
        ("to two pages", |_| 8192),
        ("to page 0", |_| 4096),
        ("to the header", |_| 1536),
        ("into the header", |_| 1000),
        ("to a byte", |_| 1),
    ];
    for (name, len) in lengths {
        for file in [FILE, SPARSE] {
            cases.push(Case::new(
                "length: cut",
                format!("{file} {name}"),
                Outcome::Detected,
                move |lab| {
                    lab.change(file, |bytes| bytes.truncate(len(bytes.len())));
                },
            ));
        }
    }
    let name = format!("{FILE} to nothing");
    cases.push(Case::new("length: cut", name, Outcome::Accepted, |lab| {
        fs::write(lab.at(FILE), b"").unwrap();
    }));
    for (name, more) in [("a byte", 1), ("a page", 4096), ("ten pages", 40_960)] {
        for (what, fill) in [("zeros", 0_u8), ("garbage", 0x5a)] {
            let name = format!("{name} of {what}");
            cases.push(Case::new("length: extended", name, Outcome::Detected, move |lab| {
                lab.change(FILE, |bytes| bytes.resize(bytes.len() + more, fill));
            }));
        }
    }
    let name = "a file with a header and no content";
    cases.push(Case::new("length: extended", name, Outcome::Detected, |lab| {
        lab.change(HEADER_ONLY, |bytes| bytes.resize(5000, 0));
    }));
    // The tail is read by nobody.
    cases.push(Case::new("length: extended", "the tail overwritten", Outcome::Harmless, |lab| {
        lab.change(FILE, |bytes| {
            let end = bytes.len();
            bytes[end - 10..].fill(1);
        });
    }));
}

fn page(no: usize) -> std::ops::Range<usize> {
    no * 4096..(no + 1) * 4096
}

fn pages(cases: &mut Vec<Case>) {
    let mut add = |name: &str, expected, how: fn(&mut Vec<u8>)| {
        cases.push(Case::new("pages", name, expected, move |lab: &Lab| lab.change(FILE, how)));
    };
    use Outcome::Detected;
    add("two swapped", Detected, |b| b[4096..12_288].rotate_left(4096));
    add("one over another", Detected, |b| b.copy_within(page(1), 3 * 4096));
    add("one twice, the rest behind", Detected, |b| {
        let again = b[page(2)].to_vec();
        b.splice(3 * 4096..3 * 4096, again);
    });
    add("one left out", Detected, |b| drop(b.drain(page(2))));
    add("the last over an earlier one", Detected, |b| b.copy_within(page(5), 4096));
    add("an earlier one as the last", Detected, |b| b.copy_within(page(1), 5 * 4096));
    add("the first left out", Detected, |b| drop(b.drain(page(0))));
    add("the first zeroed", Detected, |b| b[page(0)].fill(0));
    add("the first record zeroed", Detected, |b| b[1536..4096].fill(0));
    add("a middle one zeroed", Detected, |b| b[page(2)].fill(0));
    add("the last one zeroed", Detected, |b| b[page(5)].fill(0));
    add("all records zeroed", Detected, |b| b[1536..].fill(0));
    let from_other = |lab: &Lab, range: std::ops::Range<usize>| {
        let other = fs::read(lab.at("/changes/appended")).unwrap();
        lab.change(FILE, |bytes| bytes[range.clone()].copy_from_slice(&other[range.clone()]));
    };
    cases.push(Case::new("pages", "one of another file", Detected, move |lab| {
        from_other(lab, page(1));
    }));
    cases.push(Case::new("pages", "page 0 of another file", Detected, move |lab| {
        from_other(lab, page(0));
    }));
    cases.push(Case::new("pages", "the header of another file", Detected, move |lab| {
        from_other(lab, 0..1536);
    }));
    let name = "one put back to an earlier state of the same file";
    cases.push(Case::new("pages", name, Outcome::Accepted, |lab| {
        let old = fs::read(lab.at(FILE)).unwrap();
        lab.live(|volume| write(volume, FILE, 3000, b"newer"));
        lab.live(|volume| write(volume, FILE, 9000, b"newer too"));
        lab.change(FILE, |bytes| bytes[page(1)].copy_from_slice(&old[page(1)]));
    }));
    let name = "of a file with holes: one but the last zeroed";
    cases.push(Case::new("pages", name, Outcome::Accepted, |lab| {
        lab.change(SPARSE, |bytes| bytes[1536..4096].fill(0));
    }));
    let name = "of a file with holes: the last zeroed";
    cases.push(Case::new("pages", name, Detected, |lab| {
        lab.change(SPARSE, |bytes| {
            let last = bytes.len() / 4096 - 1;
            bytes[page(last)].fill(0);
        });
    }));
}

pub fn write(volume: &kmsfs::fs::Volume, plain: &str, at: u64, data: &[u8]) {
    let node = volume.resolve(std::path::Path::new(plain)).unwrap();
    volume.write(node, at, data, kmsfs::fs::WriteHow::Keep).unwrap();
    volume.forget(node, 1);
}

fn slots(cases: &mut Vec<Case>) {
    use Outcome::{Detected, Harmless};
    let mut add = |name: &str, file: &'static str, expected, how: fn(&mut Vec<u8>)| {
        cases.push(Case::new("envelope slots", name, expected, move |lab| lab.change(file, how)));
    };
    add("swapped", YOUNG, Harmless, |b| b[512..1536].rotate_left(512));
    add("the only one zeroed", YOUNG, Detected, |b| b[512..1024].fill(0));
    add("the only one copied into both", YOUNG, Harmless, |b| b.copy_within(512..1024, 1024));
    add("one of two zeroed", FILE, Harmless, |b| b[512..1024].fill(0));
    add("both zeroed", FILE, Detected, |b| b[512..1536].fill(0));
    add("both torn", FILE, Detected, |b| b[900..1100].fill(0));
    let name = "those of another file";
    cases.push(Case::new("envelope slots", name, Detected, |lab| {
        let other = fs::read(lab.at("/changes/appended")).unwrap();
        lab.change(FILE, |bytes| bytes[512..1536].copy_from_slice(&other[512..1536]));
    }));
    let name = "home of another file";
    cases.push(Case::new("envelope slots", name, Detected, |lab| {
        let other = fs::read(lab.at("/changes/appended")).unwrap();
        lab.change(FILE, |bytes| bytes[64..392].copy_from_slice(&other[64..392]));
    }));
    let name = "an earlier one, of before a rotation: it opens while that material exists";
    cases.push(Case::new("envelope slots", name, Harmless, |lab| {
        let old = fs::read(lab.at(FILE)).unwrap();
        lab.kms(|kms| {
            let key = kms.describe_key(&kmsfs::kms::KeyRef::new(crate::garden::ALIAS)).unwrap().arn;
            kms.rotate_key_on_demand(&kmsfs::kms::KeyRef::from(&key)).unwrap();
        });
        lab.live(|volume| crate::garden::Garden::new(volume).rewrap(&[]));
        lab.change(FILE, |bytes| bytes[512..1536].copy_from_slice(&old[512..1536]));
    }));
}

/// Markers, sidecars, the files of external links.
fn small_files(cases: &mut Vec<Case>) {
    use Outcome::Detected;
    for (field, at) in [
        ("magic", 0),
        ("version", 8),
        ("reserved bytes", 10),
        ("key policy", 12),
        ("volume id", 16),
        ("directory id", 32),
        ("home", 48),
        ("tag", 64),
    ] {
        let name = format!("a bit of {field}");
        cases.push(Case::new("fields of a marker", name, Detected, move |lab| {
            change(&lab.at("/names").join(".kmsfs.dir"), |bytes| bytes[at] ^= 1);
        }));
    }
    for (name, how) in [
        ("cut", (|b| b.truncate(95)) as fn(&mut Vec<u8>)),
        ("extended", |b| b.push(0)),
        ("emptied", Vec::clear),
        ("zeroed", |b| b.fill(0)),
    ] {
        cases.push(Case::new("fields of a marker", name, Detected, move |lab| {
            change(&lab.at("/names").join(".kmsfs.dir"), how);
        }));
        cases.push(Case::new("sidecars", name, Detected, move |lab| {
            change(&sidecar(lab), how);
        }));
        cases.push(Case::new(
            "symlinks",
            format!("the file of an external one {name}"),
            Detected,
            move |lab| {
                change(&external(lab, "/links/external"), how);
            },
        ));
    }
    cases.push(Case::new("sidecars", "a bit", Detected, |lab| {
        change(&sidecar(lab), |bytes| bytes[9] ^= 1);
    }));
    cases.push(Case::new("symlinks", "a bit of the file of an external one", Detected, |lab| {
        change(&external(lab, "/links/external"), |bytes| bytes[50] ^= 1);
    }));
}

/// The sidecar of a file's long name.
pub fn sidecar(lab: &Lab) -> std::path::PathBuf {
    let object = lab.at(&format!("/names/{}", "n".repeat(255)));
    std::path::PathBuf::from(format!("{}.name", object.display()))
}

/// The file of an external symlink.
pub fn external(lab: &Lab, plain: &str) -> std::path::PathBuf {
    let text = fs::read_link(lab.at(plain)).unwrap();
    lab.root.join(".kmsfs/links").join(&text.to_str().unwrap()[1..33])
}
