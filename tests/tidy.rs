//! The few rules that a machine should hold: the direction of imports, the places of unsafe code, of
//! bare secrets and of single crates.

use std::fs;
use std::path::{Path, PathBuf};

const BASE: [&str; 7] = ["clock", "codec", "name", "random", "secret", "sync", "units"];

/// Module and what it may use besides the base and itself. docs/ARCHITECTURE.md, "Who may use whom".
const MAY_USE: [(&str, &[&str]); 13] = [
    ("crypto", &[]),
    ("fence", &[]),
    ("format", &["crypto"]),
    ("lower", &[]),
    ("kms", &["crypto"]),
    ("wire", &["kms"]),
    ("events", &["kms"]),
    ("http", &["crypto", "kms", "wire"]),
    ("fs", &["crypto", "format", "lower", "kms"]),
    ("fuse", &["fs", "kms", "lower"]),
    ("control", &["fs", "kms", "wire", "lower"]),
    (
        "cli",
        &[
            "control", "crypto", "events", "fence", "format", "fs", "fuse", "http", "kms", "lower",
            "wire",
        ],
    ),
    ("testing", &["control", "crypto", "format", "fs", "fuse", "http", "kms", "lower", "wire"]),
];

/// Crate and the only places that may name it.
const NAMED_IN: [(&str, &[&str]); 14] = [
    ("bip39::", &["kms"]),
    ("fuser::", &["fuse"]),
    ("hyper::", &["http"]),
    ("tokio::", &["http"]),
    ("tokio_rustls::", &["http"]),
    ("clap::", &["cli"]),
    ("landlock::", &["fence"]),
    ("seccompiler::", &["fence"]),
    ("rusqlite::", &["kms"]),
    ("aws_lc_rs::", &["crypto", "kms/store"]),
    ("aes_gcm::", &["crypto"]),
    ("argon2::", &["kms"]),
    ("aes_siv::", &["crypto"]),
    ("shuttle::", &["sync"]),
];

fn sources() -> Vec<(String, String)> {
    source_files("src")
}

/// Names and texts of the Rust files below a directory.
fn source_files(below: &str) -> Vec<(String, String)> {
    fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => collect(&path, found),
                false => found.push(path),
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(below);
    let mut found = Vec::new();
    collect(&root, &mut found);
    found
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The part of a file in front of its tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

#[test]
fn imports_point_downwards() {
    let mut breaches = Vec::new();
    for (file, text) in sources() {
        let module = module_of(&file);
        if module == "lib" || module == "main" {
            continue;
        }
        let allowed: &[&str] =
            MAY_USE.iter().find(|(name, _)| *name == module).map_or(&[], |(_, allowed)| allowed);
        for line in without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//"))
        {
            for used in line.split("crate::").skip(1) {
                let used: String =
                    used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let fine = used.is_empty()
                    || used == module
                    || BASE.contains(&used.as_str())
                    || allowed.contains(&used.as_str());
                if !fine {
                    breaches.push(format!("{file}: uses {used}"));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn unsafe_code_stands_in_one_file() {
    for (file, text) in sources() {
        let has_unsafe = text.lines().any(|line| {
            let code = line.split("//").next().unwrap();
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        });
        assert!(!has_unsafe || file == "lower/sys.rs", "unsafe code in {file}");
    }
}

#[test]
fn bare_secrets_are_exposed_in_few_places() {
    for (file, text) in sources() {
        // The worked example of docs/FORMAT.md is compiled for tests only.
        let allowed = ["crypto/", "kms/", "testing/", "secret.rs", "format/example.rs"];
        let exposes = without_tests(&text).contains(".expose()");
        let fine = allowed.iter().any(|prefix| file.starts_with(prefix));
        assert!(!exposes || fine, "expose() in {file}");
    }
}

#[test]
fn crates_are_named_in_their_room_only() {
    for (file, text) in sources() {
        for (name, rooms) in NAMED_IN {
            let names_it = without_tests(&text)
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| {
                    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
                        .any(|word| word.starts_with(name))
                });
            let fine = rooms.iter().any(|room| file.starts_with(room));
            assert!(!names_it || fine, "{name} named in {file}");
        }
    }
}

#[test]
fn the_core_touches_the_disk_through_lower_only() {
    for (file, text) in sources() {
        let is_core = ["fs/", "format/", "crypto/"].iter().any(|prefix| file.starts_with(prefix));
        assert!(
            !is_core || !without_tests(&text).contains("std::fs::"),
            "std::fs in {file}: use lower"
        );
    }
}

#[test]
fn sources_are_ascii_and_of_readable_length() {
    for (file, text) in sources() {
        assert!(text.is_ascii(), "{file} is not ASCII");
        let lines = text.lines().count();
        let limit = if file == "fuse/adapter.rs" { 750 } else { 600 };
        assert!(lines <= limit, "{file} has {lines} lines: split it by noun");
    }
}

/// Law: a test that the threat model names is there.
#[test]
fn tests_that_the_threat_model_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/THREAT_MODEL.md")).unwrap();
    let clients = fs::read_to_string(root.join("tests/clients/run.py")).unwrap();
    let texts: Vec<String> = [source_files("tests"), sources()]
        .into_iter()
        .flatten()
        .map(|(_, text)| text)
        .chain([clients])
        .collect();
    let known = |name: &str| {
        let functions = [format!("fn {name}("), format!("def {name}(")];
        texts.iter().any(|text| functions.iter().any(|function| text.contains(function)))
    };
    let missing: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        // `module::name_of_the_law` or the name alone: no other words in backticks have so many parts.
        .filter_map(|word| {
            let name = word.rsplit("::").next()?;
            let is_name =
                name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            (is_name && name.matches('_').count() >= 3).then_some(name)
        })
        .filter(|name| !known(name))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
