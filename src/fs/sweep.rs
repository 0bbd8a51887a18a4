//! Work on the whole tree: rewrap what is stale, count files per key and material.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::format::envelope::Envelope;
use crate::fs::file::FileEnv;
use crate::fs::header_io::HeaderState;
use crate::fs::nodes::Node;
use crate::fs::rewrap::Rewrapped;
use crate::fs::sweep_hands::{Hands, Progress, Sweep};
use crate::fs::{FsError, KeyLimits, Volume};
use crate::kms::KeyArn;
use crate::lower::{NodeKind, TimeSpec};

/// How often a sweep looks again at a file whose header somebody else changes.
const OVERTAKEN_MAX: u32 = 3;

/// What a sweep rewraps, and how fast.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RewrapOptions {
    /// Only files under this key.
    pub key_arn: Option<String>,
    /// Only files under this material.
    pub material: Option<[u8; 32]>,
    /// Counts, changes nothing.
    pub dry_run: bool,
    /// Most files per second.
    pub rate_per_sec: Option<f64>,
    /// Stops after this many seconds; what is left is left to the next run.
    pub max_secs: Option<f64>,
    /// Leaves the new mtime, so that tools that compare times see the change.
    pub touch: bool,
}

impl RewrapOptions {
    fn is_wanted(&self, envelope: &Envelope) -> bool {
        let its_key = self.key_arn.as_ref().is_none_or(|arn| *arn == envelope.key_arn);
        its_key && self.material.is_none_or(|material| envelope.material == Some(material))
    }
}

/// How far a sweep is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewrapReport {
    /// Files looked at.
    pub seen: u64,
    /// Of these, stale.
    pub stale: u64,
    /// Of these, rewrapped.
    pub rewrapped: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Stale files that were left: dry run, time over, interrupted, or overtaken.
    pub left: u64,
}

/// Files per key and material.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// One row for each key and material that a file names.
    pub rows: Vec<UsageRow>,
    /// Files without content, which need no key.
    pub empty_files: u64,
    /// Files whose header does not parse.
    pub unreadable_files: u64,
    /// Directories.
    pub directories: u64,
    /// Entries that could not be reached: the other numbers may be too low.
    pub skipped: u64,
}

/// One key and material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// The key.
    pub key_arn: String,
    /// The material, 64 hexadecimal digits, where the service tells.
    pub material: Option<String>,
    /// Files under it.
    pub files: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
    /// The volume key itself is under it.
    pub volume_key: bool,
}

impl Volume {
    /// Rewraps one file if it is stale. Its mtime stays.
    pub(super) fn rewrap_node(&self, node: &Arc<Node>) -> Result<Rewrapped, FsError> {
        self.rewrap_file(node, false, |env| node.file.rewrap(env))
    }

    fn rewrap_file(
        &self,
        node: &Arc<Node>,
        touch: bool,
        rewrap: impl FnOnce(&FileEnv<'_>) -> Result<Rewrapped, FsError>,
    ) -> Result<Rewrapped, FsError> {
        let done = self.with_file_mut(node, rewrap)?;
        if done == Rewrapped::Done && touch {
            self.set_times(node, None, Some(TimeSpec::Now))?;
        }
        Ok(done)
    }

    /// Rewraps every stale file below the paths (none: all), and the volume key. Can be stopped by
    /// `progress` and run again: files that are done are only looked at.
    ///
    /// # Errors
    /// `FsError::NotFound` for a path that is not there. Files that fail are counted.
    pub fn rewrap_tree(
        &self,
        paths: &[PathBuf],
        options: &RewrapOptions,
        progress: &mut dyn FnMut(&RewrapReport) -> ControlFlow<()>,
    ) -> Result<RewrapReport, FsError> {
        let sweep = Sweep::new(options);
        if paths.is_empty() && !options.dry_run {
            self.rewrap_volume_key()?;
        }
        let starts = self.starts(paths)?;
        std::thread::scope(|scope| {
            let mut hands = Hands::start(scope, self, &sweep)?;
            let mut starts = starts.iter();
            let walked = starts.try_for_each(|s| self.sweep_below(&sweep, &mut hands, s, progress));
            hands.finish(progress);
            walked
        })?;
        let report = sweep.so_far();
        if report.rewrapped > 0 {
            // A file that was truncated meanwhile, and not synced, could come back after a power cut
            // under material that nobody needs any more.
            self.root.sync_fs()?;
        }
        let _ = progress(&report);
        Ok(report)
    }

    /// Hands over every file from `start` on.
    fn sweep_below(
        &self,
        sweep: &Sweep<'_>,
        hands: &mut Hands<'_, '_>,
        start: &Arc<Node>,
        progress: Progress<'_>,
    ) -> Result<(), FsError> {
        let stat = self.stat_of(start)?;
        if stat.kind == NodeKind::File {
            sweep.change(|report| report.seen += 1);
            hands.give(start, progress);
        }
        if stat.kind == NodeKind::Dir {
            self.walk(
                start,
                &mut |visit| {
                    if visit.stat.kind == NodeKind::File {
                        sweep.change(|report| report.seen += 1);
                        if visit.stat.len.0 > 0 {
                            hands.give(visit.node, progress);
                        }
                        sweep.tell(progress);
                    }
                    Ok(match sweep.is_over() {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    })
                },
                &mut |path, error| skipped(path, error),
            )?;
        }
        self.let_go(start);
        Ok(())
    }

    fn starts(&self, paths: &[PathBuf]) -> Result<Vec<Arc<Node>>, FsError> {
        if paths.is_empty() {
            return Ok(vec![Arc::clone(self.nodes.root())]);
        }
        paths.iter().map(|path| self.nodes.find(self.resolve(path)?)).collect()
    }

    /// Looks at one file, and rewraps it if the sweep is to. Looks again where somebody else has changed the
    /// header meanwhile, as the worker does, or this sweep by another name.
    pub(super) fn sweep_file(&self, sweep: &Sweep<'_>, node: &Arc<Node>) {
        for again in 0..=OVERTAKEN_MAX {
            let stale = self.with_file(node, |env| {
                node.file.find_stale(env, |envelope| sweep.options.is_wanted(envelope))
            });
            let stale = match stale {
                Ok(Some(stale)) => stale,
                Ok(None) if again == 0 => return,
                Ok(None) => return sweep.change(|now| now.rewrapped += 1),
                Err(error) => {
                    tracing::warn!(node = node.id.0, %error, "looking at an envelope");
                    return sweep.change(|now| now.failed += 1);
                }
            };
            if again == 0 {
                sweep.change(|now| now.stale += 1);
                if sweep.options.dry_run || !sweep.wait_for_turn() {
                    break;
                }
            }
            let touch = sweep.options.touch;
            match self.rewrap_file(node, touch, |env| node.file.rewrap_stale(env, stale)) {
                Ok(Rewrapped::Overtaken) => {}
                Ok(Rewrapped::Done | Rewrapped::Current) => {
                    return sweep.change(|now| now.rewrapped += 1);
                }
                Err(error) => {
                    tracing::warn!(node = node.id.0, %error, "rewrapping");
                    return sweep.change(|now| now.failed += 1);
                }
            }
        }
        sweep.change(|now| now.left += 1);
    }

    /// Moves the volume key to the current material of its key.
    ///
    /// # Errors
    /// `FsError::Key`, `FsError::Lower`.
    pub fn rewrap_volume_key(&self) -> Result<bool, FsError> {
        self.check_writable()?;
        let before = self.config.read().clone();
        let Some(changed) = self.data_keys.rewrap_volume_key(&before.volume_key)? else {
            return Ok(false);
        };
        let mut config = before;
        config.volume_key = changed;
        self.store_config(&config)?;
        self.config.write().volume_key = config.volume_key;
        Ok(true)
    }

    /// Counts files per key and material. Reads headers, opens nothing.
    ///
    /// # Errors
    /// `FsError::Lower` if the root cannot be read.
    pub fn usage(
        &self,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Usage, FsError> {
        let mut usage = Usage::default();
        let mut rows: BTreeMap<WrappedBy, (u64, u64)> = BTreeMap::new();
        let mut seen = 0;
        let root = Arc::clone(self.nodes.root());
        self.walk(
            &root,
            &mut |visit| {
                match visit.stat.kind {
                    NodeKind::Dir => usage.directories += 1,
                    NodeKind::File if visit.stat.len.0 == 0 => usage.empty_files += 1,
                    NodeKind::File => match self.header_of(visit.node) {
                        Ok(None) => usage.empty_files += 1,
                        Ok(Some(HeaderState { envelope, .. })) => {
                            let size = crate::format::layout::plain_len(visit.stat.len).0;
                            let row =
                                rows.entry((envelope.key_arn, envelope.material)).or_default();
                            row.0 += 1;
                            row.1 += size;
                        }
                        Err(_) => usage.unreadable_files += 1,
                    },
                    _ => {}
                }
                seen += 1;
                Ok(progress(seen))
            },
            &mut |path, error| {
                usage.skipped += 1;
                skipped(path, error);
            },
        )?;
        let own = self.config.read().volume_key.clone();
        rows.entry((own.key_arn.clone(), own.material)).or_default();
        usage.rows = rows
            .into_iter()
            .map(|((key_arn, material), (files, bytes))| UsageRow {
                volume_key: key_arn == own.key_arn && material == own.material,
                key_arn,
                material: material.map(|id| crate::codec::hex(&id)),
                files,
                bytes,
            })
            .collect();
        Ok(usage)
    }

    /// Paths of the files under a material, at most `limit` of them.
    ///
    /// # Errors
    /// `FsError::Lower` if the root cannot be read.
    pub fn files_under(&self, material: [u8; 32], limit: usize) -> Result<Vec<PathBuf>, FsError> {
        let mut paths = Vec::new();
        let root = Arc::clone(self.nodes.root());
        self.walk(
            &root,
            &mut |visit| {
                let has_header = visit.stat.kind == NodeKind::File && visit.stat.len.0 > 0;
                let is_under = |node| {
                    let header = self.header_of(node).ok().flatten();
                    header.is_some_and(|header| header.envelope.material == Some(material))
                };
                if has_header && is_under(visit.node) {
                    paths.push(visit.path.to_path_buf());
                }
                Ok(match paths.len() < limit {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                })
            },
            &mut |path, error| skipped(path, error),
        )?;
        Ok(paths)
    }

    /// The current header of a file, as it lies on disk.
    pub(super) fn header_of(&self, node: &Arc<Node>) -> Result<Option<HeaderState>, FsError> {
        self.with_file(node, |env| Ok(node.file.peek(env)?.map(|peeked| peeked.state)))
    }

    /// Files that the kernel knows and whose envelope names this key, or is not at hand: of these the
    /// kernel may still have pages that were read with a data key that was forgotten since.
    pub fn nodes_of_key(&self, arn: &KeyArn) -> Vec<crate::fs::NodeId> {
        let files = self.nodes.files();
        let of_key = files.iter().filter(|node| {
            node.file.envelope().is_none_or(|(_, envelope)| arn.is_related(&envelope.key_arn))
        });
        of_key.map(|node| node.id).collect()
    }

    /// Forgets the data keys under a KMS key: the next access asks the key service again.
    pub fn drop_keys(&self, arn: &KeyArn) {
        for id in self.nodes_of_key(arn) {
            if let Ok(node) = self.nodes.find(id) {
                self.drop_keys_of(&node);
            }
        }
    }

    /// Limits for how long, and how much, a data key is used that was asked for once. Set once, before
    /// files are used.
    pub fn limit_data_keys(&self, limits: KeyLimits) {
        self.data_keys.limit(limits, Arc::clone(&self.clock));
    }

    /// Forgets data keys that have passed a limit and that nobody uses just now. Those in use are asked
    /// for again by the next access. To be called every second or so.
    pub fn retire_data_keys(&self) {
        if !self.data_keys.is_limited() {
            return;
        }
        for node in self.open_nodes.with_keys() {
            if node.file.is_spent(&self.data_keys) {
                self.drop_keys_of(&node);
            }
        }
    }

    /// A key was rotated, or an alias moved: files in use whose envelope is stale now are queued.
    pub fn queue_stale(&self) {
        for node in self.open_nodes.with_keys() {
            let is_stale = self.with_file(&node, |env| node.file.is_stale(env)).unwrap_or(false);
            if is_stale && !self.read_only {
                self.rewraps.push(&node);
            }
        }
    }
}

/// Key ARN and material id.
type WrappedBy = (String, Option<[u8; 32]>);

fn skipped(path: &Path, error: &FsError) {
    // The plaintext path is a secret; its depth tells enough to find the lower one.
    tracing::warn!(depth = path.components().count(), %error, "an entry was skipped");
}
