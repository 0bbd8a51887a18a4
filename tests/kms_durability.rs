//! Law K7 and K8 under SIGKILL and power cuts: what was acknowledged is there, the rest is there whole
//! or not at all, and the audit chain holds. And no process undoes what another has done.
//!
//! The processes that are killed are this program itself, started anew with [`DIR`] in its environment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/kms.rs"]
mod bench;

use std::io::{BufRead, BufReader, Lines};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bench::{none, unlock};
use kmsfs::kms::*;

const DIR: &str = "KMSFS_DURABILITY_DIR";
const TAGGER: &str = "KMSFS_DURABILITY_TAGGER";
const KILLS: u32 = 12;
const POWER_CUTS: u32 = 6;
/// Together the 50 tags that a key may have, but for two.
const TAGGERS: usize = 4;
const TAGS: usize = 12;

/// Starts this program anew to do what `test` does as a child.
fn again(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(DIR, dir);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Changes keys without end, and says what was acknowledged.
fn change_keys(dir: &Path) {
    let kms = Kms::open(dir, &unlock(), KmsOptions::default()).unwrap();
    for n in 0.. {
        let key = KeyRef::from(&kms.create_key(CreateKey::default()).unwrap().arn);
        println!("\nkey {key}");
        let alias = format!("alias/p{}-{n}", std::process::id());
        kms.create_alias(&alias, &key).unwrap();
        println!("\nalias {alias} {key}");
        let first = kms.describe_key(&key).unwrap().current_material.unwrap();
        kms.rotate_key_on_demand(&key).unwrap();
        let made = KeyService::generate_data_key(&kms, &key, &none()).unwrap();
        let material = made.wrapped.material.unwrap();
        let blob: String = made.wrapped.blob.0.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("\nblob {key} {material} {blob}");
        kms.revoke_material(&key, &first).unwrap();
        kms.destroy_material(&key, &first, None).unwrap();
        println!("\ndestroyed {key} {first}");
        kms.schedule_key_deletion(&key, Some(7)).unwrap();
        kms.cancel_key_deletion(&key).unwrap();
        println!("\ndisabled {key}");
    }
}

/// Whether what a child said is true. Later changes of the same key may have happened as well.
fn check(kms: &Kms, line: &str) {
    match line.split(' ').collect::<Vec<_>>().as_slice() {
        ["key", key] => assert!(kms.describe_key(&KeyRef::new(key)).is_ok(), "{line}"),
        ["alias", alias, key] => {
            let found = kms.describe_key(&KeyRef::new(alias)).unwrap();
            assert_eq!(found.arn.as_str(), *key, "{line}");
        }
        ["blob", key, material, blob] => {
            let key = KeyRef::new(key);
            let found = kms.describe_key(&key).unwrap();
            assert_eq!(found.current_material, MaterialId::parse(material), "{line}");
            if found.state != KeyState::Enabled {
                if found.state == KeyState::PendingDeletion {
                    kms.cancel_key_deletion(&key).unwrap();
                }
                kms.enable_key(&key).unwrap();
            }
            let blob = CiphertextBlob(kmsfs::codec::unhex(blob).unwrap());
            assert!(KeyService::decrypt(kms, &key, &blob, &none()).is_ok(), "{line}");
            kms.disable_key(&key).unwrap();
        }
        ["destroyed", _, material] => {
            let is_gone = kms.materials().iter().all(|m| m.material.to_string() != *material);
            assert!(is_gone, "{line}");
        }
        ["disabled", key] => {
            let found = kms.describe_key(&KeyRef::new(key)).unwrap();
            assert_eq!(found.state, KeyState::Disabled, "{line}");
        }
        _ => {}
    }
}

/// A child that changes keys, and what it has said so far.
struct Changer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    acknowledged: Vec<String>,
}

impl Changer {
    fn start(test: &str, dir: &Path) -> Self {
        let mut child = again(test, dir).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, acknowledged: Vec::new() }
    }

    fn hear(&mut self) {
        let line = self.lines.next().expect("the child has ended by itself").unwrap();
        self.acknowledged.extend(Some(line).filter(is_said));
    }

    /// Listens to the first acknowledgement, and somewhat longer: a different time each round.
    fn run(&mut self, round: u32) {
        while self.acknowledged.is_empty() {
            self.hear();
        }
        let until = Instant::now() + Duration::from_micros(u64::from(round) * 7_919 % 60_000);
        while Instant::now() < until {
            self.hear();
        }
    }

    /// Kills the child; tells what it had said.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // What the pipe still held was acknowledged as well; its last line may be torn.
        let mut rest: Vec<String> = self.lines.map_while(Result::ok).collect();
        rest.pop();
        self.acknowledged.extend(rest.into_iter().filter(is_said));
        self.acknowledged
    }
}

#[allow(clippy::ptr_arg, reason = "a filter's shape")]
fn is_said(line: &String) -> bool {
    let words = ["key ", "alias ", "blob ", "destroyed ", "disabled "];
    words.iter().any(|word| line.starts_with(word))
}

/// Opens what is left, and holds it against what was said.
fn check_all(dir: &Path, acknowledged: &[String]) {
    let kms = Kms::open(dir, &unlock(), KmsOptions::default()).unwrap();
    acknowledged.iter().for_each(|line| check(&kms, line));
    kms.flush_audit().unwrap();
    let report = audit::verify(&dir.join("audit.log"), Some(&kms.audit_key())).unwrap();
    assert_eq!(report.torn_len, 0);
}

fn make(dir: &Path) {
    drop(Kms::create(dir, &unlock(), Argon2Cost::TEST, KmsOptions::default()).unwrap());
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    if let Some(dir) = std::env::var_os(DIR) {
        return change_keys(dir.as_ref());
    }
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let mut said = 0;
    for round in 0..KILLS {
        let mut changer = Changer::start("what_was_acknowledged_survives_a_kill", dir.path());
        changer.run(round);
        let acknowledged = changer.kill();
        said += acknowledged.len();
        check_all(dir.path(), &acknowledged);
    }
    assert!(said >= usize::try_from(KILLS).unwrap());
}

/// An ext4 of its own on a loop device; unmounted on drop.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// `None`, and a line that says why, where there can be none.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: power cuts need root, for a loop device");
            return None;
        }
        let disk = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(disk.at()).unwrap();
        let image = disk.dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let is_made = run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]) && disk.mount();
        if !is_made {
            eprintln!("SKIPPED: no ext4 on a loop device here");
            return None;
        }
        Some(disk)
    }

    fn at(&self) -> std::path::PathBuf {
        self.dir.path().join("disk")
    }

    fn mount(&self) -> bool {
        let image = self.dir.path().join("image");
        run("mount", &["-o", "loop", image.to_str().unwrap(), self.at().to_str().unwrap()])
    }

    fn umount(&self) -> bool {
        run("umount", &[self.at().to_str().unwrap()])
    }

    /// Nothing that is not on the disk gets there any more: `EXT4_IOC_SHUTDOWN` without a flush of the
    /// filesystem's log (include/uapi/linux/ext4.h).
    fn cut(&self) {
        const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
        const GOING_FLAGS_NOLOGFLUSH: u32 = 2;
        let root = std::fs::File::open(self.at()).unwrap();
        let flags = GOING_FLAGS_NOLOGFLUSH;
        // SAFETY: the descriptor is open, and the kernel reads four bytes.
        let answer = unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_SHUTDOWN, &raw const flags) };
        assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _not_mounted = self.umount();
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    let output = Command::new(program).args(args).stderr(Stdio::null()).status();
    output.is_ok_and(|status| status.success())
}

/// Law: what was acknowledged survives a power cut: neither is it undone by a journal that comes back,
/// nor is half of a change seen.
#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    if let Some(dir) = std::env::var_os(DIR) {
        return change_keys(dir.as_ref());
    }
    let Some(disk) = Disk::new() else { return };
    let dir = disk.at().join("kms");
    make(&dir);
    let mut said = 0;
    for round in 0..POWER_CUTS {
        let mut changer = Changer::start("what_was_acknowledged_survives_a_power_cut", &dir);
        changer.run(round * 7 + 1);
        disk.cut();
        let acknowledged = changer.kill();
        said += acknowledged.len();
        assert!(disk.umount() && disk.mount(), "the disk does not come back");
        check_all(&dir, &acknowledged);
    }
    assert!(said >= usize::try_from(POWER_CUTS).unwrap());
}

/// Law: processes that change one key at once lose none of each other's changes.
#[test]
fn no_process_undoes_what_another_has_done() {
    let tagger = std::env::var(TAGGER);
    if let (Some(dir), Ok(tagger)) = (std::env::var_os(DIR), &tagger) {
        let kms = Kms::open(dir.as_ref(), &unlock(), KmsOptions::default()).unwrap();
        let key = KeyRef::new("alias/shared");
        let key = KeyRef::from(&kms.describe_key(&key).unwrap().arn);
        for n in 0..TAGS {
            let tag = Tag { key: format!("{tagger}-{n}"), value: String::new() };
            kms.tag_resource(&key, &[tag]).unwrap();
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let kms = Kms::open(dir.path(), &unlock(), KmsOptions::default()).unwrap();
    let key = KeyRef::from(&kms.create_key(CreateKey::default()).unwrap().arn);
    kms.create_alias("alias/shared", &key).unwrap();
    let children: Vec<Child> = (0..TAGGERS)
        .map(|n| {
            let mut command = again("no_process_undoes_what_another_has_done", dir.path());
            command.env(TAGGER, n.to_string()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success(), "a change was refused");
    }
    kms.refresh().unwrap();
    let tags = kms.list_resource_tags(&key, &PageRequest::default()).unwrap().entries;
    assert_eq!(tags.len(), TAGGERS * TAGS);
    check_all(dir.path(), &[]);
}
