//! The clap tree. Completions and manual pages come from it; names here are a promise.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

pub use crate::cli::args_recovery::{
    BackupCommand, HeadersArgs, KitArgs, NewSecretArgs, PasswdArgs, RecoverArgs, SlotCommand,
};
pub use crate::cli::args_replica::ReplicaCommand;
use crate::cli::audit_args::AuditCommand;
use crate::cli::values::{parse_count, parse_duration, parse_rate, parse_size_limit, parse_span};

/// Encrypts every file of a directory under its own data key, wrapped by a KMS key that can be
/// rotated without touching content.
#[derive(Debug, Parser)]
#[command(name = "kmsfs", version, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Global {
    /// Print the report as one JSON object
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Print nothing but data and errors
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// Say more on stderr; twice for debugging
    #[arg(long, short, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Confirm without being asked; never overrides a safety refusal
    #[arg(long, global = true, help_heading = "Global options")]
    pub yes: bool,
    /// No colours and no redrawn lines; NO_COLOR does the same
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_color: bool,
}

/// Where the passphrase comes from, and where the key service lies.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct UnlockArgs {
    /// Take the passphrase from the first line of FILE; - is stdin
    #[arg(long, value_name = "FILE", group = "secret", help_heading = "Unlock")]
    pub passfile: Option<PathBuf>,
    /// Take the passphrase from the first line that the shell command CMD prints
    #[arg(long, value_name = "CMD", group = "secret", help_heading = "Unlock")]
    pub extpass: Option<String>,
    /// Unlock by a file of at least 32 random bytes in place of a passphrase
    #[arg(long, value_name = "FILE", group = "secret", help_heading = "Unlock")]
    pub keyfile: Option<PathBuf>,
    /// Use the key service kept in DIR in place of the volume's own
    #[arg(long, value_name = "DIR", help_heading = "Unlock")]
    pub kms: Option<PathBuf>,
    /// Use the key service behind https://HOST, http://HOST:PORT on this machine, or unix:PATH
    #[arg(long, value_name = "URL", conflicts_with = "kms", help_heading = "Unlock")]
    pub kms_url: Option<String>,
    /// Record uses of keys in FILE if the key service lies on a read-only medium [default: a file in
    /// ~/.local/state/kmsfs]
    #[arg(long, value_name = "FILE", help_heading = "Unlock")]
    pub audit: Option<PathBuf>,
}

impl UnlockArgs {
    /// Whether they say where the passphrase or key file is.
    pub fn is_given(&self) -> bool {
        self.passfile.is_some() || self.extpass.is_some() || self.keyfile.is_some()
    }
}

/// A key service behind a URL, and as whom it is asked.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct EndpointArgs {
    /// Ask the key service at https://HOST, http://HOST:PORT on this machine, or unix:PATH [env: AWS_ENDPOINT_URL_KMS]
    #[arg(long, value_name = "URL", help_heading = "Endpoint")]
    pub endpoint_url: Option<String>,
    /// Ask for this Region [env: AWS_REGION, AWS_DEFAULT_REGION]
    #[arg(long, value_name = "REGION", help_heading = "Endpoint")]
    pub region: Option<String>,
    /// Take access key and Region from this profile of AWS' tools [env: AWS_PROFILE]
    #[arg(long, value_name = "NAME", help_heading = "Endpoint")]
    pub profile: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new volume in an empty directory
    Init(InitArgs),
    /// Mount a volume
    #[cfg(feature = "fuse")]
    Mount(MountArgs),
    /// Unmount a volume, and wait until it is really gone
    #[cfg(feature = "fuse")]
    Umount(UmountArgs),
    /// Show all mounts, a volume, or one file
    Status(StatusArgs),
    /// Rotate a key: new material for new wraps, old material still opens old files
    Rotate(RotateArgs),
    /// Rewrap headers under current material; content is not touched
    Rewrap(RewrapArgs),
    /// Count files by key and material: what may be destroyed
    Usage(UsageArgs),
    /// Refuse one older material of a key from now on, after its files are rewrapped
    Revoke(RevokeArgs),
    /// Destroy a revoked material for good
    Destroy(DestroyArgs),
    /// Change the passphrase
    Passwd(PasswdArgs),
    /// List, add or remove ways to unlock
    #[command(subcommand)]
    Slot(SlotCommand),
    /// Set a new passphrase by the recovery kit, or prove that the kit opens
    Recover(RecoverArgs),
    /// Save what content cannot be read without, and put it back
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Carry a multi-Region key from one key service to another
    #[command(subcommand)]
    Replica(ReplicaCommand),
    /// Set or show which key new files below a directory use
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Check a volume; changes nothing unless told to repair
    Fsck(FsckArgs),
    /// Print a file without mounting
    Cat(InnerArgs),
    /// List a directory without mounting
    Ls(InnerArgs),
    /// Measure this machine: sealing and opening, and a mount on a temporary volume
    #[cfg(feature = "fuse")]
    Bench(BenchArgs),
    /// Call an operation of the key service, as `aws kms` does
    Kms(KmsArgs),
    /// Serve a key service to clients of AWS KMS
    Serve(ServeArgs),
    /// Read or check the audit log of a key service
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Move the clock of a key service that was started with a test clock
    #[command(subcommand)]
    Clock(ClockCommand),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Write manual pages into a directory
    Man(ManArgs),
}

/// `kmsfs init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Directory for the encrypted files: empty, or not there yet
    pub lower: PathBuf,
    /// Wrap data keys by the key of this alias; made if the key service is new [default: alias/aws/fs]
    #[arg(long, value_name = "ALIAS")]
    pub key: Option<String>,
    /// Do not bind files and directories to their names: renaming is faster, and files that change
    /// places behind the volume's back open where they lie
    #[arg(long)]
    pub no_name_binding: bool,
    /// Recovery kit.
    #[command(flatten)]
    pub kit: KitArgs,
    /// How to unlock.
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

/// `kmsfs mount`.
#[cfg(feature = "fuse")]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct MountArgs {
    /// Directory with the encrypted files
    pub lower: PathBuf,
    /// Where the plaintext appears: an empty directory
    pub mount_point: PathBuf,
    /// Make both directories and a new volume if LOWER is empty or not there
    #[arg(long)]
    pub create: bool,
    /// Stay in the foreground
    #[arg(long, short)]
    pub foreground: bool,
    /// Mount options as in fstab, comma separated
    #[arg(short, value_name = "OPT,..", action = ArgAction::Append)]
    pub options: Vec<String>,
    /// Mount read-only
    #[arg(long)]
    pub ro: bool,
    /// Let other users in, as far as permissions allow
    #[arg(long)]
    pub allow_other: bool,
    /// Unmount after this time without any request, such as 30m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub idle: Option<Duration>,
    /// The lower directory changes behind the mount: cache for a second only
    #[arg(long)]
    pub shared: bool,
    /// Hand every write on at once in place of gathering them in the kernel
    #[arg(long)]
    pub no_writeback: bool,
    /// Keep all rights of the user in place of what a mount needs
    #[arg(long)]
    pub no_sandbox: bool,
    /// Ask the key service for a data key again after this time, such as 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub data_key_age: Option<Duration>,
    /// Ask again after a data key has sealed or opened so many bytes, such as 1GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size_limit)]
    pub data_key_bytes: Option<u64>,
    /// Ask again after a data key has served so many reads and writes
    #[arg(long, value_name = "NUMBER", value_parser = parse_count)]
    pub data_key_messages: Option<u64>,
    /// Append log lines to FILE
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Limits of the audit log and of data keys, places for events and alarm rules, from FILE (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Recovery kit.
    #[command(flatten)]
    pub kit: KitArgs,
    /// How to unlock.
    #[command(flatten)]
    pub unlock: UnlockArgs,
    /// The detached half of a mount command; reports to its parent on stdout
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// `kmsfs umount`.
#[cfg(feature = "fuse")]
#[derive(Debug, clap::Args)]
pub struct UmountArgs {
    /// Mount point, lower directory or volume id
    pub target: PathBuf,
    /// Detach now; the mount ends once nothing uses it any more
    #[arg(long, short)]
    pub lazy: bool,
}

/// `kmsfs status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Mount point, lower directory, volume id, or a file at a mount; all mounts without it
    pub target: Option<PathBuf>,
}

/// `kmsfs rotate`.
#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// Mount point, lower directory, volume id; or with --kms an alias, ARN, id or prefix of a key
    pub target: PathBuf,
    /// Rewrap every file afterwards
    #[arg(long)]
    pub rewrap: bool,
    /// How to unlock.
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

/// `kmsfs rewrap`.
#[derive(Debug, clap::Args)]
pub struct RewrapArgs {
    /// Mount point, lower directory or volume id
    pub target: PathBuf,
    /// Only these paths, from the volume's root or below the mount point
    pub paths: Vec<PathBuf>,
    /// Only files wrapped by this key: alias, ARN, id or unique prefix
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Count what would be rewrapped and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Files per second at most, such as 500/s
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// Stop after this time, such as 10m; run again to go on
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_time: Option<Duration>,
    /// Set the modification time, so that backups by size and time copy the new header
    #[arg(long)]
    pub touch: bool,
    /// Show how far a rewrap is, and the queue of lazy rewrapping
    #[arg(long, conflicts_with_all = ["paths", "key", "dry_run", "rate", "max_time", "touch"])]
    pub status: bool,
    /// How to unlock.
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

/// `kmsfs usage`.
#[derive(Debug, clap::Args)]
pub struct UsageArgs {
    /// Mount point, lower directory or volume id; or a key service, by its directory or --kms
    #[arg(required_unless_present = "kms")]
    pub target: Option<PathBuf>,
    /// Only this key: alias, ARN, id or unique prefix
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Forget a volume that is gone, so that its files hold no key any more
    #[arg(long, value_name = "VOLUME_ID", conflicts_with = "key")]
    pub forget: Option<String>,
    /// How to unlock.
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

/// `kmsfs revoke`.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Mount point, lower directory or volume id; or a key service, by its directory or --kms
    #[arg(required_unless_present = "kms")]
    pub target: Option<PathBuf>,
    /// The material: its id or a unique prefix, as usage shows it
    #[arg(long, value_name = "ID")]
    pub material: String,
    /// Take a revocation back
    #[arg(long)]
    pub undo: bool,
    /// Leave the files under it as they are, in place of rewrapping them first
    #[arg(long, conflicts_with = "undo")]
    pub keep_files: bool,
    /// How to unlock.
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

/// `kmsfs destroy`.
#[derive(Debug, clap::Args)]
pub struct DestroyArgs {
    /// Mount point, lower directory or volume id; or a key service, by its directory or --kms
    #[arg(required_unless_present = "kms")]
    pub target: Option<PathBuf>,
    /// The material, which is revoked: its id or a unique prefix
    #[arg(long, value_name = "ID")]
    pub material: String,
    /// Go ahead although files need it; goes into the audit log
    #[arg(long, value_name = "REASON")]
    pub force_data_loss: Option<String>,
    /// How to unlock.
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

/// `kmsfs policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Let new files below a directory use another key
    Set {
        /// A directory below a mount point, or a lower directory with --path
        dir: PathBuf,
        /// Alias of the key
        #[arg(long, value_name = "ALIAS")]
        key: String,
        /// Directory inside the volume, if DIR is a lower directory
        #[arg(long, value_name = "PATH")]
        path: Option<PathBuf>,
        /// How to unlock.
        #[command(flatten)]
        unlock: UnlockArgs,
    },
    /// Show which key new files below a directory use
    Show {
        /// A directory below a mount point, or a lower directory with --path
        dir: PathBuf,
        /// Directory inside the volume, if DIR is a lower directory
        #[arg(long, value_name = "PATH")]
        path: Option<PathBuf>,
        /// How to unlock.
        #[command(flatten)]
        unlock: UnlockArgs,
    },
}

/// `kmsfs fsck`.
#[derive(Debug, clap::Args)]
pub struct FsckArgs {
    /// Lower directory, mount point or volume id
    pub target: PathBuf,
    /// Only these paths, from the volume's root
    pub paths: Vec<PathBuf>,
    /// Names, markers and headers only
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Every block as well (the default)
    #[arg(long)]
    pub full: bool,
    /// Mend what can be mended; what cannot is set aside, and nothing is invented
    #[arg(long)]
    pub repair: bool,
    /// With --repair: accept files and directories where they lie, though they belong elsewhere
    #[arg(long, requires = "repair")]
    pub rebind: bool,
    /// With --repair: tell what would be done and change nothing
    #[arg(long, requires = "repair")]
    pub dry_run: bool,
    /// How to unlock.
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

/// `kmsfs cat` and `kmsfs ls`.
#[derive(Debug, clap::Args)]
pub struct InnerArgs {
    /// Lower directory
    pub lower: PathBuf,
    /// Path from the volume's root
    #[arg(default_value = "/")]
    pub path: PathBuf,
    /// How to unlock.
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

/// `kmsfs bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Measure a mount too, on a temporary volume in a new directory below DIR (about 300 MB)
    pub dir: Option<PathBuf>,
}

/// `kmsfs kms`.
#[derive(Debug, clap::Args)]
#[command(after_help = KMS_HELP)]
pub struct KmsArgs {
    /// The key service of this volume: mount point, lower directory or volume id
    #[arg(long, value_name = "VOLUME")]
    pub on: Option<PathBuf>,
    /// Go ahead with a deletion although files need the key; goes into the audit log
    #[arg(long, value_name = "REASON")]
    pub force_data_loss: Option<String>,
    /// Another key service.
    #[command(flatten)]
    pub endpoint: EndpointArgs,
    /// How to unlock.
    #[command(flatten)]
    pub unlock: UnlockArgs,
    /// Operation and its options, as `aws kms` takes them
    #[arg(
        value_name = "VERB",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub call: Vec<String>,
}

const KMS_HELP: &str = "\
With neither --on, --kms nor --endpoint-url the only live mount is meant. The options above may also stand behind VERB.

Examples:
  kmsfs kms --on ~/Private describe-key --key-id alias/aws/fs
  kmsfs kms --kms ~/keys create-key --description \"for backups\"
  kmsfs kms --kms ~/keys create-alias --alias-name alias/backup --target-key-id KEY
  kmsfs kms --endpoint-url http://127.0.0.1:8733 --region us-east-1 list-keys";

/// `kmsfs serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Directory of the key service
    #[arg(long, value_name = "DIR")]
    pub kms: PathBuf,
    /// Make the key service if it is not there
    #[arg(long)]
    pub create: bool,
    /// Where to listen: HOST:PORT (port 0 takes a free one), or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8733")]
    pub listen: String,
    /// Access keys of those who may ask; made on first start [default: DIR/credentials.toml]
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,
    /// Append events in EventBridge's envelope to FILE
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Limits of the audit log, places for events and alarm rules, from FILE (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen where others can reach; signatures protect requests, nothing hides them
    #[arg(long)]
    pub allow_remote: bool,
    /// Keep all rights of the user in place of what the service needs
    #[arg(long)]
    pub no_sandbox: bool,
    /// For tests: let clients move the clock; marks the key service for good
    #[arg(long)]
    pub test_clock: bool,
    /// Take the passphrase from the first line of FILE; - is stdin
    #[arg(long, value_name = "FILE", group = "secret", help_heading = "Unlock")]
    pub passfile: Option<PathBuf>,
    /// Take the passphrase from the first line that the shell command CMD prints
    #[arg(long, value_name = "CMD", group = "secret", help_heading = "Unlock")]
    pub extpass: Option<String>,
    /// Unlock by a file of at least 32 random bytes in place of a passphrase
    #[arg(long, value_name = "FILE", group = "secret", help_heading = "Unlock")]
    pub keyfile: Option<PathBuf>,
}

impl ServeArgs {
    /// How to unlock.
    pub fn unlock(&self) -> UnlockArgs {
        UnlockArgs {
            passfile: self.passfile.clone(),
            extpass: self.extpass.clone(),
            keyfile: self.keyfile.clone(),
            kms: Some(self.kms.clone()),
            audit: None,
            kms_url: None,
        }
    }
}

/// `kmsfs clock`.
#[derive(Debug, Subcommand)]
pub enum ClockCommand {
    /// Move the clock forward, and carry out what falls due
    Advance {
        /// How far: seconds, or a time such as 7d; 0 tells the time
        #[arg(value_name = "TIME", value_parser = parse_span)]
        by: Duration,
        /// The key service.
        #[command(flatten)]
        endpoint: EndpointArgs,
    },
}

/// `kmsfs completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Shells that completions exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Bourne again
    Bash,
    /// Elvish
    Elvish,
    /// Friendly interactive
    Fish,
    /// Z
    Zsh,
}

/// `kmsfs man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Directory for the pages; made if it is not there
    pub dir: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_sound() {
        Args::command().debug_assert();
    }

    /// A passphrase as an argument would show in `ps`.
    #[test]
    fn no_command_takes_a_passphrase_as_an_argument() {
        for command in Args::command().get_subcommands() {
            for arg in command.get_arguments() {
                let name = arg.get_long().unwrap_or_default();
                assert!(!["passphrase", "password", "pass"].contains(&name), "{name}");
            }
        }
    }
}
