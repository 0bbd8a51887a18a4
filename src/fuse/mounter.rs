//! Who mounts and unmounts: this process, or one of its own that keeps the right to, so that this one
//! can give it up (see [`crate::fence`]).
//!
//! The other process holds no key and reads nothing that others have written. It mounts once, hands
//! the descriptor over, and unmounts that mount and no other. It ends when its socket is closed.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fuse::device::{mount_device, unmount_path};
use crate::fuse::mountinfo::{MountIdentity, MountTable};
use crate::fuse::session::widen_read_ahead;
use crate::fuse::{MountError, MountFlag, MountOptions, UnmountHow};
use crate::sync::{Mutex, Rank};

/// Longest message, in bytes: a path and a source with every byte as a number.
const MESSAGE_LEN_MAX: usize = 64 << 10;

/// Who mounts and unmounts.
#[derive(Clone, Debug, Default)]
pub enum Mounter {
    /// A process of its own.
    Apart(Arc<Apart>),
    /// This process.
    #[default]
    Here,
}

/// The process that mounts for another. Ends on drop.
#[derive(Debug)]
pub struct Apart {
    /// Guards the conversation: held for a question and its answer.
    socket: Mutex<Option<OwnedFd>>,
    child: Child,
}

#[derive(Debug, Serialize, Deserialize)]
enum Question {
    Mount(Wish),
    WidenReadAhead,
    Unmount { is_lazy: bool },
}

/// Of [`MountOptions`], what mounting needs.
#[derive(Debug, Serialize, Deserialize)]
struct Wish {
    mount_point: Vec<u8>,
    source: String,
    read_only: bool,
    allow_other: bool,
    root_only: bool,
    flags: Vec<String>,
}

type Answer = Result<(), MountError>;

impl Mounter {
    /// Mounts, and gives the descriptor through which the kernel sends requests.
    ///
    /// # Errors
    /// [`MountError`]; nothing is mounted then.
    pub(crate) fn mount(
        &self,
        options: &MountOptions,
        mount_point: &Path,
    ) -> Result<OwnedFd, MountError> {
        let Self::Apart(apart) = self else { return mount_device(options, mount_point) };
        let wish = Wish {
            mount_point: mount_point.as_os_str().as_bytes().to_vec(),
            source: options.source.clone(),
            read_only: options.read_only,
            allow_other: options.allow_other,
            root_only: options.root_only,
            flags: options.extra.iter().map(|flag| flag.word().to_owned()).collect(),
        };
        let device = apart.ask(&Question::Mount(wish))?;
        device.ok_or_else(|| gone(io::ErrorKind::UnexpectedEof.into()))
    }

    /// Unmounts what was mounted, which lies at `mount_point` now.
    ///
    /// # Errors
    /// As those of unmounting.
    pub(crate) fn unmount(&self, mount_point: &Path, how: UnmountHow) -> Result<(), MountError> {
        match self {
            Self::Here => unmount_path(mount_point, how),
            Self::Apart(apart) => {
                let is_lazy = how == UnmountHow::Lazy;
                apart.ask(&Question::Unmount { is_lazy }).map(drop)
            }
        }
    }

    /// Lets the kernel read ahead as far as one request may carry.
    pub(crate) fn widen_read_ahead(&self, identity: &MountIdentity) {
        match self {
            Self::Here => widen_read_ahead(identity.device()),
            Self::Apart(apart) => {
                if let Err(error) = apart.ask(&Question::WidenReadAhead) {
                    tracing::debug!(%error, "the bound on read-ahead stays");
                }
            }
        }
    }
}

impl Apart {
    /// Starts the process: `program` with `arguments`, which calls [`serve`].
    ///
    /// # Errors
    /// What the system answers.
    pub fn start(program: &Path, arguments: &[&str]) -> io::Result<Self> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at the terminal is for the mount, which will need this process to end.
            .process_group(0)
            .spawn()?;
        Ok(Self { socket: Mutex::new(Rank::Mounter, Some(ours)), child })
    }

    fn ask(&self, question: &Question) -> Result<Option<OwnedFd>, MountError> {
        let guard = self.socket.lock();
        let socket = guard.as_ref().ok_or_else(|| gone(io::ErrorKind::NotConnected.into()))?;
        send(socket.as_fd(), question, None).map_err(gone)?;
        let (answer, device): (Answer, _) = receive(socket.as_fd()).map_err(gone)?;
        answer.map(|()| device)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        *self.socket.lock() = None;
        let _ended = self.child.wait();
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn gone(error: io::Error) -> MountError {
    MountError::Helper { message: format!("the process that mounts: {error}") }
}

/// What the process apart does: answers until the socket is closed.
pub fn serve(socket: BorrowedFd<'_>) {
    let mut mounted: Option<MountIdentity> = None;
    while let Ok((question, _)) = receive::<Question>(socket) {
        let (answer, device) = match question {
            Question::Mount(wish) if mounted.is_none() => match mount(wish) {
                Ok((device, identity)) => {
                    mounted = Some(identity);
                    (Ok(()), Some(device))
                }
                Err(error) => (Err(error), None),
            },
            // One mount for each such process.
            Question::Mount(_) => (Err(MountError::Mount { errno: libc::EBUSY }), None),
            Question::WidenReadAhead => {
                if let Some(identity) = &mounted {
                    widen_read_ahead(identity.device());
                }
                (Ok(()), None)
            }
            Question::Unmount { is_lazy } => (unmount(mounted.as_ref(), is_lazy), None),
        };
        if send(socket, &answer, device.as_ref().map(AsFd::as_fd)).is_err() {
            return;
        }
    }
}

fn mount(wish: Wish) -> Result<(OwnedFd, MountIdentity), MountError> {
    let mount_point = PathBuf::from(OsString::from_vec(wish.mount_point));
    let options = MountOptions {
        mount_point: mount_point.clone(),
        source: wish.source,
        read_only: wish.read_only,
        allow_other: wish.allow_other,
        root_only: wish.root_only,
        extra: wish.flags.iter().filter_map(|word| MountFlag::parse(word)).collect(),
        ..MountOptions::default()
    };
    let load = || MountTable::load().map_err(|_| MountError::MountTable);
    let before = load()?;
    let device = mount_device(&options, &mount_point)?;
    let table = load()?;
    let entry = table.find_new(&before, &mount_point).ok_or(MountError::MountTable)?;
    Ok((device, entry.identity.clone()))
}

fn unmount(mounted: Option<&MountIdentity>, is_lazy: bool) -> Answer {
    let how = if is_lazy { UnmountHow::Lazy } else { UnmountHow::Clean };
    let table = MountTable::load().map_err(|_| MountError::MountTable)?;
    match mounted.and_then(|identity| table.find(identity)) {
        Some(entry) => unmount_path(&entry.mount_point, how),
        // Gone already.
        None => Ok(()),
    }
}

fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    device: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let descriptors: Vec<BorrowedFd<'_>> = device.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let parts = [IoSlice::new(&bytes)];
    loop {
        match rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<(T, Option<OwnedFd>)> {
    let mut bytes = vec![0; MESSAGE_LEN_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let len = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received.bytes,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let device = control.drain().find_map(|message| {
        let RecvAncillaryMessage::ScmRights(mut descriptors) = message else { return None };
        descriptors.next()
    });
    let message = serde_json::from_slice(bytes.get(..len).unwrap_or_default())?;
    Ok((message, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn questions_and_answers_cross_with_their_descriptor() {
        let (ours, theirs) = pair();
        let null = std::fs::File::open("/dev/null").unwrap();
        let busy: Answer = Err(MountError::Busy { mount_point: "/m".into() });
        send(ours.as_fd(), &busy, Some(null.as_fd())).unwrap();
        let (answer, device): (Answer, _) = receive(theirs.as_fd()).unwrap();
        assert_eq!(answer, busy);
        assert!(device.is_some());
        drop(ours);
        assert!(receive::<Answer>(theirs.as_fd()).is_err());
    }

    /// Law: the process apart unmounts what it has mounted, and nothing else.
    #[test]
    fn without_a_mount_there_is_nothing_to_unmount() {
        let (ours, theirs) = pair();
        let server = std::thread::spawn(move || serve(theirs.as_fd()));
        send(ours.as_fd(), &Question::Unmount { is_lazy: true }, None).unwrap();
        let (answer, _): (Answer, _) = receive(ours.as_fd()).unwrap();
        assert_eq!(answer, Ok(()));
        drop(ours);
        server.join().unwrap();
    }
}
