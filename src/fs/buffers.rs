//! Byte buffers that a thread reuses: touching fresh memory costs more than sealing it.

use std::cell::Cell;

thread_local! {
    static SPARE: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// Longest buffer that is kept, in bytes. A request has at most 256 KiB of plaintext, about 66 pages.
const KEPT_LEN_MAX: usize = 512 * 1024;

/// Runs `work` on a buffer of `len` bytes with unspecified content.
pub fn with_buffer<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = SPARE.take().unwrap_or_default();
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    let result = match buffer.get_mut(..len) {
        Some(bytes) => work(bytes),
        None => work(&mut []),
    };
    if buffer.len() <= KEPT_LEN_MAX {
        SPARE.set(Some(buffer));
    }
    result
}
