//! Imports base models from a folder of this machine, checked by the training engine itself.

use std::path::{Component, Path, PathBuf};

use api::app::{ImportError, ModelImporter};
use async_trait::async_trait;
use domain::{
    id::ModelId,
    models::model::{Lineage, ModelFile, ModelVersion},
};
use objects::{Key, Objects};

/// See the module.
pub(super) struct FolderImporter {
    root: Option<PathBuf>,
    objects: Objects,
}

impl FolderImporter {
    /// Imports from subfolders of `root`; without one, importing is off.
    pub(super) fn new(root: Option<PathBuf>, objects: Objects) -> Self {
        Self { root, objects }
    }

    /// The subfolder, if `name` is one: a single name, and no way out by a link.
    fn subfolder(&self, name: &str) -> Result<PathBuf, ImportError> {
        let root = self.root.as_ref().ok_or(ImportError::Off)?;
        let mut parts = Path::new(name).components();
        let (Some(Component::Normal(_)), None) = (parts.next(), parts.next()) else {
            return Err(ImportError::NoFolder);
        };
        let root = root.canonicalize().map_err(|_| ImportError::NoFolder)?;
        let folder = root
            .join(name)
            .canonicalize()
            .map_err(|_| ImportError::NoFolder)?;
        match folder.parent() == Some(root.as_path()) && folder.is_dir() {
            true => Ok(folder),
            false => Err(ImportError::NoFolder),
        }
    }
}

/// Loads the model as a training would, and names the files it consists of; anything else stays where it is. Blocks.
fn inspect(folder: &Path) -> Result<Vec<(String, PathBuf)>, ImportError> {
    let loaded = ml::model::folder::load::<ml::Compute>(folder, &Default::default());
    let names = loaded.and_then(|_| ml::model::folder::files(folder));
    let names = names.map_err(|failure| ImportError::NotAModel(failure.message))?;
    Ok(names
        .into_iter()
        .map(|name| (name.clone(), folder.join(name)))
        .collect())
}

/// What the files that a model consists of take on the disk. Blocks.
fn bytes(folder: &Path) -> u64 {
    let names = ml::model::folder::files(folder).unwrap_or_default();
    let sizes = names.iter().filter_map(|name| folder.join(name).metadata().ok());
    sizes.fold(0, |sum, file| sum.saturating_add(file.len()))
}

#[async_trait]
impl ModelImporter for FolderImporter {
    async fn bytes(&self, folder: &str) -> Result<u64, ImportError> {
        let path = self.subfolder(folder)?;
        let bytes = tokio::task::spawn_blocking(move || bytes(&path)).await;
        bytes.map_err(|error| {
            tracing::error!(%error, "the size of a model could not be read");
            ImportError::NoFolder
        })
    }

    async fn import(&self, model: ModelId, folder: &str) -> Result<ModelVersion, ImportError> {
        let path = self.subfolder(folder)?;
        let inspected = tokio::task::spawn_blocking(move || inspect(&path)).await;
        let files = inspected.map_err(|error| {
            tracing::error!(%error, "the check of a model broke off");
            ImportError::NotAModel("the files could not be checked; they may be damaged".to_owned())
        })??;
        let failed = |error: objects::ObjectsError| {
            tracing::error!(%error, "a model could not be stored");
            ImportError::Storage
        };
        let place = place(model);
        let key = Key::artifact(&place).map_err(failed)?;
        let stored = self.objects.put_dir(&key, &files).await.map_err(failed)?;
        let files: Vec<ModelFile> = stored
            .into_iter()
            .map(|file| ModelFile {
                name: file.name,
                sha256: file.sha256,
                bytes: file.bytes,
            })
            .collect();
        Ok(ModelVersion {
            merged: None,
            version: 1,
            sha256: workers::folder_sha256(&files),
            artifact: format!("artifacts/{place}"),
            files,
            lineage: Lineage::Imported {
                origin: folder.to_owned(),
            },
        })
    }

    async fn discard(&self, model: ModelId, version: &ModelVersion) {
        for file in &version.files {
            let deleted = match Key::artifact(&place(model)).and_then(|folder| folder.join(&file.name)) {
                Ok(key) => self.objects.delete(&key).await,
                Err(error) => Err(error),
            };
            if let Err(error) = deleted {
                let name = &file.name;
                tracing::warn!(%model, name, %error, "a file of a refused model is left in the object store");
            }
        }
    }
}

/// Where the files of an imported model lie among the artifacts.
fn place(model: ModelId) -> String {
    format!("imported/{model}/1")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::id::{Ids, SystemIds};

    use super::*;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../workers/ml/fixtures");

    /// DS-3: what is known before is what is stored, and nothing of it is left when it is refused.
    #[tokio::test]
    async fn what_was_imported_has_the_size_that_was_told_and_is_discarded_whole() {
        let room = tempfile::tempdir().expect("a folder");
        let address = format!("file://{}", room.path().display());
        let objects = Objects::open(&address, Arc::new(SystemIds)).expect("a store");
        let importer = FolderImporter::new(Some(FIXTURES.into()), objects);
        let told = importer.bytes("base").await.expect("a size");
        let model = ModelId(SystemIds.next());
        let version = importer.import(model, "base").await.expect("a model");
        assert_eq!(version.bytes(), told);
        let stored = room.path().join("artifacts").join(place(model));
        assert!(stored.join("config.json").is_file());
        importer.discard(model, &version).await;
        let left = std::fs::read_dir(&stored).into_iter().flatten().count();
        assert_eq!(left, 0);
        assert_eq!(importer.bytes("chat").await, Ok(0), "no model");
        assert_eq!(importer.bytes("../base").await, Err(ImportError::NoFolder));
    }
}
