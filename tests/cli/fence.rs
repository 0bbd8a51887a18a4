//! The sandbox of a mount and of `kmsfs serve`: what every thread of them has given up, and that all
//! works behind it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::sandbox::{Sandbox, can_mount};

/// Fields of every thread's `/proc/PID/task/TID/status`, but for those that tell events: they stand
/// outside, since they run what the configuration names.
fn threads(pid: u64) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
        .filter(|status| !field(status, "Name:").starts_with("kms-event"))
        .collect()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim()
}

/// Bits of capability sets: linux/capability.h.
fn capabilities(status: &str) -> u64 {
    u64::from_str_radix(field(status, "CapPrm:"), 16).unwrap()
}

/// CHOWN 0, DAC_OVERRIDE 1, DAC_READ_SEARCH 2, FOWNER 3, FSETID 4, SETGID 6, SETUID 7, SYS_ADMIN 21,
/// MKNOD 27, SETFCAP 31.
const OF_A_MOUNT: u64 = 0b1101_1111 | 1 << 21 | 1 << 27 | 1 << 31;

/// DAC_OVERRIDE 1, NET_BIND_SERVICE 10.
const OF_A_SERVICE: u64 = 1 << 1 | 1 << 10;

fn assert_fenced(pid: u64, kept: u64) {
    let threads = threads(pid);
    assert!(!threads.is_empty());
    for status in threads {
        let name = field(&status, "Name:");
        // They run the commands, and write the files, that the administrator's configuration names:
        // they are started before the fence is raised.
        if name.starts_with("kms-event") {
            continue;
        }
        assert_eq!(field(&status, "NoNewPrivs:"), "1", "{name}");
        assert_eq!(field(&status, "Seccomp:"), "2", "{name}");
        assert_eq!(capabilities(&status) & !kept, 0, "{name}: more capabilities than it needs");
    }
}

/// Children of a process.
fn children(pid: u64) -> Vec<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Whether a process is gone, or waits for nothing but to be reaped.
fn has_ended(pid: u64) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_ok_and(|status| field(&status, "State:").starts_with('Z'))
        || !Path::new(&format!("/proc/{pid}")).exists()
}

/// Law: no thread of a mount is outside of the fence, and it mounts, works and unmounts behind it.
#[test]
fn every_thread_of_a_mount_is_fenced_in() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    let status = sandbox.json("status mnt --json");
    let part = &status["mount"]["sandbox"];
    assert_eq!(part["on"], true);
    let pid = status["mount"]["pid"].as_u64().unwrap();
    if part["files"] != true || part["system_calls"] != true {
        println!("skipped: this kernel lacks a part: {part}");
        return;
    }
    assert_fenced(pid, OF_A_MOUNT);
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert!(core.trim().starts_with("0 "), "no core files: {core}");
    if part["memory_locked"] == true {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert_ne!(field(&status, "VmLck:"), "0 kB");
        assert_eq!(field(&status, "VmSwap:"), "0 kB");
    }
    assert!(sandbox.ok("status mnt").contains("files, system calls"), "status names it");

    let at = |name: &str| sandbox.path("mnt").join(name);
    std::fs::create_dir(at("d")).unwrap();
    std::fs::write(at("d/f"), vec![7; 100_000]).unwrap();
    std::fs::rename(at("d/f"), at("g")).unwrap();
    std::fs::hard_link(at("g"), at("d/h")).unwrap();
    std::os::unix::fs::symlink("g", at("l")).unwrap();
    assert_eq!(std::fs::read(at("l")).unwrap(), vec![7; 100_000]);
    if rustix::process::geteuid().is_root() {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(at("g"), "trusted.t", b"v", flags).unwrap();
        std::os::unix::fs::chown(at("g"), Some(1234), Some(1235)).unwrap();
    }
    sandbox.ok("rotate mnt");
    sandbox.ok("rewrap mnt");
    sandbox.ok("fsck mnt");

    let helpers = children(pid);
    assert_eq!(helpers.len(), 1, "one process mounts for it");
    sandbox.ok("umount mnt");
    assert!(has_ended(pid));
    assert!(has_ended(helpers[0]), "it ends with the mount");
    sandbox.ok("mount lower mnt --keyfile key");
    assert_eq!(std::fs::read(at("g")).unwrap(), vec![7; 100_000]);
}

/// Law: a mount whose process is killed takes the one that mounted for it along.
#[test]
fn the_process_that_mounts_ends_when_the_mount_is_killed() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    let pid = sandbox.json("status mnt --json")["mount"]["pid"].as_u64().unwrap();
    let helpers = children(pid);
    let process = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !helpers.iter().all(|pid| has_ended(*pid)) {
        assert!(Instant::now() < deadline, "it is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    sandbox.ok("umount --lazy mnt");
}

#[test]
fn a_mount_without_a_sandbox_says_so() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_volume();
    std::fs::create_dir(sandbox.path("mnt")).unwrap();
    sandbox.ok("mount lower mnt --keyfile key --no-sandbox");
    let status = sandbox.json("status mnt --json");
    assert_eq!(status["mount"]["sandbox"]["on"], false);
    let pid = status["mount"]["pid"].as_u64().unwrap();
    assert!(children(pid).is_empty());
    sandbox.ok("umount mnt");
}

/// Law: no thread of a key service is outside of the fence.
#[test]
fn every_thread_of_a_key_service_is_fenced_in() {
    use std::io::{BufRead, BufReader};
    let sandbox = Sandbox::new();
    let arguments =
        ["serve", "--kms", "keys", "--create", "--keyfile", "key", "--listen", "unix:kms.sock"];
    let mut child =
        sandbox.command(&arguments).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("endpoint"), "{line}");
    let status = threads(child.id().into());
    let is_whole = status.iter().all(|status| field(status, "Seccomp:") == "2");
    if is_whole {
        assert_fenced(child.id().into(), OF_A_SERVICE);
    }
    std::os::unix::net::UnixStream::connect(sandbox.path("kms.sock")).unwrap();
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!sandbox.path("kms.sock").exists(), "the socket is removed from behind the fence");
    assert!(is_whole || std::env::var_os("CI").is_none(), "some threads are not fenced in");
}
