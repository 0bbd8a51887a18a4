//! `kmsfs serve` on a free port, with a key service of its own.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A server that ends with the test.
pub struct Server {
    child: Child,
    pub endpoint: String,
    pub dir: TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more options of `serve`.
    pub fn start_with(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), [7; 32]).unwrap();
        let (child, endpoint) = Self::spawn(dir.path(), options);
        Self { child, endpoint, dir }
    }

    /// Ends it at once, and starts another on the same key service.
    pub fn restart_with(&mut self, options: &[&str]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.start_again(options);
    }

    /// Starts another on the same key service, after this one has ended.
    pub fn start_again(&mut self, options: &[&str]) {
        (self.child, self.endpoint) = Self::spawn(self.dir.path(), options);
    }

    fn spawn(dir: &Path, options: &[&str]) -> (Child, String) {
        let mut command = Self::command(dir);
        if !options.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command.args(options).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let report: Value = serde_json::from_str(&line).unwrap();
        (child, report["endpoint"].as_str().unwrap().to_owned())
    }

    /// The command, but for where it listens.
    pub fn command(dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmsfs"));
        command.current_dir(dir).args(["serve", "--create", "--kms", "kms", "--keyfile", "key"]);
        command.arg("--json").stdin(Stdio::null());
        command
    }

    /// A field of the first access key.
    pub fn credential(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("kms/credentials.toml")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} = \"")));
        line.unwrap().trim_end_matches('"').to_owned()
    }

    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Ends the server as a user does, and tells its exit code.
    pub fn end(&mut self) -> Option<i32> {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
