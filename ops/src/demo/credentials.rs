//! The demonstration's two accounts, kept in a file that only its owner can read.
//!
//! One rule: the file is written before the accounts are made, so that no interruption leaves an account
//! whose password nobody knows.

use std::{
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use api::auth::secret::fill_random;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// The file in the data folder.
const FILE: &str = "demo-credentials.json";
/// Bytes of randomness in a password.
const ENTROPY: usize = 24;

/// One account. Holds a password, so it has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) username: String,
    pub(super) email: String,
    pub(super) password: String,
}

/// Both accounts.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Credentials {
    pub(super) administrator: Account,
    pub(super) engineer: Account,
}

fn account(role: &str) -> anyhow::Result<Account> {
    let mut bytes = [0_u8; ENTROPY];
    fill_random(&mut bytes)?;
    Ok(Account {
        username: format!("demo-{role}"),
        email: format!("demo-{role}@anneal.example"),
        password: BASE64_URL_SAFE_NO_PAD.encode(bytes),
    })
}

/// The most that is read of them, in bytes.
const LARGEST: u64 = 64 << 10;

/// Where the credentials lie.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Those of an earlier run, if there was one.
pub(super) fn load(data_dir: &Path) -> anyhow::Result<Option<Credentials>> {
    let path = path(data_dir);
    match small_files::read_bounded(&path, LARGEST) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            // The parser's own words could quote a password.
            .map_err(|_| {
                anyhow::anyhow!(
                    "{} is damaged; restore it, or use a fresh data folder",
                    path.display()
                )
            }),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Fresh ones, written down.
pub(super) fn create(data_dir: &Path) -> anyhow::Result<Credentials> {
    let credentials = Credentials {
        administrator: account("admin")?,
        engineer: account("engineer")?,
    };
    let path = path(data_dir);
    let fresh = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(&credentials)?)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)
    };
    write().with_context(|| {
        format!(
            "cannot write {}; check that the data folder is writable",
            path.display()
        )
    })?;
    Ok(credentials)
}

#[cfg(test)]
mod tests {
    use super::{create, load, path};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn credentials_are_private_strong_and_found_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(load(folder.path()).expect("readable").is_none());
        let made = create(folder.path()).expect("written");
        let mode = path(folder.path())
            .metadata()
            .expect("it exists")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let found = load(folder.path()).expect("readable").expect("it was written");
        assert_eq!(found.engineer.password, made.engineer.password);
        assert_eq!(found.engineer.password.len(), 32);
        assert_ne!(found.engineer.password, found.administrator.password);
    }

    #[test]
    fn a_damaged_file_is_never_quoted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(path(folder.path()), r#"{"administrator":"s3cret"}"#).expect("written");
        let error = load(folder.path()).err().expect("it is damaged");
        assert!(!format!("{error:#}").contains("s3cret"));
    }
}
