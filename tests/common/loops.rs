//! Lower filesystems on loop devices: made, mounted, cut off.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kmsfs::random::Random;
use kmsfs::testing::{DiskLog, Survival};
use tempfile::TempDir;

use crate::mount::{can_mount, skip};

/// A kind of lower filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// As mount(8) calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    fn mkfs(self) -> (&'static str, &'static [&'static str], u64) {
        match self {
            Self::Ext4 => (
                "mkfs.ext4",
                &["-q", "-F", "-b", "4096", "-J", "size=8", "-E", "lazy_itable_init=0,nodiscard"],
                64 << 20,
            ),
            Self::Xfs => ("mkfs.xfs", &["-q", "-f", "-K"], 320 << 20),
            Self::Btrfs => ("mkfs.btrfs", &["-q", "-f", "-K", "-m", "single"], 128 << 20),
        }
    }

    fn mount_options(self) -> &'static str {
        match self {
            // Every image of one kind has the same identity.
            Self::Xfs => "nouuid",
            Self::Ext4 | Self::Btrfs => "rw",
        }
    }

    /// A new, empty filesystem in a file without a name; the same file each time.
    pub fn fresh(self) -> &'static Path {
        static IMAGES: [OnceLock<(File, PathBuf)>; 3] =
            [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        let (_, path) = IMAGES[self as usize].get_or_init(|| {
            let dir = memory_dir();
            let path = dir.path().join(self.name());
            let (program, args, len) = self.mkfs();
            let image = File::create(&path).unwrap();
            image.set_len(len).unwrap();
            run(Command::new(program).args(args).arg(&path)).unwrap();
            let open = format!("/proc/{}/fd/{}", std::process::id(), image.as_raw_fd());
            (image, PathBuf::from(open))
        });
        path
    }
}

/// A temporary directory in memory, if there is such a place.
pub fn memory_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Runs a program that must succeed.
pub fn run(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(io::Error::other(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

/// The content of an image file, as a disk.
pub fn load(image: &Path) -> DiskLog {
    let file = File::open(image).unwrap();
    let len = file.metadata().unwrap().len();
    let mut disk = DiskLog::new(len);
    let mut at = 0;
    let mut page = [0; 4096];
    while at < len {
        file.read_exact_at(&mut page, at).unwrap();
        if page.iter().any(|byte| *byte != 0) {
            disk.write_at(at, &page);
        }
        at += 4096;
    }
    disk.begin();
    disk
}

/// Writes what a disk holds after a power cut into a file.
pub fn write_cut(
    disk: &DiskLog,
    moment: usize,
    survival: Survival,
    random: &dyn Random,
    path: &Path,
) {
    let file = File::create(path).unwrap();
    file.set_len(disk.len()).unwrap();
    for (at, page) in disk.after_cut(moment, survival, random) {
        file.write_all_at(&page[..], at).unwrap();
    }
}

/// A filesystem that is mounted from an image file.
pub struct LowerMount {
    kind: Kind,
    device: String,
    point: TempDir,
    is_mounted: bool,
}

impl LowerMount {
    /// Mounts a fresh filesystem in an image file of `dir`.
    pub fn fresh(kind: Kind, dir: &Path) -> Self {
        let image = dir.join("image");
        run(Command::new("cp").arg("--sparse=always").arg(kind.fresh()).arg(&image)).unwrap();
        Self::new(kind, &image).unwrap()
    }

    /// Mounts an image.
    pub fn new(kind: Kind, image: &Path) -> io::Result<Self> {
        let device = run(Command::new("losetup").args(["-f", "--show"]).arg(image))?;
        let point = tempfile::tempdir()?;
        let mut mount = Self { kind, device, point, is_mounted: false };
        mount.mount()?;
        Ok(mount)
    }

    /// Mounts again, after [`Self::unmount`].
    pub fn mount(&mut self) -> io::Result<()> {
        self.mount_with("rw")
    }

    /// Mounts again with further options.
    pub fn mount_with(&mut self, options: &str) -> io::Result<()> {
        let options = format!("{},{options}", self.kind.mount_options());
        let mut command = Command::new("mount");
        command.args(["-t", self.kind.name(), "-o", &options, &self.device]).arg(self.point.path());
        run(&mut command)?;
        self.is_mounted = true;
        Ok(())
    }

    pub fn path(&self) -> &Path {
        self.point.path()
    }

    /// The loop device.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Hands all dirty pages of files to the disk, and no metadata that is in a journal.
    pub fn write_pages(&self) -> io::Result<()> {
        for path in files_below(self.path()) {
            write_back(&File::open(path)?, 0, 0)?;
        }
        Ok(())
    }

    /// Hands random parts of what is dirty to the disk, then cuts the filesystem off: its journal is
    /// not flushed, and nothing more is written.
    /// `about_to` is called at the last moment before.
    pub fn cut_off(&self, random: &dyn Random, about_to: impl FnOnce()) -> io::Result<()> {
        let draw = || {
            let mut byte = [0];
            random.fill(&mut byte);
            u64::from(byte[0])
        };
        for path in files_below(self.path()) {
            let Ok(file) = File::open(path) else { continue };
            let pages = file.metadata()?.len().div_ceil(4096) + 1;
            for _ in 0..draw() % 3 {
                write_back(&file, draw() % pages * 4096, (1 + draw() % 4) * 4096)?;
            }
        }
        let root = File::open(self.path())?;
        about_to();
        shut_down(&root)
    }

    /// Has ext4 meet an error; with `errors=remount-ro` it turns read-only.
    pub fn fail(&self) -> io::Result<()> {
        let device = self.device.trim_start_matches("/dev/");
        fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test")
    }

    /// Unmounts; whoever still closes a file is waited for.
    pub fn unmount(&mut self) -> io::Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        while self.is_mounted {
            match run(Command::new("umount").arg(self.path())) {
                Ok(_) => self.is_mounted = false,
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        Ok(())
    }
}

impl Drop for LowerMount {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = run(Command::new("umount").arg("-l").arg(self.path()));
        }
        let _ = run(Command::new("losetup").args(["-d", &self.device]));
    }
}

/// Every regular file below a directory, on the same filesystem.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => waiting.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

/// Starts and awaits the writing of a range's dirty pages; metadata stays where it is.
#[allow(unsafe_code)]
fn write_back(file: &File, at: u64, len: u64) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: numbers only.
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), at as i64, len as i64, flags) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN, which are one number, without flushing the log.
#[allow(unsafe_code)]
fn shut_down(root: &File) -> io::Result<()> {
    const GOING_DOWN: libc::c_ulong = 0x8004_587d;
    const NO_LOG_FLUSH: u32 = 2;
    let how = NO_LOG_FLUSH;
    // SAFETY: the kernel reads four bytes.
    let done = unsafe { libc::ioctl(root.as_raw_fd(), GOING_DOWN, &raw const how) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether this machine can make such a filesystem and mount it.
pub fn can_make(kind: Kind) -> bool {
    if !can_mount() {
        return false;
    }
    let knows = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let lacks = |why: &str| {
        skip(&format!("{why}: no loop mounts of {}", kind.name()));
        false
    };
    if !knows.lines().any(|line| line.trim() == kind.name()) {
        // What the kernel lacks cannot be installed.
        eprintln!("skipped: the kernel has no {}", kind.name());
        return false;
    }
    if !rustix::process::geteuid().is_root() {
        return lacks("not root");
    }
    if !Path::new("/dev/loop-control").exists() {
        return lacks("no loop devices");
    }
    let mkfs = format!("mkfs.{}", kind.name());
    if Command::new(&mkfs).arg("-V").output().is_err() {
        return lacks(&format!("no {mkfs}"));
    }
    true
}

/// Keeps a line of output whole.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}
