//! Making a recovery kit, on a terminal or into a file, and reading one.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cli::args::KitArgs;
use crate::cli::unlock::{Unlocked, bounded, open_failure};
use crate::control::{Failure, Kind, real_path};
use crate::kms::{Argon2Cost, RecoveryKit, Unlock};
use crate::random::OsRandom;
use crate::secret::SecretBytes;

/// The terminal of the process, whatever stdin and stderr are.
const TERMINAL: &str = "/dev/tty";

/// Whether a new key service gets a recovery kit, and where its words go.
#[derive(Clone, Debug)]
pub enum KitWish {
    /// Asked on the terminal, if there is one.
    Ask,
    /// Into a new file.
    File(PathBuf),
    /// Not wanted.
    None,
}

impl KitWish {
    /// What the options say. A file is checked before anything is made.
    ///
    /// # Errors
    /// [`Kind::Usage`] if the file is there, or lies in the volume.
    pub fn of(args: &KitArgs, lower: &Path) -> Result<Self, Failure> {
        let Some(path) = &args.recovery_kit else {
            return Ok(if args.no_recovery_kit { Self::None } else { Self::Ask });
        };
        let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        // The volume may not be there yet.
        if real_path(path).starts_with(real_path(lower)) || whole(path).starts_with(whole(lower)) {
            let what = format!("{}: inside the volume it is lost with it", path.display());
            return Err(Failure::new(Kind::Usage, what).hint("keep the kit elsewhere"));
        }
        if std::fs::symlink_metadata(path).is_ok() {
            let what = format!("{} is there already", path.display());
            return Err(
                Failure::new(Kind::Usage, what).hint("--recovery-kit FILE makes a new file")
            );
        }
        // Another working directory may hold when it is written.
        std::path::absolute(path).map(Self::File).map_err(|e| Failure::io(path.display(), &e))
    }
}

/// A kit that is written down, and opens nothing yet.
#[derive(Debug)]
pub struct PreparedKit {
    kit: RecoveryKit,
    file: Option<KitFile>,
}

/// A kit's file, which is emptied and removed unless its kit opens something.
#[derive(Debug)]
struct KitFile {
    path: PathBuf,
    file: File,
    is_kept: bool,
}

impl Drop for KitFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // Behind a fence the name is out of reach; what has been opened is not.
            let _cut = self.file.set_len(0);
            let _none = std::fs::remove_file(&self.path);
        }
    }
}

impl PreparedKit {
    /// A new kit, in a new file of mode 0600, durably.
    ///
    /// # Errors
    /// [`Kind::Other`] if the file is there, or cannot be written.
    pub fn write(path: &Path, subject: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io(path.display(), &error);
        let kit = RecoveryKit::generate(&OsRandom);
        let mut made = OpenOptions::new();
        let file = made.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let mut own = KitFile { path: path.to_path_buf(), file, is_kept: false };
        let shown = subject.display();
        writeln!(
            own.file,
            "# kmsfs recovery kit of {shown}\n\
             # Whoever has these words opens it without the passphrase. Keep them apart from it.\n\
             # kmsfs recover --kit FILE {shown}            sets a new passphrase\n\
             # kmsfs recover --drill --kit FILE {shown}    proves that they open it"
        )
        .and_then(|()| kit.write_words(&mut own.file))
        .and_then(|()| own.file.sync_all())
        .map_err(failed)?;
        Ok(Self { kit, file: Some(own) })
    }

    /// Lets the kit open a key service; tells its slot.
    ///
    /// # Errors
    /// What the key service answers; the kit's file is gone then.
    pub fn add_to(mut self, unlocked: &Unlocked, subject: &Path) -> Result<String, Failure> {
        let kit = Unlock::RecoveryKit(self.kit);
        let added = unlocked.kms.add_slot(&unlocked.unlock, &kit, Argon2Cost::STANDARD);
        let slot = added.map_err(|error| open_failure(subject, error))?;
        if let Some(file) = &mut self.file {
            file.is_kept = true;
        }
        Ok(slot)
    }
}

/// A recovery kit as it is wished: written down, or shown.
///
/// # Errors
/// If it cannot be.
pub fn prepare_kit(wish: &KitWish, subject: &Path) -> Result<Option<PreparedKit>, Failure> {
    match wish {
        KitWish::None => Ok(None),
        KitWish::File(path) => PreparedKit::write(path, subject).map(Some),
        KitWish::Ask if !io::stdin().is_terminal() => Ok(None),
        KitWish::Ask => {
            let kit = RecoveryKit::generate(&OsRandom);
            Ok(show_kit(&kit, subject)?.then_some(PreparedKit { kit, file: None }))
        }
    }
}

/// Offers a kit on the terminal; tells whether it was taken.
fn show_kit(kit: &RecoveryKit, subject: &Path) -> Result<bool, Failure> {
    let failed = |error: io::Error| Failure::io(TERMINAL, &error);
    let mut terminal = OpenOptions::new().write(true).open(TERMINAL).map_err(failed)?;
    let mut typed = BufReader::new(File::open(TERMINAL).map_err(failed)?);
    let mut answer = |terminal: &mut File| -> io::Result<Option<String>> {
        terminal.flush()?;
        let mut line = String::new();
        let len = typed.read_line(&mut line)?;
        Ok((len > 0).then_some(line))
    };
    let shown = subject.display();
    write!(
        terminal,
        "Recovery kit: 24 words that open {shown} if the passphrase is lost. Show them now? [Y/n] "
    )
    .map_err(failed)?;
    let is_wanted = answer(&mut terminal)
        .map_err(failed)?
        .is_some_and(|answer| !answer.trim().to_lowercase().starts_with('n'));
    if !is_wanted {
        return Ok(false);
    }
    writeln!(terminal).and_then(|()| kit.write_words(&mut terminal)).map_err(failed)?;
    write!(terminal, "\nWrite them down; they are not shown again. Enter when done. ")
        .and_then(|()| answer(&mut terminal))
        .map_err(failed)?;
    Ok(true)
}

/// Reads a kit: from a file, from stdin, or from the terminal.
///
/// # Errors
/// [`Kind::WrongUnlock`] if it is no kit, or nobody is there to type it.
pub fn read_kit(path: Option<&Path>) -> Result<RecoveryKit, Failure> {
    let text = match path {
        Some(path) if path.as_os_str() == "-" => bounded(io::stdin().lock(), "stdin")?,
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::io(path.display(), &error))?;
            bounded(file, &path.display().to_string())?
        }
        None => typed_words()?,
    };
    RecoveryKit::read(&SecretBytes::new(text))
        .map_err(|error| Failure::new(Kind::WrongUnlock, error.to_string()))
}

/// 24 words from the terminal, over as many lines as it takes.
fn typed_words() -> Result<Vec<u8>, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Kind::WrongUnlock, "no terminal to ask for the words on")
            .hint("--kit FILE, or --kit - (stdin)"));
    }
    let _closed = write!(io::stderr(), "The 24 words of the recovery kit: ");
    let mut text = String::new();
    let mut stdin = io::stdin().lock();
    while text.split_whitespace().count() < 24 {
        let len = stdin.read_line(&mut text).map_err(|error| Failure::io("stdin", &error))?;
        if len == 0 {
            break;
        }
    }
    Ok(text.into_bytes())
}
