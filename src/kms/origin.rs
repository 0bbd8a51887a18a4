//! Where a call comes from: for the audit log alone, nothing is decided by it.
//!
//! A client on the wire is known by the handle that asks for it ([`crate::kms::Kms::from_client`]). The
//! process behind a request to the filesystem is known by the thread that serves the request: between
//! the kernel and the key service lie calls that have nothing to do with it, and a thread serves one
//! request at a time.

use std::cell::Cell;

/// A process that asked the filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number; 0 if the kernel itself asks, such as for writing back.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// It has not asked yet: it is expected to.
    pub is_expected: bool,
}

thread_local! {
    static ASKING: Cell<Option<Process>> = const { Cell::new(None) };
}

/// While this lives, the thread asks for a process.
#[derive(Debug)]
pub struct Asking {
    before: Option<Process>,
    /// It belongs to one thread.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Process {
    /// This thread asks for the process until the answer is dropped.
    #[must_use]
    pub fn asking(self) -> Asking {
        Asking { before: ASKING.replace(Some(self)), _thread: std::marker::PhantomData }
    }

    /// The process that this thread asks for.
    pub(crate) fn current() -> Option<Self> {
        ASKING.get()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        ASKING.set(self.before);
    }
}

/// A client on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The access key that it signs with.
    pub access_key_id: String,
    /// Its address.
    pub source: String,
    /// What it calls itself.
    pub user_agent: String,
    /// Its request: the random bytes of the UUID that the answer bears.
    pub request_id: [u8; 16],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_asks_for_one_process_at_a_time() {
        assert_eq!(Process::current(), None);
        let (a, b) = (
            Process { pid: 1, uid: 0, is_expected: false },
            Process { pid: 2, uid: 0, is_expected: true },
        );
        let outer = a.asking();
        {
            let _inner = b.asking();
            assert_eq!(Process::current(), Some(b));
            let other = std::thread::spawn(Process::current);
            assert_eq!(other.join().unwrap(), None);
        }
        assert_eq!(Process::current(), Some(a));
        drop(outer);
        assert_eq!(Process::current(), None);
    }
}
