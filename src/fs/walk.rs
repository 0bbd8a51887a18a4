//! Walking over the tree below a node, for work that touches every file.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::nodes::Node;
use crate::fs::{FsError, Volume};
use crate::lower::{LowerStat, NodeKind};
use crate::name::LowerName;
use std::os::unix::ffi::OsStrExt;

/// What a walk comes by.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    /// The node.
    pub node: &'a Arc<Node>,
    /// Its lower attributes.
    pub stat: &'a LowerStat,
    /// Its path from where the walk began.
    pub path: &'a Path,
}

impl Volume {
    /// Visits every entry below `start`, directories before what is in them. An entry that cannot
    /// be reached is handed to `skipped` and does not end the walk.
    pub(super) fn walk(
        &self,
        start: &Arc<Node>,
        visit: &mut dyn FnMut(Visit<'_>) -> Result<ControlFlow<()>, FsError>,
        skipped: &mut dyn FnMut(&Path, &FsError),
    ) -> Result<(), FsError> {
        let mut waiting: Vec<(Arc<Node>, PathBuf, bool)> =
            vec![(Arc::clone(start), PathBuf::new(), false)];
        let mut ended = false;
        while let Some((dir, path, counted)) = waiting.pop() {
            if !ended {
                let walked = self.visit_dir(&dir, &path, &mut waiting, visit, skipped);
                match walked {
                    Ok(flow) => ended = flow.is_break(),
                    Err(error) => skipped(&path, &error),
                }
            }
            if counted {
                self.let_go(&dir);
            }
        }
        Ok(())
    }

    fn visit_dir(
        &self,
        dir: &Arc<Node>,
        path: &Path,
        waiting: &mut Vec<(Arc<Node>, PathBuf, bool)>,
        visit: &mut dyn FnMut(Visit<'_>) -> Result<ControlFlow<()>, FsError>,
        skipped: &mut dyn FnMut(&Path, &FsError),
    ) -> Result<ControlFlow<()>, FsError> {
        let mut names: Vec<(LowerName, PathBuf)> = Vec::new();
        self.entries_of(dir, 0, &mut |entry, lower| {
            if let Some(lower) = lower {
                names.push((lower.clone(), path.join(std::ffi::OsStr::from_bytes(&entry.name))));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let lower_dir = self.dir_of(dir)?;
        for (lower, path) in names {
            let (stat, node) = match self.look_and_step(dir, &lower_dir, &lower) {
                Ok(reached) => reached,
                Err(error) => {
                    skipped(&path, &error);
                    continue;
                }
            };
            let flow = visit(Visit { node: &node, stat: &stat, path: &path });
            match (&flow, stat.kind) {
                (Ok(ControlFlow::Continue(())), NodeKind::Dir) => waiting.push((node, path, true)),
                _ => self.let_go(&node),
            }
            if flow?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
