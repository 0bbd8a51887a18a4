//! Carries out requests on an open volume: behind the control socket, and without one.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::control::keys::{Keys, look};
use crate::control::known::report_opened;
use crate::control::report::{FileReport, HelloReport, MountPart, PolicyReport, Report};
use crate::control::report::{RewrapStatusReport, StatusReport};
use crate::control::walks::Sweep;
use crate::control::{Failure, Kind, Progress, Verb};
use crate::fs::{FsError, Volume};
use crate::kms::{AliasName, KeyRef};

/// Told how far long work is; breaks to end it.
pub type OnProgress<'a> = &'a mut dyn FnMut(&Progress) -> ControlFlow<()>;

/// What only a mount can answer or do.
pub trait MountSide: Send + Sync {
    /// Who it is.
    fn hello(&self) -> HelloReport;
    /// Requests of the kernel by operation.
    fn requests(&self) -> Vec<(&'static str, u64)>;
    /// The last warnings and errors.
    fn recent(&self) -> Vec<String>;
    /// Waits until changes of keys have reached the volume's caches and the kernel's.
    fn settle(&self);
    /// Unmounts; the process ends by itself afterwards.
    ///
    /// # Errors
    /// [`Kind::InUse`] if something uses the mount, unless `lazy`.
    fn shutdown(&self, lazy: bool) -> Result<(), Failure>;
}

/// An open volume with its key service, and the mount if there is one.
pub struct Session {
    pub(super) volume: Arc<Volume>,
    pub(super) kms: Arc<dyn Keys>,
    /// What can be told without a key.
    pub(super) base: StatusReport,
    pub(super) mount: Option<Arc<dyn MountSide>>,
    pub(super) sweep: Sweep,
}

impl Drop for Session {
    /// A command that is done leaves the volume closed; a mount closes its own.
    fn drop(&mut self) {
        if self.mount.is_none()
            && let Err(error) = self.volume.shutdown()
        {
            tracing::error!(%error, "closing the volume");
        }
    }
}

impl Session {
    /// A session without a mount; `base` is the part of a status that needs no key.
    pub fn new(volume: Arc<Volume>, kms: Arc<dyn Keys>, base: StatusReport) -> Self {
        Self { volume, kms, base, mount: None, sweep: Sweep::default() }
    }

    /// The same behind a mount.
    #[must_use]
    pub fn mounted(mut self, mount: Arc<dyn MountSide>) -> Self {
        self.mount = Some(mount);
        self
    }

    /// The volume, for reading without a request.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Carries out one request; answers its report.
    ///
    /// # Errors
    /// [`Failure`], ready to be shown.
    pub fn handle(&self, verb: &Verb, progress: OnProgress<'_>) -> Result<Value, Failure> {
        Ok(match verb {
            Verb::Hello => serde_json::to_value(self.hello()?).unwrap_or_default(),
            Verb::Status => self.status().to_value(),
            Verb::FileStatus { path } => self.file_status(path)?.to_value(),
            Verb::Rotate { rewrap } => self.rotate(*rewrap, progress)?.to_value(),
            Verb::Rewrap(request) => self.rewrap(request, progress)?.to_value(),
            Verb::RewrapStatus => self.rewrap_status().to_value(),
            Verb::Usage { key } => self.usage(key.as_deref(), progress)?.to_value(),
            Verb::PolicySet { path, alias } => self.set_policy(path, alias)?.to_value(),
            Verb::PolicyShow { path } => self.policy(path)?.to_value(),
            Verb::Revoke(request) => self.revoke(request, progress)?.to_value(),
            Verb::Destroy { material, force_data_loss } => {
                self.destroy(material, force_data_loss.as_deref(), progress)?.to_value()
            }
            Verb::Fsck { depth, paths, repair } => {
                self.fsck(*depth, paths, *repair, progress)?.to_value()
            }
            Verb::Kms { operation, input, force_data_loss } => {
                let force = force_data_loss.as_deref();
                self.kms_operation(operation, input, force, progress)?
            }
            Verb::Audit { verify } => self.kms.audit(*verify)?.to_value(),
            Verb::Shutdown { lazy } => {
                self.mount_side()?.shutdown(*lazy)?;
                Value::Object(Map::new())
            }
        })
    }

    fn mount_side(&self) -> Result<&Arc<dyn MountSide>, Failure> {
        self.mount.as_ref().ok_or_else(|| Failure::new(Kind::Usage, "not mounted"))
    }

    fn hello(&self) -> Result<HelloReport, Failure> {
        Ok(self.mount_side()?.hello())
    }

    fn status(&self) -> StatusReport {
        let mut report = self.base.clone();
        let key = look(&*self.kms, &self.key_ref());
        if let Ok(key) = key {
            report.key_arn = key.arn.to_string();
            report.key_state = Some(key.state.as_str().to_owned());
            report.material = key.current_material.map(|material| material.to_string());
        }
        report.alias = self.alias();
        report.core = serde_json::to_value(self.volume.status()).unwrap_or_default();
        report.mount = self.mount.as_ref().map(|mount| mount_part(mount.as_ref()));
        report
    }

    fn file_status(&self, path: &Path) -> Result<FileReport, Failure> {
        let status = self.volume.file_status(path).map_err(|error| at(path, error))?;
        let policies = self.volume.status().policies;
        let alias = |number| policies.into_iter().find(|(own, _)| *own == number);
        Ok(FileReport {
            path: path.to_path_buf(),
            kind: status.kind.to_lowercase(),
            size: status.size,
            lower_name: status.lower_name,
            file_id: status.file,
            key_arn: status.key_arn,
            material: status.material,
            slot: status.slot,
            sequence: status.sequence,
            policy: status.policy.and_then(alias).map(|(_, alias)| alias),
            sparse: status.sparse,
            stale: status.stale,
        })
    }

    fn rewrap_status(&self) -> RewrapStatusReport {
        let status = self.volume.status();
        RewrapStatusReport {
            lazy_waiting: u64::try_from(status.rewraps_waiting).unwrap_or(u64::MAX),
            lazy_done: status.rewraps_done,
            lazy_failed: status.rewraps_failed,
            ..self.sweep.report()
        }
    }

    fn set_policy(&self, path: &Path, alias: &str) -> Result<PolicyReport, Failure> {
        let alias = AliasName::parse(alias).ok_or_else(|| {
            Failure::new(Kind::Usage, format!("not an alias: {alias}"))
                .hint("an alias is alias/NAME; kmsfs kms list-aliases shows them")
        })?;
        look(&*self.kms, &KeyRef::from(&alias)).map_err(|error| {
            Failure::from(error)
                .hint(format!("kmsfs kms create-alias --alias-name {alias} --target-key-id KEY"))
        })?;
        let (_, directories) =
            self.volume.set_policy(path, &alias).map_err(|error| at(path, error))?;
        if self.mount.is_some() {
            report_opened(&*self.kms, &self.volume);
        }
        Ok(PolicyReport { directories: Some(directories), ..self.policy(path)? })
    }

    fn policy(&self, path: &Path) -> Result<PolicyReport, Failure> {
        let entry = self.volume.policy(path).map_err(|error| at(path, error))?;
        let key = look(&*self.kms, &KeyRef::new(&entry.alias)).ok();
        Ok(PolicyReport {
            path: path.to_path_buf(),
            alias: entry.alias,
            key_arn: key.map(|key| key.arn.to_string()),
            directories: None,
        })
    }

    /// The alias that new files at the root of the volume use.
    fn alias(&self) -> Option<String> {
        self.volume.policy(Path::new("")).ok().map(|entry| entry.alias)
    }

    /// What the volume's key is found by: its alias, else its ARN.
    pub(super) fn key_ref(&self) -> KeyRef {
        KeyRef::new(&self.alias().unwrap_or_else(|| self.base.key_arn.clone()))
    }

    pub(super) fn settle(&self) {
        if let Some(mount) = &self.mount {
            mount.settle();
        }
    }

    /// What the user calls this volume: its mount point, else its lower directory.
    pub(super) fn shown_path(&self) -> PathBuf {
        match &self.mount {
            Some(mount) => mount.hello().mount_point,
            None => self.base.lower.clone(),
        }
    }
}

/// A failure at a path inside the volume.
pub(super) fn at(path: &Path, error: FsError) -> Failure {
    let failure = Failure::from(error);
    Failure { what: format!("{}: {}", path.display(), failure.what), ..failure }
}

fn mount_part(mount: &dyn MountSide) -> MountPart {
    let hello = mount.hello();
    let requests = mount.requests().into_iter().filter(|(_, count)| *count > 0);
    MountPart {
        mount_point: hello.mount_point,
        pid: hello.pid,
        read_only: hello.read_only,
        since: hello.since,
        version: hello.version,
        sandbox: hello.sandbox,
        requests: requests.map(|(name, count)| (name.to_owned(), count.into())).collect(),
        recent: mount.recent(),
    }
}
