//! `kmsfs umount`: waits until the mount is really gone, its volume closed and its lock free.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};

use crate::cli::args::UmountArgs;
use crate::cli::interrupt::Interrupt;
use crate::cli::print::Printer;
use crate::control::report::UmountReport;
use crate::control::{Failure, Kind, Mount, Verb};

/// How often waiting looks at Ctrl-C.
const LOOK_MILLIS: i64 = 200;

/// Time between two lines that say that it takes long.
const TALK_EVERY: Duration = Duration::from_secs(10);

/// Processes that an error names at most.
const USERS_MAX: usize = 5;

/// Runs the command.
///
/// # Errors
/// [`Kind::InUse`] if something uses the mount; [`Kind::Other`] if nothing is mounted there.
pub fn run(args: &UmountArgs, printer: Printer) -> Result<(), Failure> {
    let Some(mount) = Mount::find(&args.target) else {
        return unmount_orphan(args, printer);
    };
    let at = &mount.hello.mount_point;
    // This process must not keep the mount busy by standing in it.
    let _stays = std::env::set_current_dir("/");
    let client = mount.client()?;
    // Opened while the process surely is the one that answers.
    let process = client.server_pid().map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    client
        .call(Verb::Shutdown { lazy: args.lazy }, &mut |_| std::ops::ControlFlow::Continue(()))
        .map_err(|failure| name_users(failure, at))?;
    if !args.lazy {
        match process {
            Some(Ok(process)) => wait_for_end(&process, printer)?,
            _ => wait_for_silence(&mount)?,
        }
    }
    let report = UmountReport {
        mount_point: at.clone(),
        lower: Some(mount.hello.lower.clone()),
        lazy: args.lazy,
    };
    printer.change(&report, text)
}

fn text(report: &UmountReport) -> String {
    let at = report.mount_point.display();
    match (&report.lower, report.lazy) {
        (_, true) => format!("{at} is detached; it ends with its last user.\n"),
        (Some(lower), false) => {
            let lower = lower.display();
            format!("{at} is unmounted.\nnext: kmsfs mount {lower} {at}\n")
        }
        (None, false) => format!("{at} is unmounted.\n"),
    }
}

/// Waits for the end of the process: then the volume is closed and its lock is free.
fn wait_for_end(process: &std::os::fd::OwnedFd, printer: Printer) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let mut talked = Instant::now();
    loop {
        let mut fds = [PollFd::new(process, PollFlags::IN)];
        let wait = Timespec { tv_sec: 0, tv_nsec: LOOK_MILLIS * 1_000_000 };
        match rustix::event::poll(&mut fds, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(Failure::io("process of the mount", &error.into())),
        }
        if interrupt.is_set() {
            let what = "interrupted; the mount ends by itself";
            return Err(Failure::new(Kind::Interrupted, what));
        }
        if talked.elapsed() >= TALK_EVERY {
            talked = Instant::now();
            printer.talk("unmounted; the volume is being written out");
        }
    }
}

/// Without a descriptor of the process: until nobody answers any more.
fn wait_for_silence(mount: &Mount) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    while Mount::find(Path::new(&mount.hello.volume_id)).is_some() {
        if interrupt.is_set() {
            return Err(Failure::new(Kind::Interrupted, "interrupted"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// A mount of kmsfs whose process is gone, or does not answer: only the kernel knows it.
fn unmount_orphan(args: &UmountArgs, printer: Printer) -> Result<(), Failure> {
    let path = std::path::absolute(&args.target)
        .map_err(|error| Failure::io(args.target.display(), &error))?;
    let shown = path.display();
    if !is_kmsfs_mount(&path) {
        let what = format!("{shown}: no volume is mounted there");
        return Err(Failure::new(Kind::Other, what).hint("kmsfs status   (lists all mounts)"));
    }
    let flag = if args.lazy { "-uz" } else { "-u" };
    let output = Command::new("fusermount3")
        .args([flag, "--"])
        .arg(&path)
        .output()
        .map_err(|error| Failure::io("fusermount3", &error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("fusermount3 says nothing");
        return Err(
            Failure::new(Kind::InUse, said.to_owned()).hint(format!("kmsfs umount --lazy {shown}"))
        );
    }
    printer.change(&UmountReport { mount_point: path, lower: None, lazy: args.lazy }, text)
}

/// Whether the kernel has a mount of ours at a path. proc(5), mountinfo.
fn is_kmsfs_mount(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let wanted = escape(&path.to_string_lossy());
    table.lines().any(|line| {
        line.split(' ').nth(4) == Some(wanted.as_str()) && line.contains(" - fuse.kmsfs ")
    })
}

/// Blanks as the kernel writes them in the table of mounts.
fn escape(path: &str) -> String {
    path.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012")
}

/// Adds the processes that use the mount, as far as this user may see them.
fn name_users(failure: Failure, mount_point: &Path) -> Failure {
    if failure.kind != Kind::InUse {
        return failure;
    }
    let users = users(mount_point);
    if users.is_empty() {
        return failure;
    }
    Failure { what: format!("{} by {}", failure.what, users.join(", ")), ..failure }
}

fn users(mount_point: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let users = processes.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let pid = Pid::from_raw(name.parse().ok()?).filter(|pid| *pid != getpid())?;
        let dir = entry.path();
        let held = std::fs::read_dir(dir.join("fd")).into_iter().flatten().flatten();
        let mut links = held.map(|fd| fd.path()).chain([dir.join("cwd"), dir.join("root")]);
        let uses =
            |link: &Path| std::fs::read_link(link).is_ok_and(|to| to.starts_with(mount_point));
        if !links.any(|link| uses(&link)) {
            return None;
        }
        let command = std::fs::read_to_string(dir.join("comm")).unwrap_or_default();
        Some(format!("{} (pid {})", command.trim_end(), pid.as_raw_nonzero()))
    });
    users.take(USERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_written_as_the_kernel_does() {
        assert_eq!(escape("/a b\\c"), "/a\\040b\\134c");
    }

    #[test]
    fn whoever_stands_in_a_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        assert!(users(&real).is_empty());
        let mut child = Command::new("sleep").arg("60").current_dir(&real).spawn().unwrap();
        let users = users(&real);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(users[0].contains(&format!("pid {}", child.id())), "{users:?}");
    }
}
