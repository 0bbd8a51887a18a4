//! The memory of a process that has unlocked keys: in no core file, in no swap, and closed to other
//! processes of the same user.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::sandbox::{KMSFS, Sandbox, can_mount, wait_for};
use crate::user::{USER, as_user, is_root};

/// A program that may leave a core file of any size.
fn with_cores(program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited && exec \"$0\" \"$@\"", program]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Aborts a process; who gave up its right to leave a core gets it back, where that can be done.
fn abort(child: &mut Child) -> ExitStatus {
    let pid = Pid::from_child(child);
    let any = Rlimit { current: None, maximum: None };
    let _refused = prlimit(Some(pid), Resource::Core, any);
    kill_process(pid, Signal::ABORT).unwrap();
    child.wait().unwrap()
}

/// Law: a mount that is aborted leaves no core file, also where an administrator has allowed them.
#[test]
fn a_mount_that_is_aborted_leaves_no_core() {
    if !is_root() || !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_volume();
    let started = |command: &mut Command| {
        sandbox.settle_in(command);
        command.spawn().unwrap()
    };
    let mut sleeper = started(with_cores("sleep").arg("100"));
    wait_for("program", || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", sleeper.id())).unwrap();
        name.trim() == "sleep"
    });
    if !abort(&mut sleeper).core_dumped() {
        eprintln!("skipped: nothing leaves a core here");
        return;
    }
    std::fs::create_dir(sandbox.path("mnt")).unwrap();
    let words = ["mount", "-f", "lower", "mnt", "--keyfile", "key", "--no-sandbox"];
    let mut mount = started(with_cores(KMSFS).args(words));
    let point = sandbox.path("mnt");
    wait_for("mount", || {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.lines().any(|line| line.split(' ').nth(4) == point.to_str())
    });
    let status = abort(&mut mount);
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped());
}

/// Law: where memory can be locked, all of it is that keys may lie in.
#[test]
fn all_memory_of_a_mount_is_locked() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    let status = sandbox.json("status mnt --json");
    if status["mount"]["sandbox"]["memory_locked"] != true {
        eprintln!("skipped: memory cannot be locked here");
        return;
    }
    std::fs::write(sandbox.path("mnt/f"), vec![7; 3_000_000]).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{}/smaps", status["mount"]["pid"])).unwrap();
    let mut area = "";
    let (mut locked, mut open) = (0, Vec::new());
    for line in maps.lines() {
        match line.split_once(':') {
            Some(("VmFlags", flags)) => {
                let has = |flag| flags.split_whitespace().any(|word| word == flag);
                match has("wr") && !has("io") && !has("pf") {
                    true if has("lo") => locked += 1,
                    true => open.push(area),
                    false => {}
                }
            }
            Some((name, _)) if !name.contains(' ') => {}
            _ => area = line,
        }
    }
    assert!(locked > 3, "{locked} areas: the flags are not what they were");
    assert!(open.is_empty(), "{open:#?}");
}

/// Law: a process of the same user cannot look into the memory of one that has unlocked keys.
#[test]
fn the_same_user_cannot_read_the_memory_of_a_key_service() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    for name in ["", "run", "key"] {
        std::os::unix::fs::chown(sandbox.path(name), Some(USER), Some(USER)).unwrap();
    }
    // Wherever the program lies, the user need not be able to go there.
    let program = sandbox.path("kmsfs");
    std::fs::copy(KMSFS, &program).unwrap();
    let started = |command: &mut Command| {
        sandbox.settle_in(command);
        command.uid(USER).gid(USER).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut service = started(Command::new(&program).args([
        "serve",
        "--kms",
        "keys",
        "--create",
        "--keyfile",
        "key",
        "--listen",
        "unix:kms.sock",
    ]));
    let mut sleeper = started(Command::new("sleep").arg("100"));
    wait_for("socket", || sandbox.path("kms.sock").exists());
    let look = |child: &Child| {
        let path = format!("/proc/{}/mem", child.id());
        as_user(USER, &[USER], 0o022, || std::fs::File::open(path).map(drop))
    };
    let (of_service, of_sleeper) = (look(&service), look(&sleeper));
    for child in [&mut service, &mut sleeper] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    of_sleeper.unwrap();
    assert_eq!(of_service.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
}
