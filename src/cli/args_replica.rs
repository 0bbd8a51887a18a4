//! The arguments of `kmsfs replica`: a multi-Region key from one installation to another.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::args::UnlockArgs;

/// `kmsfs replica`.
#[derive(Debug, Subcommand)]
pub enum ReplicaCommand {
    /// Ask for a replica: writes a request, good for 24 hours, and shows its fingerprint
    Request {
        /// Mount point, lower directory, volume id, or directory of the key service to hold it
        target: PathBuf,
        /// The request: a new file, for who has the primary
        request: PathBuf,
        /// Region of the replica, made if it is new [default: that of the key service]
        #[arg(long, value_name = "REGION")]
        region: Option<String>,
        /// Make the key service if it is not there, in that Region
        #[arg(long)]
        create: bool,
        /// How to unlock.
        #[command(flatten)]
        unlock: UnlockArgs,
    },
    /// Seal a multi-Region key for a request: writes a bundle, and shows its fingerprint
    Export {
        /// Mount point, lower directory, volume id, or directory of the key service with the primary
        target: PathBuf,
        /// The request of the other side
        request: PathBuf,
        /// The bundle: a new file, for who made the request
        bundle: PathBuf,
        /// The key: alias, ARN, id or unique prefix
        #[arg(long, value_name = "KEY")]
        key: String,
        /// Fingerprint of the request, as the other side shows it; asked for on a terminal
        #[arg(long, value_name = "DIGITS")]
        fingerprint: Option<String>,
        /// How to unlock.
        #[command(flatten)]
        unlock: UnlockArgs,
    },
    /// Take a bundle in: makes the replica, or brings it the material that is new
    Import {
        /// Mount point, lower directory, volume id, or directory of the key service of the request
        target: PathBuf,
        /// The bundle of the other side
        bundle: PathBuf,
        /// Fingerprint of the bundle, as the other side shows it; asked for on a terminal
        #[arg(long, value_name = "DIGITS")]
        fingerprint: Option<String>,
        /// How to unlock.
        #[command(flatten)]
        unlock: UnlockArgs,
    },
}
