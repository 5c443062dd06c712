//! Creating the cluster on first use, all or nothing.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use super::error::{ClusterError, at};
use super::folder::sync_folder_of;
use super::handle::FolderHandle;
use super::{Account, Programs, process};

/// How long `initdb` may take; a second is usual.
const DEADLINE: Duration = Duration::from_secs(180);
/// Moves the folder, which comes as standard input, to number 9 (see [`FolderHandle`]).
const SCRIPT: &str = r#"exec 9<&0 0</dev/null; exec "$@""#;
/// The name of the role that owns the cluster and everything in it.
pub(super) const OWNER: &str = "anneal";

/// Creates the cluster at `cluster`, which must not exist. It is made under another name and renamed when
/// complete, so a run that is killed half-way leaves nothing that looks like a cluster.
///
/// Text compares by bytes (locale C), so that a system upgrade cannot change the order of an index; pages
/// carry checksums.
pub(super) fn create(cluster: &Path, programs: &Programs, account: &Account) -> Result<(), ClusterError> {
    let fresh = cluster.with_extension("new");
    match std::fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at("remove", &fresh)(error)),
        _ => {}
    }
    DirBuilder::new()
        .mode(0o700)
        .create(&fresh)
        .map_err(at("make the folder", &fresh))?;
    account.own(&fresh)?;
    let folder = FolderHandle::open(&fresh, account)?;
    let program = programs.initdb();
    let mut command = process::clean("/bin/sh");
    command.arg("-c").arg(SCRIPT).arg("anneal-initdb").arg(&program);
    command.arg("--pgdata").arg(folder.name()).args([
        "--username",
        OWNER,
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--data-checksums",
        "--no-instructions",
    ]);
    command.stdin(folder.stream()?);
    account.apply(&mut command);
    let said =
        process::output(command, DEADLINE).map_err(|source| ClusterError::Program { program, source })?;
    if !said.status.success() {
        let said = String::from_utf8_lossy(&said.stderr).trim().to_owned();
        return Err(ClusterError::Init { said });
    }
    fail::fail_point!("setup.cluster_made");
    std::fs::rename(&fresh, cluster).map_err(at("rename", &fresh))?;
    sync_folder_of(cluster)
}
