//! What is tried: kmsfs, others of its kind, and the bare lower filesystem.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::loops::{Kind, run};
use crate::writers::Limits;

/// A filesystem under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Kmsfs,
    Gocryptfs,
    Securefs,
    /// No encryption: the writers work in the lower filesystem itself.
    Plain,
}

/// How long a mount may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Target {
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Kmsfs, Self::Gocryptfs, Self::Securefs, Self::Plain]
            .into_iter()
            .find(|target| target.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Kmsfs => "kmsfs",
            Self::Gocryptfs => "gocryptfs",
            Self::Securefs => "securefs",
            Self::Plain => "plain",
        }
    }

    /// What it can hold over such a lower filesystem: a writer ends at what is too long.
    pub fn limits(self, lower: Kind) -> Limits {
        // A symbolic link of XFS has 1024 bytes; kmsfs keeps long ones in files.
        let (plain, sealed) = if lower == Kind::Xfs { (1000, 500) } else { (3900, 2000) };
        match self {
            Self::Kmsfs => Limits { name: 250, target: 3900 },
            Self::Plain => Limits { name: 250, target: plain },
            Self::Gocryptfs => Limits { name: 250, target: sealed },
            Self::Securefs => Limits { name: 140, target: sealed },
        }
    }

    /// Makes an empty volume in `lower`.
    pub fn init(self, lower: &Path, home: &Home) -> io::Result<()> {
        fs::create_dir(lower)?;
        let mut command = match self {
            Self::Kmsfs => {
                let mut command = home.kmsfs();
                command.arg("init").arg(lower).arg("--keyfile").arg(home.key());
                command
            }
            Self::Gocryptfs => {
                let mut command = Command::new("gocryptfs");
                command.args(["-init", "-q", "-scryptn", "10", "-passfile"]);
                command.arg(home.password()).arg(lower);
                command
            }
            Self::Securefs => {
                let mut command = Command::new("securefs");
                command.args(["create", "--pass", "x", "-r", "1"]).arg(lower);
                command
            }
            Self::Plain => return Ok(()),
        };
        run(&mut command).map(drop)
    }

    /// Mounts the volume in `lower`; the seed decides about the writeback cache.
    pub fn mount(self, lower: &Path, home: &Home, seed: u64) -> io::Result<Running> {
        self.mount_by(&[], lower, home, seed)
    }

    /// The same, started by another program.
    pub fn mount_by(
        self,
        starter: &[&str],
        lower: &Path,
        home: &Home,
        seed: u64,
    ) -> io::Result<Running> {
        let point = home.point();
        let mut command = match self {
            Self::Kmsfs => {
                let mut command = home.kmsfs();
                command.args(["mount", "-f"]).arg(lower).arg(&point);
                command.arg("--keyfile").arg(home.key());
                if seed.is_multiple_of(2) {
                    command.arg("--no-writeback");
                }
                command
            }
            Self::Gocryptfs => {
                let mut command = Command::new("gocryptfs");
                command.args(["-fg", "-q", "-nosyslog", "-passfile"]).arg(home.password());
                command.arg(lower).arg(&point);
                command
            }
            Self::Securefs => {
                let mut command = Command::new("securefs");
                command.args(["mount", "--pass", "x"]).arg(lower).arg(&point);
                command
            }
            Self::Plain => return Ok(Running { child: None, point: lower.to_path_buf() }),
        };
        if let Some((program, words)) = starter.split_first() {
            let started = command;
            command = Command::new(program);
            command.args(words).arg(started.get_program()).args(started.get_args());
            let variables = started.get_envs().filter_map(|(name, value)| Some((name, value?)));
            command.envs(variables);
        }
        let log = fs::File::options().append(true).create(true).open(home.log())?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Else what is there would be taken for the mount.
        assert!(!is_mounted(&point), "{} is mounted already", point.display());
        let mut running = Running { child: Some(command.spawn()?), point };
        let until = Instant::now() + PATIENCE;
        while !is_mounted(&running.point) {
            let ended = running.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || Instant::now() > until {
                let told = fs::read_to_string(home.log()).unwrap_or_default();
                return Err(io::Error::other(format!("{} does not mount: {told}", self.name())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    }
}

fn is_mounted(point: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(4) == point.to_str())
}

impl Target {
    /// Begins to mount, and is killed in the middle of it.
    pub fn begin_to_mount(self, lower: &Path, home: &Home, pause: Duration) -> io::Result<()> {
        if self != Self::Kmsfs {
            return Ok(());
        }
        let mut command = home.kmsfs();
        command.args(["mount", "-f"]).arg(lower).arg(home.point());
        command.arg("--keyfile").arg(home.key());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // With the process that mounts for it, which else would mount after its death.
        command.process_group(0);
        let child = command.spawn()?;
        std::thread::sleep(pause);
        let group = Pid::from_child(&child);
        let _ended = kill_process_group(group, Signal::KILL);
        Running { child: Some(child), point: home.point() }.kill();
        // The one that mounts dies behind its mount(2), which may come to its end only now.
        let until = Instant::now() + PATIENCE;
        while test_kill_process_group(group).is_ok() || is_mounted(&home.point()) {
            if Instant::now() > until {
                return Err(io::Error::other("what was killed does not end"));
            }
            std::thread::sleep(Duration::from_millis(5));
            let _ = run(Command::new("umount").arg("-l").arg(home.point()));
        }
        Ok(())
    }
}

/// A mounted target; killed and detached at the latest when this goes.
pub struct Running {
    child: Option<Child>,
    point: PathBuf,
}

impl Running {
    /// Where the plaintext is.
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// SIGKILL. What is left of the mount answers ENOTCONN and is taken away.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            let _ = run(Command::new("umount").arg("-l").arg(&self.point));
        }
    }

    /// A clean end.
    pub fn unmount(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let until = Instant::now() + PATIENCE;
        while let Err(error) = run(Command::new("umount").arg(&self.point)) {
            if Instant::now() > until {
                self.child = Some(child);
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        match child.wait()?.success() {
            true => Ok(()),
            false => Err(io::Error::other("it ended with an error")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Keys, sockets, logs and the mount point of one volume under test.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["run", "point"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("key"), [7; 32]).unwrap();
        fs::write(dir.path().join("password"), "x\n").unwrap();
        Self(dir)
    }

    /// The program under test.
    pub fn kmsfs(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmsfs"));
        command.env("XDG_RUNTIME_DIR", self.0.path().join("run"));
        command
    }

    pub fn key(&self) -> PathBuf {
        self.0.path().join("key")
    }

    pub fn point(&self) -> PathBuf {
        self.0.path().join("point")
    }

    fn password(&self) -> PathBuf {
        self.0.path().join("password")
    }

    /// What the mount said.
    pub fn log(&self) -> PathBuf {
        self.0.path().join("log")
    }
}
