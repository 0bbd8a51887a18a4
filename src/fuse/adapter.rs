//! [`Adapter`]: each request of the kernel becomes one call of the volume. No logic of its own.
//!
//! The mount carries no handles: content is reached by node. CREATE, OPEN, OPENDIR and FLUSH are
//! answered with ENOSYS, and the kernel stops sending them and their RELEASEs (fs/fuse/file.c,
//! `fuse_file_open`; fs/fuse/dir.c, `fuse_atomic_open`): a new file costs LOOKUP, MKNOD and WRITE,
//! and a cached one costs nothing to open, read and close.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags,
    Generation, INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags,
    PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen,
    ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::fs::{Attr, FsError, NodeId, SetAttr, Volume};
use crate::fuse::convert::{
    allocate_how, asking, bare_attr, caller, entry_attr, file_attr, file_type, loses_set_id, node,
    permission_bits, plain_name, rename_how, seek_to, set_time, sync_scope, visible_xattrs,
    write_how, xattr_how,
};
use crate::fuse::errno::errno;
use crate::fuse::negotiate::{Spared, negotiate};
use crate::fuse::session::Invalidator;
use crate::fuse::{Caching, Counters, MountOptions, Op};
use crate::lower::NodeKind;

/// A node's number is never given to another file while the kernel knows it, so one generation
/// serves.
const GENERATION: Generation = Generation(0);

thread_local! {
    /// Plaintext of the READ under way. Kept, because fresh pages cost more than the cipher.
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A volume as fuser wants a filesystem.
#[derive(Debug)]
pub struct Adapter {
    volume: Arc<Volume>,
    counters: Arc<Counters>,
    caching: Caching,
    /// Only root enters: the kernel leaves permissions and what an ACL does to a mode to us.
    root_only: bool,
    /// Set before the first request is served.
    invalidator: Arc<OnceLock<Invalidator>>,
    ttl: Duration,
    spared: Spared,
}

impl Adapter {
    /// An adapter that has not met the kernel yet.
    pub(crate) fn new(
        volume: Arc<Volume>,
        counters: Arc<Counters>,
        options: &MountOptions,
        invalidator: Arc<OnceLock<Invalidator>>,
    ) -> Self {
        let caching = options.caching();
        Self {
            volume,
            counters,
            caching,
            root_only: options.is_root_only(),
            invalidator,
            ttl: caching.ttl(),
            spared: Spared::default(),
        }
    }

    /// An ACL may change a file's mode. A kernel that knows ACLs then forgets the mode by itself.
    fn forget_mode(&self, ino: INodeNo, xattr: &OsStr) {
        let is_acl = xattr.as_bytes().starts_with(b"system.posix_acl_");
        if let Some(invalidator) = self.invalidator.get().filter(|_| self.root_only && is_acl) {
            // Fails for a node that the kernel does not know, which then has no mode to forget.
            let _ = invalidator.invalidate_attributes(node(ino));
        }
    }

    /// Counts and runs one request. A panic becomes EIO: a handler that unwinds would take its
    /// thread along, and the mount would run out of them.
    fn guarded<T>(
        &self,
        op: Op,
        work: impl FnOnce(&Volume) -> Result<T, FsError>,
    ) -> Result<T, Errno> {
        self.counters.count(op);
        match catch_unwind(AssertUnwindSafe(|| work(&self.volume))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.refused(op, &error)),
            Err(_) => {
                self.counters.count_panic();
                tracing::error!(op = op.name(), "internal error: the request panicked");
                Err(Errno::EIO)
            }
        }
    }

    /// The volume logs what is corrupt, where it knows which file; here goes what nobody logs.
    fn refused(&self, op: Op, error: &FsError) -> Errno {
        if let FsError::Bug(_) = error {
            tracing::error!(op = op.name(), "{error}");
        } else {
            tracing::trace!(op = op.name(), "{error}");
        }
        errno(error)
    }

    /// Counts a request that the kernel shall not send again.
    fn not_served(&self, op: Op) -> Errno {
        self.counters.count(op);
        Errno::ENOSYS
    }

    fn reply_entry(&self, made: Result<Attr, Errno>, reply: ReplyEntry) {
        match made {
            Ok(attr) => reply.entry(&self.ttl, &file_attr(&attr), GENERATION),
            Err(errno) => reply.error(errno),
        }
    }

    fn reply_attr(&self, found: Result<Attr, Errno>, reply: ReplyAttr) {
        match found {
            Ok(attr) => reply.attr(&self.ttl, &file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }
}

fn reply_empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

/// Length 0 asks for the length of the value; a value that does not fit is ERANGE.
fn reply_xattr(found: Result<Vec<u8>, Errno>, room: u32, reply: ReplyXattr) {
    match found.map(|value| (u32::try_from(value.len()), value)) {
        Ok((Ok(len), _)) if room == 0 => reply.size(len),
        Ok((Ok(len), value)) if len <= room => reply.data(&value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(errno) => reply.error(errno),
    }
}

fn reply_written(done: Result<u64, Errno>, reply: ReplyWrite) {
    match done {
        Ok(len) => reply.written(u32::try_from(len).unwrap_or(u32::MAX)),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.spared = negotiate(config, self.caching, self.root_only);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.guarded(Op::Lookup, |v| v.lookup(node(parent), &plain_name(name)?));
        match found {
            Ok(Some(attr)) => reply.entry(&self.ttl, &file_attr(&attr), GENERATION),
            Ok(None) => {
                reply.entry(&self.ttl, &bare_attr(NodeId(0), NodeKind::File), GENERATION);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        // FORGET has no reply, hence nobody to tell.
        let _ = self.guarded(Op::Forget, |v| {
            v.forget(node(ino), count);
            Ok(())
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.reply_attr(self.guarded(Op::GetAttr, |v| v.attr(node(ino))), reply);
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttr {
            mode: mode.map(permission_bits),
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
            kill_privileges: size.is_some() && loses_set_id(req),
        };
        let _asking = asking(req);
        // Nothing but a ctime is left out: the lower filesystem keeps its own.
        let done = self.guarded(Op::SetAttr, |v| {
            if set == SetAttr::default() { v.attr(node(ino)) } else { v.set_attr(node(ino), &set) }
        });
        self.reply_attr(done, reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.guarded(Op::ReadLink, |v| v.readlink(node(ino))) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let made = self.guarded(Op::MkNod, |v| {
            v.mknod(node(parent), &plain_name(name)?, mode, umask, rdev, caller(req))
        });
        self.reply_entry(made, reply);
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.guarded(Op::MkDir, |v| {
            v.mkdir(node(parent), &plain_name(name)?, mode, umask, caller(req))
        });
        self.reply_entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.guarded(Op::Unlink, |v| v.unlink(node(parent), &plain_name(name)?));
        reply_empty(done, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.guarded(Op::RmDir, |v| v.rmdir(node(parent), &plain_name(name)?));
        reply_empty(done, reply);
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = target.as_os_str().as_bytes();
        let made = self.guarded(Op::Symlink, |v| {
            v.symlink(node(parent), &plain_name(name)?, target, caller(req))
        });
        self.reply_entry(made, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let done = self.guarded(Op::Rename, |v| {
            let (old, new) = (plain_name(name)?, plain_name(new_name)?);
            v.rename(node(parent), &old, node(new_parent), &new, rename_how(flags)?)
        });
        reply_empty(done, reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let made = self.guarded(Op::Link, |v| v.link(node(ino), node(parent), &plain_name(name)?));
        self.reply_entry(made, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.spared.open {
            reply.error(self.not_served(Op::Open));
        } else {
            self.counters.count(Op::Open);
            reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
        }
    }

    fn read(
        &self,
        req: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        len: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let _asking = asking(req);
        PLAIN.with_borrow_mut(|plain| {
            match self.guarded(Op::Read, |v| v.read(node(ino), at, len, plain)) {
                Ok(got) => reply.data(plain.get(..got).unwrap_or_default()),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        data: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _asking = asking(req);
        let done = self.guarded(Op::Write, |v| {
            let len = v.write(node(ino), at, data, write_how(flags))?;
            Ok(u64::try_from(len).unwrap_or(u64::MAX))
        });
        reply_written(done, reply);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(self.not_served(Op::Flush));
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.counters.count(Op::Release);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, data: bool, reply: ReplyEmpty) {
        reply_empty(self.guarded(Op::Fsync, |v| v.sync(node(ino), sync_scope(data))), reply);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.spared.opendir {
            reply.error(self.not_served(Op::OpenDir));
        } else {
            self.counters.count(Op::OpenDir);
            let keep = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
            reply.opened(FileHandle(0), keep);
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        cookie: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut given = Given::default();
        let done = self.guarded(Op::ReadDir, |v| {
            v.read_dir(node(ino), cookie, &mut |entry| {
                let (ino, name) = (INodeNo(entry.node.0), OsStr::from_bytes(&entry.name));
                given.unless(reply.add(ino, entry.cookie, file_type(entry.kind), name))
            })
        });
        match given.error(done) {
            None => reply.ok(),
            Some(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        cookie: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut given = Given::default();
        let done = self.guarded(Op::ReadDirPlus, |v| {
            v.read_dir_plus(node(ino), cookie, &mut |entry, attr| {
                let (attr, name) = (entry_attr(entry, attr), OsStr::from_bytes(&entry.name));
                let full = reply.add(attr.ino, entry.cookie, name, &self.ttl, &attr, GENERATION);
                given.unless(full)
            })
        });
        match given.error(done) {
            None => reply.ok(),
            Some(errno) => reply.error(errno),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, _: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.counters.count(Op::ReleaseDir);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, data: bool, reply: ReplyEmpty) {
        reply_empty(self.guarded(Op::FsyncDir, |v| v.sync(node(ino), sync_scope(data))), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.guarded(Op::StatFs, Volume::statfs) {
            Ok(s) => reply.statfs(
                s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.bsize, s.namelen, s.frsize,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let done = self.guarded(Op::SetXattr, |v| {
            v.set_xattr(node(ino), name.as_bytes(), value, xattr_how(flags)?)
        });
        self.forget_mode(ino, name);
        reply_empty(done, reply);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, room: u32, reply: ReplyXattr) {
        let found = self.guarded(Op::GetXattr, |v| v.find_xattr(node(ino), name.as_bytes()));
        reply_xattr(found, room, reply);
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, room: u32, reply: ReplyXattr) {
        let listed = self.guarded(Op::ListXattr, |v| v.list_xattrs(node(ino)));
        reply_xattr(listed.map(|names| visible_xattrs(names, req)), room, reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.guarded(Op::RemoveXattr, |v| v.remove_xattr(node(ino), name.as_bytes()));
        self.forget_mode(ino, name);
        reply_empty(done, reply);
    }

    /// The kernel checks itself, unless only root enters. What stops root is a file that nobody may
    /// execute (access(2)).
    fn access(&self, _: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        if !self.root_only {
            return reply.error(self.not_served(Op::Access));
        }
        let allowed = self.guarded(Op::Access, |v| {
            let is_unexecutable =
                |attr: &Attr| attr.kind != NodeKind::Dir && attr.mode & 0o111 == 0;
            match mask.contains(AccessFlags::X_OK) && is_unexecutable(&v.attr(node(ino))?) {
                true => Err(FsError::Errno(libc::EACCES)),
                false => Ok(()),
            }
        });
        reply_empty(allowed, reply);
    }

    /// The kernel falls back to MKNOD and OPEN, of which the second is spared.
    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(self.not_served(Op::Create));
    }

    fn getlk(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _start: u64,
        _end: u64,
        _kind: i32,
        _pid: u32,
        reply: ReplyLock,
    ) {
        reply.error(self.not_served(Op::GetLock));
    }

    fn setlk(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _start: u64,
        _end: u64,
        _kind: i32,
        _pid: u32,
        _wait: bool,
        reply: ReplyEmpty,
    ) {
        reply.error(self.not_served(Op::SetLock));
    }

    fn bmap(&self, _: &Request, _: INodeNo, _: u32, _: u64, reply: ReplyBmap) {
        reply.error(self.not_served(Op::Bmap));
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _room: u32,
        reply: ReplyIoctl,
    ) {
        self.counters.count(Op::Ioctl);
        reply.error(Errno::ENOTTY);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(self.not_served(Op::Poll));
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let _asking = asking(req);
        let done = self.guarded(Op::Allocate, |v| {
            v.allocate(node(ino), at, len, allocate_how(mode)?)?;
            if loses_set_id(req) { v.clear_set_id(node(ino)) } else { Ok(()) }
        });
        reply_empty(done, reply);
    }

    /// The kernel asks without writing its dirty pages back first (fs/fuse/file.c, `fuse_lseek`),
    /// so where it gathers writes we would call data a hole, and a copy would lose it. ENOSYS makes
    /// it take all of a file for data.
    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        if self.caching == Caching::WriteBack {
            return reply.error(self.not_served(Op::Seek));
        }
        let found = self.guarded(Op::Seek, |v| {
            let (at, to) = seek_to(offset, whence)?;
            let found = v.seek(node(ino), at, to)?;
            i64::try_from(found).map_err(|_| FsError::Errno(libc::EOVERFLOW))
        });
        match found {
            Ok(at) => reply.offset(at),
            Err(errno) => reply.error(errno),
        }
    }

    fn copy_file_range(
        &self,
        req: &Request,
        from: INodeNo,
        _: FileHandle,
        at: u64,
        to: INodeNo,
        _: FileHandle,
        to_at: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The reply counts in 32 bits.
        let len = len.min(u64::from(u32::MAX));
        let _asking = asking(req);
        let done = self.guarded(Op::CopyRange, |v| {
            let copied = v.copy_range(node(from), at, node(to), to_at, len)?;
            if loses_set_id(req) {
                v.clear_set_id(node(to))?;
            }
            Ok(copied)
        });
        reply_written(done, reply);
    }
}

/// Whether a directory reply holds entries already.
#[derive(Default)]
struct Given {
    any: bool,
}

impl Given {
    /// Takes note of an entry, unless the reply was full.
    fn unless(&mut self, full: bool) -> ControlFlow<()> {
        if full {
            return ControlFlow::Break(());
        }
        self.any = true;
        ControlFlow::Continue(())
    }

    /// The error to reply with. Entries that were given count: their lookups are the kernel's to
    /// forget, so they are sent, and the error comes up again at the next request.
    fn error(&self, done: Result<(), Errno>) -> Option<Errno> {
        done.err().filter(|_| !self.any)
    }
}
