//! What needs the kernel's dirty pages first, SEEK_DATA and SEEK_HOLE above all: [`Seeker`].
//!
//! The kernel gathers what mappings write, and with the writeback cache everything. It asks without handing its dirty pages over (fs/fuse/file.c, `fuse_lseek`), so a hole of
//! the volume may be data that only the kernel has. Before a hole is told, the kernel drops its pages
//! there, and a dirty page is written back before it goes (mm/truncate.c,
//! `invalidate_inode_pages2_range`). Pages of data stay cached.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use fuser::{Errno, ReplyEmpty, ReplyLseek};

use crate::fs::{FsError, NodeId, SeekTo, Volume, XattrHow};
use crate::fuse::guard::Guard;
use crate::fuse::no_room::NoRoom;
use crate::fuse::{Invalidator, Op};

/// One request.
#[derive(Debug)]
enum Asked {
    Seek {
        node: NodeId,
        at: u64,
        to: SeekTo,
        reply: ReplyLseek,
    },
    /// An attribute that goes when the file is written to, and must not by what was written before.
    Mark {
        node: NodeId,
        name: Vec<u8>,
        value: Vec<u8>,
        how: XattrHow,
        reply: ReplyEmpty,
    },
    /// Attributes that the kernel shall ask for anew. It may wait for the writes of a file that goes,
    /// as those who answer them must not.
    Forget {
        node: NodeId,
    },
}

impl Asked {
    fn refuse(self) {
        match self {
            Self::Seek { reply, .. } => reply.error(Errno::EIO),
            Self::Mark { reply, .. } => reply.error(Errno::EIO),
            Self::Forget { .. } => {}
        }
    }
}

/// A thread that seeks, and sets what writing takes away. One of its own: the kernel waits for the
/// writing back, which the threads that serve requests have to answer meanwhile. What the asking
/// process holds in the kernel is the lock of the inode, which writing back does not take. Dropping
/// this ends the thread.
#[derive(Debug)]
pub(crate) struct Seeker {
    /// As long as the thread: taken when this is dropped.
    queue: Option<Sender<Asked>>,
    thread: Option<JoinHandle<()>>,
}

impl Seeker {
    /// Starts the thread.
    ///
    /// # Errors
    /// What starting it answers.
    pub(crate) fn start(
        guard: Guard,
        pages: Arc<OnceLock<Invalidator>>,
        no_room: Arc<NoRoom>,
    ) -> io::Result<Self> {
        let (queue, asked) = channel();
        let thread = std::thread::Builder::new()
            .name(String::from("seek"))
            .spawn(move || serve(&guard, &pages, &no_room, &asked))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Lets the thread answer.
    pub(crate) fn seek(&self, node: NodeId, at: u64, to: SeekTo, reply: ReplyLseek) {
        self.ask(Asked::Seek { node, at, to, reply });
    }

    /// Lets the thread set an attribute behind all that was written.
    pub(crate) fn mark(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        how: XattrHow,
        reply: ReplyEmpty,
    ) {
        self.ask(Asked::Mark { node, name: name.to_vec(), value: value.to_vec(), how, reply });
    }

    /// Makes the kernel ask for a file's attributes anew.
    pub(crate) fn forget_attributes(&self, node: NodeId) {
        self.ask(Asked::Forget { node });
    }

    fn ask(&self, asked: Asked) {
        let refused = match &self.queue {
            Some(queue) => queue.send(asked).err().map(|error| error.0),
            None => Some(asked),
        };
        if let Some(asked) = refused {
            asked.refuse();
        }
    }
}

impl Drop for Seeker {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic ends one request, never the thread.
            let _ = thread.join();
        }
    }
}

fn serve(guard: &Guard, pages: &OnceLock<Invalidator>, no_room: &NoRoom, asked: &Receiver<Asked>) {
    let pages = || pages.get().ok_or(FsError::Bug("asked before the mount serves"));
    for asked in asked {
        match asked {
            Asked::Seek { node, at, to, reply } => {
                let found = guard.run(Op::Seek, |volume| {
                    let pages = pages()?;
                    let found =
                        find(volume, &|range| write_back(pages, node, range), node, at, to)?;
                    i64::try_from(found).map_err(|_| FsError::Errno(libc::EOVERFLOW))
                });
                match found {
                    Ok(at) => reply.offset(at),
                    Err(errno) => reply.error(errno),
                }
            }
            Asked::Mark { node, name, value, how, reply } => {
                let done = guard.run(Op::SetXattr, |volume| {
                    write_back(pages()?, node, 0..u64::MAX)?;
                    volume.set_xattr(node, &name, &value, how)
                });
                match done {
                    Ok(()) => reply.ok(),
                    Err(errno) => reply.error(errno),
                }
            }
            Asked::Forget { node } => {
                no_room.forgetting(node);
                if let Ok(pages) = pages() {
                    // Fails for a node that the kernel does not know: nobody writes to it.
                    let _ = pages.invalidate_attributes(node);
                }
            }
        }
    }
}

fn write_back(pages: &Invalidator, node: NodeId, range: Range<u64>) -> Result<(), FsError> {
    pages
        .write_back(node, range)
        .map_err(|error| FsError::Errno(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// Next data or hole at or behind `at`, after `write_back` of all that the volume may not know.
fn find(
    volume: &Volume,
    write_back: &dyn Fn(Range<u64>) -> Result<(), FsError>,
    node: NodeId,
    at: u64,
    to: SeekTo,
) -> Result<u64, FsError> {
    // Only the kernel knows of a file that grows, until it writes the new pages back.
    write_back(volume.attr(node)?.size..u64::MAX)?;
    match to {
        SeekTo::Data => {
            let data = next_data(volume, node, at)?;
            if data > Some(at) || data.is_none() {
                write_back(at..data.unwrap_or(u64::MAX))?;
                return volume.seek(node, at, SeekTo::Data);
            }
            Ok(at)
        }
        SeekTo::Hole => {
            let size = volume.attr(node)?.size;
            let mut hole = volume.seek(node, at, SeekTo::Hole)?;
            // Every file ends with a hole, which nobody can have written to.
            while hole < size {
                write_back(hole..next_data(volume, node, hole)?.unwrap_or(u64::MAX))?;
                let next = volume.seek(node, hole, SeekTo::Hole)?;
                if next == hole {
                    break;
                }
                hole = next;
            }
            Ok(hole)
        }
    }
}

/// Next data at or behind `at`, if there is any.
fn next_data(volume: &Volume, node: NodeId, at: u64) -> Result<Option<u64>, FsError> {
    match volume.seek(node, at, SeekTo::Data) {
        Err(FsError::Errno(libc::ENXIO)) => Ok(None),
        found => found.map(Some),
    }
}
