//! Mounting and unmounting as such: mount(2) and umount2(2) for root, fusermount3 for others.
//!
//! Not left to fuser 0.18.0: that drops the subtype, lets a comma in the source begin an option,
//! and may unmount what somebody else mounted later on the same path.

use std::ffi::{CString, OsStr};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{getgid, getuid};

use crate::fuse::options::SUBTYPE;
use crate::fuse::session::UnmountHow;
use crate::fuse::{MountError, MountOptions};

/// The set-uid helper of libfuse 3, then that of libfuse 2.
const HELPERS: [&str; 2] = ["fusermount3", "fusermount"];

/// Mounts, and returns the descriptor through which the kernel sends requests.
///
/// # Errors
/// [`MountError`]; nothing is mounted then.
pub(crate) fn mount_device(
    options: &MountOptions,
    mount_point: &Path,
) -> Result<OwnedFd, MountError> {
    match mount_directly(options, mount_point)? {
        Some(device) => Ok(device),
        None => mount_by_helper(options, mount_point),
    }
}

/// Whether the kernel still holds the filesystem behind the descriptor, mounted or detached.
///
/// It cuts the connection before it gives the filesystem's device number away (fs/fuse/inode.c,
/// `fuse_sb_destroy`), and poll shows that as an error (fs/fuse/dev.c, `fuse_dev_poll`).
pub(crate) fn is_connected(device: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(device, PollFlags::empty())];
    loop {
        match rustix::event::poll(&mut polled, Some(&Timespec::default())) {
            Ok(_) => return polled.iter().all(|fd| !fd.revents().contains(PollFlags::ERR)),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Unmounts what lies on top at `mount_point`.
///
/// # Errors
/// [`MountError::Busy`] if it is in use; [`MountError::Unmount`] or [`MountError::Helper`] with
/// other reasons.
pub(crate) fn unmount_path(mount_point: &Path, how: UnmountHow) -> Result<(), MountError> {
    let flags = match how {
        UnmountHow::Clean => UnmountFlags::NOFOLLOW,
        UnmountHow::Lazy => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    match rustix::mount::unmount(mount_point, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(busy(mount_point)),
        Err(Errno::PERM) => unmount_by_helper(mount_point, how),
        Err(error) => Err(MountError::Unmount { errno: error.raw_os_error() }),
    }
}

fn busy(mount_point: &Path) -> MountError {
    MountError::Busy { mount_point: mount_point.to_path_buf() }
}

/// mount(2); `None` if that is not for us.
fn mount_directly(
    options: &MountOptions,
    mount_point: &Path,
) -> Result<Option<OwnedFd>, MountError> {
    let device = match rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
    {
        Ok(device) => device,
        Err(Errno::ACCESS | Errno::PERM) => return Ok(None),
        Err(error) => return Err(MountError::Device { errno: error.raw_os_error() }),
    };
    // 40000 is S_IFDIR in octal.
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}{}",
        device.as_raw_fd(),
        getuid().as_raw(),
        getgid().as_raw(),
        options.mount_data(),
    );
    let data = CString::new(data).map_err(|_| MountError::Mount { errno: libc::EINVAL })?;
    let fs_type = format!("fuse.{SUBTYPE}");
    let (source, flags) = (options.source.as_str(), options.mount_flags());
    match rustix::mount::mount(source, mount_point, fs_type, flags, data.as_c_str()) {
        Ok(()) => Ok(Some(device)),
        Err(Errno::PERM) => Ok(None),
        Err(error) => Err(MountError::Mount { errno: error.raw_os_error() }),
    }
}

/// fusermount3 mounts and sends the descriptor over the socket that it finds at its stdin.
fn mount_by_helper(options: &MountOptions, mount_point: &Path) -> Result<OwnedFd, MountError> {
    let (ours, theirs) = UnixStream::pair().map_err(helper_failed)?;
    let words = options.helper_options();
    let args = [OsStr::new("-o"), OsStr::new(&words), OsStr::new("--"), mount_point.as_os_str()];
    let output = run_helper(&args, &theirs)?;
    // With our copy of their end closed, the socket ends instead of waiting for a descriptor.
    drop(theirs);
    let device = if output.status.success() { receive_descriptor(&ours) } else { None };
    device.ok_or_else(|| helper_refused(&output))
}

fn unmount_by_helper(mount_point: &Path, how: UnmountHow) -> Result<(), MountError> {
    let (_ours, theirs) = UnixStream::pair().map_err(helper_failed)?;
    let word = match how {
        UnmountHow::Clean => "-u",
        UnmountHow::Lazy => "-uz",
    };
    let args = [OsStr::new(word), OsStr::new("--"), mount_point.as_os_str()];
    let output = run_helper(&args, &theirs)?;
    if output.status.success() {
        Ok(())
    } else if String::from_utf8_lossy(&output.stderr).contains("busy") {
        Err(busy(mount_point))
    } else {
        Err(helper_refused(&output))
    }
}

fn run_helper(args: &[&OsStr], socket: &UnixStream) -> Result<Output, MountError> {
    for helper in HELPERS {
        let socket = OwnedFd::from(socket.try_clone().map_err(helper_failed)?);
        let ran = Command::new(helper)
            .args(args)
            .env("_FUSE_COMMFD", "0")
            .env("LC_ALL", "C")
            .stdin(Stdio::from(socket))
            .output();
        match ran {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            ran => return ran.map_err(helper_failed),
        }
    }
    Err(MountError::HelperMissing)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn helper_failed(error: io::Error) -> MountError {
    MountError::Helper { message: error.to_string() }
}

/// What the helper said, or that it said nothing.
fn helper_refused(output: &Output) -> MountError {
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("user_allow_other") {
        return MountError::AllowOther;
    }
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    let message = HELPERS.iter().fold(line, |line, helper| {
        line.strip_prefix(helper).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(line)
    });
    MountError::Helper { message: String::from(message.trim()) }
}

fn receive_descriptor(socket: &UnixStream) -> Option<OwnedFd> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let mut bytes = [IoSliceMut::new(&mut byte)];
    while let Err(error) = rustix::net::recvmsg(socket, &mut bytes, &mut control, flags) {
        if error != Errno::INTR {
            return None;
        }
    }
    control.drain().find_map(|message| {
        let RecvAncillaryMessage::ScmRights(mut descriptors) = message else { return None };
        descriptors.next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn said(stderr: &str) -> Output {
        let status = ExitStatus::from_raw(1 << 8);
        Output { status, stdout: Vec::new(), stderr: stderr.as_bytes().to_vec() }
    }

    #[test]
    fn refusal_of_allow_other_is_told_in_plain_words() {
        let output = said(
            "fusermount3: option allow_other only allowed if 'user_allow_other' is set in \
             /etc/fuse.conf\n",
        );
        assert_eq!(helper_refused(&output), MountError::AllowOther);
        assert!(MountError::AllowOther.to_string().contains("/etc/fuse.conf"));
    }

    #[test]
    fn other_refusals_keep_the_words_of_the_helper() {
        let message = String::from("bad mount point /x: No such file or directory");
        let output = said("fusermount3: bad mount point /x: No such file or directory\n");
        assert_eq!(helper_refused(&output), MountError::Helper { message });
        let message = String::from("no reason given");
        assert_eq!(helper_refused(&said("")), MountError::Helper { message });
    }
}
