//! A disk whose every write and flush is recorded: one file of a tiny FUSE filesystem, below a loop
//! device.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};
use kmsfs::testing::DiskLog;
use tempfile::TempDir;

/// Name of the one file.
const DISK: &str = "disk";
const DISK_NODE: INodeNo = INodeNo(2);
const TTL: Duration = Duration::from_secs(3600);

/// A recorded disk, served until it is dropped.
pub struct Recorder {
    log: Arc<Mutex<DiskLog>>,
    point: TempDir,
    session: Option<fuser::BackgroundSession>,
}

impl Recorder {
    /// Serves a disk with this content; the history begins here.
    pub fn new(image: &Path) -> Self {
        let log = Arc::new(Mutex::new(crate::loops::load(image)));
        let point = tempfile::tempdir().unwrap();
        let disk = Disk(Arc::clone(&log));
        let session = fuser::spawn_mount(disk, point.path(), &Config::default()).unwrap();
        Self { log, point, session: Some(session) }
    }

    /// The file that a loop device is to be made of.
    pub fn file(&self) -> PathBuf {
        self.point.path().join(DISK)
    }

    /// What was recorded.
    pub fn log(&self) -> MutexGuard<'_, DiskLog> {
        self.log.lock().unwrap()
    }

    /// Tells the present moment.
    pub fn moment(&self) -> crate::writers::Moment {
        let log = Arc::clone(&self.log);
        Arc::new(move || log.lock().unwrap().moment())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

struct Disk(Arc<Mutex<DiskLog>>);

impl Disk {
    fn attr(&self, node: INodeNo) -> FileAttr {
        let is_disk = node == DISK_NODE;
        FileAttr {
            ino: node,
            size: if is_disk { self.0.lock().unwrap().len() } else { 0 },
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_disk { FileType::RegularFile } else { FileType::Directory },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == DISK {
            true => reply.entry(&TTL, &self.attr(DISK_NODE), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attr(node));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        at: u64,
        len: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut data = vec![0; len as usize];
        let got = self.0.lock().unwrap().read_at(at, &mut data);
        reply.data(&data[..got]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        at: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.0.lock().unwrap().write_at(at, data);
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.0.lock().unwrap().flush();
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}
