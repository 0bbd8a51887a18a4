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

/// Gives a key service a recovery kit if that is wished.
///
/// # Errors
/// If the kit cannot be written, or shown; there is no slot for it then.
pub fn make_kit(unlocked: &Unlocked, wish: &KitWish, subject: &Path) -> Result<(), Failure> {
    let kit = RecoveryKit::generate(&OsRandom);
    match wish {
        KitWish::None => return Ok(()),
        KitWish::File(path) => write_kit(&kit, path, subject)?,
        KitWish::Ask => {
            if !io::stdin().is_terminal() || !show_kit(&kit, subject)? {
                return Ok(());
            }
        }
    }
    let kit = Unlock::RecoveryKit(kit);
    let added = unlocked.kms.add_slot(&unlocked.unlock, &kit, Argon2Cost::STANDARD);
    added.map(drop).map_err(|error| {
        if let KitWish::File(path) = wish {
            // A kit that opens nothing must not be kept.
            let _none = std::fs::remove_file(path);
        }
        open_failure(subject, error)
    })
}

/// Writes a kit to a new file of mode 0600, durably.
///
/// # Errors
/// [`Kind::Other`] if it is there, or cannot be written.
pub fn write_kit(kit: &RecoveryKit, path: &Path, subject: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io(path.display(), &error);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let shown = subject.display();
    let head = format!(
        "# kmsfs recovery kit of {shown}\n\
         # Whoever has these words opens it without the passphrase. Keep them apart from it.\n\
         # kmsfs recover --kit FILE {shown}            sets a new passphrase\n\
         # kmsfs recover --drill --kit FILE {shown}    proves that they open it\n"
    );
    file.write_all(head.as_bytes())
        .and_then(|()| kit.write_words(&mut file))
        .and_then(|()| file.sync_all())
        .map_err(failed)
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
