//! A mount from its beginning to its end: [`mount`], [`Mounted`], [`Unmounter`].

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use fuser::{BackgroundSession, Config, Filesystem, INodeNo, Notifier, Session, SessionACL};

use crate::fs::{NodeId, Volume};
use crate::fuse::device::is_connected;
use crate::fuse::linger::Linger;
use crate::fuse::mountinfo::{MountIdentity, MountTable};
use crate::fuse::{Adapter, Counters, MountError, MountFlag, MountOptions, Mounter};

/// How to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnmountHow {
    /// Fails while the mount is in use.
    Clean,
    /// Takes the mount out of sight at once; what is open works on until it is closed.
    Lazy,
}

/// Mounts a volume. Returns once the mount answers; requests are served by threads of their own.
///
/// The volume is not shut down when the mount ends: that is for the caller, after
/// [`Mounted::wait`].
///
/// # Errors
/// [`MountError`]; nothing stays mounted then, unless the table of mounts cannot be read.
pub fn mount(volume: Arc<Volume>, options: &MountOptions) -> Result<Mounted, MountError> {
    mount_by(Mounter::Here, volume, options)
}

/// As [`mount`], by another process.
///
/// # Errors
/// As [`mount`].
pub fn mount_by(
    mounter: Mounter,
    volume: Arc<Volume>,
    options: &MountOptions,
) -> Result<Mounted, MountError> {
    let counters = Arc::new(Counters::default());
    let invalidator = Arc::new(OnceLock::new());
    let linger = Arc::new(Linger::default());
    let adapter = Adapter::new(
        volume,
        Arc::clone(&counters),
        options,
        Arc::clone(&invalidator),
        Arc::clone(&linger),
    );
    start(mounter, adapter, counters, options, &invalidator, &linger)
}

/// Gives a mount other flags, as `mount -o remount` does.
///
/// # Errors
/// [`MountError::MountPoint`] if no volume is mounted there, and what mount(2) answers.
pub fn remount(at: &Path, read_only: bool, extra: Vec<MountFlag>) -> Result<(), MountError> {
    let mount_point = usable_directory(at)?;
    if !load_table()?.is_kmsfs(&mount_point) {
        return Err(MountError::MountPoint { path: mount_point, errno: libc::EINVAL });
    }
    let options = MountOptions { read_only, extra, ..MountOptions::default() };
    rustix::mount::mount_remount(&mount_point, options.mount_flags(), c"")
        .map_err(|error| MountError::Mount { errno: error.raw_os_error() })
}

/// Whether a volume is mounted at this path, as far as this process can see.
pub fn is_mounted(at: &Path) -> bool {
    load_table().is_ok_and(|table| table.is_kmsfs(at))
}

/// Mounts any filesystem.
fn start<F: Filesystem>(
    mounter: Mounter,
    filesystem: F,
    counters: Arc<Counters>,
    options: &MountOptions,
    invalidator: &OnceLock<Invalidator>,
    linger: &Linger,
) -> Result<Mounted, MountError> {
    options.check()?;
    let mount_point = usable_directory(&options.mount_point)?;
    let before = load_table()?;
    let device = mounter.mount(options, &mount_point)?;
    let Some(entry) = load_table()?.find_new(&before, &mount_point).cloned() else {
        return Err(MountError::MountTable);
    };
    let connection = Arc::new(device);
    let unmounter = Unmounter {
        mounter,
        mount_point,
        identity: entry.identity,
        connection: Arc::downgrade(&connection),
    };
    match serve(filesystem, &connection, options, invalidator, linger) {
        Ok(session) => {
            unmounter.mounter.widen_read_ahead(&unmounter.identity);
            let mounted = Mounted { session: Some(session), unmounter, counters, connection };
            // If the root does not answer, dropping unmounts.
            mounted.check_answers()?;
            Ok(mounted)
        }
        Err(error) => {
            unmounter.unmount_for_good();
            Err(MountError::Session { errno: error.raw_os_error().unwrap_or(libc::EIO) })
        }
    }
}

/// Shakes hands with the kernel and starts the threads.
fn serve<F: Filesystem>(
    filesystem: F,
    connection: &OwnedFd,
    options: &MountOptions,
    invalidator: &OnceLock<Invalidator>,
    linger: &Linger,
) -> io::Result<BackgroundSession> {
    let device = connection.try_clone()?;
    let mut config = Config::default();
    config.n_threads = Some(options.thread_count());
    config.clone_fd = true;
    // The kernel keeps other users out itself. fuser's own check would refuse the kernel's
    // writeback, which asks as user 0 whoever mounted.
    let session = Session::from_fd(filesystem, device, SessionACL::All, config)?;
    invalidator.get_or_init(|| Invalidator { notifier: session.notifier() });
    linger.start(connection.try_clone()?);
    session.spawn()
}

/// Lets the kernel read ahead further than its own bound for FUSE, 128 KiB. Only root may, and only
/// behind INIT, which lowers it again. Without, sequential reads take more requests; nothing else is
/// lost.
pub(crate) fn widen_read_ahead(device: &OsStr) {
    let bound = Path::new("/sys/class/bdi").join(device).join("read_ahead_kb");
    if let Err(error) = std::fs::write(&bound, READ_AHEAD_KIB) {
        tracing::debug!(%error, ?device, "the bound on read-ahead stays");
    }
}

/// KiB; as many READs as there are threads at least.
const READ_AHEAD_KIB: &str = "1024";

/// The path as the table of mounts will show it.
fn usable_directory(path: &Path) -> Result<PathBuf, MountError> {
    let unusable = |errno| MountError::MountPoint { path: path.to_path_buf(), errno };
    let found =
        path.canonicalize().map_err(|error| unusable(error.raw_os_error().unwrap_or(libc::EIO)))?;
    if found.is_dir() { Ok(found) } else { Err(unusable(libc::ENOTDIR)) }
}

fn load_table() -> Result<MountTable, MountError> {
    MountTable::load().map_err(|_| MountError::MountTable)
}

/// A mount, and the threads that serve it. Dropping it unmounts lazily.
#[derive(Debug)]
pub struct Mounted {
    /// `None` once it is waited for.
    session: Option<BackgroundSession>,
    unmounter: Unmounter,
    counters: Arc<Counters>,
    /// Tells whether the filesystem is still there. Closed with this: while it is open, requests
    /// that no thread is left to serve would wait for ever.
    connection: Arc<OwnedFd>,
}

impl Mounted {
    /// Where.
    pub fn mount_point(&self) -> &Path {
        &self.unmounter.mount_point
    }

    /// What the kernel asked so far.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// A handle to unmount from elsewhere, such as a signal's thread.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// Tells the kernel what changed behind its back; `None` once the mount has ended.
    pub fn notifier(&self) -> Option<Invalidator> {
        self.session.as_ref().map(|session| Invalidator { notifier: session.notifier() })
    }

    /// Makes the kernel drop a file's cached pages and attributes.
    ///
    /// Never from a thread that serves a request: the kernel writes dirty pages back first, and
    /// waits for that.
    ///
    /// # Errors
    /// What the kernel answers, but for a node that it does not know.
    pub fn invalidate_file(&self, file: NodeId) -> io::Result<()> {
        self.notifier().map_or(Ok(()), |notifier| notifier.invalidate_file(file))
    }

    /// Whether the mount has ended, from inside or from outside.
    pub fn has_ended(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.guard.is_finished())
            || !is_connected(&self.connection)
    }

    /// Unmounts. See [`Unmounter::unmount`].
    ///
    /// # Errors
    /// As [`Unmounter::unmount`].
    pub fn unmount(&self, how: UnmountHow) -> Result<(), MountError> {
        self.unmounter.unmount(how)
    }

    /// Waits until the mount has ended, whoever unmounts it, and its last request is answered.
    ///
    /// # Errors
    /// [`MountError::Session`] if a thread that served requests failed.
    pub fn wait(mut self) -> Result<(), MountError> {
        let Some(session) = self.session.take() else { return Ok(()) };
        session.join().map_err(|error| MountError::Session {
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        })
    }

    fn check_answers(&self) -> Result<(), MountError> {
        rustix::fs::stat(self.mount_point())
            .map(drop)
            .map_err(|error| MountError::NotAnswering { errno: error.raw_os_error() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.unmounter.unmount_for_good();
        }
    }
}

/// Tells the kernel what changed behind its back.
#[derive(Clone, Debug)]
pub struct Invalidator {
    notifier: Notifier,
}

impl Invalidator {
    /// As [`Mounted::invalidate_file`].
    ///
    /// # Errors
    /// What the kernel answers, but for a node that it does not know.
    pub fn invalidate_file(&self, file: NodeId) -> io::Result<()> {
        // From 0 to the end.
        self.notifier.inval_inode(INodeNo(file.0), 0, -1)
    }

    /// Makes the kernel drop the pages of a range, dirty ones after it has written them back.
    ///
    /// # Errors
    /// As [`Self::invalidate_file`].
    pub(crate) fn write_back(&self, file: NodeId, range: Range<u64>) -> io::Result<()> {
        let at = i64::try_from(range.start).unwrap_or(i64::MAX);
        // A negative length reaches to the end.
        let len = i64::try_from(range.end.saturating_sub(range.start)).unwrap_or(-1);
        self.notifier.inval_inode(INodeNo(file.0), at, len)
    }

    /// Makes the kernel drop a file's cached attributes, and leaves its pages. Waits for nothing, so a
    /// thread that serves a request may ask for it.
    ///
    /// # Errors
    /// As [`Self::invalidate_file`].
    pub fn invalidate_attributes(&self, file: NodeId) -> io::Result<()> {
        // A negative offset stands for no pages (fs/fuse/inode.c, `fuse_reverse_inval_inode`).
        self.notifier.inval_inode(INodeNo(file.0), -1, 0)
    }
}

/// Unmounts one mount and no other, however often and whenever it is asked.
#[derive(Clone, Debug)]
pub struct Unmounter {
    mounter: Mounter,
    /// Where it was mounted.
    mount_point: PathBuf,
    identity: MountIdentity,
    /// Gone with the [`Mounted`].
    connection: Weak<OwnedFd>,
}

impl Unmounter {
    /// Unmounts. A mount that is gone is unmounted already.
    ///
    /// # Errors
    /// [`MountError::Busy`] if it is in use and `how` is not lazy, [`MountError::Covered`] if
    /// another filesystem is mounted over it, and what the kernel or fusermount3 refuses. The mount
    /// then works on.
    pub fn unmount(&self, how: UnmountHow) -> Result<(), MountError> {
        let Some(connection) = self.connection.upgrade() else { return Ok(()) };
        let table = load_table()?;
        let Some(entry) = table.find(&self.identity) else { return Ok(()) };
        // Asked after the table is read: what it showed was ours if the connection stands now.
        if !is_connected(&connection) {
            return Ok(());
        }
        if table.is_covered(entry) {
            return Err(MountError::Covered { mount_point: entry.mount_point.clone() });
        }
        self.mounter.unmount(&entry.mount_point, how)
    }

    /// Unmounts where nobody is left to be told of an error.
    fn unmount_for_good(&self) {
        if let Err(error) = self.unmount(UnmountHow::Lazy) {
            tracing::warn!("{}: still mounted: {error}", self.mount_point.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fuser::{Errno, FileHandle, ReplyAttr, Request};
    use rustix::fs::{Access, Mode, OFlags};
    use rustix::mount::MountFlags;
    use std::time::Duration;

    use crate::fuse::convert::bare_attr;
    use crate::fuse::device::unmount_path;
    use crate::lower::NodeKind;

    /// An empty root directory; `answers` or not.
    struct BareRoot {
        answers: bool,
    }

    impl Filesystem for BareRoot {
        fn getattr(&self, _: &Request, _: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
            if self.answers {
                reply.attr(&Duration::from_secs(1), &bare_attr(NodeId::ROOT, NodeKind::Dir));
            } else {
                reply.error(Errno::ETIMEDOUT);
            }
        }
    }

    fn options(place: &tempfile::TempDir) -> MountOptions {
        MountOptions {
            mount_point: place.path().to_path_buf(),
            source: String::from("/lower, with \\ comma"),
            ..MountOptions::default()
        }
    }

    /// `None` where this machine cannot mount.
    fn mounted(place: &tempfile::TempDir) -> Option<Mounted> {
        let access = Access::READ_OK | Access::WRITE_OK;
        if rustix::fs::access("/dev/fuse", access).is_err() {
            eprintln!("skipped: no access to /dev/fuse");
            return None;
        }
        let counters = Arc::new(Counters::default());
        Some(
            start(
                Mounter::Here,
                BareRoot { answers: true },
                counters,
                &options(place),
                &OnceLock::new(),
                &Linger::default(),
            )
            .unwrap(),
        )
    }

    /// `None` for an ordinary user.
    fn mounted_by_root(place: &tempfile::TempDir) -> Option<Mounted> {
        if rustix::process::getuid().is_root() { mounted(place) } else { None }
    }

    fn mount_tmpfs(place: &Path) {
        rustix::mount::mount("none", place, "tmpfs", MountFlags::empty(), None).unwrap();
    }

    fn is_mounted(place: &tempfile::TempDir) -> bool {
        let table = MountTable::load().unwrap();
        table.find_new(&MountTable::default(), place.path()).is_some()
    }

    #[test]
    fn mount_answers_and_shows_its_type_until_it_is_unmounted() {
        let place = tempfile::tempdir().unwrap();
        let Some(mounted) = mounted(&place) else { return };
        assert!(is_mounted(&place));
        assert!(!mounted.has_ended());
        mounted.invalidate_file(NodeId::ROOT).unwrap();
        mounted.invalidate_file(NodeId(4711)).unwrap();
        mounted.unmount(UnmountHow::Clean).unwrap();
        mounted.wait().unwrap();
        assert!(!is_mounted(&place));
    }

    #[test]
    fn mount_in_use_is_unmounted_only_lazily() {
        let place = tempfile::tempdir().unwrap();
        let Some(mounted) = mounted(&place) else { return };
        let used = rustix::fs::open(place.path(), OFlags::PATH, Mode::empty()).unwrap();
        let mount_point = mounted.mount_point().to_path_buf();
        assert_eq!(mounted.unmount(UnmountHow::Clean), Err(MountError::Busy { mount_point }));
        mounted.unmount(UnmountHow::Lazy).unwrap();
        assert!(!is_mounted(&place));
        assert!(!mounted.has_ended());
        drop(used);
        mounted.wait().unwrap();
    }

    #[test]
    fn unmounting_from_outside_ends_the_wait() {
        let place = tempfile::tempdir().unwrap();
        let Some(mounted) = mounted(&place) else { return };
        unmount_path(mounted.mount_point(), UnmountHow::Clean).unwrap();
        mounted.wait().unwrap();
    }

    #[test]
    fn dropping_unmounts() {
        let place = tempfile::tempdir().unwrap();
        let Some(mounted) = mounted(&place) else { return };
        drop(mounted);
        assert!(!is_mounted(&place));
    }

    /// Law: only our own mount is unmounted, whatever lies at its path.
    #[test]
    fn filesystem_that_came_later_to_the_same_path_stays_mounted() {
        let place = tempfile::tempdir().unwrap();
        let Some(mounted) = mounted_by_root(&place) else { return };
        let unmounter = mounted.unmounter();
        mount_tmpfs(place.path());
        let mount_point = unmounter.mount_point.clone();
        assert_eq!(
            mounted.unmount(UnmountHow::Lazy),
            Err(MountError::Covered { mount_point: mount_point.clone() })
        );
        unmount_path(&mount_point, UnmountHow::Clean).unwrap();
        unmount_path(&mount_point, UnmountHow::Clean).unwrap();
        mount_tmpfs(place.path());
        assert!(mounted.has_ended());
        mounted.unmount(UnmountHow::Clean).unwrap();
        drop(mounted);
        unmounter.unmount(UnmountHow::Lazy).unwrap();
        unmount_path(&mount_point, UnmountHow::Clean).unwrap();
    }

    #[test]
    fn root_that_does_not_answer_is_an_error_and_not_left_mounted() {
        let place = tempfile::tempdir().unwrap();
        if mounted(&place).is_none() {
            return;
        }
        let counters = Arc::new(Counters::default());
        let unused = OnceLock::new();
        let (root, linger) = (BareRoot { answers: false }, Linger::default());
        let failed = start(Mounter::Here, root, counters, &options(&place), &unused, &linger);
        let failed = failed.map(|mounted| mounted.has_ended());
        assert_eq!(failed, Err(MountError::NotAnswering { errno: libc::ETIMEDOUT }));
        assert!(place.path().is_dir(), "something is still mounted there");
    }

    #[test]
    fn mount_point_must_be_a_directory() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let path = place.path().to_path_buf();
        let errno = libc::ENOTDIR;
        assert_eq!(usable_directory(&path), Err(MountError::MountPoint { path, errno }));
    }
}
