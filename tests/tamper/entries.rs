//! Whole entries: swapped, copied, moved, renamed, removed; their attributes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};

use crate::bytes::{external, sidecar, write};
use crate::lab::{Case, Lab, Outcome, swap};

const FILE: &str = "/sizes/20000";
const TWIN: &str = "/changes/appended";

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    files(&mut cases);
    directories(&mut cases);
    names(&mut cases);
    links(&mut cases);
    attributes(&mut cases);
    cases
}

/// Copies a file as it is, attributes and holes included.
fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").args(["-a", "--remove-destination"]).args([from, to]).status();
    assert!(done.unwrap().success());
}

fn files(cases: &mut Vec<Case>) {
    use Outcome::{Accepted, Detected};
    let mut add = |name: &str, expected, how: fn(&Lab)| {
        cases.push(Case::new("files", name, expected, how));
    };
    add("two swapped in one directory", Detected, |l| swap(&l.at(FILE), &l.at("/sizes/6560")));
    add("two swapped across directories", Detected, |l| swap(&l.at(FILE), &l.at(TWIN)));
    add("two of equal size swapped", Detected, |l| {
        l.live(|volume| {
            let mut garden = crate::garden::Garden::new(volume);
            garden.file(b"/twin 1", b"one");
            garden.file(b"/twin 2", b"two");
            garden.rename(b"/twin 2", b"/twin 3");
        });
        let volume = crate::lab::open(&l.root, true).unwrap();
        let lower = |path: &str| {
            let name = volume.file_status(Path::new(path)).unwrap().lower_name.unwrap();
            l.root.join(name)
        };
        let (one, two) = (lower("/twin 1"), lower("/twin 3"));
        drop(volume);
        swap(&one, &two);
    });
    add("one copied over another", Detected, |l| copy(&l.at(FILE), &l.at(TWIN)));
    add("content of one written over another", Detected, |l| {
        fs::write(l.at(TWIN), fs::read(l.at(FILE)).unwrap()).unwrap();
    });
    add("one linked over another", Detected, |l| {
        fs::remove_file(l.at(TWIN)).unwrap();
        fs::hard_link(l.at(FILE), l.at(TWIN)).unwrap();
    });
    add("one of a long name over another", Detected, |l| {
        let long = |c: &str, len| l.at(&format!("/names/{}", c.repeat(len)));
        copy(&long("n", 255), &long("n", 176));
    });
    add("one with a header and no content over another", Detected, |l| {
        copy(&l.at("/sizes/0"), &l.at(TWIN));
    });
    add("one moved over another after it was renamed", Detected, |l| {
        copy(&l.at("/changes/after"), &l.at(TWIN));
    });
    add("one moved to another directory", Detected, |l| {
        let from = l.at(FILE);
        fs::rename(&from, l.at("/holes").join(from.file_name().unwrap())).unwrap();
    });
    add("one copied to another directory", Detected, |l| {
        let from = l.at(FILE);
        copy(&from, &l.at("/holes").join(from.file_name().unwrap()));
    });
    add("one that has, or had, several names over another", Accepted, |l| {
        copy(&l.at("/links/hard"), &l.at(TWIN));
    });
    add("one removed", Accepted, |l| fs::remove_file(l.at(FILE)).unwrap());
    add("one replaced by an empty one", Accepted, |l| {
        fs::remove_file(l.at(FILE)).unwrap();
        fs::write(l.at(FILE), b"").unwrap();
    });
    add("one put back to an earlier state", Accepted, |l| {
        let old = fs::read(l.at(FILE)).unwrap();
        l.live(|volume| write(volume, FILE, 0, b"newer"));
        fs::write(l.at(FILE), &old).unwrap();
        // Told by what was written last.
        l.live(|volume| write(volume, TWIN, 0, b"is kept"));
    });
    add("one put back under a name that it had", Detected, |l| {
        let (from, to) = (l.at("/changes/after"), l.at("/changes/attributes"));
        l.live(|volume| {
            let mut garden = crate::garden::Garden::new(volume);
            garden.tree = crate::garden::read_volume(volume);
            garden.rename(b"/changes/attributes", b"/changes/attributes 2");
        });
        copy(&from, &to);
    });
    add("a foreign one", Detected, |l| fs::write(l.root.join("notes.txt"), b"not ours").unwrap());
    add("of another kind: a fifo", Accepted, |l| {
        fs::remove_file(l.at(FILE)).unwrap();
        assert!(Command::new("mkfifo").arg(l.at(FILE)).status().unwrap().success());
    });
}

fn directories(cases: &mut Vec<Case>) {
    use Outcome::{Accepted, Detected};
    let mut add = |name: &str, expected, how: fn(&Lab)| {
        cases.push(Case::new("directories", name, expected, how));
    };
    add("two swapped", Detected, |l| swap(&l.at("/sizes"), &l.at("/holes")));
    add("two swapped across directories", Detected, |l| {
        swap(&l.at("/holes"), &l.at("/names/deep"));
    });
    add("one copied over another", Detected, |l| {
        fs::remove_dir_all(l.at("/holes")).unwrap();
        copy(&l.at("/sizes"), &l.at("/holes"));
    });
    add("the markers of two swapped", Detected, |l| {
        swap(&l.at("/sizes").join(".kmsfs.dir"), &l.at("/holes").join(".kmsfs.dir"));
    });
    add("the marker of another", Detected, |l| {
        copy(&l.at("/sizes").join(".kmsfs.dir"), &l.at("/holes").join(".kmsfs.dir"));
    });
    add("a marker missing", Detected, |l| {
        fs::remove_file(l.at("/sizes").join(".kmsfs.dir")).unwrap();
    });
    add("the root's marker missing", Detected, |l| {
        fs::remove_file(l.root.join(".kmsfs.dir")).unwrap();
    });
    add("the root's marker that of another", Detected, |l| {
        copy(&l.at("/sizes").join(".kmsfs.dir"), &l.root.join(".kmsfs.dir"));
    });
    add("one moved into another", Detected, |l| {
        let from = l.at("/holes");
        fs::rename(&from, l.at("/sizes").join(from.file_name().unwrap())).unwrap();
    });
    add("one replaced by a file", Detected, |l| {
        fs::remove_dir_all(l.at("/holes")).unwrap();
        copy(&l.at(FILE), &l.at("/holes"));
    });
    add("one made by hand", Detected, |l| fs::create_dir(l.root.join("by hand")).unwrap());
    add("one removed", Accepted, |l| fs::remove_dir_all(l.at("/holes")).unwrap());
    add("an empty one without a marker in the place of another", Detected, |l| {
        fs::remove_dir_all(l.at("/holes")).unwrap();
        fs::create_dir(l.at("/holes")).unwrap();
    });
    add("everything in one removed", Accepted, |l| {
        for entry in fs::read_dir(l.at("/holes")).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() != ".kmsfs.dir" {
                fs::remove_file(path).unwrap();
            }
        }
    });
}

fn names(cases: &mut Vec<Case>) {
    use Outcome::{Detected, Harmless};
    let other = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let first = if name.starts_with('A') { "B" } else { "A" };
        path.with_file_name(format!("{first}{}", &name[1..]))
    };
    cases.push(Case::new("names", "a character changed", Detected, move |l| {
        fs::rename(l.at(FILE), other(&l.at(FILE))).unwrap();
    }));
    let mut add_side = |name: &str, expected, how: fn(&Path)| {
        cases.push(Case::new("sidecars", name, expected, move |l: &Lab| how(&sidecar(l))));
    };
    add_side("missing", Detected, |p| fs::remove_file(p).unwrap());
    add_side("a directory in its place", Detected, |p| {
        fs::remove_file(p).unwrap();
        fs::create_dir(p).unwrap();
    });
    let mut add_case = |group: &'static str, name: &str, expected, how: fn(&Lab)| {
        cases.push(Case::new(group, name, expected, how));
    };
    add_case("sidecars", "that of another name", Detected, |l| {
        let other = l.at(&format!("/names/{}", "n".repeat(176)));
        copy(Path::new(&format!("{}.name", other.display())), &sidecar(l));
    });
    add_case("sidecars", "its object missing", Detected, |l| {
        fs::remove_file(l.at(&format!("/names/{}", "n".repeat(255)))).unwrap();
    });
    add_case("sidecars", "one without an object added", Detected, |l| {
        let name = format!("L.{}.name", "A".repeat(43));
        fs::write(l.root.join(name), b"nothing").unwrap();
    });
    add_case("names", "a leftover of a crash", Detected, |l| {
        fs::write(l.root.join(".kmsfs.tmp.0123"), b"x").unwrap();
    });
    add_case("names", "other files of the prefix", Harmless, |l| {
        fs::write(l.root.join(".kmsfs.other"), b"x").unwrap();
    });
}

fn links(cases: &mut Vec<Case>) {
    use Outcome::{Accepted, Detected};
    let mut add = |name: &str, expected, how: fn(&Lab)| {
        cases.push(Case::new("symlinks", name, expected, how));
    };
    fn put(lab: &Lab, text: &str) {
        fs::remove_file(lab.at("/links/usual")).unwrap();
        symlink(text, lab.at("/links/usual")).unwrap();
    }
    add("text changed", Detected, |l| {
        let text = fs::read_link(l.at("/links/usual")).unwrap();
        let text = text.to_str().unwrap();
        let other = if text.starts_with('A') { "B" } else { "A" };
        put(l, &format!("{other}{}", &text[1..]));
    });
    add("text cut", Detected, |l| {
        let text = fs::read_link(l.at("/links/usual")).unwrap();
        put(l, &text.to_str().unwrap()[4..]);
    });
    add("plain text", Detected, |l| put(l, "/etc/passwd"));
    add("an external one without its file", Detected, |l| {
        put(l, "@00112233445566778899aabbccddeeff.5");
    });
    add("the file of an external one missing", Detected, |l| {
        fs::remove_file(external(l, "/links/external")).unwrap();
    });
    add("the files of two external ones swapped", Detected, |l| {
        swap(&external(l, "/links/external"), &external(l, "/links/longest external"));
    });
    add("two swapped", Accepted, |l| swap(&l.at("/links/usual"), &l.at("/links/short")));
    add("one copied over another", Accepted, |l| {
        let text = fs::read_link(l.at("/links/short")).unwrap();
        put(l, text.to_str().unwrap());
    });
    add("one removed", Accepted, |l| fs::remove_file(l.at("/links/usual")).unwrap());
    add("a file in its place", Detected, |l| {
        fs::remove_file(l.at("/links/usual")).unwrap();
        copy(&l.at(FILE), &l.at("/links/usual"));
    });
}

/// The one sealed attribute, or the first of several, of a lower entry.
fn sealed(path: &PathBuf) -> (String, Vec<u8>) {
    let (mut names, mut value) = (vec![0; 65_536], vec![0; 65_536]);
    let len = listxattr(path, &mut names).unwrap();
    let mut names = names[..len].split(|b| *b == 0).map(|n| String::from_utf8(n.to_vec()).unwrap());
    let name = names.find(|name| name.starts_with("user.kmsfs.")).unwrap();
    let len = getxattr(path, name.as_str(), &mut value).unwrap();
    (name, value[..len].to_vec())
}

fn put(path: &PathBuf, name: &str, value: &[u8]) {
    setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn attributes(cases: &mut Vec<Case>) {
    use Outcome::{Accepted, Detected, Harmless};
    for plain in ["/sizes/0", "/changes/attributes", "/names/deep", "/"] {
        for (what, at) in [("length", 0), ("nonce", 3), ("the end", usize::MAX)] {
            let name = format!("a bit of a value of {plain}: {what}");
            cases.push(Case::new("extended attributes", name, Detected, move |l| {
                let (name, mut value) = sealed(&l.at(plain));
                let at = at.min(value.len() - 1);
                value[at] ^= 1;
                put(&l.at(plain), &name, &value);
            }));
        }
    }
    let mut add = |name: &str, expected, how: fn(&Lab)| {
        cases.push(Case::new("extended attributes", name, expected, how));
    };
    add("a value cut", Detected, |l| {
        let (name, value) = sealed(&l.at("/sizes/0"));
        put(&l.at("/sizes/0"), &name, &value[..value.len() - 1]);
    });
    add("a value emptied", Detected, |l| {
        let (name, _) = sealed(&l.at("/sizes/0"));
        put(&l.at("/sizes/0"), &name, b"");
    });
    add("a value of another file", Detected, |l| {
        let (_, value) = sealed(&l.at("/changes/attributes"));
        let (name, _) = sealed(&l.at("/sizes/0"));
        put(&l.at("/sizes/0"), &name, &value);
    });
    add("an attribute of another file", Detected, |l| {
        let (name, value) = sealed(&l.at("/sizes/0"));
        put(&l.at(FILE), &name, &value);
    });
    add("an attribute of another directory", Detected, |l| {
        let (name, value) = sealed(&l.at("/names/deep"));
        put(&l.at("/holes"), &name, &value);
    });
    add("an attribute of a directory on a file", Detected, |l| {
        let (name, value) = sealed(&l.at("/names/deep"));
        put(&l.at(FILE), &name, &value);
    });
    add("one under another name", Detected, |l| {
        let (name, value) = sealed(&l.at("/sizes/0"));
        removexattr(l.at("/sizes/0"), name.as_str()).unwrap();
        let (other, _) = sealed(&l.at("/names/deep"));
        put(&l.at("/sizes/0"), &other, &value);
    });
    add("one with a name that kmsfs does not write", Detected, |l| {
        put(&l.at(FILE), "user.kmsfs.!", b"x");
    });
    add("a foreign one", Harmless, |l| put(&l.at(FILE), "user.other", b"x"));
    add("one removed", Accepted, |l| {
        let (name, _) = sealed(&l.at("/sizes/0"));
        removexattr(l.at("/sizes/0"), name.as_str()).unwrap();
    });
}
