//! Finds mounts, and asks them.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, geteuid};
use serde_json::Value;

use crate::control::places::{connect, socket_dirs};
use crate::control::protocol::LINE_LEN_MAX;
use crate::control::report::HelloReport;
use crate::control::session::OnProgress;
use crate::control::walks::inside;
use crate::control::{Failure, Kind, Progress, Reply, Request, Verb};

/// Longest time that mounts may take to say who they are.
const HELLO_TIME_MAX: Duration = Duration::from_secs(5);

/// How often a waiting client looks whether it should end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Sockets that are asked at most.
const SOCKETS_MAX: usize = 1024;

/// A live mount.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Who it is.
    pub hello: HelloReport,
    socket: PathBuf,
}

impl Mount {
    /// The mount that `path` means: its mount point, anything below it, its lower directory, or the
    /// volume's id.
    pub fn find(path: &Path) -> Option<Self> {
        let mounts = list_mounts();
        let by_id = |mount: &&Self| path.to_str() == Some(mount.hello.volume_id.as_str());
        if let Some(mount) = mounts.iter().find(by_id) {
            return Some(mount.clone());
        }
        let path = &real_path(path);
        let above = mounts.iter().filter(|m| inside(&m.hello.mount_point, path).is_some());
        let nearest = above.max_by_key(|m| m.hello.mount_point.as_os_str().len());
        nearest.or_else(|| mounts.iter().find(|m| is_same_dir(&m.hello.lower, path))).cloned()
    }

    /// A path inside the volume from one under the mount point; the root for any other.
    pub fn inner_path(&self, path: &Path) -> PathBuf {
        let path = &real_path(path);
        inside(&self.hello.mount_point, path).map(Path::to_path_buf).unwrap_or_default()
    }

    /// Connects for one request.
    ///
    /// # Errors
    /// [`Kind::Other`] if the mount has gone meanwhile.
    pub fn client(&self) -> Result<Client, Failure> {
        Client::connect(&self.socket).map_err(|error| Failure::io(self.socket.display(), &error))
    }
}

/// The path without symbolic links; of a name that leads nowhere, that of its directory.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    let real = std::fs::canonicalize(path).ok();
    let by_parent = || {
        let path = std::path::absolute(path).ok()?;
        Some(std::fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?))
    };
    real.or_else(by_parent).unwrap_or_else(|| path.to_path_buf())
}

fn is_same_dir(a: &Path, b: &Path) -> bool {
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Every mount that answers, by mount point. All are asked before one is waited for: those that are
/// stuck cost their time together, not each.
pub fn list_mounts() -> Vec<Mount> {
    let dirs = socket_dirs();
    let files = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
    let sockets =
        files.map(|file| file.path()).filter(|p| p.extension().is_some_and(|e| e == "sock"));
    let ask = |socket: PathBuf| {
        let mut client = Client::connect(&socket).ok()?;
        client.send(Verb::Hello).ok()?;
        Some((client, socket))
    };
    let asked: Vec<(Client, PathBuf)> = sockets.take(SOCKETS_MAX).filter_map(ask).collect();
    let end = Instant::now() + HELLO_TIME_MAX;
    let mut mounts: Vec<Mount> = asked
        .into_iter()
        .filter_map(|(client, socket)| Some(Mount { hello: client.hello(end).ok()?, socket }))
        .collect();
    mounts.sort_by(|a, b| a.hello.mount_point.cmp(&b.hello.mount_point));
    mounts
}

/// A connection for one request.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    /// Bytes of the answer that are not used yet.
    rest: Vec<u8>,
}

impl Client {
    /// Connects to a socket whose server is this user, or root.
    fn connect(socket: &Path) -> io::Result<Self> {
        let stream = connect(socket)?;
        let peer = socket_peercred(&stream)?;
        let me = geteuid();
        if peer.uid != me && !peer.uid.is_root() && !me.is_root() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self { stream, rest: Vec::new() })
    }

    /// The process that answers.
    pub fn server_pid(&self) -> Option<Pid> {
        socket_peercred(&self.stream).ok().map(|peer| peer.pid)
    }

    /// The answer to [`Verb::Hello`], if it comes before `end`.
    fn hello(mut self, end: Instant) -> Result<HelloReport, Failure> {
        let value = self.answer(&mut |_| ControlFlow::Continue(()), &mut || {
            if Instant::now() < end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        serde_json::from_value(value).map_err(|error| no_report(&error))
    }

    /// Sends a request and waits for its report. Stops the work if `progress` breaks, which is
    /// asked several times a second, also when there is nothing new.
    ///
    /// # Errors
    /// What the mount answered; [`Kind::Other`] if it went away.
    pub fn call(mut self, verb: Verb, progress: OnProgress<'_>) -> Result<Value, Failure> {
        self.send(verb)?;
        let latest = std::cell::RefCell::new((Progress::default(), progress));
        self.answer(
            &mut |now| {
                let (shown, progress) = &mut *latest.borrow_mut();
                *shown = now.clone();
                progress(now)
            },
            &mut || {
                let (shown, progress) = &mut *latest.borrow_mut();
                progress(shown)
            },
        )
    }

    fn send(&mut self, verb: Verb) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(&Request::new(verb)).map_err(|e| no_report(&e))?;
        line.push(b'\n');
        let timeout = self.stream.set_read_timeout(Some(LOOK_EVERY));
        timeout.and_then(|()| self.stream.write_all(&line)).map_err(|error| gone(&error))
    }

    fn answer(
        &mut self,
        on_line: OnProgress<'_>,
        on_wait: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Value, Failure> {
        loop {
            let Some(line) = self.line(on_wait)? else {
                return Err(Failure::new(Kind::Interrupted, "interrupted")
                    .hint("run the same command again"));
            };
            match serde_json::from_slice(&line).map_err(|error| no_report(&error))? {
                Reply::Done(value) => return Ok(value),
                Reply::Failed(failure) => return Err(failure),
                Reply::Progress(progress) => {
                    if on_line(&progress).is_break() {
                        return Err(Failure::new(Kind::Interrupted, "interrupted")
                            .hint("run the same command again"));
                    }
                }
            }
        }
    }

    /// The next line; `None` if `on_wait` broke first.
    fn line(
        &mut self,
        on_wait: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let tail = self.rest.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.rest, tail)));
            }
            if self.rest.len() > LINE_LEN_MAX {
                return Err(Failure::new(Kind::Other, "answer of the mount is too long"));
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(gone(&io::ErrorKind::UnexpectedEof.into())),
                Ok(len) => self.rest.extend(buffer.iter().take(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if on_wait().is_break() {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(gone(&error)),
            }
        }
    }
}

fn gone(error: &io::Error) -> Failure {
    Failure::io("the mount hung up", error).hint("kmsfs status")
}

fn no_report(error: &serde_json::Error) -> Failure {
    Failure::new(Kind::Other, format!("answer of the mount does not read: {error}"))
        .hint("umount with the kmsfs that mounted, then mount again")
}
