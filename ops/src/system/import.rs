//! Imports base models from a folder of this machine, checked by the training engine itself.
//!
//! The rule: engine and object store read the same pinned files, see [`pinned`].

mod pinned;
#[cfg(test)]
mod tests;

use std::path::{Component, Path, PathBuf};

use api::app::{ImportError, ModelImporter};
use async_trait::async_trait;
use domain::{
    id::ModelId,
    models::model::{Lineage, ModelFile, ModelVersion},
};
use objects::{Key, Objects};

use pinned::{Pinned, Unfit};

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

    /// The folder of that name: a subfolder of the root, or `models--…/snapshots/…` as the Hugging Face hub keeps them
    /// in its cache. No way out by a link.
    fn subfolder(&self, name: &str) -> Result<PathBuf, ImportError> {
        let root = self.root.as_ref().ok_or(ImportError::Off)?;
        let root = root.canonicalize().map_err(|_| ImportError::NoFolder)?;
        if !is_place(Path::new(name)) {
            return Err(ImportError::NoFolder);
        }
        let folder = root
            .join(name)
            .canonicalize()
            .map_err(|_| ImportError::NoFolder)?;
        let inside = folder.strip_prefix(&root).is_ok_and(is_place);
        match inside && folder.is_dir() {
            true => Ok(folder),
            false => Err(ImportError::NoFolder),
        }
    }
}

/// Whether a path below the root may be that of a model's folder.
fn is_place(path: &Path) -> bool {
    let parts: Option<Vec<&str>> = path
        .components()
        .map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        })
        .collect();
    match parts.as_deref() {
        Some([_]) => true,
        Some([repository, "snapshots", _]) => repository.starts_with("models--"),
        _ => false,
    }
}

/// What is stored of a folder: the pinned files, and which of them the model consists of.
struct Inspected {
    pinned: Pinned,
    names: Vec<String>,
}

/// Loads the model as a training would, and names the files it consists of; anything else stays where it is. Blocks.
fn inspect(folder: &Path) -> Result<Inspected, ImportError> {
    let pinned = pin(folder)?;
    let loaded = ml::model::folder::load::<ml::Compute>(pinned.path(), &Default::default());
    let names = loaded.and_then(|_| ml::model::folder::files(pinned.path()));
    match names {
        Ok(names) => Ok(Inspected { pinned, names }),
        Err(failure) => Err(ImportError::NotAModel(without(&failure.message, pinned.path()))),
    }
}

fn pin(folder: &Path) -> Result<Pinned, ImportError> {
    Pinned::open(folder).map_err(|unfit| match unfit {
        Unfit::Files(why) => ImportError::NotAModel(why),
        Unfit::Io(error) => {
            tracing::error!(%error, "the files of a model could not be opened");
            ImportError::Storage
        }
    })
}

/// A message of the engine without the folder that it was shown.
fn without(message: &str, view: &Path) -> String {
    message
        .replace(&format!("{}/", view.display()), "")
        .replace(&view.display().to_string(), "the folder")
}

/// What the files that a model consists of take on the disk. Blocks.
fn bytes(folder: &Path) -> u64 {
    // What cannot be pinned is named by the import itself.
    let Ok(pinned) = pin(folder) else { return 0 };
    let names = ml::model::folder::files(pinned.path()).unwrap_or_default();
    let sizes = names
        .iter()
        .filter_map(|name| pinned.path().join(name).metadata().ok());
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
        let Inspected { pinned, names } = inspected.map_err(|error| {
            tracing::error!(%error, "the check of a model broke off");
            ImportError::NotAModel("the files could not be checked; they may be damaged".to_owned())
        })??;
        let failed = |error: objects::ObjectsError| {
            tracing::error!(%error, "a model could not be stored");
            ImportError::Storage
        };
        let place = place(model);
        let key = Key::artifact(&place).map_err(failed)?;
        let files: Vec<(String, PathBuf)> = names
            .into_iter()
            .map(|name| (name.clone(), pinned.path().join(name)))
            .collect();
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
