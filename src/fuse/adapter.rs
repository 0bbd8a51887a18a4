//! [`Adapter`]: each request of the kernel becomes one call of the volume. No logic of its own.
//!
//! The mount carries no handles: content is reached by node. CREATE, OPEN, OPENDIR and FLUSH are
//! answered with ENOSYS, and the kernel stops sending them and their RELEASEs (fs/fuse/file.c,
//! `fuse_file_open`; fs/fuse/dir.c, `fuse_atomic_open`): a new file costs LOOKUP, MKNOD and WRITE,
//! and a cached one costs nothing to open, read and close.

mod notices;

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags,
    Generation, INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags,
    PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen,
    ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, RequestId, TimeOrNow, WriteFlags,
};

use crate::fs::{Attr, FsError, NodeId, SetAttr, Volume};
use crate::fuse::convert::{
    allocate_how, asking, bare_attr, caller, entry_attr, expecting, file_attr, file_type, node,
    permission_bits, plain_name, rename_how, seek_to, set_time, sync_scope, unprivileged,
    visible_xattrs, write_how, xattr_how,
};
use crate::fuse::errno::errno;
use crate::fuse::given::Given;
use crate::fuse::guard::Guard;
use crate::fuse::linger::Linger;
use crate::fuse::negotiate::{Spared, drops_pages_when_written, negotiate};
use crate::fuse::no_room::NoRoom;
use crate::fuse::seeker::Seeker;
use crate::fuse::session::Invalidator;
use crate::fuse::{Caching, Counters, MountOptions, Op};
use crate::lower::CAPABILITY;
use crate::lower::NodeKind;

/// A node's number is never given to another file while the kernel knows it, so one generation
/// serves.
const GENERATION: Generation = Generation(0);

/// S_ISUID and S_ISGID.
const SET_ID: u32 = 0o6000;

/// The attribute that holds an ACL.
const ACCESS_ACL: &str = "system.posix_acl_access";

thread_local! {
    /// The FORGET under way.
    static FORGETTING: Cell<Option<RequestId>> = const { Cell::new(None) };

    /// Plaintext of the READ under way. Kept, because fresh pages cost more than the cipher.
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A volume as fuser wants a filesystem.
#[derive(Debug)]
pub struct Adapter {
    guard: Guard,
    caching: Caching,
    /// Only root enters: the kernel leaves permissions and what an ACL does to a mode to us.
    root_only: bool,
    /// Set before the first request is served.
    invalidator: Arc<OnceLock<Invalidator>>,
    linger: Arc<Linger>,
    no_room: Arc<NoRoom>,
    ttl: Duration,
    spared: Spared,
    seeking: Seeking,
}

/// How SEEK_DATA and SEEK_HOLE are answered.
#[derive(Debug)]
enum Seeking {
    /// By the volume, which knows all that was written, but for what mappings wrote.
    Direct,
    /// By the volume, after the kernel has written back what it gathered.
    Gathered(Seeker),
    /// Not at all: the kernel takes all of a file for data.
    AllData,
}

impl Adapter {
    /// An adapter that has not met the kernel yet.
    pub(crate) fn new(
        volume: Arc<Volume>,
        counters: Arc<Counters>,
        options: &MountOptions,
        invalidator: Arc<OnceLock<Invalidator>>,
        linger: Arc<Linger>,
    ) -> Self {
        let caching = options.caching();
        Self {
            guard: Guard::new(volume, counters, options.thread_count()),
            caching,
            root_only: options.is_root_only(),
            invalidator,
            linger,
            no_room: Arc::default(),
            ttl: caching.ttl(),
            spared: Spared::default(),
            seeking: match caching {
                Caching::WriteBack => Seeking::AllData,
                Caching::WriteThrough | Caching::Shared => Seeking::Direct,
            },
        }
    }

    /// Clears suid and sgid where the kernel does not expect that, and would show them on; unless the
    /// caller may keep them.
    fn clear_set_id(&self, volume: &Volume, ino: INodeNo, req: &Request) -> Result<(), FsError> {
        let Some(caller) = unprivileged(req) else {
            return Ok(());
        };
        let before = volume.attr(node(ino))?.mode;
        volume.clear_set_id(node(ino), caller)?;
        if before & SET_ID != 0 {
            self.forget_attributes(ino);
        }
        Ok(())
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
        if drops_pages_when_written(config) {
            let pages = Arc::clone(&self.invalidator);
            self.seeking = Seeking::Gathered(Seeker::start(
                self.guard.clone(),
                pages,
                Arc::clone(&self.no_room),
            )?);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _lingering = self.linger.behind();
        let found = self.guard.run(Op::Lookup, |v| v.lookup(node(parent), &plain_name(name)?));
        match found {
            Ok(Some(attr)) => reply.entry(&self.ttl, &file_attr(&attr), GENERATION),
            Ok(None) => {
                reply.entry(&self.ttl, &bare_attr(NodeId(0), NodeKind::File), GENERATION);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, req: &Request, ino: INodeNo, count: u64) {
        // fuser hands over the nodes of one request one by one.
        let is_another = FORGETTING.replace(Some(req.unique())) != Some(req.unique());
        let _lingering = is_another.then(|| self.linger.behind_part());
        // FORGET has no reply, hence nobody to tell.
        let _ = self.guard.run(Op::Forget, |v| {
            v.forget(node(ino), count);
            Ok(())
        });
        self.no_room.is_over(node(ino));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, by: Option<FileHandle>, reply: ReplyAttr) {
        let _lingering = self.linger.behind();
        // With a handle write(2) asks.
        if let Some(errno) = by.and_then(|_| self.no_room.tell(node(ino))) {
            self.guard.count(Op::GetAttr);
            return reply.error(errno);
        }
        self.reply_attr(self.guard.run(Op::GetAttr, |v| v.attr(node(ino))), reply);
        self.list_again(ino);
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
        let _lingering = self.linger.behind();
        let set = SetAttr {
            mode: mode.map(permission_bits),
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
            unprivileged: size.and_then(|_| unprivileged(req)),
        };
        let _asking = asking(req);
        if size.is_some() {
            self.no_room.is_over(node(ino));
        }
        // Nothing but a ctime is left out: the lower filesystem keeps its own.
        let done = self.guard.run(Op::SetAttr, |v| {
            if set == SetAttr::default() { v.attr(node(ino)) } else { v.set_attr(node(ino), &set) }
        });
        self.reply_attr(done, reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let _lingering = self.linger.behind();
        match self.guard.run(Op::ReadLink, |v| v.readlink(node(ino))) {
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
        let _lingering = self.linger.behind();
        let made = self.guard.run(Op::MkNod, |v| {
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
        let _lingering = self.linger.behind();
        let made = self.guard.run(Op::MkDir, |v| {
            v.mkdir(node(parent), &plain_name(name)?, mode, umask, caller(req))
        });
        self.reply_entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _lingering = self.linger.behind();
        let done = self.guard.run(Op::Unlink, |v| v.unlink(node(parent), &plain_name(name)?));
        reply_empty(done, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _lingering = self.linger.behind();
        let done = self.guard.run(Op::RmDir, |v| v.rmdir(node(parent), &plain_name(name)?));
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
        let _lingering = self.linger.behind();
        let target = target.as_os_str().as_bytes();
        let made = self
            .guard
            .run(Op::Symlink, |v| v.symlink(node(parent), &plain_name(name)?, target, caller(req)));
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
        let _lingering = self.linger.behind();
        let done = self.guard.run(Op::Rename, |v| {
            let (old, new) = (plain_name(name)?, plain_name(new_name)?);
            v.rename(node(parent), &old, node(new_parent), &new, rename_how(flags)?)
        });
        reply_empty(done, reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _lingering = self.linger.behind();
        let made =
            self.guard.run(Op::Link, |v| v.link(node(ino), node(parent), &plain_name(name)?));
        self.reply_entry(made, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.spared.open {
            reply.error(self.guard.not_served(Op::Open));
        } else {
            self.guard.count(Op::Open);
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
        let _lingering = self.linger.behind_bytes(len);
        let _asking = asking(req);
        let is_read = PLAIN.with_borrow_mut(|plain| {
            let done = self.guard.run(Op::Read, |v| v.read(node(ino), at, len, plain));
            match done {
                Ok(got) => reply.data(plain.get(..got).unwrap_or_default()),
                Err(errno) => reply.error(errno),
            }
            done.is_ok()
        });
        // Once for a file, not for each of its parts.
        if is_read && at == 0 {
            self.list_again(ino);
            let _expecting = expecting(req);
            self.guard.aside(|v| v.read_ahead(node(ino)));
        }
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
        let _lingering = self.linger.behind_bytes(data.len());
        let _asking = asking(req);
        let done = self.guard.run(Op::Write, |v| {
            let len = v.write(node(ino), at, data, write_how(flags, caller(req)))?;
            // Set only if the kernel knows of suid or sgid; it goes on showing them.
            if flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
                self.forget_attributes(ino);
            }
            Ok(u64::try_from(len).unwrap_or(u64::MAX))
        });
        // Before the reply: whoever waits for it may cut the file then, and nobody is to be told any more.
        match &done {
            Ok(_) => self.no_room.is_over(node(ino)),
            Err(errno) if flags.contains(WriteFlags::FUSE_WRITE_CACHE) => {
                self.tell_next_writer(node(ino), *errno);
            }
            Err(_) => {}
        }
        reply_written(done, reply);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(self.guard.not_served(Op::Flush));
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
        self.guard.count(Op::Release);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, data: bool, reply: ReplyEmpty) {
        let _lingering = self.linger.behind();
        reply_empty(self.guard.run(Op::Fsync, |v| v.sync(node(ino), sync_scope(data))), reply);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.spared.opendir {
            reply.error(self.guard.not_served(Op::OpenDir));
        } else {
            self.guard.count(Op::OpenDir);
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
        let _lingering = self.linger.behind();
        let mut given = Given::default();
        let done = self.guard.run(Op::ReadDir, |v| {
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
        let _lingering = self.linger.behind();
        let mut given = Given::default();
        let done = self.guard.run(Op::ReadDirPlus, |v| {
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
        self.guard.count(Op::ReleaseDir);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, data: bool, reply: ReplyEmpty) {
        let _lingering = self.linger.behind();
        reply_empty(self.guard.run(Op::FsyncDir, |v| v.sync(node(ino), sync_scope(data))), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let _lingering = self.linger.behind();
        match self.guard.run(Op::StatFs, Volume::statfs) {
            Ok(s) => reply.statfs(
                s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.bsize, s.namelen, s.frsize,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let _lingering = self.linger.behind();
        if let (Seeking::Gathered(seeker), Ok(how)) = (&self.seeking, xattr_how(flags))
            && name == CAPABILITY
        {
            return seeker.mark(node(ino), name.as_bytes(), value, how, reply);
        }
        let done = self.guard.run(Op::SetXattr, |v| {
            v.set_xattr(node(ino), name.as_bytes(), value, xattr_how(flags)?)?;
            match name == ACCESS_ACL && req.uid() != 0 {
                // The kernel says so with FUSE_SETXATTR_EXT, which fuser does not relay.
                true => v.clear_foreign_group_id(node(ino), caller(req)),
                false => Ok(()),
            }
        });
        self.forget_mode(ino, name);
        reply_empty(done, reply);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, room: u32, reply: ReplyXattr) {
        let _lingering = self.linger.behind();
        let found = self.guard.run(Op::GetXattr, |v| v.find_xattr(node(ino), name.as_bytes()));
        reply_xattr(found, room, reply);
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, room: u32, reply: ReplyXattr) {
        let _lingering = self.linger.behind();
        let listed = self.guard.run(Op::ListXattr, |v| v.list_xattrs(node(ino)));
        reply_xattr(listed.map(|names| visible_xattrs(names, req)), room, reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _lingering = self.linger.behind();
        let done = self.guard.run(Op::RemoveXattr, |v| v.remove_xattr(node(ino), name.as_bytes()));
        self.forget_mode(ino, name);
        reply_empty(done, reply);
    }

    /// The kernel checks itself, unless only root enters. What stops root is a file that nobody may
    /// execute (access(2)).
    fn access(&self, _: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let _lingering = self.linger.behind();
        if !self.root_only {
            return reply.error(self.guard.not_served(Op::Access));
        }
        let allowed = self.guard.run(Op::Access, |v| {
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
        reply.error(self.guard.not_served(Op::Create));
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
        reply.error(self.guard.not_served(Op::GetLock));
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
        reply.error(self.guard.not_served(Op::SetLock));
    }

    fn bmap(&self, _: &Request, _: INodeNo, _: u32, _: u64, reply: ReplyBmap) {
        reply.error(self.guard.not_served(Op::Bmap));
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
        self.guard.count(Op::Ioctl);
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
        reply.error(self.guard.not_served(Op::Poll));
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
        let _lingering = self.linger.behind();
        let _asking = asking(req);
        let done = self.guard.run(Op::Allocate, |v| {
            v.allocate(node(ino), at, len, allocate_how(mode)?)?;
            self.clear_set_id(v, ino, req)
        });
        reply_empty(done, reply);
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let (at, to) = match (&self.seeking, seek_to(offset, whence)) {
            (Seeking::AllData, _) => return reply.error(self.guard.not_served(Op::Seek)),
            (Seeking::Gathered(seeker), Ok((at, to))) => {
                return seeker.seek(node(ino), at, to, reply);
            }
            (Seeking::Direct, Ok(asked)) => asked,
            (_, Err(error)) => return reply.error(errno(&error)),
        };
        let _lingering = self.linger.behind();
        let found = self.guard.run(Op::Seek, |v| {
            i64::try_from(v.seek(node(ino), at, to)?).map_err(|_| FsError::Errno(libc::EOVERFLOW))
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
        let _lingering = self.linger.behind_bytes(usize::try_from(len).unwrap_or(usize::MAX));
        let _asking = asking(req);
        let done = self.guard.run(Op::CopyRange, |v| {
            let copied = v.copy_range(node(from), at, node(to), to_at, len)?;
            self.clear_set_id(v, to, req)?;
            Ok(copied)
        });
        reply_written(done, reply);
    }
}
