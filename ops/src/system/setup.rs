//! First start: built-in roles, and the token that makes the first administrator.

use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use api::auth::secret::{Secret, fill_random};
use domain::{
    access::role::SeedRoles,
    authz::Principal,
    event_store::Metadata,
    execute::{Ports, execute},
};

/// The most that is read of the file of the token, in bytes.
const LARGEST_TOKEN: u64 = 4_096;
/// Hexadecimal digits of the set-up token.
const TOKEN_DIGITS: usize = 32;
/// The file in the data folder that holds the set-up token while there is no administrator.
pub const SETUP_TOKEN_FILE: &str = "setup-token";

/// Where the development mailer puts mails.
#[must_use]
pub fn outbox(data_dir: &Path) -> PathBuf {
    data_dir.join("outbox")
}

/// Defines the built-in roles that are not defined yet.
pub(super) async fn seed_roles(ports: &Ports) -> anyhow::Result<()> {
    let principal = Principal::System("setup");
    let meta = Metadata {
        actor: principal.actor(),
        ..Metadata::default()
    };
    execute(ports, &principal, &meta, &SeedRoles)
        .await
        .context("cannot record the built-in roles")?;
    Ok(())
}

/// The token for the first administrator: made once, kept in a private file, gone once there is one.
pub(super) fn token(data_dir: &Path, is_set_up: bool) -> anyhow::Result<Option<Secret>> {
    let path = data_dir.join(SETUP_TOKEN_FILE);
    if is_set_up {
        if path.exists() {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        return Ok(None);
    }
    match small_files::read_text(&path, LARGEST_TOKEN) {
        // One that an earlier build was killed in the middle of writing opens nothing.
        Ok(text) if text.trim().len() == TOKEN_DIGITS => {
            return Ok(Some(Secret::new(text.trim().to_owned())));
        }
        Ok(_) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let mut bytes = [0_u8; TOKEN_DIGITS / 2];
    fill_random(&mut bytes)?;
    let token = hex::encode(bytes);
    write_private(&path, &format!("{token}\n"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Some(Secret::new(token)))
}

/// Puts `text` at `path`, readable by this account alone: the whole of it, or nothing.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    fail::fail_point!("setup.token_begun");
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}
