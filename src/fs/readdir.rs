//! Reading directories: stable cookies, which are the lower filesystem's; our own files are skipped.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::fs::nodes::Node;
use crate::fs::{Attr, DirEntry, FsError, NodeId, Volume};
use crate::lower::NodeKind;
use crate::name::LowerName;

/// Is given an entry, and its lower name unless it is `.` or `..`.
pub(super) type EntryVisitor<'a> =
    dyn FnMut(DirEntry, Option<&LowerName>) -> Result<ControlFlow<()>, FsError> + 'a;

/// Bytes of lower entries that are read at once.
const BUFFER_LEN: usize = 32 * 1024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Volume {
    /// Gives the entries behind `cookie` (0: from the start) until `sink` breaks; the entry that it
    /// breaks on is not consumed.
    ///
    /// # Errors
    /// `FsError::Lower`, `FsError::Corrupt` if the directory's marker is wrong.
    pub fn read_dir(
        &self,
        node: NodeId,
        cookie: u64,
        sink: &mut dyn FnMut(&DirEntry) -> ControlFlow<()>,
    ) -> Result<(), FsError> {
        let node = self.nodes.find(node)?;
        let mut given = 0;
        let walked = self.entries_of(&node, cookie, &mut |entry, _| {
            let flow = sink(&entry);
            given += u32::from(flow.is_continue());
            Ok(flow)
        });
        node.listing.gave(given, cookie == 0);
        walked
    }

    /// As [`Volume::read_dir`], with attributes (`None` for `.` and `..`); counts a lookup for each
    /// entry that was consumed with attributes.
    ///
    /// # Errors
    /// As [`Volume::read_dir`].
    pub fn read_dir_plus(
        &self,
        node: NodeId,
        cookie: u64,
        sink: &mut dyn FnMut(&DirEntry, Option<&Attr>) -> ControlFlow<()>,
    ) -> Result<(), FsError> {
        let node = self.nodes.find(node)?;
        let dir = self.dir_of(&node)?;
        let mut given = 0;
        let mut listed = node.order.list(&self.nodes, cookie == 0);
        let walked = self.entries_of(&node, cookie, &mut |entry, lower| {
            let Some(lower) = lower else {
                return Ok(sink(&entry, None));
            };
            let _still = node.entries.read();
            let stat = match dir.stat(lower) {
                Ok(stat) => stat,
                // Removed meanwhile.
                Err(error) if error.errno == libc::ENOENT => return Ok(ControlFlow::Continue(())),
                Err(error) => return Err(error.into()),
            };
            let attr = self.attr_of_entry(&dir, lower, &stat)?;
            let flow = sink(&entry, Some(&attr));
            if flow.is_continue() {
                let reached = self.nodes.reach(&stat, &node, lower, 1)?;
                given += 1;
                if stat.kind == NodeKind::File && stat.len.0 > 0 {
                    listed.gave(&reached);
                }
            }
            Ok(flow)
        });
        node.listing.gave(given, cookie == 0);
        walked
    }

    /// Walks the lower entries; `visit` gets the lower name of all but `.` and `..`.
    pub(super) fn entries_of(
        &self,
        node: &Arc<Node>,
        cookie: u64,
        visit: &mut EntryVisitor<'_>,
    ) -> Result<(), FsError> {
        let dir = match self.dir_of(node) {
            // Removed while it is open: nothing is in it any more.
            Err(FsError::NotFound) => return Ok(()),
            dir => dir?,
        };
        let names = self.names_of(node)?;
        let mut buffer = BUFFER.take();
        buffer.reserve(BUFFER_LEN.saturating_sub(buffer.len()));
        let mut cookie = cookie;
        let walked = loop {
            let entries = match dir.entries(cookie, &mut buffer) {
                Ok(entries) if entries.is_empty() => break Ok(()),
                Ok(entries) => entries,
                Err(error) => break Err(FsError::from(error)),
            };
            let mut flow = Ok(ControlFlow::Continue(()));
            for entry in entries {
                cookie = entry.cookie;
                flow = match entry.name {
                    b"." | b".." => visit(self.dot_entry(node, entry.name, cookie), None),
                    lower => match names.open(&dir, lower) {
                        Ok(Some(plain)) => {
                            let name = LowerName::from_bytes(lower)?;
                            let kind = match entry.kind {
                                Some(kind) => kind,
                                None => dir.stat(&name)?.kind,
                            };
                            let id = self.nodes.id_of(entry.ino);
                            let name_bytes = plain.as_bytes().to_vec();
                            visit(
                                DirEntry { name: name_bytes, cookie, node: id, kind },
                                Some(&name),
                            )
                        }
                        Ok(None) => continue,
                        Err(_) => {
                            let lower = String::from_utf8_lossy(lower);
                            tracing::warn!(dir = node.id.0, %lower, "an entry's name does not open");
                            continue;
                        }
                    },
                };
                if !matches!(flow, Ok(ControlFlow::Continue(()))) {
                    break;
                }
            }
            match flow {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        BUFFER.set(buffer);
        walked
    }

    fn dot_entry(&self, node: &Arc<Node>, name: &[u8], cookie: u64) -> DirEntry {
        let id = match name {
            b"." => node.id,
            _ => node.parent().map_or(NodeId::ROOT, |parent| parent.id),
        };
        DirEntry { name: name.to_vec(), cookie, node: id, kind: NodeKind::Dir }
    }
}
