//! Which files a fenced process may reach: Landlock, landlock(7).

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, PathFdError,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::fence::FenceError;

/// The newest version of Landlock that we know. Of an older one in the kernel, what it has is used.
const KNOWN: ABI = ABI::V6;

/// Files and directories that a process may reach. Nothing can be run, wherever it lies.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// Everything below may be read, changed, made and removed.
    pub trees: Vec<PathBuf>,
    /// Sockets may be made and removed in these directories.
    pub sockets: Vec<PathBuf>,
    /// Everything below may be read and listed.
    pub readable: Vec<PathBuf>,
    /// These may be read, written and given commands.
    pub devices: Vec<PathBuf>,
}

impl Ground {
    /// Fences the process in. Tells whether the kernel can do that.
    pub(super) fn enclose(&self) -> Result<bool, FenceError> {
        let failed = |error: RulesetError| FenceError::new("landlock", error);
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(KNOWN))
            .and_then(|rules| rules.scope(Scope::Signal))
            .and_then(Ruleset::create)
            .map_err(failed)?;
        let mut all = AccessFs::from_all(KNOWN);
        all.remove(AccessFs::Execute);
        let socket = AccessFs::MakeSock | AccessFs::RemoveFile | AccessFs::ReadDir;
        let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        for (paths, access) in [
            (&self.trees, all),
            (&self.sockets, socket),
            (&self.readable, read),
            (&self.devices, device),
        ] {
            for path in paths {
                rules = allow(rules, path, access)?;
            }
        }
        let status = rules.restrict_self().map_err(failed)?;
        Ok(status.ruleset != RulesetStatus::NotEnforced)
    }
}

/// Allows access below a path; one that does not exist needs no rule.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, FenceError> {
    let failed = |error: &dyn std::fmt::Display| {
        FenceError::new("landlock", format!("{}: {error}", path.display()))
    };
    match PathFd::new(path) {
        Ok(place) => rules.add_rule(PathBeneath::new(place, access)).map_err(|e| failed(&e)),
        Err(PathFdError::OpenCall { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(rules)
        }
        Err(error) => Err(failed(&error)),
    }
}
