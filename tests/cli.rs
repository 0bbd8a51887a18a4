//! The command line's promise: names, exit codes, JSON fields, and the README's session.
//!
//! Everything runs the real program in a sandbox directory. What needs `/dev/fuse` is skipped with
//! a line without it, and fails if `CI=true`.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

#[path = "cli/audit.rs"]
mod audit;
#[path = "cli/backup.rs"]
mod backup;
#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/endpoints.rs"]
mod endpoints;
#[path = "cli/fence.rs"]
mod fence;
#[path = "cli/keys.rs"]
mod keys;
#[path = "cli/memory.rs"]
mod memory;
#[path = "cli/mounts.rs"]
mod mounts;
#[path = "cli/needs.rs"]
mod needs;
#[path = "cli/replica.rs"]
mod replica;
#[path = "cli/sandbox.rs"]
mod sandbox;
#[path = "common/serve.rs"]
mod serve;
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "common/tls.rs"]
mod tls;
#[path = "common/user.rs"]
mod user;
#[path = "cli/users.rs"]
mod users;
