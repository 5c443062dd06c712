//! What a training reads: the dataset and the base model, as files of this machine.
//!
//! One rule: nothing is trained on before its hash is what the log says.

use std::path::{Path, PathBuf};

use domain::{
    aggregate::{Aggregate, LoadError, decode},
    datasets::format::Format,
    event_store::EventStore,
    id::ModelId,
    jobs::job::{BaseUse, DatasetUse},
    models::model::{Model, ModelEvent},
};
use futures::TryStreamExt;
use ml::data::source::{DatasetFile, DatasetFormat};
use objects::{
    Key, Objects, ObjectsError,
    cache::{Cached, ObjectCache},
};
use tokio::io::AsyncWriteExt;

use super::{outcome::AttemptOutcome, retry::RetryBudget};
use crate::folders::AttemptFolder;

/// Where inputs come from.
pub(super) struct Sources<'a> {
    pub(super) objects: &'a Objects,
    /// Downloads of a store elsewhere; without one each attempt makes its own copies.
    pub(super) cache: Option<&'a ObjectCache>,
}

/// A base model on this machine.
pub(super) struct Base {
    pub(super) folder: PathBuf,
    pub(super) name: String,
}

/// The dataset's file: the object itself where it lies on this machine, else a download, which stays while what is
/// added to `held` does.
pub(super) async fn dataset(
    sources: &Sources<'_>,
    folder: &AttemptFolder,
    wanted: &DatasetUse,
    held: &mut Vec<Cached>,
) -> Result<DatasetFile, AttemptOutcome> {
    let format = readable(wanted.format)?;
    let key =
        Key::dataset(&wanted.sha256).map_err(|error| AttemptOutcome::objects("find the dataset", &error))?;
    let input = Input {
        key,
        sha256: &wanted.sha256,
        copy: folder.inputs().join("dataset"),
        action: "read the dataset",
        what: "the dataset",
    };
    let path = input.file(sources, held).await?;
    Ok(DatasetFile { path, format })
}

/// The training engine's word for a dataset's format.
///
/// # Errors
/// When it cannot read it.
fn readable(format: Format) -> Result<DatasetFormat, AttemptOutcome> {
    match format {
        Format::PlainText => Ok(DatasetFormat::Text),
        Format::Chat => Ok(DatasetFormat::Chat),
        Format::PromptCompletion => Ok(DatasetFormat::PromptCompletion),
        Format::Alpaca => Ok(DatasetFormat::Alpaca),
        Format::ShareGpt => Ok(DatasetFormat::Sharegpt),
        other => Err(AttemptOutcome::failed(
            "FORMAT_UNSUPPORTED",
            format!(
                "datasets in the format {} cannot be trained on; upload the data as text or chat",
                other.name()
            ),
        )),
    }
}

/// The base model's folder: the objects themselves where they lie on this machine, else downloads, which stay while what
/// is added to `held` does.
pub(super) async fn base(
    store: &dyn EventStore,
    sources: &Sources<'_>,
    folder: &AttemptFolder,
    wanted: &BaseUse,
    held: &mut Vec<Cached>,
) -> Result<Base, AttemptOutcome> {
    const READ: &str = "read the base model";
    let unknown = || {
        AttemptOutcome::failed(
            "INPUT_MISSING",
            "the base model is not recorded; start the job with another one",
        )
    };
    let (model, name) = model(store, wanted.version.model)
        .await
        .map_err(|error| AttemptOutcome::lost(format!("cannot {READ}: {error}")))?;
    let version = model.version(Some(wanted.version.version)).ok_or_else(unknown)?;
    let prefix = artifact_key(&wanted.artifact).map_err(|error| AttemptOutcome::objects(READ, &error))?;
    let copies = folder.inputs().join("base");
    std::fs::create_dir_all(&copies)
        .map_err(|error| AttemptOutcome::io("make a folder for the base model", &error))?;
    let mut found = copies.clone();
    for entry in &version.files {
        let key = prefix
            .join(&entry.name)
            .map_err(|error| AttemptOutcome::objects(READ, &error))?;
        let input = Input {
            key,
            sha256: &entry.sha256,
            copy: copies.join(&entry.name),
            action: READ,
            what: "the base model",
        };
        let path = input.file(sources, held).await?;
        if let Some(parent) = path.parent() {
            parent.clone_into(&mut found);
        }
    }
    Ok(Base { folder: found, name })
}

/// The key of an artefact as the log names it.
pub(super) fn artifact_key(recorded: &str) -> Result<Key, ObjectsError> {
    Key::artifact(recorded.strip_prefix("artifacts/").unwrap_or(recorded))
}

/// A model and its name, as recorded.
async fn model(store: &dyn EventStore, id: ModelId) -> Result<(Model, String), LoadError> {
    let (mut model, mut named) = (Model::default(), String::new());
    for event in store.load(&Model::stream(id), 0).await? {
        let event = decode::<ModelEvent>(&event)?;
        if let ModelEvent::Registered { name, .. } = &event {
            named.clone_from(name);
        }
        model.evolve(&event);
    }
    Ok((model, named))
}

/// A file that a training reads.
struct Input<'a> {
    key: Key,
    sha256: &'a str,
    /// Where it is put if the object does not lie on this machine.
    copy: PathBuf,
    /// For error texts.
    action: &'static str,
    what: &'static str,
}

impl Input<'_> {
    /// The file, with the hash that the log says.
    async fn file(&self, sources: &Sources<'_>, held: &mut Vec<Cached>) -> Result<PathBuf, AttemptOutcome> {
        let mut retry = RetryBudget::default();
        loop {
            let found = match (sources.objects.local_path(&self.key), sources.cache) {
                (Some(path), _) => self.there(sources.objects).await.map(|()| path),
                (None, Some(cache)) => self.cached(sources.objects, cache, held).await,
                (None, None) => self.fetch(sources.objects).await.map(|()| self.copy.clone()),
            };
            match found {
                Err(end) if retry.again(&end).await => {}
                Ok(path) => {
                    matches(&path, self.sha256, self.what).await?;
                    return Ok(path);
                }
                Err(end) => return Err(end),
            }
        }
    }

    fn refused(&self, error: &ObjectsError) -> AttemptOutcome {
        match error {
            ObjectsError::Damaged { .. } => damaged(self.what),
            error => AttemptOutcome::objects(self.action, error),
        }
    }

    async fn there(&self, objects: &Objects) -> Result<(), AttemptOutcome> {
        match objects.size(&self.key).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(self.refused(&ObjectsError::NotFound {
                key: self.key.to_string(),
            })),
            Err(error) => Err(self.refused(&error)),
        }
    }

    /// The file of the cache under the name that the training looks for.
    async fn cached(
        &self,
        objects: &Objects,
        cache: &ObjectCache,
        held: &mut Vec<Cached>,
    ) -> Result<PathBuf, AttemptOutcome> {
        let cached = cache.get(objects, &self.key, self.sha256).await;
        let cached = cached.map_err(|error| self.refused(&error))?;
        match tokio::fs::hard_link(cached.path(), &self.copy).await {
            Ok(()) => {}
            Err(error) => return Err(AttemptOutcome::io("link what the job trains on", &error)),
        }
        held.push(cached);
        Ok(self.copy.clone())
    }

    async fn fetch(&self, objects: &Objects) -> Result<(), AttemptOutcome> {
        let unwritable = |error: &std::io::Error| AttemptOutcome::io("copy what the job trains on", error);
        let download = objects.read(&self.key, None).await;
        let mut body = download.map_err(|error| self.refused(&error))?.body;
        let file = tokio::fs::File::create(&self.copy).await;
        let mut file = file.map_err(|error| unwritable(&error))?;
        while let Some(piece) = body.try_next().await.map_err(|error| self.refused(&error))? {
            file.write_all(&piece).await.map_err(|error| unwritable(&error))?;
        }
        file.flush().await.map_err(|error| unwritable(&error))
    }
}

fn damaged(what: &str) -> AttemptOutcome {
    AttemptOutcome::failed(
        "INPUT_DAMAGED",
        format!(
            "{what} in the object store is not what was stored there; restore it from a backup, or upload it again"
        ),
    )
}

async fn matches(path: &Path, sha256: &str, what: &str) -> Result<(), AttemptOutcome> {
    let owned = path.to_owned();
    let found = tokio::task::spawn_blocking(move || ml::files::describe(&owned)).await?;
    match found {
        Ok(found) if found.sha256 == sha256 => Ok(()),
        Ok(_) => Err(damaged(what)),
        Err(failure) => Err(AttemptOutcome::failed(
            "INPUT_MISSING",
            format!("{what} cannot be read: {failure}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::artifact_key;

    #[test]
    fn an_artefact_is_found_with_and_without_its_first_folder() {
        for name in ["artifacts/mdl_1/1", "mdl_1/1"] {
            assert_eq!(
                artifact_key(name).expect("a key").to_string(),
                "artifacts/mdl_1/1"
            );
        }
    }
}
