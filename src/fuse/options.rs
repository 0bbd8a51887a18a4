//! What a mount is asked to be, and how that is spelled for mount(2) and for fusermount3.

use std::path::PathBuf;

use rustix::mount::MountFlags;

use crate::fuse::{Caching, MountError};

/// The type below `fuse.` in the table of mounts.
pub(crate) const SUBTYPE: &str = "kmsfs";

/// Threads that serve requests, at least: a request that waits for an HSM must not stop the others.
const THREADS_MIN: usize = 4;

/// Threads that serve requests, at most: each holds a buffer of 256 KiB for requests, and as much for
/// replies.
const THREADS_MAX: usize = 256;

/// What a mount is asked to be. The kernel checks permissions (`default_permissions`), unless only
/// root may enter.
#[derive(Clone, Debug, Default)]
pub struct MountOptions {
    /// The directory to mount on.
    pub mount_point: PathBuf,
    /// What the table of mounts shows as mounted: the lower directory.
    pub source: String,
    /// Nothing can be changed through the mount.
    pub read_only: bool,
    /// Other users may enter, as far as permission bits let them.
    ///
    /// There is no `allow_root`: the kernel does not know it, and what it has cached it hands out
    /// without a request that could be refused.
    pub allow_other: bool,
    /// Only root may enter, whom no permission bit stops: the kernel does not check them, and so need
    /// not ask for a directory's attributes after each change in it. Ignored with `allow_other`.
    pub root_only: bool,
    /// Writes are gathered in the page cache. Ignored for a shared volume.
    pub writeback: bool,
    /// Others may change the lower directory while it is mounted.
    pub shared: bool,
    /// Threads that serve requests; `None` for twice the processors, at least 4.
    pub threads: Option<usize>,
    /// Further flags, the later of two that contradict each other wins. nosuid and nodev stand
    /// unless they are lifted, which takes root.
    pub extra: Vec<MountFlag>,
}

impl MountOptions {
    /// What the kernel may keep.
    pub fn caching(&self) -> Caching {
        if self.shared {
            Caching::Shared
        } else if self.writeback {
            Caching::WriteBack
        } else {
            Caching::WriteThrough
        }
    }

    /// Whether only root may enter.
    pub(crate) fn is_root_only(&self) -> bool {
        self.root_only && !self.allow_other
    }

    /// How many threads serve requests.
    pub(crate) fn thread_count(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = self.threads.unwrap_or_else(|| processors.saturating_mul(2).max(THREADS_MIN));
        count.clamp(1, THREADS_MAX)
    }

    /// Checks what cannot be checked by type.
    ///
    /// # Errors
    /// [`MountError::Source`] if the source has a control character in it.
    pub(crate) fn check(&self) -> Result<(), MountError> {
        if self.source.chars().any(char::is_control) {
            return Err(MountError::Source { shown: self.source.escape_debug().to_string() });
        }
        Ok(())
    }

    /// The flags for mount(2).
    pub(crate) fn mount_flags(&self) -> MountFlags {
        let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
        flags.set(MountFlags::RDONLY, self.read_only);
        for extra in &self.extra {
            let (flag, on) = extra.as_mount_flag();
            flags.set(flag, on);
        }
        flags
    }

    /// The data for mount(2), but for the descriptor and the user; each word behind a comma.
    pub(crate) fn mount_data(&self) -> &'static str {
        match (self.allow_other, self.is_root_only()) {
            (true, _) => ",default_permissions,allow_other",
            (false, false) => ",default_permissions",
            (false, true) => "",
        }
    }

    /// The argument of `fusermount3 -o`.
    pub(crate) fn helper_options(&self) -> String {
        let source = escape_value(&self.source);
        let mut words = format!("fsname={source},subtype={SUBTYPE}{}", self.mount_data());
        words.push_str(if self.read_only { ",ro" } else { ",rw" });
        for extra in &self.extra {
            words.push(',');
            words.push_str(extra.word());
        }
        words
    }
}

/// A value as fusermount3 unescapes it: otherwise a comma in the source would begin an option.
fn escape_value(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,")
}

/// A flag of mount(8) that does not change what kmsfs does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountFlag {
    /// Writes need not be on disk when they return.
    Async,
    /// Times of reading are kept.
    Atime,
    /// Device files work.
    Dev,
    /// Directories are changed on disk at once.
    DirSync,
    /// Programs can be run.
    Exec,
    /// Times of reading are not kept.
    NoAtime,
    /// Device files do not work.
    NoDev,
    /// No program can be run.
    NoExec,
    /// Set-id bits have no effect.
    NoSuid,
    /// Symbolic links are not followed.
    NoSymFollow,
    /// Set-id bits have effect.
    Suid,
    /// Symbolic links are followed.
    SymFollow,
    /// Writes are on disk when they return.
    Sync,
}

impl MountFlag {
    const ALL: [Self; 13] = [
        Self::Async,
        Self::Atime,
        Self::Dev,
        Self::DirSync,
        Self::Exec,
        Self::NoAtime,
        Self::NoDev,
        Self::NoExec,
        Self::NoSuid,
        Self::NoSymFollow,
        Self::Suid,
        Self::SymFollow,
        Self::Sync,
    ];

    /// The flag that `-o` and fstab call `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flag| flag.word() == word)
    }

    /// The word of `-o` and fstab.
    pub fn word(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Atime => "atime",
            Self::Dev => "dev",
            Self::DirSync => "dirsync",
            Self::Exec => "exec",
            Self::NoAtime => "noatime",
            Self::NoDev => "nodev",
            Self::NoExec => "noexec",
            Self::NoSuid => "nosuid",
            Self::NoSymFollow => "nosymfollow",
            Self::Suid => "suid",
            Self::SymFollow => "symfollow",
            Self::Sync => "sync",
        }
    }

    /// The bit of mount(2), and whether it is set.
    fn as_mount_flag(self) -> (MountFlags, bool) {
        match self {
            Self::Async => (MountFlags::SYNCHRONOUS, false),
            Self::Atime => (MountFlags::NOATIME, false),
            Self::Dev => (MountFlags::NODEV, false),
            Self::DirSync => (MountFlags::DIRSYNC, true),
            Self::Exec => (MountFlags::NOEXEC, false),
            Self::NoAtime => (MountFlags::NOATIME, true),
            Self::NoDev => (MountFlags::NODEV, true),
            Self::NoExec => (MountFlags::NOEXEC, true),
            Self::NoSuid => (MountFlags::NOSUID, true),
            Self::NoSymFollow => (MountFlags::NOSYMFOLLOW, true),
            Self::Suid => (MountFlags::NOSUID, false),
            Self::SymFollow => (MountFlags::NOSYMFOLLOW, false),
            Self::Sync => (MountFlags::SYNCHRONOUS, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(source: &str) -> MountOptions {
        MountOptions { source: String::from(source), ..MountOptions::default() }
    }

    /// Law: nothing in the source becomes an option.
    #[test]
    fn comma_and_backslash_in_the_source_are_escaped() {
        assert_eq!(
            named("/a,suid\\,dev").helper_options(),
            "fsname=/a\\,suid\\\\\\,dev,subtype=kmsfs,default_permissions,rw"
        );
    }

    /// Law: the kernel stops checking only where it keeps everybody but root out.
    #[test]
    fn permissions_are_checked_wherever_others_may_enter() {
        for (allow_other, root_only) in [(false, false), (true, false), (true, true)] {
            let options = MountOptions { allow_other, root_only, ..MountOptions::default() };
            assert!(options.mount_data().contains("default_permissions"), "{options:?}");
            assert!(!options.is_root_only());
        }
        let options = MountOptions { root_only: true, ..MountOptions::default() };
        assert_eq!(options.mount_data(), "");
        assert!(options.is_root_only());
    }

    #[test]
    fn control_characters_in_the_source_are_refused() {
        for source in ["/a\nb", "/a\0b", "/a\tb", "/a\u{7f}"] {
            assert!(matches!(named(source).check(), Err(MountError::Source { .. })), "{source:?}");
        }
        assert_eq!(named("/home/me/a b, c").check(), Ok(()));
    }

    #[test]
    fn set_id_and_devices_are_off_unless_lifted() {
        let plain = MountOptions::default();
        assert_eq!(plain.mount_flags(), MountFlags::NOSUID | MountFlags::NODEV);
        let lifted = MountOptions {
            extra: vec![MountFlag::Suid, MountFlag::Dev, MountFlag::NoExec],
            read_only: true,
            ..MountOptions::default()
        };
        assert_eq!(lifted.mount_flags(), MountFlags::NOEXEC | MountFlags::RDONLY);
    }

    #[test]
    fn later_of_two_flags_wins() {
        let extra = vec![MountFlag::NoAtime, MountFlag::Atime];
        let options = MountOptions { extra, ..MountOptions::default() };
        assert!(!options.mount_flags().contains(MountFlags::NOATIME));
    }

    #[test]
    fn every_flag_is_known_by_its_word() {
        for flag in MountFlag::ALL {
            assert_eq!(MountFlag::parse(flag.word()), Some(flag));
        }
        assert_eq!(MountFlag::parse("allow_other"), None);
    }

    #[test]
    fn shared_volume_does_not_gather_writes() {
        let both = MountOptions { shared: true, writeback: true, ..MountOptions::default() };
        assert_eq!(both.caching(), Caching::Shared);
    }

    #[test]
    fn threads_are_at_least_one_and_by_default_four() {
        assert!(MountOptions::default().thread_count() >= 4);
        let none = MountOptions { threads: Some(0), ..MountOptions::default() };
        assert_eq!(none.thread_count(), 1);
    }
}
