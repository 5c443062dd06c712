//! Whom the server runs as: ourselves, or for root an account without rights.

use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{User, geteuid};

use super::error::{ClusterError, at};

/// The account of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    uid: u32,
    /// The unprivileged account to become; `None` when we run the server as ourselves.
    other: Option<Other>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Other {
    name: String,
    gid: u32,
}

impl Account {
    /// Ourselves; for root `postgres`, else `nobody`, because PostgreSQL refuses to run as root.
    ///
    /// # Errors
    /// [`ClusterError::NoAccount`] for root without either account.
    pub fn of_server() -> Result<Self, ClusterError> {
        let uid = geteuid();
        if !uid.is_root() {
            return Ok(Self {
                uid: uid.as_raw(),
                other: None,
            });
        }
        let known = |name| User::from_name(name).ok().flatten();
        let user = known("postgres")
            .or_else(|| known("nobody"))
            .ok_or(ClusterError::NoAccount)?;
        let other = Some(Other {
            name: user.name,
            gid: user.gid.as_raw(),
        });
        Ok(Self {
            uid: user.uid.as_raw(),
            other,
        })
    }

    /// Whether the server runs as somebody else than this process.
    pub(super) fn is_other(&self) -> bool {
        self.other.is_some()
    }

    /// The account's name, for messages.
    pub(super) fn name(&self) -> &str {
        self.other
            .as_ref()
            .map_or("the current user", |other| &other.name)
    }

    /// Makes `command` run as this account, without our supplementary groups.
    pub(super) fn apply(&self, command: &mut Command) {
        if let Some(other) = &self.other {
            command.uid(self.uid).gid(other.gid);
        }
    }

    /// Gives `path` (itself, never what a symbolic link points to) to this account.
    pub(super) fn own(&self, path: &Path) -> Result<(), ClusterError> {
        match &self.other {
            Some(other) => lchown(path, Some(self.uid), Some(other.gid)).map_err(at("give away", path)),
            None => Ok(()),
        }
    }

    /// Whether the process `pid` belongs to this account (Linux).
    pub(super) fn runs(&self, pid: i32) -> bool {
        Path::new(&format!("/proc/{pid}"))
            .metadata()
            .is_ok_and(|found| found.uid() == self.uid)
    }

    /// The user id.
    pub(super) fn uid(&self) -> u32 {
        self.uid
    }
}

/// Whether `path` itself, not what it links to, is a folder of `owner` that nobody else may enter.
pub(super) fn is_private(path: &Path, owner: u32) -> bool {
    path.symlink_metadata()
        .is_ok_and(|found| found.is_dir() && found.uid() == owner && found.mode() & 0o077 == 0)
}
