//! The words of `-o`, of fstab, and of mount(8)'s helper `mount.fuse.kmsfs`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::args::MountArgs;
use crate::cli::values::{parse_count, parse_duration, parse_size_limit};
use crate::control::{Failure, Kind};
use crate::fuse::MountFlag;

/// A mount command with its `-o` words sorted in.
#[derive(Clone, Debug, Default)]
pub(super) struct MountWords {
    /// The arguments, words of `-o` included; paths are absolute.
    pub(super) args: MountArgs,
    /// The kernel shall check permission bits even if only root may enter.
    pub(super) checks_permissions: bool,
    /// Flags for the kernel.
    pub(super) flags: Vec<MountFlag>,
    /// A mount that is there gets other flags.
    pub(super) remount: bool,
}

impl MountWords {
    /// Merges options and words.
    ///
    /// # Errors
    /// [`Kind::Usage`] for an unknown word, by its name.
    pub(super) fn of(args: &MountArgs) -> Result<Self, Failure> {
        let words = parse_words(&args.options)?;
        let mut merged = args.clone();
        merged.ro |= words.ro;
        merged.allow_other |= words.allow_other;
        merged.shared |= words.shared;
        merged.no_writeback |= words.no_writeback;
        merged.no_sandbox |= words.no_sandbox;
        merged.idle = args.idle.or(words.idle);
        merged.data_key_age = args.data_key_age.or(words.data_key_age);
        merged.data_key_bytes = args.data_key_bytes.or(words.data_key_bytes);
        merged.data_key_messages = args.data_key_messages.or(words.data_key_messages);
        merged.log = args.log.clone().or(words.log);
        merged.config = args.config.clone().or(words.config);
        let unlock = &mut merged.unlock;
        if unlock.passfile.is_none() && unlock.extpass.is_none() && unlock.keyfile.is_none() {
            unlock.passfile = words.passfile;
            unlock.extpass = words.extpass;
            unlock.keyfile = words.keyfile;
        }
        if unlock.kms.is_none() && unlock.kms_url.is_none() {
            unlock.kms = words.kms;
            unlock.kms_url = words.kms_url;
        }
        unlock.audit = args.unlock.audit.clone().or(words.audit);
        // The process of the mount lives in /.
        let paths = [&mut merged.lower, &mut merged.mount_point];
        let optional = [&mut merged.log, &mut merged.config, &mut unlock.kms, &mut unlock.audit];
        for path in paths.into_iter().chain(optional.into_iter().flatten()) {
            *path =
                std::path::absolute(&*path).map_err(|error| Failure::io(path.display(), &error))?;
        }
        let checks_permissions = words.default_permissions;
        Ok(Self { args: merged, checks_permissions, flags: words.flags, remount: words.remount })
    }
}

/// What the words of `-o` say.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Words {
    pub(super) ro: bool,
    pub(super) allow_other: bool,
    pub(super) default_permissions: bool,
    pub(super) shared: bool,
    pub(super) no_writeback: bool,
    pub(super) no_sandbox: bool,
    pub(super) idle: Option<Duration>,
    pub(super) data_key_age: Option<Duration>,
    pub(super) data_key_bytes: Option<u64>,
    pub(super) data_key_messages: Option<u64>,
    pub(super) log: Option<PathBuf>,
    pub(super) config: Option<PathBuf>,
    pub(super) passfile: Option<PathBuf>,
    pub(super) extpass: Option<String>,
    pub(super) keyfile: Option<PathBuf>,
    pub(super) kms: Option<PathBuf>,
    pub(super) audit: Option<PathBuf>,
    pub(super) kms_url: Option<String>,
    pub(super) flags: Vec<MountFlag>,
    pub(super) remount: bool,
}

/// Words for mount(8), systemd and the boot, and words of the kernel that it has no use for in FUSE:
/// times of reading are the lower filesystem's. Nothing for us.
const FOR_OTHERS: &[&str] = &[
    "_netdev",
    "auto",
    "defaults",
    "diratime",
    "fail",
    "group",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noauto",
    "nodiratime",
    "nofail",
    "noiversion",
    "nolazytime",
    "nomand",
    "noowner",
    "norelatime",
    "nostrictatime",
    "nouser",
    "owner",
    "relatime",
    "rw",
    "silent",
    "strictatime",
    "user",
    "users",
];

/// Reads the words of all `-o` options.
///
/// # Errors
/// [`Kind::Usage`] for an unknown word, by its name.
pub(super) fn parse_words(options: &[String]) -> Result<Words, Failure> {
    let mut words = Words::default();
    let given = || options.iter().flat_map(|option| option.split(',')).filter(|w| !w.is_empty());
    words.remount = given().any(|word| word == "remount");
    for word in given() {
        let taken = match word.split_once('=') {
            Some((name, value)) => take_value(&mut words, name, value),
            None => take_flag(&mut words, word),
        };
        match taken {
            // mount(8) hands over all that the kernel shows of the mount.
            Err(_) if words.remount => {}
            taken => taken?,
        }
    }
    Ok(words)
}

fn take_flag(words: &mut Words, word: &str) -> Result<(), Failure> {
    match word {
        "ro" => words.ro = true,
        "allow_other" => words.allow_other = true,
        "default_permissions" => words.default_permissions = true,
        "shared" => words.shared = true,
        "no_writeback" => words.no_writeback = true,
        "no_sandbox" => words.no_sandbox = true,
        _ if FOR_OTHERS.contains(&word) || is_comment(word) => {}
        _ => match MountFlag::parse(word) {
            Some(flag) => words.flags.push(flag),
            None => return Err(unknown(word)),
        },
    }
    Ok(())
}

fn take_value(words: &mut Words, name: &str, value: &str) -> Result<(), Failure> {
    let path = || Some(PathBuf::from(value));
    match name {
        "passfile" => words.passfile = path(),
        "keyfile" => words.keyfile = path(),
        "extpass" => words.extpass = Some(value.to_owned()),
        "kms" => words.kms = path(),
        "audit" => words.audit = path(),
        "kms_url" => words.kms_url = Some(value.to_owned()),
        "log" => words.log = path(),
        "config" => words.config = path(),
        "idle" => words.idle = Some(read_as(value, parse_duration)?),
        "data_key_age" => words.data_key_age = Some(read_as(value, parse_duration)?),
        "data_key_bytes" => words.data_key_bytes = Some(read_as(value, parse_size_limit)?),
        "data_key_messages" => words.data_key_messages = Some(read_as(value, parse_count)?),
        "comment" => {}
        _ if is_comment(name) => {}
        _ => return Err(unknown(name)),
    }
    Ok(())
}

fn read_as<T>(value: &str, parse: fn(&str) -> Result<T, String>) -> Result<T, Failure> {
    parse(value).map_err(|what| Failure::new(Kind::Usage, what))
}

/// `x-...` and `X-...` are for whoever reads fstab.
fn is_comment(word: &str) -> bool {
    word.starts_with("x-") || word.starts_with("X-")
}

fn unknown(word: &str) -> Failure {
    Failure::new(Kind::Usage, format!("unknown mount option: {word}"))
        .hint("kmsfs mount --help; docs/CLI.md lists the words of -o")
}

/// Turns a call by mount(8) into a mount command; `None` if it asks for a rehearsal (`-f`).
///
/// mount(8) runs `mount.fuse.kmsfs LOWER MNT [-sfnv] [-o OPT,..] [-t TYPE]`; libfuse's `mount.fuse`
/// runs `kmsfs LOWER MNT -o OPT,..`. Anything else stays as it is.
pub(super) fn from_mount_helper(words: Vec<OsString>) -> Option<Vec<OsString>> {
    let name = words.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    let is_helper = name == "mount.fuse.kmsfs" || name == "mount.kmsfs";
    let has_slash = |word: &OsString| word.as_bytes().contains(&b'/');
    let is_by_libfuse = words.get(1).is_some_and(has_slash)
        && words.get(2).is_some_and(has_slash)
        && words.get(3).is_none_or(|word| word == "-o");
    if !is_helper && !is_by_libfuse {
        return Some(words);
    }
    let mut out: Vec<OsString> = vec!["kmsfs".into(), "mount".into(), "--quiet".into()];
    if is_helper && rustix::process::geteuid().is_root() {
        // mount(8) hands over `nosuid` and `nodev`, and swallows the words that are its defaults.
        out.extend(["-o".into(), "suid,dev".into()]);
    }
    let mut rest = words.into_iter().skip(1);
    while let Some(word) = rest.next() {
        match word.as_bytes() {
            b"-o" => {
                out.push("-o".into());
                out.extend(rest.next());
            }
            // The type, or a namespace: ours to ignore.
            b"-t" | b"-N" => {
                rest.next();
            }
            flags @ [b'-', letters @ ..] if letters.iter().all(|b| b"sfnv".contains(b)) => {
                if is_helper && flags.contains(&b'f') {
                    return None;
                }
            }
            _ => out.push(word),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Words, Failure> {
        parse_words(&[text.to_owned()])
    }

    #[test]
    fn words_of_fstab_are_known() {
        let text = "defaults,ro,noatime,nofail,_netdev,x-systemd.automount,x-gvfs-hide,idle=30m,\
                    passfile=/root/pass,kms=/srv/kms,nosuid,allow_other,shared,comment=x";
        let found = words(text).unwrap();
        assert!(found.ro && found.allow_other && found.shared);
        assert_eq!(found.idle, Some(Duration::from_secs(1800)));
        assert_eq!(found.passfile, Some("/root/pass".into()));
        assert_eq!(found.flags, [MountFlag::NoAtime, MountFlag::NoSuid]);
        let found = words("data_key_age=1h,data_key_bytes=1GiB,data_key_messages=1000").unwrap();
        assert_eq!(found.data_key_age, Some(Duration::from_secs(3600)));
        assert_eq!((found.data_key_bytes, found.data_key_messages), (Some(1 << 30), Some(1000)));
        let found = words("kms_url=unix:/run/kms").unwrap();
        assert_eq!(found.kms_url.as_deref(), Some("unix:/run/kms"));
        assert_eq!(words("").unwrap(), Words::default());
        assert_eq!(words("strictatime,lazytime,nodiratime,silent").unwrap(), Words::default());
        assert_eq!(words("nosymfollow").unwrap().flags, [MountFlag::NoSymFollow]);
    }

    #[test]
    fn an_unknown_word_is_refused_by_name() {
        for (text, name) in [("ro,frobnicate", "frobnicate"), ("create=1", "create")] {
            let failure = words(text).unwrap_err();
            assert_eq!(failure.kind, Kind::Usage);
            assert_eq!(failure.what, format!("unknown mount option: {name}"));
        }
        for wrong in ["idle=soon", "data_key_bytes=0", "data_key_messages=0", "data_key_age=0"] {
            assert_eq!(words(wrong).unwrap_err().kind, Kind::Usage, "{wrong}");
        }
    }

    /// Law: of what mount(8) says when it remounts, only the kernel's flags count.
    #[test]
    fn words_of_a_remount_are_the_kernels() {
        let found = words("ro,nosuid,relatime,user_id=0,allow_other,max_read=9,remount").unwrap();
        assert!(found.remount && found.ro);
        assert_eq!(found.flags, [MountFlag::NoSuid]);
        assert!(!words("ro").unwrap().remount);
    }

    fn helped(words: &[&str]) -> Option<Vec<String>> {
        let out = from_mount_helper(words.iter().map(OsString::from).collect())?;
        Some(out.into_iter().map(|word| word.into_string().unwrap()).collect())
    }

    #[test]
    fn a_call_by_mount_becomes_a_mount_command() {
        let mount = ["kmsfs", "mount", "--quiet", "/l", "/m", "-o", "rw,dev"];
        let mount = mount.map(str::to_owned).to_vec();
        let mut lifted = mount.clone();
        if rustix::process::geteuid().is_root() {
            lifted.splice(3..3, ["-o", "suid,dev"].map(str::to_owned));
        }
        let by_mount = ["/sbin/mount.fuse.kmsfs", "/l", "/m", "-sv", "-o", "rw,dev", "-t", "x"];
        assert_eq!(helped(&by_mount), Some(lifted));
        assert_eq!(helped(&["kmsfs", "/l", "/m", "-o", "rw,dev"]), Some(mount));
        assert_eq!(helped(&["mount.fuse.kmsfs", "/l", "/m", "-f", "-o", "rw"]), None);
        let plain = ["kmsfs", "status", "/m"];
        assert_eq!(helped(&plain), Some(plain.map(str::to_owned).to_vec()));
    }
}
