//! What an attempt at an import is going to copy.
//!
//! One rule: the model is checked whole before its first byte is copied, and what an earlier attempt has stored of the
//! same files is kept.

use std::{path::Path, sync::Arc};

use domain::jobs::{import::ImportedFile, job::Import};

use super::{LookError, found, pinned::Pinned, subfolder};
use crate::attempt::outcome::AttemptOutcome;

/// One file that an import takes.
#[derive(Clone, Debug)]
pub(crate) struct PlannedFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// What an earlier attempt recorded of it.
    pub(crate) recorded: Option<ImportedFile>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) pinned: Arc<Pinned>,
    pub(crate) files: Vec<PlannedFile>,
    pub(crate) bytes: u64,
}

impl Plan {
    /// Pins and checks the folder that `import` names below `root`. `view` is where a folder of links is made for the
    /// engine; the caller removes it. Blocks while weights are looked at that a model has twice.
    pub(crate) fn make(
        root: &Path,
        view: &Path,
        import: &Import,
        recorded: &[ImportedFile],
    ) -> Result<Self, AttemptOutcome> {
        let folder = subfolder(root, &import.folder).map_err(|error| refused(&error))?;
        let pinned = Pinned::open(&folder).map_err(|unfit| refused(&unfit.into()))?;
        let found = found(&pinned).map_err(|error| refused(&error))?;
        if found.bytes > import.bytes {
            let message = format!(
                "the folder {} has {} bytes of files, and room was reserved for {}; import it again",
                import.folder, found.bytes, import.bytes
            );
            return Err(AttemptOutcome::failed(CHANGED, message));
        }
        pinned
            .view(view)
            .map_err(|error| AttemptOutcome::io("make a folder of links", &error))?;
        let checked = ml::model::folder::check(view);
        checked.map_err(|failure| AttemptOutcome::failed(NOT_A_MODEL, failure.message))?;
        let planned = |name: String| PlannedFile {
            bytes: pinned.identity(&name).map_or(0, |identity| identity.bytes),
            recorded: recorded.iter().find(|file| file.file.name == name).cloned(),
            name,
        };
        Ok(Self {
            files: found.names.into_iter().map(planned).collect(),
            bytes: found.bytes,
            pinned: Arc::new(pinned),
        })
    }

    /// Fails when a file of the folder is not any more what it was when it was pinned. Blocks.
    pub(crate) fn look_again(&self, root: &Path, import: &Import) -> Result<(), AttemptOutcome> {
        let folder = subfolder(root, &import.folder).map_err(|error| refused(&error))?;
        let now = Pinned::open(&folder).map_err(|unfit| refused(&unfit.into()))?;
        let same = |file: &&PlannedFile| {
            let before = self.pinned.identity(&file.name);
            now.identity(&file.name) == before && self.pinned.is_unchanged(&file.name).unwrap_or(false)
        };
        match self.files.iter().find(|file| !same(file)) {
            Some(file) => Err(changed(&file.name)),
            None => Ok(()),
        }
    }
}

/// A file was written, or another was put in its place, while it was imported.
pub(crate) const CHANGED: &str = "FOLDER_CHANGED";
/// The files are no model.
const NOT_A_MODEL: &str = "NOT_A_MODEL";

/// The end of an import of which the file `name` changed.
pub(crate) fn changed(name: &str) -> AttemptOutcome {
    AttemptOutcome::failed(
        CHANGED,
        format!(
            "{name} was changed while it was imported; wait until nobody writes the folder, and restart the job"
        ),
    )
}

fn refused(error: &LookError) -> AttemptOutcome {
    match error {
        LookError::NoFolder => AttemptOutcome::failed(
            "FOLDER_MISSING",
            "the folder is not in the import folder any more; put it there, and restart the job",
        ),
        LookError::NotAModel(why) => AttemptOutcome::failed(NOT_A_MODEL, why.clone()),
        LookError::Unreadable(error) => {
            AttemptOutcome::lost(format!("the files of the model could not be opened: {error}"))
        }
    }
}
