//! Where passphrases come from, and opening the key service with them.
//!
//! Never from an argument or the environment: both show in `ps` or `/proc`.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::cli::args::UnlockArgs;
use crate::control::{Failure, Kind};
use crate::kms::{Argon2Cost, KEY_FILE_LEN_MIN, Kms, KmsOptions, OpenError, ReadOnlyAudit, Unlock};
use crate::lower::no_core_dumps;
use crate::secret::SecretBytes;

/// Longest passphrase, and longest key file, in bytes.
const SECRET_LEN_MAX: usize = 64 << 10;

/// Whether the secret exists already, or is being chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Unlocks what exists.
    Existing,
    /// Is asked twice on a terminal.
    New,
}

/// The secret that the options name; asks on the terminal if they name none.
///
/// # Errors
/// [`Kind::EmptyPassphrase`], [`Kind::WrongUnlock`] if there is nobody to ask.
pub fn secret(args: &UnlockArgs, asking: Asking, subject: &Path) -> Result<Unlock, Failure> {
    if let Err(error) = no_core_dumps() {
        tracing::warn!("core dumps are not switched off: {error}");
    }
    if let Some(path) = &args.keyfile {
        return key_file(path).map(Unlock::KeyFile);
    }
    let passphrase = match (&args.passfile, &args.extpass) {
        (Some(path), _) if path.as_os_str() == "-" => first_line(io::stdin().lock(), "stdin")?,
        (Some(path), _) => {
            let file = File::open(path).map_err(|error| Failure::io(path.display(), &error))?;
            first_line(file, &path.display().to_string())?
        }
        (None, Some(command)) => from_command(command)?,
        (None, None) => prompt(asking, subject)?,
    };
    if passphrase.is_empty() {
        return Err(Failure::new(Kind::EmptyPassphrase, "the passphrase is empty"));
    }
    Ok(Unlock::Passphrase(passphrase))
}

/// Whether somebody is there to be asked.
pub fn can_ask() -> bool {
    io::stdin().is_terminal()
}

fn key_file(path: &Path) -> Result<SecretBytes, Failure> {
    let file = File::open(path).map_err(|error| {
        let hint = format!("head -c 32 /dev/urandom > {}   (makes a new one)", path.display());
        Failure::io(path.display(), &error).hint(hint)
    })?;
    let bytes = bounded(file, &path.display().to_string())?;
    if bytes.len() < KEY_FILE_LEN_MIN {
        let what = format!(
            "{}: {} bytes, a key file has at least {KEY_FILE_LEN_MIN}",
            path.display(),
            bytes.len()
        );
        return Err(Failure::new(Kind::WrongUnlock, what));
    }
    Ok(SecretBytes::new(bytes))
}

fn from_command(command: &str) -> Result<SecretBytes, Failure> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::io("/bin/sh", &error))?;
    let line = child.stdout.take().map(|out| first_line(out, "--extpass"));
    let status = child.wait().map_err(|error| Failure::io("--extpass", &error))?;
    if !status.success() {
        let what = format!("the command of --extpass ended with {status}");
        return Err(Failure::new(Kind::WrongUnlock, what));
    }
    line.unwrap_or_else(|| Err(Failure::new(Kind::Other, "--extpass: no output")))
}

fn prompt(asking: Asking, subject: &Path) -> Result<SecretBytes, Failure> {
    if !can_ask() {
        return Err(Failure::new(Kind::WrongUnlock, "no terminal to ask for the passphrase on")
            .hint("--passfile FILE, --passfile - (stdin), --extpass CMD or --keyfile FILE"));
    }
    let ask = |text: String| {
        let answer = rpassword::prompt_password(text);
        answer.map(Zeroizing::new).map_err(|error| Failure::io("terminal", &error))
    };
    let what = if asking == Asking::New { "New passphrase" } else { "Passphrase" };
    let mut first = ask(format!("{what} for {}: ", subject.display()))?;
    if asking == Asking::New && !first.is_empty() {
        let second = ask("Again: ".to_owned())?;
        if !bool::from(first.as_bytes().ct_eq(second.as_bytes())) {
            return Err(Failure::new(Kind::WrongUnlock, "the two passphrases differ"));
        }
    }
    Ok(SecretBytes::new(std::mem::take(&mut *first).into_bytes()))
}

/// The first line, without its end; what follows is wiped.
fn first_line(source: impl Read, shown: &str) -> Result<SecretBytes, Failure> {
    let mut bytes = Zeroizing::new(bounded(source, shown)?);
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let end = match bytes.get(..end) {
        Some([.., b'\r']) => end - 1,
        _ => end,
    };
    bytes.truncate(end);
    Ok(SecretBytes::new(std::mem::take(&mut *bytes)))
}

/// Everything, into one buffer that is never moved: no copy of a secret is left behind.
///
/// # Errors
/// [`Kind::WrongUnlock`] if it is too long.
pub(super) fn bounded(source: impl Read, shown: &str) -> Result<Vec<u8>, Failure> {
    let limit = u64::try_from(SECRET_LEN_MAX + 1).unwrap_or(u64::MAX);
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_LEN_MAX + 2));
    source.take(limit).read_to_end(&mut bytes).map_err(|error| Failure::io(shown, &error))?;
    if bytes.len() > SECRET_LEN_MAX {
        let what = format!("{shown}: more than {SECRET_LEN_MAX} bytes");
        return Err(Failure::new(Kind::WrongUnlock, what));
    }
    Ok(std::mem::take(&mut *bytes))
}

/// A key service, and what opened it.
#[derive(Debug)]
pub struct Unlocked {
    /// The service.
    pub kms: Kms,
    /// Opens one of its slots.
    pub unlock: Unlock,
}

/// Opens a key service that exists.
///
/// # Errors
/// [`Kind::WrongUnlock`], [`Kind::ConfigUnreadable`].
pub fn open_kms(dir: &Path, args: &UnlockArgs, subject: &Path) -> Result<Kms, Failure> {
    let options = KmsOptions::default();
    open_kms_with(dir, args, subject, options, &|| Ok(())).map(|unlocked| unlocked.kms)
}

/// What is done between the secret and the key service: raising a fence, which would keep the secret
/// out and must come before the service's threads.
pub type Before<'a> = &'a dyn Fn() -> Result<(), Failure>;

/// As [`open_kms`], with other options than the usual, and something to do once the secret is there.
///
/// # Errors
/// As [`open_kms`], and those of `before`.
pub fn open_kms_with(
    dir: &Path,
    args: &UnlockArgs,
    subject: &Path,
    options: KmsOptions,
    before: Before<'_>,
) -> Result<Unlocked, Failure> {
    if !has_kms(dir) {
        let what = format!("{}: no key database", dir.display());
        return Err(Failure::new(Kind::ConfigUnreadable, what)
            .hint("--kms DIR names the directory with keys.db"));
    }
    let unlock = secret(args, Asking::Existing, subject)?;
    before()?;
    let options = KmsOptions { read_only_audit: read_only_audit(args), ..options };
    let kms = Kms::open(dir, &unlock, options);
    kms.map(|kms| Unlocked { kms, unlock }).map_err(|error| open_failure(dir, error))
}

/// Where uses are recorded that a read-only medium cannot take.
fn read_only_audit(args: &UnlockArgs) -> ReadOnlyAudit {
    if let Some(path) = &args.audit {
        return ReadOnlyAudit::File(path.clone());
    }
    let var =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let state = var("XDG_STATE_HOME").or_else(|| Some(var("HOME")?.join(".local/state")));
    state.map_or(ReadOnlyAudit::Refuse, |dir| ReadOnlyAudit::Directory(dir.join("kmsfs")))
}

/// The directory of the records that a read-only medium cannot take; made if it can be.
pub fn records_dir(args: &UnlockArgs) -> Option<PathBuf> {
    let dir = match read_only_audit(args) {
        ReadOnlyAudit::File(path) => path.parent()?.to_path_buf(),
        ReadOnlyAudit::Directory(dir) => dir,
        ReadOnlyAudit::Refuse => return None,
    };
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir)
}

/// Makes a key service; `before` is done once the secret is there.
///
/// # Errors
/// [`Kind::ConfigUnwritable`], and those of `before`.
pub fn create_kms_with(
    dir: &Path,
    args: &UnlockArgs,
    subject: &Path,
    options: KmsOptions,
    before: Before<'_>,
) -> Result<Unlocked, Failure> {
    let unlock = secret(args, Asking::New, subject)?;
    before()?;
    let kms = Kms::create(dir, &unlock, Argon2Cost::STANDARD, options);
    kms.map(|kms| Unlocked { kms, unlock }).map_err(|error| open_failure(dir, error))
}

/// Whether a key database lies in a directory.
pub fn has_kms(dir: &Path) -> bool {
    dir.join("keys.db").exists()
}

/// Why a key service is not opened, or its slots are not changed.
pub fn open_failure(dir: &Path, error: OpenError) -> Failure {
    let kind = match &error {
        OpenError::Busy => Kind::AlreadyRunning,
        OpenError::EmptyPassphrase => Kind::EmptyPassphrase,
        OpenError::Exists { .. } | OpenError::Io(_) => Kind::ConfigUnwritable,
        OpenError::Corrupt { .. } | OpenError::Missing { .. } => Kind::ConfigUnreadable,
        OpenError::NoAudit | OpenError::Options { .. } | OpenError::OtherTime { .. } => Kind::Usage,
        OpenError::Refused(error) => return error.clone().into(),
        OpenError::ShortKeyFile { .. } | OpenError::WrongUnlock => Kind::WrongUnlock,
    };
    let needs_audit = matches!(error, OpenError::NoAudit);
    let failure = Failure::new(kind, format!("{}: {error}", dir.display()));
    match needs_audit {
        true => failure.hint("--audit FILE   (records uses of keys there)"),
        false => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> usize {
        first_line(text.as_bytes(), "test").unwrap().len()
    }

    #[test]
    fn only_the_first_line_counts() {
        assert_eq!(line("abc\ndef\n"), 3);
        assert_eq!(line("abc\r\n"), 3);
        assert_eq!(line("abc"), 3);
        assert_eq!(line("\nabc"), 0);
        assert_eq!(line(" a b "), 5);
    }

    #[test]
    fn an_endless_source_is_refused() {
        assert!(first_line(io::repeat(b'x'), "test").is_err());
    }

    #[test]
    fn an_empty_passphrase_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass");
        std::fs::write(&path, "\n").unwrap();
        let args = UnlockArgs { passfile: Some(path), ..UnlockArgs::default() };
        let failure = secret(&args, Asking::Existing, dir.path()).unwrap_err();
        assert_eq!(failure.kind, Kind::EmptyPassphrase);
    }

    #[test]
    fn a_failing_command_is_no_empty_passphrase() {
        let args = UnlockArgs { extpass: Some("exit 3".into()), ..UnlockArgs::default() };
        let failure = secret(&args, Asking::Existing, Path::new("x")).unwrap_err();
        assert_eq!(failure.kind, Kind::WrongUnlock);
    }
}
