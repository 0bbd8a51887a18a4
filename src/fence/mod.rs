//! What a long-lived process gives up before it reads anything that others may have written: files
//! that are none of its business, system calls that it never makes, capabilities that it does not
//! need, and new privileges for good.
//!
//! Each part is taken where the kernel has it; [`Raised`] tells which. The fence holds for the calling
//! thread and those that it starts, so it is raised before there are others. What a fenced process can
//! no longer do itself, mounting and unmounting, a helper does: `fuse::helper`.

mod calls;
mod files;
mod privileges;

use std::fmt;

pub use files::Ground;
pub use privileges::Kept;

/// What a process may still do.
#[derive(Clone, Debug)]
pub struct Fence {
    /// Files and directories.
    pub ground: Ground,
    /// Capabilities, of those that it has.
    pub kept: Kept,
}

/// What is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raised {
    /// Files outside of its ground are out of reach (Landlock).
    pub files: bool,
    /// System calls that it never makes are refused (seccomp).
    pub calls: bool,
    /// Capabilities that are left.
    pub capabilities: u32,
}

/// Why the fence could not be raised.
#[derive(Debug)]
pub struct FenceError {
    part: &'static str,
    cause: String,
}

impl FenceError {
    fn new(part: &'static str, cause: impl fmt::Display) -> Self {
        Self { part, cause: cause.to_string() }
    }
}

impl fmt::Display for FenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.cause)
    }
}

impl std::error::Error for FenceError {}

impl Fence {
    /// Raises the fence. There is no way back.
    ///
    /// # Errors
    /// [`FenceError`] if the kernel has a part and refuses it; parts that it does not have are left
    /// out.
    pub fn raise(&self) -> Result<Raised, FenceError> {
        privileges::no_new_privileges()?;
        let files = self.ground.enclose()?;
        let capabilities = self.kept.drop_others()?;
        let calls = calls::refuse_unused()?;
        Ok(Raised { files, calls, capabilities })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::ErrorKind;
    use std::path::Path;
    use std::process::Command;

    /// Runs `work` behind a fence around `tree`, in a thread of its own. `None` if this kernel lacks
    /// a part.
    fn behind_fence<T: Send>(
        tree: &Path,
        kept: Kept,
        work: impl FnOnce() -> T + Send,
    ) -> Option<T> {
        let ground = Ground { trees: vec![tree.to_path_buf()], ..Ground::default() };
        let fence = Fence { ground, kept };
        std::thread::scope(|scope| {
            let fenced = scope.spawn(|| {
                let raised = fence.raise().unwrap();
                (raised.files && raised.calls).then(work)
            });
            fenced.join().unwrap()
        })
    }

    /// Law: nothing outside of the ground can be opened, made or run, whoever asks.
    #[test]
    fn what_lies_outside_is_out_of_reach() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("f"), "secret").unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("way")).unwrap();
        let refused = |result: std::io::Result<()>| {
            assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::PermissionDenied));
        };
        behind_fence(inside.path(), Kept::Mount, || {
            refused(fs::read("/etc/shadow").map(drop));
            refused(fs::read(outside.path().join("f")).map(drop));
            refused(fs::read(inside.path().join("way/f")).map(drop));
            refused(fs::write(outside.path().join("new"), ""));
            refused(fs::read_dir(outside.path()).map(drop));
            refused(fs::remove_file(outside.path().join("f")));
            refused(Command::new("/bin/true").status().map(drop));
            let tmpfs = rustix::mount::MountFlags::empty();
            let mounted = rustix::mount::mount("none", inside.path(), "tmpfs", tmpfs, None);
            refused(mounted.map_err(Into::into));
        });
        assert_eq!(fs::read(outside.path().join("f")).unwrap(), b"secret");
    }

    /// Law: what a mount does in its lower directory goes on behind the fence.
    #[test]
    fn what_lies_inside_can_be_used_in_every_way() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        behind_fence(dir.path(), Kept::Mount, || {
            fs::create_dir_all(at("a/b")).unwrap();
            fs::create_dir(at("c")).unwrap();
            fs::write(at("a/f"), "x").unwrap();
            fs::rename(at("a/f"), at("c/f")).unwrap();
            fs::hard_link(at("c/f"), at("a/b/g")).unwrap();
            std::os::unix::fs::symlink("f", at("c/l")).unwrap();
            let fifo = rustix::fs::FileType::Fifo;
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mknodat(rustix::fs::CWD, at("c/p"), fifo, mode, 0).unwrap();
            fs::File::options().write(true).open(at("c/f")).unwrap().set_len(0).unwrap();
            fs::remove_dir_all(at("a")).unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        });
    }

    #[test]
    fn capabilities_are_those_that_are_kept() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for (kept, wanted) in [(Kept::Mount, 10), (Kept::Service, 2)] {
            let found = behind_fence(dir.path(), kept, || {
                rustix::thread::capabilities(None).unwrap().permitted.bits().count_ones()
            });
            assert!(found.is_none_or(|found| found <= wanted), "{kept:?}: {found:?}");
        }
    }
}
