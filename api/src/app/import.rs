//! How base models come in (MO-1). What a model is, only the training engine knows; so the composition root
//! hands an importer in.

use async_trait::async_trait;
use domain::{id::ModelId, models::model::ModelVersion};

/// Why nothing was brought in; nothing is left of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Switched off.
    #[error("importing is switched off; an administrator sets models.folder in the configuration")]
    Off,
    /// Not a plain name, or no such folder.
    #[error("there is no folder of this name in the import folder")]
    NoFolder,
    /// Its files are no model that can be trained on.
    #[error("{0}")]
    NotAModel(String),
    /// The store failed.
    #[error("the files could not be stored; try again, or ask the operator")]
    Storage,
}

/// Brings models in.
#[async_trait]
pub trait ModelImporter: Send + Sync {
    /// What the model in the subfolder `folder` will take in the object store; 0 where its files are no model:
    /// [`Self::import`] says why.
    ///
    /// # Errors
    /// [`ImportError::Off`] and [`ImportError::NoFolder`].
    async fn bytes(&self, folder: &str) -> Result<u64, ImportError>;

    /// Checks the model in the subfolder `folder` whole, stores its files under `model`, and describes them
    /// as version 1.
    ///
    /// # Errors
    /// See [`ImportError`].
    async fn import(&self, model: ModelId, folder: &str) -> Result<ModelVersion, ImportError>;

    /// Deletes what [`Self::import`] stored of a `model` that was refused after all. A file that cannot be deleted is
    /// named in the process's log.
    async fn discard(&self, model: ModelId, version: &ModelVersion);
}
