//! The arguments of what opens a volume when something is lost: slots, recovery kits, header archives.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::args::UnlockArgs;

/// Whether a new volume gets a recovery kit.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KitArgs {
    /// Write a recovery kit, 24 words that unlock as well, into a new file
    #[arg(long, value_name = "FILE", help_heading = "Unlock")]
    pub recovery_kit: Option<PathBuf>,
    /// Make no recovery kit, and do not ask
    #[arg(long, conflicts_with = "recovery_kit", help_heading = "Unlock")]
    pub no_recovery_kit: bool,
}

/// Where a new passphrase comes from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct NewSecretArgs {
    /// Take the new passphrase from the first line of FILE; - is stdin
    #[arg(long, value_name = "FILE", group = "new", help_heading = "Unlock")]
    pub new_passfile: Option<PathBuf>,
    /// Take the new passphrase from the first line that the shell command CMD prints
    #[arg(long, value_name = "CMD", group = "new", help_heading = "Unlock")]
    pub new_extpass: Option<String>,
    /// Unlock by this key file from now on, in place of a passphrase
    #[arg(long, value_name = "FILE", group = "new", help_heading = "Unlock")]
    pub new_keyfile: Option<PathBuf>,
}

/// `kmsfs passwd`.
#[derive(Debug, clap::Args)]
pub struct PasswdArgs {
    /// Mount point, lower directory, volume id, or directory of a key service
    pub target: PathBuf,
    /// The new one.
    #[command(flatten)]
    pub new: NewSecretArgs,
    /// How to unlock.
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

/// `kmsfs slot`.
#[derive(Debug, Subcommand)]
pub enum SlotCommand {
    /// List the ways to unlock
    List {
        /// Mount point, lower directory, volume id, or directory of a key service
        target: PathBuf,
        /// How to unlock.
        #[command(flatten)]
        unlock: UnlockArgs,
    },
    /// Add a way to unlock: another passphrase, a key file, or a recovery kit
    Add {
        /// Mount point, lower directory, volume id, or directory of a key service
        target: PathBuf,
        /// The new one.
        #[command(flatten)]
        new: NewSecretArgs,
        /// Write a recovery kit, 24 words that unlock as well, into a new file
        #[arg(long, value_name = "FILE", group = "new", help_heading = "Unlock")]
        recovery_kit: Option<PathBuf>,
        /// How to unlock.
        #[command(flatten)]
        unlock: UnlockArgs,
    },
    /// Remove a way to unlock; the last one stays
    Remove {
        /// Mount point, lower directory, volume id, or directory of a key service
        target: PathBuf,
        /// Its number, as `slot list` shows it
        slot: String,
        /// How to unlock.
        #[command(flatten)]
        unlock: UnlockArgs,
    },
}

/// `kmsfs backup`.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Headers of files, markers of directories, the configuration and the embedded key database
    Headers(HeadersArgs),
}

/// `kmsfs backup headers`.
#[derive(Debug, clap::Args)]
pub struct HeadersArgs {
    /// Lower directory, mount point or volume id
    pub target: PathBuf,
    /// The archive: a new file, or with --restore one that is there
    pub archive: PathBuf,
    /// Put back what is damaged
    #[arg(long)]
    pub restore: bool,
    /// Put back also where something good is, and newer
    #[arg(long, requires = "restore")]
    pub overwrite: bool,
    /// Verify and count, and change nothing
    #[arg(long, requires = "restore")]
    pub dry_run: bool,
    /// How to unlock.
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

/// `kmsfs recover`.
#[derive(Debug, clap::Args)]
pub struct RecoverArgs {
    /// Lower directory, mount point, volume id, or directory of a key service
    pub target: PathBuf,
    /// The recovery kit; - is stdin; asked for on a terminal
    #[arg(long, value_name = "FILE")]
    pub kit: Option<PathBuf>,
    /// Prove that the kit opens the volume, and change nothing
    #[arg(long, conflicts_with_all = ["new", "keep_slots"])]
    pub drill: bool,
    /// Keep the passphrase that is lost, in place of replacing it
    #[arg(long)]
    pub keep_slots: bool,
    /// The new one.
    #[command(flatten)]
    pub new: NewSecretArgs,
    /// Use the key service kept in DIR in place of the volume's own
    #[arg(long, value_name = "DIR", help_heading = "Unlock")]
    pub kms: Option<PathBuf>,
}
