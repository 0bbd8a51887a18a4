//! The control socket of a mount: a thread per connection, everything bounded.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use crate::control::places::{bind, make_socket_dir};
use crate::control::protocol::{LINE_LEN_MAX, VERSION};
use crate::control::{Failure, Kind, Progress, Reply, Request, Session};

/// Connections at once; one more is told to come again.
const CONNECTIONS_MAX: usize = 16;

/// Time in which a client must have sent its request, or taken a line of the answer.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(10);

/// Shortest time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// How often the listener looks whether it should end.
const STOP_LOOK_MILLIS: i64 = 250;

/// A control socket that is bound, and not yet served: binding may fail before the mount is made.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    name: SocketName,
}

/// A socket's name in the filesystem; gone on drop.
#[derive(Debug)]
struct SocketName(PathBuf);

impl Drop for SocketName {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// A control socket that is served.
#[derive(Debug)]
pub struct Started {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    name: Option<SocketName>,
}

impl Server {
    /// Binds `DIR/VOLUME_ID.sock`, mode 0600, replacing a socket that nobody answers any more.
    ///
    /// # Errors
    /// [`Kind::AlreadyRunning`] if another mount answers there.
    pub fn bind(dir: &Path, volume_id: &str) -> Result<Self, Failure> {
        make_socket_dir(dir)?;
        let path = dir.join(format!("{volume_id}.sock"));
        let listener = bind(&path).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                let what = format!("volume {volume_id} is already mounted");
                Failure::new(Kind::AlreadyRunning, what).hint("kmsfs status")
            }
            _ => Failure::io(path.display(), &error),
        })?;
        Ok(Self { listener, name: SocketName(path) })
    }

    /// Serves requests until [`Started::stop`], or drop.
    ///
    /// # Errors
    /// [`Kind::Other`] if no thread can be started.
    pub fn start(self, session: Arc<Session>) -> Result<Started, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let Self { listener, name } = self;
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || accept_loop(&listener, &session, &seen))
            .map_err(|error| Failure::io("control thread", &error))?;
        Ok(Started { stop, thread: Some(thread), name: Some(name) })
    }
}

impl Started {
    /// Ends within a second: no new connections; work under way is told to stop.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // First, so that no new command finds the way.
        self.name = None;
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn accept_loop(listener: &UnixListener, session: &Arc<Session>, stop: &Arc<AtomicBool>) {
    let open = Arc::new(AtomicUsize::new(0));
    while !stop.load(Ordering::Acquire) {
        if !is_ready(listener) {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        if open.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::AcqRel);
            let what = format!("{CONNECTIONS_MAX} commands are under way");
            let failure = Failure::new(Kind::AlreadyRunning, what).hint("try again");
            let _hung_up = send(&stream, &Reply::Failed(failure));
            continue;
        }
        let (session, stop) = (Arc::clone(session), Arc::clone(stop));
        let turn = Turn(Arc::clone(&open));
        let spawned = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            let _turn = turn;
            let _hung_up = serve(&stream, &session, &stop);
        });
        if let Err(error) = spawned {
            tracing::warn!("control connection dropped: {error}");
        }
    }
    // Work under way sees the flag at its next progress; a moment lets it say goodbye.
    let deadline = Instant::now() + Duration::from_secs(1);
    while open.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits a moment for a connection.
fn is_ready(listener: &UnixListener) -> bool {
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    let wait = Timespec { tv_sec: 0, tv_nsec: STOP_LOOK_MILLIS * 1_000_000 };
    match rustix::event::poll(&mut fds, Some(&wait)) {
        Ok(count) => count > 0,
        Err(_) => {
            std::thread::sleep(Duration::from_millis(10));
            false
        }
    }
}

/// One open connection; counts itself out on drop.
struct Turn(Arc<AtomicUsize>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn serve(stream: &UnixStream, session: &Session, stop: &AtomicBool) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_TIME_MAX))?;
    stream.set_write_timeout(Some(CLIENT_TIME_MAX))?;
    let peer = socket_peercred(stream)?;
    if !peer.uid.is_root() && peer.uid != geteuid() {
        let what = format!("user {} may not control this mount", peer.uid.as_raw());
        return send(stream, &Reply::Failed(Failure::new(Kind::Denied, what)));
    }
    let request = match receive(stream) {
        Ok(request) => request,
        Err(failure) => return send(stream, &Reply::Failed(failure)),
    };
    let mut last = Instant::now();
    let mut on_progress = |progress: &Progress| {
        if stop.load(Ordering::Acquire) {
            return ControlFlow::Break(());
        }
        if last.elapsed() < PROGRESS_EVERY {
            return ControlFlow::Continue(());
        }
        last = Instant::now();
        match send(stream, &Reply::Progress(progress.clone())) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    // As at the mount: a request that panics must not take anything else with it.
    let handled =
        catch_unwind(AssertUnwindSafe(|| session.handle(&request.verb, &mut on_progress)));
    let reply = match handled {
        Ok(Ok(report)) => Reply::Done(report),
        Ok(Err(failure)) => Reply::Failed(failure),
        Err(_) => {
            tracing::error!("a control request has panicked");
            Reply::Failed(Failure::new(Kind::Other, "internal error: the request has panicked"))
        }
    };
    send(stream, &reply)
}

fn receive(stream: &UnixStream) -> Result<Request, Failure> {
    let limit = u64::try_from(LINE_LEN_MAX).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    let read = BufReader::new(stream).take(limit).read_until(b'\n', &mut line);
    if read.is_err() || line.last() != Some(&b'\n') {
        return Err(Failure::new(Kind::Usage, "request cut off, or too long"));
    }
    let request: Request = serde_json::from_slice(&line).map_err(|error| {
        // The version may be the reason, so say that first.
        match serde_json::from_slice::<VersionOnly>(&line) {
            Ok(VersionOnly { v }) if v != VERSION => wrong_version(v),
            _ => Failure::new(Kind::Usage, format!("not a request: {error}")),
        }
    })?;
    if request.v == VERSION { Ok(request) } else { Err(wrong_version(request.v)) }
}

/// The one field that every version of a request has.
#[derive(serde::Deserialize)]
struct VersionOnly {
    v: u32,
}

fn wrong_version(found: u32) -> Failure {
    let what = format!("control protocol {found} is not spoken here, {VERSION} is");
    Failure::new(Kind::Usage, what).hint("umount with the kmsfs that mounted, then mount again")
}

fn send(mut stream: &UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line)
}
