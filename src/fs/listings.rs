//! Which directories the kernel lists from its own cache, and when it had better ask again.
//!
//! The kernel forgets the access time of a file that is read, and the number of blocks of one that is closed,
//! and asks for the attributes of each of them when a program calls stat(2). A listing brings those of
//! all files of a directory at once, but a directory that has been listed is listed without asking.
//!
//! Only what is read or asked for as the directory lists it counts: such a program lists before it asks. One
//! that asks by names of its own, as git does, gets attributes one by one, and lists from the cache.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::fs::{NodeId, Volume};

/// The kernel is to ask again once it has forgotten one of so many attributes that a listing gave.
const SHARE: u32 = 8;

/// Of a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// How many attributes the kernel may forget before it is to ask again. 0: it will ask, or has not listed.
    left: AtomicU32,
}

impl Listing {
    /// The kernel has been given entries, with their attributes or without, from the first one on or further ones.
    pub(super) fn gave(&self, entries: u32, is_first: bool) {
        let share = entries / SHARE;
        if is_first {
            self.left.store(share.saturating_add(1), Ordering::Relaxed);
        } else {
            self.left.fetch_add(share, Ordering::Relaxed);
        }
    }

    /// The kernel has forgotten attributes of one entry. Gives whether it is to ask again, once.
    fn forgot_one(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) == Ok(1)
    }
}

impl Volume {
    /// The kernel has forgotten, or forgets now, attributes of a file. Gives the directory, if any, whose cached
    /// entries it had better drop.
    pub fn forgot_attributes(&self, node: NodeId) -> Option<NodeId> {
        let node = self.nodes.find(node).ok()?;
        let parent = node.parent()?;
        let counts = self.is_in_order(&parent, &node) && parent.listing.forgot_one();
        counts.then_some(parent.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_again_after(listing: &Listing) -> Option<usize> {
        (1..1000).find(|_| listing.forgot_one())
    }

    #[test]
    fn directory_is_listed_again_once_a_share_is_forgotten() {
        let listing = Listing::default();
        assert_eq!(asked_again_after(&listing), None);
        for (entries, after) in [(0, 1), (1, 1), (16, 3), (160, 21)] {
            listing.gave(entries, true);
            assert_eq!(asked_again_after(&listing), Some(after), "{entries}");
            assert_eq!(asked_again_after(&listing), None);
        }
        listing.gave(80, true);
        listing.gave(80, false);
        assert_eq!(asked_again_after(&listing), Some(21));
    }
}
