//! [`Given`]: the entries of a reply to a directory's reader.

use std::ops::ControlFlow;

use fuser::Errno;

/// Whether a directory reply holds entries already.
#[derive(Debug, Default)]
pub(crate) struct Given {
    any: bool,
}

impl Given {
    /// Takes note of an entry, unless the reply was full.
    pub(crate) fn unless(&mut self, full: bool) -> ControlFlow<()> {
        if full {
            return ControlFlow::Break(());
        }
        self.any = true;
        ControlFlow::Continue(())
    }

    /// The error to reply with. Entries that were given count: their lookups are the kernel's to
    /// forget, so they are sent, and the error comes up again at the next request.
    pub(crate) fn error(&self, done: Result<(), Errno>) -> Option<Errno> {
        done.err().filter(|_| !self.any)
    }
}
