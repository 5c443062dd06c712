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
use objects::{Key, Objects, ObjectsError};
use tokio::io::AsyncWriteExt;

use super::{outcome::AttemptOutcome, retry::RetryBudget};
use crate::folders::AttemptFolder;

/// A base model on this machine.
pub(super) struct Base {
    pub(super) folder: PathBuf,
    pub(super) name: String,
}

/// The dataset's file: the object itself where it lies on this machine, else a copy.
pub(super) async fn dataset(
    objects: &Objects,
    folder: &AttemptFolder,
    wanted: &DatasetUse,
) -> Result<DatasetFile, AttemptOutcome> {
    let format = readable(wanted.format)?;
    let key =
        Key::dataset(&wanted.sha256).map_err(|error| AttemptOutcome::objects("find the dataset", &error))?;
    let path = file(
        objects,
        &key,
        &folder.inputs().join("dataset"),
        "read the dataset",
    )
    .await?;
    matches(&path, &wanted.sha256, "the dataset").await?;
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

/// The base model's folder: the objects themselves where they lie on this machine, else copies.
pub(super) async fn base(
    store: &dyn EventStore,
    objects: &Objects,
    folder: &AttemptFolder,
    wanted: &BaseUse,
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
        let path = file(objects, &key, &copies.join(&entry.name), READ).await?;
        matches(&path, &entry.sha256, "the base model").await?;
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

async fn file(objects: &Objects, key: &Key, copy: &Path, action: &str) -> Result<PathBuf, AttemptOutcome> {
    let mut retry = RetryBudget::default();
    loop {
        let found = match objects.local_path(key) {
            Some(path) => there(objects, key, action).await.map(|()| path),
            None => fetch(objects, key, copy, action).await.map(|()| copy.to_owned()),
        };
        match found {
            Err(end) if retry.again(&end).await => {}
            found => return found,
        }
    }
}

async fn there(objects: &Objects, key: &Key, action: &str) -> Result<(), AttemptOutcome> {
    match objects.size(key).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(AttemptOutcome::objects(
            action,
            &ObjectsError::NotFound { key: key.to_string() },
        )),
        Err(error) => Err(AttemptOutcome::objects(action, &error)),
    }
}

async fn fetch(objects: &Objects, key: &Key, copy: &Path, action: &str) -> Result<(), AttemptOutcome> {
    let refused = |error: &ObjectsError| AttemptOutcome::objects(action, error);
    let unwritable = |error: &std::io::Error| AttemptOutcome::io("copy what the job trains on", error);
    let mut body = objects
        .read(key, None)
        .await
        .map_err(|error| refused(&error))?
        .body;
    let mut file = tokio::fs::File::create(copy)
        .await
        .map_err(|error| unwritable(&error))?;
    while let Some(piece) = body.try_next().await.map_err(|error| refused(&error))? {
        file.write_all(&piece).await.map_err(|error| unwritable(&error))?;
    }
    file.flush().await.map_err(|error| unwritable(&error))
}

async fn matches(path: &Path, sha256: &str, what: &str) -> Result<(), AttemptOutcome> {
    let owned = path.to_owned();
    let found = tokio::task::spawn_blocking(move || ml::files::describe(&owned)).await?;
    match found {
        Ok(found) if found.sha256 == sha256 => Ok(()),
        Ok(_) => Err(AttemptOutcome::failed(
            "INPUT_DAMAGED",
            format!(
                "{what} in the object store is not what was stored there; restore it from a backup, or upload it again"
            ),
        )),
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
