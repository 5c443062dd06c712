//! The folder of models of this machine, as the API looks at it.
//!
//! One rule: a look costs little, whatever lies there, and few look at the same time.

use std::path::PathBuf;

use api::app::{FoundModel, ImportError, ModelFolders};
use async_trait::async_trait;
use tokio::sync::Semaphore;
use workers::import::{self, LookError};

/// Looks at the same time; others wait for their turn.
const LOOKS: usize = 2;

/// See the module.
pub(super) struct ImportFolder {
    root: Option<PathBuf>,
    looks: Semaphore,
}

impl ImportFolder {
    /// Of subfolders of `root`; without one, importing is off.
    pub(super) fn new(root: Option<PathBuf>) -> Self {
        Self {
            root,
            looks: Semaphore::new(LOOKS),
        }
    }
}

#[async_trait]
impl ModelFolders for ImportFolder {
    async fn look(&self, folder: &str) -> Result<FoundModel, ImportError> {
        let root = self.root.clone().ok_or(ImportError::Off)?;
        let _turn = self.looks.acquire().await.map_err(|_| ImportError::Unreadable)?;
        let name = folder.to_owned();
        let looked = tokio::task::spawn_blocking(move || import::look(&root, &name)).await;
        let found = looked.map_err(|error| {
            tracing::error!(%error, "the look at a model broke off");
            ImportError::NotAModel("the files could not be checked; they may be damaged".to_owned())
        })?;
        match found {
            Ok(found) => Ok(FoundModel {
                files: u32::try_from(found.names.len()).unwrap_or(u32::MAX),
                bytes: found.bytes,
            }),
            Err(LookError::NoFolder) => Err(ImportError::NoFolder),
            Err(LookError::NotAModel(why)) => Err(ImportError::NotAModel(why)),
            Err(error @ LookError::Unreadable(_)) => {
                tracing::error!(%error, "the folder of models cannot be read");
                Err(ImportError::Unreadable)
            }
        }
    }
}
