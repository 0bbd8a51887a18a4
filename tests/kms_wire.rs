//! AWS' JSON shapes: sessions of operation, input and answer in `tests/kms_wire/*.txt`.
//!
//! A line `> Operation {input}` is carried out; the lines `< ...` behind it are the answer, or the
//! exception. In inputs, `$1` is the id and `$1.arn` the ARN of the first key made, `$blob` the last
//! ciphertext blob, `$next` the last `NextMarker`. In answers the same stand for what differs from run
//! to run; blobs are shown by their length. `+ 7 days` moves the clock and carries out what is due.
//! KMSFS_BLESS=1 writes the answers anew: look at the difference before committing it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bench::Bench;
use kmsfs::wire;
use serde_json::Value;

#[derive(Default)]
struct Seen {
    keys: Vec<(String, String)>,
    materials: Vec<String>,
    blob: String,
    next: String,
}

impl Seen {
    fn fill_in(&self, input: &str) -> String {
        let mut text = input.to_owned();
        for (no, (id, arn)) in self.keys.iter().enumerate().rev() {
            text = text.replace(&format!("${}.arn", no + 1), arn);
            text = text.replace(&format!("${}", no + 1), id);
        }
        text.replace("$blob", &self.blob).replace("$next", &self.next)
    }

    /// Notes what an answer brings and puts names in the place of what differs from run to run.
    fn generalise(&mut self, value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(|value| self.generalise(value)),
            Value::Object(map) => {
                for (name, value) in map {
                    match (name.as_str(), &*value) {
                        ("CiphertextBlob", Value::String(text)) => {
                            self.blob.clone_from(text);
                            let len = STANDARD.decode(text).unwrap().len();
                            *value = Value::from(format!("({len} bytes)"));
                        }
                        ("Plaintext", Value::String(text)) if text.len() > 16 => {
                            let len = STANDARD.decode(text).unwrap().len();
                            *value = Value::from(format!("({len} bytes)"));
                        }
                        ("NextMarker", Value::String(text)) => {
                            self.next.clone_from(text);
                            *value = Value::from("$next");
                        }
                        (_, Value::String(text)) => {
                            *value = Value::from(self.generalise_text(text));
                        }
                        _ => self.generalise(value),
                    }
                }
            }
            _ => {}
        }
    }

    fn generalise_text(&mut self, text: &str) -> String {
        let is_material = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if is_material {
            let no = self.materials.iter().position(|known| known == text);
            let no = no.unwrap_or_else(|| {
                self.materials.push(text.to_owned());
                self.materials.len() - 1
            });
            return format!("$material{}", no + 1);
        }
        let mut text = text.to_owned();
        for (no, (id, arn)) in self.keys.iter().enumerate() {
            text =
                text.replace(arn, &format!("${}.arn", no + 1)).replace(id, &format!("${}", no + 1));
        }
        text
    }
}

fn step(bench: &Bench, seen: &mut Seen, line: &str) -> String {
    let (operation, input) = line.split_once(' ').unwrap_or((line, "{}"));
    let input = serde_json::from_str(&seen.fill_in(input)).expect(line);
    match bench.call(operation, input) {
        Ok(mut answer) => {
            if let Some(metadata) = answer.get("KeyMetadata") {
                let text = |name: &str| metadata[name].as_str().unwrap().to_owned();
                let key = (text("KeyId"), text("Arn"));
                if !seen.keys.contains(&key) {
                    seen.keys.push(key);
                }
            }
            seen.generalise(&mut answer);
            format!("{}\n", serde_json::to_string_pretty(&answer).unwrap())
        }
        Err(error) => {
            let mut body = wire::error_body(&error);
            seen.generalise(&mut body);
            format!("{body}\n")
        }
    }
}

fn run(script: &str) -> String {
    let (bench, mut seen) = (Bench::new(), Seen::default());
    let mut out = String::new();
    for line in script.lines().filter(|line| !line.starts_with("< ")) {
        out.push_str(line);
        out.push('\n');
        if let Some(days) = line.strip_prefix("+ ").and_then(|rest| rest.strip_suffix(" days")) {
            bench.days(days.parse().unwrap());
            bench.tick();
        }
        if let Some(call) = line.strip_prefix("> ") {
            for line in step(&bench, &mut seen, call).lines() {
                out.push_str(&format!("< {line}\n"));
            }
        }
    }
    out
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kms_wire").join(name);
    let wanted = std::fs::read_to_string(&path).unwrap();
    let found = run(&wanted);
    if std::env::var_os("KMSFS_BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    } else if found != wanted {
        let at = found.lines().zip(wanted.lines()).position(|(a, b)| a != b).unwrap_or(0);
        let show = |text: &str| text.lines().skip(at).take(5).collect::<Vec<_>>().join("\n");
        panic!("{name}, line {}: found\n{}\nwanted\n{}", at + 1, show(&found), show(&wanted));
    }
}

#[test]
fn keys() {
    check("keys.txt");
}

#[test]
fn crypto() {
    check("crypto.txt");
}

#[test]
fn rotation() {
    check("rotation.txt");
}

#[test]
fn aliases_tags_policies() {
    check("aliases_tags_policies.txt");
}

#[test]
fn mistakes() {
    check("mistakes.txt");
}

#[test]
fn forms() {
    check("forms.txt");
}
