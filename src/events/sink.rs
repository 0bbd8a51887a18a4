//! Places that events go to, one event at a time. Everything has an end: a place that does not answer
//! costs its own events, and nothing else.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::events::envelope::{ALARM, Event};
use crate::events::journal::send_to_journal;
use crate::events::webhook::{Webhook, post};

/// How long a command may take for an event.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a socket may take for one.
pub(super) const SOCKET_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a socket that nobody answers is left alone.
const RETRY_TIME: Duration = Duration::from_secs(1);

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkPlace {
    /// A shell command, once for each event, which it reads on stdin.
    Command(String),
    /// Appended to a file, a line each.
    File(PathBuf),
    /// The journal: the socket of its native protocol.
    Journal(PathBuf),
    /// A stream socket, a line each.
    Socket(PathBuf),
    /// Sent by POST, to this machine only.
    Webhook(Webhook),
}

impl fmt::Display for SinkPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => write!(f, "command {command}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Journal(_) => f.write_str("journal"),
            Self::Socket(path) => write!(f, "socket {}", path.display()),
            Self::Webhook(hook) => write!(f, "webhook {hook}"),
        }
    }
}

/// A place, with what stays open between two events.
#[derive(Debug)]
pub(super) struct Sink {
    place: SinkPlace,
    file: Option<File>,
    stream: Option<UnixStream>,
    /// Nobody answered; not tried again before.
    next_try: Option<Instant>,
}

impl Sink {
    pub(super) fn new(place: SinkPlace) -> Self {
        Self { place, file: None, stream: None, next_try: None }
    }

    /// Tells one event.
    pub(super) fn put(&mut self, event: &Event) -> io::Result<()> {
        let mut line = event.value.to_string().into_bytes();
        line.push(b'\n');
        match &self.place {
            SinkPlace::Command(command) => run(command, &line),
            SinkPlace::File(path) => {
                let file = match &mut self.file {
                    Some(file) => file,
                    None => self.file.insert(
                        OpenOptions::new().append(true).create(true).mode(0o600).open(path)?,
                    ),
                };
                // Looked for anew after a failure.
                file.write_all(&line).inspect_err(|_| self.file = None)
            }
            SinkPlace::Journal(path) => send_to_journal(path, event, event.kind == ALARM),
            SinkPlace::Socket(path) => {
                if self.next_try.is_some_and(|at| Instant::now() < at) {
                    return Err(io::ErrorKind::NotConnected.into());
                }
                // A peer that has gone shows at the second write at the latest.
                let fresh = self.stream.is_none();
                let mut told = write_line(&mut self.stream, path, &line);
                if told.is_err() && !fresh {
                    told = write_line(&mut self.stream, path, &line);
                }
                self.next_try = told.is_err().then(|| Instant::now() + RETRY_TIME);
                told
            }
            SinkPlace::Webhook(hook) => post(hook, &line),
        }
    }
}

fn write_line(
    stream: &mut Option<UnixStream>,
    path: &std::path::Path,
    line: &[u8],
) -> io::Result<()> {
    let open = match stream {
        Some(open) => open,
        None => {
            let open = UnixStream::connect(path)?;
            open.set_write_timeout(Some(SOCKET_TIME_MAX))?;
            stream.insert(open)
        }
    };
    // After half a line nothing more can be told on this connection.
    open.write_all(line).inspect_err(|_| *stream = None)
}

/// Runs a shell command with an event on its stdin.
fn run(command: &str, line: &[u8]) -> io::Result<()> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    // In a thread: a command that does not read must not hold us up for ever.
    let (stdin, line) = (child.stdin.take(), line.to_vec());
    let writer = std::thread::Builder::new().name("kms-event-stdin".to_owned()).spawn(move || {
        if let Some(mut stdin) = stdin {
            let _unread = stdin.write_all(&line);
        }
    });
    let ended = wait(&mut child);
    // The pipe is closed with the command: the writer ends as well.
    if let (Ok(writer), Ok(_)) = (writer, &ended) {
        let _panicked = writer.join();
    }
    match ended? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("the command ended with {status}"))),
    }
}

fn wait(child: &mut Child) -> io::Result<std::process::ExitStatus> {
    let deadline = Instant::now() + COMMAND_TIME_MAX;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if deadline <= Instant::now() {
            // And what it has started.
            let killed = kill_process_group(Pid::from_child(child), Signal::KILL);
            child.wait()?;
            killed?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the command did not end"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

    use serde_json::json;

    use super::*;

    fn event(no: u32) -> Event {
        Event { kind: "KMS CMK Rotation", title: "t".to_owned(), value: json!({"no": no}) }
    }

    #[test]
    fn a_file_gets_a_line_each() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let mut sink = Sink::new(SinkPlace::File(path.clone()));
        sink.put(&event(1)).unwrap();
        sink.put(&event(2)).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"no\":1}\n{\"no\":2}\n");
        let mut none = Sink::new(SinkPlace::File(dir.path().join("no/file")));
        assert!(none.put(&event(1)).is_err());
    }

    #[test]
    fn a_command_reads_the_event_and_its_failure_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen");
        let mut sink = Sink::new(SinkPlace::Command(format!("cat > '{}'", path.display())));
        sink.put(&event(7)).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"no\":7}\n");
        let error = Sink::new(SinkPlace::Command("exit 3".to_owned())).put(&event(1)).unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_socket_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut sink = Sink::new(SinkPlace::Socket(path.clone()));
        assert!(sink.put(&event(1)).is_err());
        let listener = UnixListener::bind(&path).unwrap();
        sink.next_try = None;
        for no in [2, 3] {
            sink.put(&event(no)).unwrap();
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            assert_eq!(line, format!("{{\"no\":{no}}}\n"));
            // The peer hangs up, and is connected to again.
        }
    }
}
