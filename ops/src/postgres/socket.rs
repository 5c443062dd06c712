//! The folder of the socket: private, and with a path short enough for the operating system.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use sha2::{Digest, Sha256};

use super::account::{Account, is_private};
use super::error::{ClusterError, at};

/// Longest folder in bytes: `/.s.PGSQL.5432` and an end mark follow, and macOS allows 104 in all.
const LONGEST: usize = 88;

/// How the server, which runs in the folder of the cluster, names the folder of the socket.
pub(super) const FOR_SERVER: &str = "../run";

/// Makes the folder of the socket, beside the cluster, and returns its path for clients: at most
/// [`LONGEST`] bytes of UTF-8. When the folder's own path is not such a one, this is a symbolic link in a
/// private folder under the temporary folder.
pub(super) fn prepare(postgres_folder: &Path, account: &Account) -> Result<PathBuf, ClusterError> {
    let folder = postgres_folder.join("run");
    make(&folder, || account.own(&folder), account.uid())?;
    if fits(&folder) {
        return Ok(folder);
    }
    let short = short_folder(postgres_folder);
    make(&short, || Ok(()), geteuid().as_raw())?;
    let link = short.join("run");
    if std::fs::read_link(&link).is_ok_and(|target| target == folder) {
        return Ok(link);
    }
    match std::fs::remove_file(&link) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at("remove", &link)(error)),
        _ => {}
    }
    symlink(&folder, &link).map_err(at("make the link", &link))?;
    Ok(link)
}

/// Where [`prepare`] puts the socket of this folder; makes nothing.
pub(super) fn find(postgres_folder: &Path) -> PathBuf {
    let folder = postgres_folder.join("run");
    match fits(&folder) {
        true => folder,
        false => short_folder(postgres_folder).join("run"),
    }
}

/// The private folder that stands in for one whose path is too long.
fn short_folder(postgres_folder: &Path) -> PathBuf {
    let digest = Sha256::digest(postgres_folder.as_os_str().as_bytes());
    let name = format!("anneal-{}", hex::encode(&digest[..8]));
    [std::env::temp_dir(), PathBuf::from("/tmp")]
        .into_iter()
        .map(|temporary| temporary.join(&name))
        .find(|short| fits(&short.join("run")))
        .unwrap_or_else(|| Path::new("/tmp").join(&name))
}

fn fits(path: &Path) -> bool {
    path.is_absolute() && path.to_str().is_some_and(|text| text.len() <= LONGEST)
}

/// Makes a folder that only `owner` may enter, or finds it made.
fn make(
    path: &Path,
    give: impl FnOnce() -> Result<(), ClusterError>,
    owner: u32,
) -> Result<(), ClusterError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => give(),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_private(path, owner) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(ClusterError::ForeignSocketFolder {
            folder: path.to_owned(),
        }),
        Err(error) => Err(at("make the folder", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::{find, fits, prepare};
    use crate::postgres::{Account, ClusterError};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    #[test]
    fn a_long_path_moves_the_socket_to_the_temporary_folder() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let long = temporary.path().join("x".repeat(120));
        std::fs::create_dir(&long).expect("made");
        let account = Account::of_server().expect("an account");
        let socket = prepare(&long, &account).expect("a short one");
        assert!(
            fits(&socket) && !socket.starts_with(&long),
            "{}",
            socket.display()
        );
        assert_eq!(socket.canonicalize().expect("linked"), long.join("run"));
        assert_eq!(prepare(&long, &account).expect("the same one"), socket);
        assert_eq!(find(&long), socket);
        std::fs::remove_dir_all(socket.parent().expect("its own folder")).expect("removed");
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let run = temporary.path().join("run");
        std::fs::create_dir(&run).expect("made");
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).expect("opened");
        let account = Account::of_server().expect("an account");
        assert!(matches!(
            prepare(temporary.path(), &account),
            Err(ClusterError::ForeignSocketFolder { .. })
        ));
    }

    #[test]
    fn what_a_socket_path_cannot_carry_does_not_fit() {
        assert!(fits(Path::new("/a/b")));
        assert!(!fits(Path::new("a/b")));
        assert!(!fits(Path::new(&format!("/{}", "x".repeat(88)))));
    }
}
