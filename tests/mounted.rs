//! What programs see of a mount: every test has a mount of its own, most run twice, with and without
//! the writeback cache, and each ends with a clean fsck.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a test that cannot go on ends"
)]

#[path = "mounted/append.rs"]
mod append;
#[path = "mounted/concurrency.rs"]
mod concurrency;
#[path = "mounted/directories.rs"]
mod directories;
#[path = "mounted/holes.rs"]
mod holes;
#[path = "mounted/links.rs"]
mod links;
#[path = "mounted/locks.rs"]
mod locks;
#[path = "mounted/mmap.rs"]
mod mmap;
#[path = "common/mount.rs"]
mod mount;
#[path = "mounted/names.rs"]
mod names;
#[path = "mounted/ordinary_user.rs"]
mod ordinary_user;
#[path = "mounted/permissions.rs"]
mod permissions;
#[path = "mounted/read_only.rs"]
mod read_only;
#[path = "mounted/read_write.rs"]
mod read_write;
#[path = "mounted/rename.rs"]
mod rename;
#[path = "mounted/root_only.rs"]
mod root_only;
#[path = "mounted/rotation_live.rs"]
mod rotation_live;
#[path = "mounted/special.rs"]
mod special;
#[path = "mounted/times.rs"]
mod times;
#[path = "mounted/truncate.rs"]
mod truncate;
#[path = "mounted/unlinked.rs"]
mod unlinked;
#[path = "common/user.rs"]
mod user;
#[path = "mounted/xattrs.rs"]
mod xattrs;

use std::io;
use std::path::Path;

/// The errno of a call that must fail.
fn errno<T: std::fmt::Debug>(answer: io::Result<T>) -> i32 {
    answer.unwrap_err().raw_os_error().unwrap()
}

/// Bytes that tell where they belong: no two blocks look alike.
fn pattern(at: u64, len: usize) -> Vec<u8> {
    (at..).take(len).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53) as u8).collect()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn write(path: &Path, data: impl AsRef<[u8]>) {
    std::fs::write(path, data).unwrap();
}
