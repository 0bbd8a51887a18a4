//! `kmsfs mount`: settles what is meant, makes a volume on `--create`, and mounts it here or in a
//! process of its own.

use std::cell::Cell;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::args::{Global, MountArgs};
use crate::cli::daemon;
use crate::cli::init::{Made, make_volume};
use crate::cli::kit::KitWish;
use crate::cli::logging::{self, Destination};
use crate::cli::mount_point::{check_apart, usable_mount_point};
use crate::cli::mount_words::MountWords;
use crate::cli::mounted::{Opened, mount_failure, run_mounted};
use crate::cli::mounter;
use crate::cli::notify;
use crate::cli::place::{KeysPlace, open_keys_with};
use crate::cli::print::Printer;
use crate::cli::sandbox::raise_for_mount;
use crate::cli::target::{open_volume, probe};
use crate::cli::unlock::records_dir;
use crate::cli::watch::Telling;
use crate::control::report::{MountReport, Report, SandboxReport};
use crate::control::{Failure, Keys, Kind, Reply, make_socket_dir, real_path, socket_dir};
use crate::format::KmsPlace;
use crate::fs::{KeyLimits, OpenOptions, Volume};
use crate::fuse::{Mounter, remount};
use crate::lower::reserve_descriptors;

/// Runs the command.
///
/// # Errors
/// [`Kind::MountPoint`], [`Kind::AlreadyRunning`], and what unlocking and opening answer.
pub fn run(args: &MountArgs, global: &Global, printer: Printer) -> Result<(), Failure> {
    let settings = MountWords::of(args)?;
    if settings.remount {
        let (ro, flags) = (settings.args.ro, settings.flags.clone());
        return remount(&settings.args.mount_point, ro, flags).map_err(mount_failure);
    }
    if settings.args.detached {
        return run_detached(&settings, global);
    }
    let destination = match &settings.args.log {
        Some(path) => Destination::File(path),
        None => Destination::Stderr,
    };
    if settings.args.foreground {
        let recent = logging::start(global, destination)?;
        let opened = open(&settings, global)?;
        return run_mounted(opened, &settings, recent, |report| {
            notify::ready(report);
            printer.change(report, text)
        });
    }
    logging::start(global, Destination::Stderr)?;
    // Errors that need no passphrase are told before one is asked for.
    check(&settings)?;
    let report = daemon::start(&settings.args, global)?;
    printer.change(&report, text)
}

/// The process of a mount that leaves the terminal: talks to its parent on stdout, by one line.
fn run_detached(settings: &MountWords, global: &Global) -> Result<(), Failure> {
    let result = mount_detached(settings, global);
    match result {
        Err((false, failure)) => {
            // The parent shows it and exits with its code.
            tell_parent(&Reply::Failed(failure))
        }
        Err((true, failure)) => Err(failure),
        Ok(()) => Ok(()),
    }
}

/// The flag in the error: whether the parent has gone already.
fn mount_detached(settings: &MountWords, global: &Global) -> Result<(), (bool, Failure)> {
    let early = |failure| (false, failure);
    let destination = settings.args.log.as_deref().map_or(Destination::Memory, Destination::File);
    let recent = logging::start(global, destination).map_err(early)?;
    let opened = open(settings, global).map_err(early)?;
    let mut told = false;
    let result = run_mounted(opened, settings, recent, |report| {
        daemon::detach()?;
        notify::ready(report);
        let reply = Reply::Done(report.to_value());
        let sent = tell_parent(&reply).and_then(|()| daemon::leave_stdio());
        told = true;
        sent
    });
    result.map_err(|failure| (told, failure))
}

fn tell_parent(reply: &Reply) -> Result<(), Failure> {
    let mut line =
        serde_json::to_vec(reply).map_err(|error| Failure::new(Kind::Other, error.to_string()))?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(|e| Failure::io("parent", &e))
}

fn text(report: &MountReport) -> String {
    let (lower, at) = (report.lower.display(), report.mount_point.display());
    let made = if report.created { " (new)" } else { "" };
    let mode = if report.read_only { ", read-only" } else { "" };
    format!("{lower}{made} is mounted at {at}{mode}.\nnext: kmsfs status {at}\n")
}

/// Checks what can be checked without a key, and changes nothing.
fn check(settings: &MountWords) -> Result<(), Failure> {
    let (lower, mount_point) = (&settings.args.lower, &settings.args.mount_point);
    let make = settings.args.create;
    // Before anything is made: both may be absent.
    check_apart(&real_path(lower), &real_path(mount_point))?;
    if !(make && is_absent(mount_point)) {
        usable_mount_point(mount_point, lower)?;
    }
    if make && is_absent_or_empty(lower) {
        KitWish::of(&settings.args.kit, lower)?;
    } else {
        probe(lower).map_err(|failure| init_hint(failure, settings))?;
    }
    Ok(())
}

/// Opens the volume, after making it if that was asked for.
fn open(settings: &MountWords, global: &Global) -> Result<Opened, Failure> {
    check(settings)?;
    if let Err(error) = reserve_descriptors() {
        tracing::debug!(%error, "descriptors are not reserved");
    }
    let args = &settings.args;
    // Its threads stand outside of the fence: they run the commands of the configuration.
    let (telling, options) = Telling::start(args.config.as_deref(), None)?;
    let create = args.create && is_absent_or_empty(&args.lower);
    let fence = FenceOfMount::new(args)?;
    let (lower, kms) = if create {
        let wish = KitWish::of(&args.kit, &args.lower)?;
        let place = KeysPlace::of(&args.lower, &KmsPlace::Embedded, &args.unlock);
        let before = || fence.raise(&args.lower, place.dir());
        let (report, kms) =
            make_volume(&args.lower, &Made::default(), &args.unlock, &wish, options, &before)?;
        (report.lower, kms)
    } else {
        let (lower, summary) = probe(&args.lower)?;
        let place = KeysPlace::of(&lower, &summary.kms, &args.unlock);
        let before = || fence.raise(&lower, place.dir());
        let kms = open_keys_with(&lower, &summary, &args.unlock, options, &before)?;
        (lower, kms)
    };
    let (lower, summary) = probe(&lower)?;
    let options = OpenOptions { read_only: args.ro };
    let volume = open_when_closed(&lower, &kms, options)?;
    let configured = telling.data_keys();
    volume.limit_data_keys(KeyLimits {
        age: args.data_key_age.or(configured.age),
        bytes: args.data_key_bytes.or(configured.bytes),
        messages: args.data_key_messages.or(configured.messages),
    });
    tracing::debug!(verbose = global.verbose, "volume is open");
    Ok(Opened {
        volume: Arc::new(volume),
        kms,
        summary,
        lower,
        mount_point: fence.mount_point.take(),
        created: create,
        sandbox: fence.report.get(),
        mounter: fence.mounter,
        telling,
    })
}

/// The fence of a mount before it is raised, and the process that mounts from outside of it.
struct FenceOfMount<'a> {
    args: &'a MountArgs,
    mounter: Mounter,
    /// As the table of mounts will show it.
    mount_point: Cell<PathBuf>,
    report: Cell<SandboxReport>,
}

impl<'a> FenceOfMount<'a> {
    fn new(args: &'a MountArgs) -> Result<Self, Failure> {
        let mounter = if args.no_sandbox { Mounter::Here } else { mounter::start()? };
        Ok(Self { args, mounter, mount_point: Cell::default(), report: Cell::default() })
    }

    /// Makes, and looks at, what is out of reach from behind the fence, and raises it.
    fn raise(&self, lower: &Path, kms: Option<&Path>) -> Result<(), Failure> {
        let failed = |path: &Path, error| Failure::io(path.display(), &error);
        let mount_point = &self.args.mount_point;
        if self.args.create && is_absent(mount_point) {
            std::fs::create_dir(mount_point).map_err(|error| failed(mount_point, error))?;
        }
        self.mount_point.set(usable_mount_point(mount_point, lower)?);
        if self.args.no_sandbox {
            return Ok(());
        }
        let mut trees = vec![lower.to_path_buf()];
        if let Some(kms) = kms {
            let mut make = DirBuilder::new();
            make.recursive(true).mode(0o700).create(kms).map_err(|error| failed(kms, error))?;
            let records = self.args.ro.then(|| records_dir(&self.args.unlock)).flatten();
            trees.extend(records.into_iter().chain([kms.to_path_buf()]));
        }
        let sockets = socket_dir()?;
        make_socket_dir(&sockets)?;
        self.report.set(raise_for_mount(trees, &sockets)?);
        Ok(())
    }
}

/// Opens the volume. umount(8) returns before the process of the mount has closed its volume, so a
/// lock that is held is waited for.
fn open_when_closed(
    lower: &Path,
    kms: &Arc<dyn Keys>,
    options: OpenOptions,
) -> Result<Volume, Failure> {
    let deadline = Instant::now() + CLOSING_TIME_MAX;
    loop {
        match open_volume(lower, kms, options) {
            Err(failure) if failure.kind == Kind::AlreadyRunning && Instant::now() < deadline => {
                std::thread::sleep(CLOSING_POLL);
            }
            answer => return answer,
        }
    }
}

/// How long closing a volume may take, once nothing uses it.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(3);

const CLOSING_POLL: Duration = Duration::from_millis(10);

fn init_hint(failure: Failure, settings: &MountWords) -> Failure {
    let (lower, at) = (settings.args.lower.display(), settings.args.mount_point.display());
    failure.hint(format!("kmsfs mount --create {lower} {at}   (makes a new volume)"))
}

fn is_absent(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn is_absent_or_empty(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(entries) => !entries.flatten().any(|entry| entry.file_name() != "lost+found"),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
