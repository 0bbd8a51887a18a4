//! The control protocol: one JSON object per line, a request in, reply lines out.
//!
//! A connection carries one request. The server answers any number of `progress` lines and then
//! one `done` or one `failed` line, and hangs up. Closing the connection early stops the work.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::Failure;

/// Version of the protocol. A server refuses any other.
pub const VERSION: u32 = 1;

/// Longest line in bytes, either way. Beyond it the connection is closed.
pub const LINE_LEN_MAX: usize = 4 << 20;

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// `VERSION`.
    pub v: u32,
    /// What to do.
    #[serde(flatten)]
    pub verb: Verb,
}

impl Request {
    /// A request of this version.
    pub fn new(verb: Verb) -> Self {
        Self { v: VERSION, verb }
    }
}

/// What a mount, or an unmounted volume, can be asked. Paths are relative to the volume's root.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Verb {
    /// Who are you: cheap, touches neither key nor file.
    Hello,
    /// State of the volume.
    Status,
    /// State of one file.
    FileStatus {
        /// The file.
        path: PathBuf,
    },
    /// New material for the volume's key.
    Rotate {
        /// Rewraps every file afterwards.
        rewrap: bool,
    },
    /// Moves headers to current material.
    Rewrap(RewrapRequest),
    /// How far lazy and asked-for rewrapping is.
    RewrapStatus,
    /// Counts files by key and material.
    Usage {
        /// Only this key.
        key: Option<String>,
    },
    /// Files made below a directory use another key from now on.
    PolicySet {
        /// The directory.
        path: PathBuf,
        /// The alias.
        alias: String,
    },
    /// Which key files made below a directory use.
    PolicyShow {
        /// The directory.
        path: PathBuf,
    },
    /// Checks the volume and changes nothing.
    Fsck {
        /// How deep.
        depth: FsckDepth,
        /// Where; empty means everywhere.
        paths: Vec<PathBuf>,
        /// Mends what can be mended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repair: Option<RepairRequest>,
    },
    /// Refuses one material of a key from now on.
    Revoke(RevokeRequest),
    /// Destroys a revoked material.
    Destroy {
        /// Its id, or a unique prefix.
        material: String,
        /// Goes ahead although files need it; the reason.
        force_data_loss: Option<String>,
    },
    /// One operation of the KMS, by AWS' names.
    Kms {
        /// Such as `RotateKeyOnDemand`.
        operation: String,
        /// The operation's JSON input.
        input: Value,
        /// Goes ahead although files need the key; the reason.
        force_data_loss: Option<String>,
    },
    /// Writes what of the audit log is held back, and tells where the log lies.
    Audit {
        /// Checks it as well.
        verify: bool,
    },
    /// Unmounts and ends.
    Shutdown {
        /// Detaches now and ends once nothing uses the mount any more.
        lazy: bool,
    },
}

/// How to mend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RepairRequest {
    /// Tells what it would do and changes nothing.
    pub dry_run: bool,
    /// Takes what lies elsewhere than it belongs as it lies.
    pub rebind: bool,
}

/// What to rewrap, and how hard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RewrapRequest {
    /// Where; empty means everywhere.
    pub paths: Vec<PathBuf>,
    /// Only files wrapped by this key.
    pub key: Option<String>,
    /// Counts and changes nothing.
    pub dry_run: bool,
    /// Files per second at most.
    pub rate_per_sec: Option<f64>,
    /// Stops after this many seconds.
    pub max_secs: Option<f64>,
    /// Sets the modification time, so that backups by size and time see the change.
    pub touch: bool,
}

/// Which material to revoke, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RevokeRequest {
    /// Its id, or a unique prefix.
    pub material: String,
    /// Takes a revocation back.
    pub undo: bool,
    /// Leaves the files under it as they are, in place of rewrapping them first.
    pub keep_files: bool,
}

/// How deep fsck looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FsckDepth {
    /// Names, markers and headers.
    Quick,
    /// Every block as well.
    #[default]
    Full,
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Long work goes on.
    Progress(Progress),
    /// It is done: the report.
    Done(Value),
    /// It was not done.
    Failed(Failure),
}

/// How far long work is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is done, such as `rewrapping`.
    pub doing: String,
    /// Things looked at.
    pub done: u64,
    /// Things to look at, where known.
    pub total: Option<u64>,
    /// Things that failed.
    pub failed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words on the wire are a promise between versions of the program.
    #[test]
    fn requests_have_stable_words() {
        let line = |verb| serde_json::to_string(&Request::new(verb)).unwrap();
        assert_eq!(line(Verb::Hello), r#"{"v":1,"verb":"hello"}"#);
        assert_eq!(line(Verb::Rotate { rewrap: true }), r#"{"v":1,"verb":"rotate","rewrap":true}"#);
        assert_eq!(
            line(Verb::Fsck { depth: FsckDepth::Quick, paths: Vec::new(), repair: None }),
            r#"{"v":1,"verb":"fsck","depth":"quick","paths":[]}"#
        );
        let rewrap: Request = serde_json::from_str(r#"{"v":1,"verb":"rewrap"}"#).unwrap();
        assert_eq!(rewrap.verb, Verb::Rewrap(RewrapRequest::default()));
    }

    #[test]
    fn replies_round_trip() {
        let reply = Reply::Failed(Failure::new(crate::control::Kind::InUse, "x").hint("y"));
        let text = serde_json::to_string(&reply).unwrap();
        assert_eq!(text, r#"{"failed":{"kind":"in-use","what":"x","hint":"y"}}"#);
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
    }
}
