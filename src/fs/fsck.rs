//! Looking for everything that does not fit. Finds; mending is another matter.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::format::layout::{
    PAYLOAD, block_count, block_of, block_start, is_legal, payload_len, plain_len,
};
use crate::format::name::{LowerEntry, TEMPORARY_PREFIX, classify};
use crate::fs::nodes::Node;
use crate::fs::recover_tree::names_in;
use crate::fs::{CorruptPart, FsError, SeekTo, Volume};
use crate::lower::{LowerDir, LowerError, NodeKind};
use crate::units::{BlockNo, PlainOffset};

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FsckDepth {
    /// Names, markers, sidecars, headers, lengths.
    Quick,
    /// Every record as well.
    Full,
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name of the kind of finding.
    pub code: String,
    /// Where it lies in the lower directory.
    pub lower_path: String,
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub mend: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsckReport {
    /// Everything that does not fit.
    pub findings: Vec<Finding>,
    /// Regular files looked at.
    pub files: u64,
    /// Directories looked at.
    pub directories: u64,
    /// Plaintext bytes that were read.
    pub bytes: u64,
}

impl Volume {
    /// Checks everything below the root. `progress` is told the number of files and may stop it.
    ///
    /// # Errors
    /// `FsError::Lower` if the root cannot be read; everything else is a finding.
    pub fn fsck(
        &self,
        depth: FsckDepth,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<FsckReport, FsError> {
        let mut report = FsckReport::default();
        let mut waiting = vec![(Arc::clone(self.nodes.root()), String::new())];
        let mut ended = false;
        while let Some((node, path)) = waiting.pop() {
            if !ended {
                report.directories += 1;
                let flow = self.check_dir(&node, &path, depth, &mut report, &mut waiting, progress);
                match flow {
                    Ok(flow) => ended = flow.is_break(),
                    Err(error) => report.add(&path, &error),
                }
            }
            self.let_go(&node);
        }
        Ok(report)
    }

    fn check_dir(
        &self,
        node: &Arc<Node>,
        path: &str,
        depth: FsckDepth,
        report: &mut FsckReport,
        waiting: &mut Vec<(Arc<Node>, String)>,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, FsError> {
        let dir = self.dir_of(node)?;
        let names = self.names_of(node)?;
        if let Err(error) = self.check_xattrs(node) {
            report.add(path, &error);
        }
        for lower in names_in(&dir)? {
            let path = format!("{path}/{lower}");
            match names.open(&dir, lower.as_bytes()) {
                Ok(None) => {
                    check_own_entry(&dir, &lower, &path, report);
                    continue;
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    report.add(&path, &error);
                    continue;
                }
            }
            let stat = dir.stat(&lower)?;
            let child = match self.step(node, &lower, &stat) {
                Ok(child) => child,
                Err(error) => {
                    report.add(&path, &error);
                    continue;
                }
            };
            match stat.kind {
                NodeKind::Dir => {
                    waiting.push((child, path));
                    continue;
                }
                NodeKind::File => {
                    report.files += 1;
                    let found = report.findings.len();
                    self.check_file(&child, depth, &path, report);
                    if report.findings.len() == found
                        && let Err(error) = self.check_xattrs(&child)
                    {
                        report.add(&path, &error);
                    }
                    self.let_go(&child);
                }
                NodeKind::Symlink => {
                    if let Err(error) = self.readlink_of(&child) {
                        report.add(&path, &error);
                    }
                    self.let_go(&child);
                }
                _ => self.let_go(&child),
            }
            if progress(report.files).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn check_file(&self, node: &Arc<Node>, depth: FsckDepth, path: &str, report: &mut FsckReport) {
        let checked = self.with_file(node, |env| {
            let lower = env.file.len()?;
            if lower.0 == 0 {
                return Ok(());
            }
            if !is_legal(lower) {
                report.add(path, &FsError::Corrupt(CorruptPart::Length));
            }
            // Opens the header, and verifies it.
            node.file.keys(env)?;
            let size = plain_len(lower);
            if depth == FsckDepth::Quick {
                return Ok(());
            }
            let mut no = 0;
            while no < block_count(size) {
                let at = block_start(BlockNo(no));
                // A file of terabytes may be one hole.
                let data = node.file.seek(env, at.0, SeekTo::Data)?;
                let block = block_of(PlainOffset(data)).0;
                no = block.0 + 1;
                let mut plain = [0; PAYLOAD];
                let out = plain.get_mut(..payload_len(block)).unwrap_or_default();
                match node.file.read(env, block_start(block), out) {
                    Ok(got) => report.bytes += u64::try_from(got).unwrap_or(0),
                    Err(error) => report.add(path, &error),
                }
            }
            Ok(())
        });
        if let Err(error) = checked {
            report.add(path, &error);
        }
    }
}

impl FsckReport {
    fn add(&mut self, path: &str, error: &FsError) {
        let (code, mend) = match error {
            FsError::Corrupt(part) => match part {
                CorruptPart::Block(_) => ("corrupt-block", "restore the file from a backup"),
                CorruptPart::Header => ("corrupt-header", "restore the file from a backup"),
                CorruptPart::Length => ("bad-length", "restore the file from a backup"),
                CorruptPart::Marker => ("corrupt-marker", "restore .kmsfs.dir from a backup"),
                CorruptPart::Name => ("corrupt-name", "restore the entry's name and sidecar"),
                CorruptPart::SymlinkTarget => ("corrupt-symlink", "make the link anew"),
                CorruptPart::Xattr => ("corrupt-xattr", "set the attribute anew"),
            },
            FsError::Key(_) => ("key-refused", "see: kmsfs kms describe-key"),
            FsError::Lower(_) => ("unreadable", "check the lower filesystem"),
            _ => ("unexpected", "report this"),
        };
        self.push(code, path, &error.to_string(), mend);
    }

    fn push(&mut self, code: &str, path: &str, cause: &str, mend: &str) {
        self.findings.push(Finding {
            code: code.to_owned(),
            lower_path: path.trim_start_matches('/').to_owned(),
            cause: cause.to_owned(),
            mend: mend.to_owned(),
        });
    }
}

/// Sidecars without their object and things that were being made when the power went.
fn check_own_entry(
    dir: &LowerDir,
    name: &crate::name::LowerName,
    path: &str,
    report: &mut FsckReport,
) {
    if name.as_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
        report.push("leftover", path, "was being made or removed", "remove it");
        return;
    }
    let Some(object) = name.as_bytes().strip_suffix(b".name") else {
        return;
    };
    let is_missing = match crate::name::LowerName::from_bytes(object) {
        Ok(object) if matches!(classify(object.as_bytes()), LowerEntry::Long { .. }) => {
            matches!(dir.stat(&object), Err(LowerError { errno: libc::ENOENT, .. }))
        }
        _ => false,
    };
    if is_missing {
        report.push("orphan-sidecar", path, "no entry has this long name", "remove it");
    }
}
