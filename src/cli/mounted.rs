//! The life of a mount: from an open volume to its clean end.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::cli::keeper::{Keeper, Keeping, Settler};
use crate::cli::logging::Recent;
use crate::cli::mount_words::MountWords;
use crate::cli::notify;
use crate::cli::target::summary_report;
use crate::cli::values::unix_secs;
use crate::cli::watch::Telling;
use crate::clock::{Clock, SystemClock};
use crate::control::known::{Growth, report_counted, report_opened};
use crate::control::report::{HelloReport, MountReport, SandboxReport};
use crate::control::{Failure, Keys, Kind, MountSide, Server, Session, socket_dir};
use crate::fs::{Volume, VolumeSummary, Workers};
use crate::fuse::{
    Counters, MountError, MountOptions, Mounted, Mounter, UnmountHow, Unmounter, mount_by,
};

/// Longest time that files are counted at the end of a mount.
const COUNT_TIME_MAX: Duration = Duration::from_millis(500);

/// How long a mount that is to be unmounted may be busy, and how soon it is tried again.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// A volume that is open and about to be mounted.
pub(super) struct Opened {
    pub(super) volume: Arc<Volume>,
    pub(super) kms: Arc<dyn Keys>,
    pub(super) summary: VolumeSummary,
    pub(super) lower: PathBuf,
    pub(super) mount_point: PathBuf,
    pub(super) created: bool,
    pub(super) mounter: Mounter,
    pub(super) sandbox: SandboxReport,
    /// Ends last: it tells of what the end of the volume does.
    pub(super) telling: Telling,
}

/// Mounts, says so, and stays until the mount ends, whoever ends it.
///
/// # Errors
/// What mounting answers; what the clean end of the volume answers.
pub(super) fn run_mounted(
    opened: Opened,
    settings: &MountWords,
    recent: Recent,
    on_ready: impl FnOnce(&MountReport) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if opened.volume.is_writable() {
        report_opened(&*opened.kms, &opened.volume);
    }
    let result = serve(&opened, settings, recent, on_ready);
    notify::stopping();
    count_at_end(&opened);
    let ended = opened.volume.shutdown().map_err(Failure::from);
    let flushed = opened.kms.flush().map_err(Failure::from);
    opened.telling.finish();
    // The first failure is the cause.
    result.and(ended).and(flushed).inspect_err(|failure| tracing::error!("{failure}"))
}

/// Tells the key service how many files there are now, if they are counted in a moment: what it
/// knows stays "or more" otherwise.
fn count_at_end(opened: &Opened) {
    if !opened.volume.is_writable() {
        return;
    }
    let start = Instant::now();
    let mut is_over = false;
    let counted = opened.volume.usage(&mut |_| {
        is_over = start.elapsed() >= COUNT_TIME_MAX;
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let (Ok(usage), false) = (counted, is_over) {
        report_counted(&*opened.kms, &opened.volume, &usage, Growth::Ended);
    }
}

fn serve(
    opened: &Opened,
    settings: &MountWords,
    recent: Recent,
    on_ready: impl FnOnce(&MountReport) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let server = Server::bind(&socket_dir()?, &opened.summary.volume.to_string())?;
    let options = mount_options(opened, settings);
    let mounted = mount_by(opened.mounter.clone(), Arc::clone(&opened.volume), &options)
        .map_err(mount_failure)?;
    let workers = Workers::start(&opened.volume)
        .map_err(|error| Failure::io("threads of the volume", &error))?;
    let keeper = Keeper::start(Keeping {
        volume: Arc::clone(&opened.volume),
        kms: Arc::clone(&opened.kms),
        invalidator: mounted.notifier(),
        counters: mounted.counters(),
        unmounter: mounted.unmounter(),
        idle: settings.args.idle,
    })?;
    let side = Side {
        hello: hello(opened, settings),
        counters: mounted.counters(),
        recent,
        settler: keeper.settler(),
        unmounter: mounted.unmounter(),
    };
    let (volume, kms) = (Arc::clone(&opened.volume), Arc::clone(&opened.kms));
    let session = Session::new(volume, kms, summary_report(&opened.summary, &opened.lower));
    let server = server.start(Arc::new(session.mounted(Arc::new(side))))?;
    let signals = SignalThread::start(&mounted)?;
    on_ready(&MountReport {
        volume_id: opened.summary.volume.to_string(),
        lower: opened.lower.clone(),
        mount_point: opened.mount_point.clone(),
        pid: std::process::id(),
        created: opened.created,
        read_only: settings.args.ro,
    })?;
    let ended = mounted.wait().map_err(mount_failure);
    drop(signals);
    // Commands that still hold the volume end first.
    server.stop();
    drop(keeper);
    drop(workers);
    ended
}

fn mount_options(opened: &Opened, settings: &MountWords) -> MountOptions {
    MountOptions {
        mount_point: opened.mount_point.clone(),
        source: opened.lower.display().to_string(),
        read_only: settings.args.ro,
        allow_other: settings.args.allow_other,
        root_only: rustix::process::geteuid().is_root() && !settings.checks_permissions,
        writeback: !settings.args.no_writeback,
        shared: settings.args.shared,
        threads: None,
        extra: settings.flags.clone(),
    }
}

fn hello(opened: &Opened, settings: &MountWords) -> HelloReport {
    HelloReport {
        volume_id: opened.summary.volume.to_string(),
        lower: opened.lower.clone(),
        mount_point: opened.mount_point.clone(),
        pid: std::process::id(),
        read_only: settings.args.ro,
        since: unix_secs(SystemClock.now()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sandbox: opened.sandbox,
    }
}

/// What went wrong with a mount, as a failure of a command.
pub(super) fn mount_failure(error: MountError) -> Failure {
    let what = error.to_string();
    match error {
        MountError::Busy { mount_point } => {
            let at = mount_point.display();
            Failure::new(Kind::InUse, what)
                .hint(format!("fuser -vm {at}   (who uses it), or kmsfs umount --lazy {at}"))
        }
        MountError::MountPoint { .. } => Failure::new(Kind::MountPoint, what),
        MountError::Device { .. } => Failure::new(Kind::Other, what).hint("modprobe fuse"),
        MountError::HelperMissing => {
            Failure::new(Kind::Other, what).hint("apt install fuse3, or its like")
        }
        MountError::AllowOther
        | MountError::Covered { .. }
        | MountError::Helper { .. }
        | MountError::Mount { .. }
        | MountError::MountTable
        | MountError::NotAnswering { .. }
        | MountError::Session { .. }
        | MountError::Source { .. }
        | MountError::Unmount { .. } => Failure::new(Kind::Other, what),
    }
}

/// Unmounts on a signal; the thread ends on drop.
struct SignalThread {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalThread {
    fn start(mounted: &Mounted) -> Result<Self, Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map_err(|error| Failure::io("signal handler", &error))?;
        let (handle, unmounter) = (signals.handle(), mounted.unmounter());
        let thread = std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for _signal in &mut signals {
                    unmount_on_signal(&unmounter);
                }
            })
            .map_err(|error| Failure::io("signal thread", &error))?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

/// Cleanly. A mount that nobody uses any more is busy for a moment at times, one of FUSE in C as well.
fn unmount_patiently(unmounter: &Unmounter) -> Result<(), MountError> {
    let end = Instant::now() + BUSY_PATIENCE;
    loop {
        match unmounter.unmount(UnmountHow::Clean) {
            Err(MountError::Busy { .. }) if Instant::now() < end => std::thread::sleep(BUSY_PAUSE),
            done => return done,
        }
    }
}

/// Cleanly if nobody uses it; else out of sight, to end with its last user.
fn unmount_on_signal(unmounter: &Unmounter) {
    let result = match unmounter.unmount(UnmountHow::Clean) {
        Err(MountError::Busy { .. }) => {
            tracing::warn!("in use: detached, ends with its last user");
            unmounter.unmount(UnmountHow::Lazy)
        }
        other => other,
    };
    if let Err(error) = result {
        tracing::error!("{error}");
    }
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// What the control socket tells about this mount.
struct Side {
    hello: HelloReport,
    counters: Arc<Counters>,
    recent: Recent,
    settler: Settler,
    unmounter: Unmounter,
}

impl MountSide for Side {
    fn hello(&self) -> HelloReport {
        self.hello.clone()
    }

    fn requests(&self) -> Vec<(&'static str, u64)> {
        self.counters.snapshot()
    }

    fn recent(&self) -> Vec<String> {
        self.recent.lines()
    }

    fn settle(&self) {
        self.settler.settle();
    }

    fn shutdown(&self, lazy: bool) -> Result<(), Failure> {
        let done = match lazy {
            true => self.unmounter.unmount(UnmountHow::Lazy),
            false => unmount_patiently(&self.unmounter),
        };
        done.map_err(mount_failure)
    }
}
