//! Downloads a model's files over HTTP and checks them against the hashes that the log recorded.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use futures::StreamExt;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{client::accepted, jobs::Trained, session::Session};

const MODEL: &str = "query($id: ID!) { answer: model(id: $id) { name versions \
     { version sha256 files { name sha256 bytes downloadPath } lineage { jobId } } } }";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lineage {
    job_id: Option<String>,
}

/// One file of a model.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: String,
    sha256: String,
    bytes: String,
    download_path: String,
}

#[derive(Deserialize)]
struct Version {
    files: Vec<Listed>,
    lineage: Lineage,
}

#[derive(Deserialize)]
struct Model {
    versions: Vec<Version>,
}

/// A file that was fetched and found to be as recorded.
pub(super) struct Fetched {
    /// Its name.
    pub(super) name: String,
    /// Its size.
    pub(super) bytes: u64,
    sha256: String,
}

impl Fetched {
    /// The first digits of its hash.
    pub(super) fn short_hash(&self) -> &str {
        self.sha256.get(..12).unwrap_or(&self.sha256)
    }
}

/// Fetches every file of the version that a job made into `folder`; what is there and equal stays.
///
/// # Errors
/// When a file is refused, or is not what was recorded.
pub(super) async fn fetch(
    session: &Session,
    trained: &Trained,
    folder: &Path,
) -> anyhow::Result<Vec<Fetched>> {
    let model: Option<Model> = session.query(MODEL, json!({ "id": trained.model })).await?;
    let model = model.context("the model is gone; was access to it withdrawn?")?;
    let made = |version: &Version| version.lineage.job_id.as_deref() == Some(trained.job.as_str());
    let version = model
        .versions
        .into_iter()
        .find(made)
        .context("the model has no version of this job")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut fetched = Vec::new();
    for file in version.files {
        let (name, sha256) = (file.name.clone(), file.sha256.clone());
        let bytes = fetch_file(session, &file, folder)
            .await
            .with_context(|| format!("downloading {name}"))?;
        fetched.push(Fetched { name, bytes, sha256 });
    }
    Ok(fetched)
}

/// A file's place below `folder`; a name that leads elsewhere is refused.
fn place(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    ensure!(plain, "the server names a file {name:?}, which is no plain name");
    Ok(folder.join(name))
}

async fn fetch_file(session: &Session, file: &Listed, folder: &Path) -> anyhow::Result<u64> {
    let path = place(folder, &file.name)?;
    let expected: u64 = file.bytes.parse().context("the size is no number")?;
    if let Ok(bytes) = small_files::read_bounded(&path, expected)
        && hex::encode(Sha256::digest(&bytes)) == file.sha256
    {
        return Ok(expected);
    }
    let token = session.token().await?;
    let request = session
        .client()
        .request(Method::GET, &file.download_path, Some(&token))?;
    let response = accepted(session.client().send(request).await?).await?;
    let fresh = folder.join(format!(".{}.part", file.name));
    let mut target =
        std::fs::File::create(&fresh).with_context(|| format!("cannot write {}", fresh.display()))?;
    let (mut hash, mut length) = (Sha256::new(), 0_u64);
    let mut body = response.bytes_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| session.client().unreachable(&error))?;
        length += chunk.len() as u64;
        ensure!(length <= expected, "more than the recorded {expected} bytes came");
        hash.update(&chunk);
        target
            .write_all(&chunk)
            .with_context(|| format!("cannot write {}", fresh.display()))?;
    }
    let found = hex::encode(hash.finalize());
    if found != file.sha256 || length != expected {
        bail!(
            "SHA-256 {found} and {length} bytes came, {} and {expected} were recorded; try again",
            file.sha256
        );
    }
    std::fs::rename(&fresh, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::place;
    use std::path::Path;

    #[test]
    fn a_file_never_lands_outside_its_folder() {
        let folder = Path::new("/data/demo-adapter");
        assert_eq!(
            place(folder, "adapter_config.json").expect("plain"),
            folder.join("adapter_config.json")
        );
        for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\\b"] {
            assert!(place(folder, name).is_err(), "{name}");
        }
    }
}
