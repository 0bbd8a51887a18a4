//! A directory in which the program runs, and which unmounts what is left.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub const KMSFS: &str = env!("CARGO_BIN_EXE_kmsfs");

/// A directory with a key file `key`, a passphrase file `pass`, and sockets of its own.
pub struct Sandbox {
    dir: TempDir,
}

/// What a command answered.
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        std::fs::write(dir.path().join("key"), [7; 32]).unwrap();
        std::fs::write(dir.path().join("pass"), "correct horse\n").unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// The program with arguments, not run yet.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(KMSFS);
        command.args(args);
        self.settle_in(&mut command);
        command
    }

    /// Runs any program in the sandbox.
    pub fn settle_in(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("HOME", self.dir.path())
            .env_remove("NOTIFY_SOCKET")
            .env_remove("AWS_ENDPOINT_URL_KMS")
            .stdin(Stdio::null());
    }

    /// Runs the program with arguments.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Answer {
        self.command(args).output().unwrap().into()
    }

    /// Runs a line of arguments.
    pub fn line(&self, line: &str) -> Answer {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a line that has to succeed; answers its stdout.
    pub fn ok(&self, line: &str) -> String {
        let answer = self.line(line);
        assert_eq!(answer.code, 0, "kmsfs {line}: {}{}", answer.stdout, answer.stderr);
        answer.stdout
    }

    /// Runs a line that has to succeed and answers JSON.
    pub fn json(&self, line: &str) -> Value {
        let text = self.ok(line);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("kmsfs {line}: {error}: {text}"))
    }

    /// A volume `lower` under the key file, made by `init`.
    pub fn with_volume() -> Self {
        let sandbox = Self::new();
        sandbox.ok("init lower --keyfile key");
        sandbox
    }

    /// The same, mounted at `mnt`; `None` where nothing can be mounted.
    pub fn with_mount() -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let sandbox = Self::new();
        sandbox.ok("mount --create lower mnt --keyfile key");
        Some(sandbox)
    }

    /// Writes a file below the sandbox.
    pub fn write(&self, path: &str, content: &str) {
        std::fs::write(self.path(path), content).unwrap();
    }

    /// Reads a file below the sandbox.
    pub fn read(&self, path: &str) -> std::io::Result<String> {
        std::fs::read_to_string(self.path(path))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = self.path("");
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        // Dead mounts as well, which only the kernel knows.
        for at in points.filter(|at| Path::new(at).starts_with(&own)) {
            self.run(&["umount", "--lazy", at]);
        }
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Answer {
    /// Law: an error is two lines, `error:` and `hint:`, with no full stop and no Debug output.
    pub fn assert_refused(&self, code: i32, what: &str) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        let mut lines = self.stderr.lines().skip_while(|line| !line.starts_with("error: "));
        let error = lines.next().unwrap_or_else(|| panic!("no error line: {}", self.stderr));
        assert!(error.contains(what), "{error}");
        let rest: Vec<&str> = lines.collect();
        assert!(rest.len() <= 1, "{}", self.stderr);
        assert!(rest.iter().all(|line| line.starts_with("hint: ")), "{}", self.stderr);
        assert!(self.stdout.is_empty(), "{}", self.stdout);
    }
}

/// Whether anything can be mounted here; says so if not, and fails in CI.
pub fn can_mount() -> bool {
    let can = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
    if !can {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no /dev/fuse in CI");
        eprintln!("skipped: no /dev/fuse");
    }
    can
}

/// Waits for a condition; there is no sleep that is long enough.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "no {what} within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}
